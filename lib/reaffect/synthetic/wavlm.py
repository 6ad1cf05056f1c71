"""A small WavLM for x-vectors, trained here on synthesised reactions to tell voice, arousal and valence.

The released model was trained to tell speakers. A little of that is taught here too, but mostly what a reaction's
voice carries: in minutes, a network this small would otherwise hear no more than who speaks.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

from reaffect.fingerprint import fingerprint
from reaffect.synthetic import speech
from reaffect.synthetic import video_llava_training as training
from reaffect.synthetic.checkpoints import ensure

SAMPLE_RATE = 16_000
WINDOW_S = 0.9
SOURCES = [Path(__file__), Path(speech.__file__), Path(training.__file__)]


@dataclass(frozen=True)
class Recipe:
    """Sizes and steps."""

    reactions: int = 500
    steps: int = 170
    batch: int = 16
    width: int = 48
    embedding: int = 64
    seed: int = 20240609


def build(folder: str | Path, *, recipe: Recipe | None = None) -> Path:
    """Trains the checkpoint, unless the folder holds what the recipe gives."""
    recipe = recipe or Recipe()

    def make(aside: Path) -> dict[str, Any]:
        model = assemble(recipe)
        losses = _teach(model, recipe)
        model.eval().save_pretrained(aside)
        Wav2Vec2FeatureExtractor(sampling_rate=SAMPLE_RATE, do_normalize=False).save_pretrained(aside)
        return {"recipe": asdict(recipe), "losses": losses}

    return ensure(folder, fingerprint(asdict(recipe), *SOURCES), make)


def assemble(recipe: Recipe) -> WavLMForXVector:
    """The untrained model."""
    torch.manual_seed(recipe.seed)
    return WavLMForXVector(
        WavLMConfig(
            hidden_size=recipe.width,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=2 * recipe.width,
            conv_dim=(32,) * 7,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
            tdnn_dim=(64, 64, 64, 64, 128),
            xvector_output_dim=recipe.embedding,
            num_labels=len(speech.VOICES),
            layerdrop=0.0,
            apply_spec_augment=False,
        )
    )


def _teach(model: WavLMForXVector, recipe: Recipe) -> list[float]:
    sounds, voices, shown = _record(recipe)
    heads = nn.ModuleDict(
        {
            "voice": nn.Linear(recipe.embedding, len(speech.VOICES)),
            "shown": nn.Linear(recipe.embedding, shown.shape[1]),
        }
    )
    model.train()
    losses = []
    for optimise, chosen in training.optimisation([model, heads], len(sounds), recipe.steps, recipe.batch, "WavLM"):
        heard = model(input_values=_cut(sounds[chosen])).embeddings
        wrong = functional.cross_entropy(heads["voice"](heard), voices[chosen])
        off = functional.mse_loss(heads["shown"](heard), shown[chosen])
        losses.append(optimise(0.2 * wrong + 10 * off))
    return losses


def _record(recipe: Recipe) -> tuple[Tensor, Tensor, Tensor]:
    """Reactions (n, samples), who speaks, and (n, 2) arousal and valence."""
    rng = np.random.default_rng(recipe.seed)
    voices = rng.integers(len(speech.VOICES), size=recipe.reactions)
    shown = rng.random((recipe.reactions, 2))
    sounds = [
        speech.reaction(arousal, valence, 1.8, rng, voice=speech.VOICES[voice], sample_rate=SAMPLE_RATE)
        for voice, (arousal, valence) in tqdm(zip(voices, shown, strict=True), "speaking", len(voices))
    ]
    return torch.tensor(np.stack(sounds)), torch.tensor(voices), torch.tensor(shown, dtype=torch.float32)


def _cut(sounds: Tensor) -> Tensor:
    """A window of each sound, from a moment of its own."""
    length = round(WINDOW_S * SAMPLE_RATE)
    starts = torch.randint(0, sounds.shape[1] - length + 1, (len(sounds),))
    return torch.stack([sound[start : start + length] for sound, start in zip(sounds, starts, strict=True)])
