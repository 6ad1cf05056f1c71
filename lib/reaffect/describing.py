"""Models that answer questions about clips: what those loaded here and those behind a server have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float32, UInt8

from reaffect import media
from reaffect.errors import InputError
from reaffect.prompts import parse_scores
from reaffect.store import READERS, Store


class Describer:
    """A model that answers questions about clips, be it loaded here or served.

    Every method takes clips as paths and returns a table indexed by clip, in the order asked. A clip that cannot be
    read, or gets no answer, has a row of missing values and is listed in `problems`; the others finish.

    A subclass says what it is (`called`, `takes_audio`, `frames`) and where answers come from (`_told`,
    `_told_of_frames`).

    Args:
        identity: of the model, for the store.
        store: by default the one under `paths.STORE`.
    """

    called: str
    """In messages."""

    takes_audio: bool
    """Whether it hears the sound beside the frames."""

    frames: int
    """How many are shown of a clip by default."""

    def __init__(self, identity: str, store: Store | None = None):
        self.identity = identity
        self.store = store or Store()
        self.problems: dict[str, str] = {}

    def describe_each(
        self,
        clips: Sequence[str | Path],
        prompts: Mapping[str, str],
        *,
        frames: int | None = None,
        audio: bool = False,
        max_new_tokens: int = 128,
        batch_size: int = 16,
        strict: bool = False,
    ) -> pd.DataFrame:
        """Answers to several questions about the same clips, for one look at each: a table with a column a question.

        Vaiani et al. 2024 ask three of every clip: for scores (Section 4.1) and by two prompts (4.2 and 4.3). Answers
        are those of `describe`, but for rounding, as with another batch size, and it finds them in the store. Of a clip
        some of whose answers are there only the others are asked.

        Args:
            clips: video files.
            prompts: what is asked, without the chat format, by the column's name.
            frames: equidistant frames shown, the first and last included; a single one is the middle one.
            audio: whether the sound is played to it, too; a clip without sound is then played as a second of silence.
            max_new_tokens: where an answer is cut off.
            batch_size: clips asked about together at most: those that are many tokens come first, and fewer at once
                where memory is short; changes speed, not answers.
            strict: raise the first bad clip's InputError instead of listing it.

        Raises:
            InputError: `audio` with a model that cannot hear; a single clip does not fit in memory; a server is not
                reachable any more, or refuses all.
        """
        if audio and not self.takes_audio:
            raise InputError(f"{self.called}: this model cannot hear; ask without audio, or name an omni-modal one.")
        shown = {"frames": frames or self.frames, "max_new_tokens": max_new_tokens} | self._shows(audio=audio)
        recipes = {name: {"prompt": prompt, **shown} for name, prompt in prompts.items()}
        told = self._told(recipes, clips, batch_size, strict)
        texts = {name: [values.get(str(clip)) for clip in clips] for name, values in told.items()}
        return pd.DataFrame(texts, index=index(clips))

    def describe(self, clips: Sequence[str | Path], prompt: str, **options: Any) -> pd.DataFrame:
        """Answers in the model's own words, decoded greedily: a table with the column `text`.

        Args:
            clips: video files.
            prompt: what is asked, without the chat format.
            options: as for `describe_each`.
        """
        return self.describe_each(clips, {"text": prompt}, **options)

    def score(self, clips: Sequence[str | Path], prompt: str, emotions: Sequence[str], **options: Any) -> pd.DataFrame:
        """Asks for scores and reads them from the answer: one column an emotion in [0, 1] or NaN, and `text`.

        Args:
            clips: video files.
            prompt: the question; see `prompts.VAIANI_QUESTION`.
            emotions: what `prompts.parse_scores` looks for.
            options: as for `describe`.
        """
        answers = self.describe(clips, prompt, **options)
        scores = [parse_scores(text, emotions) for text in answers.text]
        return pd.DataFrame(scores, index=answers.index, columns=list(emotions)).assign(text=answers.text)

    def describe_frames(
        self,
        clips: Sequence[str | Path],
        prompt: str,
        *,
        frames: int = 32,
        max_new_tokens: int = 128,
        batch_size: int = 4,
        strict: bool = False,
    ) -> pd.DataFrame:
        """Describes single frames (Vaiani et al. 2024, Section 4.3, LLaVA): one column a frame, 0, 1, ...

        Args:
            clips: video files.
            prompt: what is asked of every frame.
            frames: equidistant, first and last included.
            max_new_tokens, strict: as for `describe_each`.
            batch_size: clips asked about together at most; the model is asked about `frames` times as many pictures.
        """
        recipe = {"prompt": prompt, "frames": frames, "max_new_tokens": max_new_tokens, "each frame": True}
        values = self._told_of_frames(recipe, clips, batch_size, strict)
        columns = [str(frame) for frame in range(frames)]
        return pd.DataFrame([values.get(str(clip), {}) for clip in clips], index=index(clips), columns=columns)

    def _shows(self, *, audio: bool) -> dict[str, Any]:
        """What a recipe says besides, of all that is shown of a clip."""
        raise NotImplementedError

    def _told(
        self, recipes: Mapping[str, dict[str, Any]], clips: Sequence[str | Path], batch_size: int, strict: bool
    ) -> dict[str, dict[str, str]]:
        """Answers by recipe and clip; recipes are alike but for their prompts."""
        raise NotImplementedError

    def _told_of_frames(
        self, recipe: dict[str, Any], clips: Sequence[str | Path], batch_size: int, strict: bool
    ) -> dict[str, dict[str, str]]:
        """Answers by clip and frame, '0', '1', ..."""
        raise NotImplementedError


def film(clip: str, frames: int) -> UInt8[np.ndarray, "frames height width 3"]:
    """A clip's frames, of a single one the middle one."""
    return media.read_frames(clip, frames) if frames > 1 else media.read_frames(clip, 3)[1:2]


def sound(clip: str, sample_rate: int) -> Float32[np.ndarray, " samples"]:
    """A clip's sound, a second of silence if it has none."""
    waveform = media.read_waveform(clip, sample_rate)
    return waveform if len(waveform) else np.zeros(sample_rate, np.float32)


def times(clip: str, frames: int) -> dict[str, Any]:
    """Which of a clip's frames `film` takes, and the clip's rate; None for a folder of frames, which does not tell."""
    whole = media.probe(clip)
    shown = media.frame_indices(whole.frames, frames) if frames > 1 else media.frame_indices(whole.frames, 3)[1:2]
    rate = whole.fps if whole.fps > 0 else None
    return {"total_num_frames": whole.frames, "fps": rate, "frames_indices": shown}


class Extent(NamedTuple):
    """How much of a clip there is to see and to hear."""

    height: int
    width: int
    sound_s: int
    """Of `sound`, rounded up; 0 if it is not to be heard."""


UNLIKE = Extent(64, 64, 0), Extent(256, 64, 0), Extent(720, 1280, 0)
"""Shapes of silent clips, as small, narrow and large as clips may be."""


def extents(clips: Sequence[str], *, audio: bool) -> list[Extent | None]:
    """Of each clip, without decoding it; None of one that cannot be read."""

    def extent(clip: str) -> Extent | None:
        try:
            whole = media.probe(clip)
        except InputError:
            return None
        heard_s = max(1, math.ceil(whole.duration_s)) if whole.has_audio else 1
        return Extent(whole.height, whole.width, heard_s if audio else 0)

    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(extent, clips))


def index(clips: Sequence[str | Path]) -> pd.Index:
    """Of a table with a row a clip."""
    return pd.Index([str(clip) for clip in clips], name="clip")
