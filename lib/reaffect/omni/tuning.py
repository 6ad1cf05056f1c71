"""How notebook 10 trains Omni-Emotion: three phases one after the other (Section 4.4), then recognition (Section 5.4).

A course is a list of phases. Each row of a table goes through it once for each seed, every phase from the weights of
the one before. A phase is a run of `tuning.tune`: named by what it begins with and learns from, so that rows and tables
that have a phase in common train it once.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers import logging as transformers_logging

from reaffect import paths, recognition
from reaffect.corpora import expressions
from reaffect.errors import InputError
from reaffect.fingerprint import fingerprint
from reaffect.hardware import best_device, precision
from reaffect.models.omni_emotion import ABLATIONS, FUSIONS, PHASES, OmniEmotion
from reaffect.omni.inputs import Corpus, Perceived, recognition_lessons, tested_clips
from reaffect.tuning import Lesson, Recipe, Tuned, asking, tune
from reaffect.tuning.lessons import content

ROWS: dict[str, dict[str, Any]] = {**ABLATIONS}
"""Rows of Table 1, named as `recognition.MODALITIES` names them -> what differs in the config."""

FUSION_ROWS: dict[str, dict[str, Any]] = {
    "Concatenation on per frame": {"fusion": "frame"},
    "Cross-attention on per frame": {"fusion": "cross"},
    "Concatenation on video level": {"fusion": "clip"},
}
"""Rows of Table 3 -> what differs in the config."""

Load = Callable[..., OmniEmotion]
"""Parts of the config -> a model that begins from the common checkpoint, such as a `Beginning`."""

Watch = Callable[[pd.DataFrame, pd.Series], None]
"""As for `tuning.tune`."""


class Beginning:
    """Models that begin from one checkpoint: called with the parts of the config that differ, it gives a fresh one.

    The language model beside a folder of ours is read once, and copied for each model. Models are on the GPU if there
    is one, the language model in `hardware.precision`, all else in float32, or, of released files, in the same.

    Args:
        weights: one folder of ours; or the released LLaVA-OneVision, Whisper and FaceXFormer, see
            `OmniEmotion.from_released`. Each a name as for `paths.checkpoint`.
        language_model: that goes with a folder of ours; the released LLaVA-OneVision brings its own.
        options: of the config, for all of them.

    Raises:
        InputError: not one folder or three checkpoints.
    """

    def __init__(self, weights: Sequence[str], language_model: str = "", **options: Any):
        if len(weights) not in (1, 3) or bool(language_model) != (len(weights) == 1):
            raise InputError(
                "weights must be one folder, with a language_model, or three checkpoints, without: of LLaVA-OneVision, "
                f"Whisper and FaceXFormer; there are {len(weights)}, with language_model {language_model!r}."
            )
        self.places = [paths.checkpoint(name) for name in weights]
        self.source = paths.checkpoint(language_model) if language_model else ""
        self.options = options

    def __call__(self, **parts: Any) -> OmniEmotion:
        """A model in evaluation mode.

        Raises:
            InputError: a missing file, or weights that do not fit.
        """
        missing = [place for place in (*self.places, self.source) if isinstance(place, Path) and not place.exists()]
        if missing:
            raise InputError(f"{missing[0]}: no weights. `make embedded` makes the small ones.")
        chosen = self.options | parts
        try:
            if self.source:
                model = OmniEmotion.from_pretrained(self.places[0], copy.deepcopy(self._words), **chosen)
            else:
                model = OmniEmotion.from_released(*self.places, dtype=precision(best_device()), **chosen)
        except (OSError, ValueError) as error:
            raise InputError(f"Omni-Emotion could not be loaded: {str(error).strip().splitlines()[0]}") from error
        return model.to(best_device())

    def identified(self, **parts: Any) -> tuple[OmniEmotion, str]:
        """The same with what identifies the checkpoint, for `inputs`."""
        dtype = str(precision(best_device()))
        return self(**parts), fingerprint("OmniEmotion", *self.places, self.source, dtype, content(self.options))

    @cached_property
    def _words(self) -> PreTrainedModel:
        transformers_logging.disable_progress_bar()
        dtype = precision(best_device())
        return AutoModelForCausalLM.from_pretrained(self.source, dtype=dtype, use_safetensors=True)


def names_class(answers: list[str], asked: Sequence[Lesson]) -> float:
    """What validates recognition: the share of answers that name the class of the lesson's own answer alone.

    Of lessons whose answers name no class it is 0, so that their first epoch counts.
    """
    named = [expressions.answered(lesson.answer, expressions.CLASSES) for lesson in asked]
    said = [expressions.answered(answer, expressions.CLASSES) for answer in answers]
    return sum(one == other != "" for one, other in zip(said, named, strict=True)) / len(asked)


class Phase(NamedTuple):
    """What one phase learns from."""

    number: int
    """Of `models.omni_emotion.PHASES`: what learns."""

    lessons: Sequence[Lesson]
    held_out: Sequence[Lesson]
    """Choose the epoch; not reported."""

    recipe: Recipe
    """Its seed is replaced by the run's."""

    score: Callable[[list[str], Sequence[Lesson]], float] = names_class
    """Of answers to the held-out lessons; for descriptions, see `openset.by_labels`."""


