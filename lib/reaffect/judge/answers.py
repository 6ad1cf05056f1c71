"""Reading a judge's answer: strictly, so that nothing is guessed, and without ever raising."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

SCORES = (1, 10)
EMOTIONS = ("positive", "negative")

_FENCE = re.compile(r"```(?:json)?\s*\n(.*)\n\s*```", re.DOTALL | re.IGNORECASE)
_LINE = re.compile(
    r"emotion\s*[:=]\s*(?P<emotion>positive|negative)\s*[,;.\n]\s*"
    r"(?:confidence(?:[ _]score)?|score)\s*[:=]\s*(?P<score>\d+(?:\.\d+)?)(?:\s*/\s*10|\s+out\s+of\s+10)?\s*\.?",
    re.IGNORECASE,
)


class Emotion(NamedTuple):
    """What an answer says, or why it says nothing."""

    emotion: str | None
    """'positive' or 'negative'."""

    score: float
    """Confidence, 1 to 10, or NaN."""

    problem: str | None


def parse_emotion(answer: str) -> Emotion:
    """Reads emotion and confidence score; both, or neither.

    Two forms are taken, any case, and the whole answer must have one: a JSON object with `emotion` and `score`
    (perhaps within a Markdown fence), or 'Emotion: positive, Confidence score: 7', its two parts on one line or two
    and perhaps set in bold. Prose around them, both words, a range, or a score outside of 1 to 10 is a problem.

    >>> parse_emotion('{"emotion": "positive", "score": 7}')
    Emotion(emotion='positive', score=7.0, problem=None)
    >>> parse_emotion("Emotion: positive, Confidence score: 1-10").problem
    "it is neither a JSON object nor 'Emotion: ..., Confidence score: ...'"
    """
    values = read_object(answer)
    if isinstance(values, str) and (line := _LINE.fullmatch(answer.replace("*", "").strip())):
        values = {"emotion": line["emotion"], "score": float(line["score"])}
    elif values == NO_OBJECT:
        values = f"{NO_OBJECT} nor 'Emotion: ..., Confidence score: ...'"
    problem = values if isinstance(values, str) else emotion_problem(values) or score_problem(values)
    if problem:
        return Emotion(None, math.nan, problem)
    return Emotion(values["emotion"].strip().lower(), float(values["score"]), None)


NO_OBJECT = "it is neither a JSON object"


def read_object(answer: str) -> dict[str, Any] | str:
    """The JSON object that an answer is, perhaps within a Markdown fence, or what is wrong with it."""
    text = answer.strip()
    if not text:
        return "it is empty"
    if fenced := _FENCE.fullmatch(text):
        text = fenced[1].strip()
    if not text.startswith("{"):
        return NO_OBJECT
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return "it is not valid JSON"


def emotion_problem(values: dict[str, Any]) -> str | None:
    """What is wrong with an answer's `emotion`."""
    emotion = values.get("emotion")
    if not isinstance(emotion, str) or emotion.strip().lower() not in EMOTIONS:
        return f"its emotion is neither {EMOTIONS[0]!r} nor {EMOTIONS[1]!r}"
    return None


def score_problem(values: dict[str, Any]) -> str | None:
    """What is wrong with an answer's `score`."""
    score = values.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float):
        return "its score is not a number"
    low, high = SCORES
    return None if low <= score <= high else f"its score is not within {low} to {high}"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys occur once: of two values, neither is more the answer."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
