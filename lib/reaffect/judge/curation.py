"""What a judge is asked while a data set is curated: what contradicts, what is felt and why, and does the label agree.

Omni-Emotion (Sections 3 and 3.1, Figure 2) asks GPT-3.5 all three and prints no prompt: the wordings are ours. Nothing
that cannot be read is guessed: it stays missing, with a problem. The lexicon's rules for the same questions are at the
end; they are about words, and what they miss is said there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import permutations
from statistics import fmean
from typing import Any

import pandas as pd

from reaffect.errors import InputError
from reaffect.judge import lexicon
from reaffect.judge.answers import NO_OBJECT, read_object
from reaffect.judge.asking import ask_each, is_text, paired
from reaffect.judge.base import Judge
from reaffect.judge.lexicon import compound, found_labels, wheel_group
from reaffect.judge.question import Question, template
from reaffect.metrics import plain, wheel_groups

CONSISTENCY_PROMPT, ANNOTATION_PROMPT, ALIGNMENT_PROMPT = "consistency_v1", "annotation_v1", "alignment_v1"

SOURCES = ("scene", "face", "audio")
"""Of descriptions: what is to be seen as a whole, in the faces, and what is heard."""

INTENSITIES = ("low", "medium", "high")
"""The paper names an intensity (Section 3, Figure 2) and no scale: this one is ours."""

SCORES = (0, 10)
"""Of agreement with the coarse label (Section 3.1)."""

ABSENT = "none"
"""Stands in a prompt for a description that does not exist."""

TOO_FEW = "fewer than two descriptions: nothing to compare"
NOTHING_LEFT = "no description is left to conclude from"
NO_REASON = "there is no reason to compare with the label"


def consistency(
    judge: Judge, described: pd.DataFrame, *, prompt: str = CONSISTENCY_PROMPT, repairs: int = 1
) -> pd.DataFrame:
    """Which of each clip's descriptions contradict the others (Omni-Emotion, Section 3).

    Args:
        judge: who answers.
        described: columns `SOURCES`, a row a clip; one that is blank or missing is shown as absent. A clip with fewer
            than two is not asked about: nothing contradicts.
        prompt: name of the prompt file.
        repairs: how often to ask again.

    Returns:
        A row a clip: `contradicting` (list of `SOURCES`, None where no answer could be read), `explanation`,
        `answer`, `asked`, `problem`.

    Raises:
        InputError: a column is missing, or no question can be answered; see `Judge.ask`.

    >>> from reaffect.judge import Lexicon
    >>> told = {"scene": ["He looks sad."], "face": ["A happy smile."], "audio": ["A sad voice."]}
    >>> consistency(Lexicon(), pd.DataFrame(told)).contradicting[0]
    ['face']
    """
    form = template(prompt)
    alone = {"contradicting": [], "explanation": TOO_FEW}

    def item(fields: dict[str, str]) -> Question | dict[str, Any]:
        return Question(form, fields) if len(_there(fields)) > 1 else alone

    columns = {"contradicting": object, "explanation": "str"}
    return ask_each(judge, _items(described, item), _read_consistency, columns, repairs=repairs)


def annotation(
    judge: Judge, described: pd.DataFrame, *, prompt: str = ANNOTATION_PROMPT, repairs: int = 1
) -> pd.DataFrame:
    """An explainable reason, open-vocabulary labels and the emotion's intensity (Omni-Emotion, Section 3.1).

    Args:
        judge: who answers.
        described: as for `consistency`, without what contradicts. A clip with no description at all is not asked about.
        prompt: name of the prompt file.
        repairs: how often to ask again.

    Returns:
        A row a clip: `reason`, `labels` (list in lower case, each once, perhaps empty), `intensity` (of
        `INTENSITIES`), `answer`, `asked`, `problem`; the first three are missing where no answer could be read.

    Raises:
        InputError: a column is missing, or no question can be answered; see `Judge.ask`.

    >>> from reaffect.judge import Lexicon
    >>> told = {"scene": ["A kitchen."], "face": ["A happy smile."], "audio": [None]}
    >>> annotation(Lexicon(), pd.DataFrame(told))[["labels", "intensity"]]
        labels intensity
    0  [happy]      high
    """
    form = template(prompt)

    def item(fields: dict[str, str]) -> Question | dict[str, Any]:
        return Question(form, fields) if _there(fields) else {"problem": NOTHING_LEFT}

    columns = {"reason": "str", "labels": object, "intensity": "str"}
    return ask_each(judge, _items(described, item), _read_annotation, columns, repairs=repairs)


def alignment(
    judge: Judge,
    reasons: Iterable[str],
    labels: Iterable[str],
    *,
    prompt: str = ALIGNMENT_PROMPT,
    repairs: int = 1,
) -> pd.DataFrame:
    """How well each reason agrees with the coarse label, 0 to 10 (Omni-Emotion, Section 3.1, Figure 3).

    Args:
        judge: who answers.
        reasons: from `annotation`; a Series keeps its index. A clip without reason or label is not asked about.
        labels: coarse ones by name; several of one clip parted by commas.
        prompt: name of the prompt file.
        repairs: how often to ask again.

    Returns:
        A row a clip: `score` (0 to 10 or NaN), `explanation`, `answer`, `asked`, `problem`.

    Raises:
        InputError: the lengths differ, or no question can be answered; see `Judge.ask`.

    >>> from reaffect.judge import Lexicon
    >>> alignment(Lexicon(), ["She is glad.", "She is glad."], ["happiness", "anger"]).score.tolist()
    [10.0, 0.0]
    """
    form = template(prompt)
    sides = paired(reasons, labels)
    items = [
        Question(form, {"reason": reason, "label": label})
        if is_text(reason) and is_text(label)
        else {"problem": NO_REASON}
        for reason, label in zip(*sides, strict=True)
    ]
    columns = {"score": float, "explanation": "str"}
    return ask_each(judge, pd.Series(items, sides[0].index, object), _read_alignment, columns, repairs=repairs)


def _items(described: pd.DataFrame, item: Callable[[dict[str, str]], Any]) -> pd.Series:
    missing = [name for name in SOURCES if name not in described]
    if missing:
        raise InputError(f"Descriptions lack the column {missing[0]!r}; they need {', '.join(SOURCES)}.")
    rows = described[list(SOURCES)].to_dict("records")
    made = [item({name: text if is_text(text) else ABSENT for name, text in row.items()}) for row in rows]
    return pd.Series(made, described.index, object)


def _there(fields: Mapping[str, str]) -> list[str]:
    return [name for name in SOURCES if fields[name] != ABSENT]


# ---- reading answers


def _read_consistency(question: Question, answer: str) -> dict[str, Any]:
    nothing = {"contradicting": None, "explanation": None}
    values = _object(answer)
    if isinstance(values, str):
        return nothing | {"problem": values}
    named = values.get("contradicting")
    if not _are_strings(named) or set(named) - set(_there(question.fields)):
        return nothing | {"problem": "its contradicting is no list of descriptions that exist"}
    if problem := _text_problem(values, "explanation"):
        return nothing | {"problem": problem}
    return {
        "contradicting": [name for name in SOURCES if name in named],
        "explanation": _line(values["explanation"]),
        "problem": None,
    }


def _read_annotation(_: Question, answer: str) -> dict[str, Any]:
    nothing = {"reason": None, "labels": None, "intensity": None}
    values = _object(answer)
    if isinstance(values, str):
        return nothing | {"problem": values}
    if problem := _text_problem(values, "reason"):
        return nothing | {"problem": problem}
    labels, intensity = values.get("labels"), values.get("intensity")
    if not _are_strings(labels) or not all(label.strip() for label in labels):
        return nothing | {"problem": "its labels are no list of strings, each with a word"}
    if intensity not in INTENSITIES:
        return nothing | {"problem": f"its intensity is none of {', '.join(INTENSITIES)}"}
    labels = list(dict.fromkeys(plain(label) for label in labels))
    return {"reason": _line(values["reason"]), "labels": labels, "intensity": intensity, "problem": None}


def _read_alignment(_: Question, answer: str) -> dict[str, Any]:
    nothing = {"score": math.nan, "explanation": None}
    values = _object(answer)
    if isinstance(values, str):
        return nothing | {"problem": values}
    score, (low, high) = values.get("alignment"), SCORES
    if isinstance(score, bool) or not isinstance(score, int | float):
        return nothing | {"problem": "its alignment is not a number"}
    if not low <= score <= high:
        return nothing | {"problem": f"its alignment is not within {low} to {high}"}
    if problem := _text_problem(values, "explanation"):
        return nothing | {"problem": problem}
    return {"score": float(score), "explanation": _line(values["explanation"]), "problem": None}


def _object(answer: str) -> dict[str, Any] | str:
    values = read_object(answer)
    return "it is no JSON object" if values == NO_OBJECT else values


def _text_problem(values: Mapping[str, Any], name: str) -> str | None:
    return None if is_text(values.get(name)) else f"it gives no {name}"


def _are_strings(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _line(text: str) -> str:
    return " ".join(text.split())


# ---- the lexicon's rules

VALENCE = {"joy": 1, "love": 1, "trust": 1, "anger": -1, "disgust": -1, "fear": -1, "sadness": -1}
"""Of the emotion wheels' innermost groups; surprise and anticipation lean to neither side."""

