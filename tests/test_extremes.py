"""Range and correctness at the extremes: against closed forms, other libraries, and systems of known kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress, norm

from reaffect import extremes
from reaffect.errors import InputError
from reaffect.metrics import mean_pearson

RHO = 0.5


def normal_pair(rng, count: int = 400_000):
    """Truth and the best prediction of it, bivariate normal with correlation RHO."""
    prediction = RHO * rng.standard_normal(count)
    return prediction + np.sqrt(1 - RHO**2) * rng.standard_normal(count), prediction


def systems(rng, subjects: int = 60, clips: int = 4):
    """Truth in [0, 1], a timid system, one that adds noise to it, and one that knows the extremes."""
    truth = rng.beta(0.5, 0.5, (subjects * clips, 7))
    timid = 0.5 + 0.3 * (truth - 0.5) + rng.normal(0, 0.1, truth.shape)
    noisy = timid + rng.normal(0, 0.25, truth.shape)
    knowing = timid + 0.5 * (truth - 0.5)
    return truth, timid, noisy, knowing, np.arange(subjects).repeat(clips)


@given(st.floats(0.1, 10), st.floats(-5, 5), st.integers(0, 2**32 - 1))
def test_spread_ratio_scales_and_ignores_shifts(scale, shift, seed):
    truth, prediction = np.random.default_rng(seed).random((2, 20, 3))
    ratio = extremes.spread_ratio(truth, prediction)
    np.testing.assert_allclose(extremes.spread_ratio(truth, scale * prediction + shift), scale * ratio, rtol=1e-9)
    np.testing.assert_allclose(ratio, prediction.std(0) / truth.std(0), rtol=1e-9)


def test_the_best_prediction_has_spread_ratio_r_and_slope_one():
    truth, prediction = normal_pair(np.random.default_rng(1))
    assert extremes.spread_ratio(truth, prediction) == pytest.approx(RHO, abs=0.01)
    assert extremes.calibration(truth, prediction).slope == pytest.approx(1, abs=0.01)


def test_tails_and_middle_of_a_linear_system_follow_range_restriction():
    truth, prediction = normal_pair(np.random.default_rng(2))
    edge = norm.ppf(0.75)
    middle = 1 - 2 * edge * norm.pdf(edge) / 0.5  # variance of a normal truncated to its middle half
    for found, variance in zip(extremes.tail_correlation(truth, prediction), (2 - middle, middle), strict=True):
        expected = RHO * np.sqrt(variance) / np.sqrt(1 - RHO**2 + RHO**2 * variance)
        assert found == pytest.approx(expected, abs=0.01)


def test_tail_correlation_is_pearson_of_the_chosen_clips():
    truth, prediction = np.random.default_rng(3).random((2, 40))
    order = np.argsort(truth)
    outer, inner = np.r_[order[:8], order[-8:]], order[8:-8]
    found = extremes.tail_correlation(truth, prediction, share=0.2)
    assert found.tails == pytest.approx(np.corrcoef(truth[outer], prediction[outer])[0, 1])
    assert found.middle == pytest.approx(np.corrcoef(truth[inner], prediction[inner])[0, 1])


def test_ties_with_a_quantile_are_in_the_tail():
    truth = np.array([0, 0, 0, 0, 0.2, 0.4, 0.6, 0.8, 0.9, 1])
    np.testing.assert_array_equal(extremes.tails(truth, 0.2), [True] * 4 + [False] * 4 + [True] * 2)


def test_range_coverage_needs_one_percent_and_ignores_bins_without_truth():
    truth = np.repeat([0.05, 0.15, 0.25, 0.35], 50)
    prediction = np.full(200, 0.15)
    assert extremes.range_coverage(truth, prediction) == 0.25
    prediction[0] = 0.35
    assert extremes.range_coverage(truth, prediction) == 0.25
    prediction[1] = 0.35
    assert extremes.range_coverage(truth, prediction) == 0.5
    prediction[2:60] = 0.95
    assert extremes.range_coverage(truth, prediction) == 0.5


def test_calibration_equals_means_by_bin_and_a_regression():
    truth, prediction = np.random.default_rng(4).random((2, 300))
    prediction *= 0.75
    found = extremes.calibration(truth, prediction, bins=4)
    for b in range(3):
        inside = (prediction >= b / 4) & (prediction < (b + 1) / 4)
        np.testing.assert_allclose(
            [found.prediction[b], found.truth[b], found.count[b]],
            [prediction[inside].mean(), truth[inside].mean(), inside.sum()],
        )
    assert found.count[3] == 0 and np.isnan(found.truth[3]) and np.isnan(found.prediction[3])
    assert found.slope == pytest.approx(linregress(prediction, truth).slope)
    assert extremes.calibration(truth, np.full(300, 0.3)).slope == 0


def test_binned_equals_numpy_inside_and_clips_outside():
    truth, prediction = np.random.default_rng(5).random((2, 500))
    expected = np.histogram2d(truth, prediction, bins=10, range=[(0, 1), (0, 1)])[0]
    np.testing.assert_array_equal(extremes.binned(truth, prediction), expected)
    outside = extremes.binned(np.array([0.0, 1.0]), np.array([-3.0, 1.7]))
    assert outside[0, 0] == outside[9, 9] == 1 and outside.sum() == 2


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_value_with_one_decimal_is_in_the_bin_that_starts_there(kind):
    answers = np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], kind)
    np.testing.assert_array_equal(extremes.binned(answers, answers), np.eye(10))


def test_captions_describe_clipped_predictions():
    found = extremes.captions(np.array([[-0.5, 0.2], [0.5, 0.4]]))
    np.testing.assert_allclose(found, [[0.25, 0.3], [0.25, 0.1], [0, 0.2], [0.5, 0.4]])


def test_seven_emotions_are_seven_times_one():
    truth, prediction = np.random.default_rng(6).random((2, 50, 7))
    for measure in (extremes.spread_ratio, extremes.range_coverage, extremes.binned):
        each = [measure(truth[:, k], prediction[:, k]) for k in range(7)]
        np.testing.assert_allclose(measure(truth, prediction), each)
    for measure in (extremes.tail_correlation, extremes.calibration):
        for k in range(7):
            for whole, one in zip(measure(truth, prediction), measure(truth[:, k], prediction[:, k]), strict=True):
                np.testing.assert_allclose(whole[k], one)


def test_comparison_shows_the_values_of_the_single_measures():
    truth, first, second, _, subjects = systems(np.random.default_rng(7))
    frame = extremes.compare_systems(truth, first, second, subjects, resamples=50)
    inside = extremes.tails(truth)
    for column, prediction in (("first", first), ("second", second)):
        regions = extremes.tail_correlation(truth, prediction)
        errors = [np.mean((truth[i, k] - prediction[i, k]) ** 2) for k, i in enumerate(inside.T)]
        expected = (
            extremes.spread_ratio(truth, prediction).mean(),
            extremes.range_coverage(truth, prediction).mean(),
            regions.tails.mean(),
            regions.middle.mean(),
            extremes.calibration(truth, prediction).slope.mean(),
            np.mean(errors),
            mean_pearson(truth, prediction),
        )
        np.testing.assert_allclose(frame[column], expected, atol=1e-12)
    assert list(frame.index) == list(extremes.MEASURES)
    np.testing.assert_allclose(frame["difference"], frame["second"] - frame["first"])


def test_comparison_equals_resampling_by_copying_rows():
    truth, first, second, _, subjects = systems(np.random.default_rng(8), subjects=20)
    frame = extremes.compare_systems(truth, first, second, subjects, resamples=100, seed=4)
    inside = extremes.tails(truth)
    values = []
    for count in np.random.default_rng(4).multinomial(20, np.full(20, 1 / 20), 100):
        rows = np.arange(80).repeat(count.repeat(4))
        t, p, q, i = truth[rows], first[rows], second[rows], inside[rows]
        error = [np.mean([np.mean((t - s)[i[:, k], k] ** 2) for k in range(7)]) for s in (p, q)]
        coverage = [extremes.range_coverage(t, s).mean() for s in (p, q)]
        spread = [extremes.spread_ratio(t, s).mean() for s in (p, q)]
        values.append([b - a for a, b in (spread, coverage, error)])
    for name, column in zip(("spread ratio", "range coverage", "tail error"), np.transpose(values), strict=True):
        expected = np.quantile(column, [0.025, 0.975])
        np.testing.assert_allclose(frame.loc[name, ["low", "high"]].astype(float), expected, atol=1e-12)


def test_noise_is_wider_and_no_better():
    truth, timid, noisy, _, subjects = systems(np.random.default_rng(9))
    verdict = extremes.compare_systems(truth, timid, noisy, subjects)["verdict"]
    assert verdict["spread ratio"] == verdict["range coverage"] == "second"
    assert verdict["tail error"] == verdict["tail correlation"] == verdict["calibration slope"] == "first"


def test_knowledge_of_the_extremes_is_wider_and_better_and_order_does_not_matter():
    truth, timid, _, knowing, subjects = systems(np.random.default_rng(10))
    better = ["spread ratio", "range coverage", "tail correlation", "tail error", "mean Pearson"]
    there = extremes.compare_systems(truth, timid, knowing, subjects)
    back = extremes.compare_systems(truth, knowing, timid, subjects)
    assert set(there.loc[better, "verdict"]) == {"second"} and set(back.loc[better, "verdict"]) == {"first"}
    np.testing.assert_allclose(there[["low", "high"]], -back[["high", "low"]], atol=1e-12)
    assert there.loc["tail error", "difference"] < 0


def test_a_stretch_of_timid_predictions_mends_the_tail_error_and_no_correlation():
    truth, timid, *_, subjects = systems(np.random.default_rng(13))
    stretched = 0.5 + 1.5 * (timid - 0.5)
    frame = extremes.compare_systems(truth, timid, stretched, subjects)
    assert frame.loc["spread ratio", "verdict"] == frame.loc["tail error", "verdict"] == "second"
    for measure in ("tail correlation", "middle correlation", "mean Pearson"):
        assert frame.loc[measure, "difference"] == pytest.approx(0, abs=1e-12)
        assert frame.loc[measure, ["low", "high", "p", "verdict"]].tolist() == [0, 0, 1, "not told apart"]


def test_a_system_is_not_told_apart_from_itself():
    truth, timid, *_, subjects = systems(np.random.default_rng(11))
    frame = extremes.compare_systems(truth, timid, timid, subjects, resamples=20)
    assert set(frame["verdict"]) == {"not told apart"} and set(frame["p"]) == {1.0}


def test_bad_input():
    table = np.random.default_rng(12).random((20, 2))
    holed = np.where(table > 0.9, np.nan, table)
    with pytest.raises(InputError, match=r"\(19, 2\)"):
        extremes.binned(table, table[1:])
    with pytest.raises(InputError, match="NaN"):
        extremes.calibration(table, holed)
    with pytest.raises(InputError, match="NaN"):
        extremes.captions(holed)
    with pytest.raises(InputError, match="same for all clips"):
        extremes.spread_ratio(np.full(5, 0.5), np.arange(5))
    with pytest.raises(InputError, match=r"below 0\.5"):
        extremes.tails(table, 0.5)
    with pytest.raises(InputError, match="ties are too many"):
        extremes.tails(np.array([0, 0, 0, 1, 1, 1.0]))
    with pytest.raises(InputError, match="bins=0"):
        extremes.binned(table, table, bins=0)
    with pytest.raises(InputError, match="5 subjects"):
        extremes.compare_systems(table, table, table, range(5))
    with pytest.raises(InputError, match="at least two subjects"):
        extremes.compare_systems(table, table, table, ["a"] * 20)
