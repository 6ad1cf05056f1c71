"""The papers' prompts, to the letter, and parsers that read free text without ever raising."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

VAIANI_QUESTION = (
    "Can you assign a score between 0 and 1 to each of these emotions based on what is expressed by the subject in "
    "the video: adoration, amusement, anxiety, disgust, empathic pain, fear and surprise?"
)
"""Vaiani et al. 2024, Section 4.1: direct querying."""

VAIANI_PROMPTS = ("Describe the video.", "Describe the reaction of the subject in the video.")
"""Vaiani et al. 2024, Section 4.2: prompts 1 and 2 of probing, and of the descriptions in Section 4.3."""

WORDINGS = {
    "adoration": ("adoration", "love", "affection", "tenderness", "admiration", "warmth"),
    "amusement": ("amusement", "joy", "happiness", "cheerfulness", "fun", "delight"),
    "anxiety": ("anxiety", "worry", "nervousness", "unease", "tension", "stress"),
    "disgust": ("disgust", "revulsion", "distaste", "aversion", "repulsion", "nausea"),
    "empathic pain": ("empathic pain", "compassion", "sorrow", "sadness", "pity", "grief"),
    "fear": ("fear", "fright", "terror", "horror", "panic", "dread"),
    "surprise": ("surprise", "astonishment", "amazement", "wonder", "shock", "disbelief"),
    "neutral": ("nothing", "no emotion", "calm", "boredom", "indifference", "ease", "rest", "neutrality"),
}
"""Fifty ways to end a template. ViPER's released code has about as many; the paper prints none."""

TEMPLATES = tuple(f"This face is feeling {word}." for words in WORDINGS.values() for word in words)
"""What CLIP chooses from, as ViPER's released code words it."""

_NUMBER = r"(?<![\w.])(?P<minus>-)?(?P<value>\d+(?:\.\d+)?|\.\d+)(?!\w)"
_UNIT = r"\s*(?P<unit>%|percent|/\s*\d+|out\s+of\s+\d+)?"
_SCORE = re.compile(_NUMBER + _UNIT, re.IGNORECASE)
_ECHO = re.compile(
    r"(between|from)\s+0(\.0+)?\s+(and|to)\s+1(\.0+)?|0(\.0+)?\s*(-|to)\s*1(\.0+)?\b|\[0, ?1\]", re.IGNORECASE
)
_LIST_MARK = re.compile(r"(?m)^\s*\d+[.)]\s+")


def parse_scores(text: object, emotions: Sequence[str]) -> dict[str, float]:
    """Reads one score an emotion out of an answer in free text.

    For each emotion (any case; hyphen, underscore or blank within a name) the first number that follows its name,
    before the next emotion's name, is its score: 'adoration: 0.3', 'Amusement (0.7)', 'I give fear a score of .2'.
    '70%', '7/10' and '7 out of 10' are fractions. If no emotion is named with a number and the text holds exactly as
    many numbers as there are emotions, they are taken in the order asked. The marks of a numbered list and the
    question's own 'between 0 and 1' are no scores.

    Args:
        text: what a model answered; anything that is no string counts as nothing.
        emotions: the names that were asked for.

    Returns:
        A float in [0, 1] for each emotion; NaN if there is none, or if the number lies outside of [0, 1].

    >>> parse_scores("Adoration: 0.3, and fear is at 70%.", ["adoration", "fear", "surprise"])
    {'adoration': 0.3, 'fear': 0.7, 'surprise': nan}
    """
    nothing = dict.fromkeys(emotions, math.nan)
    if not isinstance(text, str):
        return nothing
    text = _ECHO.sub(" ", _LIST_MARK.sub(" ", text))
    names = {_plain(emotion): emotion for emotion in emotions}
    pattern = re.compile(
        "|".join(
            rf"\b{re.escape(name).replace(chr(92) + ' ', '[ _-]')}\b" for name in sorted(names, key=len, reverse=True)
        ),
        re.IGNORECASE,
    )
    scores = dict(nothing)
    found = list(pattern.finditer(text))
    for place, name in enumerate(found):
        end = found[place + 1].start() if place + 1 < len(found) else len(text)
        number = _SCORE.search(text, name.end(), end)
        emotion = names[_plain(name.group())]
        if number and math.isnan(scores[emotion]):
            scores[emotion] = _value(number)
    if all(math.isnan(score) for score in scores.values()):
        numbers = [_value(number) for number in _SCORE.finditer(text)]
        if len(numbers) == len(emotions):
            return dict(zip(emotions, numbers, strict=True))
    return scores


def _plain(name: str) -> str:
    return re.sub(r"[ _-]", " ", name).lower()


def _value(number: re.Match) -> float:
    """A matched number as a fraction, NaN outside of [0, 1]."""
    value = float(number["value"])
    unit = (number["unit"] or "").lower()
    if unit in {"%", "percent"}:
        value /= 100
    elif unit:
        whole = int(re.search(r"\d+", unit).group())
        value = value / whole if whole else math.nan
    return value if not number["minus"] and 0 <= value <= 1 else math.nan
