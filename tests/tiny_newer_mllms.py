"""Small checkpoints of newer model classes, as `tiny_mllms` makes those of the papers' days; and all together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import transformers as t
from tokenizers import processors
from transformers.models.qwen3_omni_moe.configuration_qwen3_omni_moe import Qwen3OmniMoeThinkerConfig

import tiny_mllms
from tiny_mllms import CLIP, QWEN3_ROPE, QWEN3_VISION, QWEN_SIZE, TEXT, ids, save, template, tokenizer

VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def qwen3_omni(folder: Path) -> None:
    """The part that answers in words, with experts."""
    own = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>", "audio_token": "<|audio_pad|>",
           "vision_bos_token": "<|vision_start|>", "vision_eos_token": "<|vision_end|>",
           "audio_bos_token": "<|audio_start|>", "audio_eos_token": "<|audio_end|>"}  # fmt: skip
    words = tokenizer(named=own)
    at = {name: words.convert_tokens_to_ids(token) for name, token in own.items()}
    config = Qwen3OmniMoeThinkerConfig(
        text_config={
            **TEXT,
            "vocab_size": len(words),
            "moe_intermediate_size": 16,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "rope_scaling": QWEN3_ROPE,
        },
        vision_config=QWEN3_VISION,
        audio_config={
            "d_model": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 24,
            "output_dim": 32,
            "downsample_hidden_size": 8,
        },
        **{f"{kind}_token_id": at[f"{kind}_token"] for kind in ("image", "video", "audio")},
        **{f"{kind}_start_token_id": at[f"{kind}_bos_token"] for kind in ("vision", "audio")},
        **{f"{kind}_end_token_id": at[f"{kind}_eos_token"] for kind in ("vision", "audio")},
        pad_token_id=words.pad_token_id,
    )
    processor = t.Qwen3OmniMoeProcessor(
        t.Qwen2VLImageProcessor(**QWEN_SIZE, patch_size=16),
        t.Qwen2VLVideoProcessor(**QWEN_SIZE, patch_size=16),
        t.WhisperFeatureExtractor(feature_size=128),
        words,
        chat_template=template(
            "<|vision_start|><|video_pad|><|vision_end|>",
            "<|vision_start|><|image_pad|><|vision_end|>",
            "<|audio_start|><|audio_pad|><|audio_end|>",
        ),
    )
    save(folder, t.Qwen3OmniMoeThinkerForConditionalGeneration(config), processor)


def internvl(folder: Path) -> None:
    own = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
           "video_token": "<video>"}  # fmt: skip
    words = tokenizer(named=own)
    config = t.InternVLConfig(
        vision_config={**VISION, "image_size": [56, 56], "patch_size": [14, 14]},
        text_config=t.Qwen2Config(**TEXT, **ids(words)),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    size = {"size": {"height": 56, "width": 56}}
    processor = t.InternVLProcessor(
        t.GotOcr2ImageProcessor(**size),
        words,
        t.InternVLVideoProcessor(**size),
        image_seq_length=4,
        chat_template=template("<video>", "<IMG_CONTEXT>"),
    )
    save(folder, t.InternVLForConditionalGeneration(config), processor)


def video_llama_3(folder: Path) -> None:
    words = tokenizer("<|image_pad|>", "<|video_pad|>")
    config = t.VideoLlama3Config(
        vision_config={**VISION, "patch_size": 14},
        text_config=t.Qwen2Config(**TEXT, **ids(words)),
        image_token_id=words.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=words.convert_tokens_to_ids("<|video_pad|>"),
    )
    processor = t.VideoLlama3Processor(
        t.VideoLlama3ImageProcessor(),
        words,
        t.VideoLlama3VideoProcessor(size={"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 64}),
        chat_template=template("<|video_pad|>", "<|image_pad|>"),
    )
    save(folder, t.VideoLlama3ForConditionalGeneration(config), processor)


def gemma_words(own: dict[str, str], *special: str) -> t.PreTrainedTokenizerFast:
    """A tokenizer that begins every text with `<s>`, as Gemma's does, and as its chat template does, too."""
    words = tokenizer(*special, named=own)
    begin = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", words.bos_token_id)])
    words.backend_tokenizer.post_processor = begin
    return words


def gemma3(folder: Path) -> None:
    """Sees single images; a window of 16 tokens slides in its first layer."""
    own = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    words = gemma_words(own)
    config = t.Gemma3Config(
        text_config={
            **TEXT,
            **ids(words),
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "layer_types": ["sliding_attention", "full_attention"],
            "sliding_window": 16,
        },
        vision_config=t.SiglipVisionConfig(**CLIP, vision_use_head=False),
        mm_tokens_per_image=4,
        **{f"{name}_index": words.convert_tokens_to_ids(token) for name, token in own.items()},
    )
    processor = t.Gemma3Processor(
        t.Gemma3ImageProcessor(size={"height": 28, "width": 28}),
        words,
        image_seq_length=4,
        chat_template="{{ '<s>' }}" + template("", "<start_of_image>"),
    )
    network = t.Gemma3ForConditionalGeneration(config)
    torch.nn.init.normal_(network.model.multi_modal_projector.mm_input_projection_weight, std=0.2)  # zeros without
    save(folder, network, processor)


def gemma4(folder: Path) -> None:
    """Sees videos and hears; its last two layers look back into what the first two made of the text."""
    own = {"image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>",
           "audio_token": "<|audio|>", "boa_token": "<|audio>", "eoa_token": "<audio|>"}  # fmt: skip
    words = gemma_words(own, "<|video|>")
    at = {name: words.convert_tokens_to_ids(token) for name, token in own.items()}
    heads = {"num_key_value_heads": 2, "head_dim": 8}
    config = t.Gemma4Config(
        text_config={
            **TEXT,
            **ids(words),
            "num_hidden_layers": 4,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "num_kv_shared_layers": 2,
            "sliding_window": 16,
            "head_dim": 8,
            "global_head_dim": 16,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": len(words),
        },
        vision_config={**VISION, **heads, "patch_size": 4, "position_embedding_size": 256},
        audio_config={
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "subsampling_conv_channels": [32, 4],
            "output_proj_dims": 16,
        },
        video_token_id=words.convert_tokens_to_ids("<|video|>"),
        eoa_token_index=at["eoa_token"],
        **{f"{name}_id": place for name, place in at.items() if name != "eoa_token"},
    )
    processor = t.Gemma4Processor(
        t.Gemma4AudioFeatureExtractor(feature_size=32),
        t.Gemma4ImageProcessor(patch_size=4),
        words,
        t.Gemma4VideoProcessor(patch_size=4, num_frames=4),
        chat_template="{{ '<s>' }}" + template("<|video|>", "<|image|>", "<|audio|>"),
    )
    save(folder, t.Gemma4ForConditionalGeneration(config), processor)


BUILDERS: dict[str, Callable[[Path], None]] = {
    **tiny_mllms.BUILDERS,
    "Qwen3-Omni": qwen3_omni,
    "InternVL": internvl,
    "VideoLLaMA3": video_llama_3,
    "Gemma 3": gemma3,
    "Gemma 4": gemma4,
}
HEARING = ("Qwen2.5-Omni", "Qwen3-Omni", "Gemma 4")
