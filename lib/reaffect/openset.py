"""Open-vocabulary answers scored: the labels they name, how far those are the true ones, and which row does better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from reaffect.judge import Judge, extract_labels
from reaffect.metrics import sample_scores, set_scores
from reaffect.metrics.sets import Groups, Labels
from reaffect.results import measured
from reaffect.stats import bootstrap_groups, paired, percentile_interval
from reaffect.tuning import Lesson

COLUMNS = ("Avg", "Accuracy_S", "Recall_S")
"""Of EMER's tables."""


def by_labels(judge: Judge, groups: Groups) -> Callable[[list[str], Sequence[Lesson]], float]:
    """What validates a run: Avg of the labels in its answers, with those in the lessons' own answers as truth."""

    def score(answers: list[str], asked: Sequence[Lesson]) -> float:
        truth = extract_labels(judge, [one.answer for one in asked]).labels.map(_known)
        said = extract_labels(judge, answers).labels.map(_known)
        return float(set_scores(list(truth), list(said), groups).avg)

    return score


def answered(row: str, texts: Sequence[str]) -> pd.DataFrame:
    """Answers of one system, one a test clip, in the form of `finetuning.ablate`."""
    return pd.DataFrame({"row": row, "seed": 0, "clip": range(len(texts)), "text": list(texts)})


def read(judge: Judge, told: pd.DataFrame) -> pd.DataFrame:
    """Answers with the `labels` that a judge reads in them; an answer that it cannot read names none.

    Args:
        judge: who reads.
        told: `row`, `seed`, `clip` (its place among the test clips) and `text`, as from `finetuning.ablate`.
    """
    return told.assign(labels=extract_labels(judge, told.text).labels.map(_known))


def counts(told: pd.DataFrame) -> pd.DataFrame:
    """Labels that an answer names on average, and answers that name none, of each row."""
    named = told.labels.str.len().groupby(told.row, sort=False)
    return pd.DataFrame(
        {"labels an answer": named.mean(), "answers without": named.apply(lambda each: int((each == 0).sum()))}
    )


def trivial(train: Labels, clips: int) -> pd.DataFrame:
    """The label that most clips of the training part have, as the answer to each test clip."""
    label = pd.Series([label for labels in train for label in set(labels)]).mode()[0]
    row = answered(f"always '{label}'", [f"The person is {label}."] * clips)
    return row.assign(labels=[[label]] * clips)


def shuffled(told: pd.DataFrame, row: str, *, draws: int = 20, seed: int = 0) -> pd.DataFrame:
    """A row's answers given to other clips, drawn anew `draws` times: what its answers score without having looked."""
    own = told[told.row == row]
    own = own[own.seed == own.seed.iloc[0]].reset_index(drop=True)
    rng = np.random.default_rng(seed)
    made = [own.assign(row=f"{row}, shuffled", seed=draw, clip=rng.permutation(own["clip"])) for draw in range(draws)]
    return pd.concat(made, ignore_index=True)


def table_rows(told: pd.DataFrame, truth: Labels, groups: Groups, clips: Sequence[str]) -> list[dict[str, Any]]:
    """Avg, Accuracy_S and Recall_S in per cent of every row: the mean over seeds, each seed, an interval over clips.

    Args:
        told: from `read`.
        truth: labels of each test clip.
        groups: for `metrics.set_scores`.
        clips: what is drawn anew for an interval, one name a test clip.
    """
    made = []
    for name, each in _by_clip(told, truth, groups).items():
        mean = each.mean(0)
        drawn = bootstrap_groups(lambda w, mean=mean: w @ mean / w.sum(1, keepdims=True), clips)
        for place, column in enumerate(COLUMNS):
            interval = percentile_interval(100 * drawn[:, place])
            seeds = 100 * each[:, :, place].mean(1)
            made.append(measured(name, column, float(seeds.mean()), interval=interval, seeds=seeds.tolist()))
    return made


