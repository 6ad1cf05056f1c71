"""Batches that fit in memory; of those that do not, smaller ones, a note, and nothing lost."""

from __future__ import annotations

import logging
import weakref

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reaffect.errors import InputError
from reaffect.memory import Fitting, cut, free_bytes


class Doubling:
    """Doubles numbers, at most `most` at once; beyond, it raises what `fail` raises."""

    def __init__(self, most: int, fail) -> None:
        self.most, self.fail, self.sizes = most, fail, []

    def __call__(self, numbers: list[int]) -> list[int]:
        self.sizes.append(len(numbers))
        if len(numbers) > self.most:
            self.fail()
        return [2 * number for number in numbers]


def of_the_gpu():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def of_the_machine():
    torch.empty(1 << 55)  # a real refusal by the CPU's allocator


@pytest.mark.parametrize("fail", [of_the_gpu, of_the_machine])
def test_half_as_many_are_tried_until_they_fit_and_the_size_is_kept(fail, caplog):
    double = Doubling(3, fail)
    fitting = Fitting(double)
    assert fitting(list(range(10))) == [2 * number for number in range(10)]
    assert double.sizes == [10, 5, 2, 2, 2, 2, 2]
    double.sizes.clear()
    assert fitting(list(range(5))) == [0, 2, 4, 6, 8]
    assert double.sizes == [2, 2, 1]
    [note] = caplog.records
    assert note.levelno == logging.WARNING
    assert note.getMessage().startswith("A batch of 10 does not fit in memory; 2 at once do")
    assert "batch_size to 2" in note.getMessage()


def test_what_fits_is_computed_in_one_call_without_a_note(caplog):
    double = Doubling(3, of_the_gpu)
    assert Fitting(double)([1, 2, 3]) == [2, 4, 6]
    assert double.sizes == [3] and not caplog.records


def test_a_single_item_that_does_not_fit_is_said():
    with pytest.raises(InputError, match=r"Not even a batch of one .* fewer frames"):
        Fitting(Doubling(0, of_the_machine))([1, 2, 3])


def test_other_errors_pass():
    def broken():
        raise RuntimeError("shapes cannot be multiplied")

    double = Doubling(1, broken)
    with pytest.raises(RuntimeError, match="multiplied"):
        Fitting(double)([1, 2])
    assert double.sizes == [2]


def test_what_the_failed_batch_held_is_free_before_the_next():
    held = []

    def compute(items):
        assert all(tensor() is None for tensor in held)
        activations = torch.zeros(8)
        held.append(weakref.ref(activations))
        if len(items) > 1:
            of_the_gpu()
        return items

    assert Fitting(compute)(["a", "b"]) == ["a", "b"]
    assert len(held) == 3


# ---- batches that are cut to fit


@pytest.mark.parametrize(
    ("sizes", "most", "budget", "batches"),
    [
        ([], 4, 10, []),
        ([3, 3, 3, 3, 3], 2, 100, [[0, 1], [2, 3], [4]]),  # alike: as they came
        ([3, 3, 3, 3, 3], 9, 9, [[0, 1, 2], [3, 4]]),
        ([1, 4, 2, 4], 9, 8, [[1, 3], [2, 0]]),  # the largest first; 2 and 1 take 2 each
        ([1, 9, 1], 9, 4, [[1], [0, 2]]),  # too large: tried alone
        ([0, 5, 0], 9, 5, [[1], [0, 2]]),
        ([2, 1], 9, 0, [[0], [1]]),  # no memory free: one at a time
    ],
)
def test_items_are_cut_into_batches_that_fit(sizes, most, budget, batches):
    assert cut(sizes, most, budget) == batches


@given(sizes=st.lists(st.integers(0, 50), max_size=30), most=st.integers(1, 8), budget=st.integers(0, 120))
def test_every_item_is_cut_once_and_no_batch_takes_more_than_there_is(sizes, most, budget):
    batches = cut(sizes, most, budget)
    assert sorted(item for batch in batches for item in batch) == list(range(len(sizes)))
    descending = [sizes[item] for batch in batches for item in batch]
    assert descending == sorted(sizes, reverse=True)
    for batch in batches:
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or len(batch) * max(sizes[item] for item in batch) <= budget
    for batch in batches[:-1]:
        assert len(batch) == most or (len(batch) + 1) * sizes[batch[0]] > budget, "one more would have fitted"


def test_free_memory_is_the_machines_or_the_gpus_with_what_torch_holds_unused(monkeypatch):
    assert 0 < free_bytes(torch.device("cpu")) < psutil.virtual_memory().total
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (50, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 20)
    assert free_bytes(torch.device("cuda:0")) == 50 + 30 - 20
