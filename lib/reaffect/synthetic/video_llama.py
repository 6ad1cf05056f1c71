"""A small Video-LLaMA and a small PandaGPT that speak with SmolLM2-135M's voice, trained here.

Real classes throughout (`reaffect.models`); towers, Q-Formers and projections are small and learn from lessons in
which every other face is hidden. They have seen nothing but morphs of seven faces and heard nothing but eSpeak NG.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from reaffect.fingerprint import fingerprint
from reaffect.models import checkpoints, imagebind, pandagpt, qformer, soft_prompt, video_llama
from reaffect.models.imagebind import ImageBindConfig, VisionConfig, mel_clips
from reaffect.models.pandagpt import PandaGPT, PandaGPTConfig
from reaffect.models.soft_prompt import SoftPromptLM
from reaffect.models.video_llama import VideoLLaMA, VideoLLaMAConfig
from reaffect.synthetic import av_lessons, faces, interviews, scene, soft_words, speech, studio
from reaffect.synthetic import video_llava_training as training
from reaffect.synthetic.av_lessons import FRAMES, GROUPS, Lessons, Pictures
from reaffect.synthetic.checkpoints import ensure
from reaffect.synthetic.soft_words import SoftWords, word_vectors

MODULES = (
    checkpoints,
    imagebind,
    pandagpt,
    qformer,
    soft_prompt,
    video_llama,
    av_lessons,
    faces,
    interviews,
    scene,
    soft_words,
    speech,
    studio,
    training,
)
SOURCES = [Path(__file__), *(Path(module.__file__) for module in MODULES)]

SEEN = [
    av_lessons.seen(np.tile([smile, frown, 0, 0, 0], (FRAMES, 1)), np.full(FRAMES, hands), hidden)
    for smile, frown, hidden in ((1, 0, False), (0.2, 0, False), (0, 1, False), (0, 0, True))
    for hands in range(len(GROUPS))
]
HEARD = [av_lessons.heard(level) for level in (0, 0.5, 1)]
MOODS = ("sad", "calm", "happy", "hidden")
"""PandaGPT's one soft token has room for one word."""


@dataclass(frozen=True)
class Recipe:
    """Sizes and steps of both."""

    count: int = 350
    pictures: int = 3200
    tower_steps: int = 1000
    steps: int = 250
    batch: int = 16
    panda_steps: int = 80
    panda_batch: int = 8
    image_size: int = 96
    patch_size: int = 16
    width: int = 96
    layers: int = 3
    heads: int = 4
    video_queries: int = 14
    audio_queries: int = 6
    seed: int = 20241028


def build(
    root: str | Path, *, smollm2: str | Path, recipe: Recipe | None = None, workers: int = 2
) -> tuple[Path, Path]:
    """Trains `video-llama-tiny/` and `pandagpt-tiny/` under `root`, unless they hold what the recipe gives.

    Args:
        root: the folder of checkpoints.
        smollm2: SmolLM2-135M-Instruct, as `smollm2.build` unpacks it; its weights are not copied.
        recipe: sizes and steps.
        workers: threads that render.
    """
    recipe = recipe or Recipe()
    mark = fingerprint(asdict(recipe), Path(smollm2) / "config.json", *SOURCES)

    @cache
    def lessons() -> Lessons:  # filmed once for both, and not at all if nothing is to be done
        return av_lessons.film(recipe.count, seed=recipe.seed, workers=workers)

    def video_llama() -> tuple[SoftPromptLM, list[float]]:
        pictures = av_lessons.pictures(recipe.pictures, seed=recipe.seed, workers=workers)
        return _teach_video_llama(pictures, lessons(), Path(smollm2), recipe)

    def panda() -> tuple[SoftPromptLM, list[float]]:
        return _teach_pandagpt(lessons(), Path(smollm2), recipe)

    def make(teach: Callable[[], tuple[SoftPromptLM, list[float]]]):
        def into(aside: Path) -> dict[str, Any]:
            model, losses = teach()
            model.eval().save_pretrained(aside, language_model=False)
            return {"recipe": asdict(recipe), "losses": losses}

        return into

    return (
        ensure(Path(root) / "video-llama-tiny", mark, make(video_llama)),
        ensure(Path(root) / "pandagpt-tiny", mark, make(panda)),
    )


def assemble_video_llama(smollm2: Path, recipe: Recipe) -> VideoLLaMA:
    """The untrained small Video-LLaMA."""
    torch.manual_seed(recipe.seed)
    config = VideoLLaMAConfig(
        **soft_words.sizes(recipe),
        image_queries=8,
        frame_positions=FRAMES,
        segment_positions=round(av_lessons.DURATION_S / imagebind.SEGMENT_S),
    )
    return VideoLLaMA(config, *soft_words.voice(smollm2)).freeze("language_model")


