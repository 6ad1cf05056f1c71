"""Published numbers, verdicts in closed form, records, and the pages made from them."""

from __future__ import annotations

import json
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from reaffect import paths, plots, results, scoreboard
from reaffect.corpora.hume import EMOTIONS
from reaffect.errors import InputError
from reaffect.results import measured
from reaffect.stats import Interval

PAPERS = paths.ROOT.parent / "shared" / "papers"


@pytest.fixture
def reports(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REPORTS", tmp_path)
    return tmp_path


def verdict(value: float, interval: Interval | None = None, profile: str = "paper", row: str = "ReLU") -> str:
    ours = [measured(row, "mean Pearson", value, interval=interval)]
    table = results.compare("vaiani2024", "Table 4", ours, profile=profile).set_index("row")
    return table.loc[row, "verdict"]


def test_published_numbers_are_complete_and_unique():
    table = results.published("vaiani2024")
    assert not table.duplicated(["exhibit", "row", "column"]).any()
    sizes = table.groupby("exhibit").size()
    assert sizes[["Table 2", "Table 3", "Table 4", "Table 5", "Table 6"]].tolist() == [14, 10, 7, 24, 8]
    assert sizes[[f"Figure {k}" for k in (5, 6, 7, 8)]].tolist() == [6] * 4
    assert set(table.direction) <= {"higher", "lower", "none"}


def test_eald_s_numbers_are_complete_and_unique():
    table = results.published("eald2024")
    assert not table.duplicated(["exhibit", "row", "column"]).any()
    sizes = table.groupby("exhibit").size().to_dict()
    assert sizes == {
        "Table 1": 16,  # eleven totals and five averages; '<1' and '-' are no numbers
        "Table 2": 14,
        "Table 3": 12,
        "Table 4": 18,
        "Supplement Table 1": 16,
        "Supplement Table 2": 8,
        "Supplement Table 3": 21,
        "Section 4": 9,
    }


def test_microemo_s_numbers_are_complete_and_unique():
    table = results.published("microemo2024")
    assert not table.duplicated(["exhibit", "row", "column"]).any()
    assert table.groupby("exhibit").size().to_dict() == {"Table 1": 69, "Table 2": 12}
    wide = table.pivot(index=["exhibit", "row"], columns="column", values="value")
    apart = (wide.Avg - (wide.Accuracy_S + wide.Recall_S) / 2).abs() > 0.0101
    noted = table[table.note.fillna("") != ""]
    assert list(apart[apart].index.get_level_values("row")) == noted.row.tolist() == ["w/o all proposed modules"]


def test_eald_s_rows_that_are_printed_twice_agree():
    main, more = results.published("eald2024", "Table 4"), results.published("eald2024", "Supplement Table 3")
    both = main.merge(more, on=["row", "column"])
    assert len(both) == len(main) and (both.value_x == both.value_y).all()


@pytest.mark.skipif(not PAPERS.exists(), reason="the papers' texts lie beside the checkout only where it is developed")
@pytest.mark.parametrize("paper", ["vaiani2024", "eald2024", "microemo2024"])
def test_every_published_number_stands_in_the_paper(paper):
    [file] = PAPERS.glob(f"{paper[:4]}*")
    text = file.read_text().replace(",", "").replace("10^{-4}", "1e-4 0.0001").replace("10^{-5}", "1e-5 1e-05")
    printed = pd.read_csv(paths.PUBLISHED, dtype=str).query("paper == @paper").value
    missing = {value for value in printed if value not in text and value != "0.0"}
    assert not {value for value in missing if value.replace(".", "").isdigit()}


def test_bold_numbers_are_their_columns_best():
    table = results.published("vaiani2024")
    bold = table[table.note.str.startswith("best")]
    assert len(bold) == 2
    for line in bold.itertuples():
        column = table[(table.exhibit == line.exhibit) & (table.column == line.column)]
        assert line.value == column.value.max()


def test_table_5_averages_are_the_means_of_their_rows_but_for_the_one_that_is_noted():
    lines = results.published("vaiani2024", "Table 5")
    table = lines.pivot(index="row", columns="column", values="value")
    off = (table.pop("Average") - table.mean(axis=1)).abs() > 1e-4
    noted = lines[(lines.column == "Average") & lines.note.str.contains("average to 0.3014")].row
    assert off[off].index.tolist() == noted.tolist() == ["Video-LLaVA 2"]


@pytest.mark.parametrize(
    ("value", "interval", "expected"),
    [
        (0.2351, None, "match"),
        (0.23514, None, "match"),  # within half a unit of the last digit
        (0.2352, None, "close"),  # beyond it, within 0.02
        (0.2545, Interval(0.23, 0.28), "match"),  # the paper's value lies in our interval
        (0.2545, Interval(0.24, 0.28), "close"),
        (0.2552, Interval(0.24, 0.28), "differs"),  # nothing to rank it against
        (0.9, None, "differs"),  # a higher score is not a pass
    ],
)
def test_verdicts(value, interval, expected):
    assert verdict(value, interval) == expected


def test_order_holds_or_not():
    values = {"Linear": 0.40, "ReLU": 0.50, "Leaky ReLU": 0.60, "Tanh": 0.55}
    ours = [measured(row, "mean Pearson", value) for row, value in values.items()]
    table = results.compare("vaiani2024", "Table 4", ours, profile="paper").set_index("row")
    # The paper: Tanh < Linear < ReLU < Leaky ReLU. Ours puts Tanh third.
    assert table.verdict[["Linear", "ReLU", "Leaky ReLU", "Tanh"]].tolist() == [
        "differs",
        "differs",
        "order",
        "differs",
    ]
    assert table.verdict["ELU"] == "not run (no record)"


def test_planted_numbers_are_never_judged():
    assert verdict(0.2351, profile="tiny") == "not compared (tiny)"


def test_rows_of_ours_come_last_and_unknown_exhibits_are_refused():
    table = results.compare("vaiani2024", "Table 4", [measured("mean predictor", "mean Pearson", 0.0)], profile="paper")
    assert table.iloc[-1].verdict == "ours only" and math.isnan(table.iloc[-1].paper)
    with pytest.raises(InputError, match="no exhibit 'Table 9'; it has Section 3, Table 2"):
        results.published("vaiani2024", "Table 9")
    with pytest.raises(InputError, match="no paper 'vaiani2025'"):
        results.published("vaiani2025")


def test_records_come_back_and_missing_values_are_null(reports):
    table = results.compare(
        "vaiani2024", "Table 4", [measured("ReLU", "mean Pearson", np.float32(0.3))], profile="tiny"
    )
    file = results.record("04", {"vaiani2024 Table 4": table}, profile="tiny", card={"seeds": [0]})
    content = json.loads(file.read_text())
    lines = {line["row"]: line for line in content["exhibits"]["vaiani2024 Table 4"]}
    assert lines["ReLU"]["ours"] == pytest.approx(0.3) and lines["ELU"]["ours"] is None
    assert (reports / "tiny" / "tables" / "04 vaiani2024 Table 4.csv").exists()
    assert not list(reports.rglob("*.part"))
    assert results.records("tiny") == [content]


def test_scoreboard_shows_records_and_the_paper_profile_judges(reports):
    for profile, value in (("tiny", 0.9), ("paper", 0.2351)):
        table = results.compare("vaiani2024", "Table 4", [measured("ReLU", "mean Pearson", value)], profile=profile)
        results.record("04", {"vaiani2024 Table 4": table}, profile=profile, card={})
    board = scoreboard.scoreboard("vaiani2024").set_index(["exhibit", "row"])
    line = board.loc[("Table 4", "ReLU")]
    assert (line.tiny, line["paper profile"], line.verdict) == (0.9, 0.2351, "match")
    assert (board.verdict == "not run (no record)").sum() == len(board) - 1
    assert scoreboard.page() == scoreboard.page()


def test_text_of_a_record_cannot_break_out_of_its_cell():
    page = scoreboard._markdown(pd.DataFrame({"a": ["x | y\n<script>alert(1)</script>"]}))
    assert page.count("\n") == 2 and "<script>" not in page and "\\|" in page


def test_committed_pages_are_what_the_records_give():
    """Generated files, generated anew: `python -m reaffect.scoreboard` would change nothing."""
    assert (paths.REPORTS / "SCOREBOARD.md").read_text() == scoreboard.page()
    text = (paths.ROOT / "README.md").read_text()
    assert text == scoreboard.readme(text)
    assert len(text.splitlines()) <= 150


def test_plots_carry_their_data():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.random((40, 7)), columns=list(EMOTIONS))
    _, axes = plt.subplots(1, 7)
    assert [line.get_label() for line in plots.intensity_density(table, EMOTIONS, axes[0]).lines] == list(EMOTIONS)
    scores = pd.DataFrame({"fear": [0.4, 0.4, 0.4, 0.9]})
    [axis] = plots.repeated_values(scores, [axes[1]])
    assert sorted(bar.get_height() for bar in axis.patches) == [1, 3]
    assert "75%" in axis.get_title()
    rows = results.compare(
        "vaiani2024",
        "Table 4",
        [measured("ReLU", "mean Pearson", 0.3, interval=Interval(0.2, 0.4), seeds=[0.29, 0.31])],
        profile="paper",
    )
    axis = plots.forest(rows[rows.ours.notna()], axes[2])
    assert any(list(line.get_xdata()) == [0.29, 0.31] for line in axis.lines)
    axis = plots.pipeline([("frames", (8, 3)), ("probe", (7,))], axes[3])
    assert {"frames", "8 × 3", "probe", "7"} <= {text.get_text() for text in axis.texts}
    sheet = plots.contact_sheet([np.zeros((4, 4, 3), np.uint8)] * 7, list("abcdefg"), columns=3)
    assert [axis.get_title() for axis in sheet.axes][:7] == list("abcdefg")
    plt.close("all")


def test_shares_count_every_value_once():
    shares = plots.shares(pd.DataFrame({"fear": [0.0, 0.05, 0.95, 1.0, np.nan]}), bins=10)
    assert shares.fear.tolist() == [0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0.5]
    assert shares.index[0] == "0.0 to 0.1"


def test_numbers_of_earlier_notebooks_come_back_as_they_were_recorded(reports):
    one = measured("ReLU", "mean Pearson", 0.25, interval=Interval(0.2, 0.3), seeds=[0.24, 0.26])
    own = measured("mean predictor", "mean Pearson", 0.0)
    table = results.compare("vaiani2024", "Table 4", [one, own], profile="tiny")
    for number in ("04", "99"):
        results.record(number, {"vaiani2024 Table 4": table}, profile="tiny", card={})
    found = results.recorded("vaiani2024 Table 4", profile="tiny", notebooks=["04", "05"])
    assert found == [one], "neither rows that were not run, nor ours only, nor another notebook's"
    assert results.recorded("vaiani2024 Table 3", profile="tiny", notebooks=["04"]) == []
