"""Published numbers, ours beside them, and a verdict that was fixed before any run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from reaffect import paths
from reaffect.errors import InputError
from reaffect.stats import Interval

PLANTED = {"tiny", "rehearsal"}
"""Profiles whose data are planted: their numbers are never judged against a paper's."""

DIGITS = 4
"""Of recorded numbers: the papers' own precision."""

NOTHING = 1e-9
"""What is smaller is an error of rounding."""


@cache
def _table(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, dtype={"row": str, "column": str, "note": str}, keep_default_na=False)


def published(paper: str, exhibit: str | None = None) -> pd.DataFrame:
    """Rows of `reports/published.csv` for a paper, or for one of its exhibits, such as ('vaiani2024', 'Table 3').

    Raises:
        InputError: an unknown paper or exhibit; the message lists the known ones.
    """
    table = _table(paths.PUBLISHED)
    for column, wanted in (("paper", paper), ("exhibit", exhibit)):
        if wanted is None:
            continue
        known = table[column].unique()
        if wanted not in known:
            raise InputError(f"published.csv has no {column} {wanted!r}; it has {', '.join(known)}.")
        table = table[table[column] == wanted]
    return table.reset_index(drop=True)


def measured(
    row: str, column: str, value: float, *, interval: Interval | None = None, seeds: Sequence[float] = ()
) -> dict[str, Any]:
    """One number of ours: its place in the exhibit, a 95 % interval, and the value of each seed."""
    low, high = interval if interval else (math.nan, math.nan)
    return {"row": row, "column": column, "value": value, "low": low, "high": high, "seeds": list(seeds)}


def compare(
    paper: str, exhibit: str, ours: Iterable[Mapping[str, Any]], *, profile: str, missing: str = "no record"
) -> pd.DataFrame:
    """The exhibit's numbers beside ours.

    Args:
        paper: such as 'vaiani2024'.
        exhibit: such as 'Table 3'.
        ours: made by `measured`; rows that the paper lacks (baselines of ours) come last.
        profile: numbers of planted profiles are `not compared`.
        missing: the reason shown for what we have no number for.

    Returns:
        Columns row, column, paper, ours, low, high, seeds, delta, verdict. The verdict is `match` (within half a unit
        of the last printed digit, or the paper's value inside our interval), `close` (within the declared
        tolerance), `order` (its rank in the column holds, its value does not), `differs`, `not run (reason)`,
        or `not compared (profile)`.
    """
    expected = published(paper, exhibit)
    found = {(item["row"], item["column"]): item for item in ours}
    values = {place: item["value"] for place, item in found.items()}
    rows = []
    for line in expected.itertuples():
        mine = found.pop((line.row, line.column), None)
        rows.append(_line(line.row, line.column, line.value, mine))
        rows[-1]["verdict"] = _verdict(line, mine, expected, values, profile, missing)
    rows += [{**_line(*place, math.nan, mine), "verdict": "ours only"} for place, mine in found.items()]
    return pd.DataFrame(rows)


def _line(row: str, column: str, paper: float, mine: Mapping[str, Any] | None) -> dict[str, Any]:
    nothing = {"value": math.nan, "low": math.nan, "high": math.nan, "seeds": []}
    value, low, high, seeds = (round_all((mine or nothing)[key]) for key in ("value", "low", "high", "seeds"))
    line = {"row": row, "column": column, "paper": paper, "ours": value, "low": low, "high": high, "seeds": seeds}
    return {**line, "delta": round(value - paper, DIGITS)}


def _verdict(line, mine, expected: pd.DataFrame, values: Mapping, profile: str, missing: str) -> str:
    if mine is None:
        return f"not run ({missing})"
    if profile in PLANTED:
        return f"not compared ({profile})"
    off = abs(mine["value"] - line.value)
    inside = mine["low"] <= line.value <= mine["high"]  # False for NaN: no interval, no help
    if inside or off <= 0.5 * 10.0**-line.digits + 1e-12:
        return "match"
    if off <= line.tolerance:
        return "close"
    others = expected[(expected.column == line.column) & (expected.row != line.row)]
    pairs = [(other.value, values.get((other.row, other.column))) for other in others.itertuples()]
    ranked = [(theirs, mine_too) for theirs, mine_too in pairs if mine_too is not None]
    holds = all((line.value - t) * (mine["value"] - m) > 0 for t, m in ranked if t != line.value)
    return "order" if ranked and holds else "differs"


def record(notebook: str, exhibits: Mapping[str, pd.DataFrame], *, profile: str, card: Mapping[str, Any]) -> Path:
    """Writes `reports/<profile>/NN.json`, and each exhibit as a CSV under `tables/`; whole or absent.

    Args:
        notebook: two digits.
        exhibits: name, such as 'vaiani2024 Table 3' -> what `compare` returned, or any table of plain values.
        profile: the folder under `reports/`.
        card: the run card.

    Returns:
        The JSON file.
    """
    folder = paths.REPORTS / profile
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    content = {"notebook": notebook, "profile": profile, "card": dict(card), "exhibits": {}}
    for name, table in exhibits.items():
        content["exhibits"][name] = _plain(table.to_dict("records"))
        _write(folder / "tables" / f"{notebook} {name}.csv", table.to_csv(index=False))
    file = folder / f"{notebook}.json"
    _write(file, json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")
    return file


def save_figure(figure: Figure, notebook: str, name: str, *, profile: str) -> Path:
    """Writes a figure to `reports/<profile>/figures/` as PNG, without dates in its metadata."""
    file = paths.REPORTS / profile / "figures" / f"{notebook} {name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120, bbox_inches="tight", metadata={"Software": None})
    return file


def records(profile: str) -> list[dict[str, Any]]:
    """Every record of a profile, by notebook."""
    return [json.loads(file.read_text()) for file in sorted((paths.REPORTS / profile).glob("[0-9][0-9].json"))]


def recorded(exhibit: str, *, profile: str, notebooks: Sequence[str]) -> list[dict[str, Any]]:
    """Our numbers of an exhibit as earlier notebooks recorded them, in the form that `compare` takes.

    Args:
        exhibit: such as 'vaiani2024 Table 3'.
        profile: the folder under `reports/`.
        notebooks: two digits each; one without a record adds nothing.
    """
    found = []
    for content in records(profile):
        lines = content["exhibits"].get(exhibit, []) if content["notebook"] in notebooks else []
        for line in (line for line in lines if line["ours"] is not None and line["paper"] is not None):
            interval = Interval(*(math.nan if line[end] is None else line[end] for end in ("low", "high")))
            found.append(measured(line["row"], line["column"], line["ours"], interval=interval, seeds=line["seeds"]))
    return found


def round_all(value: Any) -> Any:
    """A number, or each of a list, to the digits that are recorded; these begin where a number does that they would
    lose, such as a learning rate.

    >>> round_all([0.123456, 1e-5, 1e-17])
    [0.1235, 1e-05, 0.0]
    """
    if isinstance(value, list):
        return [round_all(item) for item in value]
    lost = NOTHING < abs(value) < 10**-DIGITS
    return float(f"{value:.{DIGITS}g}") if lost else round(float(value), DIGITS)


def _plain(value: Any) -> Any:
    """What JSON can hold: NaN becomes null, NumPy's numbers become Python's."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def _write(file: Path, text: str) -> None:
    aside = file.with_suffix(file.suffix + ".part")
    aside.write_text(text)
    aside.replace(file)
