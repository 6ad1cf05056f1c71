"""How fast the papers' sizes run on a GPU: what `make bench-gpu` measured, as tables and a figure.

Nothing is shown that was not measured: without the file there is `NOT_MEASURED`.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reaffect import paths
from reaffect.errors import InputError
from reaffect.plots import PALETTE

FILE = paths.REPORTS / "bench" / "gpu.json"

NOT_MEASURED = "not measured: no GPU was at hand; `make bench-gpu` writes reports/bench/gpu.json"


@dataclass(frozen=True)
class Measurement:
    """One number, the higher the better.

    Args:
        name: of what was measured.
        meaning: of the number, its unit included.
        value: as it was measured.
        goal: what it should reach at least; positive.
        seconds: of one clip or one step, by contender, where it comes from times.
        operations: of the same, multiplications and additions each counted, where they matter.

    Raises:
        ValueError: a number that is not finite, or one that must be positive and is not.
    """

    name: str
    meaning: str
    value: float
    goal: float
    seconds: Mapping[str, float]
    operations: float | None = None

    def __post_init__(self):
        _positive(self.goal, *self.seconds.values(), *([] if self.operations is None else [self.operations]))
        _finite(self.value)
        _texts(self.name, self.meaning, *self.seconds)


@dataclass(frozen=True)
class Speed:
    """A run of `make bench-gpu`.

    Args:
        date: of the run, UTC.
        card: name, clocks, power and driver as `nvidia-smi` tells them; None for what it did not.
        versions: by package.
        peak: operations a second of the best large matrix product in bfloat16: the roofline of this run.
        bandwidth: bytes a second that a large copy reads and writes.
        measurements: in the order of the page.

    Raises:
        ValueError: no measurement, or a peak or bandwidth that is not positive.
    """

    date: str
    card: Mapping[str, str | None]
    versions: Mapping[str, str]
    peak: float
    bandwidth: float
    measurements: tuple[Measurement, ...]

    def __post_init__(self):
        _positive(self.peak, self.bandwidth)
        _texts(self.date, *self.card, *(told for told in self.card.values() if told is not None))
        _texts(*self.versions, *self.versions.values())
        if not self.measurements:
            raise ValueError("no measurement")

    def about(self) -> pd.DataFrame:
        """The card, the versions and the roofline, a row each."""
        told = {name: value or "not told" for name, value in self.card.items()}
        limits = {
            "best matrix product": f"{self.peak / 1e12:.3g} TFLOP/s in bfloat16",
            "memory, by a copy": f"{self.bandwidth / 1e9:.4g} GB/s",
        }
        return pd.DataFrame({"value": {"measured": self.date, **told, **self.versions, **limits}})

    def table(self) -> pd.DataFrame:
        """A row a measurement: what the number is, the number, its goal, and the times that it comes from."""
        rows = [
            {
                "measured": one.name,
                "what": one.meaning,
                "value": f"{one.value:.3g}",
                "goal, at least": f"{one.goal:.3g}",
                "reached": "yes" if one.value >= one.goal else "no",
                "seconds": ", ".join(f"{name} {time_s:.3g}" for name, time_s in one.seconds.items()),
            }
            for one in self.measurements
        ]
        return pd.DataFrame(rows).set_index("measured")


def read(path: Path = FILE) -> Speed | None:
    """What was measured, or None if nothing was.

    Raises:
        InputError: the file is damaged, or was not written by `make bench-gpu`.
    """
    if not path.exists():
        return None
    try:
        told = json.loads(path.read_text())
        rows = tuple(Measurement(**row) for row in told.pop("measurements"))
        return Speed(**told, measurements=rows)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{path}: no figures of `make bench-gpu` ({type(error).__name__}: {error}). Delete it, and run "
            "`make bench-gpu` where there is a GPU."
        ) from error


def write(speed: Speed, path: Path = FILE) -> None:
    """Writes what `read` reads, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{uuid.uuid4().hex}.part")
    aside.write_text(json.dumps(asdict(speed), indent=1, allow_nan=False) + "\n")
    aside.replace(path)


def figure(speed: Speed) -> Figure:
    """`chart`, as large as it has rows."""
    picture, axis = plt.subplots(figsize=(8, 0.8 + 0.45 * len(speed.measurements)), layout="constrained")
    chart(speed, axis)
    return picture


def chart(speed: Speed, axis: Axes) -> Axes:
    """A bar a measurement, as long as its value in goals, with both numbers beside it; goals are the line at 1."""
    values = [max(0.0, one.value / one.goal) for one in speed.measurements]
    places = range(len(values))
    bars = axis.barh(places, values, color=[PALETTE[0] if value >= 1 else PALETTE[1] for value in values])
    labels = [f"{one.value:.3g} of {one.goal:.3g}" for one in speed.measurements]
    axis.axvline(1, color="black", lw=1)
    axis.bar_label(bars, labels, padding=3, fontsize="small", bbox={"fc": "white", "ec": "none", "pad": 1})
    # a file's text is no formula
    axis.set_yticks(places, [one.name for one in speed.measurements], parse_math=False)
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.set_xlim(left=0)
    axis.set_xlabel("value in goals   (line: the goal)")
    axis.set_title(f"{speed.card.get('name') or 'a card without a name'}, {speed.date}", parse_math=False)
    return axis


def _positive(*numbers: float) -> None:
    _finite(*numbers)
    for number in numbers:
        if number <= 0:
            raise ValueError(f"{number!r} is not positive")


def _finite(*numbers: float) -> None:
    for number in numbers:
        if isinstance(number, bool) or not math.isfinite(number):
            raise ValueError(f"{number!r} is no finite number")


def _texts(*values: str) -> None:
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{value!r:.80} is no text")
