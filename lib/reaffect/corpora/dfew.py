"""DFEW: clips of films with one of seven expressions, in five folds (Omni-Emotion 2025, Table 5).

Two layouts of the release, told apart by their files:

- `EmoLabel_DataSplit/train(single-labeled)/set_1.csv` and `test(single-labeled)/`, with `video_name,label`. The
  release's README writes `single_labeled`; both are read.
- the older `label/single_trainset_1.csv` and `single_testset_1.csv`. Their header is not documented: `label` must be
  one column, the clip is in the other.

Labels are DFEW's own numbers from 1 to 7, or names. Clips are `Clip/original/`, in parts or not, as videos with sound;
or folders of aligned faces, `Clip/clip_224x224/` and `Clip/clip_224x224_16f/`. Ids may have lost their leading zeros.
Nobody publishes who is seen, so there is no subject.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from reaffect.corpora import expressions, folds, tables
from reaffect.errors import InputError

CLASSES = expressions.classes("dfew")

NUMBERS = {str(number): label for number, label in enumerate(CLASSES, 1)}
"""The release's numbers -> classes; no other corpus numbers them so."""

FOLDS = 5

FILES = {
    "train": (
        "EmoLabel_DataSplit/train(single-labeled)/set_{fold}.csv",
        "EmoLabel_DataSplit/train(single_labeled)/set_{fold}.csv",
        "label/single_trainset_{fold}.csv",
    ),
    "test": (
        "EmoLabel_DataSplit/test(single-labeled)/set_{fold}.csv",
        "EmoLabel_DataSplit/test(single_labeled)/set_{fold}.csv",
        "label/single_testset_{fold}.csv",
    ),
}

PLACES = (
    *("Clip/original", "Clip/clip_224x224", "Clip/clip_224x224_16f", "Clip"),
    *("clips", "video", "videos", "mp4", "data", "frames"),
)
"""Where clips lie, in the order tried: as the release has them, then as users do."""

PUBLISHED = {
    **{f"fold {fold} train": size for fold, size in enumerate((9356, 9356, 9357, 9358, 9361), 1)},
    **{f"fold {fold} test": size for fold, size in enumerate((2341, 2341, 2340, 2339, 2336), 1)},
    "clips": 11697,
}
"""Sizes of the folds, and of all together, as the release's README has them."""


def load(root: str | Path, fold: int = 1, *, folder: str | None = None, strict: bool = True) -> pd.DataFrame:
    """Reads one fold.

    Args:
        root: the folder with `EmoLabel_DataSplit/` or `label/`, and the clips.
        fold: 1 to 5.
        folder: of the clips, under `root`; by default the first that is there of `PLACES`.
        strict: a missing clip, or a label that cannot be read, is an error; otherwise the clip is left out and listed
            in `table.attrs["problems"]`.

    Returns:
        One row a clip, those to train on first: `clip` (id without leading zeros), `split` (train or test), `media`
        (path of a video, or of a folder of frames), `labels` (list of one of `CLASSES`). `attrs` also has `fold`.

    Raises:
        InputError: names the file, the clip and the mend; a clip is in both parts of the fold.
    """
    root = folds.open_root(root, "DFEW")
    table, problems = _read(root, fold)
    tables.refuse(problems, strict=strict)
    table = table[~table["clip"].isin(problems)]
    place = root / folder if folder else folds.place_of(root, PLACES)
    table, missing = folds.with_media(table, folds.media_files(place), place, strict=strict)
    columns = ("clip", "split", "media", "labels")
    return folds.finished(table, columns, problems=problems | missing, fold=fold)


def check(root: str | Path) -> pd.DataFrame:
    """The sizes of the folds beside the published ones, from the files of labels alone.

    `clips` counts those that stand in the test part of any fold: the folds test each clip once.
    """
    root = folds.open_root(root, "DFEW")
    read = {fold: _read(root, fold)[0] for fold in range(1, FOLDS + 1)}
    found = {f"fold {fold} {part}": int((table.split == part).sum()) for fold, table in read.items() for part in FILES}
    tested = {clip for table in read.values() for clip in table["clip"][table.split == "test"]}
    return expressions.compared(found | {"clips": len(tested)}, PUBLISHED)


def label_of(cell: str) -> list[str]:
    """The class of a cell: DFEW's number, or a name.

    Raises:
        InputError: neither.

    >>> label_of("3"), label_of("Anger")
    (['neutral'], ['angry'])
    """
    cell = cell.strip()
    if cell in NUMBERS:
        return [NUMBERS[cell]]
    if cell.lstrip("+-").isdecimal():
        raise InputError(f"the label {cell!r} is none of DFEW's numbers, 1 to {len(NUMBERS)}. Fetch the file again.")
    return [expressions.class_of(cell, CLASSES)]


def _read(root: Path, fold: int) -> tuple[pd.DataFrame, dict[str, str]]:
    """Both parts of a fold, and by clip what is wrong with its label."""
    folds.check_fold(fold, FOLDS)
    parts, problems = {}, {}
    for split, names in FILES.items():
        names = [name.format(fold=fold) for name in names]
        file = folds.first_file(root, names, absent="The official release has one of them: fetch it again.")
        parts[split], wrong = folds.read_part(_rows(file), file, label_of)
        problems |= wrong
    return folds.joined(parts), problems


def _rows(file: Path) -> list[tuple[int, str, str]]:
    """Line, clip and label of each row; the header is line 1."""
    table = tables.read_csv(file, ("label",), absent="")
    others = [name for name in table.columns if name != "label"]
    if "video_name" not in others and len(others) != 1:
        raise InputError(f"{file}: column 'video_name' is missing; there are {', '.join(table.columns)}.")
    names = table["video_name" if "video_name" in others else others[0]]
    return list(zip(range(2, len(table) + 2), names, table.label, strict=True))
