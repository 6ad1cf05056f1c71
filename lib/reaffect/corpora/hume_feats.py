"""The organisers' precomputed features of Hume-Reaction: `c2_muse_reaction/feats/<FEATURE>/<clip>.csv`.

Two leading columns tell time and segment, in either order; the features begin in the third; rows vary in number.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from reaffect.corpora import tables
from reaffect.errors import InputError

META = ("timestamp", "segment_id")
"""Names of the two leading columns."""


class Released(NamedTuple):
    """Features by key."""

    values: dict[str, np.ndarray]
    """float32 (rows, width)."""

    problems: dict[str, str]
    """By key: why there are none."""


def load(root: str | Path, feature: str, clips: Mapping[str, str], *, strict: bool = True) -> Released:
    """Reads the features of clips.

    Args:
        root: the corpus, as for `corpora.hume.load`.
        feature: a folder's name: `FAUs`, `VGGFace2`, ...
        clips: key of the result, such as the media file -> clip id.
        strict: a missing or broken file is an error; otherwise it is listed in `problems`.

    Returns:
        By key, float32 (rows, width). Rows of zeros, in which the organisers found no face, are kept.

    Raises:
        InputError: names the file and the mend: no such folder, a missing or empty file, meta columns that are not the
            two known ones, rows longer than the header, no features, a value that is no finite number, a width that
            differs from the first file's.
    """
    folder = Path(root) / "c2_muse_reaction" / "feats" / feature
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. The official release has it beside labels.csv: fetch it.")
    values: dict[str, np.ndarray] = {}
    problems: dict[str, str] = {}
    for key, clip in clips.items():
        width = next(iter(values.values())).shape[1] if values else None
        try:
            values[key] = _read(folder / f"{clip}.csv", width)
        except InputError as error:
            if strict:
                raise
            problems[key] = str(error)
    return Released(values, problems)


def sampled(rows: np.ndarray, count: int) -> np.ndarray:
    """`count` equidistant rows, first and last included: what pairs a released feature with frames.

    >>> sampled(np.arange(5)[:, None], 3).ravel()
    array([0, 2, 4])
    """
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]


def write(root: str | Path, feature: str, clip: str, times_s: np.ndarray, rows: np.ndarray, names: list[str]) -> None:
    """Writes one clip's features as the organisers do; the file is whole or absent."""
    folder = Path(root) / "c2_muse_reaction" / "feats" / feature
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows, columns=names).round(5)
    table.insert(0, "segment_id", clip)
    table.insert(0, "timestamp", (np.asarray(times_s) * 1000).round().astype(int))
    aside = folder / f"{clip}.csv.part"
    table.to_csv(aside, index=False)
    aside.replace(folder / f"{clip}.csv")


def _read(file: Path, width: int | None) -> np.ndarray:
    absent = "Fetch the features again, or leave the clip out."
    with tables.reading(file, absent=absent), warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        table = pd.read_csv(file, index_col=False)  # else the first cell of rows too long would become their name
    if set(table.columns[:2]) != set(META):
        raise InputError(
            f"{file}: the first columns are {', '.join(table.columns[:2])}; expected {' and '.join(META)}."
        )
    if len(table) == 0:
        raise InputError(f"{file}: no rows. Fetch the file again, or leave the clip out.")
    if table.shape[1] == 2:
        raise InputError(f"{file}: no features beside {' and '.join(META)}. Fetch the file again.")
    if width is not None and table.shape[1] - 2 != width:
        raise InputError(f"{file}: {table.shape[1] - 2} features, the other files have {width}. Fetch it again.")
    numbers = table.iloc[:, 2:]
    if not all(map(pd.api.types.is_numeric_dtype, numbers.dtypes)):
        numbers = numbers.apply(pd.to_numeric, errors="coerce")
    rows = numbers.to_numpy(np.float32)
    if not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0]
        raise InputError(f"{file}: row {row + 2}, column {table.columns[column + 2]!r} is no number. Fetch it again.")
    return rows
