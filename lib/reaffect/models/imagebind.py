"""ImageBind's ears and eyes: two seconds of sound, or two frames, become one vector in a space that they share.

Girdhar et al. 2023, Section 3. Both are vision transformers, one over patches of a mel spectrogram, one over patches of
two frames. transformers has no class for them; the names of the parameters are those of `imagebind_huge.pth`.
At the end, for every module that takes over released weights: reading, renaming and loading them.
"""

from __future__ import annotations

import dataclasses
import math
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import librosa
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ASTFeatureExtractor

SAMPLE_RATE = 16_000
SEGMENT_S = 2.0
MEL_MEAN, MEL_STD = -4.268, 9.138
"""Of the log mel energies, as ImageBind's own data loader has them."""

AUDIO_SCALE = 20.0
"""Audio vectors have this length; those of frames have length 1."""

SPARE = r"modality_\w+\.(text|depth|thermal|imu)\."
"""Released names of senses that are not used here."""


@dataclass(frozen=True)
class AudioConfig:
    """Of the audio trunk; ImageBind-huge by default."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    output: int = 1024
    mel_bins: int = 128
    mel_frames: int = 204
    kernel: int = 16
    stride: int = 10


@dataclass(frozen=True)
class VisionConfig:
    """Of the vision trunk; ImageBind-huge by default."""

    width: int = 1280
    layers: int = 32
    heads: int = 16
    output: int = 1024
    image_size: int = 224
    patch_size: int = 14


@dataclass(frozen=True)
class ImageBindConfig:
    """Of both."""

    audio: AudioConfig = field(default_factory=AudioConfig)
    vision: VisionConfig = field(default_factory=VisionConfig)


def names(sense: str) -> tuple[tuple[str, str], ...]:
    """Patterns: the names that the release gives one sense, `audio` or `vision` -> those of `ImageBind`."""
    pairs = (
        (r"modality_preprocessors\.({})\.cls_token$", "cls_token"),
        (r"modality_preprocessors\.({})\.pos_embedding_helper\.pos_embed$", "pos_embed"),
        (r"modality_preprocessors\.({})\.rgbt_stem\.proj\.(?:1\.)?weight$", "stem.weight"),
        (r"modality_preprocessors\.({})\.rgbt_stem\.norm_layer\.", "stem_norm."),
        (r"modality_trunks\.({})\.pre_transformer_layer\.0\.", "before."),
        (r"modality_trunks\.({})\.blocks\.", "blocks."),
        (r"modality_heads\.({})\.0\.", "norm."),
        (r"modality_heads\.({})\.2\.", "head."),
        (r"modality_postprocessors\.({})\.1\.log_logit_scale$", "log_scale"),
    )
    return tuple((theirs.replace("{}", sense), rf"\1.{ours}") for theirs, ours in pairs)


class Trunk(nn.Module):
    """Stem -> class token and positions -> blocks -> the class token's state -> a vector of fixed length."""

    def __init__(self, config: AudioConfig | VisionConfig, stem: nn.Module, tokens: int, *, sound: bool):
        super().__init__()
        self.stem = stem
        self.stem_norm = nn.LayerNorm(config.width) if sound else nn.Identity()
        self.cls_token = nn.Parameter(torch.randn(1, 1, config.width) * config.width**-0.5)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + tokens, config.width) * config.width**-0.5)
        self.before = nn.Identity() if sound else nn.LayerNorm(config.width, eps=1e-6)
        self.blocks = nn.ModuleList(Block(config.width, config.heads, bias_kv=sound) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.head = nn.Linear(config.width, config.output, bias=False)
        self.register_buffer("log_scale", torch.tensor(math.log(AUDIO_SCALE)) if sound else None)

    def forward(self, clips: Float[Tensor, "clips *input"]) -> Float[Tensor, "clips output"]:
        patches = self.stem(clips.to(self.head.weight.dtype)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), self.stem_norm(patches)], 1)
        states = self.before(tokens + self.pos_embed)
        for block in self.blocks:
            states = block(states)
        vectors = F.normalize(self.head(self.norm(states)[:, 0]), dim=-1)
        return vectors if self.log_scale is None else vectors * self.log_scale.exp().clamp(max=100)


