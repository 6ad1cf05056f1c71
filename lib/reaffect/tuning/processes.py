"""Several processes that learn one model together, each on a GPU of its own.

The calling process leads. It alone has the optimiser, the run's files, the score and the watch, which need not be sent
anywhere. Helpers hold a copy of the model and nothing else: weights are handed round before each task and gradients
summed in the leader after it, by NCCL or, on processors, Gloo; tasks, with their lessons, go through pipes. Launchers
such as Accelerate's begin with new processes, or fork this one, which a notebook that has used its GPU cannot do.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from reaffect.errors import InputError
from reaffect.tuning.lessons import Lesson
from reaffect.tuning.recipe import Recipe
from reaffect.tuning.replica import Replica, checkpointed

HOST = "127.0.0.1"


def deal(batches: Sequence[np.ndarray], size: int) -> list[list[np.ndarray]]:
    """A step's batches for each of `size` processes: whole ones in turn, and what is left over in parts.

    Example:
        >>> [[rows.tolist() for rows in own] for own in deal([np.arange(2), np.arange(2, 4), np.arange(4, 7)], 2)]
        [[[0, 1], [4, 5]], [[2, 3], [6]]]
    """
    whole = len(batches) // size * size
    parts = [np.array_split(rows, size) for rows in batches[whole:]]
    # the longest part of each goes to another process
    own = [[part[rank - turn] for turn, part in enumerate(parts)] for rank in range(size)]
    return [[*batches[rank:whole:size], *(rows for rows in own[rank] if len(rows))] for rank in range(size)]


class Team:
    """A model in this process, and its copies in helpers.

    Args:
        leader: this process's.
        size: processes, this one included. With 1 no other is started.

    Raises:
        InputError: fewer than one, or more than there are GPUs where there is one.
    """

    def __init__(self, leader: Replica, size: int):
        if size < 1:
            raise InputError(f"processes is {size}; it must be at least 1.")
        if leader.device.type == "cuda" and size > torch.cuda.device_count():
            raise InputError(f"processes is {size}, and there are {torch.cuda.device_count()} GPUs; take no more.")
        self.leader, self.size = leader, size
        self._helpers: list[_Helper] = []
        self._touched: list[list[str]] = []

    @contextmanager
    def started(self, folder: Path) -> Iterator[None]:
        """With helpers, which are ended whatever happens.

        Args:
            folder: of the run; holds a copy of the model until every helper has read it.
        """
        try:
            if self.size > 1:
                self._start(folder)
            yield
        finally:
            for helper in self._helpers:
                helper.end()
            if self._helpers and dist.is_initialized():
                dist.group.WORLD.abort()  # the others are gone: nothing is to be waited for
                dist.destroy_process_group()
            self._helpers = []

    def learn(self, batches: Sequence[Sequence[tuple[list[Lesson], float]]], step: int) -> list[list[float]]:
        """Gradients of each process's batches, in that process; see `Replica.learn`.

        Returns:
            Losses, by process.
        """
        self._hand_round([("learn", own, step) for own in batches[1:]])
        losses = self.leader.learn(batches[0], step)
        told = self._told()
        self._touched = [_touched(self.leader), *(names for _, names in told)]
        return [losses, *(found for found, _ in told)]

    def sum_gradients(self) -> None:
        """Adds the helpers' gradients to the leader's."""
        if self._helpers:
            # what no lesson has reached has no gradient, as in one process: weight decay would move it
            names = sorted(set().union(*self._touched))
            self._ask([("give", names)] * len(self._helpers))
            self._together(_reduce, self.leader.weights, names)
            self._told()

    def answers(self, batches: Sequence[Sequence[Lesson]]) -> list[list[str]]:
        """What `Replica.answers` gives for the batches, which are dealt to the processes."""
        self._hand_round([("answers", batches[rank :: self.size]) for rank in range(1, self.size)])
        each = [self.leader.answers(batches[:: self.size]), *self._told()]
        return [each[place % self.size][place // self.size] for place in range(len(batches))]

    def _start(self, folder: Path) -> None:
        leader, size = self.leader, self.size
        copy = folder / f"model.{uuid4().hex[:8]}.part"
        try:
            torch.save(leader.model, copy)
            for _ in range(1, size):
                self._helpers.append(_Helper())
            threads = max(1, torch.get_num_threads() // size)
            plan = [_Plan(copy, self._device(rank), leader.recipe, rank, threads) for rank in range(1, size)]
            self._ask([("load", one) for one in plan])
            self._told()
        finally:
            copy.unlink(missing_ok=True)
        store = dist.TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
        self._ask([("join", store.port, size)] * len(self._helpers))
        dist.init_process_group(_backend(leader), store=store, rank=0, world_size=size)
        self._told()

    def _device(self, rank: int) -> str:
        if self.leader.device.type == "cpu":
            return "cpu"
        return f"cuda:{(torch.cuda.current_device() + rank) % torch.cuda.device_count()}"

    def _hand_round(self, tasks: Sequence[tuple]) -> None:
        """Tasks, before which helpers take the leader's weights."""
        if self._helpers:
            self._ask(tasks)
            self._together(_broadcast, self.leader.weights)

    def _ask(self, tasks: Sequence[tuple]) -> None:
        for helper, task in zip(self._helpers, tasks, strict=True):
            helper.ask(task)

    def _told(self) -> list:
        return [helper.told() for helper in self._helpers]

    def _together(self, collective: Callable[..., None], *arguments: Any) -> None:
        """What the helpers take part in; if one of them is gone, it says so."""
        try:
            collective(*arguments)
        except RuntimeError:
            for helper in sorted(self._helpers, key=lambda each: each.process.poll() is None):
                helper.told()
            raise


