"""Wall times measured in one run, and the table that sets them beside each other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def median_seconds(function: Callable[[], object], repeats: int = 5) -> float:
    """Median wall time of `function()` in seconds, after one call that is not counted."""
    function()
    return statistics.median(_seconds(function) for _ in range(repeats))


def median_seconds_by_turns(functions: Mapping[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Median wall time of each function, taken by turns so that a busy moment of the machine meets all alike."""
    for function in functions.values():
        function()
    rounds = [{name: _seconds(function) for name, function in functions.items()} for _ in range(repeats)]
    return {name: statistics.median(times[name] for times in rounds) for name in functions}


def report(title: str, seconds: Mapping[str, float], *, reference: str) -> None:
    """Print one row a contender: its time and how many times the reference's time it takes."""
    width = max(map(len, seconds))
    print(f"\n{title}\n{'':{width}}  seconds  ratio to {reference}")
    for name, time_s in seconds.items():
        print(f"{name:{width}}  {time_s:7.3f}  {time_s / seconds[reference]:.2f}")


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
