"""Every root that the project reads or writes, found from this file and one environment variable.

`REAFFECT_DATA` moves everything that is built or licensed (corpora, checkpoints, the store of computed
values) out of the checkout; without it they lie under `data/`, which git ignores.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("REAFFECT_DATA") or ROOT / "data").resolve()

CORPORA = DATA / "corpora"
CHECKPOINTS = DATA / "checkpoints"
STORE = DATA / "store"

NOTEBOOKS = ROOT / "notebooks"
PARAMS = ROOT / "params"
REPORTS = ROOT / "reports"
PUBLISHED = REPORTS / "published.csv"


def checkpoint(name: str) -> Path | str:
    """A checkpoint by its folder under `DATA`, or else `name` itself, taken as a hub id.

    >>> checkpoint("LanguageBind/Video-LLaVA-7B-hf")
    'LanguageBind/Video-LLaVA-7B-hf'
    """
    folder = DATA / name
    return folder if folder.exists() or name.startswith("checkpoints/") else name
