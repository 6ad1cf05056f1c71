"""AFEW-VA: clips of films with valence, arousal and 68 landmarks in every frame.

Folders `001/` to `600/`, directly in the corpus or one folder deeper, each with its frames, `00000.png`, and a file
`001.json`: `{"actor": name, "video_id": "001", "frames": {"00000": {"valence", "arousal", "landmarks"}}}`; valence and
arousal are from -10 to 10. The layout is from users' reports: not verified.

There are no classes. Omni-Emotion counts the corpus among "emotion classification datasets" (Section 4.4) and has 1,176
samples of it in SRE (Figure 4), about twice its clips: how it got classes and samples is unpublished. So `labels` is
empty here, and whoever wants classes draws them from valence and arousal by a rule of his own.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from reaffect.corpora import expressions, folds, tables
from reaffect.errors import InputError

PUBLISHED = {"clips": 600}

RANGE = (-10, 10)
"""Of valence and arousal."""

LANDMARKS = 68

SCALES = ("valence", "arousal")


def load(root: str | Path, *, test_subjects: Collection[str] = (), strict: bool = True) -> pd.DataFrame:
    """Reads the corpus, one row a clip.

    Args:
        root: the folder with `001/`, `002/`, ...
        test_subjects: actors whose clips are `test`. The release has no split, and the paper's is unpublished: by
            default all clips are `train`.
        strict: annotations that cannot be read, or a frame that is missing, are an error; otherwise the clip is left
            out and listed in `table.attrs["problems"]`.

    Returns:
        `clip` (id without leading zeros), `subject` (actor), `split`, `media` (folder of the frames), `labels` (empty
        list), `frames` (count), `valence` and `arousal` (mean over the frames, -10 to 10).

    Raises:
        InputError: names the file, the frame and the mend; there is no such folder, clip or actor.
    """
    frames = load_frames(root, strict=strict)
    grouped = frames.groupby("clip", sort=False)
    table = grouped.agg(subject=("subject", "first"), media=("media", "first"), frames=("frame", "size"))
    table = table.assign(**grouped[list(SCALES)].mean()).reset_index()
    unknown = sorted(set(test_subjects) - set(table.subject))
    if unknown:
        raise InputError(f"test_subjects: no clip is of {unknown[0]!r}. Check the names against the column 'subject'.")
    table["split"] = np.where(table.subject.isin(list(test_subjects)), "test", "train")
    table["media"] = [str(Path(file).parent) for file in table.media]
    table["labels"] = [[] for _ in range(len(table))]
    columns = ("clip", "subject", "split", "media", "labels", "frames", *SCALES)
    return folds.finished(table, columns, **frames.attrs)


def load_frames(root: str | Path, *, strict: bool = True) -> pd.DataFrame:
    """Reads the corpus, one row a frame, in the order of clips and frames.

    Args:
        root: as for `load`.
        strict: as for `load`.

    Returns:
        `clip`, `subject` (actor), `frame` (number in the clip), `media` (path of the picture), `valence`, `arousal`,
        `landmarks` (float32 array (68, 2), pixels). `attrs` has `problems`.

    Raises:
        InputError: as `load`.
    """
    root = folds.open_root(root, "AFEW-VA")
    files = sorted(file for depth in ("*/*.json", "*/*/*.json") for file in root.glob(depth) if _is_clip(file))
    if not files:
        raise InputError(f"{root}: no clip such as 001/001.json is there. Check the folder.")
    rows, problems, seen = [], {}, {}
    for file in files:
        clip = tables.clip_id(file.stem)
        if clip in seen:
            raise InputError(f"{file}: clip {clip!r} is also {seen[clip]}. Keep one of them.")
        seen[clip] = file
        try:
            rows += [(clip, *row) for row in _frames(file)]
        except InputError as error:
            problems[clip] = str(error)
    tables.refuse(problems, strict=strict)
    columns = ("clip", "subject", "frame", "media", *SCALES, "landmarks")
    return folds.finished(pd.DataFrame(rows, columns=columns), columns, problems=problems)


def check(root: str | Path) -> pd.DataFrame:
    """The number of clips that can be read beside the published one."""
    return expressions.compared({"clips": len(load(root, strict=False))}, PUBLISHED)


def _is_clip(file: Path) -> bool:
    return file.stem.isdecimal() and file.stem == file.parent.name


def _frames(file: Path) -> list[tuple]:
    """Actor, number, picture, valence, arousal and landmarks of each frame of one clip."""
    try:
        told = json.loads(file.read_text(encoding="utf-8-sig"))
        actor, frames, named = told["actor"].strip(), told["frames"].items(), told["video_id"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{file}: expected is JSON with actor, video_id and frames, and this is none. Fetch the clip again."
        ) from None
    if tables.clip_id(str(named)) != tables.clip_id(file.stem) or not frames:
        raise InputError(f"{file}: it has {len(frames)} frames of clip {named!r}. Fetch the clip again.")
    return sorted(((actor, *_frame(file, name, values)) for name, values in frames), key=lambda row: row[1])


def _frame(file: Path, name: str, values: object) -> tuple:
    """Number, picture, valence, arousal and landmarks of one frame."""
    picture = file.parent / f"{name}.png"
    if not name.isdecimal() or not picture.is_file():
        raise InputError(f"{file}: of frame {name!r} there is no picture {picture}. Fetch the clip again.")
    try:
        scales = [float(values[scale]) for scale in SCALES]
        points = np.asarray(values["landmarks"], np.float32)
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{file}: frame {name!r} lacks valence, arousal or landmarks. Fetch the clip again.") from None
    low, high = RANGE
    if not all(low <= value <= high for value in scales):
        raise InputError(f"{file}: frame {name!r} has valence and arousal {scales}; each must be from {low} to {high}.")
    if points.shape != (LANDMARKS, 2) or not np.isfinite(points).all():
        raise InputError(f"{file}: frame {name!r} has landmarks {points.shape}; expected are {LANDMARKS} points.")
    return (int(name), str(picture), *scales, points)
