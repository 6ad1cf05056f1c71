"""Checkpoints: which are there and whole, which are to be fetched, and whether the hub gives them.

`params/models.csv` has a row for each that a file of `params/paper` names: `checkpoint` (as named there), `revision`,
`licence`, `size_gb` (of the weights; 1 GB is 10^9 bytes), `source` (where it is fetched from, if not from the hub under
its name). What is not known is empty there, and `unknown` in reports.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from huggingface_hub import HfApi, constants, errors, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

from reaffect import paths, served
from reaffect.corpora import tables
from reaffect.errors import InputError
from reaffect.models.checkpoints import damaged
from reaffect.preflight.finding import Finding

COLUMNS = ("checkpoint", "revision", "licence", "size_gb", "source")

WEIGHTS = ("*.safetensors", "*.bin", "*.pth", "*.pt")
"""In the order preferred."""

GB = 10**9

TIMEOUT_S = 10


def read_models(file: Path | None = None) -> pd.DataFrame:
    """`params/models.csv` by checkpoint: text, but `size_gb` a float, NaN where unknown.

    Raises:
        InputError: the file is missing or broken, a checkpoint is there twice, or a size is no number above 0.
    """
    file = file or paths.PARAMS / "models.csv"
    table = tables.read_csv(file, COLUMNS, absent="Restore it from the repository.")
    twice = table.checkpoint[table.checkpoint.duplicated()]
    if len(twice):
        raise InputError(f"{file}: {twice.iloc[0]!r} stands there twice. Keep one of the rows.")
    sizes = pd.to_numeric(table.size_gb.replace("", None), errors="coerce")
    wrong = table[(sizes.isna() & (table.size_gb != "")) | (sizes <= 0)]
    if len(wrong):
        row = wrong.iloc[0]
        raise InputError(f"{file}: size_gb of {row.checkpoint!r} is {row.size_gb!r}: a number of GB, or nothing.")
    return table.assign(size_gb=sizes.astype(float)).set_index("checkpoint")


class Fetch(NamedTuple):
    """What the hub says of a checkpoint that is not there."""

    refusal: str
    """Why it cannot be fetched, and the mend; empty if it can."""

    size_gb: float = math.nan
    """Of its weights, in the form that is fetched."""


@dataclass
class Hub:
    """Asks the hub; after it could not be reached once, not again."""

    unreachable: str = ""

    def ask(self, name: str) -> Fetch:
        """Whether the hub gives a checkpoint, and how large it is."""
        if constants.HF_HUB_OFFLINE:
            return Fetch("HF_HUB_OFFLINE is set: unset it, or put the checkpoint into the hub's cache.")
        if self.unreachable:
            return Fetch(self.unreachable)
        try:
            files = HfApi().model_info(name, files_metadata=True, timeout=TIMEOUT_S).siblings
            HfApi().auth_check(name)
        except GatedRepoError:
            return Fetch("the hub asks for consent: accept the terms on its page, and log in (`hf auth login`).")
        except (RepositoryNotFoundError, HFValidationError):
            return Fetch("the hub has no such checkpoint: check the name, or log in (`hf auth login`).")
        except (errors.HTTPError, OSError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            self.unreachable = f"the hub cannot be reached ({reason}): check network and proxy, or fill its cache."
            return Fetch(self.unreachable)
        sizes = [[file.size for file in files if Path(file.rfilename).match(form)] for form in WEIGHTS]
        return Fetch("", next((sum(own) / GB for own in sizes if own and all(own)), math.nan))


def look(name: str, models: pd.DataFrame, hub: Hub) -> Finding:
    """What is found of one checkpoint.

    Args:
        name: a file or folder `checkpoints/...` under DATA, `package:...`, a hub id, or a served model's.
        models: from `read_models`.
        hub: asked about what is not there.
    """
    if paths.is_address(name):
        return _served(name)
    what, row = f"checkpoint {name}", _row(name, models)
    place = paths.checkpoint(name)
    if isinstance(place, Path):
        return _local(what, place, row)
    folder = _cached(name)
    lacking = incomplete(folder) if folder else "not in the hub's cache"
    if not lacking:
        state = "differs" if row.revision not in ("", folder.name) else "ok"
        return Finding(what, state, f"in the hub's cache, as revision {folder.name}; {_facts(row)}")
    fetch = hub.ask(name)
    if fetch.refusal:
        return Finding(what, "missing", f"{lacking}, and {fetch.refusal}", stops=True)
    if math.isnan(row.size_gb):
        row = pd.Series({**row, "size_gb": fetch.size_gb})
    return Finding(what, "to fetch", f"{lacking}; {_facts(row)}", fetch_gb=row.size_gb)


def _served(name: str) -> Finding:
    what = f"served model {name}"
    try:
        served.address(name)
    except InputError as error:
        return Finding(what, "broken", str(error), stops=True)
    key = f"its key is in {served.KEY}" if os.environ.get(served.KEY) else f"it gets no key: {served.KEY} is not set"
    return Finding(what, "note", f"a server, not asked here; {key}")


def _cached(name: str) -> Path | None:
    """The folder of the hub's cache that a checkpoint is in, be it whole or not."""
    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(config).parent if isinstance(config, str) else None


def _row(name: str, models: pd.DataFrame) -> pd.Series:
    unknown = pd.Series({"revision": "", "licence": "", "size_gb": math.nan, "source": ""})
    return models.loc[name] if name in models.index else unknown


def _facts(row: pd.Series) -> str:
    size = "unknown" if math.isnan(row.size_gb) else f"{row.size_gb:.2f} GB"
    return f"size {size}, revision {row.revision or 'unknown'}, licence {row.licence or 'unknown'}"


def _local(what: str, place: Path, row: pd.Series) -> Finding:
    """A file or folder under DATA, or in an installed package."""
    if not place.exists():
        mend = f"Fetch it from {row.source}." if row.source else "Where it is to be had is unknown here: see the paper."
        return Finding(what, "missing", f"{place}: not there; {_facts(row)}. {mend}", stops=True)
    lacking = incomplete(place) if place.is_dir() else _short(place.stat().st_size, row.size_gb)
    if lacking:
        return Finding(what, "broken", f"{place}: {lacking}. Fetch it again; {_facts(row)}", stops=True)
    return Finding(what, "ok", f"{place}; {_facts(row)}")


def _short(size: int, size_gb: float) -> str:
    """Whether a file is shorter than it should be, if that is known; sizes are rounded to 1 %."""
    if not size:
        return "the file is empty"
    return "the file is cut off" if size < 0.98 * size_gb * GB else ""


def incomplete(folder: Path) -> str:
    """What a folder in Hugging Face's or CTranslate2's format lacks, such as a shard of its index; empty if nothing."""
    if not (folder / "config.json").is_file():
        return "config.json is missing"
    files = [file for form in WEIGHTS for file in sorted(folder.glob(form))]
    empty = [file.name for file in files if not file.stat().st_size]
    if empty or not files:
        return f"{empty[0]} is empty" if empty else f"no weights ({', '.join(WEIGHTS)}) are there"
    return damaged(folder)
