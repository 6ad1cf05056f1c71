"""CAER: clips of series with seven expressions, in three parts.

`train/`, `validation/` and `test/`, each with a folder a class, and in it the clips: `train/Anger/0001.avi`. The same
names come back in other folders, so that a clip is known by its part, class and name: `train_Anger_0001`. The layout is
from users' reports and the sizes of the classes are from memory: not verified. Nobody publishes who is seen, so there
is no subject.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from reaffect.corpora import expressions, folds, tables
from reaffect.errors import InputError

CLASSES = expressions.classes("caer")

SPLITS = {"train": "train", "validation": "devel", "test": "test"}
"""The release's folders -> our names of splits."""

PUBLISHED = {
    "clips": 13201,
    **dict(zip(CLASSES, (1628, 719, 514, 2726, 4579, 1473, 1562), strict=True)),
}
"""All clips, and those of each class; the classes sum to all."""


def load(root: str | Path, *, strict: bool = True) -> pd.DataFrame:
    """Reads the corpus.

    Args:
        root: the folder with `train/`, `validation/` and `test/`.
        strict: a folder that names no class is an error; otherwise its clips are left out and listed in
            `table.attrs["problems"]`.

    Returns:
        One row a clip, by split, class and name: `clip`, `split` (train, devel or test), `media` (path), `labels`
        (list of one of `CLASSES`).

    Raises:
        InputError: names the folder and the mend: none of the three or no clips in one of them, a class that is
            unknown, two videos of one name.
    """
    root = folds.open_root(root, "CAER")
    rows, problems = [], {}
    for place, split in SPLITS.items():
        files = [file for file in sorted((root / place).glob("*/*")) if folds.is_video(file.name)]
        if not files:
            raise InputError(f"{root / place}: no videos are there. Fetch that part of CAER again.")
        for file in files:
            clip = f"{place}_{file.parent.name}_{file.stem}"
            try:
                rows.append((clip, split, str(file), [expressions.class_of(file.parent.name, CLASSES)]))
            except InputError as error:
                problems[clip] = f"{file.parent}: {error}"
    tables.refuse(problems, strict=strict)
    columns = ("clip", "split", "media", "labels")
    table = pd.DataFrame(rows, columns=columns)
    twice = table[table["clip"].duplicated()]
    if len(twice):
        raise InputError(f"{twice.media.iloc[0]}: clip {twice['clip'].iloc[0]!r} has a second video. Keep one of them.")
    return folds.finished(table, columns, problems=problems)


def check(root: str | Path) -> pd.DataFrame:
    """The number of clips, of all and of each class, beside the published ones."""
    table = load(root, strict=False)
    return expressions.compared({"clips": len(table)} | table.labels.str[0].value_counts().to_dict(), PUBLISHED)
