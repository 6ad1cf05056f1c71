"""Step 2 of a curation: the people of a clip, their age and gender, and what their faces do, from close-ups.

Each tracklet becomes a short film of its face, densely sampled, which a model that describes videos is shown
(Omni-Emotion, Section 3, Figure 2). Age and gender are MiVOLO's in the paper. No package carries it or its like, so
an estimator is passed in; without one, both are 'not estimated', which the table counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import pandas as pd
from jaxtyping import UInt8

from reaffect import faces as crops
from reaffect import media
from reaffect.curation.scenes import Seer
from reaffect.curation.tracklets import Faces, Tracklet
from reaffect.errors import InputError
from reaffect.fingerprint import clip_key, fingerprint
from reaffect.store import Store

EXPRESSION_PROMPT = (
    "This is a close-up of one person's face. Describe how the brows, the eyes, the mouth and the head move in the "
    "course of the video, and the expression that they form."
)
"""Our wording: the paper asks for "detailed facial movement" (Section 3) and prints no prompt."""

NOT_ESTIMATED = "not estimated"

NO_FACE = "no face: neither age and gender nor an expression"

COLUMNS = ("clip", "person", "from_s", "to_s", "age", "gender", "text", "media")


class Person(NamedTuple):
    """What an estimator says of one person."""

    age: float | None
    """In years."""

    gender: str | None


class AgeGender(Protocol):
    """Estimates age and gender from close-ups."""

    name: str
    """Model and version: findings are kept by it."""

    def __call__(self, films: list[UInt8[np.ndarray, "frames side side 3"]]) -> Sequence[Person]: ...


@dataclass(frozen=True)
class CloseUp:
    """How faces are shown; the paper says "dense sampling" and no more."""

    frames: int = 16
    """Equidistant over the tracklet."""

    margin: float = 1.6
    """Side of the square in sides of the detector's box, which ends at brows and chin."""

    side: int = 224
    """Of the picture, in pixels; even."""

    most: int = 3
    """People of a clip, the most prominent first; the others are left out and counted."""


CLOSE_UP = CloseUp()


