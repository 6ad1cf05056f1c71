"""Recall over a fixed set of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from reaffect.metrics.weighing import as_float, share


class RecallScores(NamedTuple):
    """Each in [0, 1]."""

    uar: float
    """Unweighted average recall: the mean of the classes' recalls."""

    war: float
    """Weighted average recall: each class counts as often as it is true, so this is accuracy."""


def recall_scores(
    truth: Sequence[str],
    prediction: Sequence[str | None],
    labels: Sequence[str],
    *,
    weights: Float[np.ndarray, "*k n"] | None = None,
) -> RecallScores:
    r"""UAR and WAR, as for DFEW and MAFW (Omni-Emotion 2025, Table 5).

    With $n_c$ items of class $c$, of which $h_c$ are recognised, $\mathrm{UAR} = \frac{1}{|C|} \sum_c h_c / n_c$ and
    $\mathrm{WAR} = \sum_c h_c / \sum_c n_c$. A prediction that is none of the labels is wrong and adds no class. A
    class that is never true (as may happen in a resample) has no recall and is left out of the mean.

    Args:
        truth: of n items, one of the labels each.
        prediction: the same; anything else, such as None, is wrong.
        labels: the fixed set of classes.
        weights: how often each item counts, for example in a bootstrap; leading dimensions go into the scores.

    Raises:
        ValueError: lengths differ, nothing to score, a label stands twice, or a truth is none of them.

    >>> recall_scores(["sad", "sad", "sad", "fear"], ["sad", "calm", "fear", "fear"], ["fear", "sad"])
    RecallScores(uar=0.6666666666666666, war=0.5)
    """
    if len(truth) != len(prediction) or not len(truth):
        raise ValueError(f"expected as many predictions as truths, and some: got {len(prediction)} and {len(truth)}")
    if len(set(labels)) < len(labels):
        raise ValueError("a label stands twice in the set")
    unknown = sorted(set(truth) - set(labels))
    if unknown:
        raise ValueError(f"the truth {unknown[0]!r} is none of the labels {', '.join(labels)}")
    is_right = np.array([one == other for one, other in zip(truth, prediction, strict=True)], float)
    weights = np.ones(len(truth)) if weights is None else np.asarray(weights, float)
    return RecallScores(*map(as_float, recalls(weights, membership(truth, labels), is_right)))


def recalls(
    weights: Float[np.ndarray, "*k n"], there: Bool[np.ndarray, "n classes"], right: Float[np.ndarray, " n"]
) -> RecallScores:
    """Both scores from what is right, in which they are linear: of several seeds' mean they are the mean of theirs.

    Args:
        weights: how often each item counts.
        there: from `membership`.
        right: of each item how often it was recognised, in [0, 1].
    """
    items, hits = weights @ there, weights @ (there * right[:, None])
    uar = share(share(hits, items).sum(-1), (items > 0).sum(-1))
    return RecallScores(uar, share(hits.sum(-1), items.sum(-1)))


def membership(truth: Sequence[str], labels: Sequence[str]) -> Bool[np.ndarray, "n classes"]:
    """Which class each item is of."""
    return np.array(list(truth), object)[:, None] == np.array(list(labels), object)
