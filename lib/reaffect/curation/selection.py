"""What becomes of annotated clips: the self-reviewed set (SRE), the draw for human review (HRE), and their figures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from reaffect.errors import InputError
from reaffect.fingerprint import fingerprint
from reaffect.judge.curation import SCORES

THRESHOLD = 5.0
"""Samples that score lower are left out (Omni-Emotion, Section 3.1)."""

STUDIO = ("ravdess",)
"""Corpora that are left out since their clips were filmed in a studio (Section 3.1)."""

EACH = 700
"""Clips a corpus that go to human review (Section 3.2)."""


def self_reviewed(
    annotated: pd.DataFrame,
    *,
    threshold: float = THRESHOLD,
    without: Collection[str] = STUDIO,
    taken: Collection[str] = (),
) -> pd.DataFrame:
    """The SRE clips: those whose score reaches the threshold (Omni-Emotion, Section 3.1).

    Args:
        annotated: from `consistency.annotate`, with the column `corpus`.
        threshold: lowest score that stays, 0 to 10; a clip without a score never stays.
        without: corpora that are left out, in any case.
        taken: clips that are not to be in it, such as those of human review, if they were drawn first.

    Returns:
        The rows that stay; `attrs["counts"]` says how many clips scored `below`, had `no score`, are of a corpus
        `left out`, and are `taken`, each clip counted once, in the order left out, taken, no score, below.
    """
    out = annotated.corpus.str.lower().isin([name.lower() for name in without])
    gone = annotated["clip"].isin(list(taken)) & ~out
    unknown = annotated.score.isna() & ~out & ~gone
    below = (annotated.score < threshold) & ~out & ~gone
    table = annotated[~(out | gone | unknown | below)].reset_index(drop=True)
    causes = {"left out": out, "taken": gone, "no score": unknown, "below": below}
    table.attrs["counts"] = {name: int(which.sum()) for name, which in causes.items()}
    return table


def draw(table: pd.DataFrame, each: int = EACH, *, seed: int = 0, taken: Collection[str] = ()) -> pd.DataFrame:
    """Clips for human review: as many of every corpus, each label with its share (Omni-Emotion, Section 3.2).

    The paper draws 700 of each training set at random, "ensuring no overlap with the SRE dataset", while its Figure 2
    draws from that set. Both orders can be had: draw from all and give the result to `self_reviewed` as `taken`, or
    draw from what it left, with its clips as `taken` here. The shares of labels (by largest remainder) are ours: a
    random draw has them on average.

    Args:
        table: `corpus`, `clip`, `coarse` (the label by name); what else it has stays.
        each: clips a corpus.
        seed: of the draw, which depends on a corpus's own clips, and neither on their order nor on other corpora.
        taken: clips that must not be drawn.

    Returns:
        The drawn rows, by corpus and clip.

    Raises:
        InputError: a corpus has too few clips.
    """
    pool = table[~table["clip"].isin(list(taken))]
    parts = []
    for corpus in sorted(table.corpus.unique()):
        own = pool[pool.corpus == corpus].sort_values("clip")
        if len(own) < each:
            raise InputError(f"{corpus}: {len(own)} clips to draw {each} from. Draw fewer, or leave the corpus out.")
        rng = np.random.default_rng([seed, int(fingerprint(str(corpus)), 16)])
        for label, count in _shares(own.coarse.value_counts().sort_index(), each).items():
            alike = own[own.coarse == label]
            parts.append(alike.iloc[np.sort(rng.permutation(len(alike))[:count])])
    return pd.concat(parts).sort_values(["corpus", "clip"]).reset_index(drop=True) if parts else pool.copy()


class Sets(NamedTuple):
    """The two data sets, as they are before anybody has reviewed."""

    sre: pd.DataFrame
    """From `self_reviewed`, with its attrs."""

    hre: pd.DataFrame
    """From `draw`."""


def both_sets(
    annotated: pd.DataFrame,
    for_review: Collection[str],
    each: int = EACH,
    *,
    apart: bool = True,
    threshold: float = THRESHOLD,
    without: Collection[str] = STUDIO,
    seed: int = 0,
) -> Sets:
    """SRE, and the clips that people review.

    Args:
        annotated: as for `self_reviewed`; a clip without a reason is not reviewed.
        for_review: corpora that people review.
        each: clips of each of them.
        apart: the clips for review are drawn first and are no part of SRE (Section 3.2); otherwise they are drawn from
            SRE (Figure 2).
        threshold, without: as for `self_reviewed`.
        seed: of the draw.

    Raises:
        InputError: a corpus has too few clips.
    """
    options = {"threshold": threshold, "without": without}
    pool = annotated[annotated.reason.notna()] if apart else self_reviewed(annotated, **options)
    short = [name for name in for_review if (pool.corpus == name).sum() < each]
    if short:
        raise InputError(f"{short[0]}: fewer than {each} clips can be reviewed. Draw fewer, or leave the corpus out.")
    hre = draw(pool[pool.corpus.isin(list(for_review))], each, seed=seed)
    return Sets(self_reviewed(annotated, taken=hre["clip"] if apart else (), **options), hre)


def _shares(sizes: pd.Series, count: int) -> Mapping[str, int]:
    """`count` divided in proportion to sizes, by largest remainder; equal remainders in alphabetical order."""
    exact = sizes * count / sizes.sum()
    whole = np.floor(exact).astype(int)
    rest = (exact - whole).sort_values(ascending=False, kind="stable").index[: count - int(whole.sum())]
    whole[rest] += 1
    return whole.to_dict()


def score_counts(annotated: pd.DataFrame) -> pd.DataFrame:
    """Clips at each score, a column a corpus, for Figure 3; a score between two counts as the lower one."""
    low, high = SCORES
    known = annotated.dropna(subset="score")
    counts = pd.crosstab(np.floor(known.score).astype(int).rename("score"), known.corpus)
    return counts.reindex(range(low, high + 1), fill_value=0)


def sizes(table: pd.DataFrame) -> pd.Series:
    """Clips of each corpus, the largest first, for Figure 4."""
    return table.corpus.value_counts().rename("clips")


def compare_annotations(sets: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Data sets' annotations beside each other, in numbers; the paper's Table 9 shows one of each.

    Args:
        sets: by name, tables with `reason` (text) and `labels` (list of str, in lower case).

    Returns:
        A row a set: `samples`, mean `words` of a reason, mean `labels` of a sample, and `distinct labels` in all.

    >>> ours = pd.DataFrame({"reason": ["He smiles broadly."], "labels": [["happy", "proud"]]})
    >>> compare_annotations({"SRE": ours}).loc["SRE"].tolist()
    [1.0, 3.0, 2.0, 2.0]
    """
    rows = {
        name: {
            "samples": len(table),
            "words": table.reason.str.split().str.len().mean(),
            "labels": table.labels.str.len().mean(),
            "distinct labels": len({label for labels in table.labels for label in labels}),
        }
        for name, table in sets.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")
