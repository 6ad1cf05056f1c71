"""Parts, notes and rows of the zero-shot tables, against closed forms and planted answers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reaffect import results, zero_shot
from reaffect.audiovisual import Asked
from reaffect.models.video_llama import VideoLLaMAConfig

TABLE = pd.DataFrame(
    {"clip": list("abcd"), "media": ["a.mp4", "b.mp4", "c.mp4", "d.mp4"], "positive": [True, True, False, False]}
)
VIDEOS = TABLE["clip"].tolist()
TRUTH = TABLE.positive.tolist()


def judged(*emotions, score=7.0):
    return pd.DataFrame({"emotion": emotions, "score": [score] * len(emotions)}).astype({"emotion": object})


def value(rows, name, column):
    [found] = [row for row in rows if (row["row"], row["column"]) == (name, column)]
    return found


def test_rows_are_the_equations_of_the_paper():
    rows = zero_shot.rows("V", TRUTH, judged("positive", "negative", "positive", "negative"), VIDEOS)
    assert [row["column"] for row in rows] == ["Accuracy", "F-score", "Precision", "Confidence score"]
    assert [row["value"] for row in rows] == [50.0, 50.0, 50.0, 7.0]
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)


def test_an_answer_without_an_emotion_is_wrong_for_everybody():
    rows = zero_shot.rows("V", TRUTH, judged("positive", None, None, "negative"), VIDEOS)
    assert value(rows, "V", "Accuracy")["value"] == 50.0
    assert value(rows, "V", "Precision")["value"] == 100.0
    assert value(rows, "V", "F-score")["value"] == pytest.approx(200 / 3)


def test_confidence_is_the_mean_of_those_that_were_told():
    table = judged("positive", "positive", "negative", "negative")
    table["score"] = [2.0, np.nan, 4.0, np.nan]
    assert value(zero_shot.rows("V", TRUTH, table, VIDEOS), "V", "Confidence score")["value"] == 3.0


def test_trivial_rows_are_what_arithmetic_says():
    rows = zero_shot.trivial([True, True, True, False], VIDEOS)
    assert value(rows, "always positive", "Accuracy")["value"] == 75.0
    assert value(rows, "always positive", "F-score")["value"] == pytest.approx(100 * 6 / 7)
    assert value(rows, "always negative", "Accuracy")["value"] == 25.0
    assert value(rows, "always negative", "F-score")["value"] == 0.0
    assert 0 <= value(rows, "coin", "Accuracy")["value"] <= 100


def test_a_coin_on_shuffled_truth_lands_at_one_half():
    truth = np.random.default_rng(0).permutation([True, False] * 2000)
    rows = zero_shot.trivial(truth, list(range(4000)))
    assert value(rows, "coin", "Accuracy")["value"] == pytest.approx(50, abs=2.5)


@given(st.floats(0.05, 1.0), st.integers(0, 10_000))
def test_windows_lie_in_their_interviews_and_are_as_long_as_asked(share, seed):
    windows = zero_shot.windows(TABLE, share, seed=seed)
    assert [window.clip for window in windows] == TABLE.media.tolist()
    for window in windows:
        assert 0 <= window.start <= window.end <= 1 + 1e-12
        assert window.end - window.start == pytest.approx(share)
    assert windows == zero_shot.windows(TABLE, share, seed=seed)


def test_notes_tell_what_happens_in_the_part_and_nothing_else():
    nfbl = pd.DataFrame(
        [("a", 1.0, 2.0, "N9"), ("a", 8.0, 9.0, "N5"), ("b", 0.0, 1.0, "N1")],
        columns=["clip", "start_s", "end_s", "nfbl"],
    )
    asked = [Asked("a.mp4", end=0.5), Asked("b.mp4"), Asked("c.mp4"), Asked("d.mp4")]
    notes = [one.note for one in zero_shot.with_notes(asked, TABLE, nfbl, [10.0] * 4)]
    assert "nails" in notes[0] and "covering" not in notes[0]
    assert "nose" in notes[1]
    assert notes[2] == notes[3] == zero_shot.body_language([])


def test_parts_show_every_draw_and_their_mean():
    draws = [
        judged("positive", "positive", "negative", "negative"),
        judged("negative", "negative", "positive", "positive"),
    ]
    rows = zero_shot.rows_of_parts("20 %", TRUTH, draws, VIDEOS)
    found = value(rows, "20 %", "Accuracy")
    assert found["value"] == 50.0 and found["seeds"] == [100.0, 0.0]


def test_examples_are_chosen_by_their_rules():
    told = {name: pd.DataFrame({"text": [f"{name} {clip}" for clip in VIDEOS]}) for name in ("V+A", "V+A+NFBL")}
    answers = {
        "V+A": judged("positive", "negative", "negative", "negative"),
        "V+A+NFBL": judged(None, "positive", "negative", "positive"),
    }
    found = zero_shot.examples(TABLE, told, answers, zero_shot.whole(TABLE)).set_index("rule")
    assert found["clip"].to_dict() == {
        "set right by body language": "b",
        "set wrong by body language": "d",
        "told the judge nothing": "a",
    }
    same = {name: judged("positive", "positive", "negative", "negative") for name in answers}
    assert zero_shot.examples(TABLE, told, same, zero_shot.whole(TABLE)).empty


def test_settings_are_those_of_the_paper_where_the_profile_is():
    """Numbers that code and parameters decide, against the ones that Section 4 prints."""
    table = pd.DataFrame({"split": ["train"] * 72 + ["test"] * 74 + [""] * 129})
    network = SimpleNamespace(config=VideoLLaMAConfig())
    ours = zero_shot.settings(table, network, frames=32, sample_rate=320, draws=5)
    compared = results.compare("eald2024", "Section 4", ours, profile="paper")
    assert (compared.verdict == "match").all() and len(compared) == len(ours) == 9
