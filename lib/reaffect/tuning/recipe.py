"""How a run trains, as plain numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reaffect.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Args:
        seed: decides batches and dropout.
        epochs: at most.
        batch_size: lessons in a forward pass, and in a generation.
        learning_rate: the highest, of AdamW: linear warm-up, then a cosine down to zero after the last epoch.
        accumulate: batches a step. Every answer token of a step weighs alike, whichever batch it is in.
        weight_decay: of matrices; by default that of LAVIS, which Video-LLaMA was trained with.
        warmup: share of all steps.
        checkpointing: computes the language model's activations again for the backward pass instead of keeping them.
        patience: epochs without a better score after which to stop.
        max_new_tokens: of an answer in validation.

    Raises:
        InputError: a number that is out of range.
    """

    seed: int
    epochs: int
    batch_size: int
    learning_rate: float
    accumulate: int = 1
    weight_decay: float = 0.05
    warmup: float = 0.1
    checkpointing: bool = False
    patience: int = 2
    max_new_tokens: int = 128

    def __post_init__(self):
        least = {"seed": 0, "epochs": 1, "batch_size": 1, "accumulate": 1, "patience": 1, "max_new_tokens": 1}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {lowest}.")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate is {self.learning_rate}; it must be positive.")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"weight_decay is {self.weight_decay}; it must not be negative.")
        if not 0 <= self.warmup <= 1:
            raise InputError(f"warmup is {self.warmup}; it is a share of the steps, from 0 to 1.")
