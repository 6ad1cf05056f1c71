"""Do predictions reach the extremes, and are they right there? The claim of Vaiani et al. 2024, Section 5.3.

The paper sees that predictions with MLLM text 'cover a wider range of values' and concludes that they are 'better at
predicting scores that can be considered outliers'. The first does not imply the second: noise widens predictions as
well as knowledge does. So range and correctness are measured apart:

- how wide: `spread_ratio`, `range_coverage`;
- how right at the extremes: the tail error and `tail_correlation`;
- whether width is earned: `calibration`'s slope, which is r / spread ratio, falls below 1 for predictions that are
  wider than they are right, and is 1 for the mean of the truth given what the system knows.

No single measure proves the claim. Features without any information widen predictions too, for a model fits their
noise (shown on `reaffect.synthetic.tails`). And where predictions are too timid, calibration slope above 1, a mere
stretch lowers the tail error, though clips keep their order; only correlations are blind to a stretch. So the claim
stands where spread ratio, tail error and tail correlation all favour the same system.

Functions of arrays take one emotion (n,) or several (n, k), and return a number or one for each of the k. `bins`
are of equal width on [0, 1]; a value on an edge belongs to the upper bin, 1 to the last, and values outside of
[0, 1], which ViPER can give for it ends without a sigmoid, count in the end bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from reaffect import stats
from reaffect.errors import InputError

BINS = 10
"""Of width 0.1, as in the paper's Figures 5 to 8."""

SHARE = 0.25
"""Of the clips in each tail."""

FLOOR = 0.01
"""Share of the clips from which a bin counts as occupied; one stray prediction covers nothing."""

MEASURES = (
    "spread ratio",
    "range coverage",
    "tail correlation",
    "middle correlation",
    "calibration slope",
    "tail error",
    "mean Pearson",
)
"""The rows of `compare_systems`."""


class Regions(NamedTuple):
    """Pearson correlation among the clips of both tails together, and among those between."""

    tails: np.ndarray
    middle: np.ndarray


class Calibration(NamedTuple):
    """What the truth is where a system predicts so much; (bins,) or (k, bins), `slope` one number an emotion."""

    prediction: np.ndarray
    """Mean prediction in each bin of prediction, not clipped; NaN where the bin is empty."""

    truth: np.ndarray
    """Mean truth of the same clips; NaN where the bin is empty."""

    count: np.ndarray
    """Clips in the bin."""

    slope: np.ndarray
    """Regression of truth on prediction over all clips; 1 is calibrated, 0 for a constant prediction."""


class Caption(NamedTuple):
    """The numbers in the captions of Figures 5 to 8."""

    mean: np.ndarray
    std: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray


def spread_ratio(truth: Float[np.ndarray, "n *k"], prediction: Float[np.ndarray, "n *k"]) -> Float[np.ndarray, "*k"]:
    """sd(prediction) / sd(truth), at least 0.

    The mean of the truth given what a system knows has a spread ratio equal to its correlation, so below 1: a larger
    ratio is wider, not better.

    Raises:
        InputError: shapes differ, a value is NaN, or the truth of an emotion is constant.

    >>> float(spread_ratio(np.array([0.0, 0.5, 1.0]), np.array([0.4, 0.5, 0.6])).round(6))
    0.2
    """
    one = _Columns.of(truth, prediction)
    if (np.ptp(one.truth, axis=0) == 0).any():
        raise InputError("The truth of an emotion is the same for all clips: it has no spread to compare with.")
    return one.shaped(stats.moments(one.once, one.truth, one.prediction).spread_ratio)


def range_coverage(
    truth: Float[np.ndarray, "n *k"], prediction: Float[np.ndarray, "n *k"], bins: int = BINS
) -> Float[np.ndarray, "*k"]:
    """Share of the bins that the truth occupies which the predictions occupy too, in [0, 1].

    A bin is occupied by values that are at least `FLOOR` (1 %) of all clips. Where the predictions of a bin's clips
    lie does not matter: this is the paper's 'range', not accuracy.

    Raises:
        InputError: shapes differ, or a value is NaN.

    >>> float(range_coverage(np.array([0.05, 0.35, 0.65, 0.95]), np.array([0.3, 0.3, 0.6, 0.6])))
    0.5
    """
    one = _Columns.of(truth, prediction)
    return one.shaped(_coverage(one.once, one.truth, one.prediction, bins))


