"""TSM against torchvision's ResNet-50 with shifts put in by hand, and the files that its loader takes and refuses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models import resnet50

from reaffect.models.tsm import TSM, TSMConfig, shift

SMALL = TSMConfig(depths=(1, 2, 1, 1), width=8, classes=5, frames=4)


def shifted_by_loops(x: Tensor) -> Tensor:
    """Frame by frame and channel by channel, as Section 3.2 says it."""
    out, fold = x.clone(), x.shape[2] // 8
    for t in range(x.shape[1]):
        for channel in range(2 * fold):
            source = t + 1 if channel < fold else t - 1
            out[:, t, channel] = x[:, source, channel] if 0 <= source < x.shape[1] else 0
    return out


@given(frames=st.integers(1, 5), width=st.integers(1, 20), clips=st.integers(1, 2))
def test_shift_is_what_loops_give(frames, width, clips):
    states = torch.arange(clips * frames * width * 2.0).view(clips, frames, width, 2) + 1
    torch.testing.assert_close(shift(states), shifted_by_loops(states))


def two_clips_of_three(_, states: tuple[Tensor]) -> Tensor:
    return shifted_by_loops(states[0].unflatten(0, (2, 3))).flatten(0, 1)


@pytest.fixture(scope="module")
def shifted_resnet50():
    """torchvision's, each residual branch reading shifted states."""
    torch.manual_seed(0)
    network = resnet50(num_classes=7).eval()
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in stage:
            block.conv1.register_forward_pre_hook(
                lambda _, x: shifted_by_loops(x[0].unflatten(0, (2, 3))).flatten(0, 1)
            )
    return network


def released(resnet) -> dict[str, Tensor]:
    """Its weights under the released names."""
    weights = {}
    for name, value in resnet.state_dict().items():
        if name.startswith("layer"):
            name = name.replace(".conv1.", ".conv1.net.")
        name = name.replace("fc.", "new_fc.") if name.startswith("fc.") else f"base_model.{name}"
        weights[f"module.{name}"] = value
    return weights


def test_a_released_file_is_resnet50_with_shifts(shifted_resnet50, tmp_path):
    weights, path = released(shifted_resnet50), tmp_path / "TSM_kinetics.pth"
    assert "module.base_model.layer1.0.conv1.net.weight" in weights
    torch.save({"epoch": 50, "arch": "resnet50", "state_dict": weights, "best_prec1": 74.1}, path)
    network = TSM.load_original(path, frames=3).eval()
    clips = torch.randn(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = shifted_resnet50(clips.transpose(1, 2).flatten(0, 1)).view(2, 3, 7).mean(1)
        torch.testing.assert_close(network(clips), expected, atol=1e-4, rtol=1e-3)


def test_published_size():
    """24.3 M (Lin et al. 2019, Table 1): torchvision's ResNet-50 with a layer for 400 classes."""
    with torch.device("meta"):
        network, plain = TSM(), resnet50(num_classes=400)
        assert network.features(torch.empty(2, 3, 8, 224, 224)).shape == (2, 2048)
    count = sum(weight.numel() for weight in network.parameters())
    assert count == sum(weight.numel() for weight in plain.parameters()) == 24_327_632


def test_a_frame_sees_its_neighbours_only():
    network = TSM(TSMConfig(depths=(1,), width=8, classes=2, frames=5)).eval()
    clip = torch.randn(1, 3, 5, 32, 32, generator=torch.Generator().manual_seed(2))
    other = clip.clone()
    other[:, :, 4] = 0
    with torch.no_grad():
        frames = [network.base_model(each.transpose(1, 2).flatten(0, 1)) for each in (clip, other)]
    changed = (frames[0] - frames[1]).abs().amax(1) > 0
    assert changed.tolist() == [False, False, False, True, True]


def test_another_number_of_frames_is_refused():
    with pytest.raises(ValueError, match="3 frames; this TSM shifts between 4"):
        TSM(SMALL).features(torch.zeros(1, 3, 3, 32, 32))


def test_a_saved_network_comes_back(tmp_path):
    network = TSM(SMALL)
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "tsm.pth")
    again = TSM.load_original(tmp_path / "tsm.pth", frames=4)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in again.state_dict().items())


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("base_model.layer2.1.bn2.weight", r"tsm.pth.*layer2.1.bn2.weight.* missing"),
        ("new_fc.weight", r"tsm.pth: new_fc.weight missing"),
    ],
)
def test_missing_weights_are_named(tmp_path, gone, message):
    weights = TSM(SMALL).state_dict()
    del weights[gone]
    torch.save({"state_dict": weights}, tmp_path / "tsm.pth")
    with pytest.raises(ValueError, match=message):
        TSM.load_original(tmp_path / "tsm.pth")


def test_a_plain_resnet_is_refused(tmp_path):
    """Its first convolutions lie under another name, since nothing shifts before them."""
    weights = {name.replace(".net.", "."): value for name, value in TSM(SMALL).state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "tsn.pth")
    with pytest.raises(ValueError, match=r"tsn.pth.*layer1.0.conv1.net.weight.* missing"):
        TSM.load_original(tmp_path / "tsn.pth")
