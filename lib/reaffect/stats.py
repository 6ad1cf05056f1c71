"""Intervals by bootstrap over subjects: clips of one person are not independent, people are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reaffect.errors import InputError

RESAMPLES = 2_000
LEVEL = 0.95


class Interval(NamedTuple):
    """A percentile interval."""

    low: float
    high: float


def bootstrap_mean_pearson(
    truth: np.ndarray,
    prediction: np.ndarray,
    subjects: Sequence,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """95 % percentile interval of the mean Pearson correlation, resampling subjects with replacement.

    A resample draws as many subjects as there are, each with all of its clips. Weighted sums replace the copying of
    rows: Pearson's r depends on five sums, each linear in how often a subject was drawn.

    Args:
        truth: (n, k).
        prediction: (n, k), no NaN.
        subjects: n names; equal names are one subject.
        resamples: how many.
        seed: of the draws.

    Returns:
        The interval; resamples in which a column is constant count it as 0, as `metrics.pearson` does.

    Raises:
        InputError: fewer than two subjects, or lengths differ.
    """
    truth, prediction = np.asarray(truth, float), np.asarray(prediction, float)
    names, member = np.unique(np.asarray(subjects), return_inverse=True)
    if len(member) != len(truth) or truth.shape != prediction.shape:
        raise InputError(f"{len(member)} subjects for {truth.shape} labels and {prediction.shape} predictions.")
    if len(names) < 2:
        raise InputError("An interval over subjects needs at least two subjects; this table has one.")
    sums = np.zeros((5, len(names), truth.shape[1]))
    columns = (truth, prediction, truth**2, prediction**2, truth * prediction)
    for total, column in zip(sums, columns, strict=True):
        np.add.at(total, member, column)
    counts = np.bincount(member)
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
    rows = (draws @ counts)[:, None]
    t, p, tt, pp, tp = (draws @ total / rows for total in sums)
    spread = np.sqrt(np.clip(tt - t**2, 0, None) * np.clip(pp - p**2, 0, None))
    each = np.divide(tp - t * p, spread, out=np.zeros_like(spread), where=spread > 1e-12)
    return percentile_interval(each.mean(1))


def percentile_interval(values: np.ndarray, level: float = LEVEL) -> Interval:
    """The middle `level` of resampled values.

    >>> percentile_interval(np.arange(101.0), level=0.5)
    Interval(low=25.0, high=75.0)
    """
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))
