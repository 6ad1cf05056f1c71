"""SlowFast against plain arithmetic on released names, and the files that its loader takes and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from reaffect.models.slowfast import SlowFast, SlowFastConfig

SMALL = SlowFastConfig(depths=(1, 2, 1, 1), width=8, fast_width=2, fusion_kernel=5, alpha=2, classes=5)


def norm_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}


def released_shapes(c: SlowFastConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of pytorchvideo's file, written from its building functions and Table 1 of the paper."""
    shapes: dict[str, tuple[int, ...]] = {}
    kernels = ((1, 1, 3, 3), (3, 3, 3, 3))
    widths = (c.width, c.fast_width)
    into = [c.width + 2 * c.fast_width, c.fast_width]
    for path, (width, kernel) in enumerate(zip(widths, (1, 5), strict=True)):
        shapes[f"blocks.0.multipathway_blocks.{path}.conv.weight"] = (width, 3, kernel, 7, 7)
        shapes |= norm_shapes(f"blocks.0.multipathway_blocks.{path}.norm", width)
    for stage in range(5):
        if stage:
            for path in range(2):
                inner = widths[path] * 2 ** (stage - 1)
                for block in range(c.depths[stage - 1]):
                    name = f"blocks.{stage}.multipathway_blocks.{path}.res_blocks.{block}."
                    width = 4 * inner if block else into[path]
                    convs = {"a": (inner, width, kernels[path][stage - 1], 1, 1), "b": (inner, inner, 1, 3, 3)}
                    convs["c"] = (4 * inner, inner, 1, 1, 1)
                    for letter, shape in convs.items():
                        shapes[f"{name}branch2.conv_{letter}.weight"] = shape
                        shapes |= norm_shapes(f"{name}branch2.norm_{letter}", shape[0])
                    if not block:
                        shapes[f"{name}branch1_conv.weight"] = (4 * inner, width, 1, 1, 1)
                        shapes |= norm_shapes(f"{name}branch1_norm", 4 * inner)
            fast = 4 * widths[1] * 2 ** (stage - 1)
            into = [4 * widths[0] * 2 ** (stage - 1) + 2 * fast, fast]
        if stage < 4:
            fast = into[1]
            shapes[f"blocks.{stage}.multipathway_fusion.conv_fast_to_slow.weight"] = (
                2 * fast,
                fast,
                c.fusion_kernel,
                1,
                1,
            )
            shapes |= norm_shapes(f"blocks.{stage}.multipathway_fusion.norm", 2 * fast)
    last = 4 * 8 * (c.width + c.fast_width)
    return shapes | {"blocks.6.proj.weight": (c.classes, last), "blocks.6.proj.bias": (c.classes,)}


def released_weights(config: SlowFastConfig) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, shape in released_shapes(config).items():
        scale = 1.5 * max(1, torch.tensor(shape[1:]).prod().item()) ** -0.5 if len(shape) > 1 else 0.3
        weights[name] = scale * torch.randn(shape, generator=generator)
        if name.endswith("running_var"):
            weights[name] = weights[name].abs() + 0.5
        counter = name.replace("running_var", "num_batches_tracked")
        if counter != name:
            weights[counter] = torch.tensor(7)
    return weights


