"""Instruction tuning: it learns what was planted, goes on after any kill as if there had been none, and looks at
nothing but what it is told to."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from reaffect.errors import InputError
from reaffect.models.dialogue_clip import DialogueClip
from reaffect.models.microemo import MicroEmo
from reaffect.tuning import Lesson, Recipe, Tuned, bucketed, kept, load_adapters, tune
from reaffect.tuning import lessons as contents
from test_models_microemo import PATCHES, SMALL, noise
from test_models_video_llama import llama, words

pytestmark = pytest.mark.usefixtures("on_the_processor")

QUICK = Recipe(seed=3, epochs=3, batch_size=2, learning_rate=1e-3, accumulate=2, patience=3, max_new_tokens=2)


def build(*, seed: int = 0, dropout: bool = True) -> MicroEmo:
    voice = llama()
    torch.manual_seed(seed)
    model = MicroEmo(replace(SMALL, audio_branch=False), voice, words())
    for part in model.modules():
        if isinstance(part, nn.Dropout) and not dropout:
            part.p = 0.0
        if hasattr(part, "attention_dropout") and not dropout:
            part.attention_dropout = 0.0
    return model.freeze(*model.published).eval()


def bright(level: float, *, seed: int) -> DialogueClip:
    """Two frames as bright as each other, with an utterance of two."""
    frames = level + 0.1 * noise(2, 3, 56, 56, seed=seed)
    return DialogueClip(frames, [0, 1], torch.ones(2, 1, PATCHES, dtype=torch.bool), [(0, 2)])


def lessons(count: int, *, first: int = 0) -> list[Lesson]:
    """Every other clip is bright; questions and answers are of many lengths."""
    return [
        Lesson("Why? " * (1 + k % 3), ("bright", "it is dark")[k % 2], bright(1 - 2 * (k % 2), seed=k))
        for k in range(first, first + count)
    ]


LEARNED, HELD = lessons(7), lessons(3, first=50)


def right(answers: list[str], held: list[Lesson]) -> float:
    return float(np.mean([one == lesson.answer for one, lesson in zip(answers, held, strict=True)]))


def by_step(answers: list[str], held: list[Lesson]) -> float:
    """A score of a model that has hardly learned."""
    return -float(len("".join(answers)))


def run(folder: Path, recipe: Recipe = QUICK, *, model: MicroEmo | None = None, score=by_step, **options) -> Tuned:
    return tune(model or build(), LEARNED, HELD, folder, recipe, score=score, **options)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def finished(on_the_processor, tmp_path_factory) -> Tuned:
    return run(tmp_path_factory.mktemp("finished"))


# --- it learns -----------------------------------------------------------------------------------------------


def test_it_learns_what_clips_show(tmp_path):
    model = build(dropout=False)
    model.language_model.requires_grad_(True)  # a random model is no base for LoRA
    recipe = replace(QUICK, epochs=6, batch_size=4, accumulate=1, learning_rate=5e-3, patience=6, max_new_tokens=12)
    tuned = tune(model, lessons(96), lessons(6, first=100), tmp_path, recipe, score=right)
    assert tuned.history.loss.iloc[-10:].mean() < 0.2 < 5 < tuned.history.loss.iloc[0]
    assert tuned.scores.max() == tuned.scores[tuned.epoch] == 1
    assert not model.training
    unseen = lessons(6, first=200)
    answers = model.generate([one.question for one in unseen], [one.frames for one in unseen], max_new_tokens=12)
    assert answers == [one.answer for one in unseen]


def test_answers_that_belong_to_other_clips_teach_nothing_about_clips(tmp_path):
    """Both letters equally often for dark clips and for bright ones: one bit of each answer stays uncertain."""
    learned = [Lesson("?", "db"[k // 2 % 2], bright(1 - 2 * (k % 2), seed=k)) for k in range(32)]
    held = [Lesson("?", "db"[k % 2], bright(1 - 2 * (k % 2), seed=70 + k)) for k in range(4)]
    model = build(dropout=False)
    model.language_model.requires_grad_(True)

    @torch.inference_mode()
    def likelihood(_answers: list[str], asked: list[Lesson]) -> float:
        return -model(["?"] * 4, [one.frames for one in asked], None, [one.answer for one in asked]).loss.item()

    recipe = replace(QUICK, epochs=14, batch_size=8, accumulate=1, learning_rate=1e-2, patience=14, max_new_tokens=1)
    tuned = tune(model, learned, held, tmp_path, recipe, score=likelihood)
    chance = math.log(2) / len(" d\n###")
    assert 0.9 * chance < -tuned.scores.max() < 1.5 * chance


def test_what_is_frozen_stays_and_only_what_learns_is_kept(finished):
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    load_adapters(model, finished.folder)
    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert changed <= learning == set(load_file(finished.folder / "adapters.safetensors"))
    assert len(changed) > 0.8 * len(learning)
    trained = build()
    run(finished.folder.parent / "again", model=trained)
    assert all(value.equal(model.state_dict()[name]) for name, value in trained.state_dict().items())


def test_history(finished):
    """Seven lessons in batches of two, two batches a step: two steps an epoch, the second of two batches, too."""
    assert finished.history.step.tolist() == [1, 2, 3, 4, 5, 6]
    assert finished.history.epoch.tolist() == [1, 1, 2, 2, 3, 3]
    rates = [QUICK.learning_rate * (1 + math.cos(math.pi * max(0, k - 1) / 5)) / 2 * min(k, 1) for k in range(6)]
    np.testing.assert_allclose(finished.history.learning_rate, rates)
    assert finished.scores.index.tolist() == [1, 2, 3]
    assert finished.epoch == finished.scores.idxmax()


def test_every_answer_token_weighs_alike(tmp_path):
    """Expected: each lesson's mean loss, alone, times the bytes that its answer takes in the prompt."""
    model, tokens = build(dropout=False), np.array([len(f" {one.answer}\n###") for one in LEARNED])
    with torch.no_grad():
        losses = [model([one.question], [one.frames], None, [one.answer]).loss.item() for one in LEARNED]
    history = run(tmp_path, replace(QUICK, epochs=1, accumulate=4), model=model).history
    assert len(history) == 1
    assert history.loss[0] == pytest.approx((losses * tokens).sum() / tokens.sum(), abs=1e-5)