CALM = frozenset({"wheel 2: serenity", "wheel 3: neutral"})
"""`wheel_group`s that tell of no emotion: a calm voice does not contradict a moved face."""

NEUTRAL = "neutral"

WHEELS = 3


@lru_cache
def _family(label: str) -> str:
    """The innermost group of a label on the first wheel that has it; `NEUTRAL` for calm, else the label itself."""
    if wheel_group(label) in CALM:
        return NEUTRAL
    wheels = (wheel_groups(wheel=number, level=1) for number in range(1, WHEELS + 1))
    return next((groups[label] for groups in wheels if label in groups), label)


def _leaning(text: str) -> int:
    """1, -1 or 0: which side most of the labels in a text are on."""
    total = sum(VALENCE.get(_family(label), 0) for label in found_labels(text))
    return (total > 0) - (total < 0)


def _contradicting(fields: Mapping[str, str]) -> dict[str, object]:
    """Pleasant against unpleasant: the fewer contradict, and as many on both sides all do, as nothing decides. So does
    the third description where two tell of one emotion and it tells of others only.

    Two descriptions of one side are no contradiction, a denied emotion ('not happy') counts as named, and who feels it
    is not understood.
    """
    leanings = {name: _leaning(fields[name]) for name in _there(fields)}
    balance = sum(leanings.values())
    both = {1, -1} <= set(leanings.values())
    opposed = {name for name, leaning in leanings.items() if both and leaning and leaning * balance <= 0}
    named = [name for name in leanings if name in opposed | _outvoted(fields)]
    words = {1: "pleasant", -1: "unpleasant", 0: "neither"}
    return {
        "contradicting": named,
        "explanation": "; ".join(f"{name}: {words[leaning]}" for name, leaning in leanings.items()) or ABSENT,
    }


