"""Figures: functions take data and an axis, and return the axis."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

PALETTE = sns.color_palette("colorblind")


def intensity_density(table: pd.DataFrame, emotions: Sequence[str], axis: Axes) -> Axes:
    """Figure 1 of Vaiani et al. 2024: a Gaussian kernel density of each emotion over [0, 1]."""
    for emotion, colour in zip(emotions, PALETTE, strict=False):
        sns.kdeplot(x=table[emotion].dropna(), cut=0, clip=(0, 1), color=colour, label=emotion, ax=axis)
    axis.set(xlim=(0, 1), xlabel="self-reported intensity", ylabel="probability density")
    axis.legend(title=None, frameon=False, fontsize="small")
    return axis


def shares(values: pd.DataFrame, *, bins: int) -> pd.DataFrame:
    """Share of each column's values in equal bins of [0, 1]: one row a bin, named by its lower and upper end."""
    edges = np.linspace(0, 1, bins + 1)
    rows = {name: np.histogram(column.dropna(), edges)[0] / column.notna().sum() for name, column in values.items()}
    return pd.DataFrame(rows, index=[f"{low:.1f} to {high:.1f}" for low, high in pairwise(edges)])


def contact_sheet(frames: Sequence[np.ndarray], titles: Sequence[str], *, columns: int = 6) -> Figure:
    """Pictures side by side, each with its title."""
    rows = -(-len(frames) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.9 * columns, 1.6 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, frame, title in zip(axes.flat, frames, titles, strict=False):
        axis.imshow(frame)
        axis.set_title(title, fontsize="x-small")
    figure.tight_layout()
    return figure


def pipeline(stages: Sequence[tuple[str, Sequence[int | str]]], axis: Axes) -> Axes:
    """Boxes from left to right, one a stage, each with its name and the shape that leaves it (Figure 2)."""
    for place, (name, shape) in enumerate(stages):
        box = FancyBboxPatch(
            (place, 0.2), 0.72, 0.6, boxstyle="round,pad=0.04", fc=PALETTE[place % 10] + (0.25,), ec="0.3"
        )
        axis.add_patch(box)
        axis.text(place + 0.36, 0.58, name, ha="center", va="center", fontsize="small")
        axis.text(
            place + 0.36, 0.36, " × ".join(map(str, shape)), ha="center", va="center", fontsize="x-small", color="0.3"
        )
        if place:
            axis.annotate("", (place - 0.05, 0.5), (place - 0.23, 0.5), arrowprops={"arrowstyle": "->", "color": "0.3"})
    axis.set(xlim=(-0.1, len(stages) - 0.15), ylim=(0, 1))
    axis.axis("off")
    return axis


def repeated_values(scores: pd.DataFrame, axes: Sequence[Axes]) -> Sequence[Axes]:
    """How often each answered value occurs, an axis an emotion, with the share of the most frequent one."""
    for axis, emotion in zip(axes, scores.columns, strict=True):
        counts = scores[emotion].round(2).value_counts().sort_index()
        axis.bar(counts.index, counts.to_numpy(), width=0.06, color=PALETTE[0])
        share = counts.max() / counts.sum() if len(counts) else 0
        axis.set_title(f"{emotion}\n{share:.0%} one value", fontsize="small")
        axis.set(xlim=(-0.08, 1.08), xlabel="answered score")
    axes[0].set_ylabel("clips")
    return axes


def forest(table: pd.DataFrame, axis: Axes) -> Axes:
    """Rows of an exhibit: our value with its interval, a dot a seed, and the paper's value as a cross."""
    places = np.arange(len(table))[::-1]
    for place, line in zip(places, table.itertuples(), strict=True):
        axis.plot([line.low, line.high], [place, place], color="0.6", lw=3, solid_capstyle="round")
        axis.plot(line.seeds, [place] * len(line.seeds), "o", ms=4, color=PALETTE[0], alpha=0.7)
        axis.plot(line.ours, place, "|", ms=14, color="black")
        axis.plot(line.paper, place, "x", ms=7, color=PALETTE[3])
    axis.axvline(0, color="0.8", lw=1, zorder=0)
    axis.set_yticks(places, table["row"])
    axis.set_ylim(-0.6, len(table) - 0.4)
    axis.set_xlabel("mean Pearson correlation   (bar 95 % interval, dots seeds, tick their mean, cross the paper)")
    return axis
