"""Three small image models in Hugging Face format, made from the small Video-LLaVA and some more films.

- `vision-tiny`: its vision tower alone (`CLIPVisionModel`), which the visual features come from.
- `llava-tiny`: tower and language model inside `LlavaForConditionalGeneration`, taught to describe single frames.
- `clip-tiny`: the tower inside `CLIPModel`, with a text tower taught to choose among the emotion templates.

The films show people who occur in no split of the corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import (
    AutoProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    VideoLlavaForConditionalGeneration,
)

from reaffect import prompts
from reaffect.corpora.hume import EMOTIONS
from reaffect.fingerprint import fingerprint
from reaffect.prompts import TEMPLATES, VAIANI_PROMPTS, WORDINGS
from reaffect.synthetic import answers, faces, lessons
from reaffect.synthetic import video_llava_training as training
from reaffect.synthetic.checkpoints import NOTE, ensure

FRAMES = 8
"""Of each film."""

FELT = 0.5
"""Strength from which a frame shows an emotion; below it the neutral templates are right."""

SOURCES = [Path(__file__), Path(prompts.__file__)]


@dataclass(frozen=True)
class Recipe:
    """What decides the three checkpoints, besides the Video-LLaVA that they start from."""

    films: int = 300
    language_steps: int = 170
    text_steps: int = 200
    text_width: int = 64
    shared_width: int = 64
    batch: int = 32
    seed: int = 20240608


class Frames(NamedTuple):
    """Single frames with what they show."""

    pixels: Float[Tensor, "frames 3 side side"]
    units: np.ndarray
    """(frames, 5): facial units."""

    strengths: np.ndarray
    """(frames, 7): each emotion's strength in this frame: the film's, as far as the face has moved."""


def build(root: str | Path, *, video_llava: Path, recipe: Recipe | None = None, workers: int = 2) -> Path:
    """Makes `vision-tiny`, `llava-tiny` and `clip-tiny` under `root`, unless they are there and unchanged.

    Args:
        root: the folder of checkpoints.
        video_llava: the small Video-LLaVA, see `synthetic.video_llava`.
        recipe: sizes and steps.
        workers: threads that render.
    """
    root, recipe = Path(root), recipe or Recipe()
    # its note holds the fingerprint of all that made it; the weights' own bytes differ from machine to machine
    wanted = fingerprint(asdict(recipe), video_llava / NOTE, *SOURCES)
    made: dict[str, Any] = {}

    def material() -> tuple[VideoLlavaForConditionalGeneration, Any, Frames]:
        if not made:
            made["model"] = VideoLlavaForConditionalGeneration.from_pretrained(video_llava).eval()
            made["processor"] = AutoProcessor.from_pretrained(video_llava)
            made["frames"] = _film(made["processor"], recipe, workers)
        return made["model"], made["processor"], made["frames"]

    for name, make in (("vision-tiny", _vision), ("clip-tiny", _clip), ("llava-tiny", _llava)):
        ensure(root / name, wanted, lambda aside, make=make: make(aside, *material(), recipe))
    return root


def _film(processor: Any, recipe: Recipe, workers: int) -> Frames:
    video = processor.video_processor

    def shrink(film: np.ndarray) -> Tensor:
        return video(videos=[film], do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values_videos"][0]

    studio = lessons.Studio(FRAMES, recipe.seed, shrink=shrink, workers=workers)
    films, planted = studio.reactions_over_time(recipe.films)
    moved = films.units.numpy() / np.maximum(planted.units[:, None], 1e-6)
    share = np.clip(moved.max(2), 0, 1)
    strengths = share[..., None] * lessons.strengths(planted)[:, None]
    pixels = training.normalised(films.pixels.flatten(0, 1), video.image_mean, video.image_std)
    return Frames(pixels, films.units.flatten(0, 1).numpy(), strengths.reshape(-1, len(EMOTIONS)))


def _image_processor(processor: Any) -> CLIPImageProcessor:
    """Sees whole frames as the Video-LLaVA does."""
    video = processor.video_processor
    size = {"shortest_edge": video.size["shortest_edge"]}
    return CLIPImageProcessor(size=size, crop_size=dict(video.crop_size))


# --- the vision tower alone -------------------------------------------------------------------------------------


def _vision(aside: Path, model: VideoLlavaForConditionalGeneration, processor: Any, *_: Any) -> dict[str, Any]:
    model.model.video_tower.save_pretrained(aside)
    side = processor.video_processor.crop_size["height"]
    crops = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    crops.save_pretrained(aside)  # it gets face crops, which fill the picture
    return {}


# --- LLaVA --------------------------------------------------------------------------------------------------------


def _llava(
    aside: Path, model: VideoLlavaForConditionalGeneration, processor: Any, frames: Frames, recipe: Recipe
) -> dict[str, Any]:
    llava, reader = _assemble_llava(model, processor)
    rng = np.random.default_rng(recipe.seed)
    parts = [llava.model.multi_modal_projector, llava.model.language_model, llava.lm_head]
    llava.model.vision_tower.requires_grad_(False)
    torch.manual_seed(recipe.seed)
    losses = []
    for optimise, chosen in training.optimisation(
        parts, len(frames.pixels), recipe.language_steps, recipe.batch, "LLaVA"
    ):
        lesson = _lesson(reader, frames, chosen.tolist(), rng)
        losses.append(optimise(llava(**lesson, pixel_values=frames.pixels[chosen], use_cache=False).loss))
    llava.eval().save_pretrained(aside)
    reader.save_pretrained(aside)
    return {"losses": losses}


def _assemble_llava(
    model: VideoLlavaForConditionalGeneration, processor: Any
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """A LLaVA that begins with the Video-LLaVA's tower, projector and language model."""
    config = model.config
    llava = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=config.vision_config,
            text_config=config.text_config,
            image_token_index=config.image_token_id,
            vision_feature_layer=config.vision_feature_layer,
            vision_feature_select_strategy="full",  # the class token tells most in so small a tower
        )
    )
    for name in ("multi_modal_projector", "language_model"):
        getattr(llava.model, name).load_state_dict(getattr(model.model, name).state_dict())
    llava.model.vision_tower.load_state_dict(model.model.video_tower.state_dict())
    llava.lm_head.load_state_dict(model.lm_head.state_dict())
    reader = LlavaProcessor(
        image_processor=_image_processor(processor),
        tokenizer=processor.tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        image_token="<image>",
        chat_template=processor.chat_template,
    )
    return llava, reader


