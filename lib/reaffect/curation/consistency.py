"""Steps 4 and 5 of a curation: what contradicts is dropped, the rest annotated and scored against the coarse label.

What a judge says is kept by `judge.Recorder`, question by question, so that a run that was killed goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from reaffect.errors import InputError
from reaffect.judge import Judge
from reaffect.judge import curation as asked
from reaffect.judge.curation import SOURCES

COLUMNS = ("clip", "coarse", *SOURCES)

STEPS = ("consistency", "annotation", "alignment")
"""Of judging, in order: a clip that fails at one is not asked about at the next."""


def annotate(judge: Judge, described: pd.DataFrame, *, repairs: int = 1) -> pd.DataFrame:
    """Consistency, then reason, labels and intensity, then the score (Omni-Emotion, Sections 3 and 3.1).

    Nothing is guessed: a clip whose consistency could not be read is not annotated, one without a reason has no score.

    Args:
        judge: who answers; a `judge.Recorder` around it makes the run resumable.
        described: columns `COLUMNS`, such as from `pipeline.describe`; a description that does not exist is missing.
        repairs: how often to ask again where an answer cannot be read.

    Returns:
        `described` with: `dropped` (list of `judge.curation.SOURCES` that contradict, None where unknown),
        `explanation`, `reason`, `labels` (list, None where unknown), `intensity`, `score` (0 to 10, NaN where
        unknown), `problem` (the first, after the step's name; missing where all went well).

    Raises:
        InputError: a column is missing, or no question can be answered; see `Judge.ask`.
    """
    missing = [name for name in COLUMNS if name not in described]
    if missing:
        raise InputError(f"Descriptions lack the column {missing[0]!r}; they need {', '.join(COLUMNS)}.")
    told = asked.consistency(judge, described, repairs=repairs)
    kept = without(described, told.contradicting)
    noted = asked.annotation(judge, kept, repairs=repairs)
    scored = asked.alignment(judge, noted.reason, described.coarse, repairs=repairs)
    problems = pd.DataFrame({name: each.problem for name, each in zip(STEPS, (told, noted, scored), strict=True)})
    return described.assign(
        dropped=told.contradicting,
        explanation=told.explanation,
        reason=noted.reason,
        labels=noted.labels,
        intensity=noted.intensity,
        score=scored.score,
        problem=[_first(row) for row in problems.to_dict("records")],
    )


def without(described: pd.DataFrame, dropped: pd.Series) -> pd.DataFrame:
    """The descriptions less what is dropped; where that is unknown (None), none of a clip's stay.

    >>> table = pd.DataFrame({"scene": ["a"], "face": ["b"], "audio": ["c"]})
    >>> without(table, pd.Series([["face"]])).iloc[0].tolist()
    ['a', nan, 'c']
    """
    gone = {name: [names is None or name in names for names in dropped] for name in SOURCES}
    return described.assign(**{name: described[name].mask(pd.Series(gone[name], described.index)) for name in SOURCES})


def problem_counts(annotated: pd.DataFrame) -> pd.Series:
    """How many clips have which problem first."""
    return annotated.problem.dropna().value_counts().rename("clips")


def _first(problems: dict[str, object]) -> str | None:
    found: Sequence[str] = [f"{step}: {text}" for step, text in problems.items() if isinstance(text, str)]
    return found[0] if found else None
