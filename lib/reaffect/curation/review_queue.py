"""The queue of clips that people review: JSON lines, one clip a line, whose videos lie in the corpora's folder."""

from __future__ import annotations

import json
import math
import mimetypes
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reaffect.errors import InputError
from reaffect.fingerprint import fingerprint

QUEUE = ("corpus", "clip", "media", "reason", "labels", "intensity", "coarse", "score")
"""Of a clip: where its video is, below the root; the annotation; the corpus' own label and the agreement with it."""

ANNOTATION = ("reason", "labels", "intensity")
"""What a reviewer accepts, edits or rejects."""


def write_queue(table: pd.DataFrame, file: str | Path, root: str | Path) -> Path:
    """Writes a queue for the page, whole or not at all.

    Args:
        table: a row a clip, with the columns `QUEUE`, all text but: `labels` is a list of str, `intensity` text, a
            number or missing (the paper does not say which), `score` 0 to 10 or missing. `media` is a path in `root`.
            A clip whose reason or labels are missing can be edited or rejected, and not accepted.
        file: JSON lines; one already there is replaced.
        root: folder of the corpora.

    Returns:
        `file`.

    Raises:
        InputError: names the clip and what is wrong with it.
    """
    file, root = Path(file), Path(root)
    check_columns(table)
    clips = [{name: _plain(row[name]) for name in QUEUE} | _annotation(row) for row in table.to_dict("records")]
    clips = [clip | {"media": _inside(root, clip["media"])} for clip in clips]
    _check_clips(clips, root, [f"{file}, clip {clip['clip']!r}" for clip in clips], file)
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}.part")
    aside.write_text("".join(json.dumps(clip) + "\n" for clip in clips), encoding="utf-8")
    aside.replace(file)
    return file


def read_queue(file: str | Path, root: str | Path) -> pd.DataFrame:
    """Reads what `write_queue` wrote.

    Args:
        file: JSON lines.
        root: folder of the corpora; no path of the queue may leave it, neither by `..` nor by a link.

    Returns:
        One row a clip, in the file's order, with the columns `QUEUE`; `media` is the whole path.

    Raises:
        InputError: names the file, the line and the mend; or videos are missing.
    """
    file, root = Path(file), Path(root)
    lines, problems = read_lines(file, dict, absent="Write it by `reaffect.curation.review_queue.write_queue`.")
    for number, problem in problems.items():
        raise InputError(f"{file}, line {number}: {problem}. Write the queue again.")
    clips = list(lines.values())
    _check_clips(clips, root, [f"{file}, line {number}" for number in lines], file)
    table = pd.DataFrame([{name: clip[name] for name in QUEUE} for clip in clips])
    return table.assign(media=[str((root / media).resolve()) for media in table["media"]])


def shown(row: Mapping[str, Any]) -> str:
    """Fingerprint of a row's annotation: a verdict holds for this and for no other.

    >>> row = {"reason": "He smiles.", "labels": ["happy"], "intensity": 2}
    >>> shown(row) == shown(row | {"intensity": 2.0}) != shown(row | {"labels": ["glad"]})
    True
    """
    values = _annotation(row)
    if isinstance(values["intensity"], int):  # a column of numbers turns to float as soon as one is missing
        values["intensity"] = float(values["intensity"])
    return fingerprint(values)


