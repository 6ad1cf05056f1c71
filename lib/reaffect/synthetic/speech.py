"""Vocal reactions and short utterances, spoken by eSpeak NG, whose pitch, rate and energy carry arousal.

eSpeak NG (GPL-3) is called as a library that `espeakng_loader` carries; it takes some 20 ms for 3 s of speech.
Arousal sets pitch, pitch range, speaking rate and loudness; valence chooses between laughs and groans. The words of
the utterances are neutral: what is said tells nothing that the voice does not.
"""

from __future__ import annotations

import _ctypes
import ctypes
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import count as counter
from itertools import pairwise, takewhile
from typing import NamedTuple

import espeakng_loader
import librosa
import numpy as np

VOICES = ("f1", "f4", "m1", "m2", "m3", "m4", "m5", "m6", "m7")
"""eSpeak NG's speaker variants. f2, f3 and f5 are left out: their breath differs from process to process."""

UTTERANCES = (
    "look at that",
    "well, there it is",
    "I did not know that",
    "let me see this again",
    "so that is how it ends",
    "what is this about",
)
PLEASED = ("ha ha ha", "aww", "hee hee hee", "mm hmm")
DISPLEASED = ("ugh", "oh no", "eww", "tsk tsk")

# espeak-ng/speak_lib.h
_RETRIEVAL, _UTF8, _RATE, _VOLUME, _PITCH, _RANGE = 1, 1, 1, 2, 3, 4
_LAST_EVENT, _WORD = 0, 1


class _Event(ctypes.Structure):
    """espeak_EVENT: what is reached at a point of the sound."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


class Word(NamedTuple):
    """A word and when it is spoken; it ends where the next one begins."""

    text: str
    start_s: float
    end_s: float


class Spoken(NamedTuple):
    """How words sound, and when each is heard."""

    waveform: np.ndarray
    """float32 (n,)."""

    words: list[Word]
    """What eSpeak NG says in one breath, such as 'of the', counts as one."""


class Prosody(NamedTuple):
    """How something is said, in eSpeak NG's units but for loudness."""

    rate_wpm: int
    pitch: int
    """0 to 99, 50 is the voice's own."""

    pitch_range: int
    """0 to 99, 0 is monotone."""

    loudness_db: float
    """Root mean square of the spoken part, relative to full scale."""


def prosody(arousal: float) -> Prosody:
    """Arousal in [0, 1] -> prosody: calm is slow, low, flat and soft."""
    return Prosody(
        rate_wpm=round(115 + 135 * arousal),
        pitch=round(22 + 68 * arousal),
        pitch_range=round(20 + 65 * arousal),
        loudness_db=-34 + 18 * arousal,
    )


def reaction(
    arousal: float,
    valence: float,
    duration_s: float,
    rng: np.random.Generator,
    *,
    voice: str | None = None,
    sample_rate: int = 16_000,
) -> np.ndarray:
    """A vocal reaction, at times with a short utterance, in a quiet room.

    Args:
        arousal: in [0, 1]: pitch, rate and energy.
        valence: in [0, 1]: the chance that the reaction is a pleased one.
        duration_s: length; what does not fit is cut.
        rng: draws voice, words, pause and room noise.
        voice: one of `VOICES`; drawn if None.
        sample_rate: in Hz.

    Returns:
        float32 (round(duration_s * sample_rate),) in [-1, 1].
    """
    voice = voice or str(rng.choice(VOICES))
    how = prosody(arousal)
    words = [str(rng.choice(PLEASED if rng.random() < valence else DISPLEASED))]
    if duration_s > 2 and rng.random() < 0.7:
        words.append(str(rng.choice(UTTERANCES)))
    spoken = say(", ".join(words), how, voice=voice, sample_rate=sample_rate)
    wave = rng.normal(0, 10 ** (-58 / 20), round(duration_s * sample_rate)).astype(np.float32)
    start = int(rng.uniform(0.05, 0.3) * sample_rate)
    spoken = spoken[: len(wave) - start]
    wave[start : start + len(spoken)] += spoken
    return np.clip(wave, -1, 1)


def say(words: str, how: Prosody, *, voice: str, sample_rate: int = 16_000) -> np.ndarray:
    """Speaks English words: float32 (n,) at `sample_rate` with the asked loudness (peaks may reach full scale)."""
    return spoken(words, how, voice=voice, sample_rate=sample_rate).waveform


def spoken(words: str, how: Prosody, *, voice: str, sample_rate: int = 16_000) -> Spoken:
    """As `say`, with the words' times."""
    # how loud it has to be is left out, so that a sentence that is remembered serves at every level
    plain, begun = _synthesised(words, how._replace(loudness_db=0.0), voice, sample_rate)
    loud = plain[np.abs(plain) > 0.01]
    wave = plain * np.float32(10 ** (how.loudness_db / 20) / np.sqrt(np.mean(loud**2)))
    # eSpeak NG places some words in the middle of the one before
    starts = [(at, ms / 1000) for at, ms in begun if not words[:at].strip() or words[at - 1].isspace()]
    starts.append((len(words), len(wave) / sample_rate))
    heard_words = [Word(words[a:b].strip(), start, end) for (a, start), (b, end) in pairwise(starts)]
    return Spoken(wave, heard_words)


@lru_cache(maxsize=512)  # corpora have few sentences, and 3 s take 200 kB
def _synthesised(words: str, how: Prosody, voice: str, sample_rate: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Speech as loud as eSpeak NG makes it, and of each word its place in the text (letters) and in the sound (ms)."""
    with _fresh_espeak() as (library, own_rate, heard, begun):
        library.espeak_SetVoiceByName(f"en+{voice}".encode())
        settings = {_RATE: how.rate_wpm, _PITCH: how.pitch, _RANGE: how.pitch_range, _VOLUME: 100}
        for parameter, value in settings.items():
            library.espeak_SetParameter(parameter, value, 0)
        text = words.encode()
        library.espeak_Synth(text, len(text) + 1, 0, 1, 0, _UTF8, None, None)
        library.espeak_Synchronize()
    wave = np.concatenate(heard).astype(np.float32) / 32768
    return librosa.resample(wave, orig_sr=own_rate, target_sr=sample_rate), begun


@contextmanager
def _fresh_espeak() -> Iterator[tuple[ctypes.CDLL, int, list[np.ndarray], list[tuple[int, int]]]]:
    """The library as a new process would find it, its sample rate, and two lists that its callback fills.

    These are pieces of sound, and of each word its place in the text (letters) and in the sound (ms).

    eSpeak NG keeps state between utterances that nothing resets, so the same words would sound different the second
    time. A copy under another name is loaded anew for each call: 2 ms that make a corpus repeatable.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(espeakng_loader.get_library_path(), folder)
        library = ctypes.CDLL(copy)
    heard: list[np.ndarray] = []
    begun: list[tuple[int, int]] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
    def listen(samples, count, events):
        if samples and count > 0:
            heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        for event in takewhile(lambda event: event.type != _LAST_EVENT, (events[k] for k in counter())):
            if event.type == _WORD:
                begun.append((event.text_position - 1, event.audio_position))
        return 0

    try:
        own_rate = library.espeak_Initialize(_RETRIEVAL, 0, espeakng_loader.get_data_path().encode(), 0)
        library.espeak_SetSynthCallback(listen)
        yield library, own_rate, heard, begun
    finally:
        library.espeak_Terminate()
        _ctypes.dlclose(library._handle)