def _lesson(reader: LlavaProcessor, frames: Frames, chosen: list[int], rng: np.random.Generator) -> dict[str, Tensor]:
    """Question and answer about single frames -> input_ids, attention_mask, labels (-100 outside of the answers)."""
    content = [{"type": "image"}, {"type": "text", "text": VAIANI_PROMPTS[1]}]
    asked = reader.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    side = reader.image_processor.crop_size["height"] // reader.patch_size
    question = reader.tokenizer(asked.replace("<image>", "<image>" * (side**2 + 1)))["input_ids"]
    said = [answers.describe_reaction(*_shown(frames, index), rng) for index in chosen]
    replies = [reader.tokenizer(f" {text}</s>", add_special_tokens=False)["input_ids"] for text in said]
    batch = reader.tokenizer.pad(
        [{"input_ids": question + reply} for reply in replies], padding_side="right", return_tensors="pt"
    )
    batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    batch["labels"][:, : len(question)] = -100
    return dict(batch)


def _shown(frames: Frames, index: int) -> tuple[dict[str, float], dict[str, float]]:
    emotions = dict(zip(EMOTIONS, frames.strengths[index].tolist(), strict=True))
    return emotions, dict(zip(faces.UNITS, frames.units[index].tolist(), strict=True))


# --- CLIP ---------------------------------------------------------------------------------------------------------


def _clip(
    aside: Path, model: VideoLlavaForConditionalGeneration, processor: Any, frames: Frames, recipe: Recipe
) -> dict[str, Any]:
    tokenizer = _template_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": recipe.text_width,
        "intermediate_size": 2 * recipe.text_width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(recipe.seed)
    vision = model.config.vision_config.to_dict()
    clip = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=recipe.shared_width))
    clip.vision_model.load_state_dict(model.model.video_tower.state_dict())
    clip.vision_model.requires_grad_(False)
    losses = _teach_templates(clip, tokenizer, frames, recipe)
    clip.eval().save_pretrained(aside)
    CLIPProcessor(image_processor=_image_processor(processor), tokenizer=tokenizer).save_pretrained(aside)
    return {"losses": losses}


def _teach_templates(
    clip: CLIPModel, tokenizer: PreTrainedTokenizerFast, frames: Frames, recipe: Recipe
) -> list[float]:
    """Text tower and projections learn which templates are true of a frame; those of one emotion are equally so."""
    with torch.no_grad():
        seen = torch.cat([clip.vision_model(pixel_values=part).pooler_output for part in frames.pixels.split(64)])
    read = tokenizer(list(TEMPLATES), padding=True, return_tensors="pt")
    truth = _true_templates(frames.strengths)
    parts = [clip.text_model, clip.text_projection, clip.visual_projection]
    losses = []
    for optimise, chosen in training.optimisation(parts, len(seen), recipe.text_steps, recipe.batch, "CLIP"):
        images = torch.nn.functional.normalize(clip.visual_projection(seen[chosen]))
        texts = clip.text_projection(clip.text_model(**read).pooler_output)
        scores = clip.logit_scale.exp() * images @ torch.nn.functional.normalize(texts).T
        losses.append(optimise(torch.nn.functional.cross_entropy(scores, truth[chosen])))
    return losses


def _true_templates(strengths: np.ndarray) -> Float[Tensor, "frames templates"]:
    """The share of each template in the truth about each frame: its strongest emotion's wordings, or the neutral."""
    felt = np.where(strengths.max(1) >= FELT, strengths.argmax(1), len(EMOTIONS))
    owner = np.repeat(np.arange(len(WORDINGS)), [len(words) for words in WORDINGS.values()])
    mine = owner == felt[:, None]
    return torch.from_numpy(mine / mine.sum(1, keepdims=True)).float()


def _template_tokenizer() -> PreTrainedTokenizerFast:
    """A word is a token; the end of a text is the last of the special ones, where CLIP reads a sentence off."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<unk>", "<s>", "<pad>", "</s>"]
    tokenizer.train_from_iterator(_words(), trainers.WordLevelTrainer(special_tokens=special, show_progress=False))
    ends = [(mark, special.index(mark)) for mark in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    names = {"unk_token": "<unk>", "bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, model_max_length=77)


def _words() -> Iterator[str]:
    yield from TEMPLATES
