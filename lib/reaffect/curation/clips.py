"""What a curation begins with: the training clips of the seven corpora, each with its coarse label (Section 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from reaffect.corpora import afew_va, caer, dfew, ferv39k, mafw, mer, ravdess
from reaffect.curation.pipeline import COLUMNS
from reaffect.errors import InputError

FOLD = 1
"""Whose training part DFEW's and MAFW's clips are; they have five folds, and the paper names none."""

LOADERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "DFEW": partial(dfew.load, fold=FOLD),
    "MAFW": partial(mafw.load, fold=FOLD),
    "MER24": partial(mer.load, year=2024),
    "CAER": caer.load,
    "AFEW-VA": afew_va.load,
    "RAVDESS": ravdess.load,
    "FERV39K": ferv39k.load,
}
"""By the names of Figure 4."""


def training_clips(folders: Mapping[str, str | Path]) -> pd.DataFrame:
    """The clips that may be learned from, of several corpora.

    Args:
        folders: by name of the corpus, one of `LOADERS`, where its release lies.

    Returns:
        A row a clip, with `pipeline.COLUMNS`: `clip` is the corpus's name and its own id, since two corpora may share
        ids; `coarse` its labels by name, parted by commas. AFEW-VA has no classes: there, `coarse` says in words
        which sides of 0 the means of valence and arousal are on.

    Raises:
        InputError: no or an unknown corpus; or what a loader raises.
    """
    unknown = [name for name in folders if name not in LOADERS]
    if unknown or not folders:
        raise InputError(f"corpora {unknown or 'are none'}: name some of {', '.join(LOADERS)}.")
    return pd.concat([_own(name, LOADERS[name](Path(folder))) for name, folder in folders.items()], ignore_index=True)


def _own(corpus: str, table: pd.DataFrame) -> pd.DataFrame:
    table = table[table.split == "train"]
    coarse = [", ".join(row["labels"] or _in_words(row)) for row in table.to_dict("records")]
    return table.assign(corpus=corpus, clip=f"{corpus}/" + table["clip"], coarse=coarse)[list(COLUMNS)]


def _in_words(row: Mapping[str, float]) -> list[str]:
    return ["pleasant" if row["valence"] >= 0 else "unpleasant", "excited" if row["arousal"] >= 0 else "calm"]
