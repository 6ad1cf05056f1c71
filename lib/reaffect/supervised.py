"""EALD-MLLM's supervised systems (Table 4): frozen networks, one trained layer each, rows for the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from reaffect.errors import InputError
from reaffect.features import clips
from reaffect.features.extraction import Extractor, extract
from reaffect.linear import AUDIO, VIDEO, Examples, Fitted, fit_linear
from reaffect.zero_shot import scores

SYSTEMS = {
    "SlowFast": clips.SlowFast,
    "TSM": clips.TSM,
    "TimeSformer": clips.TimeSformer,
    "Video-Swin": clips.VideoSwin,
    "BEATs": clips.BEATs,
}
"""By the paper's names."""

RECIPES = {"BEATs": AUDIO}
"""Of those that are not trained like the video systems."""


def load(weights: Mapping[str, str], options: Mapping[str, Mapping[str, Any]]) -> dict[str, Extractor]:
    """The systems with their weights.

    Args:
        weights: by name, a file or folder as released.
        options: by name, what its extractor takes besides.

    Raises:
        InputError: an unknown name, or weights that do not fit.
    """
    unknown = set(weights) - set(SYSTEMS)
    if unknown:
        raise InputError(f"{min(unknown)!r} is no supervised system that is known here: {', '.join(SYSTEMS)}.")
    return {name: SYSTEMS[name](place, **options.get(name, {})) for name, place in weights.items()}


def examples(system: Extractor, table: pd.DataFrame) -> Examples:
    """What a system makes of the table's videos, with labels and subjects; an unreadable video is an InputError."""
    found = extract(system, table.media, strict=True).values
    vectors = np.concatenate([found[path] for path in table.media])
    return Examples(vectors, table.positive.to_numpy(bool), table.subject.tolist())


def fit_all(
    systems: Mapping[str, Extractor], split: Mapping[str, pd.DataFrame], *, seeds: Sequence[int]
) -> dict[str, list[Fitted]]:
    """Trains each system's layer on `split["train"]` and predicts `split["test"]`, once for each seed."""
    fitted = {}
    for name, system in systems.items():
        train, test = (examples(system, split[part]) for part in ("train", "test"))
        fitted[name] = fit_linear(train, test.features, seeds=seeds, recipe=RECIPES.get(name, VIDEO))
    return fitted


def rows(fitted: Mapping[str, Sequence[Fitted]], test: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of Table 4: the mean over seeds, each seed, and an interval over videos of the first seed."""
    truth, videos = test.positive.tolist(), test["clip"].tolist()
    made = []
    for name, seeds in fitted.items():
        each = [one.predictions.astype(float) for one in seeds]
        made += scores(name, truth, each[0], videos, each)
    return made


def shuffled_accuracy(
    systems: Mapping[str, Extractor], split: Mapping[str, pd.DataFrame], *, seeds: Sequence[int]
) -> pd.Series:
    """Mean accuracy on the test set, in per cent, of layers that learned from shuffled labels; chance is 50."""
    means = {}
    for name, system in systems.items():
        train, test = (examples(system, split[part]) for part in ("train", "test"))
        right = []
        for seed in seeds:
            labels = np.random.default_rng([seed, 1]).permutation(train.positive)
            [one] = fit_linear(
                train._replace(positive=labels), test.features, seeds=[seed], recipe=RECIPES.get(name, VIDEO)
            )
            right.append(np.mean(one.predictions == test.positive))
        means[name] = 100 * float(np.mean(right))
    return pd.Series(means, name="accuracy on shuffled labels")
