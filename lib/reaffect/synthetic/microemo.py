"""A small MicroEmo as it is before EMER, trained here: what the paper takes from InstructBLIP and Video-LLaMA.

Real classes throughout (`reaffect.models.microemo`). Tower and Q-Formers are small; the language model is SmolLM2-135M
with LoRA, which learns here how dialogues are described. No local clues and no utterance windows yet: they begin from
these weights, as in the paper.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from reaffect.fingerprint import fingerprint
from reaffect.models import checkpoints, imagebind, microemo, qformer, soft_prompt, video_llama
from reaffect.models.imagebind import mel_clips
from reaffect.models.microemo import MicroEmo, MicroEmoConfig
from reaffect.models.qformer import padded
from reaffect.models.soft_prompt import SoftPromptLM
from reaffect.models.timestamps import timestamp_tokens
from reaffect.synthetic import dialogue_lessons, dialogues, faces, scene, soft_words, speech
from reaffect.synthetic import video_llava_training as training
from reaffect.synthetic.checkpoints import ensure
from reaffect.synthetic.dialogue_lessons import HEARD, REGIONS, SEEN, STATES, TAKES, Account, Lesson
from reaffect.synthetic.soft_words import SoftWords, word_vectors

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

TOLD, MISSED = 0.7, 0.2
"""Share of accounts of one emotion that tell each utterance, and of all that do those in which the whole clip seems
calm. Of two emotions a whole clip shows one: without its utterances nobody could learn to read the other."""

BROWS, MOUTH = ("calm", "angry", "surprised"), ("calm", "happy", "sad")
"""What patches of brows and of the mouth tell apart."""


@dataclass(frozen=True)
class Recipe:
    """Sizes and steps."""

    people: int = 320
    voices: int = 320
    tower_steps: int = 600
    steps: int = 400
    hearing_steps: int = 320
    hearing_batch: int = 8
    accounts: int = 480
    reading_steps: int = 60
    reading_batch: int = 8
    reading_rate: float = 1.5e-3
    noise: float = 0.3
    shift: float = 0.15
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
        frames = video_llama.normalised(seen.pixels.flatten(0, 1))
        losses = {
            "tower": teach_tower(model, frames, seen.regions, recipe),
            "sight": teach_sight(model, frames, seen.regions, recipe),
            "hearing": teach_hearing(model, recipe),
            "reading": teach_reading(model, recipe),
        }
        model.eval().save_pretrained(aside, language_model=False)
        return {"recipe": asdict(recipe), "losses": losses}

    return ensure(folder, mark, make)


def assemble(smollm2: Path, recipe: Recipe) -> MicroEmo:
    """The untrained small MicroEmo, without local clues and utterance windows."""
    torch.manual_seed(recipe.seed)
    config = MicroEmoConfig(
        **soft_words.sizes(recipe),
        image_queries=recipe.image_queries,
        local_clues=False,
        local_heads=recipe.heads,
        utterance_windows=False,
        lora_rank=recipe.lora_rank,
        lora_alpha=2 * recipe.lora_rank,
        lora_dropout=0.0,
    )
    return MicroEmo(config, *soft_words.voice(smollm2))


def teach_tower(
    model: MicroEmo,
    frames: Float[Tensor, "pictures 3 side side"],
    regions: Bool[Tensor, "people takes regions patches"],
    recipe: Recipe,
) -> list[float]:
    """Trains the tower to show in the patches of brows and mouth what these do.

    Args:
        model: trained in place.
        frames: of `dialogue_lessons.pictures`, person by person, as the tower takes them.
        regions: as there.
        recipe: sizes and steps.

    Returns:
        The loss of every step.
    """
    tower, states = model.tower, [STATES[take] for take in TAKES] * len(regions)
    inside = regions.flatten(0, 1).float()
    wanted = {
        name: torch.tensor([kinds.index(state) if state in kinds else 0 for state in states])
        for name, kinds in (("brows", BROWS), ("mouth", MOUTH))
    }
    training.whiten_patches(tower.embeddings.patch_embedding.weight, frames[::16])
    nn.init.normal_(tower.embeddings.position_embedding, 0, 0.1)
    heads = nn.ModuleDict({name: nn.Linear(recipe.width, 3) for name in wanted})
    losses = []
    for optimise, chosen in training.optimisation([tower, heads], len(frames), recipe.tower_steps, 64, "vision tower"):
        tokens = tower(soft_words.varied(frames[chosen])).last_hidden_state[:, 1:]
        loss = 0.0
        for name, head in heads.items():
            where = inside[chosen, REGIONS.index(name)]
            mean = (where[:, None] @ tokens)[:, 0] / where.sum(1, keepdim=True)
            loss = loss + functional.cross_entropy(head(mean), wanted[name][chosen])
        losses.append(optimise(loss))
    return losses


def teach_sight(
    model: MicroEmo,
    frames: Float[Tensor, "pictures 3 side side"],
    regions: Bool[Tensor, "people takes regions patches"],
    recipe: Recipe,
) -> list[float]:
    """Trains what lies between tower and language model to say what a face shows; as `teach_tower`."""
    model.freeze("tower").train()
    with torch.no_grad():
        tokens = torch.stack([model.tower(takes).last_hidden_state for takes in frames.split(len(TAKES))])
    words = SoftWords(model.tokenizer, word_vectors(model), list(SEEN.values()), recipe.video_queries)
    targets = words.targets([SEEN[state] for state in STATES])
    face = regions[:, :, REGIONS.index("face")]
    rng = np.random.default_rng([recipe.seed, 33])
    parts = [model.image_qformer, model.frame_positions, model.video_qformer, model.video_projection]
    losses = []
    for optimise, people in training.optimisation(parts, len(tokens), recipe.steps, recipe.batch, "sight"):
        drawn = [dialogue_lessons.lesson(rng, recipe.longest) for _ in people]
        clips = [shown(tokens[who], face[who], one) for who, one in zip(people, drawn, strict=True)]
        soft = read_faces(model, clips, told=bool(rng.random() < 0.5), rng=rng)
        losses.append(optimise(words.loss(soft, targets[[one.state for one in drawn]])))
    return losses


def shown(tokens: Tensor, face: Tensor, lesson: Lesson) -> list[Tensor]:
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
    torch.manual_seed(recipe.seed)  # what is heard does not depend on how much was seen before
    waves, felt = dialogue_lessons.voices(recipe.voices, seed=recipe.seed)
    mels = [mel_clips(wave, dialogues.SAMPLE_RATE, model.config.audio) for wave in waves]
    words = SoftWords(model.tokenizer, word_vectors(model), list(HEARD.values()), recipe.audio_queries)
    targets = words.targets([HEARD[emotion] for emotion in felt])
    parts = [model.ears, model.segment_positions, model.audio_qformer, model.audio_projection]
    losses = []
    for optimise, chosen in training.optimisation(
        parts, len(mels), recipe.hearing_steps, recipe.hearing_batch, "hearing"
    ):
        losses.append(optimise(words.loss(model.encode_audio([mels[index] for index in chosen]), targets[chosen])))
    return losses


class Told(SoftPromptLM):
    """A MicroEmo's language model that is given soft tokens where frames and sound would be."""

    prompt = MicroEmo.prompt

    def encode(self, frames: list[Tensor], audio: list[Tensor]) -> dict[str, list[Tensor]]:
        return {"<ImageHere>": frames, "<AudioHere>": audio}


