"""What a rehearsal found, as a table of plain numbers; of all notebooks it is kept in `reports/rehearsal/`."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from reaffect.rehearsal.kept import CONDITIONS, FOUND, NOT_REHEARSED
from reaffect.rehearsal.params import Card
from reaffect.rehearsal.readings import LeftOut, Reading, Step
from reaffect.runs import Run

GB, TERA, HOUR_S = 1e9, 1e12, 3600


class Found(NamedTuple):
    """What there is to say of a step."""

    notebook: str
    step: Step | LeftOut
    reading: Reading | None
    """Of a step that is rehearsed."""


def table(found: Iterable[Found], on: Card) -> pd.DataFrame:
    """A row a step, with the columns `FOUND`.

    Args:
        found: in the order of the rows.
        on: the card.
    """
    rows = [{"notebook": one.notebook, "step": one.step.name} | _row(one.step, one.reading, on) for one in found]
    return pd.DataFrame(rows, columns=FOUND).astype(dict.fromkeys(("parameters", "batch", "clips"), "Int64"))


def _row(step: Step | LeftOut, reading: Reading | None, on: Card) -> dict[str, Any]:
    if isinstance(step, LeftOut):
        return {"fits": NOT_REHEARSED, "note": step.why}
    fits = reading.peak is not None and reading.peak <= on.memory
    each, hours = 1 / step.at_once, hours_of(step, reading, on)
    return {
        "parameters": reading.parameters,
        "weights_gb": reading.held / GB,
        "peak_gb": reading.peak and reading.peak / GB,
        "fits": "yes" if fits else "no",
        "batch": step.at_once,
        "clips": step.clips,
        "tflop_a_clip": reading.operations and each * reading.operations / TERA,
        "seconds_a_clip": reading.seconds and each * reading.seconds,
        "hours": hours,
        "note": "" if fits else mend(step, reading, on),
    }


def hours_of(step: Step, reading: Reading, on: Card) -> float | None:
    """For all clips: from the time of a batch, or else from its operations; None if it could not be computed."""
    batches = step.clips / step.at_once
    if on.operations:
        return batches * reading.operations / on.operations / HOUR_S
    return None if reading.seconds is None else batches * reading.seconds / HOUR_S


def mend(step: Step, reading: Reading, on: Card) -> str:
    """What to change; smaller batches do not help where the weights alone are too large."""
    lower = f"lower {step.size} (batches of {step.at_once} now)"
    return lower if 0 < reading.held < on.memory else f"another network in {step.weights}, or a larger card"


def write(rows: pd.DataFrame, on: Card, folder: Path) -> Path:
    """Keeps a table with the card, the versions and the commit, whole or not at all; returns the file.

    Args:
        rows: from `table`.
        on: the card; the file is called by it, and says if there was none.
        folder: where.
    """
    run = Run("rehearsal", profile="rehearsal", seeds=[]).card()
    how, there = ("estimated", "no-gpu-") if on.operations else ("measured", "")
    versions = [run["packages"][name] for name in ("torch", "transformers")]
    told = dict(zip(CONDITIONS, (on.name, how, *versions, run["commit"]), strict=True))
    file = folder / f"{there}{re.sub('[^a-z0-9]+', '-', on.name.lower()).strip('-')}.csv"
    aside = file.with_name(f"{uuid.uuid4().hex}.part")
    folder.mkdir(parents=True, exist_ok=True)
    rows.assign(**told).to_csv(aside, index=False, float_format="%.6g")
    aside.replace(file)
    return file
