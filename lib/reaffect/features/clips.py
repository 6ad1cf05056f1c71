"""What networks that were trained on whole clips make of a video: one vector each, before their classification layer.

The five of EALD-MLLM's Table 4, whose last layer alone is trained (Section 4.3): SlowFast, TSM, TimeSformer and
Video-Swin saw Kinetics-400, BEATs heard AudioSet. The paper does not say which frames or crops it takes. Here a video
is one view: frames spread evenly over all of it, the shorter side resized, the middle cropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torchvision.models.video.swin_transformer import SwinTransformer3d
from torchvision.transforms.v2 import functional as images
from transformers import AutoImageProcessor, TimesformerForVideoClassification

from reaffect import media, paths
from reaffect.errors import InputError
from reaffect.features.extraction import preparing, pretrained
from reaffect.fingerprint import fingerprint
from reaffect.hardware import best_device
from reaffect.models import beats, slowfast, tsm
from reaffect.models.checkpoints import count, fill, read_checkpoint, shapes
from reaffect.models.slowfast import KINETICS
from reaffect.models.tsm import IMAGENET, larger

LARGEST_WINDOW = 32
"""Up to which a window's sides are looked for in Video-Swin's tables."""


class _Clips:
    """A frozen network on prepared clips, one at a time: they are large, or differ in length."""

    batch_size = 1

    def __init__(self, network: nn.Module, weights: str, width: int, recipe: Mapping[str, Any]):
        self.device = best_device()
        self.network = network.to(self.device).eval().requires_grad_(False)
        self.width = width
        self.recipe = {"model": weights, **recipe}

    @torch.inference_mode()
    def __call__(self, prepared: list[Tensor]) -> list[Float[np.ndarray, "1 width"]]:
        return [self.features(clip[None].to(self.device)).float().cpu().numpy() for clip in prepared]

    def features(self, clips: Tensor) -> Float[Tensor, "clips width"]:
        """What the classification layer takes."""
        return self.network.features(clips)


class SlowFast(_Clips):
    """SlowFast's vector of a video: (1, 2304); 32 frames, of which its slow pathway takes 8.

    Paper: SlowFast on Kinetics-400, which one is unstated; `SLOWFAST_8x8_R50.pyth` of pytorchvideo. Tiny: a small one.

    Args:
        checkpoint: a file, for `paths.checkpoint`.
        frames: of the fast pathway.
        alpha: fast frames a slow frame; 8 for a 4x16 network.
        side: of the crop in pixels, also the shorter side.
    """

    name = "slowfast"

    def __init__(self, checkpoint: str, *, frames: int = 32, alpha: int = 4, side: int = 256):
        network, weights = _loaded(lambda path: slowfast.SlowFast.load_original(path, alpha=alpha), checkpoint)
        super().__init__(network, weights, network.width, {"frames": frames, "alpha": alpha, "side": side})

    def prepare(self, clip: str) -> Float[Tensor, "3 frames side side"]:
        side = self.recipe["side"]
        return normalised(media.read_frames(clip, self.recipe["frames"]), side, side, *KINETICS)


class TSM(_Clips):
    """TSM's vector of a video, averaged over 8 frames: (1, 2048).

    Paper: TSM on ImageNet and Kinetics-400; the ResNet-50 of 8 segments. Tiny: a small one.

    Args:
        checkpoint: a file, for `paths.checkpoint`.
        frames: as the network was trained with.
        side: of the crop in pixels; the shorter side is 8/7 of it.
    """

    name = "tsm"

    def __init__(self, checkpoint: str, *, frames: int = 8, side: int = 224):
        network, weights = _loaded(lambda path: tsm.TSM.load_original(path, frames=frames), checkpoint)
        super().__init__(network, weights, network.width, {"frames": frames, "side": side})

    def prepare(self, clip: str) -> Float[Tensor, "3 frames side side"]:
        side = self.recipe["side"]
        return normalised(media.read_frames(clip, self.recipe["frames"]), larger(side), side, *IMAGENET, smooth=True)


class VideoSwin(_Clips):
    """Video-Swin's vector of a video: (1, 1024); 32 frames.

    Paper: Video-Swin on ImageNet and Kinetics-400, which size is unstated; torchvision's `swin3d_b_1k-24f7c7c6.pth`,
    ported from the original. Tiny: a small one.

    Args:
        checkpoint: a file, for `paths.checkpoint`.
        frames: of a clip.
        side: of the crop in pixels; the shorter side is 8/7 of it.
    """

    name = "video-swin"

    def __init__(self, checkpoint: str, *, frames: int = 32, side: int = 224):
        network, weights = _loaded(load_swin, checkpoint)
        network.head = nn.Identity()
        super().__init__(network, weights, network.num_features, {"frames": frames, "side": side})

    def prepare(self, clip: str) -> Float[Tensor, "3 frames side side"]:
        side = self.recipe["side"]
        return normalised(media.read_frames(clip, self.recipe["frames"]), larger(side), side, *IMAGENET)

    def features(self, clips: Tensor) -> Float[Tensor, "clips width"]:
        return self.network(clips)


class TimeSformer(_Clips):
    """TimeSformer's class token of a video: (1, 768); as many frames as it was trained with, 8.

    Paper: TimeSformer on ImageNet and Kinetics-400; `facebook/timesformer-base-finetuned-k400`. Tiny: a small one.

    Args:
        checkpoint: for `features.pretrained`.
    """

    name = "timesformer"

    def __init__(self, checkpoint: str):
        classifier, weights = pretrained(TimesformerForVideoClassification, checkpoint)
        self.processor = preparing(AutoImageProcessor, checkpoint)
        config = classifier.config
        super().__init__(classifier.timesformer, weights, config.hidden_size, {"frames": config.num_frames})

    def prepare(self, clip: str) -> Float[Tensor, "frames 3 side side"]:
        frames = media.read_frames(clip, self.recipe["frames"])
        return self.processor(list(frames), return_tensors="pt")["pixel_values"][0]

    def features(self, clips: Tensor) -> Float[Tensor, "clips width"]:
        return self.network(pixel_values=clips).last_hidden_state[:, 0]


class BEATs(_Clips):
    """BEATs' vector of a recording, averaged over its patches: (1, 768).

    Section 4.3 resamples from 16 kHz to 320 Hz, since recordings take ten minutes. BEATs takes what it gets for 16 kHz,
    so it hears them fifty times faster, and nothing above 160 Hz. What is too short for one patch (8.75 s at 320 Hz) is
    followed by silence; a video without sound is heard as silence.

    Args:
        checkpoint: a file, for `paths.checkpoint`; `BEATs_iter3_plus_AS2M.pt`.
        sample_rate: to which sound is resampled.
    """

    name = "beats"

    def __init__(self, checkpoint: str, *, sample_rate: int = 320):
        network, weights = _loaded(beats.BEATs.load_original, checkpoint)
        super().__init__(network, weights, network.width, {"sample_rate": sample_rate})

    def prepare(self, clip: str) -> Float[Tensor, " samples"]:
        return torch.from_numpy(media.read_waveform(clip, self.recipe["sample_rate"]).astype(np.float32))


def normalised(
    frames: UInt8[np.ndarray, "frames height width 3"],
    shorter: int,
    side: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    smooth: bool = False,
) -> Float[Tensor, "3 frames side side"]:
    """Frames as a video network takes them.

    Args:
        frames: RGB.
        shorter: side to which the shorter one is resized, in pixels.
        side: of the square that is cut from the middle.
        mean: of the channels, in [0, 1].
        std: of the channels.
        smooth: low-pass before shrinking, as Pillow does and the video libraries do not.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    resized = images.resize(pixels, [shorter], antialias=smooth)
    cropped = images.to_dtype(images.center_crop(resized, [side, side]), torch.float32, scale=True)
    return images.normalize(cropped, list(mean), list(std)).transpose(0, 1)


