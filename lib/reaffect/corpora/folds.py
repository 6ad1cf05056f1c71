"""What the readers of the corpora of expressions share: parts of a split, and where their clips lie."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from reaffect.corpora import tables
from reaffect.errors import InputError
from reaffect.media.folders import is_picture

_NAMED = 3  # clips that a message names before it only counts


def open_root(root: str | Path, corpus: str) -> Path:
    """The folder of a corpus; InputError, which tells the corpus's name, if there is none."""
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder. Point the parameter 'corpus' at {corpus}, or `make embedded`.")
    return root


def check_fold(fold: int, folds: int) -> None:
    """Raises InputError for a fold that is none of 1 to `folds`."""
    if fold not in range(1, folds + 1):
        raise InputError(f"fold {fold!r}: there are 1 to {folds}.")


def first_file(root: Path, names: Collection[str], *, absent: str) -> Path:
    """The first of the named files that is there; InputError, with all names and the sentence `absent`, if none."""
    found = next((root / name for name in names if (root / name).is_file()), None)
    if found is None:
        raise InputError(f"{root}: none of {', '.join(names)} is there. {absent}")
    return found


def lines_of(file: Path, encodings: Sequence[str] = ("utf-8-sig",)) -> list[tuple[int, str]]:
    """The lines of a text that are not empty, with their numbers from 1.

    Args:
        file: that is there.
        encodings: tried in their order.

    Raises:
        InputError: it is no text in any of them.
    """
    content = file.read_bytes()
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    raise InputError(f"{file}: this is no text in {' or '.join(encodings)}. Fetch the file again.")


def read_part(
    rows: Iterable[tuple[int, str, str]], file: Path, read: Callable[[str], list[str]]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """One part of a split: its clips and their labels, and by clip which labels cannot be read.

    Args:
        rows: number of the line, the clip's name (brackets, suffix and leading zeros do not count) and its label.
        file: they come from.
        read: a label's text -> labels.

    Raises:
        InputError: a clip stands there twice, or an id leads elsewhere.
    """
    found, problems = [], {}
    for number, name, label in rows:
        clip = tables.clip_id(name)
        tables.check_ids([clip], file)
        try:
            labels = read(label)
        except InputError as error:
            problems[clip] = f"{file}, line {number}: clip {clip!r}: {error}"
            labels = []
        found.append((clip, labels, str(file)))
    table = pd.DataFrame(found, columns=["clip", "labels", "file"])
    twice = table["clip"][table["clip"].duplicated()]
    if len(twice):
        raise InputError(f"{file}: clip {twice.iloc[0]!r} stands there twice. Keep one of the rows.")
    return table, problems


def joined(parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Parts of a split, one after the other, with `split`.

    Args:
        parts: name of the split -> from `read_part`.

    Raises:
        InputError: a clip is in two of them.
    """
    table = pd.concat([part.assign(split=split) for split, part in parts.items()], ignore_index=True)
    both = table[table["clip"].duplicated(keep=False)]
    if len(both):
        clip, rows = next(iter(both.groupby("clip", sort=False)))
        raise InputError(
            f"clip {clip!r} ({both['clip'].nunique()} such clips) is in {' and in '.join(rows.file)}. Parts of a split "
            "must not share clips, and folds must not be mixed: fetch both files again."
        )
    return table


def place_of(root: Path, names: Sequence[str]) -> Path:
    """The first of the folders that is there, else the first."""
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


def is_video(name: str) -> bool:
    """Whether a file is a video by its name; what is hidden, as a Mac's archives have beside each file, is none."""
    return Path(name).suffix.lower() in tables.SUFFIXES and not name.startswith(".")


def media_files(place: Path) -> dict[str, Path]:
    """By clip, the videos and the folders of frames in a folder, at any depth.

    Raises:
        InputError: two files are one clip's.
    """
    found: dict[str, Path] = {}
    for folder, _, names in os.walk(place):
        videos = [Path(folder, name) for name in sorted(names) if is_video(name)]
        frames = [Path(folder)] if any(is_picture(Path(folder, name)) for name in names) else []
        for file in videos or frames:
            clip = tables.clip_id(file.name)
            if clip in found:
                raise InputError(f"{file}: clip {clip!r} is also {found[clip]}. Keep one of them.")
            found[clip] = file
    return found


def with_media(
    table: pd.DataFrame, files: Mapping[str, Path], place: Path, *, strict: bool
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The table with `media`, without the clips that have none, and by clip why there is none.

    Args:
        table: from `joined`.
        files: clip -> its video or folder of frames.
        place: where they lie.
        strict: a missing clip is an error.

    Raises:
        InputError: clips are missing, and `strict`: how many, and the first.
    """
    lacking = table[~table["clip"].isin(files)]
    problems = {
        clip: f"{file}: clip {clip!r} is not in {place}. Fetch it again, or take it out of the file."
        for clip, file in zip(lacking["clip"], lacking.file, strict=True)
    }
    if problems and strict:
        names = ", ".join(map(repr, lacking["clip"][:_NAMED]))
        raise InputError(
            f"{len(lacking)} of {len(table)} clips are not in {place}; the first: {names}, named in "
            f"{lacking.file.iloc[0]}. Fetch them again, or pass strict=False to leave them out."
        )
    table = table.drop(lacking.index)
    return table.assign(media=[str(files[clip]) for clip in table["clip"]]), problems


def finished(table: pd.DataFrame, columns: Sequence[str], **attrs: object) -> pd.DataFrame:
    """The table's columns in their order, its rows counted anew, with its `attrs`."""
    table = table[list(columns)].reset_index(drop=True)
    table.attrs = attrs
    return table
