"""What Omni-Emotion takes from LLaVA-OneVision (Li et al. 2024): projector, tokens of a video's frame, weights.

transformers has the whole model; these are the parts of it that stand alone here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, LlavaOnevisionForConditionalGeneration, PreTrainedModel


def projector(width: int, hidden: int) -> nn.Sequential:
    """Two linear layers; what stands between them is LLaVA-OneVision's, as the paper names nothing else."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden))


def halved(tokens: Float[Tensor, "frames patches hidden"]) -> Float[Tensor, "frames pooled hidden"]:
    """A square of patches at half its side, 27 x 27 -> 14 x 14, as LLaVA-OneVision does with videos."""
    side = math.isqrt(tokens.shape[1])
    grid = tokens.transpose(1, 2).unflatten(2, (side, side))
    return F.interpolate(grid, [math.ceil(side / 2)] * 2, mode="bilinear").flatten(2).transpose(1, 2)


def language_model_of(source: LlavaOnevisionForConditionalGeneration) -> PreTrainedModel:
    """The language model inside, with its vocabulary's matrix, as one that stands alone."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(source.config.text_config)
    setattr(model, model.base_model_prefix, source.model.language_model)
    model.set_output_embeddings(source.lm_head)
    return model


def numbered(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """LLaVA-OneVision's projector as a sequence of two layers with an activation between them."""
    return {name.replace("linear_1", "0").replace("linear_2", "2"): value for name, value in weights.items()}
