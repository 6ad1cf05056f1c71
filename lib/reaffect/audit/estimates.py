"""Shares, error rates and rankings with intervals over subjects, in one form for all measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from reaffect.errors import InputError
from reaffect.stats import Interval, bootstrap_groups, percentile_interval


class Estimate(NamedTuple):
    """A value and its 95 % percentile interval, by bootstrap over subjects."""

    value: float
    low: float
    high: float


class Row(NamedTuple):
    """One measure before and after de-identification."""

    measure: str
    before: Estimate
    after: Estimate
    chance: float
    """What no information gives; NaN where there is no such value."""

    clips: int
    """How many the measure could use."""


def ratio(numerators: Sequence[float], denominators: Sequence[float], subjects: Sequence) -> Estimate:
    """Sum of numerators by sum of denominators; a subject is resampled with all of its clips.

    >>> ratio([1, 1, 0, 0], [1, 1, 2, 2], ["a", "a", "b", "b"])
    Estimate(value=0.3333333333333333, low=0.0, high=1.0)
    """
    parts = np.stack([np.asarray(numerators, float), np.asarray(denominators, float)], 1)
    if not parts[:, 1].any():
        return Estimate(np.nan, np.nan, np.nan)

    def statistic(weights: np.ndarray) -> np.ndarray:
        top, bottom = (weights @ parts).T
        return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)

    return _estimate(statistic, subjects)


def equal_error_rate(
    scores: Float[np.ndarray, " trials"],
    mated: Bool[np.ndarray, " trials"],
    weights: Float[np.ndarray, " trials"] | None = None,
) -> float:
    """Where as many mated trials are missed as non-mated ones accepted; between two thresholds the ROC is a line.

    Args:
        scores: higher where a trial looks more like one subject's.
        mated: whether it is.
        weights: how often each trial counts; once, if None.

    Returns:
        In [0, 1]; 0.5 at chance, NaN without mated or without non-mated trials.

    >>> equal_error_rate(np.array([0.1, 0.4, 0.3, 0.9]), np.array([False, False, True, True]))
    0.5
    """
    order = np.argsort(scores)
    weights = np.ones(len(scores)) if weights is None else weights
    return float(_crossing(np.asarray(scores)[order], np.asarray(mated)[order], np.asarray(weights, float)[order]))


def _crossing(scores: np.ndarray, mated: np.ndarray, weights: np.ndarray) -> float:
    """As `equal_error_rate`, for scores in ascending order."""
    below, accepted = np.cumsum(weights * mated), np.cumsum(weights * ~mated)
    if not below[-1] or not accepted[-1]:
        return np.nan
    steps = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # equal scores fall to one threshold
    missed = np.concatenate([[0.0], below[steps] / below[-1]])
    accepted = np.concatenate([[1.0], 1 - accepted[steps] / accepted[-1]])
    gap = missed - accepted
    after = int(np.argmax(gap >= 0))
    part = -gap[after - 1] / (gap[after] - gap[after - 1])
    return missed[after - 1] + part * (missed[after] - missed[after - 1])


def verification(
    enrolled: Float[np.ndarray, "clips width"], tried: Float[np.ndarray, "clips width"], subjects: Sequence
) -> Estimate:
    """Equal error rate of cosines between every clip as enrolment and every OTHER clip as trial.

    In a resample a subject that is drawn k times counts k times in its mated trials, and two subjects drawn k and m
    times count k m times in their non-mated ones.

    Raises:
        InputError: no subject has two clips.
    """
    names = np.asarray(subjects)
    first, second = np.nonzero(~np.eye(len(names), dtype=bool))
    mated = names[first] == names[second]
    if not mated.any():
        raise InputError("No subject has two clips: there is nothing to recognise anybody by. Add clips.")
    scores = (_unit(enrolled) @ _unit(tried).T)[first, second]
    order = np.argsort(scores)
    scores, mated, first, second = scores[order], mated[order], first[order], second[order]

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.array([_crossing(scores, mated, np.where(mated, w[first], w[first] * w[second])) for w in weights])

    return _estimate(statistic, subjects)


def rank_one(
    gallery: Float[np.ndarray, "people width"],
    people: Sequence,
    probes: Float[np.ndarray, "probes width"],
    subjects: Sequence,
) -> Estimate:
    """Share of probes whose nearest entry of the gallery (Euclidean) is their own subject.

    The interval resamples the probes' subjects and leaves the gallery as it is: with some people twice and others
    absent it would be an easier one.
    """
    distances = ((np.asarray(probes)[:, None] - np.asarray(gallery)[None]) ** 2).sum(-1)
    hits = np.asarray(people)[distances.argmin(1)] == np.asarray(subjects)
    return ratio(hits, np.ones(len(hits)), subjects)


def ranking(truth: Bool[np.ndarray, " clips"], scores: Float[np.ndarray, " clips"], subjects: Sequence) -> Estimate:
    """Area under the ROC curve: how often a positive clip scores above a negative one, ties by half."""
    truth, scores = np.asarray(truth, bool), np.asarray(scores, float)
    positive, negative = np.flatnonzero(truth), np.flatnonzero(~truth)
    difference = np.sign(scores[positive][:, None] - scores[negative])
    above = (difference + 1) / 2

    def statistic(weights: np.ndarray) -> np.ndarray:
        top, bottom = weights[:, positive], weights[:, negative]
        pairs = top.sum(1) * bottom.sum(1)
        won = ((top @ above) * bottom).sum(1)
        return np.divide(won, pairs, out=np.full_like(won, np.nan), where=pairs > 0)

    return _estimate(statistic, subjects)


def _estimate(statistic, subjects: Sequence) -> Estimate:
    """The statistic on all clips, and its interval over the resamples that have it."""
    resampled = bootstrap_groups(statistic, subjects)
    known = resampled[~np.isnan(resampled)]
    interval = percentile_interval(known) if len(known) else Interval(np.nan, np.nan)
    return Estimate(float(statistic(np.ones((1, len(subjects))))[0]), *interval)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
