"""Steps 1 to 3 of a curation together: every clip described as a scene, in its faces, and by its sound.

Each step keeps its findings in the store, clip by clip: a run that was killed goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from reaffect.audiovisual import AudioVisualLLM
from reaffect.curation import hearing, people, tracklets
from reaffect.curation.hearing import CAPTION_PROMPT, EMOTION_PROMPT, Transcriber, listen
from reaffect.curation.people import CLOSE_UP, EXPRESSION_PROMPT, AgeGender, CloseUp, describe_people
from reaffect.curation.scenes import SCENE_PROMPT, Seer, describe_scenes
from reaffect.curation.tracklets import SEARCH, Search
from reaffect.describing import Describer
from reaffect.errors import InputError
from reaffect.store import Store

COLUMNS = ("corpus", "clip", "media", "coarse")

STEPS = ("scene", "faces", "people", "audio")


class Models(NamedTuple):
    """Who describes; in the paper Qwen2-VL-72B, Whisper-large-v3 (twice) and MiVOLO."""

    seer: Seer
    transcriber: Transcriber
    listener: AudioVisualLLM | Describer
    age_gender: AgeGender | None = None


class Prompts(NamedTuple):
    """What the models are asked; the paper prints none, and small models understand only those they were taught."""

    scene: str = SCENE_PROMPT
    expression: str = EXPRESSION_PROMPT
    caption: str = CAPTION_PROMPT
    vocal_emotion: str = EMOTION_PROMPT


PROMPTS = Prompts()


class Described(NamedTuple):
    """What was found."""

    clips: pd.DataFrame
    """A row a clip: `COLUMNS`, and `scene`, `face` and `audio`, missing where there is nothing to describe."""

    people: pd.DataFrame
    """See `people.describe_people`; `clip` is the video file."""

    problems: pd.DataFrame
    """A row a clip and step (of `STEPS`) that found nothing: `clip`, `step`, `problem`."""


def describe(
    table: pd.DataFrame,
    models: Models,
    *,
    prompts: Prompts = PROMPTS,
    fps: float = 1.0,
    search: Search = SEARCH,
    close_up: CloseUp = CLOSE_UP,
    max_new_tokens: int = 128,
    batch_size: int = 16,
    store: Store | None = None,
) -> Described:
    """Describes every clip three times (Omni-Emotion, Section 3, Figure 2).

    A clip without a face or without sound, or one that cannot be read, keeps its row, lacks that description, and is
    listed.

    Args:
        table: `COLUMNS`, a row a clip, `media` its video and `coarse` its label by name (commas part several).
        models: who describes.
        prompts: what they are asked.
        fps: of the frames of a scene.
        search: how faces are found.
        close_up: how they are shown.
        max_new_tokens: where an answer is cut off.
        batch_size: clips or faces asked about together; changes speed, not answers.
        store: of tracklets, close-ups and estimates; the models have their own.

    Raises:
        InputError: a column is missing, or a video stands there twice.
    """
    _check(table)
    media = list(table.media)
    options = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
    scenes = describe_scenes(models.seer, media, fps=fps, prompt=prompts.scene, **options)
    found, unseen = tracklets.find_all(media, search, store=store)
    asked = options | {"age_gender": models.age_gender, "prompt": prompts.expression}
    persons = describe_people(models.seer, found, close_up, store=store, **asked)
    asked = options | {"caption_prompt": prompts.caption, "emotion_prompt": prompts.vocal_emotion}
    heard = listen(models.transcriber, models.listener, media, **asked)
    faces = {file: people.as_text(own) for file, own in persons.groupby("clip")}
    sounds = [hearing.as_text(one.transcript, one.caption, one.vocal_emotion) for one in heard.itertuples()]
    clips = table[list(COLUMNS)].assign(
        scene=list(scenes.text),
        face=pd.Series([faces.get(file) for file in media], table.index, "str"),
        audio=pd.Series(sounds, table.index, "str"),
    )
    each = (scenes.attrs["problems"], unseen, persons.attrs["problems"], heard.attrs["problems"])
    return Described(clips, persons, _listed(table, each))


def problem_counts(problems: pd.DataFrame) -> pd.Series:
    """How many clips lack what, by step of `STEPS`."""
    return problems.step.value_counts().reindex(STEPS, fill_value=0).rename("clips")


def _check(table: pd.DataFrame) -> None:
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise InputError(f"The table of clips lacks the column {missing[0]!r}; it needs {', '.join(COLUMNS)}.")
    twice = table.media[table.media.duplicated()]
    if len(twice):
        raise InputError(f"{twice.iloc[0]}: stands in the table of clips twice. Keep one of the rows.")


def _listed(table: pd.DataFrame, problems: Sequence[dict[str, str]]) -> pd.DataFrame:
    names = dict(zip(table.media, table["clip"], strict=True))
    rows = [
        {"clip": names[file], "step": step, "problem": problem}
        for step, each in zip(STEPS, problems, strict=True)
        for file, problem in each.items()
    ]
    return pd.DataFrame(rows, columns=["clip", "step", "problem"])
