"""Scores of predictions against truth. Arguments are `(truth, prediction)`; nothing of ours is imported."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class BinaryScores(NamedTuple):
    """Each in [0, 1]; what would divide by zero is 0."""

    accuracy: float
    precision: float
    recall: float
    f1: float


def pearson(truth: Float[np.ndarray, "n k"], prediction: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
    r"""Pearson correlation of each column, in [-1, 1].

    $$r = \frac{\sum_i (y_i - \bar y)(p_i - \bar p)}{\sqrt{\sum_i (y_i - \bar y)^2 \sum_i (p_i - \bar p)^2}}$$

    A constant column correlates with nothing: its r is 0, so that a model that always answers the same is scored like
    one that guesses, and a mean over columns stays a number.

    Raises:
        ValueError: shapes differ, fewer than two rows, or a value is NaN (decide first what a missing answer counts).

    >>> pearson(np.array([[0.0], [0.5], [1.0]]), np.array([[0.1], [0.2], [0.3]])).round(6)
    array([1.])
    """
    truth, prediction = np.asarray(truth, float), np.asarray(prediction, float)
    if truth.shape != prediction.shape or truth.ndim != 2 or len(truth) < 2:
        raise ValueError(f"expected two arrays (n, k) with n > 1, got {truth.shape} and {prediction.shape}")
    if np.isnan(truth).any() or np.isnan(prediction).any():
        raise ValueError("a value is NaN: fill or drop missing answers before scoring")
    return _correlation(truth - truth.mean(0), prediction - prediction.mean(0))


def mean_pearson(truth: Float[np.ndarray, "n k"], prediction: Float[np.ndarray, "n k"]) -> float:
    """Mean over the columns of `pearson`: the measure of MuSe-Reaction and of Vaiani et al. 2024, Section 5.2."""
    return float(pearson(truth, prediction).mean())


def binary_scores(
    truth: Float[np.ndarray, " n"],
    prediction: Float[np.ndarray, " n"],
    *,
    weights: Float[np.ndarray, "*k n"] | None = None,
) -> BinaryScores:
    r"""Accuracy, precision, recall and F1 of the positive class (EALD-MLLM 2024, Equations 3 to 6).

    An item without a prediction (NaN) counts as wrong, and as positive for nobody: it lowers accuracy and, where the
    truth is positive, recall. Leaving it out would reward whoever answers the easy ones only.

    Args:
        truth: 1 or True is positive, 0 or False negative.
        prediction: the same, or NaN.
        weights: how often each item counts, for example in a bootstrap; leading dimensions go into the scores.

    Raises:
        ValueError: shapes differ, nothing to score, or a value other than these.

    >>> binary_scores(np.array([1, 1, 0, 0]), np.array([1, np.nan, 1, 0]))
    BinaryScores(accuracy=0.5, precision=0.5, recall=0.5, f1=0.5)
    """
    truth, prediction = np.asarray(truth, float), np.asarray(prediction, float)
    if truth.shape != prediction.shape or truth.ndim != 1 or not len(truth):
        raise ValueError(f"expected two arrays (n,) with n > 0, got {truth.shape} and {prediction.shape}")
    if not np.isin(truth, (0, 1)).all() or not (np.isin(prediction, (0, 1)) | np.isnan(prediction)).all():
        raise ValueError("truth must be 0 or 1, a prediction 0, 1 or NaN")
    weights = np.ones(len(truth)) if weights is None else np.asarray(weights, float)
    claims, is_there, is_right = prediction == 1, truth == 1, prediction == truth
    right, hits, claimed, there = (weights @ which for which in (is_right, claims & is_there, claims, is_there))
    accuracy = _share(right, weights.sum(-1))
    scores = accuracy, _share(hits, claimed), _share(hits, there), _share(2 * hits, claimed + there)
    return BinaryScores(*(float(score) if np.ndim(score) == 0 else score for score in scores))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part, float), where=np.asarray(whole) > 0)


def _correlation(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Of centred columns. Spreads below rounding of the values count as constant."""
    spread = np.sqrt((truth**2).sum(0) * (prediction**2).sum(0))
    return np.divide((truth * prediction).sum(0), spread, out=np.zeros_like(spread), where=spread > 1e-12)
