"""What notebook 08 calls: dialogues as MicroEmo sees them, lessons, ablations from one checkpoint, and their scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from reaffect import media
from reaffect.audiovisual import network_of
from reaffect.face_regions import outlines
from reaffect.faces import POINTS
from reaffect.features import extract
from reaffect.features.visual import Landmarks
from reaffect.fingerprint import fingerprint
from reaffect.judge import Judge, extract_labels
from reaffect.judge.question import neutral
from reaffect.metrics import sample_scores, set_scores
from reaffect.metrics.sets import Groups, Labels
from reaffect.models.dialogue_clip import DialogueClip
from reaffect.models.imagebind import SAMPLE_RATE, mel_clips
from reaffect.models.microemo import ABLATIONS, MicroEmo, MicroEmoConfig
from reaffect.models.patch_masks import patch_masks
from reaffect.results import measured
from reaffect.speech import Utterance
from reaffect.stats import bootstrap_groups, paired, percentile_interval
from reaffect.store import Store
from reaffect.tuning import Lesson, Recipe, tune
from reaffect.tuning.kept import write_note

COLUMNS = ("Avg", "Accuracy_S", "Recall_S")
"""Of the paper's tables."""


class Patches:
    """A frozen tower's tokens of equidistant frames, one after the other: (frames * tokens, width).

    Args:
        network: whose tower.
        identity: of its weights.
        frames: equidistant, first and last included.
    """

    name = "patches"
    batch_size = 4

    def __init__(self, network: MicroEmo, identity: str, *, frames: int):
        self.network = network
        self.width = network.config.tower_width
        self.recipe = {"model": identity, "frames": frames}

    def prepare(self, clip: str) -> Float[Tensor, "frames 3 size size"]:
        return self.network.pixels(torch.from_numpy(media.read_frames(clip, self.recipe["frames"])))

    @torch.inference_mode()
    def __call__(self, prepared: list[Tensor]) -> list[np.ndarray]:
        tower = self.network.tower
        seen = tower(torch.cat(prepared).to(tower.device, tower.dtype)).last_hidden_state.float().cpu()
        return [clip.flatten(0, 1).numpy() for clip in seen.split([len(clip) for clip in prepared])]


class Beginning:
    """Models that begin from one checkpoint: called with the parts of the config that differ, it gives a fresh one.

    What the paper does not train is frozen. The language model is bfloat16 where there is a GPU, all else float32.

    Args:
        weights: one folder of ours, or the released files in the order in which they are laid over one another.
        language_model: as for `paths.checkpoint`.
        options: of the config, for all of them.

    Raises:
        InputError: a missing file, or weights that do not fit.
    """

    def __init__(self, weights: Sequence[str], language_model: str, **options: Any):
        self.weights, self.language_model, self.options = weights, language_model, options

    def __call__(self, **parts: bool) -> MicroEmo:
        return self.identified(**parts)[0]

    def identified(self, **parts: bool) -> tuple[MicroEmo, str]:
        """The same with what identifies the checkpoint, for `dialogues`."""
        dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
        chosen = {"local_clues": True, "utterance_windows": True, **self.options, **parts}
        network, identity = network_of(
            MicroEmo, MicroEmoConfig, self.weights, self.language_model, dtype=dtype, **chosen
        )
        return network.freeze(*network.published), identity


class Dialogue(NamedTuple):
    """A clip as MicroEmo takes it."""

    seen: DialogueClip
    """Its frames are the tower's tokens."""

    heard: Float[Tensor, "segments 1 mel time"]