def test_small_batches_accumulated_equal_a_large_one(tmp_path):
    """Losses of a run, and the first gradients, a tenth of which are Adam's first moments; later it blows up rounding
    where a gradient is nothing else. In double precision, so that little is rounded."""

    def kill(*_tables) -> None:
        raise KeyboardInterrupt

    moments, losses = [], []
    for size, accumulate in ((8, 1), (4, 2), (1, 8)):
        recipe = replace(QUICK, epochs=2, learning_rate=1e-4, batch_size=size, accumulate=accumulate)
        options = {"score": by_step, "save_every": 1}
        with pytest.raises(KeyboardInterrupt):
            tune(build(dropout=False).double(), LEARNED, HELD, tmp_path / "killed", recipe, watch=kill, **options)
        [state] = (tmp_path / "killed").glob("*/state.safetensors")
        moments.append({name: value for name, value in load_file(state).items() if name.endswith("exp_avg")})
        state.unlink()
        losses.append(tune(build(dropout=False).double(), LEARNED, HELD, tmp_path, recipe, **options).history.loss)
    assert max(value.abs().max() for value in moments[0].values()) > 1e-3
    for own, loss in zip(moments[1:], losses[1:], strict=True):
        np.testing.assert_allclose(loss, losses[0], atol=1e-5)
        for name, value in own.items():
            torch.testing.assert_close(value, moments[0][name], atol=1e-8, rtol=0)


