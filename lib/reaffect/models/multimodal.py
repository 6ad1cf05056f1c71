"""Multimodal LLMs of Hugging Face's classes: how they are read, and what their configurations do not tell of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoConfig, AutoModelForMultimodalLM, AutoProcessor, PreTrainedConfig, PreTrainedModel
from transformers import logging as transformers_logging

from reaffect.errors import InputError
from reaffect.models.checkpoints import read_pretrained, read_processor

CONTINUING = {
    "video_llava",
    "llava",
    "llava_onevision",
    "qwen2_5_vl",
    "qwen3_vl",
    "qwen2_5_omni_thinker",
    "qwen3_omni_moe_thinker",
    "internvl",
    "video_llama_3",
    "gemma3",
    "gemma4",
}
"""Model types for which tests show that questions which share one look at a clip are answered as if asked alone."""

PER_TOKEN = {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"}
"""Inputs of a network with a column a token; the others are the clip's."""


class Multimodal(NamedTuple):
    """A checkpoint that was read."""

    network: PreTrainedModel
    processor: Any
    commit: str | None
    """Of the hub's repository; None for a folder."""


def read_multimodal(model: str | Path, dtype: torch.dtype) -> Multimodal:
    """Reads a checkpoint's processor and network. Nothing in it is executed.

    Args:
        model: a hub id, or a folder in Hugging Face format.
        dtype: of the weights.

    Raises:
        InputError: the folder is no checkpoint, or not a whole one, holds no multimodal model or one that needs code or
            a package that is not here, or the hub does not give it.
    """
    if isinstance(model, Path) and not (model / "config.json").exists():
        raise InputError(f"{model}: no checkpoint (config.json is missing). Name another folder, or `make embedded`.")
    transformers_logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
        processor = read_processor(AutoProcessor, model)
        # Of an omni-modal model only the part that answers in text: those that speak are large and never asked.
        answering = getattr(config, "thinker_config", config)
        network = read_pretrained(AutoModelForMultimodalLM, model, config=answering, dtype=dtype, device_map=None)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{model}: no video or image LLM could be loaded ({reason}). Check the name; a folder needs config.json, "
            "the processor's files and *.safetensors; offline, the hub's models must be in its cache."
        ) from error
    if not hasattr(processor, "apply_chat_template") or getattr(processor, "image_processor", None) is None:
        raise InputError(f"{model}: the model takes text only; name a checkpoint that sees videos or images.")
    ends = network.generation_config
    if ends.eos_token_id is None:  # not every release says where an answer ends
        ends.eos_token_id = processor.tokenizer.eos_token_id
    return Multimodal(network, processor, getattr(config, "_commit_hash", None))


def chat(processor: Any, message: dict[str, Any]) -> str:
    """A message in the chat format, without the mark of a text's beginning where the tokenizer sets one itself."""
    text = processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    words = processor.tokenizer
    marks = words.bos_token is not None and words("").input_ids[:1] == [words.bos_token_id]
    return text.removeprefix(words.bos_token) if marks else text


def endings_of(processor: Any, questions: Sequence[str]) -> list[list[int]] | None:
    """Each question's token ids from where the questions part; None if a clip's place is among them.

    Args:
        processor: of a `Multimodal`.
        questions: in the chat format, several.
    """
    words = processor.tokenizer
    ids = [words(question).input_ids for question in questions]
    columns = zip(*(question[:-1] for question in ids), strict=False)  # each has an ending
    alike = len(list(takewhile(lambda column: len(set(column)) == 1, columns)))
    found = [question[alike:] for question in ids]
    named = (getattr(processor, f"{kind}_token", None) for kind in ("image", "video", "audio"))
    places = words.convert_tokens_to_ids([token for token in named if token])
    return None if set(places) & set(chain(*found)) else found


@contextmanager
def last_states(network: PreTrainedModel) -> Iterator[list[Float[Tensor, "batch tokens width"]]]:
    """The last layer's states, normalised as for the words, of every pass that the network makes within.

    Those of all other layers, which `output_hidden_states` would keep, are GBs at 7B.
    """
    passes: list[Tensor] = []
    hook = network.get_decoder().register_forward_hook(lambda _m, _a, output: passes.append(output.last_hidden_state))
    try:
        yield passes
    finally:
        hook.remove()


def token_bytes(config: PreTrainedConfig, number: torch.dtype, *, caches: int) -> int:
    """What a token of a batch takes of the memory while a network reads it, in bytes, rather too many.

    b (2 c Σ k d + 8 (h + m)), with b bytes a number, c caches, the sum over layers of k heads of keys and values that
    are d wide, and widths h and m of a layer's states and between its two products. The latter is twice the 4 h + 3 m
    that a layer holds at once, for towers and what is made of states. Of Video-LLaVA-7B in bfloat16 that is 766 kB for
    one cache and 1.29 MB for two.

    Args:
        config: of the language model; its attention is taken to be a fused kernel.
        number: of the weights.
        caches: how many there are at once.
    """
    kept = sum(_kept(layer) for layer in config.per_layer_config)
    between = max(layer.intermediate_size for layer in config.per_layer_config)
    if experts := getattr(config, "num_experts_per_tok", None):
        between = max(between, experts * config.moe_intermediate_size)
    return number.itemsize * (caches * kept + 8 * (config.hidden_size + between))


def _kept(layer: PreTrainedConfig) -> int:
    """Numbers in the keys and values of a token."""
    heads = getattr(layer, "num_key_value_heads", None) or layer.num_attention_heads
    return 2 * heads * (getattr(layer, "head_dim", None) or layer.hidden_size // layer.num_attention_heads)
