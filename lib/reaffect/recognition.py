"""Omni-Emotion's emotion recognition (Section 5.4, Table 5): the question, its answers over folds, UAR and WAR.

The label set of a corpus is fixed. An answer that names none of it, several, or a class of another corpus is wrong, and
never a class of its own. Every clip is tested once, in one fold; scores are means over folds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from reaffect.corpora import expressions
from reaffect.describing import Describer
from reaffect.errors import InputError
from reaffect.metrics import recall_scores
from reaffect.metrics.recall import membership, recalls
from reaffect.results import measured
from reaffect.stats import bootstrap_groups, paired, percentile_interval
from reaffect.tuning import Lesson

QUESTION = (
    "As an emotional recognition expert, when you observe the video, what is the primary emotion exhibited by the "
    "characters? {options}."
)
"""Omni-Emotion 2025, Section 4.4, phase 2. Section 8 has other wordings, and lists that lack some of the classes."""

COLUMNS = ("UAR", "WAR")
"""Of Table 5, for each corpus."""

MODALITIES = {"v": "scene", "v+a": "scene+voice", "v+a+f": "scene+voice+face"}
"""What a row of the ablation is given -> what it can know of an embedded corpus, as `planted.json` calls it."""

MAJORITY = "most frequent class of train"

NONE = "none"
"""The column of answers that are no class of the label set."""


def lessons(table: pd.DataFrame, among: Sequence[str], *, question: str = QUESTION) -> list[Lesson]:
    """The question of phase 2 and its answer for each clip, not yet with what is seen and heard.

    Args:
        table: of a corpus, with `clip` and `labels`, one of `among` a clip.
        among: the label set; the options stand in its order (that of the paper's examples differs between them).
        question: with `{options}` where they belong.

    Raises:
        InputError: the question has no place for options, or a clip's label is none of them, or not one.
    """
    if "{options}" not in question:
        raise InputError(f"question {question!r} has no {{options}}: write it where the label set belongs.")
    asked = question.replace("{options}", ", ".join(among))
    return [Lesson(asked, f"{label}.") for label in _labels(table, among)]


def clips_of(folds: Mapping[int, pd.DataFrame], among: Sequence[str]) -> pd.DataFrame:
    """The clips of all folds' test parts: `clip`, `fold`, `truth`.

    Args:
        folds: number -> table of that fold, from `corpora.dfew.load` or `corpora.mafw.load`.
        among: the label set.

    Raises:
        InputError: no clip is tested, a clip is tested in two folds, or its label is none of `among`, or not one.
    """
    table = pd.concat([table.assign(fold=fold) for fold, table in folds.items()], ignore_index=True)
    found = table[table.split == "test"].reset_index(drop=True)
    if not len(found):
        raise InputError("No clip is in the test part of a fold. Pass folds as their corpus module loads them.")
    found = found.assign(truth=_labels(found, among))[["clip", "fold", "truth"]]
    twice = found[found["clip"].duplicated(keep=False)]
    if len(twice):
        clip = twice["clip"].iloc[0]
        both = " and ".join(map(str, twice.fold[twice["clip"] == clip]))
        raise InputError(f"clip {clip!r} is tested in folds {both}. Folds must not be mixed: fetch their files again.")
    return found


def answered(row: str, clips: Sequence[str], texts: Sequence[str], *, seed: int = 0) -> pd.DataFrame:
    """What one system said, one text a clip: `row`, `seed`, `clip`, `text`."""
    return pd.DataFrame({"row": row, "seed": seed, "clip": list(clips), "text": list(texts)})


def untrained(
    model: Describer, row: str, folds: Mapping[int, pd.DataFrame], among: Sequence[str], **options: Any
) -> pd.DataFrame:
    """What another model answers to the same question: it sees the frames and, if it can, hears the sound.

    Args:
        model: from `mllm.load`.
        row: its name in the table.
        folds: number -> table of that fold, with `media`; the clips of their test parts are asked about.
        among: the label set.
        options: of `describe`, such as `frames` and `max_new_tokens`.

    Returns:
        As from `answered`; of a clip that cannot be read the text is empty.
    """
    table = pd.concat(folds.values(), ignore_index=True)
    tested = table[table.split == "test"]
    question = lessons(tested, among)[0].question
    told = model.describe(tested.media, question, audio=model.takes_audio, **options)
    return answered(row, tested["clip"], told.text.fillna(""))


def read(told: pd.DataFrame, clips: pd.DataFrame, among: Sequence[str]) -> pd.DataFrame:
    """Answers with what they name beside the truth.

    Args:
        told: as from `answered`, of any rows and seeds, each with a text for every clip.
        clips: from `clips_of`.
        among: the label set.

    Returns:
        `told` with `fold`, `truth`, `answer` (one of `among`, or empty) and `named` (how many classes the text names,
        those of other corpora too).

    Raises:
        InputError: a row and seed that has no answer for a clip, two of them, or one for a clip that is not tested.
    """
    for (row, seed), each in told.groupby(["row", "seed"], sort=False):
        _check_complete(f"row {row!r}, seed {seed}", each["clip"], clips["clip"])
    answer = [expressions.answered(text, among) for text in told.text]
    found = told.assign(answer=answer, named=[len(expressions.named(text)) for text in told.text])
    return found.merge(clips[["clip", "fold", "truth"]], on="clip", how="left", validate="many_to_one")


def counts(told: pd.DataFrame) -> pd.DataFrame:
    """Answers of each row, all seeds together, by what they name: the four columns after `answers` add up to it.

    Returns:
        A row each of `told` (from `read`): `answers`, `one option`, `no class`, `several`, and `another class` (one,
        but not of the label set).
    """
    option, named = told.answer != "", told.named
    kinds = {"one option": option, "no class": named == 0, "several": named > 1}
    kinds = {"answers": named >= 0, **kinds, "another class": (named == 1) & ~option}
    return pd.DataFrame(kinds).groupby(told.row, sort=False).sum()


def majority(folds: Mapping[int, pd.DataFrame], among: Sequence[str]) -> pd.DataFrame:
    """The most frequent class of each fold's training part as the answer to its test clips, for `read`.

    Args:
        folds: as for `clips_of`.
        among: the label set; of classes that are equally frequent the first one there is taken.
    """
    made = []
    for table in folds.values():
        train, test = (table[table.split == part] for part in ("train", "test"))
        often = _labels(train, among)
        label = max(among, key=often.count)
        made.append(answered(MAJORITY, test["clip"], [f"{label}."] * len(test)))
    return pd.concat(made, ignore_index=True)


def shuffled(told: pd.DataFrame, row: str, *, draws: int = 20, seed: int = 0) -> pd.DataFrame:
    """A row's answers given to other clips of the same fold, drawn anew `draws` times: what they score without having
    looked. Where all of them are options, their expected UAR is one by the number of classes.

    Args:
        told: from `read`; the row's first seed is taken.
        row: whose answers.
        draws: each becomes a seed.
        seed: of the draws.
    """
    own = told[told.row == row]
    own = own[own.seed == own.seed.iloc[0]].sort_values(["fold", "clip"], ignore_index=True)
    rng, made = np.random.default_rng(seed), []
    for draw in range(draws):
        order = np.concatenate([rng.permutation(places) for places in own.groupby("fold").indices.values()])
        given = {name: own[name].to_numpy()[order] for name in ("text", "answer", "named")}
        made.append(own.assign(row=f"{row}, shuffled", seed=draw, **given))
    return pd.concat(made, ignore_index=True)


def fold_scores(told: pd.DataFrame, among: Sequence[str]) -> pd.DataFrame:
    """UAR and WAR in per cent of each row, seed and fold: `row`, `seed`, `fold`, `clips`, `UAR`, `WAR`.

    Args:
        told: from `read`.
        among: the label set.
    """
    made = []
    for (row, seed, fold), each in told.groupby(["row", "seed", "fold"], sort=False):
        found = recall_scores(each.truth, each.answer, among)
        scores = dict(zip(COLUMNS, (100 * score for score in found), strict=True))
        made.append({"row": row, "seed": seed, "fold": fold, "clips": len(each), **scores})
    return pd.DataFrame(made)


def table_rows(told: pd.DataFrame, corpus: str, among: Sequence[str]) -> list[dict[str, Any]]:
    """UAR and WAR in per cent of every row, for `results.compare`: mean over folds and seeds, each seed, an interval.

    The interval is over clips. Those of all folds are drawn anew together, with replacement; of each resample the same
    is computed as of the clips themselves: UAR within each fold, then the mean over folds (and seeds). Classes keep
    the fold that they are tested in, but not their number of clips: a class, or a fold, that a resample has no clip of
    is left out of that resample's mean. Training is not repeated: the interval says what other clips would change.

    Args:
        told: from `read`, or of several such tables.
        corpus: as the table's columns name it, such as 'DFEW'.
        among: the label set.
    """
    clips, right = _by_clip(told)
    made = []
    for name, seeds in right.items():
        each = [100 * _over_folds(np.ones((1, len(clips))), clips, one, among)[0] for one in seeds]
        mean = seeds.mean(0)
        drawn = bootstrap_groups(lambda w, mean=mean: 100 * _over_folds(w, clips, mean, among), clips["clip"])
        for place, column in enumerate(COLUMNS):
            values = [float(scores[place]) for scores in each]
            interval = percentile_interval(drawn[:, place])
            made.append(measured(name, f"{corpus} {column}", float(np.mean(values)), interval=interval, seeds=values))
    return made


def ceilings(file: Path | None, corpus: str) -> list[dict[str, Any]]:
    """What one who is given some modalities could score at best on an embedded corpus, as rows of Table 5, in per cent.

    Classes are equally frequent in each of its folds, so UAR is WAR.

    Args:
        file: the corpus's `planted.json`; None where nobody knows, which gives no rows.
        corpus: as for `table_rows`.
    """
    best = json.loads(file.read_text())["ceiling"] if file else {}
    return [
        measured(f"ceiling of {row}", f"{corpus} {column}", 100 * best[known])
        for row, known in MODALITIES.items()
        if known in best
        for column in COLUMNS
    ]


def carriers(file: Path | None, clips: Sequence[str]) -> dict[str, str]:
    """Clip -> what carries its class: scene, voice or face; 'neutral' where nothing has to, as the class is neutral.

    Args:
        file: the corpus's `planted.json`; None where nobody knows.
        clips: ids. What the file does not know is 'unknown'.
    """
    known = json.loads(file.read_text())["clips"] if file else {}
    kinds = {clip: "+".join(truth["carriers"]) for clip, truth in known.items()}
    kinds |= {clip: "neutral" for clip, truth in known.items() if truth["classes"] == ["neutral"]}
    return {clip: kinds.get(clip, "unknown") for clip in clips}


def by_kind(told: pd.DataFrame, kinds: Mapping[str, str]) -> pd.DataFrame:
    """Clips answered rightly, in per cent, of each row (all seeds), a column a kind of clip.

    Args:
        told: from `read`.
        kinds: of each clip, as from `carriers`.
    """
    right = 100.0 * (told.answer == told.truth)
    found = right.groupby([told.row, told["clip"].map(kinds).rename("kind")]).mean().unstack()
    return found.loc[list(told.row.unique())]


def contrasts(told: pd.DataFrame, kinds: Mapping[str, str], rows: Sequence[str] = tuple(MODALITIES)) -> pd.DataFrame:
    """What each row gains over the one before it, by kind of clip, paired by clip, with an interval over clips.

    A modality should gain where it carries the class, and nowhere else. Seeds are averaged for each clip; clips of all
    folds count alike.

    Args:
        told: from `read`.
        kinds: of each clip, as from `carriers`.
        rows: in the order in which modalities are added (Table 1: v, v+a, v+a+f).

    Returns:
        A row a step and kind: `row` (such as 'v+a minus v'), `kind`, `clips`, `difference` in percentage points of
        clips answered rightly, `low`, `high`, `p`.

    Raises:
        InputError: a row is missing, or a kind has one clip only.
    """
    clips, right = _by_clip(told)
    lacking = [row for row in rows if row not in right]
    if lacking:
        raise InputError(f"row {lacking[0]!r} has no answers; there are {', '.join(right)}.")
    kind_of = clips["clip"].map(kinds)
    made = []
    for before, after in pairwise(rows):
        gained = 100 * (right[after].mean(0) - right[before].mean(0))
        for kind in sorted(kind_of.unique()):
            gain, names = gained[kind_of == kind], clips["clip"][kind_of == kind]
            drawn = bootstrap_groups(lambda w, gain=gain: w @ gain / w.sum(1), names)
            found = paired(float(gain.mean()), drawn)._asdict()
            made.append({"row": f"{after} minus {before}", "kind": kind, "clips": len(gain), **found})
    return pd.DataFrame(made)


def confusion(told: pd.DataFrame, row: str, among: Sequence[str]) -> pd.DataFrame:
    """Answers of a row (all seeds and folds) by true class: a row a class, a column a class, and last `NONE`.

    Args:
        told: from `read`.
        row: whose answers.
        among: the label set.
    """
    own = told[told.row == row]
    found = pd.crosstab(own.truth, own.answer.replace("", NONE), rownames=["truth"], colnames=["answer"])
    return found.reindex(index=list(among), columns=[*among, NONE], fill_value=0)


def _over_folds(
    weights: Float[np.ndarray, "draws n"], clips: pd.DataFrame, right: Float[np.ndarray, " n"], among: Sequence[str]
) -> Float[np.ndarray, "draws 2"]:
    """UAR and WAR, means over the folds that a resample has clips of."""
    folds = [clips.fold.to_numpy() == fold for fold in clips.fold.unique()]
    there = membership(clips.truth.to_numpy(), among)
    each = np.stack([np.stack(recalls(weights[:, own], there[own], right[own]), -1) for own in folds])
    drawn = np.stack([weights[:, own].any(1) for own in folds])
    return each.sum(0) / drawn.sum(0)[:, None]  # a fold without clips adds 0


def _by_clip(told: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Float[np.ndarray, "seeds n"]]]:
    """The clips (`clip`, `fold`, `truth`), and whether each row's every seed is right about them, in their order."""
    index, columns = ["clip", "fold", "truth"], ["row", "seed"]
    wide = told.assign(right=told.answer == told.truth).pivot(index=index, columns=columns, values="right")
    right = {row: wide[row].to_numpy(float).T for row in told.row.unique()}
    return wide.index.to_frame(index=False), right


def _labels(table: pd.DataFrame, among: Sequence[str]) -> list[str]:
    """The label of each clip; InputError if it is not one of `among`."""
    for clip, labels in zip(table["clip"], table.labels, strict=True):
        if len(labels) != 1 or labels[0] not in among:
            raise InputError(
                f"clip {clip!r} has the labels {', '.join(labels) or '(none)'}; one of {', '.join(among)} is expected. "
                "Take the label set of its corpus, and of MAFW kind='single'."
            )
    return [labels[0] for labels in table.labels]


def _check_complete(name: str, answered_clips: pd.Series, clips: pd.Series) -> None:
    """Raises InputError unless each clip has one answer: scores of those that have would not be comparable."""
    twice, lacking = answered_clips[answered_clips.duplicated()], clips[~clips.isin(answered_clips)]
    unknown = answered_clips[~answered_clips.isin(clips)]
    for found, wrong in ((twice, "two answers"), (lacking, "no answer"), (unknown, "an answer, but is not tested")):
        if len(found):
            raise InputError(
                f"{name}: clip {found.iloc[0]!r} ({len(found)} such clips) has {wrong}. Answer each test clip once."
            )
