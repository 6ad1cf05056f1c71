"""A small MicroEmo as it is before EMER, trained here: what the paper takes from InstructBLIP and Video-LLaMA.

Real classes throughout (`reaffect.models.microemo`). Tower and Q-Formers are small; the language model is SmolLM2-135M
as published. No local clues and no utterance windows yet: they begin from these weights, as in the paper.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import logging as transformers_logging

from reaffect.fingerprint import fingerprint
from reaffect.models import checkpoints, imagebind, microemo, qformer, soft_prompt, video_llama
from reaffect.models.imagebind import AudioConfig, mel_clips
from reaffect.models.microemo import MicroEmo, MicroEmoConfig
from reaffect.models.qformer import padded
from reaffect.models.timestamps import timestamp_tokens
from reaffect.synthetic import dialogue_lessons, dialogues, faces, scene, soft_words, speech
from reaffect.synthetic import video_llava_training as training
from reaffect.synthetic.checkpoints import ensure
from reaffect.synthetic.dialogue_lessons import HEARD, REGIONS, SEEN, STATES, TAKES, Faces, Sequence
from reaffect.synthetic.soft_words import LARGEST_SHIFT, SoftWords

MODULES = (
    checkpoints,
    imagebind,
    microemo,
    qformer,
    soft_prompt,
    video_llama,
    dialogue_lessons,
    dialogues,
    faces,
    scene,
    soft_words,
    speech,
    training,
)
SOURCES = [Path(__file__), *(Path(module.__file__) for module in MODULES)]

BROWS, MOUTH = ("calm", "angry", "surprised"), ("calm", "happy", "sad")
"""What patches of brows and of the mouth tell apart."""


@dataclass(frozen=True)
class Recipe:
    """Sizes and steps."""

    people: int = 320
    voices: int = 160
    tower_steps: int = 600
    steps: int = 400
    hearing_steps: int = 160
    batch: int = 32
    longest: int = 8
    image_size: int = 112
    patch_size: int = 14
    width: int = 96
    layers: int = 3
    heads: int = 4
    image_queries: int = 4
    video_queries: int = 4
    audio_queries: int = 3
    lora_rank: int = 8
    seed: int = 20241028


def build(folder: str | Path, *, smollm2: str | Path, recipe: Recipe | None = None, workers: int = 2) -> Path:
    """Trains the small MicroEmo into `folder`, unless it holds what the recipe gives.

    Args:
        folder: of the checkpoint.
        smollm2: SmolLM2-135M-Instruct, as `smollm2.build` unpacks it; its weights are not copied.
        recipe: sizes and steps.
        workers: threads that render.
    """
    recipe = recipe or Recipe()
    mark = fingerprint(asdict(recipe), Path(smollm2) / "config.json", *SOURCES)

    def make(aside: Path) -> dict[str, Any]:
        model = assemble(Path(smollm2), recipe).train()
        grid = recipe.image_size // recipe.patch_size
        seen = dialogue_lessons.pictures(
            recipe.people, side=recipe.image_size, grid=grid, seed=recipe.seed, workers=workers
        )
        losses = {
            "tower": teach_tower(model, seen, recipe),
            "sight": teach_sight(model, seen, recipe),
            "hearing": teach_hearing(model, recipe),
        }
        model.eval().save_pretrained(aside, language_model=False)
        return {"recipe": asdict(recipe), "losses": losses}

    return ensure(folder, mark, make)


def assemble(smollm2: Path, recipe: Recipe) -> MicroEmo:
    """The untrained small MicroEmo, without local clues and utterance windows."""
    torch.manual_seed(recipe.seed)
    transformers_logging.disable_progress_bar()
    config = MicroEmoConfig(
        image_size=recipe.image_size,
        patch_size=recipe.patch_size,
        tower_width=recipe.width,
        tower_mlp=2 * recipe.width,
        tower_layers=recipe.layers,
        tower_heads=recipe.heads,
        width=recipe.width,
        mlp=2 * recipe.width,
        heads=recipe.heads,
        image_layers=2,
        image_queries=recipe.image_queries,
        video_queries=recipe.video_queries,
        audio_queries=recipe.audio_queries,
        audio=AudioConfig(width=recipe.width, layers=2, heads=recipe.heads, output=recipe.width, stride=16),
        local_clues=False,
        local_heads=recipe.heads,
        utterance_windows=False,
        lora_rank=recipe.lora_rank,
        lora_alpha=2 * recipe.lora_rank,
        lora_dropout=0.0,
    )
    language_model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    return MicroEmo(config, language_model, AutoTokenizer.from_pretrained(smollm2)).freeze("language_model")


def teach_tower(model: MicroEmo, seen: Faces, recipe: Recipe) -> list[float]:
    """Trains the tower to show in the patches of brows and mouth what these do; returns the loss of every step."""
    tower, pixels, regions = model.tower, seen.pixels.flatten(0, 1), seen.regions.flatten(0, 1).float()
    frames = video_llama.normalised(pixels)
    states = [STATES[take] for take in TAKES] * len(seen.pixels)
    wanted = {
        name: torch.tensor([kinds.index(state) if state in kinds else 0 for state in states])
        for name, kinds in (("brows", BROWS), ("mouth", MOUTH))
    }
    training.whiten_patches(tower.embeddings.patch_embedding.weight, frames[::16])
    nn.init.normal_(tower.embeddings.position_embedding, 0, 0.1)
    heads = nn.ModuleDict({name: nn.Linear(recipe.width, 3) for name in wanted})
    losses = []
    for optimise, chosen in training.optimisation([tower, heads], len(frames), recipe.tower_steps, 64, "vision tower"):
        shift = torch.randint(-LARGEST_SHIFT, LARGEST_SHIFT + 1, (2,)).tolist()
        gain, offset = 0.15 * torch.randn(2, len(chosen), 3, 1, 1)
        shown = frames[chosen].roll(shift, (-2, -1)) * (1 + gain) + offset
        tokens = tower(shown).last_hidden_state[:, 1:]
        loss = 0.0
        for name, head in heads.items():
            where = regions[chosen, REGIONS.index(name)]
            mean = (where[:, None] @ tokens)[:, 0] / where.sum(1, keepdim=True)
            loss = loss + functional.cross_entropy(head(mean), wanted[name][chosen])
        losses.append(optimise(loss))
    return losses


def teach_sight(model: MicroEmo, seen: Faces, recipe: Recipe) -> list[float]:
    """Trains what lies between tower and language model to say what a face shows; returns the loss of every step."""
    model.freeze("tower").train()
    with torch.no_grad():
        tokens = torch.stack([model.tower(takes).last_hidden_state for takes in _normalised(seen)])
    words = SoftWords(model.tokenizer, _table(model), list(SEEN.values()), recipe.video_queries)
    targets = words.targets([SEEN[state] for state in STATES])
    face = seen.regions[:, :, REGIONS.index("face")]
    rng = np.random.default_rng([recipe.seed, 33])
    parts = [model.image_qformer, model.frame_positions, model.video_qformer, model.video_projection]
    losses = []
    for optimise, people in training.optimisation(parts, len(tokens), recipe.steps, recipe.batch, "sight"):
        drawn = [dialogue_lessons.sequence(rng, recipe.longest) for _ in people]
        clips = [shown(tokens[who], face[who], one) for who, one in zip(people, drawn, strict=True)]
        soft = read_faces(model, clips, told=bool(rng.random() < 0.5), rng=rng)
        losses.append(optimise(words.loss(soft, targets[[one.state for one in drawn]])))
    return losses


def shown(tokens: Tensor, face: Tensor, lesson: Sequence) -> list[Tensor]:
    """What of a person's takes (takes, 1 + patches, width) a lesson shows, a tensor a frame."""
    return [tokens[take] if lesson.wide else tokens[take, 1:][face[take]] for take in lesson.takes]


