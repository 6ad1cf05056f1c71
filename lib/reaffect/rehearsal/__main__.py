"""Tells what the paper profile will take of a GPU: `python -m reaffect.rehearsal [NN ...]`.

Each step of the notebooks at the papers' model sizes with random weights. On a GPU two batches are computed: memory and
time are measured. Without one, shapes go through the networks on the meta device: memory is estimated, operations are
counted. The exit status is 0, or 2 after a user's mistake.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch
from tabulate import tabulate
from tqdm import tqdm

from reaffect import runner
from reaffect.errors import InputError
from reaffect.hardware import best_device
from reaffect.rehearsal import steps
from reaffect.rehearsal.params import Card, card
from reaffect.rehearsal.readings import Reading, Step, read

GB, TERA, HOUR_S = 1e9, 1e12, 3600

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
    parser.add_argument("numbers", nargs="*", metavar="NN", help="notebooks, such as 02 (default: all)")
    parser.add_argument("--card", help="without a GPU: one of params/rehearsal/common.yaml")
    options = parser.parse_args(arguments)
    try:
        numbers = options.numbers or runner.numbers()
        chosen = [(number, step) for number in numbers for step in steps.of(number)]
        on = present() or card(options.card)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    device = "meta" if on.operations else best_device()
    readings = [read(step, device) for _, step in tqdm(chosen, "steps", leave=False)]
    print(report(chosen, readings, on))
    left_out = [f"  {number}  {steps.NOT_REHEARSED[number]}" for number in numbers if number in steps.NOT_REHEARSED]
    print("\n".join(["\nNot rehearsed:", *left_out] if left_out else []))
    return 0


def present() -> Card | None:
    """The GPU of this machine, whose speed is measured and not looked up."""
    if best_device() == "cpu":
        return None
    there = torch.cuda.get_device_properties(0)
    return Card(there.name, there.total_memory)


def report(chosen: Sequence[tuple[str, Step]], readings: Sequence[Reading], on: Card) -> str:
    """The table, what its numbers are, and the hours of all steps together.

    Args:
        chosen: notebook and step.
        readings: of each.
        on: the card.
    """
    hours = [hours_of(step, reading, on) for (_, step), reading in zip(chosen, readings, strict=True)]
    rows = [
        (number, *row(step, reading, on), "-" if hour is None else f"{hour:.2f}", mend(step, reading, on))
        for (number, step), reading, hour in zip(chosen, readings, hours, strict=True)
    ]
    columns = [one.format("TFLOP" if on.operations else "s") for one in COLUMNS]
    aligned = ("left", "left", *["right"] * 3, "left", *["right"] * 3, "left")
    table = tabulate(rows, columns, tablefmt="simple", disable_numparse=True, colalign=aligned)
    known = sum(hour for hour in hours if hour is not None)
    without = " at that peak" if on.operations else ", without what does not fit"
    return f"{title(on)}\n\n{table}\n\nIn all {known:,.1f} hours{without}."


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


def row(step: Step, reading: Reading, on: Card) -> tuple[str, ...]:
    """Of the table: from the step's name to its clips."""
    a_clip = reading.operations / TERA if on.operations else reading.seconds
    return (
        step.name,
        f"{reading.parameters / 1e9:.2f} B",
        f"{reading.held / GB:.1f}",
        "-" if reading.peak is None else f"{reading.peak / GB:.1f}",
        "yes" if fits(reading, on) else "no",
        "-" if a_clip is None else f"{a_clip / step.at_once:.3g}",
        f"{step.clips:,}",
    )


def hours_of(step: Step, reading: Reading, on: Card) -> float | None:
    """For all clips: from the time of a batch, or else from its operations; None if it could not be computed."""
    batches = step.clips / step.at_once
    if on.operations:
        return batches * reading.operations / on.operations / HOUR_S
    return None if reading.seconds is None else batches * reading.seconds / HOUR_S


def fits(reading: Reading, on: Card) -> bool:
    return reading.peak is not None and reading.peak <= on.memory


def mend(step: Step, reading: Reading, on: Card) -> str:
    """What to change; smaller batches do not help where the weights alone are too large."""
    if fits(reading, on):
        return ""
    lower = f"lower {step.size} (batches of {step.at_once} now)"
    return lower if 0 < reading.held < on.memory else f"another network in {step.weights}, or a larger card"


if __name__ == "__main__":
    sys.exit(main())
