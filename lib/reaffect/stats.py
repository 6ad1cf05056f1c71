"""Intervals and paired tests by bootstrap over subjects: clips of one person are not independent, people are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from reaffect.errors import InputError

RESAMPLES = 2_000
LEVEL = 0.95

CHUNK = 2**22
"""Weights held at once (32 MiB), so that memory does not grow with the number of resamples."""

ROUNDING = 1e-12
"""Relative to the values: a spread below it is none, and the column counts as constant."""


class Interval(NamedTuple):
    """A percentile interval."""

    low: float
    high: float


class Paired(NamedTuple):
    """Second minus first on the same resamples, its interval and two-sided p."""

    difference: float
    low: float
    high: float
    p: float


class Williams(NamedTuple):
    """Williams' t and its two-sided p."""

    t: float
    p: float


class Moments(NamedTuple):
    """Weighted centred sums, each (draws, k): what Pearson's r, regression slope and spread are made of."""

    rows: np.ndarray
    truth: np.ndarray
    """Sum of squares."""

    prediction: np.ndarray
    """Sum of squares."""

    product: np.ndarray

    @property
    def pearson(self) -> np.ndarray:
        """(draws, k) in [-1, 1]; 0 where a column is constant, as in `metrics.pearson`."""
        return _ratio(self.product, np.sqrt(self.truth * self.prediction), above=ROUNDING)

    @property
    def slope(self) -> np.ndarray:
        """(draws, k): regression of truth on prediction; 0 where the prediction is constant."""
        return _ratio(self.product, self.prediction)

    @property
    def spread_ratio(self) -> np.ndarray:
        """(draws, k): sd(prediction) / sd(truth); 0 where the truth is constant."""
        return np.sqrt(_ratio(self.prediction, self.truth))


def moments(
    weights: Float[np.ndarray, "draws n"],
    truth: Float[np.ndarray, "n k"],
    prediction: Float[np.ndarray, "n k"],
    inside: np.ndarray | None = None,
) -> Moments:
    """Second moments of truth and prediction when clip i counts `weights[:, i]` times.

    Weighted sums replace the copying of rows: one matrix product serves all resamples and columns.

    Args:
        weights: how often each clip counts, one row a resample.
        truth: (n, k).
        prediction: (n, k).
        inside: (n, k) bool, the clips that count at all; None for all of them.
    """
    inside = np.ones(truth.shape) if inside is None else np.asarray(inside, float)
    t, p = _centred(truth, inside), _centred(prediction, inside)
    sums = weights @ np.concatenate([inside, t, p, t**2, p**2, t * p], 1)
    rows, t_sum, p_sum, tt, pp, tp = np.split(sums, 6, axis=1)
    some = np.maximum(rows, 1)
    return Moments(
        rows=rows,
        truth=_sum_of_squares(tt, t_sum**2 / some),
        prediction=_sum_of_squares(pp, p_sum**2 / some),
        product=tp - t_sum * p_sum / some,
    )


