"""The loop itself: steps, validation by generation, and a state from which it goes on."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from reaffect.errors import InputError
from reaffect.fingerprint import fingerprint
from reaffect.hardware import best_device
from reaffect.models.soft_prompt import SoftPromptLM
from reaffect.tuning import kept
from reaffect.tuning.lessons import Lesson, bucketed, content, contents_of, cut, kinds_of
from reaffect.tuning.processes import Team, deal
from reaffect.tuning.recipe import Recipe
from reaffect.tuning.replica import Replica, checkpointed

Score = Callable[[list[str], Sequence[Lesson]], float]
"""Answers and the lessons that they answer -> a number, the higher the better."""

Watch = Callable[[pd.DataFrame, pd.Series], None]
"""Takes history and scores so far, as in `Tuned`."""


class Tuned(NamedTuple):
    """A finished run."""

    history: pd.DataFrame
    """A row an optimiser step, from 1: `step`, `epoch`, `loss` (mean over its answers' tokens), `learning_rate`."""

    scores: pd.Series
    """On the held-out lessons, by epoch, from 1; empty where there is one epoch alone, which needs no choice."""

    epoch: int
    """The chosen one: the first with the highest score."""

    folder: Path
    """Holds the chosen epoch's adapters; see `load_adapters`."""


def tune(
    model: SoftPromptLM,
    lessons: Sequence[Lesson],
    held_out: Sequence[Lesson],
    folder: str | Path,
    recipe: Recipe,
    *,
    score: Score,
    save_every: int = 50,
    watch: Watch | None = None,
    processes: int = 1,
) -> Tuned:
    """Trains what requires a gradient, keeps the epoch whose answers to `held_out` score best, and loads it.

    On a GPU if there is one, and in bf16 if the language model is. On the processor, a run that was killed and called
    again gives the same weights bit for bit as one that was not: batches and dropout come from the seed and the step's
    number alone.

    Several processes learn together what one would: each step's lessons and each validation's are dealt to them, and
    gradients are summed. Weights then differ by rounding and by other draws of dropout, so the folder is the same, and
    a run that was begun by one may be gone on with by several. Lessons are sent to them as they are needed, through
    pipes. A step of a single lesson is learned by one of them while the others wait.

    Args:
        model: frozen where it is not to learn; left in evaluation mode with the chosen epoch's weights, on the GPU if
            there is one.
        lessons: what is learned from; clips without frames or without audio are batched apart.
        held_out: validates by generation, chooses the epoch and ends the run early; a recipe of one epoch does not
            look at it. These clips must not be among those that are reported: their score is the best of several and
            therefore too good.
        folder: the run gets a folder of its own in it, named by a fingerprint of the recipe, the lessons and the
            weights that the model comes with. A finished run is not trained again but read from there.
        recipe: how to train.
        score: what counts as good. What it does is no part of the fingerprint: if it changes, name another folder.
        save_every: steps after which the state is written, besides after each epoch.
        watch: called after each step and each epoch, and once with a run that was finished before.
        processes: that learn together, this one included, each on a GPU of its own, or all on the processor.

    Raises:
        InputError: no lessons, an empty answer, a clip in both parts, a lesson that the model refuses, nothing to
            train, more processes than GPUs, a process that dies, or a loss that is not finite: its step and lesson are
            named, and the state before it is kept.
    """
    if save_every < 1:
        raise InputError(f"save_every is {save_every}; it must be at least 1.")
    learned = kept.trainable(model)
    if not learned:
        raise InputError("Nothing of the model requires a gradient: leave something unfrozen.")
    parts = contents_of(lessons, held_out)
    # The config stands for what weights do not show, such as dropout.
    known = content([type(model).__name__, model.config, model.state_dict(), sorted(learned)])
    folder = Path(folder) / fingerprint(dataclasses.asdict(recipe), known, parts)
    team = Team(Replica(model, best_device(), recipe), processes)
    finished = (folder / kept.NOTE).exists()
    if not finished:
        folder.mkdir(parents=True, exist_ok=True)
        run = _Run(team, lessons, held_out, folder, recipe, score)
        with team.started(folder), checkpointed(model.language_model, recipe.checkpointing):
            _train(run, save_every, watch)
        run.finish()
    kept.load_adapters(model, folder)
    kept.clear(folder, *LEFT_OVER)
    model.eval()
    note = json.loads((folder / kept.NOTE).read_text())
    tuned = Tuned(*_tables(note["history"], note["scores"]), note["epoch"], folder)
    if finished and watch:
        watch(tuned.history, tuned.scores)
    return tuned


LEFT_OVER = (kept.STATE, "epoch-*.safetensors", "*.part")
"""Files that a finished run has no use for; the last ones were being written when a run was killed."""


def _train(run: _Run, save_every: int, watch: Watch | None) -> None:
    with tqdm(total=run.steps, initial=run.step, desc="tuning") as bar:
        while not run.over:
            if run.step < run.steps_an_epoch * (len(run.scores) + 1):
                run.learn()
                bar.update()
                if not run.step % save_every:
                    run.save()
            else:
                run.validate()
                bar.set_postfix(score=f"{run.scores[-1]:.3f}", best=run.epoch)
            if watch:
                watch(*_tables(run.history, run.scores))


class _Run:
    """A run that is not over: what changes (weights, moments, history, scores) beside what decides it."""

    def __init__(
        self,
        team: Team,
        lessons: Sequence[Lesson],
        held_out: Sequence[Lesson],
        folder: Path,
        recipe: Recipe,
        score: Score,
    ):
        self.team, self.replica = team, team.leader
        self.lessons, self.held_out, self.folder, self.recipe, self.score = lessons, held_out, folder, recipe, score
        self.lengths, self.answer_tokens = self._measure(lessons)
        self.held_batches: list[np.ndarray] = []
        if recipe.epochs > 1:
            lengths, _ = self._measure(held_out)
            self.held_batches = bucketed(lengths, recipe.batch_size, seed=0, epoch=0, kinds=kinds_of(held_out))
        self.steps_an_epoch = len(self._groups(0))
        self.steps = recipe.epochs * self.steps_an_epoch
        self.weights = self.replica.weights
        self.history: list[list[float]] = []
        self.scores: list[float] = []
        self._start()

    @property
    def step(self) -> int:
        """Steps that are done."""
        return len(self.history)

    @property
    def epoch(self) -> int:
        """The best one so far, from 1."""
        return int(np.argmax(self.scores)) + 1 if self.scores else 1

    @property
    def over(self) -> bool:
        if self.recipe.epochs == 1:  # there is nothing to choose
            return self.step == self.steps
        scored = len(self.scores)
        return scored == self.recipe.epochs or (scored > 0 and scored - self.epoch >= self.recipe.patience)

    def learn(self) -> None:
        """One step of the optimiser."""
        epoch, place = divmod(self.step, self.steps_an_epoch)
        batches = self._groups(epoch)[place]
        tokens = self.answer_tokens[np.concatenate(batches)].sum()
        dealt = [
            [(rows, float(self.answer_tokens[rows].sum() / tokens)) for rows in own]
            for own in deal(batches, self.team.size)
        ]
        tasks = [[([self.lessons[row] for row in rows], share) for rows, share in own] for own in dealt]
        mean = 0.0
        for own, losses in zip(dealt, self.team.learn(tasks, self.step), strict=True):
            for (rows, share), loss in zip(own, losses, strict=False):  # none follow one that is not finite
                if not math.isfinite(loss):
                    self._refuse(rows, loss)
                mean += loss * share
        self.team.sum_gradients()
        norm = nn.utils.get_total_norm([weight.grad for weight in self.weights.values() if weight.grad is not None])
        if not norm.isfinite():
            self._refuse(np.concatenate(batches), norm.item())
        self.history.append([self.step + 1, epoch + 1, mean, self.schedule.get_last_lr()[0]])
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()

    def validate(self) -> None:
        """Scores the epoch that is done, and keeps its weights if none before was better."""
        answers = [""] * len(self.held_out)
        told = self.team.answers([[self.held_out[row] for row in rows] for rows in self.held_batches])
        for rows, texts in zip(self.held_batches, told, strict=True):
            for row, text in zip(rows, texts, strict=True):
                answers[row] = text
        score = float(self.score(answers, self.held_out))
        if not math.isfinite(score):
            raise InputError(f"The score of epoch {len(self.scores) + 1} is {score}; let it be a finite number.")
        self.scores.append(score)
        if self.epoch == len(self.scores):
            kept.write(self._best(), self.weights)
        self.save()
        kept.clear(self.folder, "epoch-*.safetensors", but=self._best())

    def save(self) -> None:
        """Keeps the state, all of it in one file."""
        moments = self.optimizer.state_dict()["state"]
        tensors = {f"weights/{name}": value for name, value in self.weights.items()}
        tensors |= {f"moments/{row}/{name}": value for row, own in moments.items() for name, value in own.items()}
        kept.write(self.folder / kept.STATE, tensors, {"history": self.history, "scores": self.scores})

    def finish(self) -> None:
        """The adapters and then, as the sign that they are whole, the note."""
        kept.write(self.folder / kept.ADAPTERS, kept.read(self._best())[0] if self.scores else self.weights)
        note = {"recipe": dataclasses.asdict(self.recipe), "epoch": self.epoch}
        kept.write_note(self.folder / kept.NOTE, {**note, "scores": self.scores, "history": self.history})

    def _start(self) -> None:
        """Optimiser and schedule, at the state that was kept, if one was."""
        rate, weights = self.recipe.learning_rate, self.weights.values()
        matrices, others = ([one for one in weights if (one.ndim > 1) == wanted] for wanted in (True, False))
        groups = [
            {"params": matrices, "weight_decay": self.recipe.weight_decay, "initial_lr": rate},
            {"params": others, "weight_decay": 0.0, "initial_lr": rate},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=rate, fused=True)
        kept.clear(self.folder, "*.part")
        path = self.folder / kept.STATE
        if path.exists():
            tensors, note = kept.read(path)
            kept.fill(self.weights, kept.under(tensors, "weights/"), path)
            moments: dict[int, dict[str, Tensor]] = {}
            for name, value in kept.under(tensors, "moments/").items():
                row, kind = name.split("/")
                moments.setdefault(int(row), {})[kind] = value
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
            self.history, self.scores = note["history"], note["scores"]
        warmup = round(self.recipe.warmup * self.steps)
        self.schedule = get_cosine_schedule_with_warmup(self.optimizer, warmup, self.steps, last_epoch=self.step - 1)

    def _groups(self, epoch: int) -> list[list[np.ndarray]]:
        """Batches of each step of an epoch (from 0); the last step may have fewer."""
        size, seed, kinds = self.recipe.batch_size, self.recipe.seed, kinds_of(self.lessons)
        return cut(bucketed(self.lengths, size, seed=seed, epoch=epoch, kinds=kinds), self.recipe.accumulate)

    def _best(self) -> Path:
        return self.folder / f"epoch-{self.epoch:03d}.safetensors"

    def _measure(self, lessons: Sequence[Lesson]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of each lesson, and those of its answer; what the model refuses is found here, before a step."""
        self.replica.model.eval()
        try:
            return self.replica.lengths(lessons)
        except ValueError:
            for row, lesson in enumerate(lessons):
                try:
                    self.replica.lengths([lesson])
                except ValueError as error:
                    raise InputError(f"Lesson {row} ({lesson.question!r:.60}): {error}.") from error
            raise

    def _refuse(self, rows: np.ndarray, value: float) -> None:
        """Keeps the state before this step, and says which lesson broke it."""
        self.save()
        self.replica.model.eval()
        with torch.inference_mode():
            guilty = [row for row in rows if not self.replica.loss([self.lessons[row]]).isfinite()]
        named = ", ".join(f"{row} ({self.lessons[row].question!r:.60})" for row in (guilty or rows)[:3])
        raise InputError(
            f"Step {self.step + 1}: loss or gradient is {value}, with lesson {named}"
            f"{'' if guilty else ', none of which has such a loss alone'}; mend or leave out the lesson, or take a "
            f"lower learning_rate. The state before the step is kept in {self.folder}."
        )


def _tables(history: Sequence[Sequence[float]], scores: Sequence[float]) -> tuple[pd.DataFrame, pd.Series]:
    table = pd.DataFrame(list(history), columns=["step", "epoch", "loss", "learning_rate"])
    epochs = pd.RangeIndex(1, len(scores) + 1, name="epoch")
    return table, pd.Series(list(scores), epochs, dtype=float, name="score")
