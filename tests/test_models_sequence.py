"""The organisers' LSTM: its equations by hand, padding without effect, bad masks named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit as sigmoid

from reaffect.models.sequence import SequenceRegressor


def frames(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def small() -> SequenceRegressor:
    """With weights five times the initial ones, or an LSTM's output would hardly depend on its frames."""
    network = SequenceRegressor(5, hidden=8).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(5)
    return network


def by_hand(network: SequenceRegressor, clip: np.ndarray) -> np.ndarray:
    """The network's equations, a frame at a time, in double precision."""
    weights = {name: p.detach().double().numpy() for name, p in network.named_parameters()}
    sequence = clip @ weights["project.weight"].T + weights["project.bias"]
    for layer in range(network.lstm.num_layers):
        hidden, cell, states = np.zeros(network.lstm.hidden_size), np.zeros(network.lstm.hidden_size), []
        for x in sequence:
            gates = weights[f"lstm.weight_ih_l{layer}"] @ x + weights[f"lstm.bias_ih_l{layer}"]
            gates += weights[f"lstm.weight_hh_l{layer}"] @ hidden + weights[f"lstm.bias_hh_l{layer}"]
            i, f, g, o = np.split(gates, 4)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            hidden = sigmoid(o) * np.tanh(cell)
            states.append(hidden)
        sequence = np.array(states)
    first = np.maximum(weights["head.0.weight"] @ sequence[-1] + weights["head.0.bias"], 0)
    return sigmoid(weights["head.3.weight"] @ first + weights["head.3.bias"])


def test_equals_its_equations():
    network, features = small(), frames(2, 6, 5)
    expected = [by_hand(network, clip.double().numpy()) for clip in features]
    np.testing.assert_allclose(network(features).detach().numpy(), expected, atol=1e-5)


def test_sizes_of_the_organisers():
    lstm = 3 * 4 * (64 * 64 + 64 * 64 + 64 + 64)
    expected = (512 * 64 + 64) + lstm + (64 * 64 + 64) + (64 * 7 + 7)
    network = SequenceRegressor(512)
    assert sum(p.numel() for p in network.parameters()) == expected
    assert network.lstm.dropout == 0.2
    assert [m.p for m in network.head if isinstance(m, torch.nn.Dropout)] == [0.5]


@pytest.mark.parametrize("rubbish", [0.0, 1e6, float("nan")])
def test_padding_is_ignored(rubbish):
    network, features = small(), frames(3, 9, 5)
    lengths = [4, 9, 1]
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    padded = torch.where(mask[..., None], features, rubbish)
    output = network(padded, mask)
    for k, length in enumerate(lengths):
        torch.testing.assert_close(output[k], network(features[k : k + 1, :length])[0])
    output.sum().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_mask_of_real_frames_changes_nothing():
    network, features = small(), frames(3, 9, 5)
    torch.testing.assert_close(network(features), network(features, torch.ones(3, 9, dtype=torch.bool)))


def test_order_of_frames_matters_and_intensities_lie_between_0_and_1():
    network, features = small(), frames(4, 9, 5)
    output = network(features)
    assert not torch.allclose(output, network(features.flip(1)), atol=1e-2)
    assert ((output > 0) & (output < 1)).all()


def test_dropout_only_while_training():
    network, features = SequenceRegressor(5), frames(4, 9, 5)
    assert not torch.equal(network(features), network(features))
    network.eval()
    assert torch.equal(network(features), network(features))


def test_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, same, other = (SequenceRegressor(5, seed=seed).eval() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    features = frames(1, 2, 5)
    assert torch.equal(one(features), same(features))
    assert not torch.allclose(one(features), other(features))


def test_bad_input():
    network, features = SequenceRegressor(5), frames(2, 3, 5)
    with pytest.raises(ValueError, match=r"\(2, 3, 4\); expected at least one frame, 5 wide"):
        network(features[..., :4])
    with pytest.raises(ValueError, match="at least one frame"):
        network(features[:, :0])
    with pytest.raises(ValueError, match=r"the mask is torch.bool \(2, 2\)"):
        network(features, torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"no frame of clips \[1\]; leave those clips out"):
        network(features, torch.tensor([[True, True, False], [False, False, False]]))
    with pytest.raises(ValueError, match="give one boolean a frame"):
        network(features, torch.ones(2, 3))
    with pytest.raises(ValueError, match="padding before a real frame; put the real frames first"):
        network(features, torch.tensor([[True, True, True], [False, True, True]]))
