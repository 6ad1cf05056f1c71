"""Open-vocabulary answers against closed forms: two rows whose every label is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from reaffect import judge, openset
from reaffect.errors import InputError
from reaffect.tuning import Lesson

TRUTH = [["joy"], ["fear", "anger"], ["joy"], ["joy"]]
GROUPS = {"happy": "joy", "glad": "joy", "sad": "grief"}


@pytest.fixture
def told() -> pd.DataFrame:
    """Two rows, two seeds, four clips: the first row is right but for a clip in one seed, the other mostly wrong."""
    said = {"MicroEmo": [[["joy"], ["fear"], ["joy"], ["joy"]], [["joy"], ["fear"], ["joy"], []]]}
    said["w/o"] = [[["fear"], ["joy"], ["joy"], ["joy"]]] * 2
    return pd.DataFrame(
        {"row": row, "seed": seed, "clip": clip, "text": f"{row} of {labels}", "labels": labels}
        for row, seeds in said.items()
        for seed, clips in enumerate(seeds)
        for clip, labels in enumerate(clips)
    )


def test_validation_scores_labels_by_group():
    score = openset.by_labels(judge.load("lexicon"), GROUPS)
    asked = [Lesson("?", "She is happy."), Lesson("?", "He is sad.")]
    assert score(["They are glad.", "He is happy."], asked) == 0.5
    assert score(["No word.", ""], asked) == 0.0


def test_a_judge_reads_labels_and_what_names_none_has_none():
    told = openset.answered("row", ["She is happy and sad.", "It rains.", ""])
    read = openset.read(judge.load("lexicon"), told)
    assert read.labels.tolist() == [["happy", "sad"], [], []]
    assert read["clip"].tolist() == [0, 1, 2]


def test_rows_of_the_table_are_means_over_seeds(told):
    rows = openset.table_rows(told, TRUTH, {}, list("abcd"))
    by = {(row["row"], row["column"]): row for row in rows}
    assert by["MicroEmo", "Accuracy_S"]["seeds"] == [100.0, 75.0]
    assert by["MicroEmo", "Recall_S"]["seeds"] == [87.5, 62.5]
    assert by["MicroEmo", "Avg"]["value"] == pytest.approx((93.75 + 68.75) / 2)
    for row in rows:
        assert row["low"] <= row["value"] <= row["high"]


def test_the_order_of_answers_is_of_no_matter(told):
    mixed = told.sample(frac=1, random_state=0)
    rows = {row["row"] + row["column"]: row["value"] for row in openset.table_rows(mixed, TRUTH, {}, list("abcd"))}
    assert rows == {r["row"] + r["column"]: r["value"] for r in openset.table_rows(told, TRUTH, {}, list("abcd"))}


def test_contrasts_are_paired_by_clip(told):
    table = openset.contrasts(told, TRUTH, {}, ["here", "here", "there", "there"])
    here, there = (table[table.kind == kind].iloc[0] for kind in ("here", "there"))
    assert here.difference == pytest.approx(100 * np.mean([1.0, 0.75])) and here.low > 0
    assert there.difference == pytest.approx(100 * np.mean([0.0, -0.5])) and there.high == 0
    assert set(table.row) == {"w/o"}


def test_kinds_split_the_mean(told):
    table = openset.by_kind(told, TRUTH, {}, ["here", "here", "there", "there"])
    assert table.columns.tolist() == ["here", "there"]
    assert table.loc["w/o"].tolist() == [0.0, 100.0]
    assert table.loc["MicroEmo"].tolist() == [87.5, 75.0]


def test_shuffled_answers_score_at_chance():
    """Half of the clips are of one kind, half of the other: who has not looked is right about half of them."""
    truth = [["joy"], ["grief"]] * 20
    told = openset.answered("MicroEmo", [""] * 40).assign(labels=truth)
    [row] = [
        row
        for row in openset.table_rows(openset.shuffled(told, "MicroEmo"), truth, {}, range(40))
        if row["column"] == "Avg"
    ]
    assert len(row["seeds"]) == 20
    assert row["value"] == pytest.approx(50, abs=5)
    assert openset.table_rows(told, truth, {}, range(40))[0]["value"] == 100


def test_answers_without_a_label_are_counted(told):
    found = openset.counts(told)
    assert found["answers without"].to_dict() == {"MicroEmo": 1, "w/o": 0}
    assert found["labels an answer"].to_dict() == {"MicroEmo": 7 / 8, "w/o": 1}


def test_the_trivial_row_is_the_training_parts_most_frequent_label():
    row = openset.trivial([["sad"], ["happy", "sad"], ["happy"], ["sad", "sad"]], 3)
    assert row.labels.tolist() == [["sad"]] * 3
    assert set(row.row) == {"always 'sad'"}
    assert judge.extract_labels(judge.load("lexicon"), row.text).labels.tolist() == [["sad"]] * 3


def test_examples_follow_their_rules(told):
    table = pd.DataFrame({"clip": list("abcd"), "subtitle": "", "text": "truth"})
    found = openset.examples(told, TRUTH, {}, table, without="w/o").set_index("rule")
    assert found.loc["set right", "clip"] == "a"
    assert found.loc["set right", "w/o"] == "w/o of ['fear']"
    assert "set wrong" not in found.index and "wrong with and without" not in found.index
    turned = told.assign(row=told.row.map({"MicroEmo": "w/o", "w/o": "MicroEmo"}))
    assert openset.examples(turned, TRUTH, {}, table, without="w/o").rule.tolist() == ["set wrong"]
    nothing = told.assign(labels=[[]] * len(told))
    assert openset.examples(nothing, TRUTH, {}, table, without="w/o").rule.tolist() == ["wrong with and without"]


def test_two_judges_are_compared_on_the_same_texts(tmp_path):
    texts = {"good": ["She is happy.", "He is sad."], "bad": ["He is sad.", "She is happy."]}
    truth = [["happy"], ["sad"]]
    lexicon = judge.load("lexicon")
    kept = judge.load("lexicon", record=tmp_path / "kept.jsonl")
    first, second = (openset.judged(one, texts, truth, GROUPS) for one in (lexicon, kept))
    assert first.loc["good", "Avg"].tolist() == [100, 100] and first.loc["bad", "Avg"].tolist() == [0, 0]
    replayed = openset.judged(judge.load(str(tmp_path / "kept.jsonl")), texts, truth, GROUPS)
    pd.testing.assert_frame_equal(replayed, second)
    same = judge.agreement(first.reset_index(drop=True), replayed.reset_index(drop=True), first.index)
    assert same["equal"].eq(1).all() and same["rank correlation"].tolist() == pytest.approx([1, 1, 1])


def test_a_text_that_was_never_recorded_is_an_error(tmp_path):
    judge.extract_labels(judge.load("lexicon", record=tmp_path / "kept.jsonl"), ["She is happy."])
    with pytest.raises(InputError, match="has no answer"):
        openset.judged(judge.load(str(tmp_path / "kept.jsonl")), {"a": ["He is sad."]}, [["sad"]], GROUPS)


def test_what_a_judge_cannot_read_is_no_score(monkeypatch):
    unread = pd.DataFrame({"labels": [None, ["happy"]]})
    monkeypatch.setattr(openset, "extract_labels", lambda *_: unread)
    table = openset.judged(judge.load("lexicon"), {"a": ["?", "She is happy."]}, [["happy"], ["happy"]], GROUPS)
    assert table.Avg.isna().tolist() == [True, False]
