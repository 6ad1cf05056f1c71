"""Figures of Omni-Emotion's notebook that show data: Figure 1 and confusions of classes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

LINE = 150
"""Letters in a line below the frames of Figure 1."""


def annotated_clip(
    frames: Sequence[UInt8[np.ndarray, "height width 3"]], told: Mapping[str, str], figure: Figure
) -> Figure:
    """Figure 1: frames of a clip side by side, and below them what is told of it, under its names.

    Args:
        frames: in order.
        told: name, such as 'Open-vocabulary' -> text.
        figure: an empty one, twelve inches wide.
    """
    lines = "\n".join(textwrap.fill(f"{name}: {text}", LINE, subsequent_indent="    ") for name, text in told.items())
    below = 0.17 * (len(lines.splitlines()) + 1)
    height = figure.get_figwidth() / len(frames) * frames[0].shape[0] / frames[0].shape[1]
    figure.set_figheight(height + below)
    axes = figure.subplots(1, len(frames), squeeze=False)[0]
    figure.subplots_adjust(0, below / (height + below), 1, 1, 0.02)
    for axis, frame in zip(axes, frames, strict=True):
        axis.imshow(frame)
        axis.axis("off")
    figure.text(0.005, (below - 0.1) / (height + below), lines, va="top", fontsize=10, parse_math=False)
    return figure


def class_confusion(counts: pd.DataFrame, axis: Axes, *, title: str) -> Axes:
    """Share of each true class's answers (rows) that name each class (columns), in per cent.

    Args:
        counts: from `recognition.confusion`; a class without clips stays empty.
        axis: a square one.
        title: above it.
    """
    shares = 100 * counts.div(counts.sum(axis=1).replace(0, np.nan), axis=0)
    options = {"fmt": ".0f", "annot_kws": {"size": 7}, "cbar": False, "square": True, "vmin": 0, "vmax": 100}
    sns.heatmap(shares, mask=shares.isna() | (shares == 0), annot=True, cmap="mako_r", ax=axis, **options)
    axis.set_facecolor("0.97")
    axis.tick_params(labelsize="small")
    axis.tick_params("x", rotation=90)
    axis.tick_params("y", rotation=0)
    axis.set(xlabel="answer", ylabel="truth")
    axis.set_title(title, fontsize="medium")
    return axis
