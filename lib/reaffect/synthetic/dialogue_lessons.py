"""What the small MicroEmo's parts are taught with before EMER: faces of people who occur nowhere else, and voices.

A lesson is a few frames of one person that show one emotion or none, and its caption, which comes from what was
planted. Of most lessons networks see what lies in the face, as in close-ups. The rest are wide shots of people who are
calm: from them nobody learns to read a small face. That dialogues show more than a face, and more than one emotion, is
what MicroEmo's own parts are for. Accounts of dialogues teach the language model alone: nothing is filmed for them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor
from torchvision.transforms.v2 import functional as images
from tqdm import tqdm

from reaffect.models.patch_masks import patch_masks
from reaffect.synthetic import building, dialogues, faces, scene, speech
from reaffect.synthetic.dialogues import FACE

SIZE = (320, 240)

STATES = ("calm", *FACE)
TAKES = (0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4)
"""The state that each picture of a person shows: an index of `STATES`."""

WIDE = 0.3
"""Share of lessons that are wide shots."""

WEAKEST = 0.6
"""Of the unit that shows a state; the strongest is 1."""

SEEN = {
    "calm": "calm resting face",
    "happy": "happy smiling mouth",
    "sad": "sad drooping mouth",
    "angry": "angry lowered brows",
    "surprised": "surprised raised brows",
}
HEARD = {"calm": "calm even voice", "happy": "happy lively voice", "sad": "sad slow voice"}

CALM = tuple(carrier for carrier in dialogues.CARRIERS if carrier != "voice")
"""Carriers of dialogues whose voice stays calm."""

QUESTION = '"{subtitle}" How does the person feel?'
"""That accounts answer."""

REGIONS = ("brows", "mouth", "face")
_POINTS = ([*faces.RIGHT_BROW, *faces.LEFT_BROW], [*faces.MOUTH], [*range(68)])
"""Of dlib's 68, by region."""


class Faces(NamedTuple):
    """Pictures of `people`, in `TAKES` each."""

    pixels: UInt8[Tensor, "people takes 3 side side"]
    regions: Bool[Tensor, "people takes regions patches"]
    """`REGIONS`."""


def pictures(people: int, *, side: int, grid: int, seed: int, workers: int) -> Faces:
    """Films `people` in rooms of their own; the same seed gives the same ones.

    Args:
        people: how many.
        side: of a picture, squeezed to a square.
        grid: patches along it.
        seed: of every draw.
        workers: threads.
    """

    def one(index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([seed, 31, index])
        person = faces.subject(f"face{index}", rng)
        room = scene.Scene(rng, SIZE)
        poses = scene.head_poses(rng, len(TAKES), SIZE, anchor=faces.EYES, scale=SIZE[1] / faces.CANVAS)
        film, outlines = [], []
        for state, pose in zip(TAKES, poses, strict=True):
            units = _units(STATES[state], rng)
            film.append(room.compose(faces.express(person, units), person.alpha, pose))
            points = (person.landmarks + np.tensordot(units, person.moves, 1)) @ pose[:, :2].T + pose[:, 2]
            outlines.append([[points[numbers]] for numbers in _POINTS])
        frames = torch.from_numpy(np.stack(film)).permute(0, 3, 1, 2)
        return images.resize(frames, [side, side], antialias=True), patch_masks(outlines, SIZE[::-1], grid)

    made = building.side_by_side(one, people, workers, "faces for lessons")
    pixels, regions = zip(*made, strict=True)
    return Faces(torch.stack(pixels), torch.stack(regions))


def _units(state: str, rng: np.random.Generator) -> np.ndarray:
    units = np.zeros(len(faces.UNITS), np.float32)
    units[faces.UNITS.index("jaw_drop")] = rng.uniform(0, 0.4)
    if state in FACE:
        units[faces.UNITS.index(FACE[state])] = rng.uniform(WEAKEST, 1)
    return units


class Lesson(NamedTuple):
    """Frames of one person."""

    state: int
    """What they show, an index of `STATES`."""

    takes: Int[np.ndarray, " frames"]
    wide: bool
    """All of the picture is seen, not the face alone."""


def lesson(rng: np.random.Generator, longest: int) -> Lesson:
    """From two frames to the longest: all of them, or one or two, show a state, the others are calm."""
    wide = bool(rng.random() < WIDE)
    state, length = 0 if wide else int(rng.integers(len(STATES))), int(rng.integers(2, longest + 1))
    shows = np.full(length, rng.random() < 0.5)
    first = rng.integers(length)
    shows[first : first + rng.integers(1, 3)] = True
    takes = np.array(TAKES)
    showing, calm = np.flatnonzero(takes == state), np.flatnonzero(takes == 0)
    return Lesson(state, np.where(shows, rng.choice(showing, length), rng.choice(calm, length)), wide)


def voices(count: int, *, seed: int) -> tuple[list[np.ndarray], list[str]]:
    """Waveforms of `count` dialogues that are in no corpus, and what each voice tells: of half of them, nothing."""
    waves, felt = [], []
    for index in tqdm(range(count), "voices for lessons"):
        rng = np.random.default_rng([seed, 32, index])
        carrier = "voice" if index % 2 else CALM[index // 2 % len(CALM)]
        planted = dialogues.dialogue(carrier, str(rng.choice(speech.VOICES)), rng)
        waves.append(planted.waveform)
        felt.append(_voiced(planted))
    return waves, felt


class Account(NamedTuple):
    """What is seen and heard in a dialogue, in captions, and how an annotator puts it."""

    question: str
    whole: str
    """Of what the clip shows: one emotion, even where there are two."""

    utterances: list[tuple[float, str]]
    """When each begins, in seconds, and what it shows."""

    heard: str
    emotions: int
    """That it is about."""

    answer: str


def accounts(count: int, *, seed: int) -> list[Account]:
    """Accounts of `count` dialogues that are in no corpus."""
    made = []
    for index in tqdm(range(count), "accounts for lessons"):
        rng = np.random.default_rng([seed, 34, index])
        carrier = dialogues.CARRIERS[index % len(dialogues.CARRIERS)]
        made.append(_account(dialogues.dialogue(carrier, str(rng.choice(speech.VOICES)), rng), rng))
    return made


def _account(planted: dialogues.Dialogue, rng: np.random.Generator) -> Account:
    felt = [one.emotion for one in planted.utterances if one.emotion != "calm"]
    shown = planted.carrier in dialogues.SEEN
    return Account(
        QUESTION.format(subtitle=" ".join(one.text for one in planted.utterances)),
        SEEN[str(rng.choice(felt)) if shown else "calm"],
        [(one.start_s, SEEN[one.emotion if shown else "calm"]) for one in planted.utterances],
        HEARD[_voiced(planted)],
        len(felt),
        planted.english,
    )


def _voiced(planted: dialogues.Dialogue) -> str:
    """What the voice tells of a dialogue; one that carries emotion carries one."""
    felt = [one.emotion for one in planted.utterances if one.emotion != "calm"]
    return felt[0] if planted.carrier == "voice" else "calm"