class Ablation(NamedTuple):
    """Runs of every row, and what they say."""

    told: pd.DataFrame
    """A row a run and test clip: `row`, `seed`, `clip` (its place among the test clips), `text`."""

    runs: dict[tuple[str, int], list[Tuned]]
    """By row and seed, one a phase."""


class Recognised(NamedTuple):
    """Runs of every row and fold, and what they answer."""

    told: dict[str, pd.DataFrame]
    """By corpus, a row a run and test clip, for `recognition.read`: `row`, `seed`, `clip` (id), `text`."""

    runs: dict[tuple[str, int, int], list[Tuned]]
    """By row, fold and seed, one a phase."""


def ablate(
    load: Load,
    course: Sequence[Phase],
    test: Sequence[Lesson],
    folder: str | Path,
    *,
    seeds: Sequence[int],
    max_new_tokens: int,
    rows: Mapping[str, Mapping[str, Any]] = ROWS,
    watch: Watch | None = None,
    processes: int = 1,
) -> Ablation:
    """Takes each row through a course once for each seed, and asks it about the test clips (Tables 1 and 3).

    Args:
        load: gives the models that begin.
        course: phases in their order; one that trains no part of a row's model is left out of that row.
        test: what is asked.
        folder: of the runs; a finished one is read from there.
        seeds: of new parts' initial weights, batches and dropout.
        max_new_tokens: of an answer.
        rows: name -> what differs in the config.
        watch: sees each run's history grow.
        processes: that learn together, see `tuning.tune`.

    Raises:
        InputError: a phase learns from a test clip, or is validated by one; or see `tuning.tune`.
    """
    _refuse_tested(course, test, "the test part")
    mark = fingerprint(content(test), max_new_tokens)
    trainer = _Trainer(load, folder, watch, processes)
    told, runs = [], {}
    for name, parts in rows.items():
        for seed in seeds:
            model, runs[name, seed] = trainer.take(course, seed, parts)
            file = runs[name, seed][-1].folder / "answers.json"
            texts = asking.answers(model, _taken(model, test), file, mark, max_new_tokens=max_new_tokens)
            told += [{"row": name, "seed": seed, "clip": clip, "text": text} for clip, text in enumerate(texts)]
    return Ablation(pd.DataFrame(told), runs)


def recognise(
    load: Load,
    courses: Mapping[int, Sequence[Phase]],
    corpora: Mapping[str, Corpus],
    seen: Mapping[str, Perceived],
    folder: str | Path,
    *,
    seeds: Sequence[int],
    max_new_tokens: int,
    rows: Mapping[str, Mapping[str, Any]] = ROWS,
    watch: Watch | None = None,
    processes: int = 1,
) -> Recognised:
    """Takes each row through each fold's course once for each seed, and asks it about what that fold tests (Table 5).

    Args:
        load, folder, seeds, max_new_tokens, rows, watch, processes: as for `ablate`.
        courses: by fold; the last phase has that fold's recognition lessons.
        corpora: by name; clips of the fold's test parts are asked about, of all of them.
        seen: by media file, from `inputs.perceived`.

    Raises:
        InputError: a phase learns from a clip that its fold tests, or is validated by one; or see `tuning.tune`.
    """
    trainer = _Trainer(load, folder, watch, processes)
    told: dict[str, list[pd.DataFrame]] = {name: [] for name in corpora}
    runs = {}
    for fold, course in courses.items():
        tested = dict(list(tested_clips(corpora, fold).groupby("corpus", sort=False)))
        asked = {name: recognition_lessons(table, seen) for name, table in tested.items()}
        marks = {name: fingerprint(content(test), max_new_tokens) for name, test in asked.items()}
        for name, test in asked.items():
            _refuse_tested(course, test, f"fold {fold} of {name}")
        for row, parts in rows.items():
            for seed in seeds:
                model, runs[row, fold, seed] = trainer.take(course, seed, parts)
                for name, test in asked.items():
                    file = runs[row, fold, seed][-1].folder / f"answers {name}.json"
                    texts = asking.answers(model, _taken(model, test), file, marks[name], max_new_tokens=max_new_tokens)
                    told[name].append(recognition.answered(row, tested[name]["clip"], texts, seed=seed))
    return Recognised({name: pd.concat(each, ignore_index=True) for name, each in told.items()}, runs)


def follow(load: Load, course: Sequence[Phase], folder: str | Path, *, seed: int, **parts: Any) -> pd.DataFrame:
    """One run of a course, phase by phase: what moved, and what that did to lessons that were not learned.

    Args:
        load, course, folder: as for `ablate`, whose runs these are.
        seed: one of those there.
        parts: what differs in the config.

    Returns:
        A row a phase: `phase` (number), `lessons`, `steps`, `loss before` and `loss after` (mean over held-out lessons,
        nats a token), `moved` and `kept` (names of parts, compared bit for bit; LoRA is a part of its own). Phase 1 is
        run in a model without faces.
    """
    follower = _Follower(load, folder)
    follower.take(course, seed, parts)
    return pd.DataFrame(follower.made)