def assemble_pandagpt(smollm2: Path, recipe: Recipe) -> PandaGPT:
    """The untrained small PandaGPT; its LoRA stays what it is at the start, nothing."""
    torch.manual_seed(recipe.seed)
    eyes = VisionConfig(recipe.width, recipe.layers, recipe.heads, recipe.width, recipe.image_size, recipe.patch_size)
    config = PandaGPTConfig(senses=ImageBindConfig(audio=soft_words.ears(recipe.width, recipe.heads), vision=eyes))
    return PandaGPT(config, *soft_words.voice(smollm2)).freeze("language_model")


def _teach_video_llama(
    pictures: Pictures, lessons: Lessons, smollm2: Path, recipe: Recipe
) -> tuple[SoftPromptLM, list[float]]:
    model = assemble_video_llama(smollm2, recipe).train()
    frames, mels = _inputs(model, lessons)
    films = lessons.pictures._replace(frames=frames.flatten(0, 1))
    pictures = pictures._replace(frames=model.pixels(pictures.frames))
    both = Pictures(*map(torch.cat, zip(pictures, films, strict=True)))
    losses = soft_words.teach_tower(model.tower, both, recipe.tower_steps)
    model.freeze("tower").eval()
    with torch.no_grad():
        patches = torch.stack([model.tower(film).last_hidden_state for film in frames])
    model.train()
    see = SoftWords(model.tokenizer, word_vectors(model), SEEN, recipe.video_queries)
    hear = SoftWords(model.tokenizer, word_vectors(model), HEARD, recipe.audio_queries)
    shown = (one.unflatten(0, (-1, FRAMES)).numpy() for one in lessons.pictures[1:])
    seen = see.targets([av_lessons.seen(*lesson) for lesson in zip(*shown, strict=True)])
    heard = hear.targets([av_lessons.heard(level) for level in lessons.arousal])
    parts = [part for name, part in model.named_children() if name not in ("language_model", "tower")]
    for optimise, chosen in training.optimisation(parts, recipe.count, recipe.steps, recipe.batch, "Video-LLaMA"):
        loss = see.loss(model.read_patches(patches[chosen].unbind()), seen[chosen])
        loss = loss + hear.loss(model.encode_audio([mels[index] for index in chosen]), heard[chosen])
        losses.append(optimise(loss))
    return model, losses


def _teach_pandagpt(lessons: Lessons, smollm2: Path, recipe: Recipe) -> tuple[SoftPromptLM, list[float]]:
    model = assemble_pandagpt(smollm2, recipe).train()
    words = SoftWords(model.tokenizer, word_vectors(model), MOODS, 1)
    units = lessons.pictures.units.unflatten(0, (-1, FRAMES)).mean(1)
    smiling = np.digitize(units[:, 0] - units[:, 1], (-0.1, 0.3))
    smiling[lessons.pictures.hidden[::FRAMES]] = MOODS.index("hidden")
    lively = np.digitize(lessons.arousal, (0.4, 0.6))
    wanted = [words.targets([MOODS[level] for level in levels]) for levels in (smiling, lively)]
    frames, mels = _inputs(model, lessons)
    losses = []
    parts = [model.senses, model.projection]
    size, steps = recipe.panda_batch, recipe.panda_steps  # three views of every frame: four times as slow
    for optimise, chosen in training.optimisation(parts, recipe.count, steps, size, "PandaGPT"):
        clips = [_mirrored(frames[index]) for index in chosen]
        sounds = [mels[index] for index in chosen]
        alone = (model.encode(clips, None), model.encode(None, sounds))
        loss = sum(words.loss(soft["<ImageHere>"], want[chosen]) for soft, want in zip(alone, wanted, strict=True))
        losses.append(optimise(loss))
    return model, losses


def _inputs(model: SoftPromptLM, lessons: Lessons) -> tuple[Tensor, list[Tensor]]:
    """Frames (lessons, views, 3, side, side) and mel spectrograms of each lesson, as the model takes them."""
    ears = model.config.audio if isinstance(model, VideoLLaMA) else model.config.senses.audio
    mels = [mel_clips(wave, interviews.SAMPLE_RATE, ears) for wave in tqdm(lessons.waveforms, "listening")]
    films = lessons.pictures.frames.split(FRAMES)
    return torch.stack([model.pixels(film) for film in films]), mels


def _mirrored(clip: Tensor) -> Tensor:
    return clip.flip(-1) if torch.rand(()) < 0.5 else clip
