"""The analysis of extremes tells text that knows them from text that does not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from reaffect import extremes
from reaffect.errors import InputError
from reaffect.metrics import mean_pearson
from reaffect.synthetic import tails

PENALTY = 30.0
SEEDS = range(6)


class Split(NamedTuple):
    """Features of a subject-disjoint half, labels and names."""

    base: np.ndarray
    text: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray


def halves(corpus: tails.Variant) -> tuple[Split, Split]:
    names = np.unique(corpus.subjects)
    inside = np.isin(corpus.subjects, names[: len(names) // 2])
    return Split(*(column[inside] for column in corpus)), Split(*(column[~inside] for column in corpus))


def ridge(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    mean = train.mean(0)
    gram = (train - mean).T @ (train - mean) + PENALTY * train.var(0).mean() * np.eye(train.shape[1])
    return labels.mean(0) + (test - mean) @ np.linalg.solve(gram, (train - mean).T @ (labels - labels.mean(0)))


def fitted(train: Split, test: Split, text_scale: float) -> np.ndarray:
    """Predictions from base and text; the text's scale sets how dearly ridge pays for it, 0 leaves it out."""
    if text_scale == 0:
        return ridge(train.base, train.labels, test.base)
    both = (np.hstack([half.base, text_scale * half.text]) for half in (train, test))
    return ridge(next(both), train.labels, next(both))


def compared(extra: bool, seed: int, scale=lambda train: 1.0):
    """Base alone against base and text, fitted on one half of the subjects and compared on the other."""
    train, test = halves(tails.variant(extra, seed=seed))
    first, second = fitted(train, test, 0), fitted(train, test, scale(train))
    return extremes.compare_systems(test.labels, first, second, test.subjects, resamples=1_000, seed=seed)


def chosen_scale(train: Split) -> float:
    """The text's scale with the least error over four subject-disjoint folds."""
    fold = np.unique(train.subjects, return_inverse=True)[1] % 4

    def error(scale: float) -> float:
        parts = [[Split(*(c[fold != k] for c in train)), Split(*(c[fold == k] for c in train))] for k in range(4)]
        return sum(((fitted(*part, scale) - part[1].labels) ** 2).sum() for part in parts)

    return min((0, 0.1, 0.3, 1), key=error)


@pytest.mark.parametrize("seed", SEEDS)
def test_text_that_knows_the_extremes_is_wider_and_right_there(seed):
    frame = compared(True, seed)
    for measure in ("spread ratio", "tail error", "mean Pearson"):
        assert frame.loc[measure, "verdict"] == "second"
    assert frame.loc["tail correlation", "difference"] > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_text_that_knows_nothing_new_is_not_better_and_its_width_is_not_earned(seed):
    frame = compared(False, seed)
    for measure in ("tail error", "tail correlation", "mean Pearson", "range coverage"):
        assert frame.loc[measure, "verdict"] != "second"
    assert frame.loc["calibration slope", "verdict"] == "first"
    known = compared(True, seed).loc["spread ratio", "difference"]
    assert frame.loc["spread ratio", "difference"] < known / 3


def test_a_model_that_weighs_its_text_on_other_subjects_is_not_wider_either():
    verdicts = [compared(False, seed, chosen_scale)["verdict"] for seed in SEEDS]
    for measure in ("spread ratio", "tail error"):
        assert all(verdict[measure] != "second" for verdict in verdicts)
    assert compared(True, 0, chosen_scale)["verdict"]["spread ratio"] == "second"


def test_predictions_are_those_of_ridge_on_the_other_half():
    corpus = tails.variant(True, seed=2)
    made, (train, test) = tails.predictions(corpus), halves(corpus)
    np.testing.assert_allclose(made.without, fitted(train, test, 0))
    np.testing.assert_allclose(made.with_text, fitted(train, test, 1.0))
    assert not set(made.subjects) & set(train.subjects)


def test_shuffled_labels_give_chance():
    scores = []
    for seed in range(24):
        train, test = halves(tails.variant(True, seed=seed))
        train = train._replace(labels=np.random.default_rng(seed).permutation(train.labels))
        for scale in (0, 1):
            prediction = fitted(train, test, scale)
            regions = extremes.tail_correlation(test.labels, prediction)
            scores.append([mean_pearson(test.labels, prediction), regions.tails.mean()])
    assert np.abs(np.mean(scores, 0)).max() < 0.06


def test_variants_differ_in_the_text_alone_and_labels_are_hume_like():
    with_tails, without = tails.variant(True, seed=3), tails.variant(False, seed=3)
    np.testing.assert_array_equal(with_tails.base, without.base)
    np.testing.assert_array_equal(with_tails.labels, without.labels)
    assert with_tails.text.shape == (480, tails.WIDTH) and not np.allclose(with_tails.text, without.text)
    assert with_tails.labels.min() == 0 and with_tails.labels.max() == 1
    assert len(np.unique(with_tails.subjects)) == 160
    np.testing.assert_array_equal(tails.variant(True, seed=3).text, with_tails.text)


def test_more_subjects_than_clips_is_refused():
    with pytest.raises(InputError, match="every subject needs a clip"):
        tails.variant(True, clips=10, subjects=11)
