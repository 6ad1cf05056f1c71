"""Intervals and tests over subjects: equal to copying rows, and they err as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress

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


def copied(subjects: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Row numbers of a resample, as if rows were copied."""
    return np.concatenate([np.tile(np.flatnonzero(subjects == s), k) for s, k in enumerate(count) if k])


def two_systems(rng, subjects: int = 30, clips: int = 3, first: float = 0.4, second: float = 0.4):
    """Truth and two predictions of two emotions, normal, that correlate with it as said and with each other by 0.5."""
    law = np.array([[1, first, second], [first, 1, 0.5], [second, 0.5, 1]])
    person = rng.multivariate_normal(np.zeros(3), law, (subjects, 2)).repeat(clips, 0)
    clip = rng.multivariate_normal(np.zeros(3), law, (subjects * clips, 2))
    truth, one, two = np.moveaxis(person + clip, 2, 0)
    return truth, one, two, np.arange(subjects).repeat(clips)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_moments_are_those_of_copied_rows(seed, masked):
    rng = np.random.default_rng(seed)
    truth, prediction = rng.random((2, 12, 1)) + 100
    weights = rng.integers(1, 4, (1, 12))
    inside = np.arange(12) < 8 if masked else np.ones(12, bool)
    rows = np.repeat(np.arange(12)[inside], weights[0, inside])
    line = linregress(prediction[rows, 0], truth[rows, 0])
    found = stats.moments(weights, truth, prediction, inside[:, None])
    np.testing.assert_allclose(found.pearson, line.rvalue, atol=1e-8)
    np.testing.assert_allclose(found.slope, line.slope, atol=1e-8)
    np.testing.assert_allclose(found.spread_ratio, prediction[rows].std() / truth[rows].std(), atol=1e-8)
    assert found.rows == len(rows)


def test_a_constant_counts_as_zero_even_in_one_resample_only():
    rng = np.random.default_rng(10)
    still = np.repeat(rng.random((1, 50)), 90, 0)
    varied, half_still = rng.random(still.shape), np.where(np.arange(90)[:, None] < 60, still, rng.random(still.shape))
    once, first_part = np.ones((1, 90)), np.r_[rng.integers(1, 5, 60), np.zeros(30)][None]
    for weights, constant in ((once, still), (first_part, half_still)):
        assert not stats.moments(weights, varied, constant).pearson.any()
        assert not stats.moments(weights, varied, constant).slope.any()
        assert not stats.moments(weights, constant, varied).spread_ratio.any()


def test_groups_are_drawn_whole_and_chunks_change_nothing(monkeypatch):
    subjects = ["a", "b", "a", "c"]
    weights = stats.bootstrap_groups(lambda weights: weights, subjects, resamples=50, seed=3)
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, [0, 1, 3]].sum(1) == 3).all()
    monkeypatch.setattr(stats, "CHUNK", 12)
    np.testing.assert_array_equal(
        stats.bootstrap_groups(lambda weights: weights, subjects, resamples=50, seed=3), weights
    )


def test_paired_difference_equals_resampling_by_copying_rows():
    truth, first, second, subjects = two_systems(np.random.default_rng(1), second=0.5)
    found = stats.paired_mean_pearson(truth, first, second, subjects, resamples=300, seed=5)
    counts = np.random.default_rng(5).multinomial(30, np.full(30, 1 / 30), 300)
    all_rows = [copied(subjects, count) for count in counts]
    values = [mean_pearson(truth[r], second[r]) - mean_pearson(truth[r], first[r]) for r in all_rows]
    np.testing.assert_allclose(found[1:3], np.quantile(values, [0.025, 0.975]), atol=1e-12)
    assert found.difference == pytest.approx(mean_pearson(truth, second) - mean_pearson(truth, first), abs=1e-12)
    assert found.p == pytest.approx(2 * min(np.mean(np.array(values) <= 0), np.mean(np.array(values) >= 0)))


def test_paired_test_of_equal_systems_rejects_about_as_often_as_stated():
    rng = np.random.default_rng(6)
    p = [stats.paired_mean_pearson(*two_systems(rng), resamples=400).p for _ in range(400)]
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.09


def test_pairing_sees_what_two_intervals_cannot():
    rng = np.random.default_rng(7)
    truth, first, _, subjects = two_systems(rng, subjects=60)
    second = first + 0.2 * truth
    one, two = (stats.bootstrap_mean_pearson(truth, each, subjects) for each in (first, second))
    better = stats.paired_mean_pearson(truth, first, second, subjects)
    assert one.high > two.low and better.low > 0 and better.p == 1 / 2001


def test_swapping_the_systems_turns_the_sign_and_keeps_p():
    truth, first, second, subjects = two_systems(np.random.default_rng(8), second=0.45)
    there = stats.paired_mean_pearson(truth, first, second, subjects)
    back = stats.paired_mean_pearson(truth, second, first, subjects)
    np.testing.assert_allclose(back, [-there.difference, -there.high, -there.low, there.p], atol=1e-12)
    assert stats.paired_mean_pearson(truth, first, first, subjects) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("correlations", "n", "t", "p"),
    [
        # printed by the R package cocor 1.1 (Diedenhofen and Musch 2015): rmcorr's vignette, and two public analyses
        ((0.8066, 0.2383, 0.2255), 177, 9.3823, 0.0),
        ((-0.1741, 0.2015, 0.3734), 646, -9.0340, 0.0),
        ((0.5447, 0.8, 0.0729), 70, -2.8114, 0.0065),
    ],
)
def test_williams_equals_published_results(correlations, n, t, p):
    found = stats.williams(*correlations, n)
    assert found.t == pytest.approx(t, abs=2e-3)  # the inputs are printed with four decimals
    assert found.p == pytest.approx(p, abs=1e-4)


def test_williams_rejects_equal_correlations_about_as_often_as_stated():
    rng = np.random.default_rng(9)
    law = np.array([[1, 0.4, 0.4], [0.4, 1, 0.6], [0.4, 0.6, 1]])
    samples = rng.multivariate_normal(np.zeros(3), law, (5_000, 25))
    found = [np.corrcoef(sample.T) for sample in samples]
    p = np.array([stats.williams(r[0, 1], r[0, 2], r[1, 2], 25).p for r in found])
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.01)
    assert np.mean(p < 0.5) == pytest.approx(0.5, abs=0.03)


def test_williams_at_the_edges():
    assert stats.williams(0.3, 0.3, 1.0, 50) == (0, 1)
    forward, back = stats.williams(0.5, 0.3, 0.2, 50), stats.williams(0.3, 0.5, 0.2, 50)
    assert forward.t == -back.t > 0 and forward.p == back.p
    assert stats.williams(1.0, 0.0, 0.0, 10).p < 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.1, 0.2, 0.3, 3), "at least four"),
        ((1.1, 0.2, 0.3, 30), "between -1 and 1"),
        ((0.1, float("nan"), 0.3, 30), "between -1 and 1"),
        ((0.9, -0.9, 0.9, 30), "no three variables"),
    ],
)
def test_williams_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        stats.williams(*arguments)


def test_bad_pairs():
    table = np.random.default_rng(0).random((6, 2))
    with pytest.raises(InputError, match=r"\(5, 2\) predictions"):
        stats.paired_mean_pearson(table, table, table[:5], range(6))
    with pytest.raises(InputError, match="NaN"):
        stats.paired_mean_pearson(table, table, np.where(table > 0.5, np.nan, table), range(6))
    with pytest.raises(InputError, match="at least one"):
        stats.paired_mean_pearson(table, table, table, range(6), resamples=0)
