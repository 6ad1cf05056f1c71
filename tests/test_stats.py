"""Intervals over subjects: equal to copying rows, and they cover the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from reaffect import stats
from reaffect.errors import InputError
from reaffect.metrics import mean_pearson


def simulated(rng, subjects: int = 30, clips: int = 3, rho: float = 0.4):
    """Truth and prediction with correlation rho; half of each one's variance is the person's."""
    person = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], (subjects, 2)).repeat(clips, 0)
    clip = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], (subjects * clips, 2))
    both = (person + clip) / np.sqrt(2)
    return both[..., 0], both[..., 1], np.arange(subjects).repeat(clips)


def test_equals_resampling_by_copying_rows():
    truth, prediction, subjects = simulated(np.random.default_rng(1))
    found = stats.bootstrap_mean_pearson(truth, prediction, subjects, resamples=300, seed=5)
    counts = np.random.default_rng(5).multinomial(30, np.full(30, 1 / 30), 300)
    values = []
    for count in counts:
        rows = np.concatenate([np.tile(np.flatnonzero(subjects == s), k) for s, k in enumerate(count) if k])
        values.append(mean_pearson(truth[rows], prediction[rows]))
    np.testing.assert_allclose(found, np.quantile(values, [0.025, 0.975]), atol=1e-12)


def test_covers_the_true_value_about_as_often_as_stated():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        low, high = stats.bootstrap_mean_pearson(*simulated(rng), resamples=400)
        covered += low <= 0.4 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_resampling_clips_of_few_people_would_be_too_sure():
    truth, prediction, subjects = simulated(np.random.default_rng(3), subjects=12, clips=12)
    over_people = stats.bootstrap_mean_pearson(truth, prediction, subjects)
    over_clips = stats.bootstrap_mean_pearson(truth, prediction, np.arange(len(truth)))
    assert over_people.high - over_people.low > 1.3 * (over_clips.high - over_clips.low)


def test_same_seed_same_interval_and_names_may_be_text():
    truth, prediction, subjects = simulated(np.random.default_rng(4))
    names = [f"S{k}" for k in subjects]
    first = stats.bootstrap_mean_pearson(truth, prediction, names, seed=1)
    assert first == stats.bootstrap_mean_pearson(truth, prediction, names, seed=1)
    assert first != stats.bootstrap_mean_pearson(truth, prediction, names, seed=2)


def test_bad_input():
    table = np.random.default_rng(0).random((6, 2))
    with pytest.raises(InputError, match="at least two subjects"):
        stats.bootstrap_mean_pearson(table, table, ["a"] * 6)
    with pytest.raises(InputError, match="5 subjects"):
        stats.bootstrap_mean_pearson(table, table, range(5))
