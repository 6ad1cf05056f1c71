"""What one process does with its copy of a model: gradients of lessons' losses, answers, and lengths."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from reaffect.models.soft_prompt import SoftPromptLM
from reaffect.tuning import asking, kept
from reaffect.tuning.lessons import Lesson
from reaffect.tuning.recipe import Recipe


class Replica:
    """A model on its device.

    Args:
        model: moved there.
        device: a GPU or the processor.
        recipe: of the run.
        rank: of the process, from 0: each draws dropout of its own.
    """

    def __init__(self, model: SoftPromptLM, device: str, recipe: Recipe, rank: int = 0):
        self.model, self.device, self.recipe, self.rank = model.to(device), torch.device(device), recipe, rank
        self.weights = kept.trainable(model)

    def learn(self, batches: Sequence[tuple[Sequence[Lesson], float]], step: int) -> list[float]:
        """Adds the gradients of batches' losses to those that are there.

        Args:
            batches: lessons that go through the model together, and what their loss is multiplied by.
            step: of the optimiser; decides dropout, with the recipe's seed.

        Returns:
            The batches' losses, up to the first that is not finite; it and what follows add nothing.
        """
        losses: list[float] = []
        self.model.train()
        with _random_numbers(self.recipe.seed, step, self.rank):
            for lessons, share in batches:
                loss = self.loss(lessons)
                losses.append(loss.item())
                if not math.isfinite(losses[-1]):
                    break
                (loss * share).backward()
        return losses

    def answers(self, batches: Sequence[Sequence[Lesson]]) -> list[list[str]]:
        """What the model generates for each lesson of each batch."""
        self.model.eval()
        texts = []
        for lessons in batches:
            with self._autocast():
                texts.append(
                    self.model.generate(*asking.inputs(lessons, self.device), max_new_tokens=self.recipe.max_new_tokens)
                )
        return texts

    def lengths(self, lessons: Sequence[Lesson]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of each lesson, and those of its answer.

        Raises:
            ValueError: the model refuses one.
        """
        whole, learned = np.zeros((2, len(lessons)), int)
        with self._autocast():
            for rows in asking.alike(lessons):
                some = [lessons[row] for row in rows]
                counts = self.model.lengths(*asking.inputs(some, self.device), [one.answer for one in some])
                whole[rows], learned[rows] = counts
        return whole, learned

    def loss(self, lessons: Sequence[Lesson]) -> Tensor:
        """Mean over the tokens of a batch's answers."""
        with self._autocast():
            return self.model(*asking.inputs(lessons, self.device), [lesson.answer for lesson in lessons]).loss

    def _autocast(self) -> torch.autocast:
        """In bf16 if the language model is."""
        mixed = self.model.language_model.dtype == torch.bfloat16
        return torch.autocast(self.device.type, torch.bfloat16, enabled=mixed)


@contextmanager
def checkpointed(language_model: nn.Module, wanted: bool) -> Iterator[None]:
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


@contextmanager
def _random_numbers(seed: int, step: int, rank: int) -> Iterator[None]:
    """Random numbers of one step, which do not depend on those drawn before, and leave the caller's as they were."""
    entropy = [seed, step, rank] if rank else [seed, step]
    with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []):
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        yield
