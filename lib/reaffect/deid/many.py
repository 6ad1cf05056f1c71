"""A corpus de-identified: one file after the other, for each uses both a core for the CNN and one for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tqdm import tqdm

from reaffect.deid.faces import deidentify
from reaffect.deid.record import FOUND, NO_FACE, Record
from reaffect.deid.scanning import Scanner
from reaffect.errors import InputError


class Deidentified(NamedTuple):
    """What became of a corpus."""

    records: dict[str, Record]
    """By source, in the order asked; a source with a problem is absent."""

    problems: dict[str, str]
    """By source: why it has no de-identified file."""

    def counts(self) -> pd.Series:
        """Frames of all files by the least sure of their faces, the surest first (`record.FOUND`)."""
        kinds = [*FOUND, NO_FACE]
        totals = {kind: sum(record.counts.get(kind, 0) for record in self.records.values()) for kind in kinds}
        return pd.Series(totals, name="frames")


def deidentify_all(sources: Sequence[str | Path], folder: str | Path, **options: Any) -> Deidentified:
    """De-identifies files into a folder under their own names; what is done already is not done again.

    Args:
        sources: videos with different names.
        folder: made if it is not there; not that of the sources.
        options: as for `deidentify`.

    Raises:
        InputError: two sources of one name.
    """
    folder = Path(folder)
    names = [Path(source).name for source in sources]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"{min(twice)}: two sources have this name; de-identify them into folders of their own.")
    folder.mkdir(parents=True, exist_ok=True)
    records, problems = {}, {}
    with closing(Scanner()) as scans:
        for source in tqdm(sources, desc="de-identifying", unit="video"):
            try:
                records[str(source)] = deidentify(source, folder / Path(source).name, scans=scans, **options)
            except InputError as error:
                problems[str(source)] = str(error)
    return Deidentified(records, problems)
