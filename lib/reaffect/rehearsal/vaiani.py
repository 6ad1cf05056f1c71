"""Steps of notebooks 02, 03 and 05: Video-LLaVA asked and probed, features, ViPER."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

from reaffect import fusion, prompts
from reaffect.features.audio import SHORTEST_WINDOW_S
from reaffect.features.text import NearestTemplates
from reaffect.features.visual import FaceViT
from reaffect.mllm import DEFAULT_FRAMES, VideoMLLM
from reaffect.models.imagebind import SAMPLE_RATE
from reaffect.rehearsal import batches, networks
from reaffect.rehearsal.networks import video_llava
from reaffect.rehearsal.params import Values
from reaffect.rehearsal.readings import Step
from reaffect.training import SELECTION_SHARE

VIPER_FITS = 12
"""Notebook 05's eleven systems, and one on shuffled labels; each is taken to be as large as the largest."""


def querying(values: Values, real: Values) -> list[Step]:
    """Notebook 02."""
    asked = partial(
        batches.answered,
        frames=DEFAULT_FRAMES,
        prompt=prompts.VAIANI_QUESTION,
        max_new_tokens=values["max_new_tokens"],
    )
    clips = real["clips"]["devel"]
    return [Step("ask Video-LLaVA", video_llava, asked, values["batch_size"], clips, "batch_size", "checkpoint")]


def probing(_values: Values, real: Values) -> list[Step]:
    """Notebook 03."""
    embed = partial(batches.embedded, frames=DEFAULT_FRAMES, prompt=prompts.VAIANI_PROMPTS[1])
    size = _default(VideoMLLM.embed_each, "batch_size")
    clips = len(prompts.VAIANI_PROMPTS) * sum(real["clips"].values())
    return [Step("embed by Video-LLaVA", video_llava, embed, size, clips, "VideoMLLM.embed_each", "checkpoint")]


def fusing(values: Values, real: Values) -> list[Step]:
    """Notebook 05: features, descriptions, fits."""
    return [*_features(values, real), *_descriptions(values, real), _fits(values, real)]


def _features(values: Values, real: Values) -> list[Step]:
    clips, frames = sum(real["clips"].values()), values["frames"]
    window_s = max(2 * real["duration_s"] / (frames + 1), SHORTEST_WINDOW_S)
    seen = {"each": (3, 224, 224), "name": "pixel_values"}
    heard = {"each": (round(window_s * SAMPLE_RATE),), "name": "input_values"}
    read = {"each": (_kept("max_length"),), "name": "input_ids"}
    told = frames + len(prompts.VAIANI_PROMPTS)

    def step(name: str, build: Callable, size: int, weights: str, parts: int, each: dict[str, Any]) -> Step:
        return Step(name, build, partial(batches.encoded, parts=parts, **each), size, clips, "frames", weights)

    return [
        step("faces by ViT", networks.vit, FaceViT.batch_size, "vision_model", frames, seen),
        step("frames by CLIP", networks.clip, NearestTemplates.batch_size, "clip_model", frames, seen),
        step("sound by WavLM", networks.wavlm, 1, "audio_model", frames, heard),
        step("texts by RoBERTa", networks.roberta, 1, "text_model", told, read),
    ]


def _descriptions(values: Values, real: Values) -> list[Step]:
    """Of films by both prompts, each as if it were asked alone, and of frames by the second one."""
    clips, both = sum(real["clips"].values()), len(prompts.VAIANI_PROMPTS)
    asked = {"prompt": prompts.VAIANI_PROMPTS[1], "max_new_tokens": _kept("max_new_tokens")}
    films = partial(batches.answered, frames=DEFAULT_FRAMES, **asked)
    pictures = partial(batches.answered, frames=values["frames"], apart=True, **asked)
    size, fewer = (_default(one, "batch_size") for one in (VideoMLLM.describe_each, VideoMLLM.describe_frames))
    by_frame, by_film = "VideoMLLM.describe_frames", "VideoMLLM.describe_each"
    return [
        Step("describe by Video-LLaVA", video_llava, films, size, both * clips, by_film, "checkpoint"),
        Step("describe frames by LLaVA", networks.llava, pictures, fewer, clips, by_frame, "image_checkpoint"),
    ]


def _fits(values: Values, real: Values) -> Step:
    build = partial(networks.viper, **{name: values[name] for name in ("latents", "latent_width", "layers", "heads")})
    learned = round((1 - SELECTION_SHARE) * real["clips"]["train"])
    passes = VIPER_FITS * len(values["seeds"]) * values["epochs"] * learned
    fit = partial(batches.fitted, frames=values["frames"])
    return Step("fit ViPER", build, fit, values["batch_size"], passes, "batch_size", "layers")


def _kept(name: str) -> int:
    """A default of `fusion.Encoders`, which the notebook leaves as it is."""
    return {one.name: one.default for one in fields(fusion.Encoders)}[name]


def _default(function: Callable, name: str) -> Any:
    """Of an argument."""
    return inspect.signature(function).parameters[name].default
