"""Encoders and Whisper as their authors released them, small; see `real_formats`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as t
from ctranslate2.converters.transformers import WhisperLoader
from tokenizers import pre_tokenizers
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from real_formats import (
    CLIP_COLOURS,
    HALF,
    Maker,
    bytes_json,
    bytes_words,
    fill,
    planted,
    released,
    write_json,
    write_weights,
)

SMALL = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def wavlm(folder: Path) -> t.PreTrainedModel:
    """`microsoft/wavlm-base-plus-sv`: one pickled file, with weight normalisation by its older names."""
    write_json(
        folder / "config.json",
        {
            "architectures": ["WavLMForXVector"],
            "conv_dim": [8] * 7,
            "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
            "conv_stride": [5, 2, 2, 2, 2, 2, 2],
            "do_stable_layer_norm": False,
            "feat_extract_norm": "group",
            **SMALL,
            "layerdrop": 0.05,
            "model_type": "wavlm",
            "num_conv_pos_embedding_groups": 2,
            "num_conv_pos_embeddings": 16,
            "num_feat_extract_layers": 7,
            "tdnn_dilation": [1, 2, 3, 1, 1],
            "tdnn_dim": [8, 8, 8, 8, 16],
            "tdnn_kernel": [5, 3, 3, 1, 1],
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "torch_dtype": "float32",
            "transformers_version": "4.15.0.dev0",
            "use_weighted_layer_sum": True,
            "xvector_output_dim": 20,
        },
    )
    write_json(
        folder / "preprocessor_config.json",
        {
            "do_normalize": False,
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": True,
            "sampling_rate": 16000,
        },
    )
    names = (
        (r"parametrizations\.weight\.original0", "weight_g"),
        (r"parametrizations\.weight\.original1", "weight_v"),
    )
    return fill(folder, t.WavLMForXVector, names, "float32", pickled=True)


def clip(folder: Path) -> t.PreTrainedModel:
    """`openai/clip-vit-base-patch32`: one pickled file with tables of positions, and configs of 2021."""
    special = ["<|startoftext|>", "<|endoftext|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), *special]
    places = {word: place for place, word in enumerate(words)}
    write_json(folder / "vocab.json", places)
    (folder / "merges.txt").write_text("#version: 0.2\n")
    mark = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "__type": "AddedToken"}
    ends = {"unk_token": special[1], "bos_token": special[0], "eos_token": special[1]}
    settings: dict[str, Any] = {name: {"content": word, **mark} for name, word in ends.items()}
    settings |= {"pad_token": special[1], "add_prefix_space": False, "errors": "replace", "do_lower_case": True}
    settings |= {"name_or_path": "openai/clip-vit-base-patch32", "model_max_length": 77}
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "special_tokens_map.json", ends | {"pad_token": special[1]})
    ids = {"bos_token_id": places[special[0]], "eos_token_id": places[special[1]], "pad_token_id": 1}
    text = {**SMALL, **ids, "max_position_embeddings": 77, "model_type": "clip_text_model", "vocab_size": len(places)}
    vision = {**SMALL, "image_size": 28, "model_type": "clip_vision_model", "patch_size": 14}
    write_json(
        folder / "config.json",
        {
            "_name_or_path": "openai/clip-vit-base-patch32",
            "architectures": ["CLIPModel"],
            "initializer_factor": 1.0,
            "logit_scale_init_value": 2.6592,
            "model_type": "clip",
            "projection_dim": 12,
            "text_config": text,
            "text_config_dict": None,
            "transformers_version": None,
            "vision_config": vision,
            "vision_config_dict": None,
        },
    )
    write_json(
        folder / "preprocessor_config.json",
        {
            "crop_size": 28,
            "do_center_crop": True,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor",
            **CLIP_COLOURS,
            "resample": 3,
            "size": 28,
        },
    )
    network = planted(t.CLIPModel, folder, "float32")
    weights = released(network, (), "float32")
    weights |= {
        "text_model.embeddings.position_ids": torch.arange(77)[None],
        "vision_model.embeddings.position_ids": torch.arange(5)[None],
    }
    write_weights(folder, weights, pickled=True)
    return network


def roberta(folder: Path) -> t.PreTrainedModel:
    """`FacebookAI/roberta-base`: with the head that it was trained with, without the pooler that `AutoModel` adds.

    Returns:
        The network with its head; `AutoModel` takes its part `roberta`.
    """
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    places = bytes_words(folder, special, first=True, model_max_length=512)
    write_json(
        folder / "config.json",
        {
            "architectures": ["RobertaForMaskedLM"],
            "attention_probs_dropout_prob": 0.1,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "initializer_range": 0.02,
            **SMALL,
            "layer_norm_eps": 1e-05,
            "max_position_embeddings": 514,
            "model_type": "roberta",
            "pad_token_id": 1,
            "type_vocab_size": 1,
            "vocab_size": len(places),
        },
    )
    network = planted(t.RobertaForMaskedLM, folder, "float32")
    weights = released(network, (), "float32")
    write_weights(folder, weights | {"roberta.embeddings.position_ids": torch.arange(514)[None]})
    return network


def vit(folder: Path) -> t.PreTrainedModel:
    """`google/vit-base-patch16-224-in21k`: queries, keys and values two levels down, as they were until 2026."""
    write_json(
        folder / "config.json",
        {
            "architectures": ["ViTModel"],
            "attention_probs_dropout_prob": 0.0,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0,
            **SMALL,
            "image_size": 32,
            "initializer_range": 0.02,
            "layer_norm_eps": 1e-12,
            "model_type": "vit",
            "num_channels": 3,
            "patch_size": 16,
            "qkv_bias": True,
            "transformers_version": "4.13.0.dev0",
        },
    )
    half = [0.5, 0.5, 0.5]
    write_json(
        folder / "preprocessor_config.json",
        {"do_normalize": True, "do_resize": True, "image_mean": half, "image_std": half, "size": 32},
    )
    names = (
        (r"^layers\.", "encoder.layer."),
        (r"\.attention\.([qkv])_proj\.", r".attention.attention.\1_proj."),
        (r"\.q_proj\.", ".query."),
        (r"\.k_proj\.", ".key."),
        (r"\.v_proj\.", ".value."),
        (r"\.attention\.o_proj\.", ".attention.output.dense."),
        (r"\.mlp\.fc1\.", ".intermediate.dense."),
        (r"\.mlp\.fc2\.", ".output.dense."),
    )
    return fill(folder, t.ViTModel, names, "float32")


def timesformer(folder: Path) -> t.PreTrainedModel:
    """`facebook/timesformer-base-finetuned-k400`: one pickled file, prepared by VideoMAE's class of old."""
    write_json(
        folder / "config.json",
        {
            "architectures": ["TimesformerForVideoClassification"],
            "attention_probs_dropout_prob": 0.0,
            "attention_type": "divided_space_time",
            "drop_path_rate": 0,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0,
            **SMALL,
            "id2label": {"0": "abseiling", "1": "air drumming"},
            "image_size": 32,
            "initializer_range": 0.02,
            "label2id": {"abseiling": 0, "air drumming": 1},
            "layer_norm_eps": 1e-06,
            "model_type": "timesformer",
            "num_channels": 3,
            "num_frames": 4,
            "patch_size": 16,
            "qkv_bias": True,
            "torch_dtype": "float32",
            "transformers_version": "4.25.0.dev0",
        },
    )
    write_json(
        folder / "preprocessor_config.json",
        {
            "crop_size": {"height": 32, "width": 32},
            "do_center_crop": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "feature_extractor_type": "VideoMAEFeatureExtractor",
            "image_mean": [0.45, 0.45, 0.45],
            "image_processor_type": "VideoMAEImageProcessor",
            "image_std": [0.225, 0.225, 0.225],
            "resample": 2,
            "rescale_factor": 0.00392156862745098,
            "size": {"shortest_edge": 32},
        },
    )
    return fill(folder, t.TimesformerForVideoClassification, (), "float32", pickled=True)