def test_gradient_checkpointing_changes_nothing_but_memory(tmp_path):
    models, calls = [build(), build()], [[], []]
    for model, called, checkpointing in zip(models, calls, (False, True), strict=True):
        layer = model.language_model.get_base_model().model.layers[0].mlp
        layer.register_forward_pre_hook(lambda part, *_, called=called: called.append(part.training))
        tuned = run(tmp_path, replace(QUICK, warmup=0.0, checkpointing=checkpointing), model=model)
    plain = run(tmp_path, replace(QUICK, warmup=0.0), model=build())
    np.testing.assert_allclose(tuned.history.loss, plain.history.loss, atol=1e-5)
    for name, value in models[0].state_dict().items():
        torch.testing.assert_close(value, models[1].state_dict()[name], atol=1e-5, rtol=0)
    assert sum(calls[1]) == 2 * sum(calls[0]) > 0  # once forward, once again for the backward pass
    assert models[1].language_model.config.use_cache
    assert not any(getattr(part, "gradient_checkpointing", False) for part in models[1].modules())


# --- kills ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("save_every", "calls", "length"), [(1, 1, 2), (1, 4, 4), (2, 2, 2), (5, 1, 1), (5, 5, 3)])
def test_a_killed_run_ends_as_one_that_was_not(tmp_path, finished, save_every, calls, length):
    """Killed in a call of `watch`, which is one a step and one an epoch of two steps; then, the history's length in the
    next one."""
    seen: list[int] = []

    def kill(history: pd.DataFrame, _scores: pd.Series) -> None:
        seen.append(len(history))
        if len(seen) == calls:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, save_every=save_every, watch=kill)
    steps: list[int] = []
    model = build()
    torch.rand(5)  # a run's random numbers do not depend on others'
    tuned = run(tmp_path, model=model, watch=lambda history, scores: steps.append(len(history)))
    assert steps[0] == length
    assert files(tuned.folder) == files(finished.folder)
    other = build()
    load_adapters(other, finished.folder)
    assert all(value.equal(other.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("writes", [1, 2, 3, 8, 9])
def test_killed_before_a_file_is_written(tmp_path, finished, monkeypatch, writes):
    """Epochs write a state, the first one its weights and a state, the others a state; the end, adapters and note."""
    count = []

    def dying(*arguments) -> None:
        count.append(1)
        if len(count) == writes:
            raise KeyboardInterrupt
        save_file(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(kept, "save_file", dying)
        patch.setattr(kept, "write_note", lambda *_: dying({"x": torch.ones(1)}, tmp_path / "x"))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, save_every=2)
            raise AssertionError(f"only {len(count)} writes")
    assert files(run(tmp_path).folder) == files(finished.folder)


DYING = """
import os, signal, sys
from pathlib import Path
from reaffect.runs import one_thread
from reaffect.tuning import kept
import test_tuning

writes = []
def dying(tensors, path, note):
    writes.append(path)
    test_tuning.save_file(tensors, path, note)
    if len(writes) == 4:
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
kept.save_file = dying
with one_thread():
    test_tuning.run(Path(sys.argv[1]), save_every=1)
"""


def test_killed_while_it_writes_in_another_process(tmp_path, finished):
    """The fourth file is the first epoch's state: two states, the weights, and half of this one."""
    here = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": here, "CUDA_VISIBLE_DEVICES": ""}
    dead = subprocess.run([sys.executable, "-c", DYING, str(tmp_path)], env=environment, capture_output=True, text=True)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    [folder] = tmp_path.iterdir()
    assert folder.name == finished.folder.name
    assert len(list(folder.glob("*.part"))) == 1
    steps: list[int] = []
    tuned = run(tmp_path, watch=lambda history, scores: steps.append(len(history)))
    assert steps[0] == 2  # both steps were kept, the score was not
    assert files(tuned.folder) == files(finished.folder)


def test_a_finished_run_is_read(finished):
    class Deaf(MicroEmo):
        def forward(self, *_arguments, **_options):
            raise AssertionError("trains")

    model, seen = build(), []
    model.__class__ = type("MicroEmo", (Deaf,), {})
    tuned = run(finished.folder.parent, model=model, watch=lambda *tables: seen.append(tables))
    [(history, scores)] = seen
    for one, other in ((tuned, finished), ((history, scores), finished[:2])):
        pd.testing.assert_frame_equal(one[0], other[0])
        pd.testing.assert_series_equal(one[1], other[1])
    assert tuned[2:] == finished[2:]
    assert {path.name for path in tuned.folder.iterdir()} == {"adapters.safetensors", "tuning.json"}
    assert json.loads((tuned.folder / "tuning.json").read_text())["recipe"]["seed"] == QUICK.seed


def test_runs_that_differ_have_folders_of_their_own(tmp_path, finished):
    brief = {"score": by_step, "folder": tmp_path, "recipe": replace(QUICK, epochs=1)}
    frames = LEARNED[2].frames
    touched = frames.frames.clone()
    touched[1, 2, 3, 4] += 1e-3
    other = [*LEARNED[:2], LEARNED[2]._replace(frames=replace(frames, frames=touched)), *LEARNED[3:]]
    folders = {
        tune(build(), LEARNED, HELD, **brief).folder,
        tune(build(), other, HELD, **brief).folder,
        tune(build(), LEARNED, HELD[:2], **brief).folder,
        tune(build(seed=1), LEARNED, HELD, **brief).folder,
        tune(build().freeze("local"), LEARNED, HELD, **brief).folder,
        tune(build(), LEARNED, HELD, **{**brief, "recipe": replace(QUICK, epochs=1, seed=4)}).folder,
    }
    assert len(folders) == 6


# --- choosing ------------------------------------------------------------------------------------------------


def test_stops_early_and_keeps_the_best_epoch(tmp_path):
    model, script, films = build(), iter([0.1, 0.5, 0.3, 0.5, 0.9]), []

    def scripted(answers: list[str], held: list[Lesson]) -> float:
        assert held is HELD and len(answers) == len(HELD)
        films.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(script)

    tuned = run(tmp_path, replace(QUICK, epochs=5, patience=2), model=model, score=scripted)
    assert tuned.scores.tolist() == [0.1, 0.5, 0.3, 0.5]
    assert tuned.epoch == 2
    assert all(value.equal(films[1][name]) for name, value in model.state_dict().items())
    assert not all(value.equal(films[3][name]) for name, value in model.state_dict().items())


def test_of_a_single_epoch_nobody_is_asked(tmp_path):
    model, recipe = build(), replace(QUICK, epochs=1)
    options = {"score": lambda *_: pytest.fail("asked"), "save_every": 1}
    seen: list[int] = []

    def kill(history: pd.DataFrame, _scores: pd.Series) -> None:
        seen.append(len(history))
        raise KeyboardInterrupt

    expected = tune(build(), LEARNED, HELD, tmp_path / "whole", recipe, **options)
    with pytest.raises(KeyboardInterrupt):
        tune(build(), LEARNED, HELD, tmp_path / "killed", recipe, watch=kill, **options)
    assert seen == [1] and len(expected.history) > 1
    tuned = tune(model, LEARNED, HELD, tmp_path / "killed", recipe, **options)
    again = tune(build(), LEARNED, HELD, tmp_path / "killed", recipe, **options)
    for one in (expected, tuned, again):
        assert one.epoch == 1 and not len(one.scores)
        pd.testing.assert_frame_equal(one.history, expected.history)
    assert files(tuned.folder) == files(expected.folder)
    learned = load_file(tuned.folder / "adapters.safetensors")
    assert all(value.equal(model.state_dict()[name]) for name, value in learned.items())


def test_answers_come_in_the_order_of_the_lessons(tmp_path):
    """Held-out lessons of many lengths and kinds; what the model says to each alone is expected."""
    held = [*lessons(3, first=60), Lesson("Without frames?", "no"), *lessons(2, first=63), Lesson("None?", "none")]
    model, answered = build(), []
    tune(
        model,
        [*LEARNED, Lesson("Nothing seen?", "nothing")],
        held,
        tmp_path,
        replace(QUICK, epochs=2, max_new_tokens=6),
        score=lambda answers, _held: answered.extend(answers) or 0.0,
    )
    alone = [model.generate([one.question], one.frames and [one.frames], max_new_tokens=6)[0] for one in held]
    assert answered[: len(held)] == alone, "the first of two epochs that score alike is kept"
    assert len(set(alone)) > 1


# --- batches -------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 2)), max_size=90), st.integers(1, 7), st.integers(0, 9))
def test_every_lesson_once_an_epoch(rows, size, epoch):
    lengths, kinds = [row[0] for row in rows], [row[1] for row in rows]
    batches = bucketed(lengths, size, seed=1, epoch=epoch, kinds=kinds)
    assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
    assert all(len(batch) <= size and len({kinds[row] for row in batch}) == 1 for batch in batches)
    assert len(batches) == sum(math.ceil(kinds.count(kind) / size) for kind in set(kinds))


@given(st.lists(st.integers(1, 300), min_size=1, max_size=32))
def test_batches_hold_rows_of_like_length(lengths):
    """In one pool no row would fit better between the rows of another batch."""
    batches = [[lengths[row] for row in rows] for rows in bucketed(lengths, 4, seed=0, epoch=0)]
    spans = sorted((min(own), max(own)) for own in batches)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))