def dialogues(
    clips: Sequence[str],
    network: MicroEmo,
    identity: str,
    utterances: Mapping[str, Sequence[Utterance]],
    *,
    frames: int,
    store: Store | None = None,
) -> dict[str, Dialogue]:
    """Clips as the network takes them; what does not depend on what is learned is computed once and stored.

    Args:
        clips: media files.
        network: whose tower and whose sizes.
        identity: of the tower's weights.
        utterances: of each clip.
        frames: equidistant ones of each clip.
        store: by default the one under `paths.STORE`.

    Raises:
        InputError: a clip that cannot be read.
    """
    tokens = extract(Patches(network, identity, frames=frames), clips, store=store, strict=True).values
    landmarks = extract(Landmarks(frames), clips, store=store, strict=True).values
    made = {}
    for clip in clips:
        probe = media.probe(clip)
        points = landmarks[clip].reshape(-1, POINTS, 2)
        regions = patch_masks(
            [outlines(None if np.isnan(one).any() else one) for one in points],
            (probe.height, probe.width),
            network.config.image_size // network.config.patch_size,
        )
        kept = media.frame_indices(probe.frames, frames)
        times = [index / probe.fps for index in kept]
        spoken = [(one.start_s, one.end_s) for one in utterances[clip]]
        patches = torch.from_numpy(np.array(tokens[clip])).unflatten(0, (frames, -1))
        sound = mel_clips(media.read_waveform(clip, SAMPLE_RATE), SAMPLE_RATE, network.config.audio)
        made[clip] = Dialogue(DialogueClip(patches, times, regions, spoken), sound)
    return made


def lessons(table: pd.DataFrame, seen: Mapping[str, Dialogue], question: str) -> list[Lesson]:
    """A question, an answer and what is seen and heard, for each row.

    Args:
        table: with `media`, `subtitle` and `text`, the answer.
        seen: by media file.
        question: with `{subtitle}` where the subtitle belongs; it enters as text, without marks that could end it.
    """
    return [
        Lesson(
            question.replace("{subtitle}", neutral(row.subtitle).replace("#", " ").replace('"', "'")),
            row.text,
            seen[row.media].seen,
            seen[row.media].heard,
        )
        for row in table.itertuples()
    ]


def by_labels(judge: Judge, groups: Groups) -> Callable[[list[str], Sequence[Lesson]], float]:
    """What validates a run: Avg of the labels in its answers, with those in the lessons' own answers as truth."""

    def score(answers: list[str], asked: Sequence[Lesson]) -> float:
        truth = extract_labels(judge, [one.answer for one in asked]).labels.map(_known)
        said = extract_labels(judge, answers).labels.map(_known)
        return float(set_scores(list(truth), list(said), groups).avg)

    return score


def ablate(
    load: Callable[..., MicroEmo],
    train: Sequence[Lesson],
    devel: Sequence[Lesson],
    test: Sequence[Lesson],
    folder: str | Path,
    *,
    recipe: Recipe,
    seeds: Sequence[int],
    score: Callable[[list[str], Sequence[Lesson]], float],
    watch: Callable[[pd.DataFrame, pd.Series], None] | None = None,
    rows: Mapping[str, Mapping[str, bool]] = ABLATIONS,
) -> pd.DataFrame:
    """Trains each row of Table 2 once for each seed and asks it about the test clips.

    Args:
        load: parts of the config -> a model that begins from the common checkpoint, frozen where it does not learn.
        train: what is learned from.
        devel: chooses the epoch; not reported.
        test: what is asked.
        folder: of the runs; a finished one is read from there.
        recipe: of training; its seed is replaced by each of `seeds`.
        seeds: of new parts' initial weights, batches and dropout.
        score: validates, see `by_labels`.
        watch: sees each run's history grow.
        rows: name -> what differs in the config.

    Returns:
        A row a run and test clip: `row`, `seed`, `clip` (its place in `test`), `text`; `attrs["runs"]` has each run's
        `Tuned` by row and seed.
    """
    told, runs = [], {}
    for name, parts in rows.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load(**parts)
            run = tune(model, train, devel, folder, replace(recipe, seed=seed), score=score, watch=watch)
            runs[name, seed] = run
            texts = answers(model, test, run.folder / "answers.json", recipe)
            told += [{"row": name, "seed": seed, "clip": clip, "text": text} for clip, text in enumerate(texts)]
    table = pd.DataFrame(told)
    table.attrs["runs"] = runs
    return table


