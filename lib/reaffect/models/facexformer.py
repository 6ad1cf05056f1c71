"""FaceXFormer's encoder: Swin's four resolutions, fused to one map of a face.

Narayan et al. 2024, Section 3.1, as Omni-Emotion uses it (Yang et al. 2025, Section 4.2). Swin-B -> stages 128 x 56 x
56, 256 x 28 x 28, 512 x 14 x 14 and 1024 x 7 x 7 -> each linearly to 256, upsampled and concatenated -> 1 x 1
convolution -> 256 x 56 x 56. The decoder, which reads landmarks, pose and attributes from that map, is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import SwinTransformer
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as vision
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from reaffect.models.checkpoints import fill, read_checkpoint, rename

KEY = "state_dict_backbone"
"""Under which the released file holds the weights of all the network."""

NAMES = (
    (r"backbone\.0\.", "stages."),
    (r"linear_c\.(\d)\.proj\.", r"scales.\1."),
    (r"linear_fuse\.", "fuse."),
)
"""Released names -> ours; patterns. Torchvision's own names of a Swin transformer lie behind the first."""

SPARE = r"backbone\.1\.|pe_layer\.|face_decoder\."
"""Released names without use here: the norm behind the last stage, and the decoder; pattern."""

MARGIN = 1.5
"""Side of a face's crop in sides of its box, as in the released inference code (for MTCNN's box)."""


@dataclass(frozen=True)
class FaceConfig:
    """Sizes; FaceXFormer's by default.

    Args:
        width, heads: of the first stage; each stage has twice those of the one before.
        third_layers: of the third stage; the others have two.
        token_side: the map's positions (56 x 56 = 3,136) are averaged down to this square, one token each. The paper
            says that the map is flattened and not how many tokens a frame has; 3,136 of each of 8 frames would fill
            the language model's context, so we take the grid of the last stage, 49 tokens.

    Raises:
        ValueError: more tokens than the map has positions, or none.
    """

    image_size: int = 224
    width: int = 128
    heads: int = 4
    third_layers: int = 18
    window: int = 7
    fused: int = 256
    token_side: int = 7

    def __post_init__(self):
        if not 1 <= self.token_side <= self.image_size // 4:
            raise ValueError(f"token_side is {self.token_side}; it must be from 1 to {self.image_size // 4}, the map's")


class FaceXFormerEncoder(nn.Module):
    """Crops of faces -> tokens.

    Args:
        config: sizes.

    Example:
        >>> with torch.device("meta"):
        ...     network = FaceXFormerEncoder(FaceConfig())
        ...     faces = torch.empty(8, 3, 224, 224)
        >>> network.fused(faces).shape, network(faces).shape
        (torch.Size([8, 256, 56, 56]), torch.Size([8, 49, 256]))
    """

    def __init__(self, config: FaceConfig):
        super().__init__()
        self.config = config
        self.stages = SwinTransformer(
            patch_size=[4, 4],
            embed_dim=config.width,
            depths=[2, 2, config.third_layers, 2],
            num_heads=[config.heads * 2**stage for stage in range(4)],
            window_size=[config.window] * 2,
            stochastic_depth_prob=0.0,  # of those who train it from nothing
        ).features
        self.scales = nn.ModuleList(nn.Linear(config.width * 2**stage, config.fused) for stage in range(4))
        self.fuse = nn.Conv2d(4 * config.fused, config.fused, 1, bias=False)

    def forward(self, faces: Float[Tensor, "faces 3 size size"]) -> Float[Tensor, "faces tokens fused"]:
        """Tokens row by row, `token_side` a row; `face_pixels` prepares crops."""
        pooled = F.adaptive_avg_pool2d(self.fused(faces), self.config.token_side)
        return pooled.flatten(2).transpose(1, 2)

    def fused(self, faces: Float[Tensor, "faces 3 size size"]) -> Float[Tensor, "faces fused side side"]:
        """The map of all four scales, as fine as the first one."""
        maps, states = [], faces
        for place, layer in enumerate(self.stages):
            states = layer(states)
            if place % 2:  # patches and mergers stand between the stages
                maps.append(self.scales[place // 2](states).permute(0, 3, 1, 2))
        finest = maps[0].shape[-2:]
        maps = [F.interpolate(each, finest, mode="bilinear") for each in maps]
        # the coarsest comes first, as the released convolution expects it
        return self.fuse(torch.cat(maps[::-1], 1))

    def load_original(self, path: str | Path) -> None:
        """Loads the released file; its decoder is left out.

        Raises:
            ValueError: the file is no such checkpoint, or names are missing or unknown.
        """
        weights = read_checkpoint(path, KEY).weights
        fill(self, rename(weights, NAMES, SPARE, str(path)), str(path))


def face_pixels(crops: UInt8[Tensor, "faces height width 3"], config: FaceConfig) -> Float[Tensor, "faces 3 size size"]:
    """Crops of faces at the encoder's size, with ImageNet's mean and deviation, as the released inference code has it.

    Args:
        crops: RGB, with a margin around the face (`MARGIN`).
        config: of the encoder.
    """
    size, bicubic = [config.image_size] * 2, InterpolationMode.BICUBIC
    shown = vision.resize(crops.permute(0, 3, 1, 2), size, interpolation=bicubic, antialias=True)
    return vision.normalize(
        vision.to_dtype(shown, torch.float32, scale=True), IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    )