def test_each_epoch_and_seed_has_its_own_order():
    lengths = np.random.default_rng(0).integers(1, 99, 200)
    orders = {tuple(np.concatenate(bucketed(lengths, 4, seed=s, epoch=e))) for s in range(3) for e in range(3)}
    assert len(orders) == 9
    assert tuple(np.concatenate(bucketed(lengths, 4, seed=2, epoch=1))) in orders


def test_states_of_a_clip_are_read_once_while_they_stay_as_they_are(monkeypatch):
    read = []
    monkeypatch.setattr(contents, "fingerprint", lambda value: read.append(value.copy()) or str(len(read)))
    kept_states = torch.zeros(3)
    with torch.inference_mode():
        fresh = torch.zeros(3)
    assert [contents.content(kept_states)[2] for _ in range(3)] == ["1", "1", "1"]
    kept_states.numpy()  # a view of it does not change it
    kept_states[1] = 1
    assert contents.content(kept_states)[2] == contents.content(kept_states)[2] == "2"
    assert contents.content(kept_states.clone())[2] == "3"
    assert [contents.content(fresh)[2] for _ in range(2)] == ["4", "5"], "nothing counts its changes"
    assert len(read) == 5


def test_lengths_are_those_of_the_batch():
    model = build()
    questions, answers, frames, _ = zip(*LEARNED, strict=True)
    logits = model(questions, frames).logits
    whole, learned = model.lengths(questions, frames, None, answers)
    alone = [model.lengths([one.question], [one.frames], None, [one.answer])[0][0] for one in LEARNED]
    assert whole == alone
    assert max(model.lengths(questions, frames)[0]) == logits.shape[1] < max(whole)
    assert learned == [len(f" {one.answer}\n###") for one in LEARNED]
    assert model.lengths(["?"])[1] == [0]


