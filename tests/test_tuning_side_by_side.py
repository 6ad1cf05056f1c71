"""Several processes that learn one model: they learn what one does, go on after a kill, and leave nobody behind."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reaffect.errors import InputError
from reaffect.models.microemo import MicroEmo
from reaffect.tuning import Lesson, Recipe, Tuned, tune
from reaffect.tuning.processes import Team, deal
from reaffect.tuning.replica import Replica
from test_tuning import HELD, LEARNED, QUICK, build, by_step

pytestmark = pytest.mark.usefixtures("on_the_processor")

NINE = [*LEARNED, Lesson("Nothing seen?", "nothing"), Lesson("What is seen?", "nothing at all")]
STEPS = replace(QUICK, epochs=2, learning_rate=1e-4, accumulate=3, checkpointing=True)
"""Of nine lessons, two kinds of them, five batches: a step of three, and one of two."""


def helpers() -> list[psutil.Process]:
    """Those that run now; other tests of this process may have left a pool's keeper."""
    return [one for one in psutil.Process().children() if "reaffect.tuning.processes" in " ".join(one.cmdline())]


@pytest.fixture(autouse=True)
def nobody_is_left():
    yield
    assert helpers() == []
    assert not torch.distributed.is_initialized()


def run(folder: Path, recipe: Recipe = STEPS, *, model: MicroEmo | None = None, learned=NINE, **options) -> Tuned:
    """In double precision, so that little is rounded, and without dropout, of which each process draws its own."""
    model = build(dropout=False).double() if model is None else model
    return tune(model, learned, HELD, folder, recipe, score=by_step, **options)


def test_two_learn_what_one_learns_and_go_on_after_a_kill(tmp_path):
    seen: list[int] = []

    def kill(history: pd.DataFrame, _scores: pd.Series) -> None:
        seen.append(len(history))
        if len(seen) == 4:  # two steps, the epoch's score, and a step of the next one
            raise KeyboardInterrupt

    alone, together = (build(dropout=False).double() for _ in range(2))
    expected = run(tmp_path / "one", model=alone)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "two", watch=kill, save_every=1, processes=2)
    assert helpers() == []
    steps: list[int] = []
    found = run(tmp_path / "two", model=together, watch=lambda history, _: steps.append(len(history)), processes=2)
    assert steps[0] == 4, "it goes on"
    assert found.folder.name == expected.folder.name
    assert {path.name for path in found.folder.iterdir()} == {"adapters.safetensors", "tuning.json"}
    assert len(expected.history) == 4
    np.testing.assert_allclose(found.history, expected.history, atol=1e-9)
    pd.testing.assert_series_equal(found.scores, expected.scores)
    fresh, moved = build(dropout=False).double().state_dict(), 0.0
    for name, value in together.state_dict().items():
        torch.testing.assert_close(value, alone.state_dict()[name], atol=1e-7, rtol=0)
        moved = max(moved, (value - fresh[name]).abs().max().item())
    assert moved > 1e-5


def test_a_loss_that_is_not_finite_is_said_once_by_the_leader(tmp_path, monkeypatch):
    """Where a helper met it; where the leader does, `test_tuning` looks."""
    clip, losses, learn = LEARNED[3].frames, [], Replica.learn
    monkeypatch.setattr(Replica, "learn", lambda *task: losses.extend(learn(*task)) or losses)
    broken = [*LEARNED[:3], LEARNED[3]._replace(frames=replace(clip, frames=clip.frames * math.nan)), *LEARNED[4:]]
    with pytest.raises(InputError, match=r"Step 1: loss or gradient is nan, with lesson 3 \('Why\?"):
        run(tmp_path, replace(QUICK, batch_size=1, accumulate=8), learned=broken, model=build(), processes=2)
    assert np.isfinite(losses).tolist() == [True] * 4, "of seven batches, the odd one goes to the leader"
    assert len(list(tmp_path.glob("*/state.safetensors"))) == 1


def test_a_process_that_dies_is_said(tmp_path):
    def kill(history: pd.DataFrame, _scores: pd.Series) -> None:
        [helper] = helpers()
        helper.kill()

    with pytest.raises(InputError, match=r"has ended \(status -9\).*take fewer processes"):
        run(tmp_path, processes=2, watch=kill, save_every=1)
    assert len(list(tmp_path.glob("*/state.safetensors"))) == 1


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 5))
def test_every_row_of_a_step_is_learned_once(sizes, processes):
    """And nobody has much more of a step than another."""
    batches = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    dealt = deal(batches, processes)
    assert len(dealt) == processes
    assert sorted(row for own in dealt for rows in own for row in rows) == list(range(sum(sizes)))
    assert all(len(rows) for own in dealt for rows in own)
    assert deal(batches, 1) == [batches]
    counts = [len(own) for own in dealt]
    assert max(counts) - min(counts) < processes


def test_a_step_of_one_batch_is_dealt_by_rows():
    assert [[rows.tolist() for rows in own] for own in deal([np.arange(5)], 2)] == [[[0, 1, 2]], [[3, 4]]]
    assert [len(own) for own in deal([np.arange(1)] * 3, 4)] == [1, 1, 1, 0], "single rows go to different processes"


def test_numbers_of_processes_that_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"^processes is 0"):
        run(tmp_path, processes=0)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    replica = Replica(build(), "cpu", QUICK)
    replica.device = torch.device("cuda")
    with pytest.raises(InputError, match=r"processes is 2, and there are 1 GPUs"):
        Team(replica, 2)
