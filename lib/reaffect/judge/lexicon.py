"""A judge without a model, for runs without a server: VADER's lexicon and the emotion wheel's words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from statistics import fmean

from sklearn.feature_extraction.text import CountVectorizer
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from reaffect.errors import InputError
from reaffect.judge.base import Heard
from reaffect.judge.question import Question
from reaffect.metrics import Wheels, plain, read_wheels

NEUTRAL = 0.05
"""A compound nearer to 0 is neutral, as VADER's authors advise."""

LEVEL = 2
"""Of the wheels: synonyms share a cluster of Shaver's tree (25), while level 1 joins all that is unpleasant alike."""

AMBIGUOUS = frozenset({"concern", "content", "interest", "kindly", "pain"})
"""Forms that descriptions mostly use for something else ('the content of the subtitle'): labels, but not in a text."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


class Lexicon:
    """Answers in an LLM's format what can be answered by looking words up; it reads a question's fields only.

    - Emotion: VADER's compound (Hutto and Gilbert 2014), the mean over sentences; the score is 1 + 9 times its
      magnitude. A text that leans to neither side is answered 'neutral', which is no answer to the question and is
      counted as such.
    - Groups: labels of one `wheel_group`.
    - Labels: the surface forms of our emotion wheel that occur in the text. Negation is not understood ('not happy'
      gives 'happy'), nor whose emotion it is.
    - Overlaps: 1 + 9 times Dice's coefficient of two sets, rounded; ours, no paper's. For label overlap the sets are
      the groups of the labels found, for clue overlap all other words but scikit-learn's English stop words, as they
      are spelled. Where the reference's set is empty there is nothing to overlap with: the score is null, no answer.
    """

    def __init__(self) -> None:
        self.name = f"vader-{version('vaderSentiment')}"

    def ask(self, questions: Sequence[Question], heard: Heard | None = None) -> list[str | InputError]:
        """Answers, each a JSON object as the question's template asks for.

        Raises:
            InputError: a question that asks for something else.
        """
        answers = []
        for question in questions:
            answer = ANSWERS.get(frozenset(question.template.schema["properties"]))
            if answer is None:
                raise InputError(f"The lexicon cannot answer {question.template.name}: use a server or a recording.")
            answers.append(json.dumps(answer(question.fields), ensure_ascii=False))
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


def wheel_group(label: str) -> str:
    """The group of a label on the first wheel of ours that has it; a label on none is a group of its own.

    >>> wheel_group("joyful") == wheel_group("happiness"), wheel_group("joyful") == wheel_group("proud")
    (True, False)
    """
    label = plain(label)
    for number, groups in enumerate(_wheel_groups(), start=1):
        if label in groups:
            return f"wheel {number}: {groups[label]}"
    return label


def found_labels(text: str) -> list[str]:
    """Surface forms of the emotion wheel in a text, in order; of several forms of a word the first.

    >>> found_labels("Happily surprised? No: angry, then happy again.")
    ['happily', 'surprised', 'angry']
    """
    found: dict[tuple[str, ...], str] = {}
    for match in _pattern().finditer(text):
        form = plain(match.group())
        found.setdefault(tuple(_wheels().forms[form]), form)
    return list(found.values())


def _emotion(fields: Mapping[str, str]) -> dict[str, object]:
    leaning = compound("\n".join(fields.values()))
    emotion = "neutral" if abs(leaning) < NEUTRAL else "positive" if leaning > 0 else "negative"
    return {"emotion": emotion, "score": 1 + round(9 * abs(leaning))}


def _groups(fields: Mapping[str, str]) -> dict[str, object]:
    groups: dict[str, list[str]] = {}
    for label in json.loads(fields["labels"]):
        groups.setdefault(wheel_group(label), []).append(label)
    return {"groups": list(groups.values())}


def _labels(fields: Mapping[str, str]) -> dict[str, object]:
    return {"labels": found_labels("\n".join(fields.values()))}


def _label_overlap(fields: Mapping[str, str]) -> dict[str, object]:
    sides = ({wheel_group(label) for label in found_labels(fields[name])} for name in ("reference", "description"))
    return _overlap("label_overlap", *sides)


def _clue_overlap(fields: Mapping[str, str]) -> dict[str, object]:
    words, emotions = _words(), _wheels().forms
    sides = ({word for word in words(fields[name]) if word not in emotions} for name in ("reference", "description"))
    return _overlap("clue_overlap", *sides)


def _overlap(name: str, reference: set[str], description: set[str]) -> dict[str, object]:
    shared = reference & description
    dice = 2 * len(shared) / max(len(reference) + len(description), 1)
    told = {
        "shared": shared,
        "only in the reference": reference - shared,
        "only in the description": description - shared,
    }
    reason = "; ".join(f"{where}: {', '.join(sorted(what)) or 'nothing'}" for where, what in told.items())
    return {name: 1 + round(9 * dice) if reference else None, "reason": reason}


ANSWERS: dict[frozenset[str], Callable[[Mapping[str, str]], dict[str, object]]] = {
    frozenset({"emotion", "score"}): _emotion,
    frozenset({"groups"}): _groups,
    frozenset({"labels"}): _labels,
    frozenset({"clue_overlap", "reason"}): _clue_overlap,
    frozenset({"label_overlap", "reason"}): _label_overlap,
}
"""What a template asks for -> what answers it; `judge.curation` adds its own."""


@lru_cache
def _analyser() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()


@lru_cache
def _wheels() -> Wheels:
    return read_wheels()


@lru_cache
def _wheel_groups() -> list[dict[str, str]]:
    return [_wheels().groups(number, LEVEL) for number in range(1, len(_wheels().wheels) + 1)]


@lru_cache
def _pattern() -> re.Pattern[str]:
    forms = sorted(set(_wheels().forms) - AMBIGUOUS, key=len, reverse=True)  # the longest of several wins
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, forms))})(?![\w-])", re.IGNORECASE)


@lru_cache
def _words() -> Callable[[str], list[str]]:
    return CountVectorizer(stop_words="english").build_analyzer()