def tails(truth: Float[np.ndarray, "n *k"], share: float = SHARE) -> Bool[np.ndarray, "n *k"]:
    """The clips in the lowest and in the highest `share` of the truth, emotion by emotion.

    Ties with a quantile are in the tail, which is then larger than `share`: reports at exactly 0 are all alike.

    Raises:
        InputError: share is not in (0, 0.5), or ties leave no clip between the tails.

    >>> tails(np.array([0.0, 0.3, 0.5, 0.7, 1.0])).tolist()
    [True, True, False, True, True]
    """
    if not 0 < share < 0.5:
        raise InputError(f"share={share}: each tail is a share of the clips above 0 and below 0.5.")
    truth = np.asarray(truth, float)
    low, high = np.quantile(truth, [share, 1 - share], axis=0)
    inside = (truth <= low) | (truth >= high)
    if inside.all(0).any():
        raise InputError(f"No clip lies between the tails of {share:.0%} each: ties are too many, lower the share.")
    return inside


def tail_correlation(
    truth: Float[np.ndarray, "n *k"], prediction: Float[np.ndarray, "n *k"], share: float = SHARE
) -> Regions:
    r"""Pearson correlation among the clips of both `tails` pooled, and among the clips between them, in [-1, 1].

    Compare systems within a region, never one system's tails with its middle: selection on the truth changes the
    range. With the truth's standard deviation s times the whole's in a region, a linear system of correlation
    $\rho$ and even noise has $r = \rho s / \sqrt{1 - \rho^2 + \rho^2 s^2}$ there (Thorndike 1949, case 2), more than
    $\rho$ in the tails and less in the middle, without serving either better.

    Raises:
        InputError: shapes differ, a value is NaN, or `tails` cannot be formed.
    """
    one = _Columns.of(truth, prediction)
    extreme = tails(one.truth, share)
    regions = (stats.moments(one.once, one.truth, one.prediction, inside).pearson for inside in (extreme, ~extreme))
    return Regions(*(one.shaped(region) for region in regions))


def calibration(
    truth: Float[np.ndarray, "n *k"], prediction: Float[np.ndarray, "n *k"], bins: int = BINS
) -> Calibration:
    """Mean truth in each bin of prediction, and the slope of the regression of truth on prediction.

    Raises:
        InputError: shapes differ, or a value is NaN.

    >>> curve = calibration(np.array([0.0, 0.2, 0.9]), np.array([0.3, 0.3, 0.7]), bins=2)
    >>> curve.truth.round(3).tolist(), curve.count.tolist(), float(curve.slope.round(3))
    ([0.1, 0.9], [2, 1], 2.0)
    """
    one = _Columns.of(truth, prediction)
    member = _one_hot(one.prediction, bins)
    count = member.sum(0)
    with np.errstate(invalid="ignore"):
        predicted, true = (np.einsum("nk,nkb->kb", values, member) / count for values in (one.prediction, one.truth))
    slope = stats.moments(one.once, one.truth, one.prediction).slope
    curve = (one.shaped(values[None]) for values in (predicted, true, count.astype(int)))
    return Calibration(*curve, one.shaped(slope))


def binned(
    truth: Float[np.ndarray, "n *k"], prediction: Float[np.ndarray, "n *k"], bins: int = BINS
) -> Int[np.ndarray, "*k bins bins"]:
    """Clips by bin of truth (rows) and of prediction (columns): Figures 5 to 8.

    Raises:
        InputError: shapes differ, or a value is NaN.

    >>> binned(np.array([0.1, 0.4, 1.0]), np.array([-0.2, 0.5, 0.6]), bins=2).tolist()
    [[1, 1], [0, 1]]
    """
    one = _Columns.of(truth, prediction)
    counts = np.einsum("nkt,nkp->ktp", _one_hot(one.truth, bins), _one_hot(one.prediction, bins))
    return one.shaped(counts[None].astype(int))


