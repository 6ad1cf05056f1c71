"""Scores against scipy, torchmetrics and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from torchmetrics.functional import pearson_corrcoef
from torchmetrics.functional.classification import (
    binary_accuracy,
    binary_f1_score,
    binary_precision,
    binary_recall,
)

from reaffect.metrics import binary_scores, mean_pearson, pearson


@pytest.fixture
def tables() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.random((50, 7))
    return truth, 0.4 * truth + rng.random((50, 7))


def test_equals_scipy_and_torchmetrics(tables):
    truth, prediction = tables
    scipy = [pearsonr(t, p).statistic for t, p in zip(truth.T, prediction.T, strict=True)]
    torchm = pearson_corrcoef(torch.tensor(prediction), torch.tensor(truth)).numpy()
    np.testing.assert_allclose(pearson(truth, prediction), scipy, atol=1e-12)
    np.testing.assert_allclose(pearson(truth, prediction), torchm, atol=1e-12)
    assert mean_pearson(truth, prediction) == pytest.approx(np.mean(scipy), abs=1e-12)


def test_closed_forms():
    ramp = np.arange(5.0)[:, None]
    assert pearson(ramp, 3 * ramp + 1) == pytest.approx([1])
    assert pearson(ramp, -ramp) == pytest.approx([-1])
    assert pearson(ramp, (ramp - 2) ** 2) == pytest.approx([0], abs=1e-15)


def test_a_constant_answer_scores_zero(tables):
    truth, _ = tables
    assert mean_pearson(truth, np.full_like(truth, 0.4)) == 0


@given(st.integers(0, 10_000), st.floats(0.1, 10), st.floats(-5, 5))
def test_laws(seed, scale, shift):
    rng = np.random.default_rng(seed)
    truth, prediction = rng.random((20, 3)), rng.random((20, 3))
    r = pearson(truth, prediction)
    order = rng.permutation(20)
    np.testing.assert_allclose(pearson(truth, scale * prediction + shift), r, atol=1e-9)
    np.testing.assert_allclose(pearson(truth, -prediction), -r, atol=1e-12)
    np.testing.assert_allclose(pearson(prediction, truth), r, atol=1e-12)
    np.testing.assert_allclose(pearson(truth[order], prediction[order]), r, atol=1e-12)
    assert (np.abs(r) <= 1 + 1e-12).all()


@pytest.mark.parametrize(
    ("truth", "prediction", "says"),
    [
        (np.zeros((3, 7)), np.zeros((4, 7)), "expected two arrays"),
        (np.zeros((1, 7)), np.zeros((1, 7)), "n > 1"),
        (np.zeros(3), np.zeros(3), "expected two arrays"),
        (np.zeros((3, 7)), np.full((3, 7), np.nan), "NaN"),
    ],
)
def test_bad_input(truth, prediction, says):
    with pytest.raises(ValueError, match=says):
        pearson(truth, prediction)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_binary_scores_are_torchmetrics(pairs):
    truth, prediction = (np.array(column, float) for column in zip(*pairs, strict=True))
    ours = binary_scores(truth, prediction)
    t, p = torch.tensor(truth), torch.tensor(prediction)
    theirs = [f(p, t) for f in (binary_accuracy, binary_precision, binary_recall, binary_f1_score)]
    np.testing.assert_allclose(ours, [float(value) for value in theirs], atol=1e-6)


def test_binary_scores_count_a_missing_answer_as_wrong():
    truth, prediction = np.array([1, 1, 0, 0]), np.array([1, np.nan, 0, np.nan])
    assert binary_scores(truth, prediction) == (0.5, 1.0, 0.5, pytest.approx(2 / 3))


def test_weights_count_items_several_times():
    truth, prediction = np.array([1, 0, 1, 0]), np.array([1, 1, np.nan, 0])
    weights = np.array([[2, 1, 0, 1], [1, 0, 3, 0]])
    found = binary_scores(truth, prediction, weights=weights)
    for row, counts in enumerate(weights):
        expected = binary_scores(truth.repeat(counts), prediction.repeat(counts))
        np.testing.assert_allclose([score[row] for score in found], expected)


@pytest.mark.parametrize(
    ("truth", "prediction"), [([1, 0], [1]), ([], []), ([1, 2], [1, 0]), ([1, 0], [0.5, 0]), ([np.nan, 1], [1, 1])]
)
def test_binary_scores_refuse_what_is_not_binary(truth, prediction):
    with pytest.raises(ValueError):
        binary_scores(np.array(truth), np.array(prediction))
