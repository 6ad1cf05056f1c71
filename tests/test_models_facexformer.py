"""FaceXFormer's encoder: sizes, the released file by an inverse mapping, and how positions become tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models import Swin_B_Weights, SwinTransformer

from reaffect.models.facexformer import KEY, FaceConfig, FaceXFormerEncoder, face_pixels
from test_models_video_llama import linear, loud

SMALL = FaceConfig(image_size=56, width=8, heads=2, third_layers=2, window=2, fused=12, token_side=2)

pytestmark = pytest.mark.usefixtures("on_one_thread")


def faces(count: int, seed: int = 0, size: int = 56) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


class Release(nn.Module):
    """The network as its authors' code names and computes it, but for the decoder; of hooks and a list."""

    def __init__(self):
        super().__init__()
        swin = SwinTransformer([4, 4], 8, [2, 2, 2, 2], [2, 4, 8, 16], [2, 2], stochastic_depth_prob=0)
        self.backbone = nn.Sequential(*list(swin.children())[:-1])
        self.linear_c = nn.ModuleList(nn.ModuleDict({"proj": nn.Linear(8 * 2**k, 12)}) for k in range(4))
        self.linear_fuse = nn.Conv2d(48, 12, 1, bias=False)
        self.pe_layer = nn.Linear(2, 2)
        self.face_decoder = nn.Linear(2, 2)

    def fused(self, pixels: torch.Tensor) -> torch.Tensor:
        found = []
        hooks = [
            module.register_forward_hook(lambda _module, _inputs, output: found.append(output))
            for name, module in self.backbone.named_modules()
            if name in ("0.1", "0.3", "0.5", "0.7")
        ]
        self.backbone(pixels)
        for hook in hooks:
            hook.remove()
        scaled = [own["proj"](states).movedim(-1, 1) for own, states in zip(self.linear_c, found, strict=True)]
        size = scaled[0].shape[2:]
        grown = [nn.functional.interpolate(each, size, mode="bilinear", align_corners=False) for each in scaled]
        return self.linear_fuse(torch.cat([grown[3], grown[2], grown[1], grown[0]], dim=1))


@pytest.fixture(scope="module")
def release() -> Release:
    return loud(Release())


@pytest.fixture
def file(release, tmp_path):
    path = tmp_path / "ckpts.pt"
    torch.save({KEY: release.state_dict(), "epoch": 3}, path)
    return path


def test_sizes_of_the_paper():
    """Torchvision publishes how large Swin-B is; its head and the norm before that are not used."""
    with torch.device("meta"):
        network = FaceXFormerEncoder(FaceConfig())
        pixels = torch.empty(8, 3, 224, 224)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    swin = Swin_B_Weights.IMAGENET1K_V1.meta["num_params"]
    assert count["stages"] == swin - linear(1000, 1024) - 2 * 1024 == 86_741_176
    assert count["scales"] == sum(linear(256, width) for width in (128, 256, 512, 1024))
    assert count["fuse"] == 1024 * 256
    states, shapes = pixels, []
    for layer in network.stages:
        states = layer(states)
        shapes.append(tuple(states.shape[1:]))
    assert shapes[1::2] == [(56, 56, 128), (28, 28, 256), (14, 14, 512), (7, 7, 1024)]
    assert network.fused(pixels).shape == (8, 256, 56, 56)
    assert network(pixels).shape == (8, 49, 256)


def test_released_file_computes_as_the_release(release, file):
    network = FaceXFormerEncoder(SMALL).eval()
    pixels = faces(3)
    with torch.no_grad():
        expected = release.fused(pixels)
        assert (network.fused(pixels) - expected).abs().max() > 1e-2
        network.load_original(file)
        torch.testing.assert_close(network.fused(pixels), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("linear_c.2.proj.bias"), r"ckpts.pt: scales.2.bias is/are missing"),
        (lambda w: w.pop("backbone.0.5.1.attn.qkv.weight"), r"stages.5.1.attn.qkv.weight is/are missing"),
        (lambda w: w.update({"backbone.0.1.7.mlp.0.weight": torch.ones(2)}), r"stages.1.7.mlp.0.weight is/are unknown"),
        (lambda w: w.update(head=torch.ones(2)), r"ckpts.pt: head is/are unknown"),
        (lambda w: w.update({"linear_fuse.weight": torch.ones(3, 48, 1, 1)}), r"fuse.weight is \(3, 48, 1, 1\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(release, tmp_path, change, message):
    weights = dict(release.state_dict())
    change(weights)
    torch.save({KEY: weights}, tmp_path / "ckpts.pt")
    with pytest.raises(ValueError, match=message):
        FaceXFormerEncoder(SMALL).load_original(tmp_path / "ckpts.pt")


def test_files_of_another_kind_are_refused(release, tmp_path):
    torch.save({"model": release.state_dict()}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=f"no tensors by name under '{KEY}'"):
        FaceXFormerEncoder(SMALL).load_original(tmp_path / "other.pt")
    with pytest.raises(ValueError, match="no torch checkpoint"):
        FaceXFormerEncoder(SMALL).load_original(tmp_path / "nothing.pt")


@pytest.mark.parametrize("side", [1, 2, 7, 14])
def test_tokens_are_means_over_blocks_row_by_row(side):
    network = loud(FaceXFormerEncoder(replace(SMALL, token_side=side)))
    with torch.no_grad():
        whole, tokens = network.fused(faces(2)), network(faces(2))
    assert whole.shape == (2, 12, 14, 14) and tokens.shape == (2, side**2, 12)
    step = 14 // side
    for row in range(side):
        for column in range(side):
            block = whole[:, :, row * step : (row + 1) * step, column * step : (column + 1) * step]
            expected = block.mean((2, 3))
            torch.testing.assert_close(tokens[:, row * side + column], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("side", [0, 57])
def test_more_tokens_than_positions_are_refused(side):
    with pytest.raises(ValueError, match=f"token_side is {side}; it must be from 1 to 56"):
        FaceConfig(token_side=side)


def test_faces_do_not_meet_each_other():
    network, batch = loud(FaceXFormerEncoder(SMALL)), faces(3)
    with torch.no_grad():
        torch.testing.assert_close(network(batch)[1:2], network(batch[1:2]), atol=1e-5, rtol=1e-4)


def test_crops_are_normalised_as_imagenet():
    white = face_pixels(torch.full((2, 90, 40, 3), 255, dtype=torch.uint8), SMALL)
    assert white.shape == (2, 3, 56, 56)
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(white[1, :, 9, 30], expected)
    black = face_pixels(torch.zeros(1, 20, 20, 3, dtype=torch.uint8), SMALL)
    torch.testing.assert_close(black[0, 0, 0, 0], torch.tensor(-0.485 / 0.229))
