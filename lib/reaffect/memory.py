"""Batches as large as memory holds; memory that runs out is answered by a smaller one and a note, never by a crash."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import psutil
import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from reaffect.errors import InputError

log = logging.getLogger(__name__)

Value = TypeVar("Value")

SHARE = 0.9
"""Of the memory that is free, what a batch may take; the rest is lost between blocks."""


def free_bytes(device: torch.device) -> int:
    """What tensors can still take: of a GPU, with what torch holds of it unused, or else of the machine."""
    if device.type != "cuda":
        return psutil.virtual_memory().available
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def cut(sizes: Sequence[int], most: int, budget: int) -> list[list[int]]:
    """Items in batches of like size, the largest first: if memory runs out, then at the start.

    Args:
        sizes: of each item, in any unit; alike ones keep their order.
        most: items in a batch.
        budget: what a batch may take, where each of its items takes as much as its largest; an item that is larger
            is a batch of its own.

    Returns:
        The items' numbers, by batch.

    >>> cut([1, 5, 2, 5], most=3, budget=10)
    [[1, 3], [2, 0]]
    """
    batches: list[list[int]] = []
    for item in sorted(range(len(sizes)), key=lambda item: -sizes[item]):
        last = batches[-1] if batches else []
        if last and len(last) < most and (len(last) + 1) * sizes[last[0]] <= budget:
            last.append(item)
        else:
            batches.append([item])
    return batches


class Fitting(Generic[Value]):
    """Calls a function with as many items at once as memory holds.

    Where memory runs out, of a GPU or of the machine, half as many are tried, and later calls begin with what fitted.

    >>> Fitting(lambda words: [word.upper() for word in words])(["a", "b"])
    ['A', 'B']
    """

    def __init__(self, function: Callable[..., Sequence[Value]]) -> None:
        """Args: function: list of items, and whatever else it is called with -> as many values."""
        self._function = function
        self._most: int | None = None

    def __call__(self, items: list[Any], *others: Any) -> list[Value]:
        """Values of the items, in their order.

        Raises:
            InputError: a single item does not fit.
        """
        values: list[Value] = []
        tried = None
        while len(values) < len(items):
            part = items[len(values) :][: self._most]
            found = self._attempt(part, *others)
            if found is not None:
                values += found
                if tried:
                    log.warning(
                        "A batch of %d does not fit in memory; %d at once do, as from here on: set batch_size to %d.",
                        *(tried, self._most, self._most),
                    )
                    tried = None
            elif len(part) == 1:
                raise InputError(
                    "Not even a batch of one clip fits in memory: show fewer frames, load the model in smaller "
                    "numbers (dtype), or take a device with more memory."
                )
            else:
                tried = tried or len(part)
                self._most = len(part) // 2
                clear_device_cache(garbage_collection=True)
        return values

    def _attempt(self, part: list[Any], *others: Any) -> list[Value] | None:
        """Values, or None if memory ran out; what the function held is free once this has returned."""
        try:
            return list(self._function(part, *others))
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error):
                return None
            raise
