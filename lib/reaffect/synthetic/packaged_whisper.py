"""The encoder of the Whisper that a package carries in CTranslate2's format, as ears of a language model.

`reaffect.speech` runs that model by CTranslate2, which keeps its states to itself. Here the encoder's weights are read
from `model.bin` and put into transformers' network, unchanged but for their precision.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reaffect.errors import InputError
from reaffect.models.checkpoints import fill, rename
from reaffect.models.whisper_audio import WhisperAudioConfig, WhisperEars

HEADER = (6, "WhisperSpec")
"""With which a file that can be read begins: the format's version, and what it holds."""

TYPES = ("<f4", "i1", "<i2", "<i4", "<f2")
"""The format's types by their number; bfloat16, number 5, is unknown to NumPy."""

NAMES = (
    (r"encoder\.conv", "conv"),
    (r"encoder\.position_encodings\.encodings", "embed_positions.weight"),
    (r"encoder\.layer_norm\.", "layer_norm."),
    (r"encoder\.layer_(\d+)\.self_attention\.layer_norm\.", r"layers.\1.self_attn_layer_norm."),
    (r"encoder\.layer_(\d+)\.self_attention\.linear_1\.", r"layers.\1.self_attn.out_proj."),
    (r"encoder\.layer_(\d+)\.self_attention\.([qkv])\.", r"layers.\1.self_attn.\2_proj."),
    (r"encoder\.layer_(\d+)\.ffn\.layer_norm\.", r"layers.\1.final_layer_norm."),
    (r"encoder\.layer_(\d+)\.ffn\.linear_0\.", r"layers.\1.fc1."),
    (r"encoder\.layer_(\d+)\.ffn\.linear_1\.", r"layers.\1.fc2."),
)
"""CTranslate2's names, with dots, and those of a norm's weights already PyTorch's -> transformers'; patterns."""

SPARE = r"decoder\.|encoder\.num_heads|.*\.k\.bias"
"""Names without use here; Whisper's keys have no bias, and zeros stand for it. Pattern."""


def ears(folder: str | Path, *, positions: int = 1500) -> WhisperEars:
    """The packaged encoder, in float32 and evaluation mode.

    Args:
        folder: in CTranslate2's format, with `model.bin`.
        positions: states a window, 20 ms each. Whisper's windows are of 1500; shorter ones have the first of its
            positions, and cost less where clips are short.

    Raises:
        InputError: the file is missing, cut off, or holds something else; or its weights are quantised.
    """
    file = Path(folder) / "model.bin"
    try:
        found = variables(file.read_bytes())
        if quantised := [name for name, value in found.items() if value.dtype == np.int8 and value.ndim > 1]:
            raise ValueError(f"{quantised[0]} is quantised")
        weights = rename(_apart(found), NAMES, SPARE, str(file))
        weights["embed_positions.weight"] = weights["embed_positions.weight"][:positions]
        width, mel_bins, _ = weights["conv1.weight"].shape
        config = WhisperAudioConfig(
            mel_bins=mel_bins,
            width=width,
            mlp=len(weights["layers.0.fc1.bias"]),
            layers=sum(name.endswith("fc1.bias") for name in weights),
            heads=int(found["encoder/num_heads"]),
            positions=len(weights["embed_positions.weight"]),
        )
        network = WhisperEars(config)
        fill(network.encoder, weights, str(file))
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise InputError(
            f"{file}: no Whisper with floating-point weights in CTranslate2's format ({error}). `make install`, or "
            "name another folder."
        ) from error
    return network.eval()


def variables(raw: bytes) -> dict[str, np.ndarray]:
    """What a `model.bin` of CTranslate2 holds, by name.

    Header, then of each variable its name, shape, type and bytes, all little-endian, names with a zero behind them
    (`ctranslate2.specs.ModelSpec`). Other names for the same variables follow, and are left out.

    Raises:
        ValueError: it is no such file, or another version of it.
        struct.error: it is cut off.
    """
    place = 0

    def take(form: str) -> tuple:
        nonlocal place
        values = struct.unpack_from(form, raw, place)
        place += struct.calcsize(form)
        return values

    def text() -> str:
        return take(f"{take('<H')[0]}s")[0][:-1].decode()

    header = take("<I")[0], text()
    if header != HEADER:
        raise ValueError(f"it begins with {header}, not {HEADER}")
    _, count = take("<II")
    found = {}
    for _ in range(count):
        name, rank = text(), take("<B")[0]
        shape = take(f"<{rank}I")
        kind, size = take("<BI")
        if kind >= len(TYPES):
            raise ValueError(f"{name} has the type {kind}")
        found[name] = np.frombuffer(take(f"{size}s")[0], TYPES[kind]).reshape(shape)
    return found


def _apart(found: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Weights in float32 by names with dots: queries, keys and values apart, norms with PyTorch's names."""
    weights = {}
    for name, value in found.items():
        name = re.sub(r"/gamma$", "/weight", re.sub(r"/beta$", "/bias", name)).replace("/", ".")
        tensor = torch.from_numpy(value.astype(np.float32))
        if ".self_attention.linear_0." in name and name.startswith("encoder."):
            for part, own in zip("qkv", tensor.chunk(3), strict=True):
                weights[name.replace("linear_0", part)] = own
        else:
            weights[name] = tensor
    return weights
