"""Steps of notebook 10: Omni-Emotion's encoders, its phases, recognition, and what is asked."""

from __future__ import annotations

from functools import partial
from typing import Any

from reaffect.corpora import dfew, mafw
from reaffect.instructions import draw
from reaffect.omni import inputs, tuning
from reaffect.rehearsal import batches, networks
from reaffect.rehearsal.batches import Shown
from reaffect.rehearsal.params import Values
from reaffect.rehearsal.readings import Step
from reaffect.tuning import asking

FOLDS = {"DFEW": (dfew, "fold {} {}"), "MAFW": (mafw, "single fold {} {}")}
"""Corpora of Table 5 -> where their sizes are, and what they are called there."""

WHOLE = partial(networks.omni_emotion, phase=3)
"""The model as it is before it learns, and where nothing does."""

MODELS = len(tuning.ROWS) + len(tuning.FUSION_ROWS) - 1
"""Different ones in Tables 1 and 3, which have the whole model in common."""


def finetuning(values: Values, real: Values) -> list[Step]:
    """Notebook 10: each row's model is taken to be as large as the whole one, each answer as long as it may be.

    Of phase 1, where no limit of answers tells how long a learned sentence is, the rehearsal's own parameter does.
    """
    clips, folds, seeds = real["clips"], values["folds"], len(values["seeds"])
    learned, tested = ([_in_fold(values, fold, part) for fold in folds] for part in ("train", "test"))
    rows, length = len(tuning.ROWS), values["max_new_tokens"]
    ask_class = draw("recognition", "", seed=0, options=", ".join(mafw.CLASSES))
    ask_account = draw("multimodal", "", seed=0)
    to_class = {"question": ask_class, "answer_tokens": length["class"]}
    to_account = {"question": ask_account, "answer_tokens": length["account"]}
    to_hear = {"question": draw("caption", "", seed=0), "answer_tokens": real["sentence_tokens"]}
    shown = partial(batches.expressions, frames=values["frames"], duration_s=real["duration_s"])
    blind, deaf = partial(shown, video=False), partial(shown, audio=False)

    def phase(name: str, number: int, batch: Shown, lesson: dict[str, Any], lessons: int) -> Step:
        at_once = min(values["batch_size"][name], values["at_once"])
        accumulate = max(1, values["batch_size"][name] // at_once)
        learn = partial(batches.learned, shown=batch, accumulate=accumulate, **lesson)
        passes = seeds * values["epochs"][name] * lessons
        title = f"phase {name}" if name == str(number) else name
        return Step(title, partial(networks.omni_emotion, phase=number), learn, at_once, passes, "at_once", "weights")

    def answering(name: str, question: str, tokens: int, asked: int) -> Step:
        ask = partial(batches.told, shown=shown, question=question, max_new_tokens=tokens)
        return Step(name, WHOLE, ask, asking.ASKED, seeds * asked, "tuning.asking.ASKED", "weights")

    see, hear = (partial(batches.perceived, frames=frames) for frames in (values["frames"], 0))
    size, sizes = inputs.FrameStates.batch_size, "omni.inputs.FrameStates"
    faces = len(tuning.FUSION_ROWS) * learned[0] + sum(learned[1:])  # runs that tables share are trained once
    return [
        Step("perceive clips", WHOLE, see, size, clips["annotated"] + clips["EMER"] + _all(values), sizes, "weights"),
        Step("hear sounds", WHOLE, hear, size, clips["sounds"], sizes, "weights"),
        phase("1", 1, blind, to_hear, clips["sounds"]),
        phase("2", 2, deaf, to_class, faces),
        phase("3", 3, shown, to_account, MODELS * clips["annotated"]),
        phase("recognition", 3, shown, to_class, rows * sum(learned)),
        answering("ask for accounts", ask_account, length["account"], MODELS * clips["EMER"]),
        answering("ask for classes", ask_class, length["class"], rows * sum(tested)),
    ]


def _all(values: Values) -> int:
    """Clips of all corpora, each once."""
    return sum(_in_fold(values, 1, part) for part in ("train", "test"))


def _in_fold(values: Values, fold: int, part: str) -> int:
    """Clips of all corpora that a fold trains on, or tests."""
    chosen = [FOLDS[name] for name in values["recognised"]]
    return sum(module.PUBLISHED[called.format(fold, part)] for module, called in chosen)
