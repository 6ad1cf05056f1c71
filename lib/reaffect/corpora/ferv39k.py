"""FERV39k: clips of 22 kinds of scenes with seven expressions, in two parts.

`4_setups/All_scenes/train_All.csv` and `test_All.csv`, no header: `Action/Sad/0010 Sad`, the clip's path and its class,
parted by a blank. Clips are folders of aligned faces, `2_ClipsforFaceCrop/Action/Sad/0010/`, or videos of that name. A
clip is known by the whole path, `Action_Sad_0010`. The layout is from users' reports, the sizes of the parts are from
memory: not verified. Nobody publishes who is seen, so there is no subject.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from reaffect.corpora import expressions, folds, tables
from reaffect.errors import InputError

CLASSES = expressions.classes("ferv39k")

FILES = {"train": "4_setups/All_scenes/train_All.csv", "test": "4_setups/All_scenes/test_All.csv"}

FOLDER = "2_ClipsforFaceCrop"

PUBLISHED = {"train": 31088, "test": 7847, "clips": 38935}


def load(root: str | Path, *, folder: str = FOLDER, strict: bool = True) -> pd.DataFrame:
    """Reads the corpus.

    Args:
        root: the folder with `4_setups/` and the clips.
        folder: of the clips, under `root`.
        strict: a missing clip, or a label that cannot be read or is not that of the clip's path, is an error;
            otherwise the clip is left out and listed in `table.attrs["problems"]`.

    Returns:
        One row a clip, those to train on first: `clip`, `split` (train or test), `media` (path of a folder of frames,
        or of a video), `labels` (list of one of `CLASSES`), `scene`.

    Raises:
        InputError: names the file, the line and the mend; a clip is in both parts, or its path leads elsewhere.
    """
    root = folds.open_root(root, "FERV39k")
    table, problems = _read(root)
    tables.refuse(problems, strict=strict)
    table = table[~table["clip"].isin(problems)]
    place = root / folder
    files = {clip: file for clip, path in zip(table["clip"], table.path, strict=True) if (file := _media(place / path))}
    table, missing = folds.with_media(table, files, place, strict=strict)
    columns = ("clip", "split", "media", "labels", "scene")
    return folds.finished(table, columns, problems=problems | missing)


def check(root: str | Path) -> pd.DataFrame:
    """The sizes of the parts beside the published ones, from the files of labels alone."""
    table, _ = _read(folds.open_root(root, "FERV39k"))
    return expressions.compared(table.split.value_counts().to_dict() | {"clips": len(table)}, PUBLISHED)


class _Line(NamedTuple):
    number: int
    scene: str
    folder: str  # named as the class
    name: str
    label: str

    @property
    def path(self) -> str:
        return f"{self.scene}/{self.folder}/{self.name}"


def _read(root: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Both parts with `path` and `scene` of each clip, and by clip what is wrong with its label."""
    parts, problems = {}, {}
    for split, name in FILES.items():
        file = folds.first_file(root, [name], absent="The official release has it: fetch it again.")
        lines = _lines(file)
        rows = [(line.number, line.path.replace("/", "_"), line.label) for line in lines]
        part, wrong = folds.read_part(rows, file, lambda label: [expressions.class_of(label, CLASSES)])
        problems |= {
            clip: f"{file}, line {line.number}: the label of {line.path} is {line.label!r}, not its folder's. Fetch "
            "the file again."
            for clip, line in zip(part["clip"], lines, strict=True)
            if line.folder.lower() != line.label.lower()
        }
        problems |= wrong
        parts[split] = part.assign(path=[line.path for line in lines], scene=[line.scene for line in lines])
    return folds.joined(parts), problems


def _lines(file: Path) -> list[_Line]:
    lines = []
    for number, text in folds.lines_of(file):
        path, _, label = text.strip().partition(" ")
        parts = path.split("/")
        if len(parts) != 3 or not label.strip():
            raise InputError(f"{file}, line {number}: {text!r}; expected are scene/class/clip and a class, by a blank.")
        if {"", ".", ".."} & set(parts):
            raise InputError(f"{file}, line {number}: the clip {path!r} is no path under the clips. Mend the line.")
        lines.append(_Line(number, *parts, label.strip()))
    return lines


def _media(path: Path) -> Path | None:
    """The folder of frames or the video of that name, if there is one."""
    places = (path, *(path.with_name(path.name + suffix) for suffix in sorted(tables.SUFFIXES)))
    return next((place for place in places if place.exists()), None)
