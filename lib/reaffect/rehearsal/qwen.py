"""Batches of Qwen's models, which see frames at nearly their own size: Qwen2-VL, and Qwen2.5-Omni, which also hears."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.qwen2_vl.video_processing_qwen2_vl import smart_resize

from reaffect.rehearsal.batches import questions_tokens
from reaffect.rehearsal.readings import Batch

PIXELS = {"qwen2_vl": (4 * 28**2, 16_384 * 28**2), "qwen2_5_omni_thinker": (128 * 28**2, 768 * 28**2)}
"""Fewest and most of a frame, by the network's class; 28 x 28 of them become a token. Qwen2-VL's are its release's (4
to 16,384 tokens, as its card says), Qwen2.5-Omni's those of its processor's class."""

MEL_FRAMES_A_SECOND = 100
"""Whisper's."""

MOST_HEARD_S = 300
"""Qwen2.5-Omni's feature extractor cuts off the rest."""

A_WORD = 5
"""Any token that marks nothing."""

OF_A_VIDEO = 2
"""Among the types of tokens."""


def watched(
    network: PreTrainedModel,
    at_once: int,
    *,
    frames: int,
    height: int,
    width: int,
    prompt: str,
    max_new_tokens: int,
    sound_s: float = 0.0,
) -> Batch:
    """A question about films, and answers as long as they may be.

    Args:
        network: Qwen2-VL or Qwen2.5-Omni.
        at_once: films.
        frames: of each.
        height, width: of a frame, in pixels, before the processor resizes it.
        prompt: the question, without the chat format.
        max_new_tokens: of an answer.
        sound_s: length of the sound beside each, in seconds; a network without ears does not get it.
    """
    grid = grid_of(network, frames, height, width)
    soft = math.prod(grid) // network.config.vision_config.spatial_merge_size**2
    hears = hasattr(network.config, "audio_config")
    mel_frames = round(min(sound_s, MOST_HEARD_S) * MEL_FRAMES_A_SECOND) if hears else 0
    tokens = _tokens(network, soft, heard(mel_frames), questions_tokens(prompt)).repeat(at_once, 1)
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    inputs |= _seen(network, [grid] * at_once) | (_sound(network, at_once, mel_frames) if mel_frames else {})
    length = {"max_new_tokens": max_new_tokens, "min_new_tokens": max_new_tokens}
    return partial(network.generate, **inputs, **_positions(network, tokens, at_once), **length, do_sample=False)


def grid_of(network: PreTrainedModel, frames: int, height: int, width: int) -> tuple[int, int, int]:
    """Patches of a film in time, down and across, as the processor cuts it."""
    tower = network.config.vision_config
    least, most = PIXELS[network.config.model_type]
    resized = smart_resize(height, width, tower.patch_size * tower.spatial_merge_size, least, most)
    down, across = (side // tower.patch_size for side in resized)
    return math.ceil(frames / tower.temporal_patch_size), down, across


def heard(mel_frames: int) -> int:
    """Tokens of a sound: a convolution halves its frames, and a mean halves them again."""
    return ((mel_frames - 1) // 2 - 1) // 2 + 1 if mel_frames else 0


def _tokens(network: PreTrainedModel, seen: int, sounding: int, words: int) -> Tensor:
    """A question with the places of what is seen and heard, and the marks around them."""
    config = network.config
    ids = [config.vision_start_token_id, *[config.video_token_id] * seen, config.vision_end_token_id]
    if sounding:
        ids += [config.audio_start_token_id, *[config.audio_token_id] * sounding, config.audio_end_token_id]
    return torch.tensor(ids + [A_WORD] * words, device=network.device)


def _seen(network: PreTrainedModel, grids: list[tuple[int, int, int]]) -> dict[str, Tensor]:
    tower = network.config.vision_config
    values = tower.in_channels * tower.temporal_patch_size * tower.patch_size**2
    shape = (sum(math.prod(grid) for grid in grids), values)
    pixels = torch.randn(shape, device=network.device, dtype=network.dtype)
    return {"pixel_values_videos": pixels, "video_grid_thw": torch.tensor(grids, device=_where_values_are(network))}


def _sound(network: PreTrainedModel, at_once: int, mel_frames: int) -> dict[str, Tensor]:
    """Without the padding to five minutes, which the network cuts off before it does anything."""
    shape = (at_once, network.config.audio_config.num_mel_bins, mel_frames)
    mel = torch.randn(shape, device=network.device, dtype=network.dtype)
    there = torch.ones(at_once, mel_frames, dtype=torch.long, device=_where_values_are(network))
    return {"input_features": mel, "feature_attention_mask": there}


def _positions(network: PreTrainedModel, tokens: Tensor, at_once: int) -> dict[str, Tensor]:
    """What the network makes tokens' positions of: Qwen2-VL of their types, Qwen2.5-Omni of seconds between patches."""
    if network.config.model_type == "qwen2_vl":
        return {"mm_token_type_ids": OF_A_VIDEO * (tokens == network.config.video_token_id).long()}
    return {"video_second_per_grid": torch.ones(at_once, device=network.device)}


def _where_values_are(network: PreTrainedModel) -> torch.device:
    """For what is small and looked at."""
    return torch.device("cpu") if network.device.type == "meta" else network.device
