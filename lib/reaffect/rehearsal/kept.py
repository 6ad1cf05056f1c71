"""The tables of rehearsals that are kept: what stands in them, and how they are read."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from reaffect import paths

FOLDER = paths.REPORTS / "rehearsal"

NOT_REHEARSED = "not rehearsed"

FOUND = (
    "notebook",
    "step",
    "parameters",
    "weights_gb",
    "peak_gb",
    "fits",
    "batch",
    "clips",
    "tflop_a_clip",
    "seconds_a_clip",
    "hours",
    "note",
)
"""Columns. `fits` is yes, no or `NOT_REHEARSED`; `batch` and `clips` count clips; `hours` are of all of them; the note
says what to change, or why there is nothing but it. A GB has 10^9 bytes. What is not known is missing."""

CONDITIONS = ("card", "how", "torch", "transformers", "commit")
"""Columns that are the same in each row of a file; `how` is measured or estimated."""


def read(folder: Path = FOLDER) -> pd.DataFrame:
    """All that is kept, the files in alphabetical order: columns `FOUND` and `CONDITIONS`; empty if nothing is."""
    parts = [pd.read_csv(file, dtype={"notebook": str, "commit": str}) for file in sorted(folder.glob("*.csv"))]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*FOUND, *CONDITIONS])