# --- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("learned", "held", "message"),
    [
        ([], HELD, "lessons is empty"),
        (LEARNED, [], "held_out is empty"),
        (LEARNED, [HELD[0], LEARNED[4]], r"1 clips are in both .*lesson 4 and held-out lesson 1.*split them by clip"),
        (LEARNED, [LEARNED[1]._replace(question="Else?", answer="else")], "1 clips are in both"),
        ([Lesson("a", "b")], [Lesson("a", "b")], "1 clips are in both"),
        ([*LEARNED, Lesson("How?", " ")], HELD, r"lessons: lesson 7 \('How\?'\) has no answer"),
        ([Lesson("See <ImageHere>?", "no", LEARNED[0].frames)], HELD, r"Lesson 0 \('See.*names the slots"),
        (LEARNED, [Lesson("?", "no", HELD[0].frames, torch.zeros(1, 1, 36, 56))], "Lesson 0 .*no audio branch"),
    ],
)
def test_lessons_that_are_refused(tmp_path, learned, held, message):
    with pytest.raises(InputError, match=message):
        tune(build(), learned, held, tmp_path, QUICK, score=by_step)


def test_equal_frames_are_the_same_clip(tmp_path):
    copied = HELD[0]._replace(frames=bright(1 - 2 * 0, seed=0))
    assert copied.frames is not LEARNED[0].frames
    with pytest.raises(InputError, match="lesson 0 and held-out lesson 0"):
        tune(build(), LEARNED, [copied], tmp_path, QUICK, score=by_step)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("epochs", 0),
        ("batch_size", 0),
        ("accumulate", 0),
        ("patience", 0),
        ("max_new_tokens", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("weight_decay", -0.1),
        ("warmup", 1.5),
    ],
)
def test_recipes_that_are_refused(name, value):
    with pytest.raises(InputError, match=f"^{name} is {value}"):
        replace(QUICK, **{name: value})