def contrasts(
    told: pd.DataFrame, truth: Labels, groups: Groups, kinds: Sequence[str], *, whole: str = "MicroEmo"
) -> pd.DataFrame:
    """The whole model's Avg minus each other row's, by kind of clip, paired by clip, with an interval over clips.

    Args:
        told, truth, groups: as for `table_rows`.
        kinds: of each test clip.
        whole: the row that the others are compared with.

    Returns:
        A row an ablation and kind: `row`, `kind`, `clips`, `difference` in percentage points, `low`, `high`, `p`.
    """
    each = {name: scores[:, :, 0].mean(0) for name, scores in _by_clip(told, truth, groups).items()}
    made = []
    for name in (name for name in each if name != whole):
        for kind in dict.fromkeys(kinds):
            chosen = np.flatnonzero(np.asarray(kinds) == kind)
            gain = 100 * (each[whole] - each[name])[chosen]
            drawn = bootstrap_groups(lambda w, gain=gain: w @ gain / w.sum(1), chosen)
            made.append(
                {"row": name, "kind": kind, "clips": len(chosen), **paired(float(gain.mean()), drawn)._asdict()}
            )
    return pd.DataFrame(made)


def by_kind(told: pd.DataFrame, truth: Labels, groups: Groups, kinds: Sequence[str]) -> pd.DataFrame:
    """Avg in per cent of each row (seeds averaged), a column a kind of clip; arguments as for `contrasts`."""
    each = {name: 100 * scores[:, :, 0].mean(0) for name, scores in _by_clip(told, truth, groups).items()}
    return pd.DataFrame(each, index=pd.Index(kinds, name="kind")).groupby(level=0, sort=False).mean().T


def examples(
    told: pd.DataFrame, truth: Labels, groups: Groups, table: pd.DataFrame, *, without: str, whole: str = "MicroEmo"
) -> pd.DataFrame:
    """Clips by a rule: the first that the whole model's parts set right, the first that they set wrong, and the first
    of which neither said anything true. A rule that no clip fits has no row.

    Args:
        told, truth, groups: as for `table_rows`; the first seed speaks.
        table: of the test clips: `clip`, `subtitle`, `text`.
        without: the row to compare with.
        whole: the row with the parts.
    """
    first = told[told.seed == told.seed.iloc[0]]
    scores = {name: each[0, :, 0] for name, each in _by_clip(first, truth, groups).items() if name in (whole, without)}
    gain, best = scores[whole] - scores[without], np.maximum(scores[whole], scores[without])
    rules = {"set right": gain > 0, "set wrong": gain < 0, "wrong with and without": best == 0}
    texts = {name: first[first.row == name].set_index("clip").text for name in (whole, without)}
    found = []
    for rule, fits in rules.items():
        for place in np.flatnonzero(fits)[:1]:
            row = table.iloc[place]
            said = {name: of[place] for name, of in texts.items()}
            found.append({"rule": rule, "clip": row["clip"], "subtitle": row.subtitle, "truth": row.text} | said)
    return pd.DataFrame(found)


def judged(judge: Judge, texts: Mapping[str, Sequence[str]], truth: Labels, groups: Groups) -> pd.DataFrame:
    """Scores of every text by the labels that a judge reads in it, for `judge.agreement`.

    Args:
        judge: who reads.
        texts: of each system, one a clip.
        truth: labels of each clip.
        groups: for `metrics.set_scores`.

    Returns:
        A row a system and clip (`system` in the index), a column a score in per cent; NaN where the judge's answer
        could not be read.
    """
    made = []
    for system, each in texts.items():
        labels = extract_labels(judge, each).labels
        scores = 100 * _scores(truth, list(labels.map(_known)), groups)
        scores[labels.isna().to_numpy()] = np.nan
        made.append(pd.DataFrame(scores, columns=COLUMNS, index=[system] * len(scores)))
    return pd.concat(made).rename_axis("system")


def _by_clip(told: pd.DataFrame, truth: Labels, groups: Groups) -> dict[str, Float[np.ndarray, "seeds clips columns"]]:
    """Avg, accuracy and recall of each row's every seed and clip, in the clips' order."""
    made: dict[str, list[np.ndarray]] = {}
    for (name, _), rows in told.groupby(["row", "seed"], sort=False):
        said = rows.set_index("clip").labels
        made.setdefault(name, []).append(_scores(truth, [said[clip] for clip in range(len(truth))], groups))
    return {name: np.stack(seeds) for name, seeds in made.items()}


def _scores(truth: Labels, said: Labels, groups: Groups) -> Float[np.ndarray, "clips columns"]:
    """`COLUMNS` of each clip."""
    found = sample_scores(truth, said, groups)
    return np.stack([(found.accuracy + found.recall) / 2, found.accuracy, found.recall], -1)


def _known(labels: list[str] | None) -> list[str]:
    """What could not be read counts as no label."""
    return labels or []
