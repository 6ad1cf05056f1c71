"""Linear probes: planted directions are found, shuffled ones are not, and the recipe is as written."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reaffect.errors import InputError
from reaffect.linear import AUDIO, VIDEO, Examples, Recipe, fit_linear

SEEDS = [0, 1, 2]


def planted(count: int, width: int = 24, strength: float = 1.5, seed: int = 0) -> Examples:
    """Two classes apart along one direction, two videos a subject."""
    direction = np.random.default_rng(7).standard_normal(width)
    rng = np.random.default_rng(seed)
    positive = np.arange(count) % 2 == 1
    features = rng.standard_normal((count, width)) + strength * np.where(positive, 1, -1)[:, None] * direction
    return Examples(features.astype(np.float32), positive, np.arange(count) // 2)


@pytest.mark.parametrize("recipe", [VIDEO, AUDIO], ids=["video", "audio"])
def test_planted_classes_are_learned(recipe):
    train, test = planted(72), planted(74, seed=1)
    for one in fit_linear(train, test.features, seeds=SEEDS, recipe=recipe):
        assert (one.predictions == test.positive).mean() > 0.95
        assert one.losses[-1] < one.losses[0]
        assert one.predictions.dtype == bool
        assert np.array_equal(one.predictions, one.probabilities > 0.5)
        assert ((one.probabilities >= 0) & (one.probabilities <= 1)).all()


@pytest.mark.parametrize("recipe", [VIDEO, AUDIO], ids=["video", "audio"])
def test_shuffled_labels_leave_nothing_to_learn(recipe):
    test = planted(400, seed=1)
    right = []
    for draw in range(16):
        train = planted(36, seed=100 + draw)
        shuffled = np.random.default_rng(draw).permutation(train.positive)
        [one] = fit_linear(train._replace(positive=shuffled), test.features, seeds=[draw], recipe=recipe)
        right.append((one.predictions == test.positive).mean())
    assert abs(np.mean(right) - 0.5) < 4 * np.std(right) / np.sqrt(len(right))


def test_rates_are_the_product_of_pytorchs_schedules():
    """10 steps an epoch: mmaction2's LinearLR by step and CosineAnnealingLR by epoch, chained as there."""
    [one] = fit_linear(planted(80), planted(2).features, seeds=[0])
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1e-3)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=25)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
    expected = []
    for _ in range(30):
        for _ in range(10):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            warmup.step()
        cosine.step()
    np.testing.assert_allclose(one.rates, expected, rtol=1e-9)


