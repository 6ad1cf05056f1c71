"""Omni-Emotion's multimodal reasoning (Sections 5.2 and 7): how far accounts overlap with the true ones, and examples.

A judge scores two overlaps of each account with the clip's own description, 1 to 10: of its clues, and of the emotional
states that it concludes. Examples are chosen by rule, and what they say wrongly is found by rule, too.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from reaffect.errors import InputError
from reaffect.judge import Judge, clue_overlap, label_overlap
from reaffect.metrics import plain
from reaffect.results import measured
from reaffect.stats import bootstrap_groups, percentile_interval

MEASURES = {"Clue Overlap": clue_overlap, "Label Overlap": label_overlap}
"""Columns of Table 2 -> who scores them."""

COLUMNS = tuple(MEASURES)

LEAST = 1.0
"""Nothing overlaps."""

GAIN = "largest gain by the face"

PAGES = {
    "Table 4": GAIN,
    "Table 6": "highest overlap",
    "Table 7": "median overlap",
    "Table 8": "lowest overlap",
}
"""The paper's pages of examples -> the rule that chooses ours. How the paper chose its own is not said."""

TRUTH = "truth"


def overlaps(judge: Judge, told: pd.DataFrame, truth: Sequence[str]) -> pd.DataFrame:
    """Answers with both overlaps with the true description of their clip (Section 5.2).

    Args:
        judge: who scores.
        told: `row`, `seed`, `clip` (its place among the test clips) and `text`, as from `openset.answered`.
        truth: description of each test clip.

    Returns:
        `told` with `COLUMNS`, 1 to 10; NaN where the judge's answer could not be read. An answer without words gets 1,
        or silence would be the better answer.
    """
    silent = ~told.text.str.strip().astype(bool)
    references = [truth[clip] for clip in told["clip"]]
    scores = {name: score(judge, references, told.text).score.to_numpy() for name, score in MEASURES.items()}
    return told.assign(**{name: np.where(silent, LEAST, each) for name, each in scores.items()})


def unread(scored: pd.DataFrame) -> int:
    """Answers that lack a score, because the judge's own answer could not be read."""
    return int(scored[list(COLUMNS)].isna().any(axis=1).sum())


def table_rows(scored: pd.DataFrame, clips: Sequence[str]) -> list[dict[str, Any]]:
    """Both overlaps of every row: the mean over seeds, each seed, an interval over clips. What is unread is left out.

    Args:
        scored: from `overlaps`.
        clips: what is drawn anew for an interval, one name a test clip.

    Raises:
        InputError: a row of which no answer has a score.
    """
    made = []
    for name, own in scored.groupby("row", sort=False):
        for column in COLUMNS:
            by_clip = own.pivot(index="seed", columns="clip", values=column)
            if by_clip.isna().all(axis=None):
                raise InputError(f"{column} of {name!r}: no answer of the judge could be read. Try another judge.")
            mean = by_clip.mean().reindex(range(len(clips))).to_numpy()
            drawn = bootstrap_groups(lambda weights, mean=mean: _mean(weights, mean), clips)
            seeds = by_clip.mean(axis=1)
            interval = percentile_interval(drawn[~np.isnan(drawn)])
            made.append(measured(name, column, float(seeds.mean()), interval=interval, seeds=seeds.tolist()))
    return made


def wrong_labels(labels: Sequence[str], truth: Sequence[str], groups: Mapping[str, Hashable]) -> list[str]:
    """Labels that mean none of the true ones.

    Args:
        labels: of an answer.
        truth: of its clip.
        groups: label -> group, as for `metrics.set_scores`; a label that it does not hold is a group of its own.

    >>> wrong_labels(["joyful", "sad"], ["happy"], {"happy": "joy", "joyful": "joy"})
    ['sad']
    """
    there = {groups.get(plain(label), plain(label)) for label in truth}
    return [label for label in labels if groups.get(plain(label), plain(label)) not in there]


