"""How well a curation did where the truth is planted: its filter, and what its score is worth."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy import stats

from reaffect.errors import InputError
from reaffect.judge import Judge
from reaffect.judge.asking import is_text
from reaffect.judge.curation import SOURCES, consistency
from reaffect.metrics import binary_scores, sample_scores
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


def contradictions(judge: Judge, described: pd.DataFrame, share: float, *, seeds: Iterable[int]) -> pd.DataFrame:
    """What a judge finds of contradictions that are planted anew with each seed: `found_foreign` of all of them.

    Args:
        judge: who answers.
        described: as for `with_foreign`, with `clip`.
        share: of the clips in which one is planted.
        seeds: of the draws.
    """
    found = []
    for seed in seeds:
        planted = with_foreign(described, share, seed=seed)
        told = consistency(judge, planted).contradicting
        found.append(found_foreign(planted.assign(dropped=told)))
    return pd.concat(found, ignore_index=True)


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


def filter_table(found: Mapping[str, pd.DataFrame], *, seed: int = 0) -> pd.DataFrame:
    """`filter_scores` of several, and of the same drops dealt out anew among all descriptions, which is chance.

    Args:
        found: by name, from `found_foreign` or `contradictions`.
        seed: of the dealing.

    Returns:
        `descriptions` (the name), `dealt` (as `found`, or `shuffled`), `measure`, `value`, `low`, `high`, and the
        `share foreign`, near which a shuffled precision lies.
    """
    parts = []
    for name, one in found.items():
        ways = {"found": one.dropped, "shuffled": one.dropped.sample(frac=1, random_state=seed)}
        for way, dropped in ways.items():
            scores = filter_scores(one.truth, list(dropped), list(one["clip"])).reset_index()
            scores.insert(0, "dealt", way)
            scores.insert(0, "descriptions", name)
            parts.append(scores.assign(**{"share foreign": one.truth.mean()}))
    return pd.concat(parts, ignore_index=True)


def with_foreign_labels(annotated: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Every clip twice: with its own coarse label, and with another one of its corpus.

    Args:
        annotated: `corpus`, `clip` and `coarse`; what else it has stays.
        seed: of the draws: a label that many clips have is drawn as often.

    Returns:
        First all clips as they are, then all with the other label; `own` says which.

    Raises:
        InputError: a corpus has one label only.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for corpus, label in zip(annotated.corpus, annotated.coarse, strict=True):
        others = annotated.coarse[(annotated.corpus == corpus) & (annotated.coarse != label)]
        if not len(others):
            raise InputError(f"{corpus}: all clips have the label {label!r}: there is no other one to exchange it for.")
        drawn.append(rng.choice(others))
    both = [annotated.assign(own=True), annotated.assign(coarse=drawn, own=False)]
    return pd.concat(both, ignore_index=True)


def right_labels(annotated: pd.DataFrame, groups: Mapping[str, str]) -> Float[np.ndarray, " n"]:
    """How right each annotation's labels are, in [0, 1]: mean of the share of its labels' groups that are coarse ones,
    and of the share of coarse ones that it has. Without a label: 0.

    Args:
        annotated: `coarse` (labels by name, commas part several) and `labels` (list, None where unknown).
        groups: label -> group, such as `metrics.wheel_groups`.

    >>> told = pd.DataFrame({"coarse": ["sad, angry", "sad"], "labels": [["sad"], None]})
    >>> right_labels(told, {}).tolist()
    [0.75, 0.0]
    """
    said = [labels if isinstance(labels, list) else [] for labels in annotated.labels]
    scores = sample_scores([coarse.split(",") for coarse in annotated.coarse], said, groups)
    return (scores.accuracy + scores.recall) / 2


def carriers(planted: Mapping[str, str | Path], annotated: pd.DataFrame) -> pd.Series:
    """What carries each clip's class (`synthetic.expressions.CARRIERS`), 'unknown' where nobody knows.

    Args:
        planted: by corpus, the `planted.json` of an embedded one.
        annotated: `corpus` and `clip`, as `clips.training_clips` names them.

    Raises:
        InputError: a file is missing, or lacks a clip.
    """
    known = {corpus: _planted(Path(file)) for corpus, file in planted.items()}
    try:
        told = [
            "+".join(known[corpus][clip.removeprefix(f"{corpus}/")]["carriers"]) if corpus in known else "unknown"
            for corpus, clip in zip(annotated.corpus, annotated["clip"], strict=True)
        ]
    except KeyError as error:
        raise InputError(f"No planted.json tells of clip {error}. Build the embedded corpus again.") from None
    return pd.Series(told, annotated.index, "str", name="carrier")


def _planted(file: Path) -> dict[str, dict]:
    if not file.is_file():
        raise InputError(
            f"{file}: no such file. `make embedded` makes it; name none for a corpus that is not embedded."
        )
    return json.loads(file.read_text())["clips"]


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


def score_correlations(
    pairs: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[str]]],
) -> pd.DataFrame:
    """Several of `score_correlation`.

    Args:
        pairs: by name, what `score_correlation` takes.

    Returns:
        A row a name (`score and`): `rho`, `low`, `high` (95 %, over clips), `scores` (a count), `without score`.
    """
    found = {name: score_correlation(*pair) for name, pair in pairs.items()}
    columns = ["rho", "low", "high", "scores", "without score"]
    rows = [(one.value, *one.interval, one.clips, one.without_score) for one in found.values()]
    return pd.DataFrame(rows, pd.Index(found, name="score and"), columns)


def by_carrier(both: pd.DataFrame, carriers: pd.Series, *, threshold: float) -> pd.DataFrame:
    """What the score is worth by what carries the class: with the own label it should be higher than with another one.

    Args:
        both: from `with_foreign_labels`, with `score` for either label.
        carriers: of each row.
        threshold: lowest score that stays.

    Returns:
        A row a carrier: `clips`, the mean score with the `own label` and with `another label`, the share that `stays`
        with the own one, and `rho` of the score and whether the label is the own one, with `low` and `high`.
    """
    rows = {}
    for carrier, part in both.groupby(carriers):
        own = part.score[part.own]
        means = {"clips": len(own), "own label": own.mean(), "another label": part.score[~part.own].mean()}
        found = score_correlation(part.own, part.score, part["clip"])
        told = {"stays": (own >= threshold).mean(), "rho": found.value, **found.interval._asdict()}
        rows[carrier] = means | told
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("carrier")


def _rho(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rho; 0 where a side is constant, as `metrics.pearson` has it."""
    return float(stats.spearmanr(one, other).statistic) if np.ptp(one) and np.ptp(other) else 0.0
