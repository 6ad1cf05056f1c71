"""What Omni-Emotion's Figures 2 to 4 show, of a curation that has run (Sections 3 and 3.1)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from reaffect.curation.pipeline import Described
from reaffect.curation.selection import THRESHOLD
from reaffect.errors import InputError
from reaffect.judge.curation import SOURCES

PALETTE = sns.color_palette("colorblind")


class Passed(NamedTuple):
    """How much went through each step of Figure 2; clips, where nothing else is said."""

    clips: int
    described: dict[str, int]
    """By `judge.curation.SOURCES`."""
    people: int
    """Faces that were followed and described, of all clips."""
    descriptions: int
    dropped: int
    """Descriptions that contradict the others."""
    checked: int
    """Whose consistency could be told."""
    annotated: int
    """With a reason."""
    scored: int
    selected: int
    """The self-reviewed ones (SRE)."""
    left_out: dict[str, int]
    """By cause; see `selection.self_reviewed`."""
    drawn: int | None
    """For human review (HRE); None where no draw was told of."""
    from_selected: bool
    """Whether these are some of the self-reviewed ones, as the paper's Figure 2 says, or apart, as its Section 3.2."""


def passed(
    described: Described, annotated: pd.DataFrame, selected: pd.DataFrame, drawn: pd.DataFrame | None = None
) -> Passed:
    """Counts of what went through each step of a curation (Omni-Emotion, Figure 2).

    Args:
        described: from `pipeline.describe`.
        annotated: what `consistency.annotate` made of its `clips`.
        selected: what `selection.self_reviewed` left of that, with its `attrs`.
        drawn: from `selection.draw`.

    Raises:
        InputError: the tables are not of one curation, or only some of the drawn clips are self-reviewed.
    """
    if _names(described.clips) != _names(annotated):
        raise InputError(
            f"{len(described.clips)} described and {len(annotated)} annotated clips are not the same ones. "
            "Annotate what was described, in one run."
        )
    left_out = dict(selected.attrs.get("counts", {}))
    if len(selected) + sum(left_out.values()) != len(annotated) or not _names(selected) <= _names(annotated):
        raise InputError(
            f"{len(selected)} self-reviewed clips and {sum(left_out.values())} left out do not make "
            f"{len(annotated)} annotated ones. Pass what `self_reviewed` returns of them, with its attrs."
        )
    told = annotated.dropped.dropna()
    return Passed(
        clips=len(annotated),
        described={name: int(annotated[name].notna().sum()) for name in SOURCES},
        people=len(described.people),
        descriptions=int(annotated[list(SOURCES)].notna().sum().sum()),
        dropped=int(told.map(len).sum()),
        checked=len(told),
        annotated=int(annotated.reason.notna().sum()),
        scored=int(annotated.score.notna().sum()),
        selected=len(selected),
        left_out={cause: count for cause, count in left_out.items() if count},
        drawn=None if drawn is None else len(drawn),
        from_selected=drawn is not None and _some_of(drawn, annotated, selected),
    )


def score_histogram(counts: pd.DataFrame, axis: Axes, *, threshold: float = THRESHOLD) -> Axes:
    """Figure 3: how many clips of each corpus have each score, and from where on they stay.

    Args:
        counts: from `selection.score_counts`.
        axis: a wide one.
        threshold: lowest score that stays.

    Raises:
        InputError: no clip has a score.
    """
    if not counts.to_numpy().sum():
        raise InputError("No clip has a score: there is nothing to draw. See the column `problem` of what was judged.")
    width = 0.8 / counts.shape[1]
    for place, (corpus, column) in enumerate(counts.items()):
        left = counts.index + 0.1 + place * width
        axis.bar(left, column, width, align="edge", color=PALETTE[place % 10], label=f"{corpus} ({column.sum():,})")
    # A bar stands for scores from its own to the next one's, so that the line is right between two scores as well.
    axis.axvline(threshold, color="0.2", lw=1.2, ls="--", label=f"stays from {threshold:g}")
    axis.axvspan(counts.index.min(), threshold, color="0.93", lw=0, zorder=0)
    axis.set_xticks(counts.index + 0.5, counts.index)
    axis.set(
        xlabel="agreement with the coarse label", ylabel="clips", xlim=(counts.index.min(), counts.index.max() + 1)
    )
    axis.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return axis


def corpus_sizes(sizes: pd.Series, axis: Axes) -> Axes:
    """Figure 4: clips of each corpus and their share of all.

    Args:
        sizes: from `selection.sizes`.
        axis: a wide one.

    Raises:
        InputError: there is no clip.
    """
    if not sizes.sum():
        raise InputError("No clip was selected: there is nothing to draw.")
    bars = axis.barh(np.arange(len(sizes))[::-1], sizes, color=PALETTE[0], height=0.7)
    axis.bar_label(bars, [f"{count:,} ({count / sizes.sum():.0%})" for count in sizes], padding=3, fontsize="small")
    axis.set_yticks(np.arange(len(sizes))[::-1], sizes.index)
    axis.set(xlabel=f"clips ({sizes.sum():,} in all)", xlim=(0, 1.2 * sizes.max()))
    return axis


def _names(table: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(table.corpus, table["clip"], strict=True))


def _some_of(drawn: pd.DataFrame, annotated: pd.DataFrame, selected: pd.DataFrame) -> bool:
    """Whether drawn clips are self-reviewed ones: all or none are, or they come from two draws."""
    names = _names(drawn)
    both = names & _names(selected)
    if not names <= _names(annotated) or len(both) not in (0, len(names)):
        raise InputError(
            f"{len(both)} of {len(names)} clips for human review are self-reviewed ones, "
            f"{len(names - _names(annotated))} were never annotated. "
            "Draw from the self-reviewed ones, or apart from them."
        )
    return bool(both)
