"""Vaiani et al. 2024, Section 4.3, as a whole: every clip's modalities, and networks fitted on any of them.

Features and fits are kept in the store: a second run computes neither, and another notebook that needs the same fit
finds it there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from torch import nn
from tqdm import tqdm

from reaffect import mllm, paths
from reaffect.corpora import hume_feats
from reaffect.errors import InputError
from reaffect.features import extract
from reaffect.features.audio import XVectors
from reaffect.features.text import NearestTemplates, Sentences, by_frame, replicated
from reaffect.features.visual import ActionUnits, FaceViT, Landmarks, without_face
from reaffect.fingerprint import fingerprint
from reaffect.metrics import pearson
from reaffect.prompts import VAIANI_PROMPTS
from reaffect.stats import paired_mean_pearson, williams
from reaffect.store import Store
from reaffect.training import Fitted, Part, fit_sequences, in_processes

TEXTS = ("CLIP", "Video-LLaVA 1", "Video-LLaVA 2", "LLaVA")
"""Where the text modality may come from: templates, either prompt's description of the video, or of each frame."""

FAU_WIDTH = 32
"""27 action units and expressions, zero-padded as in ViPER's released code."""


@dataclass(frozen=True)
class Encoders:
    """The frozen models that features come from, each a name for `paths.checkpoint`."""

    vision: str
    audio: str
    clip: str
    sentences: str
    video_llm: str
    image_llm: str
    frames: int
    max_new_tokens: int = 64
    max_length: int = 128
    """Tokens of a description that the text encoder reads; the paper does not say."""

    store: Store = field(default_factory=Store)


Features = Mapping[str, np.ndarray]
"""By media file: float32 (frames, width)."""


class Modalities(NamedTuple):
    """Features (frames, width) by modality and clip."""

    values: dict[str, Features]
    """`visual`, `audio`, `fau` and the four `TEXTS`; every clip is in all of them."""

    problems: dict[str, str]
    """Clips left out, and why."""

    without_face: dict[str, int]
    """Clips with frames in which no face was found -> how many: the crop is then the whole frame, and action
    units are those of the frame before, or of the next with a face, or 0 if there is none."""

    def table(self) -> pd.DataFrame:
        """One row a modality: frames and width of a clip's features."""
        shapes = {name: next(iter(clips.values())).shape for name, clips in self.values.items()}
        return pd.DataFrame.from_dict(shapes, orient="index", columns=["frames", "width"])


def released(tables: Mapping[str, pd.DataFrame], roots: Mapping[str, str | Path], feature: str) -> Features:
    """The organisers' features of every part's clips, by media file; see `corpora.hume_feats`.

    Args:
        tables: of a corpus module, by the part's name.
        roots: each part's corpus.
        feature: `FAUs`, `VGGFace2`, ...

    Raises:
        InputError: names the file that is missing or broken.
    """
    found: dict[str, np.ndarray] = {}
    for part, table in tables.items():
        found |= hume_feats.load(roots[part], feature, dict(zip(table.media, table["clip"], strict=True))).values
    return found


def chosen_units(source: str, tables: Mapping[str, pd.DataFrame], roots: Mapping[str, str | Path]) -> Features | None:
    """What `modalities` takes for `action_units`: None for 'mesh', the organisers' `FAUs` for 'released'.

    Raises:
        InputError: another source.
    """
    if source not in ("mesh", "released"):
        raise InputError(f"action_units is {source!r}; it must be 'mesh' or 'released'.")
    return released(tables, roots, "FAUs") if source == "released" else None


def modalities(
    clips: Sequence[str], encoders: Encoders, *, action_units: Features | None = None, strict: bool = False
) -> Modalities:
    """Every modality of every clip, computed once.

    Args:
        clips: media files.
        encoders: what computes them.
        action_units: the organisers' `FAUs` of every clip, see `released`; without them the mesh's geometry serves.
        strict: raise the first bad clip's InputError instead of leaving the clip out.
    """
    frames, store = encoders.frames, encoders.store
    found = extract(Landmarks(frames), clips, store=store, strict=strict)
    problems = dict(found.problems)
    clips = list(found.values)
    sentences = Sentences(encoders.sentences, max_length=encoders.max_length, store=store)
    extractors = {
        "visual": FaceViT(encoders.vision, found.values, frames=frames),
        "audio": XVectors(encoders.audio, windows=frames),
        "CLIP": NearestTemplates(encoders.clip, sentences, frames=frames),
    }
    if action_units is None:
        extractors["fau"] = ActionUnits(found.values, frames=frames)
    values: dict[str, Features] = {"fau": action_units or {}}
    for name, extractor in extractors.items():
        extracted = extract(extractor, clips, store=store, strict=strict)
        values[name] = extracted.values
        problems |= extracted.problems
    values["fau"] = {clip: _filled(hume_feats.sampled(units, frames)) for clip, units in values["fau"].items()}
    values |= _descriptions(clips, encoders, sentences, problems, strict)
    whole = [clip for clip in clips if all(clip in of for of in values.values())]
    values = {name: {clip: of[clip] for clip in whole} for name, of in values.items()}
    return Modalities(values, problems, without_face({clip: found.values[clip] for clip in whole}))


