"""Probes: many at once equal one after another, selection never sees what is reported, chance stays chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reaffect import training
from reaffect.errors import InputError
from reaffect.metrics import mean_pearson
from reaffect.models.probe import ACTIVATIONS, Probe, ProbeBank
from reaffect.training import Part, fit_probes

OPTIONS = {"hidden": 32, "learning_rate": 3e-3, "epochs": 12, "batch_size": 16}


def planted(seed: int = 0, clips: int = 120, width: int = 12, noise: float = 0.5) -> Part:
    """Labels that depend on the embedding through one fixed matrix."""
    matrix = np.random.default_rng(99).normal(size=(width, 7))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(clips, width))
    y = 1 / (1 + np.exp(-(x @ matrix + noise * rng.normal(size=(clips, 7)))))
    return Part(x, y, np.arange(clips) // 3)


def plain_training(
    train: Part, activation: str, seed: int, hidden: int, learning_rate: float, epochs: int, batch_size: int
):
    """One probe, the way a textbook writes it: the independent expectation."""
    probe = Probe(train.embeddings.shape[1], hidden, activation=activation, seed=seed)
    rows = np.flatnonzero(~training.selection_split(train.subjects, seed=seed))
    x, y = torch.tensor(train.embeddings).float(), torch.tensor(train.labels).float()
    optimizer = torch.optim.AdamW(probe.parameters(), lr=learning_rate)
    for epoch in range(epochs):
        order = np.random.default_rng([seed, 3, epoch]).permutation(rows)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(probe(x[batch]), y[batch]).backward()
            optimizer.step()
    return probe


def test_bank_of_all_activations_equals_single_probes():
    torch.manual_seed(0)
    probes = [Probe(12, 32, activation=name, seed=seed) for name in ACTIVATIONS for seed in range(3)]
    x = torch.randn(len(probes), 5, 12)
    alone = torch.stack([probe(part) for probe, part in zip(probes, x, strict=True)])
    torch.testing.assert_close(ProbeBank(probes)(x), alone, atol=1e-6, rtol=1e-6)


def test_training_at_once_equals_one_after_another():
    train, devel = planted(0), planted(1)
    fitted = fit_probes(train, {"devel": devel}, activations=list(ACTIVATIONS), seeds=[0, 1, 2], **OPTIONS)
    assert [(one.name, one.seed) for one in fitted] == [(a, s) for a in ACTIVATIONS for s in (0, 1, 2)]
    x = torch.tensor(devel.embeddings).float()
    for one in fitted[::2]:
        probe = plain_training(train, one.name, one.seed, **{**OPTIONS, "epochs": one.epoch})
        np.testing.assert_allclose(probe(x).detach().numpy(), one.predictions["devel"], atol=1e-4)


def test_planted_truth_is_found_and_shuffled_labels_score_at_chance():
    train, devel = planted(0, clips=300), planted(1, clips=300)
    options = {"activations": ["ReLU"], "seeds": [0, 1, 2], **OPTIONS}
    found = fit_probes(train, {"devel": devel}, **options)
    chance = fit_probes(training.shuffle_labels(train, seed=0), {"devel": devel}, **options)
    assert all(mean_pearson(devel.labels, one.predictions["devel"]) > 0.6 for one in found)
    # One correlation of 300 clips has a standard error of 0.06, the mean of seven columns about 0.03.
    assert all(abs(mean_pearson(devel.labels, one.predictions["devel"])) < 0.15 for one in chance)


def test_selection_never_looks_at_the_reported_part():
    train, devel = planted(0), planted(1)
    poisoned = devel._replace(labels=1 - devel.labels)
    options = {"activations": ["ReLU"], "seeds": [0, 1], **OPTIONS}
    for one, other in zip(
        fit_probes(train, {"devel": devel}, **options), fit_probes(train, {"devel": poisoned}, **options), strict=True
    ):
        assert one.epoch == other.epoch
        np.testing.assert_array_equal(one.predictions["devel"], other.predictions["devel"])


def test_choosing_on_the_reported_part_is_never_worse_there():
    table = training.summary(
        fit_probes(planted(0), {"devel": planted(1)}, activations=["Tanh"], seeds=[0, 1, 2], **OPTIONS), "devel"
    )
    assert (table["devel-selected"] >= table["ours"]).all()


@given(st.lists(st.integers(0, 9), min_size=2, max_size=60).filter(lambda s: len(set(s)) > 1), st.integers(0, 99))
def test_selection_split_is_disjoint_in_subjects(subjects, seed):
    held = training.selection_split(subjects, seed=seed)
    names = np.array(subjects)
    assert held.any() and not held.all()
    assert not set(names[held]) & set(names[~held])


def test_bad_input():
    broken = planted(0)
    broken.embeddings[3, 0] = np.nan
    with pytest.raises(InputError, match="train: 1 of 120 clips lack"):
        fit_probes(broken, {}, activations=["ReLU"], seeds=[0], **OPTIONS)
    with pytest.raises(InputError, match="at least two subjects"):
        training.selection_split(["a", "a"], seed=0)
    with pytest.raises(ValueError, match="known are Linear"):
        Probe(4, 4, activation="Swish")
