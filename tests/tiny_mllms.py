"""Small checkpoints with random weights, one a model class, from the real configuration and processor classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import transformers as t
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import (
    Qwen2_5OmniAudioEncoderConfig,
    Qwen2_5OmniTextConfig,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniVisionEncoderConfig,
)

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
CLIP = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
SIDE = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
QWEN_SIZE = {"min_pixels": 28 * 28, "max_pixels": 28 * 28 * 4}
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' }}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}{{ MEDIUM[part['type']] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ ' assistant:' }}{% endif %}"
)


def template(video: str, image: str, audio: str = "") -> str:
    return f"{{% set MEDIUM = {{'video': '{video}', 'image': '{image}', 'audio': '{audio}'}} %}}" + TEMPLATE


def tokenizer(*special: str, named: dict[str, str] | None = None) -> t.PreTrainedTokenizerFast:
    """Byte-level without merges: every text has tokens. `named` ones become attributes, as Omni's do."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({letter: k for k, letter in enumerate(letters)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ends = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    made = t.PreTrainedTokenizerFast(tokenizer_object=core, **ends, extra_special_tokens=named or {})
    made.add_special_tokens({"additional_special_tokens": list(special)})
    return made


def ids(words: t.PreTrainedTokenizerFast) -> dict[str, int]:
    special = {"pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id}
    return {**special, "bos_token_id": words.bos_token_id, "vocab_size": len(words)}


def video_llava(folder: Path) -> None:
    words = tokenizer("<image>", "<video>")
    config = t.VideoLlavaConfig(
        vision_config=t.CLIPVisionConfig(**CLIP),
        text_config=t.LlamaConfig(**TEXT, **ids(words)),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_seq_length=4,
        video_seq_length=8 * 5,
    )
    processor = t.VideoLlavaProcessor(
        t.VideoLlavaImageProcessor(**SIDE),
        t.VideoLlavaVideoProcessor(**SIDE),
        words,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=template("<video>", "<image>"),
    )
    save(folder, t.VideoLlavaForConditionalGeneration(config), processor)


def llava(folder: Path) -> None:
    words = tokenizer("<image>")
    config = t.LlavaConfig(
        vision_config=t.CLIPVisionConfig(**CLIP),
        text_config=t.LlamaConfig(**TEXT, **ids(words)),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
    )
    processor = t.LlavaProcessor(
        t.CLIPImageProcessor(**SIDE),
        words,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    save(folder, t.LlavaForConditionalGeneration(config), processor)


def llava_onevision(folder: Path) -> None:
    words = tokenizer("<image>", "<video>")
    config = t.LlavaOnevisionConfig(
        vision_config=t.SiglipVisionConfig(**CLIP, vision_use_head=False),
        text_config=t.Qwen2Config(**TEXT, **ids(words)),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=[[28, 28]],
        vision_feature_layer=-1,
    )
    size = {"size": {"height": 28, "width": 28}}
    processor = t.LlavaOnevisionProcessor(
        t.LlavaOnevisionImageProcessor(**size, image_grid_pinpoints=[[28, 28]]),
        words,
        t.LlavaOnevisionVideoProcessor(**size),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=template("<video>", "<image>"),
    )
    save(folder, t.LlavaOnevisionForConditionalGeneration(config), processor)


QWEN_WORDS = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|im_start|>", "<|im_end|>")
QWEN_TEMPLATE = template("<|vision_start|><|video_pad|><|vision_end|>", "<|vision_start|><|image_pad|><|vision_end|>")


def qwen_ids(words: t.PreTrainedTokenizerFast) -> dict[str, int]:
    names = {"image_token_id": 0, "video_token_id": 1, "vision_start_token_id": 2, "vision_end_token_id": 3}
    return {name: words.convert_tokens_to_ids(QWEN_WORDS[k]) for name, k in names.items()}


def qwen2_5_vl(folder: Path) -> None:
    words = tokenizer(*QWEN_WORDS)
    config = t.Qwen2_5_VLConfig(
        text_config={**TEXT, **ids(words), "rope_scaling": {"type": "mrope", "mrope_section": [2, 1, 1]}},
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "num_heads": 2,
            "intermediate_size": 24,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
            "window_size": 28,
        },
        **qwen_ids(words),
    )
    processor = t.Qwen2_5_VLProcessor(
        t.Qwen2VLImageProcessor(**QWEN_SIZE), words, t.Qwen2VLVideoProcessor(**QWEN_SIZE), chat_template=QWEN_TEMPLATE
    )
    save(folder, t.Qwen2_5_VLForConditionalGeneration(config), processor)


QWEN3_VISION = {
    "depth": 2,
    "hidden_size": 16,
    "num_heads": 2,
    "intermediate_size": 24,
    "out_hidden_size": 32,
    "deepstack_visual_indexes": [0],
    "num_position_embeddings": 64,
}
QWEN3_ROPE = {"rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True}


def qwen3_vl(folder: Path) -> None:
    words = tokenizer(*QWEN_WORDS)
    config = t.Qwen3VLConfig(
        text_config={
            **TEXT,
            **ids(words),
            "head_dim": 8,
            "rope_scaling": QWEN3_ROPE,
        },
        vision_config=QWEN3_VISION,
        **qwen_ids(words),
    )
    sizes = {"size": {"shortest_edge": 32 * 32, "longest_edge": 32 * 32 * 16}}
    processor = t.Qwen3VLProcessor(
        t.Qwen2VLImageProcessor(**sizes, patch_size=16),
        words,
        t.Qwen3VLVideoProcessor(size={"shortest_edge": 32 * 32, "longest_edge": 32 * 32 * 64}),
        chat_template=QWEN_TEMPLATE,
    )
    save(folder, t.Qwen3VLForConditionalGeneration(config), processor)


def qwen2_5_omni(folder: Path) -> None:
    own = {"image_token": "<|IMAGE|>", "video_token": "<|VIDEO|>", "audio_token": "<|AUDIO|>",
           "vision_bos_token": "<|vision_bos|>", "vision_eos_token": "<|vision_eos|>",
           "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>"}  # fmt: skip
    words = tokenizer(named=own)
    at = {name: words.convert_tokens_to_ids(token) for name, token in own.items()}
    config = Qwen2_5OmniThinkerConfig(
        text_config=Qwen2_5OmniTextConfig(
            **TEXT, vocab_size=len(words), rope_scaling={"rope_type": "default", "mrope_section": [2, 1, 1]}
        ).to_dict(),
        vision_config=Qwen2_5OmniVisionEncoderConfig(
            depth=2,
            hidden_size=16,
            num_heads=2,
            intermediate_size=24,
            out_hidden_size=32,
            fullatt_block_indexes=[1],
            window_size=28,
        ).to_dict(),
        audio_config=Qwen2_5OmniAudioEncoderConfig(
            d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=24, output_dim=32
        ).to_dict(),
        image_token_index=at["image_token"],
        video_token_index=at["video_token"],
        audio_token_index=at["audio_token"],
        vision_start_token_id=at["vision_bos_token"],
        vision_end_token_id=at["vision_eos_token"],
        audio_start_token_id=at["audio_bos_token"],
        audio_end_token_id=at["audio_eos_token"],
        pad_token_id=words.pad_token_id,
    )
    processor = t.Qwen2_5OmniProcessor(
        t.Qwen2VLImageProcessor(**QWEN_SIZE),
        t.Qwen2VLVideoProcessor(**QWEN_SIZE),
        t.WhisperFeatureExtractor(feature_size=128),
        words,
        chat_template=template(
            "<|vision_bos|><|VIDEO|><|vision_eos|>",
            "<|vision_bos|><|IMAGE|><|vision_eos|>",
            "<|audio_bos|><|AUDIO|><|audio_eos|>",
        ),
    )
    save(folder, t.Qwen2_5OmniThinkerForConditionalGeneration(config), processor)


def save(folder: Path, model: torch.nn.Module, processor: t.ProcessorMixin) -> None:
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


BUILDERS: dict[str, Callable[[Path], None]] = {
    "Video-LLaVA": video_llava,
    "LLaVA": llava,
    "LLaVA-OneVision": llava_onevision,
    "Qwen2.5-VL": qwen2_5_vl,
    "Qwen3-VL": qwen3_vl,
    "Qwen2.5-Omni": qwen2_5_omni,
}
