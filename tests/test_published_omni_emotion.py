"""Omni-Emotion's published numbers: against the paper's text, against each other, and on the scoreboard."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from reaffect import paths, results, scoreboard
from reaffect.results import measured

PAPER = "omni_emotion2025"
PAPERS = paths.ROOT.parent / "shared" / "papers"
needs_the_papers = pytest.mark.skipif(
    not PAPERS.exists(), reason="the papers' texts lie beside the checkout only where it is developed"
)

TABLES = {
    "Table 1": ["Avg", "Accuracy_S", "Recall_S"],
    "Table 2": ["Clue Overlap", "Label Overlap"],
    "Table 3": ["Avg", "Accuracy_S", "Recall_S", "Clue Overlap"],
    "Table 5": ["DFEW UAR", "DFEW WAR", "MAFW UAR", "MAFW WAR"],
}
VISUAL = ["DFER-CLIP", "SVFAP", "MAE-DFER", "Finecliper"]
AUDIOVISUAL = ["TMEP", "HiCMAE", "Emotion-LLaMA", "MMA-DFER"]

SENTENCES = {
    "The scores range from 0 to 10": ["Figure 3/score/lowest", "Figure 3/score/highest"],
    "Samples scoring below 5 are considered misaligned": ["Figure 3/score/threshold"],
    "FERV39K has the largest portion with 10,302 samples, followed by MAFW with 5,006": [
        "Figure 4/FERV39K/samples",
        "Figure 4/MAFW/samples",
    ],
    "DFEW and CAER contribute 3,700 and 2,903 samples": ["Figure 4/DFEW/samples", "Figure 4/CAER/samples"],
    "MER24 and AFEW-VA add 1,050 and 1,176 samples": ["Figure 4/MER24/samples", "Figure 4/AFEW-VA/samples"],
    "the self-reviewed dataset comprises 24,137 samples": ["Figure 4/SRE/samples"],
    "low-density sampling at 1 FPS for each video": ["Section 3/frames of the scene/sampling rate"],
    "limited to only 332 entries": ["Section 3/EMER/samples"],
    "randomly selecting 700 samples from each training set of these datasets": ["Section 3/HRE/samples a dataset"],
    "training dataset consisting of 3500 samples": ["Section 3/HRE/samples"],
    "to a frequency of 16KHz": ["Section 4/audio/sample rate"],
    "128 channel melspectrogram": ["Section 4/audio/mel bins"],
    "a window size of 25ms and a hop size of 10ms": ["Section 4/audio/window", "Section 4/audio/hop"],
    "a pooling layer with a stride 3": ["Section 4/audio/pooling stride"],
    "corresponds to a 60ms segment": ["Section 4/audio/token"],
    "the audio projector, which consists of two linear layers": ["Section 4/audio projector/linear layers"],
    "the facial projector, which consists of two linear layers": ["Section 4/facial projector/linear layers"],
    "the audio projector for one epoch, using a batch size of 256 and a learning rate of 1e-3": [
        "Section 4/phase 1/epochs",
        "Section 4/phase 1/batch size",
        "Section 4/phase 1/learning rate",
    ],
    "the facial projector for 1 epoch. The learning rate is set to 1e-3, and the total batch size is 256": [
        "Section 4/phase 2/epochs",
        "Section 4/phase 2/learning rate",
        "Section 4/phase 2/batch size",
    ],
    "the LLM decoder for a total of 3 epochs. We sample 8 frames for each video": [
        "Section 4/phase 3/epochs",
        "Section 4/phase 3/frames",
    ],
    "The learning rate and batch size are 1e-5 and 128": [
        "Section 4/phase 3/learning rate",
        "Section 4/phase 3/batch size",
    ],
    "a total of 1.5M audio instructions": ["Section 4/phase 1/instructions"],
    "about 130K data from 7 datasets": ["Section 4/phase 2/instructions", "Section 4/phase 2/datasets"],
    "a total of about 100K instruction training data": ["Section 4/phase 3/instructions"],
    "which include 332 samples in total": ["Section 5/EMER-OV/samples"],
    "contain 7 and 11 emotion categories": ["Section 5/DFEW/classes", "Section 5/MAFW/classes"],
    "the LLM decoder using this training data for 3 epochs": ["Section 5/emotion recognition/epochs"],
}
"""What the paper says in prose, and the rows that hold its numbers, in the order in which they are said."""


def numbers(sentence: str) -> list[float]:
    """The numbers of a sentence as they are said; 'MER24' holds none."""
    words = {"one": "1", "two": "2"}
    plain = re.sub(r"\b(one|two)\b", lambda word: words[word[1]], sentence).replace(",", "")
    found = re.findall(r"(?<!\w)(\d+(?:\.\d+)?(?:e-\d+)?)([KM](?!\w))?", plain)
    return [float(number) * {"K": 1e3, "M": 1e6, "": 1}[unit] for number, unit in found]


def wide(exhibit: str) -> pd.DataFrame:
    """An exhibit's values, a line a row of it."""
    return results.published(PAPER, exhibit).pivot(index="row", columns="column", values="value")


