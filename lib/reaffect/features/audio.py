"""How a voice sounds: x-vectors of half-overlapping windows."""

from __future__ import annotations

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioXVector

from reaffect import media
from reaffect.features.extraction import preparing, pretrained

SHORTEST_WINDOW_S = 0.5
"""X-vector networks look at some 0.3 s at once; windows of short clips overlap more rather than fall below this."""


def windows(waveform: np.ndarray, count: int, sample_rate: int) -> np.ndarray:
    """Cuts a waveform into equal windows, each overlapping half of the next: (count, samples).

    Clips too short for that get windows of `SHORTEST_WINDOW_S` that overlap more, and silence at the end if even
    one does not fit.

    >>> windows(np.arange(16_000.0), 3, 8_000)[:, [0, -1]]
    array([[    0.,  7999.],
           [ 4000., 11999.],
           [ 8000., 15999.]])
    """
    length = max(2 * len(waveform) // (count + 1), round(SHORTEST_WINDOW_S * sample_rate))
    padded = np.pad(waveform, (0, max(0, length - len(waveform))))
    starts = np.linspace(0, len(padded) - length, count).round().astype(int)
    return padded[starts[:, None] + np.arange(length)]


class XVectors:
    """Speaker embedding of each window: (windows, width).

    Paper: `microsoft/wavlm-base-plus-sv` (512), as ViPER's released code. Tiny: a small WavLM of the same class,
    trained here to tell arousal, valence and voice (64). A clip without sound is heard as silence.

    Args:
        model: for `features.pretrained`.
        windows: half-overlapping, one a frame of the video (32).
    """

    name = "audio"
    batch_size = 8

    def __init__(self, model: str, *, windows: int = 32):
        self.model, weights = pretrained(AutoModelForAudioXVector, model)
        self.processor = preparing(AutoFeatureExtractor, model)
        self.width = self.model.config.xvector_output_dim
        self.recipe = {"model": weights, "windows": windows, "shortest window": SHORTEST_WINDOW_S}

    def prepare(self, clip: str) -> np.ndarray:
        rate = self.processor.sampling_rate
        return windows(media.read_waveform(clip, rate), self.recipe["windows"], rate)

    @torch.inference_mode()
    def __call__(self, prepared: list[np.ndarray]) -> list[np.ndarray]:
        return [self._embed(clip) for clip in prepared]  # windows of different clips differ in length

    def _embed(self, clip: np.ndarray) -> np.ndarray:
        rate = self.processor.sampling_rate
        heard = self.processor(list(clip), sampling_rate=rate, return_tensors="pt").to(self.model.device)
        return self.model(**heard).embeddings.float().cpu().numpy()