def _descriptions(
    clips: list[str], encoders: Encoders, sentences: Sentences, problems: dict[str, str], strict: bool
) -> dict[str, Features]:
    values: dict[str, Features] = {}
    options = {"max_new_tokens": encoders.max_new_tokens, "strict": strict}
    asked = mllm.load(paths.checkpoint(encoders.video_llm))
    asked.store = encoders.store
    prompts = {f"Video-LLaVA {number}": prompt for number, prompt in enumerate(VAIANI_PROMPTS, 1)}
    told = asked.describe_each(clips, prompts, **options)
    for name in prompts:
        values[name] = replicated(told[[name]].set_axis(["text"], axis=1), sentences, frames=encoders.frames)
    problems |= asked.problems
    asked = mllm.load(paths.checkpoint(encoders.image_llm))
    asked.store = encoders.store
    said = asked.describe_frames(clips, VAIANI_PROMPTS[1], frames=encoders.frames, **options)
    values["LLaVA"] = by_frame(said, sentences)
    problems |= asked.problems
    return values


def _filled(units: np.ndarray) -> np.ndarray:
    """Rows without a face take the last row's values before them, else the next, else 0; columns up to `FAU_WIDTH`."""
    if units.shape[1] > FAU_WIDTH:
        raise InputError(f"Action units are {units.shape[1]} wide; ViPER's fourth modality holds at most {FAU_WIDTH}.")
    table = pd.DataFrame(units).ffill().bfill().fillna(0)
    return np.pad(table.to_numpy(np.float32), ((0, 0), (0, FAU_WIDTH - units.shape[1])))


def parts(
    tables: Mapping[str, pd.DataFrame],
    features: Mapping[str, Features],
    names: Sequence[str],
    emotions: Sequence[str],
    *,
    standardise: bool,
) -> dict[str, Part]:
    """Clips with the chosen modalities side by side, frame by frame.

    Args:
        tables: of a corpus module, by the part's name; `train` among them.
        features: of `Modalities.values`, or any features by name and media file; clips without them are left out.
        names: which, in the order of fusion.
        emotions: the label columns.
        standardise: every feature to mean 0 and standard deviation 1 over train's frames.
    """
    made = {}
    for part, table in tables.items():
        known = table[[all(clip in features[name] for name in names) for clip in table.media]]
        fused = [np.concatenate([features[name][clip] for name in names], 1) for clip in known.media]
        made[part] = Part(fused, known[list(emotions)].to_numpy(), known.subject.to_numpy())
    if not standardise:
        return made
    rows = np.concatenate(made["train"].embeddings)
    mean, deviation = rows.mean(0), rows.std(0)
    deviation[deviation < 1e-6] = 1  # a constant stays at 0
    return {
        part: content._replace(
            embeddings=[((clip - mean) / deviation).astype(np.float32) for clip in content.embeddings]
        )
        for part, content in made.items()
    }


