"""Figures: functions take data and an axis, and return the axis."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
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
    """Pictures side by side, each with its title; an empty row if there are none."""
    rows = max(1, -(-len(frames) // columns))
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


def fusion(stages: Sequence[tuple[str, Sequence[int | str]]], inputs: dict[str, str], axis: Axes) -> Axes:
    """Modalities on the left, one below the other, and what they are fused in and what follows on their right.

    Args:
        stages: modalities, then the others, each with its shape (see `Viper.stages`).
        inputs: by modality, what it is made of.
        axis: a wide one.
    """
    first = sum(name in inputs for name, _ in stages)
    for row, (name, shape) in enumerate(stages[:first]):
        y = 1 - (row + 0.5) / first
        _box(axis, 0, y, 1.6, inputs[name], "", PALETTE[7])
        _box(axis, 2.1, y, 1.2, name, " × ".join(map(str, shape)), PALETTE[row])
        _arrow(axis, (1.6, y), (2.1, y))
        _arrow(axis, (3.3, y), (3.75, 0.5))
    for place, (name, shape) in enumerate(stages[first:]):
        x = 3.75 + 1.75 * place
        _box(axis, x, 0.5, 1.35, name, " × ".join(map(str, shape)), PALETTE[4 + place % 5])
        if place:
            _arrow(axis, (x - 0.4, 0.5), (x, 0.5))
    axis.set(xlim=(-0.1, 3.75 + 1.75 * (len(stages) - first)), ylim=(0, 1))
    axis.axis("off")
    return axis


def network(boxes: Mapping[str, tuple[int, float, str]], arrows: Sequence[tuple[str, str]], axis: Axes) -> Axes:
    """Boxes in columns and arrows between them.

    Args:
        boxes: by name: column, height in [0, 1], and the shape that leaves it.
        arrows: from which box to which.
        axis: a wide one.
    """
    for name, (column, y, shape) in boxes.items():
        _box(axis, 2 * column, y, 1.55, name, shape, PALETTE[7] if column == 0 else PALETTE[column % 7])
    for start, end in arrows:
        (begins, low, _), (ends, high, _) = boxes[start], boxes[end]
        _arrow(axis, (2 * begins + 1.57, low), (2 * ends - 0.02, high))
    axis.set(xlim=(-0.1, 2 * max(column for column, *_ in boxes.values()) + 1.7), ylim=(-0.1, 1.02))
    axis.axis("off")
    return axis


def _box(axis: Axes, x: float, y: float, width: float, title: str, shape: str, colour: tuple) -> None:
    axis.add_patch(FancyBboxPatch((x, y - 0.085), width, 0.17, boxstyle="round,pad=0.02", fc=(*colour, 0.25), ec="0.3"))
    size = "small" if len(title) < 13 else "x-small"
    axis.text(x + width / 2, y + (0.035 if shape else 0), title, ha="center", va="center", fontsize=size)
    axis.text(x + width / 2, y - 0.045, shape, ha="center", va="center", fontsize="x-small", color="0.3")


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axis.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "0.3"})


def confusion(counts: np.ndarray, axis: Axes, *, title: str) -> Axes:
    """Figures 5 to 8: clips by bin of truth (rows, from below) and of prediction (columns), bins of equal width."""
    bins = len(counts)
    labels = [f"{edge / bins:.1f}" for edge in range(bins)]
    options = {"annot": bins <= 10, "fmt": "d", "annot_kws": {"size": 6}, "cbar": False, "square": True}
    sns.heatmap(counts, mask=counts == 0, cmap="mako_r", vmin=0, ax=axis, **options)
    axis.set_facecolor("0.97")
    axis.set_xticks(np.arange(bins), labels, fontsize="x-small")
    axis.set_yticks(np.arange(bins), labels, fontsize="x-small", rotation=0)
    axis.invert_yaxis()
    axis.set(xlabel="prediction", ylabel="truth")
    axis.set_title(title, fontsize="small")
    return axis


def calibration(curves: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]], axis: Axes) -> Axes:
    """Mean truth against mean prediction, bin by bin, a line a system; dots grow with the clips in a bin.

    Args:
        curves: by system: mean prediction, mean truth and clips of each bin.
        axis: a square one.
    """
    axis.plot([0, 1], [0, 1], color="0.8", lw=1, zorder=0)
    for colour, (name, (prediction, truth, count)) in zip(PALETTE, curves.items(), strict=False):
        some = count > 0
        axis.plot(prediction[some], truth[some], color=colour, lw=1, label=name)
        axis.scatter(prediction[some], truth[some], s=4 + 80 * count[some] / count.sum(), color=colour, alpha=0.6)
    axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean prediction", ylabel="mean truth")
    axis.legend(frameon=False, fontsize="small")
    return axis


def differences(table: pd.DataFrame, axis: Axes, *, label: str = "second minus first", drawn: str = "subjects") -> Axes:
    """Paired differences with their intervals, one a row of `table` (its index names them); 0 is no difference.

    Args:
        table: `difference`, `low`, `high`.
        axis: a wide one.
        label: what is subtracted from what.
        drawn: what the intervals are over.
    """
    places = np.arange(len(table))[::-1]
    apart = (table.low > 0) | (table.high < 0)
    colours = [PALETTE[0] if told else (0.6, 0.6, 0.6) for told in apart]
    axis.hlines(places, table.low, table.high, color=colours, lw=3)
    axis.scatter(table.difference, places, color="black", s=16, zorder=3)
    axis.axvline(0, color="0.8", lw=1, zorder=0)
    axis.set_yticks(places, table.index)
    axis.set_xlabel(f"{label}   (bar: 95 % interval over {drawn}; grey: not told apart)")
    return axis


def optimism(table: pd.DataFrame, axis: Axes) -> Axes:
    """Two protocols a row of `table`: `ours`, and what selection on the reported part adds to it (`optimism`)."""
    places = np.arange(len(table))[::-1]
    axis.barh(places, table.ours, color=PALETTE[0], height=0.6, label="selected on a part of train")
    axis.barh(
        places, table.optimism, left=table.ours, color=PALETTE[1], height=0.6, label="added by selection on devel"
    )
    axis.set_yticks(places, table["row"])
    axis.set_xlabel("mean Pearson correlation on devel")
    axis.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
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


def audit(table: pd.DataFrame, axis: Axes) -> Axes:
    """What de-identification leaves, a row a measure: before (ring), after with its interval (bar), chance (tick)."""
    places = np.arange(len(table))[::-1]
    axis.hlines(places, table.low, table.high, color=(*PALETTE[0], 0.35), lw=7)
    axis.scatter(table.before, places, facecolors="white", edgecolors="black", s=36, zorder=3, label="before")
    axis.scatter(table.after, places, color=PALETTE[0], s=36, zorder=4, label="after   (bar: 95 % over subjects)")
    axis.scatter(table.chance, places, marker="|", color=PALETTE[3], s=160, label="chance")
    axis.set_yticks(places, table.measure)
    axis.set(xlim=(-0.03, 1.03))
    axis.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return axis


def waveforms(signals: dict[str, np.ndarray], sample_rate: int, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Figure 3 of EALD-MLLM: recordings under each other, an axis each, by name."""
    for axis, colour, (name, signal) in zip(axes, PALETTE, signals.items(), strict=False):
        axis.plot(np.arange(len(signal)) / sample_rate, signal, lw=0.3, color=colour)
        axis.set_ylabel(name)
    axes[-1].set_xlabel("time (s)")
    return axes