def as_printed() -> pd.DataFrame:
    """The paper's rows, every value as text: 58.0 is not 58."""
    return pd.read_csv(paths.PUBLISHED, dtype=str, keep_default_na=False).query("paper == @PAPER")


def the_paper() -> str:
    return (PAPERS / f"{PAPER}.txt").read_text()


@pytest.fixture
def reports(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REPORTS", tmp_path)
    return tmp_path


def test_numbers_are_complete_and_unique():
    table = results.published(PAPER)
    assert not table.duplicated(["exhibit", "row", "column"]).any()
    assert table.groupby("exhibit").size().to_dict() == {
        "Table 1": 12,
        "Table 2": 16,
        "Table 3": 12,
        "Table 5": 42,  # eleven systems; Emotion-LLaMA has no MAFW
        "Figure 3": 3,
        "Figure 4": 7,
        "Section 3": 4,
        "Section 4": 22,
        "Section 5": 4,
    }


def test_every_decimal_is_kept_and_declared():
    table = as_printed().query("unit == '%' or column.str.contains('Overlap')")
    assert len(table) == 12 + 16 + 12 + 42
    assert (table.value.str.partition(".")[2].str.len() == table.digits.astype(int)).all()
    assert (table.direction == "higher").all() and (table.tolerance.astype(float) > 0).all()


@needs_the_papers
@pytest.mark.parametrize("exhibit", TABLES)
def test_tables_hold_every_cell_that_the_paper_prints_and_no_other(exhibit):
    above = re.split(rf"^{exhibit}\. ", the_paper(), flags=re.M)[0]
    printed = {}
    for line in above.rstrip().split("\n\n")[-1].splitlines():
        name, *cells = line.split("\t")
        name = re.sub(r"\[\d+\]|\(Ours\)|[$\s]", "", name)
        row = {column: cell for column, cell in zip(TABLES[exhibit], cells, strict=False) if cell[:1].isdigit()}
        printed |= {(name, column): cell for column, cell in row.items()}
    entered = as_printed().query("exhibit == @exhibit")
    assert printed == {(line.row.replace(" ", ""), line.column): line.value for line in entered.itertuples()}


def test_sentences_account_for_every_number_outside_of_tables():
    table = results.published(PAPER).query("exhibit not in @TABLES")
    places = table.exhibit + "/" + table.row + "/" + table.column
    assert sorted(places) == sorted(place for rows in SENTENCES.values() for place in rows)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_sentences_say_the_numbers_that_are_entered(sentence):
    table = results.published(PAPER)
    value = dict(zip(table.exhibit + "/" + table.row + "/" + table.column, table.value, strict=True))
    assert numbers(sentence) == [value[place] for place in SENTENCES[sentence]]


@needs_the_papers
def test_the_paper_says_these_sentences():
    text = the_paper()
    assert not [sentence for sentence in SENTENCES if sentence not in text]


def test_figure_4_adds_up_to_sre_and_its_largest_part_is_ferv39k():
    samples = wide("Figure 4").samples
    assert samples.drop("SRE").sum() == samples["SRE"]
    assert samples.drop("SRE").idxmax() == "FERV39K"


@pytest.mark.parametrize("exhibit", ["Table 1", "Table 3"])
def test_avg_is_the_mean_of_accuracy_and_recall(exhibit):
    table = wide(exhibit)
    assert ((table.Avg - (table.Accuracy_S + table.Recall_S) / 2).abs() <= 0.1001).all()


def test_the_whole_model_is_the_same_in_tables_1_2_and_3():
    fused = wide("Table 3").loc["Concatenation on video level"]
    scores = ["Avg", "Accuracy_S", "Recall_S"]
    assert fused[scores].equals(wide("Table 1").loc["Omni-Emotion (v+a+f)", scores].rename(fused.name))
    assert fused["Clue Overlap"] == wide("Table 2").loc["Omni-Emotion", "Clue Overlap"]


def test_the_paper_s_claims_of_rank_hold_in_its_tables():
    for exhibit, best in (("Table 2", "Omni-Emotion"), ("Table 5", "Omni-Emotion")):
        assert (wide(exhibit).idxmax() == best).all()
    assert (wide("Table 3").idxmax() == "Concatenation on video level").all()
    modalities = wide("Table 1")
    assert modalities.idxmax().to_dict() == {
        "Avg": "Omni-Emotion (v+a+f)",
        "Accuracy_S": "Omni-Emotion (v+a)",  # Section 5.3: with faces the accuracy is slightly lower
        "Recall_S": "Omni-Emotion (v+a+f)",
    }


def notes() -> pd.Series:
    return as_printed().query("note != ''").set_index(["exhibit", "row", "column"]).note


def test_more_is_gained_in_accuracy_than_in_recall_and_the_note_says_how_much():
    gain = wide("Table 1").loc["Omni-Emotion (v+a+f)"] - wide("Table 1").loc["AffectGPT"]
    said = notes()["Table 1", "Omni-Emotion (v+a+f)", "Recall_S"]
    assert gain.Accuracy_S > gain.Recall_S
    assert numbers(said)[-2:] == [round(gain.Recall_S, 1), round(gain.Accuracy_S, 1)]


def test_audio_visual_systems_below_the_best_visual_one_are_those_with_a_note():
    table = wide("Table 5")
    best = table.loc[VISUAL].max()
    below = [row for row in AUDIOVISUAL if not (table.loc[row] > best).any()]
    assert below == [row for row in AUDIOVISUAL if row in notes()["Table 5"].index] == ["TMEP", "HiCMAE"]
    assert (table.loc["TMEP"] < table.loc[VISUAL].min()).all() and (table.loc["HiCMAE"] < table.loc["Finecliper"]).all()


def test_hre_is_five_datasets_worth_where_sre_has_six():
    human = wide("Section 3").loc["HRE"]
    assert human["samples"] / human["samples a dataset"] == 5
    assert len(wide("Figure 4").drop("SRE")) == 6
    assert {("HRE", "samples"), ("HRE", "samples a dataset")} <= set(notes()["Section 3"].index)


def test_a_token_lasts_two_hops_of_the_encoder_by_the_pooling_stride():
    audio = wide("Section 4").loc["audio"]
    assert audio.hop * 2 * audio["pooling stride"] == audio.token
    assert ("audio", "token") in notes()["Section 4"].index


def test_affectgpt_has_other_numbers_in_microemo_s_table_and_the_note_gives_them():
    other = results.published("microemo2024", "Table 1").query("row == 'AffectGPT' and column == 'Avg'").value.item()
    [line] = results.published(PAPER, "Table 1").query("row == 'AffectGPT' and column == 'Avg'").itertuples()
    assert line.value != other and f"prints {other} " in line.note


@pytest.mark.parametrize(("rate", "expected"), [(1e-3, "match"), (1e-4, "differs"), (1e-2, "differs")])
def test_a_learning_rate_ten_times_off_is_no_match(rate, expected):
    table = results.compare(PAPER, "Section 4", [measured("phase 1", "learning rate", rate)], profile="paper")
    assert table.set_index(["row", "column"]).verdict["phase 1", "learning rate"] == expected


@pytest.mark.parametrize(("count", "expected"), [(1_520_000, "match"), (1_560_000, "differs")])
def test_a_count_printed_in_millions_is_matched_to_half_its_last_digit(count, expected):
    table = results.compare(PAPER, "Section 4", [measured("phase 1", "instructions", count)], profile="paper")
    assert table.set_index(["row", "column"]).verdict["phase 1", "instructions"] == expected


@needs_the_papers
@pytest.mark.parametrize("paper", scoreboard.PAPERS)
def test_every_figure_and_table_of_every_paper_is_on_the_scoreboard_once(paper):
    [file] = PAPERS.glob(f"{paper[:4]}*")
    captions = set(re.findall(r"^(?:\*\*)?((?:Figure|Table) \d+)[.:]", file.read_text(), re.M))
    board = scoreboard.summary().query("paper == @scoreboard.PAPERS[@paper]").exhibit
    shown = {exhibit.removeprefix("Supplement ") for exhibit in board if "Section" not in exhibit}
    assert captions and shown == captions and board.is_unique


def test_every_exhibit_of_omni_emotion_is_on_the_scoreboard():
    board = scoreboard.summary().query("paper == 'Omni-Emotion 2025'").exhibit
    expected = {f"Table {k}" for k in range(1, 10)} | {f"Figure {k}" for k in range(1, 7)}
    assert {exhibit for exhibit in board if not exhibit.startswith("Section")} == expected


def test_without_records_every_exhibit_says_that_it_was_not_run(reports):
    board = scoreboard.summary()
    assert board.verdicts.str.contains(r"^(?:\d+ )?not run \(no record\)$").all()
    assert not board.tiny.any() and not board["paper profile"].any()


def test_an_exhibit_without_numbers_is_present_where_a_notebook_made_it(reports):
    for profile, seen in (("paper", "present (paper)"), ("tiny", "present (tiny, paper)")):
        (reports / profile / "figures").mkdir(parents=True)
        (reports / profile / "figures" / "10 Figure 5.png").touch()
        board = scoreboard.summary().query("paper == 'Omni-Emotion 2025'").set_index("exhibit").verdicts
        assert (board["Figure 5"], board["Figure 6"]) == (seen, "not run (no record)")


def test_a_record_of_a_page_of_examples_adds_no_number(reports):
    examples = pd.DataFrame({"row": ["clip 1"], "answer": ["she smiles"]})
    results.record("10", {f"{PAPER} Table 4": examples}, profile="tiny", card={})
    board = scoreboard.summary().query("paper == 'Omni-Emotion 2025'").set_index("exhibit")
    assert board.verdicts["Table 4"] == "present (tiny)" and not board.tiny.any()


def test_committed_notebooks_made_the_files_that_exhibits_name():
    exhibits = pd.read_csv(scoreboard.EXHIBITS)
    assert not exhibits.duplicated(["paper", "exhibit"]).any()
    for file in exhibits.file:
        number = re.search(r"\d\d", file).group()
        if (paths.REPORTS / "tiny" / f"{number}.json").exists():
            assert (paths.REPORTS / "tiny" / file).exists(), f"notebook {number} is committed, {file} is not"
