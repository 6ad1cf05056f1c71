"""Whisper's encoder as the ears of a language model: a token for each 60 ms of sound.

Yang et al. 2025 (Omni-Emotion), Section 4.1. Sound at 16 kHz -> log mel spectrogram, 25 ms every 10 ms -> encoder of
Whisper-large-v3, a state every 20 ms -> the mean of three. The encoder takes windows of 30 s; longer sound is several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import librosa
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, WhisperConfig, WhisperFeatureExtractor, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from reaffect.models.checkpoints import damaged, reason

SAMPLE_RATE = 16_000
HOP, SHORTEST = 160, 400
"""Samples from one mel frame to the next, and of one; Whisper knows no others."""

POOL = 3
"""States a token (Section 4.1)."""

TOKEN = POOL * 2 * HOP
"""Samples a token: 60 ms."""


@dataclass(frozen=True)
class WhisperAudioConfig:
    """Sizes; those of Whisper-large-v3's encoder by default.

    Args:
        keep_silence: whether tokens of the silence that fills the last window up are kept, as a fixed number of
            tokens would be, or left out with it. The paper does not say; we leave them out, because they tell nothing
            and a clip of 3 s would have 450 of them.

    Raises:
        ValueError: windows that tokens do not fill.
    """

    mel_bins: int = 128
    width: int = 1280
    mlp: int = 5120
    layers: int = 32
    heads: int = 20
    positions: int = 1500
    keep_silence: bool = False

    def __post_init__(self):
        if self.positions < POOL or self.positions % POOL:
            raise ValueError(f"{self.positions} positions a window; they must be a multiple of {POOL}, a token each")


@dataclass(frozen=True, eq=False)
class Sound:
    """What the model is given of a clip's sound; `hear` makes it.

    Args:
        heard: windows (windows, mel bins, frames), or what the encoder made of them (tokens, width), for those who
            keep that.
        tokens: how many of the windows' tokens count, from the first.

    Raises:
        ValueError: no tokens count.
    """

    heard: Float[Tensor, "windows mel_bins frames"] | Float[Tensor, "tokens width"]
    tokens: int

    def __post_init__(self):
        if self.tokens < 1:
            raise ValueError(f"a sound of {self.tokens} tokens; leave the modality out where it is absent")

    def __len__(self) -> int:
        return len(self.heard)


class WhisperEars(nn.Module):
    """The encoder, and the mean of each three of its states.

    Args:
        config: sizes.

    Example:
        >>> with torch.device("meta"):
        ...     large = WhisperEars(WhisperAudioConfig())
        ...     thirty_seconds = Sound(torch.empty(1, 128, 3000), 500)
        >>> large([thirty_seconds])[0].shape
        torch.Size([500, 1280])
    """

    def __init__(self, config: WhisperAudioConfig):
        super().__init__()
        self.config = config
        self.encoder = WhisperEncoder(
            WhisperConfig(
                num_mel_bins=config.mel_bins,
                d_model=config.width,
                encoder_ffn_dim=config.mlp,
                encoder_layers=config.layers,
                encoder_attention_heads=config.heads,
                max_source_positions=config.positions,
            )
        )

    def forward(self, sounds: Sequence[Sound]) -> list[Float[Tensor, "_ width"]]:
        """Tokens of each sound, whose length may differ; those that sounds bring are left as they are."""
        tokens = encoded([sound.heard for sound in sounds], 3, self._pooled, self.encoder.conv1.weight)
        return [each.reshape(-1, each.shape[-1])[: s.tokens] for each, s in zip(tokens, sounds, strict=True)]

    def _pooled(self, windows: Float[Tensor, "windows mel_bins frames"]) -> Float[Tensor, "windows tokens width"]:
        states = self.encoder(windows).last_hidden_state
        return F.avg_pool1d(states.transpose(1, 2), POOL).transpose(1, 2)


def hear(
    waveform: Float[np.ndarray, " samples"], sample_rate: int = SAMPLE_RATE, config: WhisperAudioConfig | None = None
) -> Sound:
    """A recording as Whisper hears it: log mel spectrograms of windows that follow one another, the last one filled up.

    Args:
        waveform: mono, in [-1, 1].
        sample_rate: in Hz; resampled to 16 kHz.
        config: of the ears, for their mel bins and the length of a window.

    Raises:
        ValueError: not one channel, shorter than one mel frame of 25 ms, or not finite.
    """
    config = config or WhisperAudioConfig()
    waveform = np.asarray(waveform, np.float32)
    if waveform.ndim != 1 or len(waveform) < SHORTEST / SAMPLE_RATE * sample_rate or not np.isfinite(waveform).all():
        raise ValueError(f"a waveform of shape {waveform.shape}; expected mono, finite, of at least 25 ms")
    if sample_rate != SAMPLE_RATE:
        waveform = librosa.resample(waveform, orig_sr=sample_rate, target_sr=SAMPLE_RATE)
    window = config.positions * 2 * HOP
    starts = range(0, len(waveform), window)
    mels = _extractor(config.mel_bins)(
        [waveform[start : start + window] for start in starts],
        sampling_rate=SAMPLE_RATE,
        max_length=window,
        return_tensors="pt",
    ).input_features
    filled = len(starts) * window if config.keep_silence else len(waveform)
    return Sound(mels, -(-filled // TOKEN))


def released_ears(source: str | Path, dtype: torch.dtype) -> WhisperEars:
    """The ears of a released Whisper; its decoder is left out.

    Args:
        source: folder or hub id in Hugging Face's format.
        dtype: of its weights.

    Raises:
        ValueError: see `whole`.
    """
    released = whole(WhisperModel, source, dtype)
    sizes = released.config
    config = WhisperAudioConfig(
        mel_bins=sizes.num_mel_bins,
        width=sizes.d_model,
        mlp=sizes.encoder_ffn_dim,
        layers=sizes.encoder_layers,
        heads=sizes.encoder_attention_heads,
        positions=sizes.max_source_positions,
    )
    with torch.device("meta"):
        ears = WhisperEars(config)
    ears.encoder = released.encoder
    return ears.eval()


def whole(cls: type[PreTrainedModel], source: str | Path, dtype: torch.dtype) -> PreTrainedModel:
    """A checkpoint in Hugging Face's format, all of it and nothing else.

    Args:
        cls: of the network.
        source: folder or hub id.
        dtype: of its weights.

    Raises:
        ValueError: it cannot be read, or weights are missing, unknown, or of other shapes.
    """
    wanted = {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        model, info = cls.from_pretrained(source, dtype=dtype, **wanted)
    except Exception as error:  # each library has errors of its own
        why = damaged(Path(source)) or reason(error)
        raise ValueError(f"{source}: no {cls.__name__} could be loaded ({why}); name another") from error
    for kind in ("missing", "unexpected", "mismatched"):
        if found := sorted(info[f"{kind}_keys"]):
            one = found[0][0] if kind == "mismatched" else found[0]  # with both shapes behind it
            said = f"{len(found)} {kind} weights (such as {one})"
            raise ValueError(f"{source}: {said}; name the checkpoint as it was released")
    return model


def encoded(
    items: Sequence[Tensor], raw: int, encode: Callable[[Tensor], Tensor], weight: Tensor
) -> list[Float[Tensor, "_ *state"]]:
    """What an encoder makes of each clip's parts, in one pass; clips that bring that already are left as they are.

    Args:
        items: of each clip, parts (windows, frames, faces) or what the encoder made of them.
        raw: axes of the former.
        encode: parts of all clips together -> states.
        weight: where states are wanted, and as which numbers.
    """
    items = [item.to(weight.device, weight.dtype) for item in items]
    fresh = [item for item in items if item.ndim == raw]
    states = iter(encode(torch.cat(fresh)).split([len(item) for item in fresh]) if fresh else ())
    return [next(states) if item.ndim == raw else item for item in items]


@cache
def _extractor(mel_bins: int) -> WhisperFeatureExtractor:
    return WhisperFeatureExtractor(feature_size=mel_bins)
