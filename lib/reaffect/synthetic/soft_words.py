"""How the small audio-visual LLMs learn: soft tokens become words that the language model knows already.

The language model is SmolLM2 as published, and stays it: backpropagation through its 135 M parameters would take most
of an hour here. Instead every soft token learns to point where the embedding of a caption's word points, by
cross-entropy over the words of all captions, and to be as long. The language model then reads soft tokens as it reads
words, and answers in words of its own, untrained on emotions, as in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, Blip2VisionModel, PreTrainedModel, PreTrainedTokenizerBase
from transformers import logging as transformers_logging

from reaffect.hardware import precision
from reaffect.models.imagebind import AudioConfig
from reaffect.synthetic import video_llava_training as training
from reaffect.synthetic.av_lessons import GROUPS, Pictures

SHARPNESS = 30.0
"""Of the cosines that are compared."""

LARGEST_SHIFT = 2
"""Pixels by which frames are moved at random, under light and colours at random."""


class SoftWords:
    """The words of all captions, as targets.

    Args:
        tokenizer: the language model's.
        embeddings: its table (vocabulary, hidden).
        captions: all that can be said.
        slots: soft tokens; what is longer is cut, what is shorter begins again.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        embeddings: Float[Tensor, "vocabulary hidden"],
        captions: Sequence[str],
        slots: int,
    ):
        self._tokenizer, self._slots = tokenizer, slots
        self._known = sorted({token for caption in captions for token in self._ids(caption)})
        self._vectors = embeddings.detach()[self._known]

    def targets(self, captions: Sequence[str]) -> Int[Tensor, "captions slots"]:
        """Which known word each slot should be."""
        place = {token: index for index, token in enumerate(self._known)}
        return torch.tensor([[place[token] for token in self._ids(caption)] for caption in captions])

    def noisy(self, captions: Sequence[str], noise: float, shift: float) -> Float[Tensor, "captions slots hidden"]:
        """The words of captions about as a network shows them that has learnt to, for a language model to learn from.

        Args:
            captions: of those known.
            noise: standard deviation of each word's own, in that of the words.
            shift: of what is the same for all: where a network goes that learns on, its words go together.
        """
        words = self._vectors[self.targets(captions)]
        together = shift * torch.randn(words.shape[-1])
        return words + words.std() * (together + noise * torch.randn_like(words))

    def _ids(self, caption: str) -> list[int]:
        ids = self._tokenizer(f" {caption}", add_special_tokens=False).input_ids
        return [ids[slot % len(ids)] for slot in range(self._slots)]

    def loss(self, soft: Float[Tensor, "batch slots hidden"], wanted: Int[Tensor, "batch slots"]) -> Tensor:
        """Cross-entropy of directions, and the squared distance from the word in its lengths.

        The first tells words apart early on; without the second, directions stop where they are told apart, too far
        from the words for the language model to read them.
        """
        directions = functional.normalize(soft, dim=-1) @ functional.normalize(self._vectors, dim=-1).T
        words = self._vectors[wanted]
        off = (soft - words).square().sum(-1) / words.square().sum(-1)
        return functional.cross_entropy(SHARPNESS * directions.flatten(0, 1), wanted.flatten()) + off.mean()


def varied(frames: Float[Tensor, "batch 3 side side"]) -> Tensor:
    """Frames moved together and lit anew, each by itself."""
    shift = torch.randint(-LARGEST_SHIFT, LARGEST_SHIFT + 1, (2,)).tolist()
    gain, offset = 0.15 * torch.randn(2, len(frames), 3, 1, 1)
    return frames.roll(shift, (-2, -1)) * (1 + gain) + offset


def voice(smollm2: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """SmolLM2 as published, in `hardware.precision`, and its tokenizer."""
    transformers_logging.disable_progress_bar()
    language_model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=precision("cpu"))
    return language_model, AutoTokenizer.from_pretrained(smollm2)


def word_vectors(model: nn.Module) -> Float[Tensor, "vocabulary hidden"]:
    """What a model's language model has for each word."""
    return model.language_model.get_input_embeddings().weight.float()


def ears(width: int, heads: int) -> AudioConfig:
    """Of a small audio tower."""
    return AudioConfig(width=width, layers=2, heads=heads, output=width, stride=16)


def sizes(recipe: Any) -> dict[str, Any]:
    """Of a config, what a small Video-LLaMA and a small MicroEmo have in common.

    Args:
        recipe: of either; says sizes of pictures, patches and networks, and how many queries read.
    """
    return {
        "image_size": recipe.image_size,
        "patch_size": recipe.patch_size,
        "tower_width": recipe.width,
        "tower_mlp": 2 * recipe.width,
        "tower_layers": recipe.layers,
        "tower_heads": recipe.heads,
        "width": recipe.width,
        "mlp": 2 * recipe.width,
        "heads": recipe.heads,
        "image_layers": 2,
        "video_queries": recipe.video_queries,
        "audio_queries": recipe.audio_queries,
        "audio": ears(recipe.width, recipe.heads),
    }


def teach_tower(tower: Blip2VisionModel, pictures: Pictures, steps: int) -> list[float]:
    """Trains a vision tower to show in its tokens what face and hands do, as `video_llava_training.teach_tower` does.

    Args:
        tower: trained in place.
        pictures: frames as the tower takes them, float32 (count, 3, side, side); units are learned from
            faces that are not hidden.
        steps: of the optimiser, with 64 frames each.

    Returns:
        The loss of every step.
    """
    frames, units, hands, covered = pictures
    training.whiten_patches(tower.embeddings.patch_embedding.weight, frames[::16])
    nn.init.normal_(tower.embeddings.position_embedding, 0, 0.1)
    hidden = covered.float()[:, None]
    tokens, width = tower.embeddings.num_positions, tower.config.hidden_size
    sizes = [units.shape[1], len(GROUPS), 1]
    heads = nn.ModuleDict({"class": nn.Linear(width, sum(sizes)), "all": nn.Linear(width * tokens, sum(sizes))})
    nn.init.zeros_(heads["all"].weight)
    losses = []
    for optimise, chosen in training.optimisation([tower, heads], len(frames), steps, 64, "vision tower"):
        shown = varied(frames[chosen])
        states = tower(shown.flip(-1) if torch.rand(()) < 0.5 else shown).last_hidden_state
        loss = 0.0
        for read in (heads["class"](states[:, 0]), heads["all"](states.flatten(1))):
            face, busy, blurred = read.split(sizes, 1)
            loss = loss + 4 * ((face - units[chosen]) * (1 - hidden[chosen])).square().mean()
            loss = loss + functional.cross_entropy(busy, hands[chosen])
            loss = loss + functional.binary_cross_entropy_with_logits(blurred, hidden[chosen])
        losses.append(optimise(loss))
    return losses
