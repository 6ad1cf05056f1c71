"""What a notebook on probes calls: embeddings by part and prompt, probes on them, and their rows and checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from reaffect import extremes
from reaffect.metrics import mean_pearson
from reaffect.mllm import VideoMLLM
from reaffect.results import measured
from reaffect.stats import bootstrap_mean_pearson
from reaffect.training import Fitted, Part, fit_probes, shuffle_labels, summary


def embed_parts(
    model: VideoMLLM,
    parts: Mapping[str, pd.DataFrame],
    prompts: Sequence[str],
    emotions: Sequence[str],
    **options: Any,
) -> dict[str, dict[str, Part]]:
    """Embeds every part of a corpus under every prompt: prompt -> part's name -> `Part`.

    Args:
        model: answers `embed_each`.
        parts: tables of a corpus module, by name.
        prompts: what the model is asked.
        emotions: the label columns.
        options: for `VideoMLLM.embed_each`.

    Returns:
        Clips that could not be read are left out; `model.problems` lists them.
    """
    embedded: dict[str, dict[str, Part]] = {prompt: {} for prompt in prompts}
    named = dict(zip(prompts, prompts, strict=True))
    for name, table in parts.items():
        labels, subjects = table[list(emotions)].to_numpy(), table.subject.to_numpy()
        for prompt, states in model.embed_each(table.media, named, **options).items():
            whole = states.notna().all(axis=1).to_numpy()
            embedded[prompt][name] = Part(states.to_numpy()[whole], labels[whole], subjects[whole])
    return embedded


def probe(parts: Mapping[str, Part], **options: Any) -> list[Fitted]:
    """Trains probes on `train` and predicts every other part; options as for `training.fit_probes`."""
    return fit_probes(parts["train"], {name: part for name, part in parts.items() if name != "train"}, **options)


def row(name: str, fitted: Sequence[Fitted], parts: Mapping[str, Part], part: str) -> dict[str, Any]:
    """A table's row: the mean over seeds on a part, each seed, and an interval over subjects.

    The interval is of the seeds' mean prediction: what resampling other people would change.
    """
    truth, subjects = parts[part].labels, parts[part].subjects
    seeds = [mean_pearson(truth, one.predictions[part]) for one in fitted]
    prediction = np.mean([one.predictions[part] for one in fitted], axis=0)
    interval = bootstrap_mean_pearson(truth, prediction, subjects)
    return measured(name, "mean Pearson", float(np.mean(seeds)), interval=interval, seeds=seeds)


def by_emotion(
    name: str, fitted: Sequence[Fitted], parts: Mapping[str, Part], part: str, emotions: Sequence[str]
) -> list[dict[str, Any]]:
    """A row of Table 5: Pearson's r of each emotion and their average, as `row` measures the latter."""
    truth, subjects = parts[part].labels, parts[part].subjects
    prediction = np.mean([one.predictions[part] for one in fitted], axis=0)
    rows = []
    for column, emotion in enumerate(emotions):
        own = slice(column, column + 1)
        seeds = [mean_pearson(truth[:, own], one.predictions[part][:, own]) for one in fitted]
        interval = bootstrap_mean_pearson(truth[:, own], prediction[:, own], subjects)
        rows.append(measured(name, emotion.title(), float(np.mean(seeds)), interval=interval, seeds=seeds))
    return [*rows, {**row(name, fitted, parts, part), "column": "Average"}]


def captions(system: str, emotion: str, prediction: np.ndarray) -> list[dict[str, Any]]:
    """The numbers under Figures 5 to 8 for one system and emotion, and the range of most of its predictions (n,)."""
    low, high = extremes.main_range(prediction)
    numbers = extremes.captions(prediction)._asdict() | {"range from": low, "range to": high}
    return [measured(f"{system}, {emotion}", column, float(value)) for column, value in numbers.items()]


def sanity(parts: Mapping[str, Part], **options: Any) -> pd.DataFrame:
    """Mean Pearson where nothing can be known, by part: probes on shuffled labels, and the train mean."""
    shuffled = probe({**parts, "train": shuffle_labels(parts["train"], seed=0)}, **options)
    rows = {}
    for name, part in parts.items():
        if name == "train":
            continue
        scores = [mean_pearson(part.labels, one.predictions[name]) for one in shuffled]
        constant = np.broadcast_to(parts["train"].labels.mean(0), part.labels.shape)
        rows[name] = {"shuffled labels": np.mean(scores), "mean predictor": mean_pearson(part.labels, constant)}
    return pd.DataFrame(rows).T


def protocols(groups: Mapping[str, Sequence[Fitted]]) -> pd.DataFrame:
    """Mean over seeds by our protocol and by selection on the reported part, with the latter's optimism."""
    rows = []
    for name, fitted in groups.items():
        for part in fitted[0].predictions:
            means = summary(fitted, part)[["ours", "devel-selected"]].mean()
            optimism = means["devel-selected"] - means["ours"]
            rows.append({"row": name, "part": part, **means.to_dict(), "optimism": optimism})
    return pd.DataFrame(rows)


def spread(fitted: Sequence[Fitted]) -> pd.Series:
    """Standard deviation of mean Pearson on devel between activations' means, and within one activation's seeds."""
    scores = summary(fitted, "devel").groupby("name").ours
    return pd.Series({"between activations": scores.mean().std(), "between seeds": scores.std().mean()})
