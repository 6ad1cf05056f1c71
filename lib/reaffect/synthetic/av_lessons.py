"""What the small audio-visual LLMs are taught with: ten-second interviews of people who occur nowhere else.

Each lesson is a few frames and the sound of a short interview, and what a caption would say of either: the face, the
hands, the voice. In half of them the face is blurred, and the caption says so. Captions come from what was planted;
who won is in none of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from reaffect.synthetic import building, faces, interviews, speech, studio

FRAMES, DURATION_S = 8, 10.0
SIZE = (320, 180)

TAKES, INTERVIEWS = 16, 3
"""Pictures and interviews of one person."""

HANDS = {
    "covers the face": ("N1", "N2", "N3", "N4", "N5", "N6", "N9", "N14"),
    "folds the arms": ("N7", "N8", "N15"),
    "plays with things": ("N10", "N11", "N12", "N13"),
}
"""What hands do, as a caption says it; else they 'keep still'."""

STILL = "keeps still"
GROUPS = (*HANDS, STILL)


class Pictures(NamedTuple):
    """Frames, and what is in them."""

    frames: Tensor
    """uint8 (count, height, width, 3)."""

    units: Tensor
    """float32 (count, 5): `faces.UNITS` of each frame."""

    hands: Tensor
    """int64 (count,): what they do, an index of `GROUPS`."""

    hidden: Tensor
    """bool (count,): whether the face is blurred, as half of them are."""


class Lessons(NamedTuple):
    """`count` short interviews."""

    pictures: Pictures
    """Of each, `FRAMES` one after the other; a lesson's faces are all hidden or none."""

    waveforms: np.ndarray
    """float32 (count, samples) at `interviews.SAMPLE_RATE`."""

    arousal: np.ndarray
    """(count,) in [0, 1]: mean of the answers' voices."""


def pictures(count: int, *, seed: int, workers: int) -> Pictures:
    """`count` frames, each in a room of its own, with units and body language drawn anew: to see with, not to watch."""

    def some(index: int) -> list[tuple]:
        rng = np.random.default_rng([seed, 13, index])
        sitter = studio.Sitter(faces.subject(f"picture{index}", rng), rng, SIZE)
        made = []
        for _ in range(TAKES):
            units, [code, *_] = _shown(rng)
            made.append(_picture(sitter, studio.Camera(rng, SIZE), units[0], code, bool(rng.random() < 0.5), rng))
        return made

    made = building.side_by_side(some, -(-count // TAKES), workers, "pictures for lessons")
    return _stacked([picture for several in made for picture in several][:count])


def film(count: int, *, seed: int, workers: int) -> Lessons:
    """Films `count` short interviews, `INTERVIEWS` of each player; the same seed gives the same ones."""

    def some(number: int) -> list[tuple]:
        person = faces.subject(f"lesson{number}", np.random.default_rng([seed, 12, number]))
        return [one(person, index) for index in range(INTERVIEWS * number, min(INTERVIEWS * (number + 1), count))]

    def one(person: faces.Subject, index: int) -> tuple:
        rng = np.random.default_rng([seed, 11, index])
        voice = interviews.Voice(str(rng.choice(speech.VOICES)), float(rng.uniform(0.9, 1.1)))
        spoken = interviews.interview(bool(rng.random() < 0.5), DURATION_S, voice, rng)
        answers = [expit(1.2 * turn.mood) for turn in spoken.turns if turn.speaker == "player"]
        hidden = bool(rng.random() < 0.5)
        sitter, camera = studio.Sitter(person, rng, SIZE), studio.Camera(rng, SIZE)
        seen = [_picture(sitter, camera, units, code, hidden, rng) for units, code in zip(*_shown(rng), strict=True)]
        return seen, spoken.waveform, float(np.mean(answers or [0.5]))

    made = building.side_by_side(some, -(-count // INTERVIEWS), workers, "interviews for lessons")
    seen, waves, arousal = zip(*(interview for several in made for interview in several), strict=True)
    return Lessons(_stacked([picture for film in seen for picture in film]), np.stack(waves), np.array(arousal))


def _picture(
    sitter: studio.Sitter,
    camera: studio.Camera,
    units: np.ndarray,
    code: str | None,
    hidden: bool,
    rng: np.random.Generator,
) -> tuple:
    group = next((place for place, codes in enumerate(HANDS.values()) if code in codes), len(HANDS))
    return studio.snapshot(sitter, camera, units, code, rng, hidden=hidden), units, group, hidden


def _stacked(made: list[tuple]) -> Pictures:
    frames, units, hands, hidden = zip(*made, strict=True)
    shown = torch.tensor(np.stack(units), dtype=torch.float32)
    return Pictures(torch.from_numpy(np.stack(frames)), shown, torch.tensor(hands), torch.tensor(hidden))


def _shown(rng: np.random.Generator) -> tuple[np.ndarray, list[str | None]]:
    """Units (FRAMES, 5) and body language of one lesson, drawn wider than in interviews, coming and going."""
    strength = rng.random(len(faces.UNITS)) * (rng.random(len(faces.UNITS)) < 0.6)
    units = strength * (rng.random((FRAMES, len(faces.UNITS))) < 0.75)
    code = str(rng.choice([code for group in HANDS.values() for code in group])) if rng.random() < 0.75 else None
    return units, [code if rng.random() < 0.75 else None for _ in range(FRAMES)]


def seen(units: np.ndarray, hands: np.ndarray, hidden: np.ndarray | bool) -> str:
    """What a caption says of frames: units (frames, 5), hands (frames,), and whether the face is blurred in all.

    >>> seen(np.tile([0.8, 0, 0, 0, 0], (8, 1)), np.full(8, 3), False)
    'a happy player who smiles a lot and keeps still'
    >>> seen(np.tile([0.8, 0, 0, 0, 0], (8, 1)), np.full(8, 1), True)
    'a player whose face is hidden and folds the arms'
    """
    mood = float(units[:, 0].mean() - units[:, 1].mean())
    face = "a happy player who smiles a lot" if mood > 0.3 else "a sad player who does not smile"
    face = "a calm player who smiles a little" if -0.1 <= mood <= 0.3 else face
    busy = hands[hands < len(HANDS)]
    group = GROUPS[np.bincount(busy).argmax()] if len(busy) >= 2 else STILL
    return f"{'a player whose face is hidden' if np.all(hidden) else face} and {group}"


def heard(arousal: float) -> str:
    """What a caption says of a voice.

    >>> [heard(level) for level in (0.2, 0.5, 0.8)]
    ['a tired sad voice', 'a calm even voice', 'a lively cheerful voice']
    """
    return "a tired sad voice" if arousal < 0.4 else "a lively cheerful voice" if arousal > 0.6 else "a calm even voice"