def durations(minutes: dict[str, Sequence[float]], axis: Axes) -> Axes:
    """Figure 2 of EALD-MLLM: how many videos are how long, a colour a corpus."""
    for colour, (name, values) in zip(PALETTE, minutes.items(), strict=False):
        sns.histplot(x=np.asarray(values), color=colour, label=name, ax=axis)
    axis.set(xlabel="length (min)", ylabel="videos")
    axis.legend(frameon=False)
    return axis


def behaviours(counts: pd.Series, names: dict[str, str], family_of: dict[str, str], axis: Axes) -> Axes:
    """Figure 4 of EALD-MLLM: how often each class of body language occurs, coloured by its family."""
    families = list(dict.fromkeys(family_of.values()))
    for colour, family in zip(PALETTE[1:], families, strict=False):
        own = [code for code in names if family_of[code] == family]
        axis.bar(
            [f"{code} {names[code]}" for code in own], counts.reindex(own, fill_value=0), color=colour, label=family
        )
    axis.tick_params(axis="x", rotation=60, labelsize="small")
    for label in axis.get_xticklabels():
        label.set_horizontalalignment("right")
    axis.set_ylabel("intervals")
    axis.legend(frameon=False, fontsize="small")
    return axis


def clue_attention(frames: np.ndarray, patches: np.ndarray, times: Sequence[float], axes: Sequence[Axes]) -> None:
    """Frames of a clip, an axis each, and over them how much each patch is attended to (red: most of all frames).

    Args:
        frames: uint8 (frames, height, width, 3).
        patches: (frames, grid * grid), shares; 0 is left clear.
        times: of each frame, in seconds.
        axes: as many as frames.
    """
    grid = round(patches.shape[1] ** 0.5)
    for axis, frame, shares, time_s in zip(axes, frames, patches, times, strict=True):
        axis.imshow(frame)
        opacity = np.clip(shares / patches.max(), 0, 1).reshape(grid, grid)
        extent = (-0.5, frame.shape[1] - 0.5, frame.shape[0] - 0.5, -0.5)
        heat = np.broadcast_to(PALETTE[3], (grid, grid, 3))
        axis.imshow(np.dstack([heat, 0.8 * opacity]), extent=extent, interpolation="nearest")
        axis.set_title(f"{time_s:.1f} s", fontsize="small")
        axis.axis("off")


