"""Files of a run: safetensors that are whole or absent, and weights put back from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from reaffect.errors import InputError

ADAPTERS, NOTE, STATE = "adapters.safetensors", "tuning.json", "state.safetensors"
"""What was learned; how it went, written last; and where a run stands that is not over."""


def load_adapters(model: nn.Module, folder: str | Path) -> None:
    """Puts what `tune` learned into a model that is frozen as it was then.

    Args:
        model: changed in place.
        folder: `Tuned.folder`.

    Raises:
        InputError: no adapters there, or names or shapes that are not those of the model's trainable weights.
    """
    path = Path(folder) / ADAPTERS
    fill(trainable(model), read(path)[0], path)


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Weights that learn, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


@torch.no_grad()
def fill(own: Mapping[str, nn.Parameter], weights: Mapping[str, Tensor], source: Path) -> None:
    """Copies weights, all of them or none.

    Raises:
        InputError: names or shapes differ.
    """
    wrong = {
        "unknown to the model": sorted(weights.keys() - own.keys()),
        "missing": sorted(own.keys() - weights.keys()),
        "of another shape": sorted(n for n in own.keys() & weights.keys() if own[n].shape != weights[n].shape),
    }
    said = [f"{len(names)} {what} (such as {names[0]})" for what, names in wrong.items() if names]
    if said:
        raise InputError(f"{source}: weights {', '.join(said)}; build and freeze the model as it was trained.")
    for name, weight in own.items():
        weight.copy_(weights[name])


def write(path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, Any] | None = None) -> None:
    """Writes tensors, and beside them what JSON can hold, aside and renames the file."""
    aside = _aside(path)
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_file(plain, aside, {"note": json.dumps(note or {})})
    aside.replace(path)


def write_note(path: Path, note: Mapping[str, Any]) -> None:
    """Writes what JSON can hold aside and renames the file."""
    aside = _aside(path)
    aside.write_text(json.dumps(note, indent=1) + "\n")
    aside.replace(path)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and note of what `write` wrote.

    Raises:
        InputError: there is no such file.
    """
    try:
        with safe_open(path, "pt") as file:
            # Cloned, as the file may be replaced while its tensors are in use.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads(file.metadata()["note"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}); name a run's folder, or remove the file.") from error


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin so, without that."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def clear(folder: Path, *patterns: str, but: Path | None = None) -> None:
    """Removes files of a folder that no one needs any more."""
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path != but:
                path.unlink(missing_ok=True)


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.{uuid4().hex[:8]}.part")
