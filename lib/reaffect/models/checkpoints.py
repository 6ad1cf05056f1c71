"""Reading released checkpoints, and putting their weights into modules: all of them and nothing else.

What the networks here have in common. A network's own names and sizes stand in its module.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

COUNTED = r".*num_batches_tracked$"
"""Batch normalisation's counter of training steps, which older files lack and nothing here reads; pattern."""


class Checkpoint(NamedTuple):
    """What a released file holds."""

    weights: dict[str, Tensor]
    """By name."""

    beside: dict[str, Any]
    """What else lies beside the key of the weights, such as sizes."""


def read_checkpoint(path: str | Path, key: str | None = None) -> Checkpoint:
    """Reads a released torch file. Nothing in it is executed.

    Args:
        path: of the file.
        key: under which it holds its weights; without it, under `model` if there is that key, else right away.

    Raises:
        ValueError: there is no such file, or it holds something else than tensors by name there.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what ends too early may raise anything
        raise ValueError(f"{path}: no torch checkpoint of plain tensors ({reason(error)})") from error
    where = "" if key is None else f" under {key!r}"
    if key is None and isinstance(content, dict):
        key, content = "model", content if "model" in content else {"model": content}
    weights = content.get(key) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(torch.is_tensor(value) for value in weights.values()):
        raise ValueError(f"{path}: no tensors by name{where}; name the checkpoint as it was released")
    return Checkpoint(dict(weights), {name: value for name, value in content.items() if name != key})


def read_pretrained(auto: Any, source: str | Path, *, unread: str = "(?!)", **options: Any) -> PreTrainedModel:
    """A network in Hugging Face's format with all of its weights; transformers would draw missing ones at random.

    From safetensors where there are, else from pickled files. Nothing in them is executed.

    Args:
        auto: such as `AutoModel`.
        source: folder or hub id.
        unread: pattern of weights that may be missing, since nobody here reads them.
        options: of `from_pretrained`.

    Raises:
        ValueError: in one line and without the source's name, what is missing or cannot be read.
    """
    wanted = {"weights_only": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        model, found = auto.from_pretrained(source, **wanted, **options)
    except Exception as error:  # each library has errors of its own
        raise ValueError(damaged(Path(source)) or reason(error)) from error
    found["mismatched_keys"] = [name for name, *_ in found["mismatched_keys"]]  # both shapes stand behind it
    for what in ("missing_keys", "mismatched_keys"):
        if names := sorted(name for name in found[what] if not re.match(unread, name)):
            raise ValueError(f"{what.replace('_', ' ')}: {', '.join(names[:3])}, {len(names)} in all")
    return model


def read_processor(auto: Any, source: str | Path) -> Any:
    """What prepares a network's input: a tokenizer, an image processor, or several in one.

    Args:
        auto: such as `AutoTokenizer`.
        source: folder or hub id.

    Raises:
        ValueError: as for `read_pretrained`; or the tokenizer knows no words, as transformers makes it where its files
            are missing.
    """
    try:
        made = auto.from_pretrained(source)
    except Exception as error:  # tokenizers raises nothing more special
        raise ValueError(f"{auto.__name__}: {reason(error)}") from error
    words = getattr(made, "tokenizer", made)
    if isinstance(words, PreTrainedTokenizerBase) and words("no").input_ids == words("on").input_ids:
        raise ValueError("the tokenizer's files are missing")
    return made


def damaged(folder: Path) -> str:
    """The first file of weights in Hugging Face's format that a folder lacks, or that cannot be read.

    Returns:
        Its name and what is wrong with it; empty if nothing is.
    """
    stem, suffix = ("model", "safetensors") if any(folder.glob("model*.safetensors*")) else ("pytorch_model", "bin")
    shards = set(folder.glob(f"{stem}*.{suffix}"))
    for index in folder.glob(f"{stem}.{suffix}.index.json"):
        try:
            shards |= {folder / name for name in json.loads(index.read_text())["weight_map"].values()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"{index.name} cannot be read"
    for shard in sorted(shards):
        if not shard.exists():
            return f"{shard.name} is missing"
        try:
            if suffix == "bin":
                torch.load(shard, map_location="meta", weights_only=True)
            else:
                safe_open(shard, framework="pt")
        except Exception as error:  # each library has errors of its own
            return f"{shard.name} cannot be read: {reason(error)}"
    return ""


def reason(error: Exception) -> str:
    """Why a file could not be read, in one line; torch's advice to execute what is in it is left out."""
    text = str(error).strip()
    if code := re.search(r"GLOBAL (\S+) (?:was not an allowed|whose module)", text):
        return f"it would execute {code[1]}"
    if "weights_only" in text:
        return "no pickle of tensors"
    if isinstance(error, EOFError | IndexError):
        return "it ends too early"
    return text.splitlines()[0] if text else type(error).__name__