def read_faces(model: MicroEmo, clips: list[list[Tensor]], *, told: bool, rng: np.random.Generator) -> Tensor:
    """Soft tokens (clips, queries, hidden) of the patches of each frame of each clip, told the frames' times or not."""
    counts = [len(clip) for clip in clips]
    starts = rng.uniform(0, 10, len(clips))
    text, real = timestamp_tokens([start + 0.5 * k for start, n in zip(starts, counts, strict=True) for k in range(n)])
    states, mask = padded([frame for clip in clips for frame in clip])
    frames = model.image_qformer(states, mask, text=text, text_mask=real & told).split(counts)
    return model.video_projection(
        model.video_qformer(*padded([model.frame_positions(clip).flatten(0, 1) for clip in frames]))
    )


def teach_hearing(model: MicroEmo, recipe: Recipe) -> list[float]:
    """Trains the audio branch to say how a voice sounds; returns the loss of every step."""
    waves, felt = dialogue_lessons.voices(recipe.voices, seed=recipe.seed)
    mels = [mel_clips(wave, dialogues.SAMPLE_RATE, model.config.audio) for wave in waves]
    words = SoftWords(model.tokenizer, _table(model), list(HEARD.values()), recipe.audio_queries)
    targets = words.targets([HEARD[emotion] for emotion in felt])
    parts = [model.ears, model.segment_positions, model.audio_qformer, model.audio_projection]
    losses = []
    for optimise, chosen in training.optimisation(parts, len(mels), recipe.hearing_steps, recipe.batch // 2, "hearing"):
        losses.append(optimise(words.loss(model.encode_audio([mels[index] for index in chosen]), targets[chosen])))
    return losses


def _normalised(seen: Faces) -> Tensor:
    return video_llama.normalised(seen.pixels.flatten(0, 1)).unflatten(0, seen.pixels.shape[:2])


def _table(model: nn.Module) -> Tensor:
    return model.language_model.get_input_embeddings().weight