class Block(nn.Module):
    """A pre-norm transformer layer.

    Not `nn.TransformerEncoderLayer`, which has no place for the extra key and value that audio attends to and whose
    fast path would leave them out without a word.
    """

    def __init__(self, width: int, heads: int, *, bias_kv: bool):
        super().__init__()
        self.norm_1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.MultiheadAttention(width, heads, add_bias_kv=bias_kv, batch_first=True)
        self.norm_2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, states: Float[Tensor, "clips tokens width"]) -> Float[Tensor, "clips tokens width"]:
        normed = self.norm_1(states)
        states = states + self.attn(normed, normed, normed, need_weights=False)[0]
        return states + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm_2(states))))


def audio_trunk(config: AudioConfig) -> Trunk:
    """Mel spectrograms (clips, 1, mel bins, frames) -> vectors of length 20."""
    stem = nn.Conv2d(1, config.width, config.kernel, config.stride, bias=False)
    rows, columns = ((size - config.kernel) // config.stride + 1 for size in (config.mel_bins, config.mel_frames))
    return Trunk(config, stem, rows * columns, sound=True)


def vision_trunk(config: VisionConfig) -> Trunk:
    """Pairs of frames (clips, 3, 2, size, size), normalised as CLIP's -> vectors of length 1."""
    shape = (2, config.patch_size, config.patch_size)
    stem = nn.Conv3d(3, config.width, shape, shape, bias=False)
    return Trunk(config, stem, (config.image_size // config.patch_size) ** 2, sound=False)


class ImageBind(nn.Module):
    """Both trunks.

    Example:
        >>> with torch.device("meta"):
        ...     huge = ImageBind()
        >>> huge.audio(torch.empty(4, 1, 128, 204, device="meta")).shape
        torch.Size([4, 1024])
    """

    def __init__(self, config: ImageBindConfig | None = None):
        super().__init__()
        config = config or ImageBindConfig()
        self.audio = audio_trunk(config.audio)
        self.vision = vision_trunk(config.vision)

    def load_original(self, path: str | Path) -> None:
        """Loads `imagebind_huge.pth` as released; its other senses are left out.

        Raises:
            ValueError: the file is no such checkpoint.
        """
        fill(self, rename(read_checkpoint(path), (*names("audio"), *names("vision")), SPARE, str(path)), str(path))


def mel_clips(
    waveform: Float[np.ndarray, " samples"], sample_rate: int = SAMPLE_RATE, config: AudioConfig | None = None
) -> Float[Tensor, "segments 1 mel time"]:
    """A recording as ImageBind hears it: Kaldi log mel filter banks of one segment every 2 s.

    198 frames of 25 ms every 10 ms, filled up with zeros to 204, then normalised. The last segment ends with the
    recording and so may overlap the one before; a recording shorter than 2 s is one segment with more zeros.

    Args:
        waveform: mono, in [-1, 1].
        sample_rate: in Hz; resampled to 16 kHz.
        config: of the trunk that listens, for its mel bins and frames.

    Raises:
        ValueError: not one channel, shorter than one frame of 25 ms, or not finite.
    """
    config = config or AudioConfig()
    waveform = np.asarray(waveform, np.float32)
    if waveform.ndim != 1 or len(waveform) < 0.025 * sample_rate or not np.isfinite(waveform).all():
        raise ValueError(f"a waveform of shape {waveform.shape}; expected mono, finite, of at least 25 ms")
    if sample_rate != SAMPLE_RATE:
        waveform = librosa.resample(waveform, orig_sr=sample_rate, target_sr=SAMPLE_RATE)
    length = int(SEGMENT_S * SAMPLE_RATE)
    starts = [*range(0, len(waveform) - length, length), max(len(waveform) - length, 0)]
    segments = [waveform[start : start + length] for start in starts]
    extract = _extractor(config.mel_bins, config.mel_frames)
    mels = extract([each - each.mean() for each in segments], sampling_rate=SAMPLE_RATE, return_tensors="pt")
    return mels.input_values.transpose(1, 2)[:, None]


@cache
def _extractor(mel_bins: int, mel_frames: int) -> ASTFeatureExtractor:
    """Kaldi's filter banks. It divides by twice its `std`, and removes each frame's mean after we did the segment's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filter")  # the lowest of 128 are narrower than a bin
        return ASTFeatureExtractor(num_mel_bins=mel_bins, max_length=mel_frames, mean=MEL_MEAN, std=MEL_STD / 2)


def own_weights(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and lasting buffers by name, tied ones once."""
    weights, seen = {}, set()
    for name, value in module.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            weights[name] = value
    return weights


def fill(module: nn.Module, weights: Mapping[str, Tensor], source: str, optional: str = "(?!)") -> None:
    """Loads weights into a module, all of them and nothing else.

    Args:
        module: any.
        weights: by the module's own names.
        source: where they come from, for messages.
        optional: pattern of names that may be missing; none may by default.

    Raises:
        ValueError: names are missing or unknown, or shapes differ.
    """
    expected = own_weights(module)
    required = {name for name in expected if not re.match(optional, name)}
    if missing := sorted(required - weights.keys()):
        raise ValueError(f"{source}: {_some(missing)} missing; name the checkpoint for this model")
    if unknown := sorted(weights.keys() - module.state_dict().keys()):
        raise ValueError(f"{source}: {_some(unknown)} unknown to this model; name the checkpoint for it")
    for name, value in weights.items():
        if name in expected and value.shape != expected[name].shape:
            raise ValueError(
                f"{source}: {name} is {tuple(value.shape)}, this model's {tuple(expected[name].shape)}; "
                "give the config that the checkpoint was made with"
            )
    module.load_state_dict(dict(weights), strict=False)


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a released torch file by name; those under `model` if it has that key. Nothing in it is executed.

    Raises:
        ValueError: there is no such file, or it holds something else than tensors by name.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path}: no torch checkpoint of plain tensors ({str(error).splitlines()[0]})") from error
    content = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(torch.is_tensor(value) for value in content.values()):
        raise ValueError(f"{path}: no tensors by name; name the checkpoint as it was released")
    return dict(content)


def rename(
    weights: Mapping[str, Tensor], names: Iterable[tuple[str, str]], spare: str, source: str
) -> dict[str, Tensor]:
    """Weights under our names.

    Args:
        weights: under the names of the release.
        names: pattern at a name's beginning, replacement; the first that fits counts.
        spare: pattern of names that are left out, because our model has no use for them.
        source: for messages.

    Raises:
        ValueError: names that no pattern fits.
    """
    renamed, unknown = {}, []
    for name, value in weights.items():
        if re.match(spare, name):
            continue
        fitting = next(((pattern, ours) for pattern, ours in names if re.match(pattern, name)), None)
        if fitting:
            renamed[re.sub(*fitting, name, count=1)] = value
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(f"{source}: {_some(unknown)} unknown; name the checkpoint as it was released")
    return renamed


def config_from(kind: type, values: Mapping[str, Any]) -> Any:
    """A config dataclass from a mapping, such as a JSON file's; what is not named keeps its default.

    Raises:
        ValueError: an unknown key, or a value of another type.
    """
    types = get_type_hints(kind)
    if unknown := sorted(values.keys() - types.keys()):
        raise ValueError(f"{kind.__name__} has no {', '.join(unknown)}; it has {', '.join(types)}")
    arguments = {}
    for name, value in values.items():
        expected = types[name]
        if dataclasses.is_dataclass(expected):
            value = config_from(expected, value)
        elif type(value) is not expected:
            raise ValueError(f"{kind.__name__}.{name} is {value!r}; it must be of type {expected.__name__}")
        arguments[name] = value
    return kind(**arguments)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more are" if len(names) > 3 else " is/are")
