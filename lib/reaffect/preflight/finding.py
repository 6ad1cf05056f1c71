"""What was looked at, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_NAMED = 10  # of many clips


class Finding(NamedTuple):
    """One line of the report."""

    what: str
    state: str
    """One word or two: ok, missing, broken, differs, to fetch, note."""

    said: str
    stops: bool = False
    """Whether notebooks that need it cannot run."""

    fetch_gb: float = 0.0
    """What a download of it needs on the disk, NaN where unknown."""


def some(names: Sequence[str]) -> str:
    """The first of many names, and how many there are besides.

    >>> some(["7", "12"])
    '7, 12'
    """
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f", and {more} more" if more > 0 else "")