def arithmetic(w: dict[str, Tensor], clips: Tensor, c: SlowFastConfig) -> Tensor:
    """Features, from the paper's description and the released names alone."""

    def conv(x, name, stride=(1, 1, 1)):
        kernel = w[f"{name}.weight"]
        return functional.conv3d(x, kernel, stride=stride, padding=tuple(side // 2 for side in kernel.shape[2:]))

    def norm(x, name):
        column = [
            w[f"{name}.{part}"].view(1, -1, 1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
        ]
        return (x - column[0]) / (column[1] + 1e-5).sqrt() * column[2] + column[3]

    paths = [
        clips[:, :, [int(k * (clips.shape[2] - 1) / (n - 1)) for k in range(n)]] for n in (clips.shape[2] // c.alpha,)
    ]
    paths.append(clips)
    for path in range(2):
        stem = f"blocks.0.multipathway_blocks.{path}."
        x = norm(conv(paths[path], stem + "conv", (1, 2, 2)), stem + "norm").relu()
        paths[path] = functional.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for stage in range(5):
        if stage:
            for path in range(2):
                for block in range(c.depths[stage - 1]):
                    name = f"blocks.{stage}.multipathway_blocks.{path}.res_blocks.{block}."
                    x, stride = paths[path], (1, 2, 2) if stage > 1 and not block else (1, 1, 1)
                    y = norm(conv(x, name + "branch2.conv_a"), name + "branch2.norm_a").relu()
                    y = norm(conv(y, name + "branch2.conv_b", stride), name + "branch2.norm_b").relu()
                    y = norm(conv(y, name + "branch2.conv_c"), name + "branch2.norm_c")
                    if not block:
                        x = norm(conv(x, name + "branch1_conv", stride), name + "branch1_norm")
                    paths[path] = (x + y).relu()
        if stage < 4:
            name = f"blocks.{stage}.multipathway_fusion."
            fused = norm(conv(paths[1], name + "conv_fast_to_slow", (c.alpha, 1, 1)), name + "norm").relu()
            paths[0] = torch.cat([paths[0], fused], 1)
    return torch.cat([path.mean((2, 3, 4)) for path in paths], 1)


@pytest.fixture
def released(tmp_path: Path) -> tuple[dict[str, Tensor], Path]:
    weights = released_weights(SMALL)
    torch.save({"model_state": weights, "epoch": 196}, tmp_path / "SLOWFAST.pyth")
    return weights, tmp_path / "SLOWFAST.pyth"


def test_a_released_file_gives_what_arithmetic_gives(released):
    weights, path = released
    network = SlowFast.load_original(path, alpha=2).eval()
    assert network.config == SMALL
    clips = torch.randn(2, 3, 8, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = arithmetic(weights, clips, SMALL)
        torch.testing.assert_close(network.features(clips), expected, atol=1e-4, rtol=1e-3)
        scores = expected @ weights["blocks.6.proj.weight"].T + weights["blocks.6.proj.bias"]
        torch.testing.assert_close(network(clips), scores, atol=1e-4, rtol=1e-3)


def test_a_larger_frame_is_averaged_over_windows_of_seven(released):
    """At 256 pixels, the last states are 8 x 8: each of 2 x 2 windows counts the same, so the border counts less."""
    network = SlowFast.load_original(released[1], alpha=2).eval()
    states = []
    network.blocks[4].register_forward_hook(lambda _, __, out: states.append(out))
    with torch.no_grad():
        features = network.features(torch.randn(1, 3, 4, 256, 256, generator=torch.Generator().manual_seed(2)))
    for part, state in zip(features.split([state.shape[1] for state in states[0]], 1), states[0], strict=True):
        assert state.shape[-2:] == (8, 8)
        windows = [state[..., y : y + 7, x : x + 7].mean((2, 3, 4)) for y in (0, 1) for x in (0, 1)]
        torch.testing.assert_close(part, torch.stack(windows).mean(0), atol=1e-5, rtol=1e-4)


def test_names_are_the_released_ones():
    assert {
        name: tuple(value.shape)
        for name, value in SlowFast(SMALL).state_dict().items()
        if not name.endswith("num_batches_tracked")
    } == released_shapes(SMALL)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (SlowFastConfig(), 34_566_488),  # 34.57 M in pytorchvideo's model zoo
        (SlowFastConfig(fusion_kernel=5, alpha=8), 34_480_216),  # 4x16: 34.48 M there
    ],
)
def test_published_sizes(config, parameters):
    with torch.device("meta"):
        network = SlowFast(config)
        assert network.features(torch.empty(1, 3, 32, 256, 256)).shape == (1, 2304)
    assert sum(weight.numel() for weight in network.parameters()) == parameters


@pytest.mark.parametrize("frames", [3, 1, 0])
def test_frames_that_the_slow_pathway_cannot_share_out_are_refused(frames):
    with pytest.raises(ValueError, match=f"{frames} frames; SlowFast takes a multiple of 2"):
        SlowFast(SMALL).features(torch.zeros(1, 3, frames, 32, 32))


def spoil_missing(weights):
    del weights["blocks.2.multipathway_blocks.1.res_blocks.1.branch2.conv_b.weight"]


def spoil_unknown(weights):
    weights["blocks.1.surprise"] = torch.ones(2)


def spoil_head(weights):
    del weights["blocks.6.proj.weight"]


def spoil_shape(weights):
    weights["blocks.4.multipathway_blocks.0.res_blocks.0.branch2.norm_a.bias"] = torch.ones(3)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_missing, r"SLOWFAST.*branch2.conv_b.weight.* missing"),
        (spoil_unknown, r"SLOWFAST.*blocks.1.surprise.* unknown"),
        (spoil_head, r"SLOWFAST.*blocks.6.proj.weight.* missing"),
        (spoil_shape, r"SLOWFAST.*norm_a.bias is \(3,\)"),
    ],
)
def test_other_weights_are_refused_by_name(released, spoil, message):
    weights, path = released
    spoil(weights)
    torch.save({"model_state": weights}, path)
    with pytest.raises(ValueError, match=message):
        SlowFast.load_original(path, alpha=2)


def test_other_files_are_refused(tmp_path):
    file = tmp_path / "other.pyth"
    for content in ({"state_dict": {}}, [1, 2], {"model_state": {"a": "text"}}):
        torch.save(content, file)
        with pytest.raises(ValueError, match=r"other.pyth: no tensors by name under 'model_state'"):
            SlowFast.load_original(file)
    torch.save({"model_state": {}}, file)
    with pytest.raises(ValueError, match=r"other.pyth: blocks.0.* missing"):
        SlowFast.load_original(file)
    file.write_bytes(b"no torch file")
    with pytest.raises(ValueError, match=r"other.pyth: no torch checkpoint"):
        SlowFast.load_original(file)
    with pytest.raises(ValueError, match=r"nowhere.pyth: no torch checkpoint"):
        SlowFast.load_original(tmp_path / "nowhere.pyth")


def test_code_in_a_file_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'sprung')!r}, 'w')",)

    torch.save({"model_state": {}, "cfg": Trap()}, tmp_path / "trap.pyth")
    with pytest.raises(ValueError, match="no torch checkpoint of plain tensors"):
        SlowFast.load_original(tmp_path / "trap.pyth")
    assert not (tmp_path / "sprung").exists()
