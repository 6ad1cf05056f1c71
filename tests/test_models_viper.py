"""ViPER's Perceiver: the paper's sizes, any subset and width, order and padding without effect, stages as they are."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PerceiverConfig

from reaffect.models.viper import Viper

PAPER = {"visual": 768, "audio": 512, "text": 768, "fau": 32}


def small(widths=None, **options) -> Viper:
    """With weights ten times the initial ones, or no test would notice what a frame does to so few channels."""
    widths = widths or {"visual": 6, "audio": 5}
    network = Viper(widths, latents=4, latent_width=16, layers=2, heads=4, **options).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(10)
    return network


def frames(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("names", "count"), [(["visual", "audio", "text", "fau"], 283_380_647), (["visual"], 272_542_215)]
)
def test_parameters_as_many_as_the_released_networks(names, count):
    with torch.device("meta"):
        network = Viper({name: PAPER[name] for name in names})
    assert sum(p.numel() for p in network.parameters()) == count


def test_all_else_is_the_librarys_default():
    with torch.device("meta"):
        perceiver = Viper(PAPER).perceiver
    assert perceiver.config.to_dict() == PerceiverConfig(d_model=2080, num_labels=7).to_dict()
    # As in the library's own classifiers; the number of parameters does not tell.
    assert perceiver.decoder.decoder.decoding_cross_attention.attention.use_query_residual


@given(widths=st.lists(st.integers(1, 40), min_size=1, max_size=4), heads=st.sampled_from([1, 2, 4, 8]))
@settings(max_examples=25, deadline=None)
def test_any_subset_of_any_widths_from_one_frame_on(widths, heads):
    names = dict(zip(PAPER, widths, strict=False))
    network = Viper(names, outputs=3, latents=2, latent_width=8, layers=1, heads=heads)
    fused = network.fuse({name: frames(2, 1, width) for name, width in names.items()})
    output = network(fused)
    assert output.shape == (2, 3)
    assert output.isfinite().all()
    output.sum().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_width_that_the_heads_do_not_divide_is_the_same_as_zeros_behind():
    odd, even = small({"fau": 27}), small({"fau": 28})
    even.load_state_dict(odd.state_dict())
    features = frames(3, 5, 27)
    torch.testing.assert_close(odd(features), even(torch.cat([features, torch.zeros(3, 5, 1)], dim=-1)))


def test_order_of_frames_does_not_matter_but_frames_do():
    network, features = small(), frames(2, 7, 11)
    shuffled = features[:, torch.randperm(7, generator=torch.Generator().manual_seed(1))]
    torch.testing.assert_close(network(features), network(shuffled))
    changed = features.clone()
    changed[:, 3] += 1
    assert (network(features) - network(changed)).abs().max() > 1e-2


@pytest.mark.parametrize("rubbish", [0.0, 1e6, float("nan")])
def test_padding_is_ignored(rubbish):
    network, features = small(), frames(3, 8, 11)
    mask = torch.arange(8) < torch.tensor([[1], [5], [8]])
    padded = torch.where(mask[..., None], features, rubbish)
    for k, length in enumerate([1, 5, 8]):
        torch.testing.assert_close(network(padded, mask)[k], network(features[k : k + 1, :length])[0])
    assert not torch.allclose(network(padded)[0], network(padded, mask)[0], atol=1e-2), "the mask does nothing"


def test_real_frames_may_stand_anywhere():
    network, features = small(), frames(1, 4, 11)
    mask = torch.tensor([[False, True, False, True]])
    torch.testing.assert_close(network(features, mask), network(features[:, [1, 3]]))


def test_padding_has_no_gradient():
    network, features = small(), frames(2, 3, 11).requires_grad_()
    network(features, torch.tensor([[True, True, False], [True, False, False]])).sum().backward()
    assert (features.grad.abs().sum(-1) > 0).tolist() == [[True, True, False], [True, False, False]]


def test_intensities_are_not_squashed():
    network = small()
    with torch.no_grad():
        network.perceiver.decoder.decoder.final_layer.bias.copy_(torch.linspace(-5, 5, 7))
    output = network(frames(1, 2, 11))
    assert output.min() < -4
    assert output.max() > 4


def test_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, same, other = small(seed=1), small(seed=1), small(seed=2)
    assert torch.equal(before, torch.get_rng_state())
    features = frames(1, 2, 11)
    assert torch.equal(one(features), same(features))
    assert not torch.allclose(one(features), other(features))


def test_fuse_keeps_the_order_of_widths_and_leaves_others_out():
    network = small({"b": 1, "a": 2})
    features = {"a": torch.full((3, 2), 2.0), "c": torch.zeros(9, 9), "b": torch.full((3, 1), 1.0)}
    assert torch.equal(network.fuse(features), torch.tensor([[1.0, 2.0, 2.0]] * 3))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"visual": (2, 3, 6)}, "audio is missing among visual; extract it or drop it"),
        ({"visual": (2, 3, 6), "audio": (2, 3, 4)}, "audio has 4 numbers a frame, the network expects 5; extract"),
        ({"visual": (2, 3, 6), "audio": (2, 1, 5)}, "audio has 2 clips x 1 frames where visual has 2 clips x 3 frames"),
        ({"visual": (3, 6), "audio": (5,)}, "audio has no frames where visual has 3 frames; .* repeat what describes"),
        ({"visual": (3, 6), "audio": (4, 5)}, "audio has 4 frames where visual has 3 frames; take both from the same"),
    ],
)
def test_fuse_names_what_does_not_fit(features, message):
    with pytest.raises(ValueError, match=message):
        small().fuse({name: torch.zeros(shape) for name, shape in features.items()})


def test_bad_input():
    network, features = small(), frames(2, 3, 11)
    with pytest.raises(ValueError, match=r"\(2, 3, 10\); expected at least one frame, 11 wide: visual 6 \+ audio 5"):
        network(features[..., :10])
    with pytest.raises(ValueError, match="at least one frame"):
        network(features[:, :0])
    with pytest.raises(ValueError, match=r"float32 \(2, 3\) for features .*; give one boolean a frame: \(2, 3\)"):
        network(features, torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"the mask is torch.bool \(2, 2\)"):
        network(features, torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"no frame of clips \[1\]; leave those clips out"):
        network(features, torch.tensor([[True, True, True], [False, False, False]]))
    with pytest.raises(ValueError, match="at least one modality"):
        Viper({})
    with pytest.raises(ValueError, match="at least 1 wide"):
        Viper({"visual": 0})
    with pytest.raises(ValueError, match="0 layers; the latents need at least one"):
        Viper({"visual": 8}, layers=0)
    with pytest.raises(ValueError, match="8 heads do not divide latents 20 wide"):
        Viper({"visual": 8}, latent_width=20)


def test_stages_are_what_flows():
    network = small({"visual": 6, "fau": 5})
    perceiver, seen = network.perceiver, {}

    def note(name):
        return lambda _, inputs, output: seen.update({name: (inputs, output)})

    hooked = {
        "fused": perceiver.encoder.cross_attention.attention.self.key,
        "latents": perceiver.embeddings,
        "cross-attention": perceiver.encoder.cross_attention,
        "self-attention x 2": perceiver.encoder.self_attends[-1],
        "query": perceiver.decoder.decoder.output_position_encodings,
        "intensities": perceiver.decoder,
    }
    for name, module in hooked.items():
        module.register_forward_hook(note(name))
    parts = {"visual": frames(1, 9, 6), "fau": frames(1, 9, 5)}
    network(network.fuse(parts))
    found = {
        "fused": seen["fused"][0][0],
        "latents": seen["latents"][1],
        "cross-attention": seen["cross-attention"][1][0],
        "self-attention x 2": seen["self-attention x 2"][1][0],
        "query": seen["query"][1],
        "intensities": seen["intensities"][1].logits,
    }
    assert network.stages(9) == [(name, tuple(tensor.shape[1:])) for name, tensor in (parts | found).items()]


def test_stages_at_paper_size():
    with torch.device("meta"):
        network = Viper(PAPER)
    assert network.stages(32) == [
        ("visual", (32, 768)),
        ("audio", (32, 512)),
        ("text", (32, 768)),
        ("fau", (32, 32)),
        ("fused", (32, 2080)),
        ("latents", (256, 1280)),
        ("cross-attention", (256, 1280)),
        ("self-attention x 26", (256, 1280)),
        ("query", (1, 1280)),
        ("intensities", (7,)),
    ]


def test_learns_what_its_frames_say():
    """Planted: the target is the mean of one modality over the frames; the other is noise."""
    features, held_out = frames(256, 4, 11), frames(64, 4, 11, seed=1)
    target = torch.nn.Linear(6, 1, bias=False)
    network = small(outputs=1).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    with torch.no_grad():
        target.weight.fill_(0.5)
        truth, held_out_truth = (target(f[..., :6].mean(1)) for f in (features, held_out))
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(network(features), truth).backward()
        optimizer.step()
    with torch.no_grad():
        both = torch.cat([network.eval()(held_out), held_out_truth], dim=1).T
    assert torch.corrcoef(both)[0, 1] > 0.7
