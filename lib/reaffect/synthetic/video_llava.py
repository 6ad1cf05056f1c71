"""A small Video-LLaVA in Hugging Face format, trained here to describe and to score reactions.

Real classes throughout: a CLIP vision tower, a LLaMA and the projector between them inside
`VideoLlavaForConditionalGeneration`, with a `VideoLlavaProcessor` whose tokenizer is trained on the answers' grammar.
It has the shape of the 7B model that Vaiani et al. query and probe, at a three-thousandth of its size, and it has seen
nothing but morphs of seven faces: what it says about anybody else means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import (
    BatchEncoding,
    CLIPVisionConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
    VideoLlavaConfig,
    VideoLlavaForConditionalGeneration,
    VideoLlavaImageProcessor,
    VideoLlavaProcessor,
    VideoLlavaVideoProcessor,
)

from reaffect import prompts
from reaffect.corpora.hume import EMOTIONS
from reaffect.fingerprint import fingerprint
from reaffect.prompts import VAIANI_PROMPTS, VAIANI_QUESTION
from reaffect.synthetic import answers, assets, faces, lessons, reactions, scene
from reaffect.synthetic import video_llava_training as training
from reaffect.synthetic.checkpoints import ensure

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] if part['type'] in ('image', 'video') %}{{ '<' + part['type'] + '>\n' }}"
    "{% endfor %}{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] + ' ' }}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""As the released Video-LLaVA has it: `USER: <video>\\n{question} ASSISTANT:`."""

ASKED = (0.375, 0.375, 0.25)
"""How often a lesson asks for each of the two descriptions and for scores.

Scores are taught seldom, and from the noisy self-reports, the only truth that a real corpus has. Greedy answers then
fall on a few favourite values, as Vaiani et al. found; taught often and from what a face expresses, a prototype's
answers came as close to the truth as a probe's."""

