"""Step 1 of a curation: what is to be seen as a whole, from a few frames (Omni-Emotion, Section 3, Figure 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pandas as pd

from reaffect import media
from reaffect.errors import InputError

SCENE_PROMPT = (
    "Describe this video: the surroundings, the people in it, what they do, and the mood that this suggests. Tell only "
    "what is to be seen."
)
"""Our wording: the paper says what is asked for ("surroundings and characters", Section 1) and prints no prompt."""


class Seer(Protocol):
    """Describes videos; `mllm.VideoMLLM` is one."""

    problems: dict[str, str]
    """By clip: why it has no description."""

    def describe(
        self, clips: Sequence[str | Path], prompt: str, *, frames: int, max_new_tokens: int, batch_size: int
    ) -> pd.DataFrame:
        """A table with the column `text`, a row a clip, in order; missing where a clip cannot be read."""
        ...


def describe_scenes(
    seer: Seer,
    clips: Sequence[str | Path],
    *,
    fps: float = 1.0,
    prompt: str = SCENE_PROMPT,
    max_new_tokens: int = 128,
    batch_size: int = 16,
) -> pd.DataFrame:
    """A description of each clip from frames at `fps`; clips of as many frames are asked about together.

    Args:
        seer: who describes; the paper's is Qwen2-VL-72B.
        clips: video files.
        fps: frames shown a second (1 in the paper); a clip shorter than a frame shows one.
        prompt: what is asked.
        max_new_tokens: where an answer is cut off.
        batch_size: clips asked about together; changes speed, not answers.

    Returns:
        A row a clip, in order: `clip`, `frames`, `text` (missing where the clip cannot be read); in
        `attrs["problems"]` by clip why it has none.

    Raises:
        InputError: fps is not above 0.
    """
    if not fps > 0:
        raise InputError(f"fps is {fps}: it must be above 0, and is 1 in the paper.")
    names = [str(clip) for clip in clips]
    counts, problems = _frame_counts(names, fps)
    texts: dict[str, str | None] = {}
    for count in sorted(set(counts.values())):
        alike = [name for name in counts if counts[name] == count]
        options = {"frames": count, "max_new_tokens": max_new_tokens, "batch_size": batch_size}
        told = seer.describe(alike, prompt, **options)
        texts |= zip(alike, told.text, strict=True)
    problems |= {name: seer.problems[name] for name, text in texts.items() if not isinstance(text, str)}
    table = pd.DataFrame(
        {
            "clip": names,
            "frames": [counts.get(name, 0) for name in names],
            "text": pd.Series([texts.get(name) for name in names], dtype="str"),
        }
    )
    table.attrs["problems"] = problems
    return table


def _frame_counts(clips: Sequence[str], fps: float) -> tuple[dict[str, int], dict[str, str]]:
    counts, problems = {}, {}
    for clip in clips:
        try:
            lasts_s = media.probe(clip).duration_s
            if math.isnan(lasts_s):
                raise InputError(f"{clip}: frames in a folder do not tell when they are shown. Make a video of them.")
            counts[clip] = max(1, round(lasts_s * fps))
        except InputError as error:
            problems[clip] = str(error)
    return counts, problems