def pages(
    told: pd.DataFrame,
    table: pd.DataFrame,
    groups: Mapping[str, Hashable],
    *,
    whole: str,
    without: str,
    others: Sequence[str],
) -> dict[str, pd.DataFrame]:
    """Tables 4 and 6 to 8: a clip each, chosen by `PAGES`, with the truth, our answer and other models' answers.

    Rules go by the sum of both overlaps of `whole`, and its gain over `without`. Of equal clips the first is taken; a
    clip has one page, unless there are fewer clips than pages.

    Args:
        told: from `overlaps`, with `labels` as from `openset.read`; the first seed of each row speaks.
        table: of the test clips: `clip`, `labels`, `text`.
        groups: as for `wrong_labels`.
        whole: the row of the whole model.
        without: that of the model without the face branch.
        others: those of other models, which are shown, too.

    Returns:
        By the paper's table: `rule`, `clip`, `who`, `text`, `labels` (those that the text names), `wrong` (labels
        among them that mean none of the true ones), and `COLUMNS`. The truth comes first.

    Raises:
        InputError: a row has no answers, or none of the whole model's has both scores.
    """
    first = told.groupby("row", sort=False).seed.transform("first") == told.seed
    by_row = {row: own.set_index("clip").sort_index() for row, own in told[first].groupby("row", sort=False)}
    lacking = [row for row in (whole, without, *others) if row not in by_row]
    if lacking:
        raise InputError(f"row {lacking[0]!r} has no answers; there are {', '.join(by_row)}.")
    sums = {row: by_row[row][list(COLUMNS)].sum(axis=1, skipna=False) for row in (whole, without)}
    chosen = _chosen(sums[whole].dropna(), (sums[whole] - sums[without]).dropna())
    return {
        name: _page(PAGES[name], table.iloc[place], {row: by_row[row].loc[place] for row in (whole, *others)}, groups)
        for name, place in chosen.items()
    }


def marked(text: str, wrong: Sequence[str]) -> str:
    """A text as HTML, with the words that are wrong in red and bold, as the paper has them in red.

    >>> marked("Sad & happy.", ["sad"])
    '<b style="color:#c00">Sad</b> &amp; happy.'
    """
    text = escape(text)
    if not wrong:
        return text
    words = "|".join(re.escape(escape(label)) for label in sorted(wrong, key=len, reverse=True))
    return re.sub(rf"(?<!\w)({words})(?!\w)", r'<b style="color:#c00">\1</b>', text, flags=re.IGNORECASE)


def as_html(page: pd.DataFrame) -> str:
    """A page of `pages` for a reader: its rule and clip, and a table of who says what."""
    shown = page.assign(text=[marked(row.text, row.wrong) for row in page.itertuples()])
    shown = shown[["who", "text", *COLUMNS]].to_html(index=False, escape=False, na_rep="", float_format="{:.0f}".format)
    return f"<p>{escape(page.rule.iloc[0])}: clip {escape(page['clip'].iloc[0])}</p>{shown}"


def _chosen(sums: pd.Series, gain: pd.Series) -> dict[str, int]:
    """Page -> place of its clip."""
    if not len(sums) or not len(gain):
        raise InputError("No answer of the whole model has both overlaps: there is no example to choose.")
    found: dict[str, int] = {}
    for page, rule in PAGES.items():
        values = gain if rule == GAIN else sums
        left = values.drop(list(found.values()), errors="ignore")
        ranked = (left if len(left) else values).sort_values(kind="stable")
        place = {"median overlap": ranked.index[len(ranked) // 2], "lowest overlap": ranked.idxmin()}
        found[page] = int(place.get(rule, ranked.sort_index().idxmax()))
    return found


def _page(rule: str, clip: pd.Series, answers: Mapping[str, pd.Series], groups: Mapping[str, Hashable]) -> pd.DataFrame:
    rows = [{"who": TRUTH, "text": clip.text, "labels": list(clip.labels), "wrong": []}]
    for row, said in answers.items():
        wrong = wrong_labels(said.labels, clip.labels, groups)
        own = {"who": row, "text": said.text, "labels": list(said.labels), "wrong": wrong}
        rows.append(own | {name: float(said[name]) for name in COLUMNS})
    page = pd.DataFrame(rows)
    page.insert(0, "rule", rule)
    page.insert(1, "clip", clip["clip"])
    return page


def _mean(weights: Float[np.ndarray, "draws n"], values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " draws"]:
    """Of the clips that have a value; NaN for a draw that has none of them."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return weights[:, known] @ values[known] / weights[:, known].sum(1)
