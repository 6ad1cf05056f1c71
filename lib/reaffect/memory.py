"""Memory that runs out is answered by a smaller batch and a note, never by a crash."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from reaffect.errors import InputError

log = logging.getLogger(__name__)

Value = TypeVar("Value")


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
