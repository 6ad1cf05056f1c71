"""Looks for all that the paper profile needs before anything runs: `python -m reaffect.preflight [NN ...]`.

Corpora, checkpoints, disk and GPU, in a plain table. The exit status is 0 if the chosen notebooks can run, 1 if not, 2
after a mistake on the command line. A corpus whose counts differ from the published ones does not stop a run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import torch
from huggingface_hub import constants
from tabulate import tabulate

from reaffect import paths, runner, speech
from reaffect.errors import InputError
from reaffect.preflight import data, models, needs
from reaffect.preflight.finding import Finding
from reaffect.preflight.needs import Need


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m reaffect.preflight", description=__doc__.splitlines()[0])
    parser.add_argument("numbers", nargs="*", metavar="NN", help="notebooks, such as 02 (default: all)")
    parser.add_argument("--all", action="store_true", help="decode every clip, not a sample")
    options = parser.parse_args(arguments)
    try:
        numbers = options.numbers or runner.numbers()
        for number in numbers:
            runner.notebook_path(number)
        known = models.read_models()
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    found = list(look(numbers, known, whole=options.all))
    lines = [("all" if users == numbers else " ".join(users), one.what, one.state, one.said) for users, one in found]
    print(f"The paper profile, with DATA = {paths.DATA}\n")
    print(tabulate(lines, ["notebooks", "what", "state", "found"], tablefmt="simple"))
    stopped = {number for users, one in found if one.stops for number in users}
    print("\nCan run:", " ".join(number for number in numbers if number not in stopped) or "none")
    print("Cannot:", " ".join(number for number in numbers if number in stopped) or "none")
    return 1 if stopped else 0


def look(numbers: Sequence[str], known: pd.DataFrame, *, whole: bool) -> Iterator[tuple[Sequence[str], Finding]]:
    """What is found, each with the notebooks that need it.

    Args:
        numbers: of notebooks.
        known: from `models.read_models`.
        whole: every clip is decoded.
    """
    wanted: dict[Need, list[str]] = {}
    for number in numbers:
        try:
            for need in needs.of_notebook(number):
                wanted.setdefault(need, []).append(number)
        except InputError as error:
            yield [number], Finding("parameters", "broken", str(error), stops=True)
    hub, fetched = models.Hub(), []
    for need, users in sorted(wanted.items(), key=lambda item: (needs.KINDS.index(item[0].kind), item[0])):
        for finding in _found(need, known, hub, whole=whole):
            yield users, finding
            fetched.append(finding.fetch_gb)
    for finding in _machine(pd.Series(fetched, dtype=float)):
        yield numbers, finding


def _found(need: Need, known: pd.DataFrame, hub: models.Hub, *, whole: bool) -> Iterator[Finding]:
    match need.kind:
        case "checkpoint":
            yield models.look(need.name, known, hub)
        case "judge":
            yield _judge(need)
        case _:
            yield from data.look(need, whole=whole)


def _judge(need: Need) -> Finding:
    what, variable = f"judge {need.name}", need.key_variable
    if variable and not os.environ.get(variable):
        return Finding(what, "missing", f"the environment variable {variable} with its key: set it.", stops=True)
    said = f"its key is in {variable}" if variable else "it gets no key: judge_key names the variable of one"
    return Finding(what, "note", f"a server, not asked here; {said}")


def _machine(fetched: pd.Series) -> Iterator[Finding]:
    """Disk, GPU and time.

    Args:
        fetched: GB to fetch, NaN for each checkpoint of unknown size.
    """
    cache, free = Path(constants.HF_HUB_CACHE), _free_gb(Path(constants.HF_HUB_CACHE))
    unknown, needed = int(fetched.isna().sum()), fetched.sum()
    full = needed > free
    said = f"{needed:.1f} GB to fetch" + (f" and {unknown} checkpoints of unknown size" if unknown else "")
    said += f"; {free:.1f} GB free at {cache}" + (". Make room, or set HF_HOME to another disk." if full else "")
    yield Finding("disk: checkpoints", "missing" if full else "ok", said, stops=full)
    said = f"{_free_gb(paths.DATA):.1f} GB free at {paths.DATA}; what is computed and stored there is not measured"
    yield Finding("disk: DATA", "note", said)
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        said = f"{card.name}, {card.total_memory / models.GB:.1f} GB"
        said += (
            ""
            if speech.on_gpu()
            else "; not for speech, which takes the processor until nvidia-cublas-cu12 is installed"
        )
    else:
        said = "none on this machine: networks would run on the processor"
    yield Finding("GPU", "note", f"{said}; `make rehearse` tells what the notebooks need")
    yield Finding("hours", "note", "`make rehearse` tells")


def _free_gb(place: Path) -> float:
    """Of the disk that a folder is on, be it there yet or not."""
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    return shutil.disk_usage(there).free / models.GB


if __name__ == "__main__":
    sys.exit(main())
