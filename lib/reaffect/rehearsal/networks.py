"""The papers' networks with random weights, on the device of the context (`with torch.device(...)`).

Sizes are those of the released configurations; where a class of ours or of a library has them as its defaults, they are
not written again. `number` is what the notebooks load a network in, `hardware.precision`'s; parts that they keep in
float32 are so here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    CLIPConfig,
    CLIPModel,
    LlamaConfig,
    LlavaConfig,
    PreTrainedModel,
    Qwen2_5OmniThinkerConfig,
    Qwen2Config,
    Qwen2VLConfig,
    RobertaConfig,
    RobertaModel,
    VideoLlavaConfig,
    ViTConfig,
    ViTModel,
    WavLMConfig,
    WavLMForXVector,
)

from reaffect.models.microemo import MicroEmo, MicroEmoConfig
from reaffect.models.omni_emotion import OmniEmotion, OmniEmotionConfig
from reaffect.models.pandagpt import PandaGPT, PandaGPTConfig
from reaffect.models.timestamps import bert
from reaffect.models.video_llama import VideoLLaMA, VideoLLaMAConfig
from reaffect.models.viper import Viper

QWEN2_7B = {
    "vocab_size": 152_064,
    "hidden_size": 3584,
    "intermediate_size": 18_944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
}

QWEN2_72B = {
    "vocab_size": 152_064,
    "hidden_size": 8192,
    "intermediate_size": 29_568,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
}

LLAVA_VOCABULARY = 32_064
"""Of the releases in Hugging Face's format: LLaMA's 32,000 and room for marks."""

CLIP_336 = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 336,
}
"""CLIP ViT-L/14 at 336 pixels, LLaVA-1.5's tower."""


def video_llava(number: torch.dtype) -> PreTrainedModel:
    """Video-LLaVA-7B."""
    config = VideoLlavaConfig(text_config=LlamaConfig(vocab_size=LLAVA_VOCABULARY).to_dict())
    return AutoModelForMultimodalLM.from_config(config, dtype=number).eval()


def llava(number: torch.dtype) -> PreTrainedModel:
    """LLaVA-1.5-7B."""
    tower = {"model_type": "clip_vision_model", **CLIP_336}
    config = LlavaConfig(vision_config=tower, text_config=LlamaConfig(vocab_size=LLAVA_VOCABULARY).to_dict())
    return AutoModelForMultimodalLM.from_config(config, dtype=number).eval()


def qwen2_vl(number: torch.dtype, *, text: Mapping[str, Any]) -> PreTrainedModel:
    """Qwen2-VL around one of Qwen2's language models."""
    config = Qwen2VLConfig(text_config=dict(text), vision_config={"hidden_size": text["hidden_size"]})
    return AutoModelForMultimodalLM.from_config(config, dtype=number).eval()


def qwen2_5_omni(number: torch.dtype) -> PreTrainedModel:
    """The part of Qwen2.5-Omni-7B that answers in words, which is all that is loaded of it."""
    config = Qwen2_5OmniThinkerConfig(
        text_config=QWEN2_7B,
        vision_config={"hidden_size": 1280},  # the release's; the class has another one
        vision_start_token_id=151_652,
        vision_end_token_id=151_653,
    )
    return AutoModelForMultimodalLM.from_config(config, dtype=number).eval()


BY_NAME: Mapping[str, Callable[[torch.dtype], PreTrainedModel]] = {
    "Qwen/Qwen2-VL-72B-Instruct": partial(qwen2_vl, text=QWEN2_72B),
    "Qwen/Qwen2-VL-7B-Instruct": partial(qwen2_vl, text=QWEN2_7B),
    "Qwen/Qwen2.5-Omni-7B": qwen2_5_omni,
}
"""Those that a notebook's parameter names and another one may stand in for."""


def video_llama(number: torch.dtype) -> VideoLLaMA:
    """Video-LLaMA around Vicuna-7B."""
    return VideoLLaMA(VideoLLaMAConfig(), llama_7b(number), bert()).to(number).eval()


def pandagpt(number: torch.dtype) -> PandaGPT:
    """PandaGPT around Vicuna-7B."""
    return PandaGPT(PandaGPTConfig(), llama_7b(number), bert()).to(number).eval()


def microemo(number: torch.dtype, *, lora: bool) -> MicroEmo:
    """MicroEmo around LLaMA-2-7B, frozen as `finetuning.Beginning` does; what is no language model is float32."""
    network = MicroEmo(MicroEmoConfig(), llama_7b(number), bert())
    return network.freeze(*network.published, *([] if lora else ["language_model"])).eval()


def omni_emotion(number: torch.dtype, *, phase: int) -> OmniEmotion:
    """Omni-Emotion around LLaVA-OneVision's Qwen2-7B, of which a phase's parts learn."""
    words = AutoModelForCausalLM.from_config(Qwen2Config(**QWEN2_7B), dtype=number)
    return OmniEmotion(OmniEmotionConfig(), words, bert()).to(number).begin(phase).eval()


def viper(_number: torch.dtype, *, latents: int, latent_width: int, layers: int, heads: int) -> Viper:
    """ViPER on all modalities, in float32."""
    widths = {"visual": 768, "audio": 512, "text": 768, "fau": 32}
    return Viper(widths, latents=latents, latent_width=latent_width, layers=layers, heads=heads)


def llama_7b(number: torch.dtype) -> PreTrainedModel:
    return AutoModelForCausalLM.from_config(LlamaConfig(), dtype=number)


def plain(make: partial[nn.Module], _number: torch.dtype) -> nn.Module:
    """A frozen encoder of features, in float32."""
    return make().eval().requires_grad_(False)


vit = partial(plain, partial(ViTModel, ViTConfig(), add_pooling_layer=False))
"""ViT-B/16."""

wavlm = partial(plain, partial(WavLMForXVector, WavLMConfig()))
"""WavLM-base-plus with its x-vectors."""

clip = partial(plain, partial(CLIPModel, CLIPConfig()))
"""CLIP ViT-B/32."""

roberta = partial(plain, partial(RobertaModel, RobertaConfig(vocab_size=50_265, max_position_embeddings=514)))
"""RoBERTa-base."""