def captions(prediction: Float[np.ndarray, "n *k"]) -> Caption:
    """Mean, standard deviation (n in the denominator), minimum and maximum, after clipping to [0, 1].

    ViPER ends without a sigmoid and yet two of the paper's four minima are exactly 0 (Figures 5 and 7): clipping
    explains that, though the paper does not mention it.

    Raises:
        InputError: no clip, or a value is NaN.

    >>> [float(value) for value in captions(np.array([-0.1, 0.5, 0.4, 0.3]))]  # doctest: +ELLIPSIS
    [0.3, 0.187..., 0.0, 0.5]
    """
    prediction = np.asarray(prediction, float)
    if not len(prediction) or np.isnan(prediction).any():
        raise InputError("No prediction, or a NaN among them: fill or drop missing answers before describing them.")
    clipped = np.clip(prediction, 0, 1)
    return Caption(clipped.mean(0), clipped.std(0), clipped.min(0), clipped.max(0))


def main_range(prediction: Float[np.ndarray, " n"], share: float = 0.9, bins: int = BINS) -> tuple[float, float]:
    """The shortest run of bins that holds at least `share` of the predictions: lower and upper edge, in [0, 1].

    The paper reads 'the majority of predictions fall in the range' off its figures (Section 5.3) without saying which
    share that is; 0.9 is ours. Of runs equally short, the one with most predictions.

    Raises:
        InputError: as for `captions`.

    >>> main_range(np.array([0.05, 0.25, 0.28, 0.31, 0.33, 0.35, 0.36, 0.37, 0.38, 0.39]))
    (0.2, 0.4)
    """
    captions(prediction)
    counts = _one_hot(np.asarray(prediction, float)[:, None], bins).sum((0, 1))
    total = np.concatenate([[0.0], counts.cumsum()])
    runs = [(low, high) for low in range(bins) for high in range(low + 1, bins + 1)]
    held = [run for run in runs if total[run[1]] - total[run[0]] >= share * total[-1] - stats.ROUNDING]
    low, high = min(held, key=lambda run: (run[1] - run[0], total[run[0]] - total[run[1]]))
    return low / bins, high / bins