def teach_reading(model: MicroEmo, recipe: Recipe) -> list[float]:
    """Trains LoRA to describe dialogues; returns the loss of every step.

    Soft tokens are the words that the other parts have learnt to show, with noise, so that none of these has to run.
    Of some dialogues the whole clip is told, of the others each utterance, too.
    """
    torch.manual_seed(recipe.seed)  # what is read does not depend on how much was seen before
    lessons = dialogue_lessons.accounts(recipe.accounts, seed=recipe.seed)
    see = SoftWords(model.tokenizer, word_vectors(model), list(SEEN.values()), recipe.video_queries)
    hear = SoftWords(model.tokenizer, word_vectors(model), list(HEARD.values()), recipe.audio_queries)
    reader = Told(model.config, model.language_model, model.tokenizer).train()
    weights = [weight for weight in model.language_model.parameters() if weight.requires_grad]
    optimisers = [torch.optim.AdamW(weights, lr=recipe.reading_rate, weight_decay=0.0)]
    losses = []
    for optimise, chosen in training.stepping(
        optimisers, len(lessons), recipe.reading_steps, recipe.reading_batch, "reading"
    ):
        some = [lessons[index] for index in chosen]
        seen = [
            soft_tokens(model, see, one, recipe, told=bool(torch.rand(()) < TOLD or one.emotions > 1)) for one in some
        ]
        heard = list(hear.noisy([one.heard for one in some], recipe.noise, recipe.shift))
        told = reader([one.question for one in some], seen, heard, [one.answer for one in some])
        losses.append(optimise(told.loss))
    return losses


def soft_tokens(model: MicroEmo, see: SoftWords, one: Account, recipe: Recipe, *, told: bool) -> Tensor:
    """What stands for the frames of an account: of the whole clip, and, if it is told, of each utterance.

    A reading of a whole clip misses what is short now and then (see the tests). It seems calm then, lest the language
    model learn to look at it alone.
    """
    spoken = one.utterances if told else []
    overall = SEEN["calm"] if told and torch.rand(()) < MISSED else one.whole
    whole, *windows = see.noisy([overall, *(shown for _, shown in spoken)], recipe.noise, recipe.shift)
    with torch.no_grad():
        times = [model.when(start) for start, _ in spoken]
    return torch.cat([whole, *(part for pair in zip(times, windows, strict=True) for part in pair)])