def read_lines(
    file: Path, check: Callable[[dict[str, Any]], dict[str, Any]], *, absent: str
) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """The objects in a file of JSON lines, and why a line holds none; both by the line's number, from 1.

    Args:
        file: a line cut off, damaged or edited spoils no other; blank ones do not count.
        check: object -> what to make of it; its InputError, a clause, is the line's problem.
        absent: what to do if there is no such file, a sentence.

    Raises:
        InputError: the file is missing or cannot be read.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{file}: no such file. {absent}") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check the path.") from error
    lines, problems = {}, {}
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line.decode("utf-8-sig"))
            if not isinstance(values, dict):
                raise InputError("it is no JSON object")
            lines[number] = check(values)
        except InputError as error:
            problems[number] = str(error)
        except (ValueError, RecursionError) as error:
            problems[number] = f"it is cut off or damaged ({error})"
    return lines, problems


def check_annotation(values: Mapping[str, Any]) -> None:
    """Raises InputError, a clause, unless there are a reason, a label and a sound intensity."""
    check_text("reason", values.get("reason"))
    if values.get("labels") == []:
        raise InputError("'labels' must hold at least one label")
    _check_labels(values)


def check_text(name: str, value: Any) -> None:
    """Raises InputError, a clause, unless the value is text that says something and that UTF-8 can hold."""
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{name!r} must be text that is not empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{name!r} holds half a character (a lone surrogate)") from None


def check_columns(table: pd.DataFrame) -> None:
    """Raises InputError if the table lacks a column of `QUEUE`."""
    missing = [name for name in QUEUE if name not in table]
    if missing:
        raise InputError(f"The queue lacks the column {missing[0]!r}; it needs {', '.join(QUEUE)}.")


def _check_labels(values: Mapping[str, Any]) -> None:
    """Labels, perhaps none, and intensity."""
    labels, intensity = values.get("labels"), values.get("intensity")
    if not isinstance(labels, list):
        raise InputError("'labels' must be a list")
    for label in labels:
        check_text("labels", label)
    if isinstance(intensity, str):
        check_text("intensity", intensity)
    elif intensity is not None and not _is_number(intensity):
        raise InputError("'intensity' must be text, a number or null")


def _check_clips(clips: Sequence[dict[str, Any]], root: Path, places: Sequence[str], file: Path) -> None:
    """Raises InputError at the first clip that cannot be shown; `places` say where each stands."""
    if not clips:
        raise InputError(f"{file}: there is no clip in the queue. Draw some, and write it again.")
    seen: set[tuple[str, str]] = set()
    absent = []
    for clip, place in zip(clips, places, strict=True):
        try:
            _check_clip(clip, root)
        except InputError as error:
            raise InputError(f"{place}: {error}. Mend the table that the queue is written from.") from None
        key = clip["corpus"], clip["clip"]
        if key in seen:
            raise InputError(f"{place}: clip {key[1]!r} of {key[0]!r} stands there twice. Keep one of the rows.")
        seen.add(key)
        if not (root / clip["media"]).is_file():
            absent.append(f"{place}: {root / clip['media']}: no such video.")
    if absent:
        raise InputError(
            f"{len(absent)} of {len(clips)} videos are missing; the first: {absent[0]} Fetch it, or mend the root."
        )


def _check_clip(clip: Mapping[str, Any], root: Path) -> None:
    for name in ("corpus", "clip", "media", "coarse"):
        check_text(name, clip.get(name))
    if clip.get("reason") != "":
        check_text("reason", clip.get("reason"))
    _check_labels(clip)
    score = clip.get("score")
    if score is not None and not (_is_number(score) and 0 <= score <= 10):
        raise InputError("'score' must be a number from 0 to 10, or null")
    missing = [name for name in QUEUE if name not in clip]
    if missing:
        raise InputError(f"{missing[0]!r} is missing")
    if not (root / clip["media"]).resolve().is_relative_to(root.resolve()):
        raise InputError(f"the video {clip['media']!r} lies outside {root}")
    if not (mimetypes.guess_type(clip["media"])[0] or "").startswith("video/"):
        raise InputError(f"{clip['media']!r} is not the name of a video")


def _inside(root: Path, media: Any) -> Any:
    """The path below the root; what leads elsewhere, or is no path, as it is: the check says so."""
    if not isinstance(media, str):
        return media
    path = (root / media).resolve()
    return path.relative_to(root.resolve()).as_posix() if path.is_relative_to(root.resolve()) else media


def _annotation(row: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: _plain(row[name]) for name in ANNOTATION}
    return values | {"reason": values["reason"] or "", "labels": values["labels"] or []}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _plain(value: Any) -> Any:
    """A cell as JSON has it: no NumPy type, None for what is missing."""
    value = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
    return None if value is pd.NA or (isinstance(value, float) and math.isnan(value)) else value