def answers(model: MicroEmo, asked: Sequence[Lesson], file: Path, recipe: Recipe) -> list[str]:
    """What a model says, kept in a file beside its weights."""
    mark = fingerprint([(one.question, one.answer) for one in asked], recipe.max_new_tokens)
    if file.exists() and (kept := json.loads(file.read_text()))["fingerprint"] == mark:
        return kept["answers"]
    texts = []
    for start in range(0, len(asked), recipe.batch_size):
        questions, _, frames, audio = zip(*asked[start : start + recipe.batch_size], strict=True)
        heard = [one.to(model.video_projection.weight.device) for one in audio]
        texts += model.generate(questions, frames, heard, max_new_tokens=recipe.max_new_tokens)
    write_note(file, {"fingerprint": mark, "answers": texts})
    return texts


def table_rows(
    told: pd.DataFrame, truth: Labels, said: Sequence[list[str]], groups: Groups, clips: Sequence[str]
) -> list[dict[str, Any]]:
    """Avg, Accuracy_S and Recall_S in per cent of every row: the mean over seeds, each seed, an interval over clips.

    Args:
        told: from `ablate`.
        truth: labels of each test clip.
        said: labels of each row of `told`.
        groups: for `metrics.set_scores`.
        clips: what is drawn anew for an interval, one name a test clip.
    """
    made = []
    for name, each in _by_clip(told, truth, said, groups).items():
        mean = each.mean(0)
        drawn = bootstrap_groups(lambda w, mean=mean: w @ mean / w.sum(1, keepdims=True), clips)
        for place, column in enumerate(COLUMNS):
            interval = percentile_interval(100 * drawn[:, place])
            seeds = 100 * each[:, :, place].mean(1)
            made.append(measured(name, column, float(seeds.mean()), interval=interval, seeds=seeds.tolist()))
    return made


def contrasts(
    told: pd.DataFrame,
    truth: Labels,
    said: Sequence[list[str]],
    groups: Groups,
    kinds: Sequence[str],
    *,
    whole: str = "MicroEmo",
) -> pd.DataFrame:
    """The whole model's Avg minus each ablation's, by kind of clip, paired by clip, with an interval over clips.

    Args:
        told, truth, said, groups: as for `table_rows`.
        kinds: of each test clip.
        whole: the row that the others are compared with.

    Returns:
        A row an ablation and kind: `row`, `kind`, `clips`, `difference` in percentage points, `low`, `high`, `p`.
    """
    each = {name: scores[:, :, 0].mean(0) for name, scores in _by_clip(told, truth, said, groups).items()}
    made = []
    for kind in dict.fromkeys(kinds):
        chosen = np.flatnonzero(np.asarray(kinds) == kind)
        for name in each.keys() - {whole}:
            gain = 100 * (each[whole] - each[name])[chosen]
            drawn = bootstrap_groups(lambda w, gain=gain: w @ gain / w.sum(1), chosen)
            made.append(
                {"row": name, "kind": kind, "clips": len(chosen), **paired(float(gain.mean()), drawn)._asdict()}
            )
    order = {name: place for place, name in enumerate(each)}
    return pd.DataFrame(made).sort_values("row", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def _by_clip(
    told: pd.DataFrame, truth: Labels, said: Sequence[list[str]], groups: Groups
) -> dict[str, Float[np.ndarray, "seeds clips columns"]]:
    """Avg, accuracy and recall of each row's every seed and clip."""
    made: dict[str, list[np.ndarray]] = {}
    for (name, _), rows in told.groupby(["row", "seed"], sort=False):
        found = sample_scores([truth[clip] for clip in rows["clip"]], [said[place] for place in rows.index], groups)
        both = (found.accuracy + found.recall) / 2
        made.setdefault(name, []).append(np.stack([both, found.accuracy, found.recall], -1))
    return {name: np.stack(seeds) for name, seeds in made.items()}


def _known(labels: list[str] | None) -> list[str]:
    """What could not be read counts as no label."""
    return labels or []