@torch.inference_mode()
def held_out_loss(model: OmniEmotion, lessons: Sequence[Lesson]) -> float:
    """Mean over lessons of the cross-entropy of an answer's tokens, in nats a token."""
    model.eval()
    losses = [
        model(*asking.inputs([lesson], model.language_model.device), [lesson.answer]).loss.item()
        for lesson in _taken(model, lessons)
    ]
    return sum(losses) / len(losses)


class _Trainer:
    """Takes models through courses."""

    def __init__(self, load: Load, folder: str | Path, watch: Watch | None = None, processes: int = 1):
        self.load, self.folder, self.options = load, folder, {"watch": watch, "processes": processes}
        self.aligned: dict[tuple[int, int, str], tuple[Tuned, dict[str, Tensor]]] = {}

    def take(self, course: Sequence[Phase], seed: int, parts: Mapping[str, Any]) -> tuple[OmniEmotion, list[Tuned]]:
        """A row's model after a course, and the run of each phase that trains a part of it."""
        torch.manual_seed(seed)
        model, runs = self.load(**parts), []
        there = {name for name, _ in model.named_children()}
        for phase in course:
            if phase.number == 1 and not runs and "audio_projector" in there:
                runs.append(self.hear(model, phase, seed, parts))
            elif there & set(PHASES.get(phase.number, there)):  # `begin` refuses a number that is none
                runs.append(self.run(model, phase, seed))
        if not runs:
            raise InputError(f"No phase of the course trains a part of the model {dict(parts)}. Add phase 3.")
        return model, runs

    def hear(self, model: OmniEmotion, phase: Phase, seed: int, parts: Mapping[str, Any]) -> Tuned:
        """Phase 1 from the common checkpoint. Nothing is seen in it: one run serves all rows that hear."""
        blind = {**parts, "face_branch": False, "fusion": FUSIONS[-1]}
        key = seed, id(phase.lessons), str(sorted(blind.items()))
        if key not in self.aligned:
            alone = self.load(**blind)
            self.aligned[key] = self.run(alone, phase, seed), alone.audio_projector.state_dict()
        tuned, weights = self.aligned[key]
        model.audio_projector.load_state_dict(weights)
        return tuned

    def run(self, model: OmniEmotion, phase: Phase, seed: int) -> Tuned:
        lessons, held_out = _taken(model, phase.lessons), _taken(model, phase.held_out)
        recipe = replace(phase.recipe, seed=seed)
        model = model.begin(phase.number)
        return tune(model, lessons, held_out, self.folder, recipe, score=phase.score, **self.options)


class _Follower(_Trainer):
    """One that looks at each phase before and after."""

    def __init__(self, load: Load, folder: str | Path):
        super().__init__(load, folder)
        self.made: list[dict[str, Any]] = []

    def run(self, model: OmniEmotion, phase: Phase, seed: int) -> Tuned:
        was, loss = _contents(model), held_out_loss(model, phase.held_out)
        tuned = super().run(model, phase, seed)
        now = _contents(model)
        moved = [name for name in now if now[name] != was[name]]
        self.made.append(
            {
                "phase": phase.number,
                "lessons": len(phase.lessons),
                "steps": len(tuned.history),
                "loss before": loss,
                "loss after": held_out_loss(model, phase.held_out),
                "moved": ", ".join(moved),
                "kept": ", ".join(name for name in now if name not in moved),
            }
        )
        return tuned


def _taken(model: OmniEmotion, lessons: Sequence[Lesson]) -> list[Lesson]:
    """Lessons without what the model has no part for."""
    return list(lessons) if model.config.audio_branch else [lesson._replace(audio=None) for lesson in lessons]


def _refuse_tested(course: Sequence[Phase], test: Sequence[Lesson], tested: str) -> None:
    """Raises InputError if a phase has seen a clip that is tested, by what the encoders make of it."""
    asked = {_clip(lesson) for lesson in test}
    for phase in course:
        for what in ("lessons", "held_out"):
            shared = [row for row, lesson in enumerate(getattr(phase, what)) if _clip(lesson) in asked]
            if shared:
                raise InputError(
                    f"Phase {phase.number}: {len(shared)} of its {what} (such as number {shared[0]}) show a clip that "
                    f"{tested} tests. Take lessons of training clips of the same fold."
                )


def _clip(lesson: Lesson) -> str:
    states = lesson.audio.heard if lesson.frames is None else lesson.frames.frames
    return fingerprint(content(states))


def _contents(model: OmniEmotion) -> dict[str, str]:
    """Fingerprint of each part's weights."""
    parts = defaultdict(list)
    for name, value in model.state_dict().items():
        parts[name.split(".")[0] + " (LoRA)" * ("lora_" in name)].append(content(value))
    return {part: fingerprint(values) for part, values in parts.items()}
