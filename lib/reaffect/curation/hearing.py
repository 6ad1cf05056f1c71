"""Step 3 of a curation: what is said, what is heard besides, and the emotion in the voice.

Omni-Emotion (Section 3) has Whisper-large-v3 do all three; Whisper transcribes, and has neither captions nor emotions.
Here it transcribes, and a model that hears answers the other two questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from reaffect import audiovisual, media, mllm, paths
from reaffect.audiovisual import Asked, AudioVisualLLM
from reaffect.describing import Describer
from reaffect.errors import InputError

CAPTION_PROMPT = "Describe what is to be heard: voices and how they speak, and sounds around them."
EMOTION_PROMPT = "Which emotion does the voice of the person who speaks express, and by what can one hear it?"
"""Our wordings: the paper prints none."""

SILENT = "no sound: neither transcript nor caption nor vocal emotion"

Transcriber = Callable[[Sequence[str]], dict[str, str]]
"""Clips -> their transcripts, empty where nothing is said; `speech.Recogniser` is one."""


def load_listener(weights: Sequence[str], language_model: str = "") -> AudioVisualLLM | Describer:
    """Who answers what is asked about sounds.

    Args:
        weights: a Video-LLaMA's, as `audiovisual.load` takes them; or one omni-modal model's name or folder.
        language_model: the Video-LLaMA's; empty for a model that Hugging Face has a class for.

    Raises:
        InputError: the model cannot be loaded, or is one of several or cannot hear.
    """
    if language_model:
        return audiovisual.load("Video-LLaMA", weights, language_model)
    if len(weights) != 1:
        raise InputError(f"listener {list(weights)}: name one model, or the language model of a Video-LLaMA as well.")
    model = mllm.load(paths.checkpoint(weights[0]))
    if not model.takes_audio:
        raise InputError(f"listener {weights[0]}: this model cannot hear. Name an omni-modal one.")
    return model


def listen(
    transcriber: Transcriber,
    listener: AudioVisualLLM | Describer,
    clips: Sequence[str | Path],
    *,
    caption_prompt: str = CAPTION_PROMPT,
    emotion_prompt: str = EMOTION_PROMPT,
    max_new_tokens: int = 64,
    batch_size: int = 8,
) -> pd.DataFrame:
    """Transcript, caption and vocal emotion of each clip.

    Args:
        transcriber: who writes down what is said.
        listener: who answers the prompts; an `AudioVisualLLM` hears the sound alone, a `Describer` (an omni-modal
            one) is shown the frames as well, since its chat format wants a video.
        clips: video files.
        caption_prompt, emotion_prompt: what is asked.
        max_new_tokens: where an answer is cut off.
        batch_size: clips asked about together; changes speed, not answers.

    Returns:
        A row a clip, in order: `clip`, `transcript`, `caption`, `vocal_emotion`; all missing where a clip has no sound
        or cannot be read. `attrs["problems"]` says by clip which.
    """
    names = [str(clip) for clip in clips]
    problems = {name: problem for name in names if (problem := _problem(name))}
    heard = [name for name in dict.fromkeys(names) if name not in problems]
    transcripts, unheard = _transcripts(transcriber, heard)
    problems |= unheard
    heard = [name for name in heard if name not in unheard]
    columns = {"transcript": transcripts}
    for column, prompt in {"caption": caption_prompt, "vocal_emotion": emotion_prompt}.items():
        told = _answers(listener, heard, prompt, max_new_tokens, batch_size) if heard else {}
        problems |= {name: listener.problems[name] for name, text in told.items() if not isinstance(text, str)}
        columns[column] = told
    found = {name: pd.Series([by.get(clip) for clip in names], dtype="str") for name, by in columns.items()}
    table = pd.DataFrame({"clip": names, **found})
    table.attrs["problems"] = problems
    return table


def as_text(transcript: object, caption: object, vocal_emotion: object) -> str | None:
    """What was heard in one clip, for a judge; None where nothing was.

    >>> as_text("I won!", "A man shouts.", "The voice is joyful, a")
    'A man shouts. The voice is joyful, a. What is said: "I won!"'
    >>> as_text("", None, None) is None
    True
    """
    parts = [_ended(part.strip()) for part in (caption, vocal_emotion) if isinstance(part, str) and part.strip()]
    if isinstance(transcript, str) and transcript.strip():
        parts.append(f'What is said: "{transcript.strip()}"')
    return " ".join(parts) or None


def _ended(text: str) -> str:
    """With a full stop where an answer was cut off, so that it does not run into the next."""
    return f"{text}." if text[-1].isalnum() else text


def _problem(clip: str) -> str | None:
    try:
        return None if media.probe(clip).has_audio else f"{clip}: {SILENT}."
    except InputError as error:
        return str(error)


def _transcripts(transcriber: Transcriber, clips: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """By clip what is said, or why that is unknown: one damaged sound track does not take the others with it."""
    try:
        return transcriber(clips), {}
    except InputError as error:
        if len(clips) == 1:
            return {}, {clips[0]: str(error)}
    alone = [_transcripts(transcriber, [clip]) for clip in clips]  # what was heard before the error is stored
    return {k: v for found, _ in alone for k, v in found.items()}, {k: v for _, bad in alone for k, v in bad.items()}


def _answers(
    listener: AudioVisualLLM | Describer, clips: list[str], prompt: str, max_new_tokens: int, batch_size: int
) -> dict[str, str]:
    options = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
    if isinstance(listener, Describer):
        told = listener.describe(clips, prompt, audio=True, **options)
    else:
        told = listener.describe([Asked(clip) for clip in clips], prompt, video=False, **options)
    return dict(zip(clips, told.text, strict=True))