SOURCES = [Path(__file__)]
SOURCES += [Path(module.__file__) for module in (answers, assets, faces, lessons, prompts, reactions, scene, training)]
"""Modules that decide what is learned: a change in them makes another checkpoint."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what the checkpoint becomes, besides the seed."""

    frames: int = 8  # as the released model
    shortest_edge: int = 96  # of a frame, before the crop
    side: int = 72  # of the square in the middle, which holds the face
    patch: int = 24  # few tokens: 9 a frame, and one for the whole
    tower_width: int = 128
    tower_layers: int = 4
    text_width: int = 128
    text_layers: int = 2
    heads: int = 4
    vocabulary: int = 1024
    face_films: int = 1200
    reaction_films: int = 900
    tower_steps: int = 450
    text_steps: int = 600
    batch: int = 16

    @property
    def tokens(self) -> int:
        """Visual tokens of a clip."""
        return self.frames * ((self.side // self.patch) ** 2 + 1)


DEFAULT = Recipe()


def build(folder: str | Path, *, seed: int = 20240607, recipe: Recipe = DEFAULT, workers: int = 2) -> Path:
    """Trains the checkpoint, unless the folder already holds what this recipe and seed give.

    Args:
        folder: written aside and renamed, so that it is whole or absent.
        seed: of people, films, weights and batches; the same seed gives the same weights on one machine.
        recipe: sizes and steps.
        workers: threads that render; training keeps to one, see `checkpoints`.

    Returns:
        The folder: `AutoProcessor` and `AutoModelForImageTextToText` load it without a network.

    Raises:
        InputError: the folder holds something else.
    """

    def make(aside: Path) -> dict[str, Any]:
        model, processor = assemble(recipe, seed=seed)
        losses = train(model, processor, recipe, seed=seed, workers=workers)
        model.save_pretrained(aside)
        processor.save_pretrained(aside)
        return {"seed": seed, "recipe": asdict(recipe), "losses": losses}

    return ensure(folder, fingerprint(asdict(recipe), seed, *SOURCES), make)


def assemble(recipe: Recipe, *, seed: int) -> tuple[VideoLlavaForConditionalGeneration, VideoLlavaProcessor]:
    """The untrained model and its processor."""
    tokenizer = train_tokenizer(recipe.vocabulary, seed=seed)
    seen = {
        "size": {"shortest_edge": recipe.shortest_edge},
        "crop_size": {"height": recipe.side, "width": recipe.side},
    }
    processor = VideoLlavaProcessor(
        image_processor=VideoLlavaImageProcessor(**seen),
        video_processor=VideoLlavaVideoProcessor(**seen, num_frames=recipe.frames),
        tokenizer=tokenizer,
        patch_size=recipe.patch,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
    )
    tower = CLIPVisionConfig(
        hidden_size=recipe.tower_width,
        intermediate_size=2 * recipe.tower_width,
        projection_dim=recipe.tower_width,
        num_hidden_layers=recipe.tower_layers,
        num_attention_heads=recipe.heads,
        image_size=recipe.side,
        patch_size=recipe.patch,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.text_width,
        intermediate_size=2 * recipe.text_width,
        num_hidden_layers=recipe.text_layers,
        num_attention_heads=recipe.heads,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = VideoLlavaConfig(
        vision_config=tower,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_seq_length=(recipe.side // recipe.patch) ** 2,
        video_seq_length=recipe.tokens,
        vision_feature_layer=-1,  # all of so small a tower is used; the released model leaves out its last layer
    )
    torch.manual_seed(seed)
    return VideoLlavaForConditionalGeneration(config), processor


def train_tokenizer(vocabulary: int, *, seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE on the grammar and the prompts: no text is unknown to it, a score is one token."""
    tokenizer = Tokenizer(models.BPE())
    words = Regex(r" ?\p{L}+| ?\d\.\d| ?\d+| ?[^\s\p{L}\d]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<unk>", "<s>", "</s>", "<pad>", "<image>", "<video>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(np.random.default_rng(seed)), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["<image>", "<video>"],
        padding_side="left",  # for batched generation
        model_max_length=1024,
    )


def train(
    model: VideoLlavaForConditionalGeneration,
    processor: VideoLlavaProcessor,
    recipe: Recipe,
    *,
    seed: int,
    workers: int = 2,
) -> dict[str, list[float]]:
    """Renders the films, teaches the tower, then the language model; returns the losses of both."""
    video = processor.video_processor
    studio = lessons.Studio(recipe.frames, seed, shrink=partial(_shrunk, video), workers=workers)
    normalise = partial(training.normalised, mean=video.image_mean, std=video.image_std)
    tower = model.model.video_tower
    films = studio.faces_at_random(recipe.face_films)
    seen = training.teach_tower(tower, films, normalise, steps=recipe.tower_steps, batch=recipe.batch, seed=seed)
    model.model.image_tower.load_state_dict(tower.state_dict())
    films, planted = studio.reactions_over_time(recipe.reaction_films)
    lesson = Lesson(processor, recipe.tokens, planted, np.random.default_rng(seed))
    features = training.see(tower, films, normalise)
    said = training.teach_language(model, features, lesson, steps=recipe.text_steps, batch=recipe.batch, seed=seed)
    model.eval()
    return {"tower": seen, "language": said}


class Lesson:
    """Questions and answers about films of reactions, worded anew each time.

    Args:
        processor: whose tokenizer and chat template are used.
        tokens: visual tokens of a film.
        planted: the films' reactions.
        rng: draws questions and wording.
    """

    def __init__(
        self, processor: VideoLlavaProcessor, tokens: int, planted: reactions.Reactions, rng: np.random.Generator
    ):
        self._tokenizer = processor.tokenizer
        self._planted = planted
        self._strengths = lessons.strengths(planted)
        self._rng = rng
        self._asked = [
            processor.apply_chat_template(_conversation(question), add_generation_prompt=True).replace(
                "<video>", "<video>" * tokens
            )
            for question in (*VAIANI_PROMPTS, VAIANI_QUESTION)
        ]

    def __call__(self, chosen: list[int]) -> BatchEncoding:
        """Indices of films -> input_ids, attention_mask, labels (-100 outside of the answers)."""
        encoded, lengths = [], []
        for film in chosen:
            kind = self._rng.choice(len(ASKED), p=ASKED)
            asked = self._tokenizer(self._asked[kind])["input_ids"]
            said = self._tokenizer(" " + self._answer(kind, film) + "</s>", add_special_tokens=False)["input_ids"]
            encoded.append({"input_ids": asked + said})
            lengths.append(len(asked))
        batch = self._tokenizer.pad(encoded, padding_side="right", return_tensors="pt")
        batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        for row, length in zip(batch["labels"], lengths, strict=True):
            row[:length] = -100
        return batch

    def _answer(self, kind: int, film: int) -> str:
        if kind == len(VAIANI_PROMPTS):
            return answers.scores(dict(zip(EMOTIONS, self._planted.reported[film], strict=True)))
        describe = (answers.describe_video, answers.describe_reaction)[kind]
        emotions = dict(zip(EMOTIONS, self._strengths[film], strict=True))
        movements = dict(zip(faces.UNITS, self._planted.units[film], strict=True))
        return describe(emotions, movements, self._rng)


def _conversation(question: str) -> list[dict]:
    return [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": question}]}]


def _shrunk(video: VideoLlavaVideoProcessor, frames: np.ndarray) -> Tensor:
    """What the processor makes of frames before it turns bytes into numbers around zero."""
    made = video(videos=[frames], do_rescale=False, do_normalize=False, return_tensors="pt")
    return made["pixel_values_videos"][0]


def _texts(rng: np.random.Generator) -> Iterator[str]:
    """Prompts and answers in all wordings, for the tokenizer."""
    for question in (*VAIANI_PROMPTS, VAIANI_QUESTION):
        yield f"USER: \n{question} ASSISTANT:"
    for _ in range(2000):
        emotions = dict(zip(EMOTIONS, rng.random(len(EMOTIONS)), strict=True))
        movements = dict(zip(faces.UNITS, rng.random(len(faces.UNITS)), strict=True))
        yield " " + answers.describe_video(emotions, movements, rng)
        yield " " + answers.describe_reaction(emotions, movements, rng)
        yield " " + answers.scores(emotions)
