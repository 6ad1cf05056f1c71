"""Overlaps and pages of examples, with a judge whose every score is known."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from reaffect import judge, results
from reaffect.errors import InputError
from reaffect.omni import figures, reasoning

GROUPS = {"happy": "joy", "joyful": "joy", "sad": "grief", "angry": "anger"}
CLIPS = ["a", "b", "c", "d", "e"]
TABLE = pd.DataFrame(
    {"clip": CLIPS, "labels": [["happy"], ["sad"], ["angry"], ["happy"], ["sad"]], "text": [f"true {c}" for c in CLIPS]}
)


class Scores:
    """A judge that answers with the number that stands in the description; without one, it rambles."""

    name = "scores"

    def ask(self, questions, heard=None):
        said = []
        for question in questions:
            [field] = [name for name in question.template.schema["properties"] if name.endswith("_overlap")]
            found = re.findall(rf"{field[0]}(\d+)", question.fields["description"])
            said.append(json.dumps({field: int(found[0]), "reason": "."}) if found else "Well, 1 to 10.")
        return said


def answers(row: str, scores: list[tuple[int, int]], seed: int = 0, labels: list[list[str]] | None = None):
    told = pd.DataFrame(
        {"row": row, "seed": seed, "clip": range(len(scores)), "text": [f"c{c} l{one}" for c, one in scores]}
    )
    return told.assign(labels=labels or [["happy"]] * len(scores))


def test_overlaps_are_the_judges_and_silence_is_the_least():
    told = answers("ours", [(7, 4), (2, 9)])
    told.loc[len(told)] = ["ours", 0, 2, "  ", []]
    told.loc[len(told)] = ["ours", 0, 3, "no number", []]
    found = reasoning.overlaps(Scores(), told, TABLE.text)
    assert found["Clue Overlap"].tolist()[:3] == [7, 2, 1]
    assert found["Label Overlap"].tolist()[:3] == [4, 9, 1]
    assert found[list(reasoning.COLUMNS)].iloc[3].isna().all() and reasoning.unread(found) == 1


def test_each_answer_is_held_against_its_own_clip():
    told = pd.DataFrame({"row": "x", "seed": 0, "clip": [1, 0], "text": ["He is sad.", "He is sad."]})
    found = reasoning.overlaps(judge.load("lexicon"), told, ["He is happy.", "He is sad."])
    assert found["Label Overlap"].tolist() == [10, 1]


def test_rows_are_means_over_seeds_with_an_interval_over_clips():
    told = pd.concat([answers("ours", [(2, 1)] * 5), answers("ours", [(4, 1)] * 5, seed=1)])
    rows = {row["column"]: row for row in reasoning.table_rows(reasoning.overlaps(Scores(), told, TABLE.text), CLIPS)}
    clue = rows["Clue Overlap"]
    assert (clue["value"], clue["seeds"], clue["low"], clue["high"]) == (3, [2, 4], 3, 3)
    assert rows["Label Overlap"]["value"] == 1


def test_the_interval_covers_the_spread_of_clips_and_leaves_out_what_is_unread():
    told = answers("ours", [(1, 1), (3, 1), (5, 1), (7, 1), (9, 1)])
    told.loc[4, "text"] = "no number"
    clue = reasoning.table_rows(reasoning.overlaps(Scores(), told, TABLE.text), CLIPS)[0]
    assert clue["value"] == 4
    # The normal interval of a mean of four: 4 +- 1.96 * sd / 2, where sd, over the clips drawn from, is sqrt(5).
    assert clue["low"] == pytest.approx(4 - 1.96 * 5**0.5 / 2, abs=0.35)
    assert clue["high"] == pytest.approx(4 + 1.96 * 5**0.5 / 2, abs=0.35)


def test_a_row_without_any_score_is_an_error_and_no_number():
    told = answers("ours", [(1, 1)] * 5).assign(text="no number")
    with pytest.raises(InputError, match="'ours': no answer of the judge could be read"):
        reasoning.table_rows(reasoning.overlaps(Scores(), told, TABLE.text), CLIPS)


def test_the_rows_stand_beside_the_published_systems():
    told = answers("Omni-Emotion", [(8, 7)] * 5)
    rows = reasoning.table_rows(reasoning.overlaps(Scores(), told, TABLE.text), CLIPS)
    table = results.compare("omni_emotion2025", "Table 2", rows, profile="paper")
    ours = table[table.row == "Omni-Emotion"].set_index("column")
    assert set(ours.index) == set(reasoning.COLUMNS) and ours.ours.tolist() == [8, 7]
    assert table.row.nunique() == 8


def scored(**rows: list[tuple[int, int]]) -> pd.DataFrame:
    told = pd.concat([answers(row, scores) for row, scores in rows.items()], ignore_index=True)
    return reasoning.overlaps(Scores(), told, TABLE.text)


PLACES = {"whole": "whole", "without": "without", "others": ["other"]}


def test_pages_are_chosen_by_their_rules():
    told = scored(
        whole=[(5, 5), (9, 9), (2, 2), (6, 6), (7, 7)],
        without=[(5, 5), (9, 9), (2, 2), (1, 1), (7, 7)],
        other=[(1, 2)] * 5,
    )
    found = reasoning.pages(told, TABLE, GROUPS, **PLACES)
    # d gains most; of the others (a 10, b 18, c 4, e 14) b is the highest, of the rest a the median, c the lowest.
    assert {name: page["clip"].iloc[0] for name, page in found.items()} == {
        "Table 4": "d",
        "Table 6": "b",
        "Table 7": "a",
        "Table 8": "c",
    }
    assert {name: page.rule.iloc[0] for name, page in found.items()} == reasoning.PAGES
    page = found["Table 4"]
    assert page.who.tolist() == ["truth", "whole", "other"]
    assert page.text.tolist() == ["true d", "c6 l6", "c1 l2"]
    assert page["Clue Overlap"].tolist()[1:] == [6, 1] and np.isnan(page["Clue Overlap"][0])


def test_of_equal_clips_the_first_and_none_without_a_score():
    told = scored(whole=[(5, 5)] * 5, without=[(5, 5)] * 5, other=[(5, 5)] * 5)
    told.loc[(told.row == "whole") & (told["clip"] == 0), "Clue Overlap"] = np.nan
    found = reasoning.pages(told, TABLE, GROUPS, **PLACES)
    assert [page["clip"].iloc[0] for page in found.values()] == ["b", "c", "e", "d"]


def test_fewer_clips_than_pages_still_fill_each_page():
    told = scored(whole=[(5, 5), (6, 6)], without=[(5, 5), (1, 1)], other=[(1, 1)] * 2)
    found = reasoning.pages(told, TABLE, GROUPS, **PLACES)
    assert list(found) == list(reasoning.PAGES) and found["Table 4"]["clip"].iloc[0] == "b"


def test_the_first_seed_speaks():
    told = scored(whole=[(5, 5)] * 5, without=[(5, 5)] * 5, other=[(5, 5)] * 5)
    later = told[told.row == "whole"].assign(seed=1, text="later")
    found = reasoning.pages(pd.concat([told, later]), TABLE, GROUPS, **PLACES)
    assert "later" not in {text for page in found.values() for text in page.text}


def test_pages_need_every_row_and_a_score():
    told = scored(whole=[(5, 5)] * 5, without=[(5, 5)] * 5)
    with pytest.raises(InputError, match="row 'other' has no answers; there are whole, without"):
        reasoning.pages(told, TABLE, GROUPS, **PLACES)
    with pytest.raises(InputError, match="no example to choose"):
        reasoning.pages(told.assign(**{"Label Overlap": np.nan}), TABLE, GROUPS, **(PLACES | {"others": []}))


def test_wrong_words_are_those_of_no_true_group_and_stand_in_red():
    told = scored(whole=[(5, 5)], without=[(5, 5)], other=[(5, 5)])
    told["text"] = "Joyful, then <SAD>; sadly not angry."
    told["labels"] = [["joyful", "sad", "angry"]] * 3
    page = reasoning.pages(told, TABLE, GROUPS, **PLACES)["Table 4"]
    assert page.wrong.tolist() == [[], ["sad", "angry"], ["sad", "angry"]]
    html = reasoning.as_html(page)
    red = re.findall(r'<b style="color:#c00">(\w+)</b>', html)
    assert red == ["SAD", "angry"] * 2  # not in 'sadly', and never in the truth
    assert "&lt;" in html and "<SAD>" not in html and "nan" not in html


def test_text_cannot_break_out_of_a_page():
    assert reasoning.marked("<script>x & y</script>", ["x & y"]) == (
        '&lt;script&gt;<b style="color:#c00">x &amp; y</b>&lt;/script&gt;'
    )


def test_figure_1_shows_each_frame_and_all_that_is_told():
    frames = np.zeros((3, 40, 60, 3), np.uint8)
    text = "he pays $5 and then $6 " * 20
    figure = figures.annotated_clip(frames, {"Label": "sad", "Reason": text}, Figure(figsize=(12, 3)))
    assert [axis.images[0].get_array().shape for axis in figure.axes] == [(40, 60, 3)] * 3
    [words] = figure.texts
    assert " ".join(words.get_text().split()) == f"Label: sad Reason: {text.strip()}"
    box = words.get_window_extent().transformed(figure.transFigure.inverted())
    assert box.y0 >= 0 and box.y1 <= figure.axes[0].get_position().y0 and box.x1 <= 1


def test_a_confusion_shows_shares_of_each_true_class():
    counts = pd.DataFrame([[3, 1, 0], [0, 0, 0]], ["sad", "fear"], ["sad", "fear", "none"])
    axis = figures.class_confusion(counts, Figure(figsize=(3, 3)).subplots(), title="x")
    assert [text.get_text() for text in axis.texts] == ["75", "25"]
