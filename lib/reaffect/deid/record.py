"""The record of a blurred video: every frame's boxes, and how each was found, as JSON beside the video.

    {"fingerprint": "...",                source, options and code
     "source": "interview.mp4", "options": {...}, "width": 1280, "height": 720,
     "frames": [
      {"time_s": 0.0, "faces": [{"found": "detected", "box": [l, t, r, b], "mask": [l, t, r, b], "confidence": 1.05}]},
      {"time_s": 0.03125, "faces": []},   no face found
      ...],
     "counts": {"detected": 1, "no face found": 1, ...},
     "target": "..."}                     the video's content

`box` is where the face is or may be, `mask` the pixels blurred (with the margin, cut at the frame's edges).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from reaffect.deid.coverage import Placed
from reaffect.deid.streams import Frame
from reaffect.errors import InputError

FOUND = {
    "detected": "the CNN saw it in this very frame",
    "unsure": "so too, but with a low confidence: widened",
    "tracked": "followed from a sighting before and one after, which agree: both boxes joined",
    "widened": "seen before and after, but the ways between disagree or were lost: both joined and widened",
    "forward": "followed from a sighting before, not seen after: widened with time",
    "backward": "followed back from a sighting after, not seen before: widened with time",
    "held": "the track was lost: where the face was last, widened with time",
    "whole frame": "several cuts within a few frames, too short to search: all of it is blurred",
}
"""What the record says of a face, from the surest to the least sure."""

NO_FACE = "no face found"


class Record(NamedTuple):
    """What was done to a video; `read_record(record.file)` has every frame."""

    video: Path
    file: Path
    frames: int
    counts: dict[str, int]
    """Frames by the least sure of their faces (see `FOUND`), or "no face found"."""


def record_file(target: Path) -> Path:
    """Where the record of a blurred video lies.

    >>> record_file(Path("clips/a.mp4")).as_posix()
    'clips/a.mp4.json'
    """
    return target.with_name(target.name + ".json")


def read_record(file: str | Path) -> dict[str, Any]:
    """A record as a dict, from the JSON file or named by its video.

    Raises:
        InputError: it is missing or no such record.
    """
    file = Path(file) if Path(file).suffix == ".json" else record_file(Path(file))
    try:
        content = json.loads(file.read_text())
        if {"fingerprint", "frames", "counts"} <= content.keys():
            return content
    except FileNotFoundError:
        raise InputError(f"{file}: no such record; blur_faces writes it beside its video.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError):
        pass
    raise InputError(f"{file}: no record of blur_faces; delete it and run that again.")


class RecordWriter:
    """Writes a record frame by frame, so that a long video needs no memory; it is whole after `finish`."""

    def __init__(self, file: IO[str], head: dict[str, Any]) -> None:
        self._file, self.frames, self.counts = file, 0, Counter()
        file.write(json.dumps(head, indent=1)[:-2] + ',\n "frames": [')

    def add(self, frame: Frame, masks: list[tuple[int, int, int, int]]) -> None:
        faces = [_plain(face, mask) for face, mask in zip(frame.faces, masks, strict=True)]
        self._file.write((",\n  " if self.frames else "\n  ") + json.dumps({"time_s": frame.time_s, "faces": faces}))
        self.frames += 1
        self.counts[max((face.found for face in frame.faces), key=list(FOUND).index, default=NO_FACE)] += 1

    def finish(self, target: str) -> None:
        tail = {"counts": dict(self.counts), "target": target}
        self._file.write("],\n" + json.dumps(tail, indent=1)[2:] + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _plain(face: Placed, mask: tuple[int, int, int, int]) -> dict[str, Any]:
    plain = {"found": face.found, "box": np.round(face.box, 1).tolist(), "mask": [int(edge) for edge in mask]}
    return plain if face.confidence is None else plain | {"confidence": round(face.confidence, 3)}
