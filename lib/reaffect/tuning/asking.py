"""Questions to a model that has learned: lessons as it takes them, those of like length asked together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from reaffect.models.soft_prompt import SoftPromptLM
from reaffect.tuning import kept
from reaffect.tuning.lessons import Lesson, bucketed, cut, kinds_of

ASKED = 16
"""Questions that a model answers at once."""


def answers(
    model: SoftPromptLM, lessons: Sequence[Lesson], file: str | Path, mark: str, *, max_new_tokens: int
) -> list[str]:
    """What a model says to each question, in the lessons' order; kept in a file, and read from there.

    `ASKED` questions at a time, of one kind and of like length: what pads a short one to a long one is read, too.

    Args:
        model: in evaluation mode.
        lessons: what is asked; their own answers are not looked at. Of what they lack the model is given nothing.
        file: JSON, beside the model's weights.
        mark: of what is asked, a fingerprint: other answers than those under it are replaced.
        max_new_tokens: of an answer.
    """
    file = Path(file)
    if file.exists() and (found := json.loads(file.read_text()))["fingerprint"] == mark:
        return found["answers"]
    device = model.language_model.device
    lengths = np.zeros(len(lessons), int)
    for rows in alike(lessons):
        lengths[rows], _ = model.lengths(*inputs([lessons[row] for row in rows], device))
    texts = [""] * len(lessons)
    for rows in bucketed(lengths, ASKED, seed=0, epoch=0, kinds=kinds_of(lessons)):
        said = model.generate(*inputs([lessons[row] for row in rows], device), max_new_tokens=max_new_tokens)
        for row, text in zip(rows, said, strict=True):
            texts[row] = text
    kept.write_note(file, {"fingerprint": mark, "answers": texts})
    return texts


def alike(lessons: Sequence[Lesson]) -> Iterator[np.ndarray]:
    """Numbers of lessons that can stand in one batch, `ASKED` at most, kind by kind."""
    kinds = np.array(kinds_of(lessons))
    for kind in np.unique(kinds):
        yield from cut(np.flatnonzero(kinds == kind), ASKED)


def inputs(lessons: Sequence[Lesson], device: torch.device) -> tuple[list[str], list | None, list | None]:
    """Questions, frames and audio of lessons of one kind, as a model takes them: None where they have none of it.

    Plain tensors are moved to the device; clips of a model's own the model moves.
    """

    def placed(clips: list) -> list | None:
        return None if clips[0] is None else [clip.to(device) if torch.is_tensor(clip) else clip for clip in clips]

    frames, audio = (placed([getattr(one, name) for one in lessons]) for name in ("frames", "audio"))
    return [one.question for one in lessons], frames, audio