def load_swin(path: str | Path) -> SwinTransformer3d:
    """torchvision's Video-Swin with a file of its weights, whatever its size, which the weights tell.

    Args:
        path: such as `swin3d_b_1k-24f7c7c6.pth`.

    Raises:
        ValueError: the file is no such checkpoint.
    """
    weights = read_checkpoint(path).weights
    stages = _swin_stages(weights)
    names = ["patch_embed.proj.weight", "head.weight", "features.0.0.attn.relative_position_index"]
    names += [f"features.{place}.0.attn.relative_position_bias_table" for place in stages]
    (width, _, *patch), (classes, _), index, *tables = shapes(weights, names, path)
    network = SwinTransformer3d(
        patch_size=patch,
        embed_dim=width,
        depths=list(stages.values()),
        num_heads=[heads for _, heads in tables],
        window_size=_window(tables[0][0], index.numel(), path),
        num_classes=classes,
    )
    fill(network, weights, str(path))
    return network


def _swin_stages(weights: Mapping[str, Tensor]) -> dict[int, int]:
    """Place among `features` -> blocks, of each stage; between two stages lies a merging of patches."""
    places = range(0, max(count(weights, "features"), 1), 2)
    return {place: count(weights, f"features.{place}") for place in places}


def _window(rows: int, pairs: int, path: str | Path) -> list[int]:
    """Frames and side of a window, from the rows of its table of distances and its pairs of places."""
    for frames in range(1, LARGEST_WINDOW + 1):
        for side in range(1, LARGEST_WINDOW + 1):
            if (2 * frames - 1) * (2 * side - 1) ** 2 == rows and (frames * side**2) ** 2 == pairs:
                return [frames, side, side]
    raise ValueError(f"{path}: no window has {rows} distances and {pairs} pairs; name a checkpoint of Video-Swin")


def _loaded(load: Callable[[Path], nn.Module], checkpoint: str) -> tuple[nn.Module, str]:
    """A network from a file, and what identifies its weights; InputError names the file and the mend."""
    path = Path(paths.DATA / checkpoint)
    if not path.is_file():
        raise InputError(
            f"{checkpoint}: no file at {path}. `make embedded` makes the small ones; or fetch the released."
        )
    try:
        return load(path), fingerprint(path)
    except ValueError as error:
        raise InputError(str(error)) from error