@given(
    count=st.integers(4, 30),
    batch_size=st.integers(1, 9),
    epochs=st.integers(1, 4),
    warmup=st.sampled_from([0, 0.5, 1.3]),
    cosine=st.booleans(),
)
def test_rates_have_a_closed_form(count, batch_size, epochs, warmup, cosine):
    recipe = Recipe(learning_rate=0.5, epochs=epochs, batch_size=batch_size, warmup_epochs=warmup, cosine=cosine)
    train = planted(count, width=3)
    [one] = fit_linear(train, train.features, seeds=[0], recipe=recipe)
    steps = math.ceil(count / batch_size)
    assert len(one.rates) == steps * epochs
    for step, rate in enumerate(one.rates):
        rising = 0.1 + 0.9 * step / (warmup * steps) if step < warmup * steps else 1
        falling = (1 + math.cos(math.pi * (step // steps) / epochs)) / 2 if cosine else 1
        assert rate == pytest.approx(0.5 * rising * falling)


def test_the_recipe_is_the_papers():
    assert (VIDEO.epochs, VIDEO.warmup_epochs, VIDEO.cosine, VIDEO.patience) == (30, 2.5, True, None)
    assert (AUDIO.epochs, AUDIO.warmup_epochs, AUDIO.cosine) == (30, 0, False)
    assert AUDIO.patience is not None


def test_one_step_is_adamws_by_hand():
    """Gradient of the mean logistic loss, then AdamW's first step: decay, and the rate towards the gradient's sign."""
    train = planted(6, width=4)
    recipe = Recipe(learning_rate=0.1, weight_decay=0.2, epochs=1, batch_size=6, warmup_epochs=0, cosine=False)
    [one] = fit_linear(train, np.eye(4, dtype=np.float32), seeds=[3], recipe=recipe)
    start = torch.empty(1, 4).normal_(std=0.01, generator=torch.Generator().manual_seed(3))[0].double().numpy()
    x, y = train.features.astype(float), train.positive.astype(float)
    wrong = 1 / (1 + np.exp(-x @ start)) - y
    weight = start * (1 - 0.1 * 0.2) - 0.1 * np.sign(x.T @ wrong / 6)
    bias = -0.1 * np.sign(wrong.mean())
    np.testing.assert_allclose(one.probabilities, 1 / (1 + np.exp(-weight - bias)), atol=1e-4)


def test_only_the_layer_learns():
    """Features that carry a graph get no gradient, and stay what they were."""
    backbone = torch.nn.Linear(5, 24)
    train, test = planted(16), planted(8, seed=1)
    before = train.features.copy()
    features = backbone(torch.ones(8, 5))
    fit_linear(train, features.detach().numpy(), seeds=[0])
    assert all(weight.grad is None for weight in backbone.parameters())
    np.testing.assert_array_equal(train.features, before)
    assert test.features.shape == (8, 24)


def test_seeds_decide_alone():
    train, test = planted(30, strength=0.2), planted(20, strength=0.2, seed=1)
    alone = [fit_linear(train, test.features, seeds=[seed], recipe=AUDIO)[0] for seed in SEEDS]
    together = fit_linear(train, test.features, seeds=SEEDS, recipe=AUDIO)
    for one, other in zip(alone, together, strict=True):
        assert one.seed == other.seed
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert not np.array_equal(alone[0].probabilities, alone[1].probabilities)


def test_early_stopping_keeps_the_best_epoch_and_stops_after_patience():
    """Noise alone: a rate so high that the held-out loss soon rises."""
    rng = np.random.default_rng(0)
    train = Examples(rng.standard_normal((20, 60)).astype(np.float32), np.arange(20) % 2 == 0, np.arange(20))
    test = rng.standard_normal((9, 60)).astype(np.float32)
    recipe = Recipe(learning_rate=0.3, warmup_epochs=0, cosine=False, patience=2)
    [one] = fit_linear(train, test, seeds=[0], recipe=recipe)
    assert one.epoch < len(one.losses) == one.epoch + 2 < 30
    shorter = Recipe(learning_rate=0.3, warmup_epochs=0, cosine=False, patience=2, epochs=one.epoch)
    [again] = fit_linear(train, test, seeds=[0], recipe=shorter)
    np.testing.assert_array_equal(again.probabilities, one.probabilities)


def test_what_is_predicted_plays_no_part():
    """Other videos to predict, other probabilities, the same training."""
    train = planted(24, strength=0.3)
    a, b = (fit_linear(train, planted(10, seed=s).features, seeds=[0], recipe=AUDIO)[0] for s in (1, 2))
    np.testing.assert_array_equal(a.losses, b.losses)
    assert a.epoch == b.epoch


def test_without_early_stopping_all_videos_are_learned_from():
    """One subject, which could not be split, will do."""
    train = planted(12)._replace(subjects=["someone"] * 12)
    [one] = fit_linear(train, train.features, seeds=[0])
    assert one.epoch == len(one.losses) == 30
    with pytest.raises(InputError, match="at least two subjects"):
        fit_linear(train, train.features, seeds=[0], recipe=AUDIO)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t, f: (t._replace(positive=t.positive[:-1]), f), "train has 12 vectors, 11 labels and 12 subjects"),
        (lambda t, f: (t._replace(positive=np.ones(12, bool)), f), "one class only"),
        (lambda t, f: (t._replace(features=np.full_like(t.features, np.nan)), f), "train: .* finite"),
        (lambda t, f: (t, f[0]), "features: vectors must be"),
        (lambda t, f: (t, f[:, :5]), "24 wide, the others 5"),
    ],
)
def test_bad_input_is_refused(spoil, message):
    train, features = spoil(planted(12), planted(4).features)
    with pytest.raises(InputError, match=message):
        fit_linear(train, features, seeds=[0])
