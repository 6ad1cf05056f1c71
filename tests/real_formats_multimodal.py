"""Multimodal LLMs as their authors released them, small; see `real_formats`."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers as t

from real_formats import (
    CLIP_COLOURS,
    HALF,
    LLAMA,
    Maker,
    bytes_words,
    fill,
    llama_words,
    planted,
    released,
    write_json,
    write_weights,
)

CLIP = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "image_size": 28,
    "model_type": "clip_vision_model",
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "patch_size": 14,
    "projection_dim": 768,
}
CLIP_IMAGES = {
    "crop_size": {"height": 28, "width": 28},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    **CLIP_COLOURS,
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 28},
}
TOWER_NAMES = ((r"^model\.((?:image|video|vision)_tower)\.", r"\1.vision_model."),)
LLAVA_NAMES = (
    *TOWER_NAMES,
    (r"^model\.(multi_modal_projector|image_newline)", r"\1"),
    (r"^model\.language_model\.", "language_model.model."),
    (r"^lm_head\.", "language_model.lm_head."),
)
USER_ASSISTANT = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'video') %}{{ '<video>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
VICUNA_TEXT = {
    "_name_or_path": "lmsys/vicuna-7b-v1.5",
    "architectures": ["LlamaForCausalLM"],
    **LLAMA,
    "max_position_embeddings": 4096,
    "model_type": "llama",
    "rms_norm_eps": 1e-05,
    "torch_dtype": HALF,
}


def video_llava(folder: Path) -> t.PreTrainedModel:
    """`LanguageBind/Video-LLaVA-7B-hf`: half precision, three shards; one file configures images and videos."""
    count = llama_words(
        folder, ["<image>", "<video>", "<pad>"], pad_token="<pad>", processor_class="VideoLlavaProcessor"
    )
    write_json(
        folder / "config.json",
        {
            "architectures": ["VideoLlavaForConditionalGeneration"],
            "ignore_index": -100,
            "image_seq_length": 4,
            "image_token_index": count - 3,
            "model_type": "video_llava",
            "projector_hidden_act": "gelu",
            "text_config": VICUNA_TEXT | {"vocab_size": count, "pad_token_id": 0},
            "tie_word_embeddings": False,
            "torch_dtype": HALF,
            "transformers_version": "4.42.0.dev0",
            "video_seq_length": 40,
            "video_token_index": count - 2,
            "vision_config": CLIP,
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
        },
    )
    write_json(folder / "generation_config.json", {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2})
    write_json(
        folder / "preprocessor_config.json",
        CLIP_IMAGES | {"image_processor_type": "VideoLlavaImageProcessor", "processor_class": "VideoLlavaProcessor"},
    )
    write_json(
        folder / "processor_config.json",
        {
            "image_token": "<image>",
            "num_additional_image_tokens": 1,
            "patch_size": 14,
            "processor_class": "VideoLlavaProcessor",
            "video_token": "<video>",
            "vision_feature_select_strategy": "default",
        },
    )
    return fill(folder, t.VideoLlavaForConditionalGeneration, LLAVA_NAMES, HALF, shards=3)


def llava(folder: Path) -> t.PreTrainedModel:
    """`llava-hf/llava-1.5-7b-hf`: half precision, three shards, the chat format in a file of its own."""
    count = llama_words(folder, ["<image>", "<pad>"], pad_token="<pad>", processor_class="LlavaProcessor")
    write_json(
        folder / "config.json",
        {
            "architectures": ["LlavaForConditionalGeneration"],
            "ignore_index": -100,
            "image_token_index": count - 2,
            "model_type": "llava",
            "pad_token_id": count - 1,
            "projector_hidden_act": "gelu",
            "text_config": VICUNA_TEXT | {"vocab_size": count},
            "tie_word_embeddings": False,
            "torch_dtype": HALF,
            "transformers_version": "4.36.0.dev0",
            "vision_config": CLIP,
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
            "vocab_size": count,
        },
    )
    generation = {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": count - 1}
    write_json(folder / "generation_config.json", generation)
    write_json(
        folder / "preprocessor_config.json",
        CLIP_IMAGES | {"image_processor_type": "CLIPImageProcessor", "processor_class": "LlavaProcessor"},
    )
    write_json(
        folder / "processor_config.json",
        {
            "image_token": "<image>",
            "num_additional_image_tokens": 1,
            "patch_size": 14,
            "processor_class": "LlavaProcessor",
            "vision_feature_select_strategy": "default",
        },
    )
    write_json(folder / "chat_template.json", {"chat_template": USER_ASSISTANT})
    return fill(folder, t.LlavaForConditionalGeneration, LLAVA_NAMES, HALF, shards=3)


QWEN_CHAT = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN_MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QWEN_WORDS = {
    "tokenizer_class": "Qwen2Tokenizer",
    "add_prefix_space": False,
    "bos_token": None,
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "unk_token": None,
    "errors": "replace",
    "model_max_length": 32768,
}


def llava_onevision(folder: Path) -> t.PreTrainedModel:
    """`llava-hf/llava-onevision-qwen2-7b-ov-hf`: half precision, four shards, videos configured in a folder."""
    places = bytes_words(
        folder,
        [*QWEN_MARKS, "<image>", "<video>"],
        first=False,
        **QWEN_WORDS,
        processor_class="LlavaOnevisionProcessor",
        chat_template=QWEN_CHAT,
    )
    write_json(
        folder / "config.json",
        {
            "architectures": ["LlavaOnevisionForConditionalGeneration"],
            "ignore_index": -100,
            "image_grid_pinpoints": [[42, 42], [42, 84]],
            "image_token_index": places["<image>"],
            "model_type": "llava_onevision",
            "projector_hidden_act": "gelu",
            "text_config": {
                "_name_or_path": "Qwen/Qwen2-7B-Instruct",
                "architectures": ["Qwen2ForCausalLM"],
                "bos_token_id": places["<|endoftext|>"],
                "eos_token_id": places["<|im_end|>"],
                **LLAMA,
                "max_window_layers": 28,
                "model_type": "qwen2",
                "num_key_value_heads": 2,
                "rope_theta": 1000000.0,
                "sliding_window": 131072,
                "torch_dtype": "bfloat16",
                "vocab_size": len(places),
            },
            "tie_word_embeddings": False,
            "torch_dtype": HALF,
            "transformers_version": "4.45.0.dev0",
            "use_image_newline_parameter": True,
            "video_token_index": places["<video>"],
            "vision_aspect_ratio": "anyres_max_9",
            "vision_config": {
                "hidden_size": 24,
                "image_size": 42,
                "intermediate_size": 40,
                "model_type": "siglip_vision_model",
                "num_attention_heads": 4,
                "num_hidden_layers": 2,
                "patch_size": 14,
                "vision_use_head": False,
            },
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
        },
    )
    generation = {"bos_token_id": places["<|endoftext|>"], "do_sample": True, "temperature": 0.7, "top_p": 0.8}
    write_json(folder / "generation_config.json", generation | {"eos_token_id": places["<|im_end|>"], "top_k": 20})
    colours = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    steps = dict.fromkeys(("do_convert_rgb", "do_normalize", "do_rescale", "do_resize"), True)
    common = (
        colours | steps | {"resample": 3, "rescale_factor": 0.00392156862745098, "size": {"height": 42, "width": 42}}
    )
    named = {"processor_class": "LlavaOnevisionProcessor"}
    images = {"do_pad": True, "image_grid_pinpoints": [[42, 42], [42, 84]]}
    write_json(
        folder / "preprocessor_config.json",
        common | named | images | {"image_processor_type": "LlavaOnevisionImageProcessor"},
    )
    write_json(
        folder / "video_processor" / "preprocessor_config.json",
        common | named | {"image_processor_type": "LlavaOnevisionVideoProcessor"},
    )
    tokens = {"image_token": "<image>", "video_token": "<video>", "num_image_tokens": 9}
    write_json(folder / "processor_config.json", named | tokens | {"vision_feature_select_strategy": "full"})
    template = (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}}"
        "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
        "{% for content in message['content'] | selectattr('type', 'equalto', 'video') %}{{ '<video>' }}{% endfor %}"
        "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + content['text'] }}"
        "{% endfor %}{{'<|im_end|>'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
        "{% endif %}"
    )
    write_json(folder / "chat_template.json", {"chat_template": template})
    return fill(folder, t.LlavaOnevisionForConditionalGeneration, LLAVA_NAMES, HALF, shards=4)


OMNI_MARKS = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
OMNI_CHAT = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "<|vision_bos|><|IMAGE|><|vision_eos|>"
    "{% elif content['type'] == 'audio' or 'audio' in content or 'audio_url' in content %}"
    "<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% elif content['type'] == 'video' or 'video' in content %}<|vision_bos|><|VIDEO|><|vision_eos|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
OMNI_NAMES = (
    (r"^model\.(audio_tower|visual)\.", r"\1."),
    (r"^model\.language_model\.", "model."),
    (r"^", "thinker."),
)


def qwen2_5_omni(folder: Path) -> t.PreTrainedModel:
    """`Qwen/Qwen2.5-Omni-7B`: bfloat16, five shards, with the parts that speak, and voices in `spk_dict.pt`.

    Returns:
        The part that answers in words.
    """
    marks = [*QWEN_MARKS, *OMNI_MARKS.values()]
    places = bytes_words(
        folder,
        marks,
        first=False,
        **QWEN_WORDS,
        processor_class="Qwen2_5OmniProcessor",
        add_bos_token=False,
        extra_special_tokens=OMNI_MARKS,
        **OMNI_MARKS,
    )
    at = {name: places[word] for name, word in OMNI_MARKS.items()}
    ids = {
        "audio_end_token_id": at["audio_eos_token"],
        "audio_start_token_id": at["audio_bos_token"],
        "audio_token_index": at["audio_token"],
        "image_token_index": at["image_token"],
        "video_token_index": at["video_token"],
        "vision_end_token_id": at["vision_eos_token"],
        "vision_start_token_id": at["vision_bos_token"],
        "position_id_per_seconds": 25,
        "seconds_per_chunk": 2,
    }
    rope = {"rope_scaling": {"mrope_section": [2, 1, 1], "rope_type": "default", "type": "default"}}
    text = {**LLAMA, "num_key_value_heads": 2, "rope_theta": 1000000.0, **rope}
    write_json(
        folder / "config.json",
        {
            "architectures": ["Qwen2_5OmniModel"],
            "enable_audio_output": True,
            "enable_talker": True,
            "model_type": "qwen2_5_omni",
            "talker_config": {
                "architectures": ["Qwen2OmniTalkerForConditionalGeneration"],
                "model_type": "qwen2_5_omni_talker",
                **text,
                **ids,
                "embedding_size": 32,
                "head_dim": 8,
                "vocab_size": 16,
            },
            "thinker_config": {
                "architectures": ["Qwen2OmniNaViTThinkerForConditionalGeneration"],
                "audio_config": {
                    "model_type": "qwen2_5_omni_audio_encoder",
                    "d_model": 16,
                    "encoder_attention_heads": 2,
                    "encoder_ffn_dim": 24,
                    "encoder_layers": 1,
                    "num_mel_bins": 128,
                    "output_dim": 32,
                },
                **ids,
                "model_type": "qwen2_5_omni_thinker",
                "pad_token_id": places["<|endoftext|>"],
                "text_config": {"model_type": "qwen2_5_omni_text", **text, "vocab_size": len(places)},
                "user_token_id": 1,
                "vision_config": {
                    "model_type": "qwen2_5_omni_vision_encoder",
                    "depth": 2,
                    "embed_dim": 16,
                    "fullatt_block_indexes": [1],
                    "hidden_size": 16,
                    "in_chans": 3,
                    "intermediate_size": 24,
                    "num_heads": 2,
                    "out_hidden_size": 32,
                    "window_size": 28,
                },
            },
            "token2wav_config": {
                "bigvgan_config": {
                    "model_type": "qwen2_5_omni_bigvgan",
                    "mel_dim": 4,
                    "resblock_dilation_sizes": [[1, 3, 5]],
                    "resblock_kernel_sizes": [3],
                    "upsample_initial_channel": 4,
                    "upsample_kernel_sizes": [4],
                    "upsample_rates": [2],
                },
                "dit_config": {
                    "model_type": "qwen2_5_omni_dit",
                    "depth": 1,
                    "dim": 16,
                    "emb_dim": 8,
                    "enc_attention_channels": 4,
                    "enc_channels": [4, 4, 4, 4, 12],
                    "enc_dim": 4,
                    "enc_emb_dim": 4,
                    "enc_se_channels": 4,
                    "head_dim": 8,
                    "heads": 2,
                    "hidden_size": 16,
                    "mel_dim": 4,
                    "num_attention_heads": 2,
                    "num_embeds": 9,
                    "num_hidden_layers": 1,
                },
                "model_type": "qwen2_5_omni_token2wav",
            },
            "torch_dtype": "bfloat16",
            "transformers_version": "4.50.0.dev0",
        },
    )
    write_json(folder / "generation_config.json", {"eos_token_id": [places["<|im_end|>"], places["<|endoftext|>"]]})
    write_json(
        folder / "preprocessor_config.json",
        {
            **CLIP_COLOURS,
            "chunk_length": 300,
            "dither": 0.0,
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": 128,
            "hop_length": 160,
            "image_processor_type": "Qwen2VLImageProcessor",
            "max_pixels": 28 * 28 * 4,
            "merge_size": 2,
            "min_pixels": 28 * 28,
            "n_fft": 400,
            "n_samples": 4800000,
            "nb_max_frames": 30000,
            "padding_side": "right",
            "padding_value": 0.0,
            "patch_size": 14,
            "processor_class": "Qwen2_5OmniProcessor",
            "return_attention_mask": True,
            "sampling_rate": 16000,
            "temporal_patch_size": 2,
        },
    )
    write_json(folder / "chat_template.json", {"chat_template": OMNI_CHAT})
    whole = planted(t.Qwen2_5OmniForConditionalGeneration, folder, "bfloat16")
    weights = released(whole.thinker, OMNI_NAMES, "bfloat16")
    for part in ("talker", "token2wav"):
        weights |= released(getattr(whole, part), [(r"^", f"{part}.")], "bfloat16")
    write_weights(folder, weights, shards=5)
    voice = {"cond": torch.zeros(1, 4), "ref_mel": torch.zeros(1, 3, 4), "bos_token": 0}
    torch.save({"Chelsie": voice, "Ethan": voice}, folder / "spk_dict.pt")
    return whole.thinker


MULTIMODAL: dict[str, Maker] = {
    "Video-LLaVA": video_llava,
    "LLaVA": llava,
    "LLaVA-OneVision": llava_onevision,
    "Qwen2.5-Omni": qwen2_5_omni,
}
