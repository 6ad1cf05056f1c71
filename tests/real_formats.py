"""Checkpoints as their authors released them, small: their file names, names of weights, shards, numbers and configs.

What transformers 5 writes differs from what lies on the hub, which older versions wrote, so nothing here is written by
`save_pretrained`: weights get their released names from the tables below, configs are the released ones with smaller
sizes. Each function fills a folder and returns the network whose weights are in it.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import transformers as t
from safetensors.torch import save_file
from tokenizers import pre_tokenizers

HALF = "float16"
LLAMA = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
CLIP_COLOURS = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}

Names = Iterable[tuple[str, str]]
Maker = Callable[[Path], t.PreTrainedModel]


# --- weights -----------------------------------------------------------------------------------------------------


def planted(cls: type[t.PreTrainedModel], folder: Path, dtype: str) -> t.PreTrainedModel:
    """A network as the folder's config says, in float32, with weights that `dtype` holds exactly.

    Matrices keep their input's size, so that what goes in makes a difference to what comes out.
    """
    network = cls(t.AutoConfig.from_pretrained(folder)).float()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            scale = weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.1
            drawn = torch.randn(weight.shape, generator=generator) * scale + (weight.ndim == 1)
            weight.copy_(drawn.to(getattr(torch, dtype)))
    return network.eval()


def released(network: torch.nn.Module, names: Names, dtype: str) -> dict[str, torch.Tensor]:
    """Weights under released names (patterns of ours -> theirs, all of them applied), tied ones once."""
    found, seen = {}, set()
    for name, value in network.state_dict(keep_vars=True).items():
        if id(value) in seen:
            continue
        seen.add(id(value))
        for ours, theirs in names:
            name = re.sub(ours, theirs, name)
        value = value.detach()
        found[name] = value.to(getattr(torch, dtype)) if value.is_floating_point() else value
    return found


def write_weights(folder: Path, weights: dict[str, torch.Tensor], *, shards: int = 1, pickled: bool = False) -> None:
    """As one file or as several with an index; `pickled` as older releases are, `pytorch_model.bin`."""
    stem, suffix = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
    write = torch.save if pickled else lambda part, file: save_file(part, file, {"format": "pt"})
    if shards == 1:
        write(weights, folder / f"{stem}.{suffix}")
        return
    names = list(weights)
    index: dict[str, Any] = {"metadata": {"total_size": sum(v.nbytes for v in weights.values())}, "weight_map": {}}
    for shard in range(shards):
        file = f"{stem}-{shard + 1:05d}-of-{shards:05d}.{suffix}"
        part = {
            name: weights[name] for name in names[shard * len(names) // shards : (shard + 1) * len(names) // shards]
        }
        write(part, folder / file)
        index["weight_map"] |= dict.fromkeys(part, file)
    write_json(folder / f"{stem}.{suffix}.index.json", index)


def fill(folder: Path, cls: type[t.PreTrainedModel], names: Names, dtype: str, **options: Any) -> t.PreTrainedModel:
    """Writes weights for the folder's config; returns the network that has them."""
    network = planted(cls, folder, dtype)
    write_weights(folder, released(network, names, dtype), **options)
    return network


