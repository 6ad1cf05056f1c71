"""Rows and captions as the notebooks show them."""

from __future__ import annotations

import numpy as np
import pytest

from reaffect import results, study
from reaffect.corpora.hume import EMOTIONS
from reaffect.metrics import mean_pearson, pearson
from reaffect.training import Fitted, Part


@pytest.fixture
def fitted() -> tuple[list[Fitted], dict[str, Part]]:
    rng = np.random.default_rng(0)
    truth = rng.random((60, 7))
    part = Part([], truth, np.arange(60) // 3)
    guesses = [0.5 * truth + 0.5 * rng.random((60, 7)) for _ in range(3)]
    curves = {"devel": np.array([0.1, 0.4, 0.3])}
    return [Fitted("x", seed, curves, {"devel": guess}, 1) for seed, guess in enumerate(guesses)], {"devel": part}


def test_a_row_is_the_mean_over_seeds_inside_its_interval(fitted):
    seeds, parts = fitted
    row = study.row("ViPER-V", seeds, parts, "devel")
    scores = [mean_pearson(parts["devel"].labels, one.predictions["devel"]) for one in seeds]
    assert row["seeds"] == pytest.approx(scores) and row["value"] == pytest.approx(np.mean(scores))
    assert row["low"] < row["high"]


def test_emotions_of_a_row_average_to_it(fitted):
    seeds, parts = fitted
    rows = {line["column"]: line for line in study.by_emotion("CLIP", seeds, parts, "devel", EMOTIONS)}
    assert set(rows) == set(results.published("vaiani2024", "Table 5").column)
    assert np.mean([rows[e.title()]["value"] for e in EMOTIONS]) == pytest.approx(rows["Average"]["value"])
    expected = np.mean([pearson(parts["devel"].labels, one.predictions["devel"]) for one in seeds], axis=0)
    assert [rows[e.title()]["value"] for e in EMOTIONS] == pytest.approx(expected)
    assert all(rows[e.title()]["low"] < rows[e.title()]["high"] for e in EMOTIONS)


def test_optimism_is_what_the_best_epoch_on_the_reported_part_adds(fitted):
    table = study.protocols({"x": fitted[0]})
    assert table[["ours", "devel-selected", "optimism"]].iloc[0].tolist() == pytest.approx([0.1, 0.4, 0.3])


def test_captions_are_the_figures_numbers():
    rows = study.captions("CLIP", "Adoration", np.array([-0.1, 0.25, 0.35, 0.33]))
    found = {line["column"]: line["value"] for line in rows}
    published = results.published("vaiani2024", "Figure 5")
    assert set(found) == set(published.column) and {line["row"] for line in rows} == set(published.row)
    assert found["minimum"] == 0 and found["maximum"] == 0.35
    assert found["mean"] == pytest.approx(np.mean([0, 0.25, 0.35, 0.33]))
    assert (found["range from"], found["range to"]) == (0.0, 0.4)