class _Plan(NamedTuple):
    """What a helper needs to begin."""

    model: Path
    device: str
    recipe: Recipe
    rank: int
    threads: int


class _Helper:
    """A child with pipes, as the leader sees it.

    Not `multiprocessing`'s: that imports the caller's script again, which one without a main guard does not survive.
    """

    def __init__(self) -> None:
        call = [sys.executable, "-c", "from reaffect.tuning.processes import serve; serve()"]
        self.process = Popen(call, stdin=PIPE, stdout=PIPE)

    def ask(self, task: tuple) -> None:
        try:
            pickle.dump(task, self.process.stdin)
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise self._gone() from error

    def told(self) -> Any:
        """The answer; or raises what was raised there."""
        try:
            answer = pickle.load(self.process.stdout)
        except (EOFError, pickle.UnpicklingError) as error:
            raise self._gone() from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        self.process.kill()
        with suppress(BrokenPipeError):  # half a task may be left to write
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def _gone(self) -> InputError:
        return InputError(
            f"One of the processes that learn together has ended (status {self.process.wait()}), most likely for want "
            "of memory; take fewer processes or a smaller batch_size. The run's last state is kept."
        )


def serve() -> None:
    """A helper: tasks on stdin until it ends, an answer to each on stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the leader ends it
    tasks, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    with ExitStack() as stack:
        follower = _Follower(stack)
        while True:
            try:
                name, *arguments = pickle.load(tasks)
            except EOFError:
                return
            answers.write(_answer(getattr(follower, name), arguments))
            answers.flush()


def _answer(task: Any, arguments: list) -> bytes:
    try:
        return pickle.dumps(task(*arguments))
    except Exception as error:  # whatever it is, the leader raises it
        try:
            return pickle.dumps(error)
        except Exception:  # some cannot be sent
            return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))


class _Follower:
    """A helper's tasks, by name."""

    def __init__(self, stack: ExitStack):
        self.stack = stack

    def load(self, plan: _Plan) -> None:
        torch.set_num_threads(plan.threads)
        if plan.device != "cpu":
            torch.cuda.set_device(plan.device)
        # Mapped: a large model is not in memory once more for each process. The leader has just written it.
        model = torch.load(plan.model, map_location="cpu", mmap=True, weights_only=False)
        self.replica = Replica(model, plan.device, plan.recipe, plan.rank)
        self.stack.enter_context(checkpointed(model.language_model, plan.recipe.checkpointing))

    def join(self, port: int, size: int) -> None:
        store = dist.TCPStore(HOST, port, is_master=False)
        dist.init_process_group(_backend(self.replica), store=store, rank=self.replica.rank, world_size=size)

    def learn(self, batches: list[tuple[list[Lesson], float]], step: int) -> tuple[list[float], list[str]]:
        _broadcast(self.replica.weights)
        losses = self.replica.learn(batches, step)
        return losses, _touched(self.replica)

    def give(self, names: list[str]) -> None:
        _reduce(self.replica.weights, names)
        self.replica.model.zero_grad()

    def answers(self, batches: list[list[Lesson]]) -> list[list[str]]:
        _broadcast(self.replica.weights)
        return self.replica.answers(batches)


def _backend(replica: Replica) -> str:
    return "nccl" if replica.device.type == "cuda" else "gloo"


def _touched(replica: Replica) -> list[str]:
    """Weights that have a gradient."""
    return [name for name, weight in replica.weights.items() if weight.grad is not None]


def _broadcast(weights: Mapping[str, nn.Parameter]) -> None:
    """The leader's weights, to all."""
    for weight in weights.values():
        dist.broadcast(weight.detach(), 0)


def _reduce(weights: Mapping[str, nn.Parameter], names: Collection[str]) -> None:
    """Sums gradients in the leader's."""
    for name in names:
        if weights[name].grad is None:
            weights[name].grad = torch.zeros_like(weights[name])
        dist.reduce(weights[name].grad, 0)
