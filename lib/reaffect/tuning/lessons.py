"""What is learned from: questions about clips with their answers, their fingerprints, and their batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from reaffect.errors import InputError
from reaffect.fingerprint import fingerprint

POOL = 8
"""Batches whose lessons are sorted by length together: more pad less, fewer mix better."""


class Lesson(NamedTuple):
    """A question about a clip, and its answer."""

    question: str
    answer: str
    frames: Any = None
    """What the model's `forward` takes for one clip, with the frozen tower's tokens where it takes these; or None."""

    audio: Tensor | None = None


def bucketed(
    lengths: Sequence[int], batch_size: int, *, seed: int, epoch: int, kinds: Sequence[int] | None = None
) -> list[np.ndarray]:
    """Row numbers of an epoch's batches: each row once, rows of like length together, in an order of the epoch's own.

    Args:
        lengths: of each row.
        batch_size: rows a batch; the last one of a kind may be smaller.
        seed: decides, with the epoch, who meets whom.
        epoch: from 0.
        kinds: rows of different kinds are never in one batch.

    Example:
        >>> sorted(sorted(rows.tolist()) for rows in bucketed([9, 2, 8, 1], 2, seed=0, epoch=0))
        [[0, 2], [1, 3]]
    """
    lengths, kinds = np.asarray(lengths), np.zeros(len(lengths), int) if kinds is None else np.asarray(kinds)
    rng = np.random.default_rng([seed, epoch])
    batches = []
    for kind in np.unique(kinds):
        order = rng.permutation(np.flatnonzero(kinds == kind))
        for pool in cut(order, POOL * batch_size):
            batches += cut(pool[np.argsort(lengths[pool], kind="stable")], batch_size)
    return [batches[place] for place in rng.permutation(len(batches))]


def cut(items: Any, size: int) -> list:
    """Parts of `size`, the last one smaller if need be."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def kinds_of(lessons: Sequence[Lesson]) -> list[int]:
    """A number for what a lesson has: equal for lessons that can stand in one batch."""
    return [2 * (lesson.frames is None) + (lesson.audio is None) for lesson in lessons]


def contents_of(lessons: Sequence[Lesson], held_out: Sequence[Lesson]) -> list[list]:
    """Contents of both parts, for a fingerprint.

    Raises:
        InputError: a part is empty, an answer is, or a clip is in both parts.
    """
    clips, contents = [], []
    for name, part in (("lessons", lessons), ("held_out", held_out)):
        if not len(part):
            raise InputError(f"{name} is empty; give both parts at least one lesson.")
        for row, lesson in enumerate(part):
            if not lesson.answer.strip():
                raise InputError(f"{name}: lesson {row} ({lesson.question!r:.60}) has no answer; leave it out.")
        read = [[content(value) for value in lesson] for lesson in part]
        clips.append({_clip(*lesson): row for row, lesson in enumerate(read)})
        contents.append(read)
    shared = clips[0].keys() & clips[1].keys()
    if shared:
        one, other = min((clips[0][key], clips[1][key]) for key in shared)
        raise InputError(
            f"{len(shared)} clips are in both lessons and held_out (such as lesson {one} and held-out lesson {other}); "
            "split them by clip."
        )
    return contents


def content(value: Any) -> Any:
    """What `fingerprint` takes, for tensors and dataclasses too, and mappings or sequences of any of these.

    Example:
        >>> content(torch.zeros(2)) == content(torch.zeros(2)) != content(torch.zeros(1, 2))
        True
    """
    if torch.is_tensor(value):
        return [str(value.dtype), list(value.shape), _bytes_of(value)]
    if dataclasses.is_dataclass(value):
        return {field.name: content(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: content(each) for name, each in value.items()}
    if value is None or isinstance(value, str | bool | int | float | np.generic | np.ndarray):
        return value
    return [content(each) for each in value]


_READ: MutableMapping[Tensor, tuple[int | None, str]] = WeakTensorKeyDictionary()
"""Tensor -> its version when it was last read, and its fingerprint: states of clips are lessons of many runs."""


def _bytes_of(tensor: Tensor) -> str:
    version = None if tensor.is_inference() else tensor._version  # of what inference made, changes are not counted
    known, mark = _READ.get(tensor, (None, ""))
    if version is None or version != known:
        mark = fingerprint(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        _READ[tensor] = version, mark
    return mark


def _clip(question: Any, answer: Any, frames: Any, audio: Any) -> str:
    """Same frames, same clip, whatever is asked of it; without frames, same sound; without either, same words."""
    return fingerprint(frames or audio or [question, answer])
