"""Batches that do not fit in memory: smaller ones, a note, and nothing lost."""

from __future__ import annotations

import logging
import weakref

import pytest
import torch

from reaffect.errors import InputError
from reaffect.memory import Fitting


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
