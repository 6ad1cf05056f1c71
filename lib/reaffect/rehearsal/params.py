"""What a rehearsal is told: the paper profile's parameters of a notebook, and its own in `params/rehearsal`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from reaffect import paths, runner
from reaffect.errors import InputError

Values = Mapping[str, Any]

PROFILE = "paper"
FOLDER = paths.PARAMS / "rehearsal"

OWN = {"clips": dict, "duration_s": float, "utterances": int, "sentence_tokens": int, "height": int, "width": int}
"""Keys of `NN.yaml`: clips of the real corpus by name, the length of one, utterances in one, and tokens of one; sides
of a frame, in pixels."""


class Card(NamedTuple):
    """A GPU."""

    name: str
    memory: int
    """In bytes."""

    operations: float | None = None
    """A second at its peak, dense, in bfloat16; None if that is not asked for."""


def card(name: str | None = None) -> Card:
    """A card of `common.yaml`, or the one that is chosen there.

    Raises:
        InputError: none of that name.
    """
    file = FOLDER / "common.yaml"
    values = runner.read_params(file)
    runner.check_params(values, {"cards": dict, "card": str}, str(file))
    name, cards = name or values["card"], values["cards"]
    if name not in cards:
        raise InputError(f"{file}: no card {name!r}; there are {', '.join(cards)}. Name one of them, or add it there.")
    return Card(name, int(cards[name]["memory_gb"] * 1e9), cards[name]["tflops"] * 1e12)


def of_notebook(number: str) -> dict[str, Any]:
    """Parameters of a notebook in the paper profile, those that the profile leaves at their defaults included.

    Raises:
        InputError: no such notebook, or a wrong parameter.
    """
    return runner.defaults(runner.notebook_path(number)) | runner.profile_params(number, PROFILE)


def own(number: str) -> Values:
    """What `NN.yaml` says of the real corpus; to look up what it does not say is an InputError.

    Raises:
        InputError: an unknown key, or a value of a wrong type.
    """
    file = FOLDER / f"{number}.yaml"
    values = runner.read_params(file)
    runner.check_params(values, OWN, str(file))
    return _Told(file, {name: _Told(file, one) if isinstance(one, dict) else one for name, one in values.items()})


class _Told(dict):
    """What a file says, which is asked only for what must stand there."""

    def __init__(self, file: Path, values: dict[str, Any]):
        super().__init__(values)
        self.file = file

    def __missing__(self, name: str) -> Any:
        raise InputError(f"{self.file}: {name!r} is missing. Add it, with its source.")