def whisper(folder: Path) -> t.PreTrainedModel:
    """`openai/whisper-large-v3`: half precision in one file, with the decoder, under one prefix.

    Returns:
        The network with its decoder.
    """
    write_json(
        folder / "config.json",
        {
            "_name_or_path": "openai/whisper-large-v3",
            "activation_function": "gelu",
            "apply_spec_augment": False,
            "architectures": ["WhisperForConditionalGeneration"],
            "begin_suppress_tokens": [220, 50257],
            "bos_token_id": 1,
            "d_model": 16,
            "decoder_attention_heads": 2,
            "decoder_ffn_dim": 24,
            "decoder_layers": 1,
            "decoder_start_token_id": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 24,
            "encoder_layers": 2,
            "eos_token_id": 1,
            "is_encoder_decoder": True,
            "mask_feature_length": 10,
            "max_source_positions": 1500,
            "max_target_positions": 8,
            "median_filter_width": 7,
            "model_type": "whisper",
            "num_hidden_layers": 2,
            "num_mel_bins": 128,
            "pad_token_id": 0,
            "scale_embedding": False,
            "torch_dtype": HALF,
            "transformers_version": "4.36.0.dev0",
            "use_cache": True,
            "use_weighted_layer_sum": False,
            "vocab_size": 16,
        },
    )
    network = planted(t.WhisperForConditionalGeneration, folder, HALF)
    write_weights(folder, released(network, (), HALF))
    return network


def faster_whisper(folder: Path) -> t.PreTrainedModel:
    """`Systran/faster-whisper-large-v3`: CTranslate2's form of Whisper-large-v3, half precision, 100 languages.

    The vocabulary is as large as the real one, and has its empty word, by which CTranslate2 tells that a model knows
    more than English.

    Returns:
        The network that was converted.
    """
    tasks = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
    named = [f"<|{word}|>" for word in ("endoftext", "startoftranscript", *LANGUAGES, *tasks)]
    times = [f"<|{0.02 * tick:.2f}|>" for tick in range(1501)]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"word{k}" for k in range(50256 - len(letters))), ""]
    special = [*named, *times]
    assert len(words) + len(special) == 51866
    config = t.WhisperConfig(
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=24,
        num_mel_bins=128,
        vocab_size=51866,
    )
    torch.manual_seed(0)
    network = t.WhisperForConditionalGeneration(config).eval()
    spec = WhisperLoader().get_model_spec(network)
    spec.register_vocabulary([*words, *special])
    spec.config.suppress_ids = [1, 2, 7]
    spec.config.suppress_ids_begin = [220, 50257]
    spec.config.alignment_heads = [(1, 0)]
    spec.config.lang_ids = list(range(50259, 50359))
    spec.validate()
    spec.optimize(quantization="float16")
    spec.save(str(folder))
    bytes_json(folder / "tokenizer.json", {word: k for k, word in enumerate(words)}, special)
    write_json(
        folder / "preprocessor_config.json",
        {
            "chunk_length": 30,
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": 128,
            "hop_length": 160,
            "n_fft": 400,
            "n_samples": 480000,
            "nb_max_frames": 3000,
            "padding_side": "right",
            "padding_value": 0.0,
            "processor_class": "WhisperProcessor",
            "return_attention_mask": False,
            "sampling_rate": 16000,
        },
    )
    return network


ENCODERS: dict[str, Maker] = {"WavLM": wavlm, "CLIP": clip, "RoBERTa": roberta, "ViT": vit, "TimeSformer": timesformer}
