"""Tells what the paper profile will take of a GPU: `python -m reaffect.rehearsal [NN ...]`.

Each step of the notebooks at the papers' model sizes with random weights. On a GPU two batches are computed: memory and
time are measured. Without one, shapes go through the networks on the meta device: memory is estimated, operations are
counted. Of all notebooks the table is kept, too (`record`). The exit status is 0, or 2 after a user's mistake.
"""

from __future__ import annotations

import argparse
import sys

import pandas as pd
import torch
from tabulate import tabulate
from tqdm import tqdm

from reaffect import runner
from reaffect.errors import InputError
from reaffect.hardware import best_device
from reaffect.rehearsal import record, steps
from reaffect.rehearsal.kept import FOLDER
from reaffect.rehearsal.params import Card, card
from reaffect.rehearsal.readings import Step, read
from reaffect.rehearsal.record import GB, NOT_REHEARSED, TERA, Found

COLUMNS = (
    "notebook",
    "step",
    "weights",
    "GB",
    "peak GB",
    "fits",
    "{} a clip",
    "clips",
    "hours",
    "if it does not fit",
)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m reaffect.rehearsal", description=__doc__.splitlines()[0])
    parser.add_argument("numbers", nargs="*", metavar="NN", help="notebooks, such as 02 (default: all, and keep it)")
    parser.add_argument("--card", help="without a GPU: one of params/rehearsal/common.yaml")
    options = parser.parse_args(arguments)
    try:
        numbers = options.numbers or runner.numbers()
        chosen = [(number, step) for number in numbers for step in steps.every(number)]
        on = present() or card(options.card)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    device = "meta" if on.operations else best_device()
    found = [
        Found(number, step, read(step, device) if isinstance(step, Step) else None)
        for number, step in tqdm(chosen, "steps", leave=False)
    ]
    table = record.table(found, on)
    print(report(table, on))
    if not options.numbers:
        print(f"\nKept in {record.write(table, on, FOLDER)}.")
    return 0


def present() -> Card | None:
    """The GPU of this machine, whose speed is measured and not looked up."""
    if best_device() == "cpu":
        return None
    there = torch.cuda.get_device_properties(0)
    return Card(there.name, there.total_memory)


def report(table: pd.DataFrame, on: Card) -> str:
    """The table for a reader: what its numbers are, the hours of all steps together, and what is left out.

    Args:
        table: from `record.table`.
        on: the card.
    """
    left_out = table.fits == NOT_REHEARSED
    rows = [_row(one, on) for one in table[~left_out].itertuples()]
    columns = [one.format("TFLOP" if on.operations else "s") for one in COLUMNS]
    aligned = ("left", "left", *["right"] * 3, "left", *["right"] * 3, "left")
    parts = [title(on)]
    if rows:
        parts += [tabulate(rows, columns, tablefmt="simple", disable_numparse=True, colalign=aligned)]
        without = " at that peak" if on.operations else ", without what does not fit"
        parts += [f"In all {table.hours.astype(float).sum():,.1f} hours{without}."]
    lines = [f"  {one.notebook}  {one.step}: {one.note}" for one in table[left_out].itertuples()]
    return "\n\n".join([*parts, "\n".join(["Not rehearsed:", *lines])] if lines else parts)


def title(on: Card) -> str:
    """The first lines: what the numbers are."""
    noise = "Random weights, noise as input, answers as long as they may be."
    if on.operations is None:
        return f"Measured on {on.name}, {on.memory / GB:.0f} GB. {noise}"
    return (
        f"No GPU: shapes, counts and an estimate of memory on the meta device. {noise}\n"
        f"Hours are arithmetic and not measured: the operations at the peak of one {on.name} ({on.memory / GB:.0f} GB, "
        f"{on.operations / TERA:.0f} dense bfloat16 TFLOP/s),\nwhich no run reaches: a lower bound."
    )


def _row(one: tuple, on: Card) -> tuple[str, ...]:
    a_clip = one.tflop_a_clip if on.operations else one.seconds_a_clip
    return (
        one.notebook,
        one.step,
        f"{one.parameters / 1e9:.2f} B",
        f"{one.weights_gb:.1f}",
        _known(one.peak_gb, ".1f"),
        one.fits,
        _known(a_clip, ".3g"),
        f"{one.clips:,.0f}",
        _known(one.hours, ".2f"),
        one.note,
    )


def _known(number: float | None, form: str) -> str:
    return "-" if pd.isna(number) else f"{number:{form}}"


if __name__ == "__main__":
    sys.exit(main())