def bootstrap_groups(
    statistic: Callable[[np.ndarray], np.ndarray],
    subjects: Sequence,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """A statistic on resamples of subjects, drawn with replacement, each with all of its clips.

    Args:
        statistic: takes weights (draws, n), how often each clip counts, returns (draws, ...). All that it computes
            from one call shares the resamples, so differences of its entries are paired. On the table itself it is
            `statistic(np.ones((1, n)))`.
        subjects: n names; equal names are one subject.
        resamples: how many.
        seed: of the draws.

    Returns:
        (resamples, ...).

    Raises:
        InputError: fewer than two subjects, or no resample.

    >>> twice = bootstrap_groups(lambda weights: weights.sum(1), ["a", "a", "b", "b"], resamples=3)
    >>> twice.tolist()
    [4.0, 4.0, 4.0]
    """
    names, member = np.unique(np.asarray(subjects), return_inverse=True)
    if len(names) < 2:
        raise InputError("An interval over subjects needs at least two subjects; this table has one.")
    if resamples < 1:
        raise InputError(f"resamples={resamples}: ask for at least one, better for {RESAMPLES:,}.")
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
    parts = np.array_split(draws, -(-resamples * len(member) // CHUNK))
    return np.concatenate([statistic(part[:, member].astype(float)) for part in parts])


def bootstrap_mean_pearson(
    truth: np.ndarray,
    prediction: np.ndarray,
    subjects: Sequence,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """95 % percentile interval of the mean Pearson correlation, resampling subjects with replacement.

    A resample draws as many subjects as there are, each with all of its clips.

    Args:
        truth: (n, k).
        prediction: (n, k), no NaN.
        subjects: n names; equal names are one subject.
        resamples: how many.
        seed: of the draws.

    Returns:
        The interval; resamples in which a column is constant count it as 0, as `metrics.pearson` does.

    Raises:
        InputError: fewer than two subjects, lengths differ, or a value is NaN.
    """
    truth, prediction = as_tables(truth, prediction, subjects=subjects)
    values = bootstrap_groups(
        lambda weights: moments(weights, truth, prediction).pearson.mean(1), subjects, resamples=resamples, seed=seed
    )
    return percentile_interval(values)


def paired_mean_pearson(
    truth: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    subjects: Sequence,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Paired:
    """Which of two systems has the higher mean Pearson correlation on the same clips: second minus first.

    Both are scored on the same resamples of subjects, so what makes a resample easy for both cancels.

    Args:
        truth: (n, k).
        first: (n, k), predictions of one system.
        second: (n, k), predictions of the other.
        subjects: n names; equal names are one subject.
        resamples: how many.
        seed: of the draws.

    Returns:
        The difference on the table, its 95 % percentile interval and `paired`'s p.

    Raises:
        InputError: fewer than two subjects, lengths differ, or a value is NaN.
    """
    truth, first, second = as_tables(truth, first, second, subjects=subjects)

    def difference(weights: np.ndarray) -> np.ndarray:
        return moments(weights, truth, second).pearson.mean(1) - moments(weights, truth, first).pearson.mean(1)

    resampled = bootstrap_groups(difference, subjects, resamples=resamples, seed=seed)
    return paired(float(difference(np.ones((1, len(truth))))[0]), resampled)


def paired(difference: float, resampled: np.ndarray) -> Paired:
    """Interval and p of a difference from its resampled values.

    p is the share of resamples on the other side of 0 (0 itself included), doubled, between 1 / (resamples + 1) and
    1. It is below 0.05 where the 95 % interval excludes 0, but for interpolation between two resamples. Differences
    within rounding (`ROUNDING`, for measures of order 1) are 0: a stretch of predictions changes no correlation.

    >>> paired(0.5, np.linspace(-0.1, 1.0, 12)).p.__round__(3)
    0.333
    """
    resampled = np.where(np.abs(resampled) <= ROUNDING, 0, resampled)
    other_side = min(np.mean(resampled <= 0), np.mean(resampled >= 0))
    p = float(np.clip(2 * other_side, 1 / (len(resampled) + 1), 1))
    return Paired(difference, *percentile_interval(resampled), p)


def williams(r_jk: float, r_jh: float, r_kh: float, n: int) -> Williams:
    r"""Williams' t for two dependent correlations that share variable j: is $r_{jk}$ another than $r_{jh}$?

    $$t = (r_{jk} - r_{jh}) \sqrt{\frac{(n - 1)(1 + r_{kh})}
    {2 \frac{n - 1}{n - 3} |R| + \bar r^2 (1 - r_{kh})^3}}, \quad \bar r = \frac{r_{jk} + r_{jh}}{2}$$

    with $|R| = 1 - r_{jk}^2 - r_{jh}^2 - r_{kh}^2 + 2 r_{jk} r_{jh} r_{kh}$ and n - 3 degrees of freedom (Williams
    1959; Steiger 1980, equation 7). It takes rows as independent and normal: with several clips a subject it is too
    sure, so it stands beside `paired_mean_pearson`, for one emotion at a time, and does not replace it.

    Args:
        r_jk: truth with the first prediction, in [-1, 1].
        r_jh: truth with the second prediction.
        r_kh: the two predictions with each other.
        n: rows.

    Returns:
        t, positive where r_jk is larger, and the two-sided p. Equal predictions (r_kh = 1) give t = 0, p = 1.

    Raises:
        InputError: n < 4, a value is no correlation, or the three cannot occur together.

    >>> t, p = williams(0.4, 0.5, 0.1, 103)
    >>> round(t, 2), round(p, 2)
    (-0.89, 0.37)
    """
    if n < 4:
        raise InputError(f"n={n}: Williams' t has n - 3 degrees of freedom and needs at least four rows.")
    if not all(abs(r) <= 1 for r in (r_jk, r_jh, r_kh)):
        raise InputError(f"{r_jk}, {r_jh}, {r_kh}: a correlation lies between -1 and 1.")
    determinant = 1 - r_jk**2 - r_jh**2 - r_kh**2 + 2 * r_jk * r_jh * r_kh
    if determinant < -1e-9:
        raise InputError(f"{r_jk}, {r_jh}, {r_kh}: no three variables correlate like this; are they of the same rows?")
    if r_jk == r_jh:
        return Williams(0.0, 1.0)
    mean = (r_jk + r_jh) / 2
    noise = 2 * (n - 1) / (n - 3) * max(determinant, 0) + mean**2 * (1 - r_kh) ** 3
    with np.errstate(divide="ignore"):
        t = float((r_jk - r_jh) * np.sqrt(np.divide((n - 1) * (1 + r_kh), noise)))
    return Williams(t, float(2 * stats.t.sf(abs(t), n - 3)))


def percentile_interval(values: np.ndarray, level: float = LEVEL) -> Interval:
    """The middle `level` of resampled values.

    >>> percentile_interval(np.arange(101.0), level=0.5)
    Interval(low=25.0, high=75.0)
    """
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))


def as_tables(truth: np.ndarray, *predictions: np.ndarray, subjects: Sequence) -> list[np.ndarray]:
    """Truth and predictions as float arrays (n, k) that fit each other and the subjects.

    Raises:
        InputError: shapes or lengths differ, or a value is NaN.
    """
    tables = [np.asarray(values, float) for values in (truth, *predictions)]
    for table in tables:
        if len(subjects) != len(tables[0]) or table.shape != tables[0].shape or table.ndim != 2:
            raise InputError(f"{len(subjects)} subjects for {tables[0].shape} labels and {table.shape} predictions.")
        if np.isnan(table).any():
            raise InputError("A value is NaN: fill or drop missing answers before scoring.")
    return tables


def _centred(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Deviations from the mean of the clips inside, so that sums of squares lose no digits; 0 outside."""
    mean = (values * inside).sum(0) / np.maximum(inside.sum(0), 1)
    return (values - mean) * inside


def _sum_of_squares(squares: np.ndarray, of_mean: np.ndarray) -> np.ndarray:
    """Squares about the resample's own mean; 0 where the difference is rounding."""
    difference = squares - of_mean
    return np.where(difference <= ROUNDING * squares, 0, difference)


def _ratio(numerator: np.ndarray, denominator: np.ndarray, above: float = 0.0) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > above)
