"""The loop itself: steps, validation by generation, and a state from which it goes on."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from reaffect.errors import InputError
from reaffect.fingerprint import fingerprint
from reaffect.hardware import best_device
from reaffect.models.soft_prompt import SoftPromptLM
from reaffect.tuning import kept
from reaffect.tuning.lessons import Lesson, bucketed, content, contents_of, cut, kinds_of
from reaffect.tuning.recipe import Recipe

Score = Callable[[list[str], Sequence[Lesson]], float]
"""Answers and the lessons that they answer -> a number, the higher the better."""

Watch = Callable[[pd.DataFrame, pd.Series], None]
"""Takes history and scores so far, as in `Tuned`."""


class Tuned(NamedTuple):
    """A finished run."""

    history: pd.DataFrame
    """A row an optimiser step, from 1: `step`, `epoch`, `loss` (mean over its answers' tokens), `learning_rate`."""

    scores: pd.Series
    """On the held-out lessons, by epoch, from 1."""

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
) -> Tuned:
    """Trains what requires a gradient, keeps the epoch whose answers to `held_out` score best, and loads it.

    On a GPU if there is one, and in bf16 if the language model is. On the processor, a run that was killed and called
    again gives the same weights bit for bit as one that was not: batches and dropout come from the seed and the step's
    number alone.

    Args:
        model: frozen where it is not to learn; left in evaluation mode with the chosen epoch's weights, on the GPU if
            there is one.
        lessons: what is learned from; clips without frames or without audio are batched apart.
        held_out: validates by generation, chooses the epoch and ends the run early. These clips must not be among
            those that are reported: their score is the best of several and therefore too good.
        folder: the run gets a folder of its own in it, named by a fingerprint of the recipe, the lessons and the
            weights that the model comes with. A finished run is not trained again but read from there.
        recipe: how to train.
        score: what counts as good. What it does is no part of the fingerprint: if it changes, name another folder.
        save_every: steps after which the state is written, besides after each epoch.
        watch: called after each step and each epoch, and once with a run that was finished before.

    Raises:
        InputError: no lessons, an empty answer, a clip in both parts, a lesson that the model refuses, nothing to
            train, or a loss that is not finite: its step and lesson are named, and the state before it is kept.
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
    # Accelerate's own accumulation counts a data loader's batches; here a step's batches are known beforehand. Its own
    # autocasting is decided once a process, whatever a second model is in.
    accelerator = Accelerator(cpu=best_device() == "cpu")
    model.to(accelerator.device)
    finished = (folder / kept.NOTE).exists()
    if not finished:
        folder.mkdir(parents=True, exist_ok=True)
        run = _Run(accelerator, model, lessons, held_out, folder, recipe, score)
        with _checkpointed(model.language_model, recipe.checkpointing):
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
        accelerator: Accelerator,
        model: SoftPromptLM,
        lessons: Sequence[Lesson],
        held_out: Sequence[Lesson],
        folder: Path,
        recipe: Recipe,
        score: Score,
    ):
        self.accelerator, self.model = accelerator, model
        self.lessons, self.held_out, self.folder, self.recipe, self.score = lessons, held_out, folder, recipe, score
        self.lengths, self.answer_tokens = self._measure(lessons)
        lengths, _ = self._measure(held_out)
        self.held_batches = bucketed(lengths, recipe.batch_size, seed=0, epoch=0, kinds=kinds_of(held_out))
        self.steps_an_epoch = len(self._groups(0))
        self.steps = recipe.epochs * self.steps_an_epoch
        self.weights = kept.trainable(model)
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
        return int(np.argmax(self.scores)) + 1

    @property
    def over(self) -> bool:
        scored = len(self.scores)
        return scored == self.recipe.epochs or (scored > 0 and scored - self.epoch >= self.recipe.patience)

    def learn(self) -> None:
        """One step of the optimiser."""
        epoch, place = divmod(self.step, self.steps_an_epoch)
        batches = self._groups(epoch)[place]
        tokens = self.answer_tokens[np.concatenate(batches)].sum()
        mean = 0.0
        self.model.train()
        with _random_numbers(self.recipe.seed, self.step):
            for rows in batches:
                loss = self._loss(rows)
                if not loss.isfinite():
                    self._refuse(rows, loss)
                share = float(self.answer_tokens[rows].sum() / tokens)
                self.accelerator.backward(loss * share)
                mean += loss.item() * share
        norm = nn.utils.get_total_norm([weight.grad for weight in self.weights.values() if weight.grad is not None])
        if not norm.isfinite():
            self._refuse(np.concatenate(batches), norm)
        self.history.append([self.step + 1, epoch + 1, mean, self.schedule.get_last_lr()[0]])
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()

    def validate(self) -> None:
        """Scores the epoch that is done, and keeps its weights if none before was better."""
        self.model.eval()
        answers = [""] * len(self.held_out)
        for rows in self.held_batches:
            with self._autocast():
                asked = self._asked(self.held_out, rows)
                texts = self.model.generate(*asked, max_new_tokens=self.recipe.max_new_tokens)
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
        kept.write(self.folder / kept.ADAPTERS, kept.read(self._best())[0])
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

    def _autocast(self) -> torch.autocast:
        """In bf16 if the language model is."""
        mixed = self.model.language_model.dtype == torch.bfloat16
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=mixed)

    def _best(self) -> Path:
        return self.folder / f"epoch-{self.epoch:03d}.safetensors"

    def _measure(self, lessons: Sequence[Lesson]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of each lesson, and those of its answer; what the model refuses is found here, before a step."""
        self.model.eval()
        counts = []
        for row, lesson in enumerate(lessons):
            try:
                with self._autocast():
                    counts.append(self.model.lengths(*self._asked(lessons, [row]), [lesson.answer]))
            except ValueError as error:
                raise InputError(f"Lesson {row} ({lesson.question!r:.60}): {error}.") from error
        lengths, answers = np.concatenate(counts, axis=1)
        return lengths, answers

    def _loss(self, rows: Sequence[int]) -> Tensor:
        with self._autocast():
            return self.model(*self._asked(self.lessons, rows), [self.lessons[row].answer for row in rows]).loss

    def _asked(self, lessons: Sequence[Lesson], rows: Sequence[int]) -> tuple[list[str], list | None, list | None]:
        """Questions, frames and audio of a batch."""
        chosen = [lessons[row] for row in rows]
        frames, audio = (self._placed([getattr(one, name) for one in chosen]) for name in ("frames", "audio"))
        return [one.question for one in chosen], frames, audio

    def _placed(self, clips: list) -> list | None:
        """None where a batch has none of it; clips that are no plain tensors are moved by the model."""
        if clips[0] is None:
            return None
        return [clip.to(self.accelerator.device) if torch.is_tensor(clip) else clip for clip in clips]

    def _refuse(self, rows: np.ndarray, value: Tensor) -> None:
        """Keeps the state before this step, and says which lesson broke it."""
        self.save()
        self.model.eval()
        with torch.inference_mode():
            guilty = [row for row in rows if not self._loss([row]).isfinite()]
        named = ", ".join(f"{row} ({self.lessons[row].question!r:.60})" for row in (guilty or rows)[:3])
        raise InputError(
            f"Step {self.step + 1}: loss or gradient is {value.item()}, with lesson {named}"
            f"{'' if guilty else ', none of which has such a loss alone'}; mend or leave out the lesson, or take a "
            f"lower learning_rate. The state before the step is kept in {self.folder}."
        )


def _tables(history: Sequence[Sequence[float]], scores: Sequence[float]) -> tuple[pd.DataFrame, pd.Series]:
    table = pd.DataFrame(list(history), columns=["step", "epoch", "loss", "learning_rate"])
    epochs = pd.RangeIndex(1, len(scores) + 1, name="epoch")
    return table, pd.Series(list(scores), epochs, dtype=float, name="score")


@contextmanager
def _random_numbers(seed: int, step: int) -> Iterator[None]:
    """Random numbers of one step, which do not depend on those drawn before, and leave the caller's as they were."""
    with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []):
        torch.manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1)[0]))
        yield


@contextmanager
def _checkpointed(language_model: nn.Module, wanted: bool) -> Iterator[None]:
    """The language model with gradient checkpointing, for which it must not keep keys and values."""
    if not wanted:
        yield
        return
    config, cached = language_model.config, language_model.config.use_cache
    config.use_cache = False
    language_model.activation_checkpointing_enable()
    try:
        yield
    finally:
        language_model.activation_checkpointing_disable()
        config.use_cache = cached