def rename(
    weights: Mapping[str, Tensor], names: Iterable[tuple[str, str]], spare: str, source: str
) -> dict[str, Tensor]:
    """Weights under our names.

    Args:
        weights: under the names of the release.
        names: pattern at a name's beginning, replacement; the first that fits counts.
        spare: pattern of names that are left out, because our model has no use for them.
        source: for messages.

    Raises:
        ValueError: names that no pattern fits.
    """
    renamed, unknown = {}, []
    for name, value in weights.items():
        if re.match(spare, name):
            continue
        fitting = next(((pattern, ours) for pattern, ours in names if re.match(pattern, name)), None)
        if fitting:
            renamed[re.sub(*fitting, name, count=1)] = value
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(f"{source}: {_some(unknown)} unknown; name the checkpoint as it was released")
    return renamed


def read_released(
    paths: Sequence[str | Path],
    names: Iterable[tuple[str, str]],
    spare: str,
    prepare: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict,
) -> tuple[dict[str, Tensor], str]:
    """Weights of several released files under our names, later ones over earlier ones, and the files' names.

    Args:
        paths: torch checkpoints.
        names, spare: as for `rename`.
        prepare: what is done with a file's weights before they are renamed.

    Raises:
        ValueError: see `read_checkpoint` and `rename`.
    """
    weights: dict[str, Tensor] = {}
    for path in paths:
        weights |= rename(prepare(read_checkpoint(path).weights), names, spare, str(path))
    return weights, " + ".join(Path(path).name for path in paths)


def fill(module: nn.Module, weights: Mapping[str, Tensor], source: str, optional: str = "(?!)") -> None:
    """Loads weights into a module, all of them and nothing else.

    Args:
        module: any.
        weights: by the module's own names.
        source: where they come from, for messages.
        optional: pattern of names that may be missing; none may by default.

    Raises:
        ValueError: names are missing or unknown, or shapes differ.
    """
    expected = own_weights(module)
    required = {name for name in expected if not re.match(optional, name)}
    if missing := sorted(required - weights.keys()):
        raise ValueError(f"{source}: {_some(missing)} missing; name the checkpoint for this model")
    if unknown := sorted(weights.keys() - module.state_dict().keys()):
        raise ValueError(f"{source}: {_some(unknown)} unknown to this model; name the checkpoint for it")
    for name, value in weights.items():
        if name in expected and value.shape != expected[name].shape:
            raise ValueError(
                f"{source}: {name} is {tuple(value.shape)}, this model's {tuple(expected[name].shape)}; "
                "give the config that the checkpoint was made with"
            )
    module.load_state_dict(dict(weights), strict=False)


def own_weights(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and lasting buffers by name, tied ones once."""
    weights, seen = {}, set()
    for name, value in module.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            weights[name] = value
    return weights


def count(weights: Mapping[str, Tensor], prefix: str) -> int:
    """One more than the largest number that follows `prefix.` in names: how many modules such a list has."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    return 1 + max((int(found[1]) for name in weights if (found := pattern.match(name))), default=-1)


def shapes(weights: Mapping[str, Tensor], names: Iterable[str], source: str | Path) -> list[torch.Size]:
    """Shapes of named tensors.

    Raises:
        ValueError: one is missing.
    """
    names = list(names)
    if missing := [name for name in names if name not in weights]:
        raise ValueError(f"{source}: {', '.join(missing)} missing; name the checkpoint for this model")
    return [weights[name].shape for name in names]


def config_from(kind: type, values: Mapping[str, Any]) -> Any:
    """A config dataclass from a mapping, such as a JSON file's; what is not named keeps its default.

    Raises:
        ValueError: an unknown key, or a value of another type.
    """
    types = get_type_hints(kind)
    if unknown := sorted(values.keys() - types.keys()):
        raise ValueError(f"{kind.__name__} has no {', '.join(unknown)}; it has {', '.join(types)}")
    arguments = {}
    for name, value in values.items():
        expected = types[name]
        if dataclasses.is_dataclass(expected):
            value = config_from(expected, value)
        elif type(value) is not expected:
            raise ValueError(f"{kind.__name__}.{name} is {value!r}; it must be of type {expected.__name__}")
        arguments[name] = value
    return kind(**arguments)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more are" if len(names) > 3 else " is/are")