def _outvoted(fields: Mapping[str, str]) -> set[str]:
    """The description that shares no emotion with two that share one."""
    told = {name: {_family(label) for label in found_labels(fields[name])} - {NEUTRAL} for name in _there(fields)}
    return {
        name
        for name, one, other in permutations(told, 3)
        if told[name] and told[one] & told[other] and not told[name] & (told[one] | told[other])
    }


def _annotated(fields: Mapping[str, str]) -> dict[str, object]:
    """The descriptions one after the other, the labels in them, and an intensity from VADER's compound: the larger the
    mean magnitude over descriptions that are not neutral, the higher, in thirds. Who feels an emotion, and whether it
    is only spoken of, is not understood."""
    there = _there(fields)
    places = {"scene": "In the picture", "face": "In the face", "audio": "In the sound"}
    sizes = [size for name in there if (size := abs(compound(fields[name]))) >= lexicon.NEUTRAL]
    third = min(int(3 * (fmean(sizes) if sizes else 0)), len(INTENSITIES) - 1)
    return {
        "reason": " ".join(f"{places[name]}: {fields[name]}" for name in there),
        "labels": found_labels("\n".join(fields[name] for name in there)),
        "intensity": INTENSITIES[third],
    }


def _aligned(fields: Mapping[str, str]) -> dict[str, object]:
    """10 times the mean of two shares: of the reason's labels, those that meet a coarse one, and of the coarse ones,
    those that are met. A label of the same cluster of the wheel (25) meets it, one of the same innermost group by half.
    A reason that names no emotion is neutral.
    """
    said = found_labels(fields["reason"]) or [NEUTRAL]
    coarse = [plain(label) for label in fields["label"].split(",") if label.strip()]
    right = fmean(max(_likeness(one, other) for other in coarse) for one in said)
    met = fmean(max(_likeness(one, other) for other in said) for one in coarse)
    return {"alignment": round(10 * (right + met) / 2), "explanation": f"said: {', '.join(said)}"}


def _likeness(one: str, other: str) -> float:
    if wheel_group(one) == wheel_group(other):
        return 1.0
    families = _family(one), _family(other)
    if families == (NEUTRAL, NEUTRAL):
        return 1.0
    return 0.5 if families[0] == families[1] else 0.0


# beside the questions, so that whoever can ask them finds them answered
lexicon.ANSWERS |= {
    frozenset({"contradicting", "explanation"}): _contradicting,
    frozenset({"reason", "labels", "intensity"}): _annotated,
    frozenset({"alignment", "explanation"}): _aligned,
}
