"""One step on one device: does it fit, how large is it, how long does a batch take."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from reaffect.hardware import precision
from reaffect.rehearsal.estimate import LiveBytes, without_values

Batch = Callable[[], object]
"""Computes one batch."""


class Step(NamedTuple):
    """What a notebook does with a network."""

    name: str

    build: Callable[[torch.dtype], nn.Module]
    """Makes the network with random weights on the context's device, in these numbers where the notebook has it so."""

    prepare: Callable[[Any, int], Batch]
    """Network and clips in a batch -> what computes a batch of noise on the network's device."""

    at_once: int
    """Clips in a batch."""

    clips: int
    """That pass through the network in the real run, each as often as it does."""

    size: str
    """What sets `at_once`: a notebook's parameter, or an argument's default in the library."""

    weights: str
    """The notebook's parameter that chooses the network."""


class LeftOut(NamedTuple):
    """What a notebook does that is not rehearsed."""

    name: str

    why: str
    """What does it, and where."""


class Reading(NamedTuple):
    """What a step took on a device."""

    parameters: int
    held: int
    """By parameters and buffers, in bytes."""

    peak: int | None
    """Of all memory in use, in bytes; None if there was not enough."""

    operations: int | None = None
    """Of a batch, multiplications and additions each counted; on the meta device only."""

    seconds: float | None = None
    """Of a batch; on a real device only."""


def read(step: Step, device: str) -> Reading:
    """Builds the network, computes a batch or, where it is timed, two, and tells what the last one took.

    Args:
        step: see `Step`.
        device: `meta`, where nothing is computed and memory is estimated, or a real one.
    """
    network = None
    number = torch.bfloat16 if device == "meta" else precision(device)
    try:
        with torch.device(device):
            network = step.build(number).to(device)
        return _estimated(step, network) if device == "meta" else _measured(step, network, device)
    except torch.OutOfMemoryError:
        return Reading(*_sizes(network), None)
    finally:
        del network
        if device.startswith("cuda"):  # the next network needs the room
            gc.collect()
            torch.cuda.empty_cache()


def _estimated(step: Step, network: nn.Module) -> Reading:
    with without_values(), LiveBytes(network) as live:
        batch = step.prepare(network, step.at_once)
        with FlopCounterMode(display=False) as counted:
            batch()
    return Reading(*_sizes(network), live.peak, operations=counted.get_total_flops())


def _measured(step: Step, network: nn.Module, device: str) -> Reading:
    """The first batch is not timed: kernels are chosen in it."""
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    with nullcontext() if on_gpu else LiveBytes(network) as live:
        batch = step.prepare(network, step.at_once)
        batch()
    seconds = _seconds(batch, device)
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else live.peak
    return Reading(*_sizes(network), peak, seconds=seconds)


def _seconds(batch: Batch, device: str) -> float:
    _wait(device)
    start = time.perf_counter()
    batch()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _sizes(network: nn.Module | None) -> tuple[int, int]:
    """Parameters, and bytes of all that is kept with them; of a network that could not be built, none."""
    if network is None:
        return 0, 0
    weights = sum(weight.numel() for weight in network.parameters())
    return weights, sum(one.nbytes for one in (*network.parameters(), *network.buffers()))
