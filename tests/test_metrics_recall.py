"""UAR and WAR against scikit-learn, by hand, and by what must hold of any."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score
from torchmetrics.functional.classification import multiclass_accuracy

from reaffect.metrics import recall_scores
from reaffect.stats import bootstrap_groups

LABELS = ["angry", "fear", "happy", "sad"]


def pairs(predicted=(*LABELS, "calm", "", None)):
    return st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(predicted)), min_size=1, max_size=40)


@given(pairs(LABELS))
def test_it_is_scikit_learns_where_all_answers_are_labels(items):
    truth, prediction = map(list, zip(*items, strict=True))
    scores = recall_scores(truth, prediction, LABELS)
    present = [label for label in LABELS if label in truth]
    assert scores.uar == pytest.approx(
        recall_score(truth, prediction, labels=present, average="macro", zero_division=0)
    )
    assert scores.war == pytest.approx(accuracy_score(truth, prediction))


def test_it_is_torchmetrics_macro_and_micro_accuracy():
    rng = np.random.default_rng(1)
    truth, prediction = rng.integers(0, 4, (2, 300))
    names = ([LABELS[number] for number in side] for side in (truth, prediction))
    numbers = torch.tensor(prediction), torch.tensor(truth)
    expected = [multiclass_accuracy(*numbers, 4, average=average).item() for average in ("macro", "micro")]
    assert recall_scores(*names, LABELS) == pytest.approx(expected, abs=1e-6)


@given(pairs(), st.randoms())
def test_neither_order_nor_names_matter(items, random):
    truth, prediction = zip(*items, strict=True)
    scores = recall_scores(truth, prediction, LABELS)
    shuffled = random.sample(items, len(items))
    assert recall_scores(*zip(*shuffled, strict=True), LABELS[::-1]) == pytest.approx(scores)
    other = dict(zip(LABELS, "wxyz", strict=True))
    renamed = [(other[one], other.get(said, said)) for one, said in items]
    assert recall_scores(*zip(*renamed, strict=True), "wxyz") == pytest.approx(scores)


@given(pairs(), st.data())
def test_weights_are_repetitions(items, data):
    counts = data.draw(st.lists(st.integers(0, 3), min_size=len(items), max_size=len(items)).filter(any))
    repeated = [item for item, count in zip(items, counts, strict=True) for _ in range(count)]
    once = recall_scores(*zip(*items, strict=True), LABELS, weights=np.array([counts, counts]))
    expected = recall_scores(*zip(*repeated, strict=True), LABELS)
    assert once.uar == pytest.approx([expected.uar] * 2) and once.war == pytest.approx([expected.war] * 2)


def test_an_answer_outside_of_the_labels_is_wrong_and_no_class():
    within = recall_scores(["sad", "sad", "fear"], ["sad", "fear", "fear"], LABELS)
    outside = recall_scores(["sad", "sad", "fear"], ["sad", "contempt", "fear"], LABELS)
    assert within == outside == pytest.approx((0.75, 2 / 3))


def test_the_most_frequent_class_for_all_scores_one_of_so_many_in_uar():
    truth = ["sad"] * 7 + ["fear"] * 2 + ["happy"]
    assert recall_scores(truth, ["sad"] * 10, LABELS) == pytest.approx((1 / 3, 0.7))


def test_shuffled_labels_score_at_chance():
    rng = np.random.default_rng(0)
    truth = rng.choice(LABELS, 400, p=[0.4, 0.3, 0.2, 0.1])
    drawn = [recall_scores(truth, rng.permutation(truth), LABELS).uar for _ in range(50)]
    assert np.mean(drawn) == pytest.approx(0.25, abs=0.01)


def test_a_bootstrap_takes_all_resamples_at_once():
    truth, prediction = ["sad", "sad", "fear", "happy"], ["sad", "fear", "fear", None]

    def statistic(weights):
        return recall_scores(truth, prediction, LABELS, weights=weights).war

    drawn = bootstrap_groups(statistic, list("abcd"), resamples=200)
    assert drawn.shape == (200,) and set(np.unique(drawn)) <= {0, 0.25, 0.5, 0.75, 1}


@pytest.mark.parametrize(
    ("truth", "prediction", "labels", "message"),
    [
        (["sad"], ["sad", "fear"], LABELS, "as many"),
        ([], [], LABELS, "some"),
        (["calm"], ["sad"], LABELS, "'calm' is none of the labels"),
        (["sad"], ["sad"], ["sad", "sad"], "twice"),
    ],
)
def test_bad_input_is_refused(truth, prediction, labels, message):
    with pytest.raises(ValueError, match=message):
        recall_scores(truth, prediction, labels)