def write_json(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n")


# --- tokenizers --------------------------------------------------------------------------------------------------


def pieces() -> list[tuple[str, float, int]]:
    """LLaMA's vocabulary cut down: three special pieces, 256 bytes, merged and single ones (piece, score, type)."""
    special = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    octets = [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    merged = ["▁t", "he", "▁the", "▁v"]
    single = ["▁", *"abcdefghijklmnopqrstuvwxyzABCDEHIMRSTUW:.?#,'<>/"]
    return [*special, *octets, *((piece, -float(k), 1) for k, piece in enumerate([*merged, *single]))]


def sentencepiece_file(file: Path) -> None:
    """`tokenizer.model` of LLaMA: byte-pair encoding with bytes to fall back on, in protobuf's wire format."""
    trainer = field(3, 2) + field(35, 1) + field(40, 0) + field(41, 1) + field(42, 2)
    normalizer = field(1, "identity") + field(3, 1) + field(4, 0)
    listed = [field(1, field(1, piece) + field(2, score) + field(3, kind)) for piece, score, kind in pieces()]
    file.write_bytes(b"".join(listed) + field(2, trainer) + field(3, normalizer))


def field(number: int, value: int | float | str | bytes) -> bytes:
    """A field of a protobuf message: its number with the kind of its value, and that."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth tells that more follow."""
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


MARK = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
LLAMA_MARKS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def added(content: str, place: int) -> dict[str, Any]:
    return {"id": place, "content": content, **MARK, "special": True}


def llama_json(file: Path, more: Iterable[str]) -> None:
    """`tokenizer.json` of LLaMA 2 and its kin, with words added behind its vocabulary."""
    vocabulary = {piece: place for place, (piece, _, _) in enumerate(pieces())}
    words = ["<unk>", "<s>", "</s>", *more]
    single = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    pair = [*single, {"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}]
    write_json(
        file,
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [added(word, k if k < 3 else len(vocabulary) + k - 3) for k, word in enumerate(words)],
            "normalizer": {
                "type": "Sequence",
                "normalizers": [
                    {"type": "Prepend", "prepend": "▁"},
                    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
                ],
            },
            "pre_tokenizer": None,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": single,
                "pair": pair,
                "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
            },
            "decoder": {
                "type": "Sequence",
                "decoders": [
                    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                    {"type": "ByteFallback"},
                    {"type": "Fuse"},
                    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
                ],
            },
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": "<unk>",
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": True,
                "byte_fallback": True,
                "vocab": vocabulary,
                "merges": ["▁ t", "h e", "▁t he", "▁ v"],
            },
        },
    )


def llama_words(folder: Path, more: list[str], *, json_too: bool = True, **config: Any) -> int:
    """LLaMA's tokenizer and `more` words behind its own; how many words there are."""
    known = len(pieces())
    sentencepiece_file(folder / "tokenizer.model")
    if json_too:
        llama_json(folder / "tokenizer.json", more)
    if more:
        write_json(folder / "added_tokens.json", {word: known + k for k, word in enumerate(more)})
        behind = {known + k: {"content": word, **MARK, "special": True} for k, word in enumerate(more)}
        config = {"added_tokens_decoder": behind, **config}
    special = {name: {"content": word, **MARK} for name, word in LLAMA_MARKS.items()}
    write_json(folder / "special_tokens_map.json", special)
    settings = {
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "legacy": False,
        "model_max_length": 4096,
        "padding_side": "right",
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer",
        **{name: {"__type": "AddedToken", **word} for name, word in special.items()},
        "pad_token": None,
        **config,
    }
    write_json(folder / "tokenizer_config.json", settings)
    return known + len(more)


def bytes_words(folder: Path, special: list[str], *, first: bool, **config: Any) -> dict[str, int]:
    """Byte-level words of GPT-2's kind (RoBERTa, Qwen, Whisper) as vocab.json, merges.txt and tokenizer.json.

    Args:
        folder: to fill.
        special: other words.
        first: whether they come before the bytes, as RoBERTa's, or behind them.
        config: of tokenizer_config.json.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    ordered = [*special, *letters] if first else [*letters, *special]
    places = {word: place for place, word in enumerate(ordered)}
    vocabulary = places if first else {letter: places[letter] for letter in letters}
    write_json(folder / "vocab.json", vocabulary)
    (folder / "merges.txt").write_text("#version: 0.2\n")
    bytes_json(folder / "tokenizer.json", vocabulary, special)
    write_json(folder / "tokenizer_config.json", config)
    return places


def bytes_json(file: Path, vocabulary: dict[str, int], special: list[str]) -> None:
    """`tokenizer.json` of them; special words that the vocabulary has not stand behind it, in order."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    write_json(
        file,
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [added(word, vocabulary.get(word, len(vocabulary) + k)) for k, word in enumerate(special)],
            "normalizer": None,
            "pre_tokenizer": level,
            "post_processor": level,
            "decoder": level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": "",
                "end_of_word_suffix": "",
                "fuse_unk": False,
                "byte_fallback": False,
                "vocab": vocabulary,
                "merges": [],
            },
        },
    )


# --- language models -----------------------------------------------------------------------------------------------


def rotary(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """With the constants that older versions kept beside each layer."""
    name = "model.layers.{}.self_attn.rotary_emb.inv_freq"
    return weights | {name.format(k): torch.ones(4) for k in range(LLAMA["num_hidden_layers"])}


def causal(folder: Path, count: int, *, pickled: bool, **more: Any) -> t.PreTrainedModel:
    write_json(
        folder / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "bos_token_id": 1,
            "eos_token_id": 2,
            "hidden_act": "silu",
            "initializer_range": 0.02,
            **LLAMA,
            "max_position_embeddings": 4096,
            "model_type": "llama",
            "num_key_value_heads": 4,
            "pad_token_id": 0,
            "pretraining_tp": 1,
            "rms_norm_eps": 1e-05,
            "rope_scaling": None,
            "tie_word_embeddings": False,
            "torch_dtype": HALF,
            "use_cache": True,
            "vocab_size": count,
            **more,
        },
    )
    network = planted(t.LlamaForCausalLM, folder, HALF)
    write_weights(folder, rotary(released(network, (), HALF)), shards=2, pickled=pickled)
    return network


def vicuna(folder: Path) -> t.PreTrainedModel:
    """`lmsys/vicuna-7b-v1.5`: two pickled shards in half precision, and a tokenizer of sentencepiece alone."""
    count = llama_words(folder, [], json_too=False)
    sampling = {"max_length": 4096, "temperature": 0.9, "top_p": 0.6, "transformers_version": "4.31.0"}
    ids = {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    write_json(folder / "generation_config.json", ids | sampling)
    return causal(folder, count, pickled=True, _name_or_path="vicuna-7b-v1.5", transformers_version="4.31.0")


def llama2(folder: Path) -> t.PreTrainedModel:
    """`meta-llama/Llama-2-7b-chat-hf`: two shards in half precision as safetensors and, beside them, pickled."""
    count = llama_words(folder, [], tokenizer_class="LlamaTokenizerFast")
    sampling = {"do_sample": True, "max_length": 4096, "temperature": 0.6, "top_p": 0.9}
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0} | sampling)
    network = causal(folder, count, pickled=False, transformers_version="4.32.0.dev0")
    write_weights(folder, rotary(released(network, (), HALF)), shards=2, pickled=True)
    return network


LANGUAGE: dict[str, Maker] = {"Vicuna": vicuna, "LLaMA 2": llama2}


def make(maker: Maker, folder: Path) -> t.PreTrainedModel:
    """Fills a new folder."""
    folder.mkdir(parents=True)
    return maker(folder)