def test_nothing_to_train_and_nothing_to_compare(tmp_path):
    with pytest.raises(InputError, match="Nothing of the model requires a gradient"):
        run(tmp_path, model=build().requires_grad_(False))
    with pytest.raises(InputError, match=r"score of epoch 1 is nan"):
        run(tmp_path, score=lambda *_: math.nan)
    with pytest.raises(InputError, match="save_every is 0"):
        run(tmp_path, save_every=0)


def test_a_loss_that_is_not_finite_names_step_and_lesson(tmp_path):
    clip = LEARNED[3].frames
    broken = [*LEARNED[:3], LEARNED[3]._replace(frames=replace(clip, frames=clip.frames * math.nan)), *LEARNED[4:]]
    steps: list[int] = []
    for _ in range(2):  # the second time, the state before that step is found
        with pytest.raises(InputError, match=r"Step [12]: loss or gradient is nan, with lesson 3 \('Why\?") as refused:
            tune(build(), broken, HELD, tmp_path, QUICK, score=by_step, watch=lambda h, _: steps.append(len(h)))
    [folder] = tmp_path.iterdir()
    tensors, note = kept.read(folder / kept.STATE)
    assert f"Step {len(note['history']) + 1}:" in str(refused.value) and str(folder) in str(refused.value)
    assert len(steps) == len(note["history"])
    assert all(value.isfinite().all() for value in tensors.values())


def test_a_gradient_that_is_not_finite_is_no_step(tmp_path):
    model = build()
    model.video_projection.bias.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(InputError, match=r"Step 1: .*none of which has such a loss alone"):
        run(tmp_path, model=model)
    assert all(weight.isfinite().all() for weight in model.parameters())


def test_adapters_that_do_not_fit(tmp_path, finished):
    with pytest.raises(InputError, match=r"nowhere/adapters.safetensors cannot be read"):
        load_adapters(build(), tmp_path / "nowhere")
    path = tmp_path / "adapters.safetensors"
    path.write_bytes(b"{}")
    with pytest.raises(InputError, match="cannot be read"):
        load_adapters(build(), tmp_path)
    weights = load_file(finished.folder / "adapters.safetensors")
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    name = "video_projection.bias"
    for changed, message in (
        ({**weights, "more": torch.zeros(3)}, r"1 unknown to the model \(such as more\)"),
        ({key: value for key, value in weights.items() if key != name}, rf"1 missing \(such as {name}\)"),
        ({**weights, name: torch.zeros(3)}, rf"1 of another shape \(such as {name}\)"),
    ):
        kept.write(path, changed)
        with pytest.raises(InputError, match=message):
            load_adapters(model, tmp_path)
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