def describe_people(
    seer: Seer,
    found: Mapping[str, Faces],
    close_up: CloseUp = CLOSE_UP,
    *,
    age_gender: AgeGender | None = None,
    prompt: str = EXPRESSION_PROMPT,
    max_new_tokens: int = 128,
    batch_size: int = 16,
    store: Store | None = None,
) -> pd.DataFrame:
    """The people of each clip, with what their faces do.

    Args:
        seer: who describes; the paper's is Qwen2-VL-72B.
        found: by clip, from `tracklets.find_all`.
        close_up: what of the faces is shown.
        age_gender: who estimates; None for nobody.
        prompt: what is asked.
        max_new_tokens: where an answer is cut off.
        batch_size: faces asked about together; changes speed, not answers.
        store: where close-ups and estimates are kept; by default the one under `paths.STORE`.

    Returns:
        A row a person: `clip`, `person` (1 is the most prominent), `from_s` and `to_s`, `age` in years (NaN where not
        estimated), `gender`, `text` (missing where there is no answer), `media` (the close-up). In `attrs`:
        `problems`, by clip, of those without a face among them; `counts` of the people `not estimated` and `left out`.

    Raises:
        InputError: an option of the close-up is out of range.
    """
    if close_up.frames < 1 or close_up.side < 2 or close_up.side % 2 or close_up.margin <= 0 or close_up.most < 1:
        raise InputError(f"{close_up}: frames and most must be at least 1, margin above 0, side even.")
    store = store or Store()
    problems = {clip: f"{clip}: {NO_FACE}." for clip, faces in found.items() if not faces.tracklets}
    rows = [row for clip, faces in found.items() for row in _people(clip, faces, close_up, store.root)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    files = list(table.media)
    if files:
        options = {"frames": close_up.frames, "max_new_tokens": max_new_tokens, "batch_size": batch_size}
        table["text"] = list(seer.describe(files, prompt, **options).text)
        untold = table[table.text.isna()]
        problems |= {clip: seer.problems[file] for clip, file in zip(untold["clip"], untold.media, strict=True)}
    if files and age_gender:
        estimated = _estimated(age_gender, files, close_up.frames, store)
        table["age"], table["gender"] = ([estimated[file][name] for file in files] for name in Person._fields)
    table = table.astype({"age": float, "gender": "str", "text": "str"})
    unknown = int((table.age.isna() | table.gender.isna()).sum())
    left_out = sum(max(0, len(faces.tracklets) - close_up.most) for faces in found.values())
    table.attrs = {"problems": problems, "counts": {NOT_ESTIMATED: unknown, "left out": left_out}}
    return table


def as_text(people: pd.DataFrame) -> str | None:
    """The people of one clip, for a judge; None where nobody's face was described.

    Args:
        people: that clip's rows of `describe_people`.

    >>> row = {"person": 1, "from_s": 0.0, "to_s": 2.04, "age": 31.2, "gender": "female", "text": "She smiles."}
    >>> as_text(pd.DataFrame([row]))
    'Person 1 (gender female, age about 31; seen from 0.0 to 2.0 s): She smiles.'
    """
    told = [
        f"Person {one.person} (gender {_said(one.gender)}, age {_years(one.age)}; seen from {one.from_s:.1f} to "
        f"{one.to_s:.1f} s): {one.text.strip()}"
        for one in people.itertuples()
        if isinstance(one.text, str) and one.text.strip()
    ]
    return " ".join(told) or None


def close_ups(
    clip: str | Path, faces: Faces, tracklet: Tracklet, close_up: CloseUp
) -> UInt8[np.ndarray, "frames side side 3"]:
    """One face in RGB, square around its boxes, all its pictures of one size.

    Args:
        clip: video file.
        faces: found in it.
        tracklet: of one of them.
        close_up: how many pictures, how wide, how large.

    Raises:
        InputError: the clip cannot be read.
    """
    span = tracklet.first / faces.frames, (tracklet.last + 1) / faces.frames
    numbers = np.array(media.frame_indices(faces.frames, close_up.frames, span))
    places = np.clip(numbers - tracklet.first, 0, len(tracklet.boxes) - 1)
    pictures = media.read_frames(clip, close_up.frames, span=span)
    squares = [
        crops.crop(picture, box.reshape(2, 2), close_up.margin)
        for picture, box in zip(pictures, tracklet.boxes[places], strict=True)
    ]
    size = (close_up.side, close_up.side)
    return np.stack([cv2.resize(square, size, interpolation=cv2.INTER_AREA) for square in squares])


def _people(clip: str, faces: Faces, close_up: CloseUp, root: Path) -> Iterator[dict[str, Any]]:
    for number, one in enumerate(faces.tracklets[: close_up.most], start=1):
        seconds = {"from_s": one.first / faces.fps, "to_s": (one.last + 1) / faces.fps}
        film = _filmed(clip, faces, one, close_up, root)
        yield {"clip": clip, "person": number, **seconds, "media": str(film)}


def _filmed(clip: str, faces: Faces, tracklet: Tracklet, close_up: CloseUp, root: Path) -> Path:
    """The close-up as a file, since a `Seer` takes files; named by all that it depends on."""
    shown = [close_up.frames, close_up.margin, close_up.side]
    mark = fingerprint(clip_key(clip), tracklet.first, tracklet.boxes, shown)
    file = root / "close-ups" / f"{Path(clip).stem}-{mark}.mp4"
    if not file.exists():
        lasts_s = len(tracklet.boxes) / faces.fps
        media.write_video(file, close_ups(clip, faces, tracklet, close_up), close_up.frames / lasts_s)
    return file


def _estimated(estimator: AgeGender, files: list[str], frames: int, store: Store) -> dict[str, dict[str, Any]]:
    return store.compute(
        "age and gender",
        {"estimator": estimator.name, "frames": frames},
        files,
        lambda films: [dict(person._asdict()) for person in estimator(films)],
        batch_size=16,
        key=clip_key,
        prepare=partial(media.read_frames, count=frames),
        strict=True,
    ).values


def _said(gender: Any) -> str:
    return gender if isinstance(gender, str) else NOT_ESTIMATED


def _years(age: float) -> str:
    return NOT_ESTIMATED if np.isnan(age) else f"about {age:.0f}"