def utterance_attention(
    times: Sequence[float],
    whole: np.ndarray,
    windows: np.ndarray,
    utterances: Sequence[tuple[float, float]],
    motions: Sequence[tuple[float, float]],
    axis: Axes,
) -> Axes:
    """How much of a clip's frames is attended to: by the whole clip's Q-Former, and by each utterance's.

    Args:
        times: of each frame, in seconds.
        whole: (frames,), shares.
        windows: (windows, frames), shares; 0 outside of each.
        utterances: from when to when each window's utterance lasts.
        motions: when something was planted in the face; shaded.
        axis: a wide one.
    """
    for number, (start, end) in enumerate(motions):
        axis.axvspan(start, end, color=PALETTE[8], alpha=0.3, lw=0, label="" if number else "planted clue")
    axis.plot(times, whole, "o-", ms=3, lw=1, color="0.4", label="whole clip")
    for number, (row, (start, end)) in enumerate(zip(windows, utterances, strict=True)):
        inside, colour = row > 0, PALETTE[number % 8]
        axis.plot(np.asarray(times)[inside], row[inside], "o-", ms=3, lw=1, color=colour)
        axis.axvspan(start, end, ymax=0.03, color=colour, label=f"utterance {number + 1}")
    axis.set(xlabel="time (s)", ylabel="share of attention", ylim=(0, None))
    axis.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return axis


def loss_curve(history: pd.DataFrame, scores: pd.Series, axis: Axes) -> Axes:
    """Loss by step, as it is (dots) and smoothed, and on the right the validation score of each epoch (best: filled).

    Args:
        history: a row a step: `step`, `epoch`, `loss` (see `tuning.Tuned`).
        scores: by epoch; none may be there yet.
        axis: it gets a twin for the scores.
    """
    axis.plot(history.step, history.loss, ".", color=PALETTE[0], ms=4, alpha=0.5)
    axis.plot(history.step, history.loss.ewm(span=max(1, len(history) // 15)).mean(), color=PALETTE[0], lw=1.8)
    axis.set(xlabel="step", ylim=(0, 1.1 * history.loss.max()))
    axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axis.set_ylabel("loss on the answers", color=PALETTE[0])
    if len(scores):
        ends = history.groupby("epoch").step.max().loc[scores.index]
        twin = axis.twinx()
        twin.plot(ends, scores, "o--", color=PALETTE[3], lw=0.8, mfc="white")
        twin.plot(ends[scores.idxmax()], scores.max(), "o", color=PALETTE[3])
        twin.set_ylabel("score on held-out clips", color=PALETTE[3])
    return axis


class LiveLossCurve:
    """A loss curve that grows while a notebook's cell trains, and stays: `tune(..., watch=LiveLossCurve())`.

    One picture, replaced in place; drawn with each epoch's score, and between them now and then, as drawing takes a
    tenth of a second. Outside of a notebook it does nothing.
    """

    every_s = 2.0

    def __init__(self) -> None:
        self._handle = None
        self._drawn: tuple[float, int] | None = None

    def __call__(self, history: pd.DataFrame, scores: pd.Series) -> None:
        from IPython import get_ipython
        from IPython.display import Image, display

        now = time.monotonic()
        fresh = self._drawn is None or len(scores) != self._drawn[1] or now - self._drawn[0] > self.every_s
        if get_ipython() is None or not fresh:
            return
        self._drawn = now, len(scores)
        figure = Figure(figsize=(7, 3), layout="constrained")  # not pyplot's, which would show it a second time
        loss_curve(history, scores, figure.subplots())
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=100, metadata={"Software": None})
        image = Image(picture.getvalue())
        if self._handle is None:
            self._handle = display(image, display_id=True)
        else:
            self._handle.update(image)
