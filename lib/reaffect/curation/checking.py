"""How well a curation did where the truth is planted: its filter, and what its score is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy import stats

from reaffect.errors import InputError
from reaffect.judge.asking import is_text
from reaffect.judge.curation import SOURCES
from reaffect.metrics import binary_scores
from reaffect.stats import Interval, bootstrap_groups, percentile_interval


class RankCorrelation(NamedTuple):
    """Spearman's rho and what it was made from."""

    value: float
    """In [-1, 1]; 0 where one side is constant."""

    interval: Interval
    clips: int
    """That have a score."""

    without_score: int


def with_foreign(described: pd.DataFrame, share: float, *, seed: int = 0) -> pd.DataFrame:
    """Plants contradictions: in some clips, one description becomes that of a clip with another coarse label.

    Args:
        described: `coarse` and `judge.curation.SOURCES`, such as from `pipeline.describe`.
        share: of the clips, in [0, 1], rounded; only one that has two descriptions or more can be chosen.
        seed: of the draws.

    Returns:
        The same table with the column `foreign`, the source that was exchanged, missing where none was.

    Raises:
        InputError: too few clips can be chosen, or nobody else has such a description.
    """
    rng = np.random.default_rng(seed)
    there = described[list(SOURCES)].map(is_text)
    fit, wanted = np.flatnonzero(there.sum(axis=1) > 1), round(share * len(described))
    if wanted > len(fit):
        raise InputError(f"{wanted} clips are to get a foreign description; {len(fit)} have two or more. Lower share.")
    texts = described[list(SOURCES)].astype(object).to_numpy()
    foreign = np.full(len(described), None, object)
    coarse = described.coarse.to_numpy()
    for place in rng.permutation(fit)[:wanted]:
        source = rng.choice(np.flatnonzero(there.iloc[place]))
        others = np.flatnonzero(there.iloc[:, source].to_numpy() & (coarse != coarse[place]))
        if not len(others):
            raise InputError(f"No clip but those of {coarse[place]!r} has a description {SOURCES[source]!r}.")
        texts[place, source] = described[SOURCES[source]].iloc[rng.choice(others)]
        foreign[place] = SOURCES[source]
    made = pd.DataFrame(texts, described.index, list(SOURCES)).astype("str")
    return described.assign(**made, foreign=pd.Series(foreign, described.index, "str"))


def found_foreign(annotated: pd.DataFrame) -> pd.DataFrame:
    """What `filter_scores` takes: a row for each description that exists.

    Args:
        annotated: from `consistency.annotate` of a table from `with_foreign`.

    Returns:
        `clip`, `source`, `truth` (it is foreign), `dropped` (None where the judge's answer could not be read).
    """
    rows = [
        {
            "clip": row["clip"],
            "source": source,
            "truth": row["foreign"] == source,
            "dropped": None if row["dropped"] is None else source in row["dropped"],
        }
        for row in annotated.to_dict("records")
        for source in SOURCES
        if is_text(row[source])
    ]
    return pd.DataFrame(rows, columns=["clip", "source", "truth", "dropped"]).astype({"dropped": object})


def filter_scores(truth: Bool[np.ndarray, " n"], dropped: Sequence[bool | None], clips: Sequence[str]) -> pd.DataFrame:
    """Precision, recall and F1 of what a consistency filter drops, in [0, 1], with 95 % intervals over clips.

    Args:
        truth: whether each description contradicts its clip, as planted.
        dropped: whether it was dropped; None where the judge's answer could not be read, which finds nothing.
        clips: of each description; a clip is drawn with all of its descriptions.

    Returns:
        A row a measure (`precision`, `recall`, `f1`): `value`, `low`, `high`. `attrs["unread"]` counts the None.

    Raises:
        InputError: lengths differ, or there are fewer than two clips.

    >>> filter_scores([True, True, False, False], [True, False, False, False], list("abcd")).value.tolist()
    [1.0, 0.5, 0.6666666666666666]
    """
    if not len(truth) == len(dropped) == len(clips):
        raise InputError(f"{len(truth)} of truth, {len(dropped)} dropped or not, {len(clips)} clips: give triples.")
    true = np.asarray(truth, float)
    said = np.array([np.nan if one is None else float(one) for one in dropped])
    names = ("precision", "recall", "f1")

    def statistic(weights: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, "draws measures"]:
        scores = binary_scores(true, said, weights=weights)
        return np.stack([getattr(scores, name) for name in names], -1)

    drawn = bootstrap_groups(statistic, clips)
    values = statistic(np.ones((1, len(true))))[0]
    rows = [(value, *percentile_interval(drawn[:, place])) for place, value in enumerate(values)]
    table = pd.DataFrame(rows, pd.Index(names, name="measure"), ["value", "low", "high"])
    table.attrs["unread"] = int(np.isnan(said).sum())
    return table


def score_correlation(
    truth: Float[np.ndarray, " n"], scores: Float[np.ndarray, " n"], clips: Sequence[str], *, resamples: int = 1000
) -> RankCorrelation:
    """Spearman's rho of the score and the true agreement, with a 95 % interval over clips.

    Args:
        truth: how far each annotation agrees with the planted emotion, such as the share of its labels that are right.
        scores: from `consistency.annotate`; NaN where there is none, which is left out and counted.
        clips: n names.
        resamples: of the bootstrap.

    Raises:
        InputError: lengths differ, truth is NaN, or fewer than two clips have a score.
    """
    true, said = np.asarray(truth, float), np.asarray(scores, float)
    if not len(true) == len(said) == len(clips):
        raise InputError(f"{len(true)} of truth, {len(said)} scores, {len(clips)} clips: give triples.")
    if np.isnan(true).any():
        raise InputError("The true agreement of a clip is NaN: it is planted, so say it for every clip.")
    there = ~np.isnan(said)
    true, said = true[there], said[there]

    def statistic(weights: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, " draws"]:
        counts = weights.astype(int)
        return np.array([_rho(np.repeat(true, count), np.repeat(said, count)) for count in counts])

    drawn = bootstrap_groups(statistic, np.asarray(clips)[there], resamples=resamples)
    return RankCorrelation(_rho(true, said), percentile_interval(drawn), len(said), int((~there).sum()))


def _rho(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rho; 0 where a side is constant, as `metrics.pearson` has it."""
    return float(stats.spearmanr(one, other).statistic) if np.ptp(one) and np.ptp(other) else 0.0