def fit_rows(
    network: type[nn.Module],
    sizes: Mapping[str, Mapping[str, Any]],
    parts: Mapping[str, Mapping[str, Part]],
    *,
    seeds: Sequence[int],
    workers: int = 1,
    store: Store | None = None,
    **options: Any,
) -> dict[str, list[Fitted]]:
    """Fits a network for each row of a table and each seed on `train` and predicts every other part.

    Each fit is stored when it is finished, and taken from the store where it was done before.

    Args:
        network: of all rows, such as `Viper`; takes `sizes` and `seed`.
        sizes: its arguments, by row; their order is the result's.
        parts: of each of these rows, at least; see `parts`.
        seeds: one fit each, in every row.
        workers: fits at a time, each in a process of its own; with 1, one after the other in this process. See
            `training.in_processes`.
        store: by default the one under `paths.STORE`.
        options: for `training.fit_sequences`.

    Raises:
        InputError: fewer than one worker; a fit's, once those that have begun are finished.
    """
    if workers < 1:
        raise InputError(f"workers is {workers}; it must be at least 1.")
    rows = [_Row(name, network, each, parts[name], options) for name, each in sizes.items()]
    chosen = store or Store()
    if workers > 1:
        with in_processes(workers) as train, ThreadPoolExecutor(workers) as threads:
            tasks = list(product(rows, seeds))
            done = threads.map(lambda task: task[0].fit([task[1]], chosen, train), tasks)
            list(tqdm(done, desc="networks", total=len(tasks)))
    return {row.name: row.fit(seeds, chosen, fit_sequences) for row in rows}


class _Row:
    """A network, and all that decides what becomes of it but the seed."""

    def __init__(
        self,
        name: str,
        network: type[nn.Module],
        sizes: Mapping[str, Any],
        parts: Mapping[str, Part],
        options: Mapping[str, Any],
    ):
        self.name, self.options, self.parts = name, options, parts
        self.make = partial(network, **sizes)
        content = {part: [np.concatenate(of.embeddings), of.labels, list(of.subjects)] for part, of in parts.items()}
        self.recipe = {"network": network.__name__, "sizes": dict(sizes), "data": fingerprint(content), **options}

    def fit(self, seeds: Sequence[int], store: Store, train: Callable[..., list[Fitted]]) -> list[Fitted]:
        """Fits from the store, or by what has the form of `fit_sequences`."""
        reported = {part: content for part, content in self.parts.items() if part != "train"}

        def fresh(batch: list[int]) -> list[dict[str, Any]]:
            [fitted] = train(self.make, self.parts["train"], reported, name=self.name, seeds=batch, **self.options)
            return [_record(fitted)]

        computed = store.compute("fits", self.recipe, seeds, fresh, batch_size=1)
        return [_fitted(self.name, seed, computed.values[seed]) for seed in seeds]


def _record(fitted: Fitted) -> dict[str, Any]:
    curves, predictions = (
        {part: values.tolist() for part, values in of.items()} for of in (fitted.curves, fitted.predictions)
    )
    return {"curves": curves, "predictions": predictions, "epoch": fitted.epoch}


def _fitted(name: str, seed: int, record: Mapping[str, Any]) -> Fitted:
    curves, predictions = (
        {part: np.array(values) for part, values in record[of].items()} for of in ("curves", "predictions")
    )
    return Fitted(name, seed, curves, predictions, record["epoch"])


def mean_prediction(fitted: Sequence[Fitted], part: str) -> np.ndarray:
    """What the seeds predict on average (n, k)."""
    return np.mean([one.predictions[part] for one in fitted], axis=0)


def compare_rows(
    fits: Mapping[str, Sequence[Fitted]], pairs: Sequence[tuple[str, str]], reported: Part, part: str, *, seed: int = 0
) -> pd.DataFrame:
    """Which rows the data can tell apart: a paired bootstrap over subjects, with Williams' test beside it.

    Args:
        fits: by row.
        pairs: rows to compare, second minus first.
        reported: the part's labels and subjects.
        part: its name.
        seed: of the bootstrap.

    Returns:
        Columns `first`, `second`, `difference` (of mean Pearson, of the seeds' mean prediction), `low`, `high`,
        `p`, `Williams` (how many emotions differ at 5 % by that test, which takes clips for independent), `verdict`:
        the row that is better, or 'not told apart' where the interval includes 0.
    """
    truth, rows = reported.labels, []
    for pair in pairs:
        first, second = (mean_prediction(fits[row], part) for row in pair)
        test = paired_mean_pearson(truth, first, second, reported.subjects, seed=seed)
        each = zip(pearson(truth, first), pearson(truth, second), pearson(first, second), strict=True)
        differ = sum(williams(*map(float, three), len(truth)).p < 0.05 for three in each)
        verdict = "not told apart" if test.low <= 0 <= test.high else pair[int(test.difference > 0)]
        rows.append(dict(zip(("first", "second"), pair, strict=True)) | test._asdict() | {"Williams": differ})
        rows[-1]["verdict"] = verdict
    return pd.DataFrame(rows)