def compare_systems(
    truth: Float[np.ndarray, "n k"],
    first: Float[np.ndarray, "n k"],
    second: Float[np.ndarray, "n k"],
    subjects: Sequence,
    *,
    resamples: int = stats.RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Two systems on the same clips: every measure of this module, averaged over the emotions, with paired intervals.

    Resamples draw subjects and are the same for both systems. Which clips are tails is decided once, on the whole
    table: resamples vary the people, not the question. The tail error is the mean squared error of the predictions
    as they are, in the `tails`.

    Args:
        truth: labels in [0, 1].
        first: predictions of one system.
        second: predictions of the other.
        subjects: n names; equal names are one subject.
        resamples: how many.
        seed: of the draws.

    Returns:
        One row for each of `MEASURES` (the index). Columns `first`, `first low`, `first high`, `second`,
        `second low`, `second high`: values and 95 % intervals; `difference`, `low`, `high`, `p`: second minus first,
        see `stats.paired`; `verdict`: 'first' or 'second', the system with the larger value, for the tail error the
        smaller, where the difference's interval excludes 0; else 'not told apart'. Larger is not always better, see
        `spread_ratio` and `Calibration.slope`. No correction for the seven rows.

    Raises:
        InputError: shapes differ, a value is NaN, fewer than two subjects, or `tails` cannot be formed.
    """
    truth, first, second = stats.as_tables(truth, first, second, subjects=subjects)
    extreme = tails(truth)

    def measure(weights: np.ndarray) -> np.ndarray:
        return np.stack([_measures(weights, truth, prediction, extreme) for prediction in (first, second)], 1)

    observed = measure(np.ones((1, len(truth))))[0]
    resampled = stats.bootstrap_groups(measure, subjects, resamples=resamples, seed=seed)
    rows = [_row(name, observed[:, k], resampled[:, :, k]) for k, name in enumerate(MEASURES)]
    return pd.DataFrame(rows, index=pd.Index(MEASURES, name="measure"))


def _row(name: str, observed: np.ndarray, resampled: np.ndarray) -> dict[str, float | str]:
    """One measure: observed (2,), resampled (draws, 2)."""
    row: dict[str, float | str] = {}
    for system, value, values in zip(("first", "second"), observed, resampled.T, strict=True):
        interval = stats.percentile_interval(values)
        row |= {system: float(value), f"{system} low": interval.low, f"{system} high": interval.high}
    difference = stats.paired(float(observed[1] - observed[0]), resampled[:, 1] - resampled[:, 0])
    return row | difference._asdict() | {"verdict": _verdict(name, difference)}


def _verdict(name: str, difference: stats.Paired) -> str:
    if difference.low <= 0 <= difference.high:
        return "not told apart"
    return "second" if (difference.low > 0) != (name == "tail error") else "first"


def _measures(weights: np.ndarray, truth: np.ndarray, prediction: np.ndarray, extreme: np.ndarray) -> np.ndarray:
    """(draws, len(MEASURES)), means over the emotions."""
    every = stats.moments(weights, truth, prediction)
    in_tails = stats.moments(weights, truth, prediction, extreme)
    between = stats.moments(weights, truth, prediction, ~extreme)
    error = weights @ ((truth - prediction) ** 2 * extreme) / np.maximum(in_tails.rows, 1)
    each = (  # in the order of MEASURES
        every.spread_ratio,
        _coverage(weights, truth, prediction, BINS),
        in_tails.pearson,
        between.pearson,
        every.slope,
        error,
        every.pearson,
    )
    return np.stack([values.mean(1) for values in each], 1)


def _coverage(weights: np.ndarray, truth: np.ndarray, prediction: np.ndarray, bins: int) -> np.ndarray:
    """(draws, k): `range_coverage` of each resample."""
    wanted, reached = (_occupied(weights, values, bins) for values in (truth, prediction))
    return (wanted & reached).sum(2) / wanted.sum(2)


def _occupied(weights: np.ndarray, values: np.ndarray, bins: int) -> np.ndarray:
    """(draws, k, bins) bool: the bin holds at least `FLOOR` of the clips."""
    member = _one_hot(values, bins)
    counts = weights @ member.reshape(len(values), -1)
    shares = counts / weights.sum(1, keepdims=True)
    return (shares >= FLOOR - stats.ROUNDING).reshape(len(weights), *member.shape[1:])


def _one_hot(values: np.ndarray, bins: int) -> np.ndarray:
    """(n, k) -> (n, k, bins). Rounded first: 0.7 in float32 is below 0.7, and answers have one decimal."""
    if not 1 <= bins <= 1 / FLOOR:
        raise InputError(f"bins={bins}: choose 1 to {1 / FLOOR:.0f}, so that the truth occupies at least one of them.")
    index = np.clip(np.floor(np.round(np.clip(values, 0, 1) * bins, 6)), 0, bins - 1)
    return (index[..., None] == np.arange(bins)).astype(float)


class _Columns(NamedTuple):
    """Truth and prediction as (n, k), and the way back to what the caller gave."""

    truth: np.ndarray
    prediction: np.ndarray
    shape: tuple[int, ...]

    @classmethod
    def of(cls, truth: np.ndarray, prediction: np.ndarray) -> _Columns:
        truth, prediction = np.asarray(truth, float), np.asarray(prediction, float)
        if truth.shape != prediction.shape or truth.ndim not in (1, 2) or not truth.size:
            raise InputError(f"Expected two arrays (n,) or (n, k) alike, got {truth.shape} and {prediction.shape}.")
        if np.isnan(truth).any() or np.isnan(prediction).any():
            raise InputError("A value is NaN: fill or drop missing answers before scoring.")
        return cls(truth.reshape(len(truth), -1), prediction.reshape(len(truth), -1), truth.shape[1:])

    @property
    def once(self) -> np.ndarray:
        """Weights (1, n) that count each clip once."""
        return np.ones((1, len(self.truth)))

    def shaped(self, values: np.ndarray) -> np.ndarray:
        """(1, k, ...) -> (*shape, ...)."""
        return values[0].reshape((*self.shape, *values.shape[2:]))[()]
