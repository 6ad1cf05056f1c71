"""A judge without a model: VADER's lexicon, for runs without a server."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from statistics import fmean

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from reaffect.errors import InputError
from reaffect.judge.base import Heard
from reaffect.judge.question import Question

NEUTRAL = 0.05
"""A compound nearer to 0 is neutral, as VADER's authors advise."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


class Lexicon:
    """Answers by VADER's compound (Hutto and Gilbert 2014), the mean over sentences, in an LLM's format.

    It reads a question's fields and not its instructions. The score is 1 + 9 times the compound's magnitude. A text
    that leans to neither side is answered 'neutral', which is no answer to the question and is counted as such.
    """

    def __init__(self) -> None:
        self.name = f"vader-{version('vaderSentiment')}"

    def ask(self, questions: Sequence[Question], heard: Heard | None = None) -> list[str | InputError]:
        """Answers, each a JSON object with `emotion` and `score`.

        Raises:
            InputError: a question that asks for something else.
        """
        answers = []
        for question in questions:
            if {"emotion", "score"} != set(question.template.schema["properties"]):
                raise InputError(f"The lexicon cannot answer {question.template.name}: use a server or a recording.")
            answers.append(_answer("\n".join(question.fields.values())))
            if heard:
                heard(question, answers[-1])
        return answers


def compound(text: str) -> float:
    """Mean of VADER's compound over the sentences of a text, -1 (negative) to 1 (positive).

    >>> compound("He is happy and proud. He smiles.") > 0.4 > 0 > compound("She is sad.")
    True
    """
    sentences = [sentence for sentence in _SENTENCE_END.split(text) if sentence.strip()]
    return fmean(_analyser().polarity_scores(sentence)["compound"] for sentence in sentences) if sentences else 0.0


def _answer(text: str) -> str:
    leaning = compound(text)
    emotion = "neutral" if abs(leaning) < NEUTRAL else "positive" if leaning > 0 else "negative"
    return json.dumps({"emotion": emotion, "score": 1 + round(9 * abs(leaning))})


@lru_cache
def _analyser() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()
