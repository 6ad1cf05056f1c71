"""What the small audio-visual LLMs are taught with: ten-second interviews of people who occur nowhere else.

Each lesson is a few frames and the sound of a short interview, and what a caption would say of either: the face, the
hands, the voice. Captions come from what was planted; who won is in none of them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit
from threadpoolctl import threadpool_limits
from torch import Tensor
from tqdm import tqdm

from reaffect.synthetic import faces, interviews, speech, studio

FRAMES, DURATION_S = 8, 10.0
SIZE = (320, 180)

HANDS = {
    "covers the face": ("N1", "N2", "N3", "N4", "N5", "N6", "N9", "N14"),
    "folds the arms": ("N7", "N8", "N15"),
    "plays with things": ("N10", "N11", "N12", "N13"),
}
"""What hands do, as a caption says it; else they 'keep still'."""

STILL = "keeps still"
GROUPS = (*HANDS, STILL)


class Lessons(NamedTuple):
    """`count` short interviews."""

    frames: Tensor
    """uint8 (count, FRAMES, height, width, 3)."""

    waveforms: np.ndarray
    """float32 (count, samples) at `interviews.SAMPLE_RATE`."""

    units: Tensor
    """float32 (count, FRAMES, 5): `faces.UNITS` of each frame."""

    hands: Tensor
    """int64 (count, FRAMES): what they do, an index of `GROUPS`."""

    arousal: np.ndarray
    """(count,) in [0, 1]: mean of the answers' voices."""


def film(count: int, *, seed: int, workers: int) -> Lessons:
    """Films `count` short interviews, three of each player; the same seed gives the same ones."""

    def one(index: int) -> tuple:
        rng = np.random.default_rng([seed, 11, index])
        person = faces.subject(f"lesson{index // 3}", np.random.default_rng([seed, 12, index // 3]))
        voice = interviews.Voice(str(rng.choice(speech.VOICES)), float(rng.uniform(0.9, 1.1)))
        planted = interviews.interview(bool(rng.random() < 0.5), DURATION_S, voice, rng)
        acts = _busy(planted.nfbl, rng)
        rate = FRAMES / DURATION_S
        units = interviews.face_units(planted, FRAMES, rate, rng)
        shown = studio.film(
            studio.Sitter(person, rng, SIZE),
            None,
            units,
            acts,
            fps=rate,
            size=SIZE,
            absent_s=None,
            guest_s=(0, 0),
            rng=rng,
        )
        times = np.arange(FRAMES) / rate
        answers = [expit(1.2 * turn.mood) for turn in planted.turns if turn.speaker == "player"]
        hands = [_group(acts, time) for time in times]
        return np.stack(list(shown)), planted.waveform, units, hands, float(np.mean(answers or [0.5]))

    # OpenCV and NumPy, which do the work, release the interpreter: threads are enough
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        made = list(tqdm(pool.map(one, range(count)), "interviews for lessons", count))
    frames, waves, units, hands, arousal = zip(*made, strict=True)
    return Lessons(
        torch.from_numpy(np.stack(frames)),
        np.stack(waves),
        torch.tensor(np.stack(units), dtype=torch.float32),
        torch.tensor(hands),
        np.array(arousal),
    )


def seen(units: np.ndarray, hands: np.ndarray) -> str:
    """What a caption says of frames: units (frames, 5), hands (frames,).

    >>> seen(np.tile([0.8, 0, 0, 0, 0], (8, 1)), np.full(8, 3))
    'a happy player who smiles a lot and keeps still'
    """
    mood = float(units[:, 0].mean() - units[:, 1].mean())
    face = "a happy player who smiles a lot" if mood > 0.3 else "a sad player who does not smile"
    face = "a calm player who smiles a little" if -0.1 <= mood <= 0.3 else face
    busy = hands[hands < len(HANDS)]
    group = GROUPS[np.bincount(busy).argmax()] if len(busy) >= 2 else STILL
    return f"{face} and {group}"


def heard(arousal: float) -> str:
    """What a caption says of a voice.

    >>> [heard(level) for level in (0.2, 0.5, 0.8)]
    ['a tired sad voice', 'a calm even voice', 'a lively cheerful voice']
    """
    return "a tired sad voice" if arousal < 0.4 else "a lively cheerful voice" if arousal > 0.6 else "a calm even voice"


def _busy(nfbl: list[interviews.Interval], rng: np.random.Generator) -> list[interviews.Interval]:
    """Longer and, in half of the lessons, other body language than planted, so that every kind is seen often."""
    if rng.random() < 0.5:
        codes = [code for group in HANDS.values() for code in group]
        start = rng.uniform(0, 4)
        nfbl = [interviews.Interval(start, start + rng.uniform(3, 6), str(rng.choice(codes)))]
    return [interviews.Interval(start, max(end, start + 2.0), code) for start, end, code in nfbl]


def _group(acts: list[interviews.Interval], time_s: float) -> int:
    for start, end, code in acts:
        if start <= time_s < end:
            return next((k for k, codes in enumerate(HANDS.values()) if code in codes), len(HANDS))
    return len(HANDS)
