"""What notebook 08 trains: dialogues as MicroEmo sees them, lessons, and ablations that begin from one checkpoint."""

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
from reaffect.describing import Describer
from reaffect.face_regions import REGIONS, outlines
from reaffect.faces import POINTS
from reaffect.features import extract
from reaffect.features.visual import Landmarks
from reaffect.fingerprint import fingerprint
from reaffect.hardware import best_device, precision
from reaffect.judge.question import neutral
from reaffect.models.dialogue_clip import DialogueClip
from reaffect.models.imagebind import SAMPLE_RATE, mel_clips
from reaffect.models.microemo import ABLATIONS, MicroEmo, MicroEmoConfig
from reaffect.models.patch_masks import patch_masks
from reaffect.speech import Utterance
from reaffect.store import Store
from reaffect.tuning import Lesson, Recipe, Tuned, asking, tune


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

    What the paper does not train is frozen. Models are on the GPU if there is one, the language model in
    `hardware.precision`, all else in float32.

    Args:
        weights: one folder of ours, or the released files in the order in which they are laid over one another.
        language_model: as for `paths.checkpoint`.
        lora: whether the language model's LoRA is trained, as Section 3.4 has it, or left as it comes: in Section 4.1
            the language model is frozen, and LoRA is not among what is tuned.
        options: of the config, for all of them.

    Raises:
        InputError: a missing file, or weights that do not fit.
    """

    def __init__(self, weights: Sequence[str], language_model: str, *, lora: bool = True, **options: Any):
        self.weights, self.language_model, self.lora, self.options = weights, language_model, lora, options

    def __call__(self, **parts: bool) -> MicroEmo:
        return self.identified(**parts)[0]

    def identified(self, **parts: bool) -> tuple[MicroEmo, str]:
        """The same with what identifies the checkpoint, for `dialogues`."""
        device = best_device()
        chosen = {"local_clues": True, "utterance_windows": True, **self.options, **parts}
        network, identity = network_of(
            MicroEmo, MicroEmoConfig, self.weights, self.language_model, dtype=precision(device), **chosen
        )
        network.freeze(*network.published, *([] if self.lora else ["language_model"]))
        return network.to(device).eval(), identity


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


class Clue(NamedTuple):
    """What is known to carry a clip's emotion, because it was planted."""

    carrier: str
    """See `synthetic.dialogues.CARRIERS`; 'unknown' in real clips."""

    motions: list[tuple[float, float]]
    """From when to when a part of the face moves, in seconds."""

    @property
    def where(self) -> str:
        """Whether the face shows it."""
        return self.carrier if self.carrier == "unknown" else "in the face" if self.motions else "elsewhere"


def clues(file: Path | None, clips: Sequence[str]) -> dict[str, Clue]:
    """The clue of each clip, by its name, from `planted.json`; unknown where there is no such file."""
    known = json.loads(file.read_text())["clips"] if file else {}
    planted = {
        name: Clue(truth["carrier"], [(one["start_s"], one["end_s"]) for one in truth["motions"]])
        for name, truth in known.items()
    }
    return {clip: planted.get(clip, Clue("unknown", [])) for clip in clips}


def stages(network: MicroEmo, one: Dialogue) -> tuple[dict[str, tuple[int, float, str]], list[tuple[str, str]]]:
    """Figure 1 with this model's own shapes for one clip: boxes and arrows for `plots.network`."""
    config, seen, hidden = network.config, one.seen, network.video_projection.out_features
    side, patches = config.image_size, (config.image_size // config.patch_size) ** 2
    windows, ears = sum(window is not None for window in seen.windows()), config.audio
    boxes = {
        "frames, timestamps": (0, 0.9, f"{len(seen)} × 3 × {side} × {side}"),
        "face regions": (0, 0.68, f"{len(seen)} × {seen.regions.shape[1]} × {patches}"),
        "utterances": (0, 0.46, str(len(seen.utterances))),
        "sound": (0, 0.24, f"{len(one.heard)} × {ears.mel_bins} × {ears.mel_frames}"),
        "subtitle, question": (0, 0.02, "words"),
        "ViT": (1, 0.9, f"{len(seen)} × {1 + patches} × {config.tower_width}"),
        "image Q-Former": (2, 0.9, f"{len(seen)} × {config.image_queries} × {config.width}"),
        "local clues": (2, 0.68, f"{len(seen)} × {config.image_queries} × {config.width}"),
        "video Q-Former": (3, 0.9, f"{config.video_queries} × {hidden}"),
        "utterance windows": (3, 0.46, f"{windows} × {config.video_queries} × {hidden}"),
        "audio Q-Former": (3, 0.24, f"{config.audio_queries} × {hidden}"),
        "LLM with LoRA": (4, 0.02, "description"),
        "judge": (5, 0.02, "labels"),
    }
    arrows = [
        ("frames, timestamps", "ViT"),
        ("ViT", "image Q-Former"),
        ("ViT", "local clues"),
        ("face regions", "local clues"),
        ("image Q-Former", "video Q-Former"),
        ("image Q-Former", "utterance windows"),
        ("local clues", "video Q-Former"),
        ("local clues", "utterance windows"),
        ("utterances", "utterance windows"),
        ("sound", "audio Q-Former"),
        *((soft, "LLM with LoRA") for soft in ("video Q-Former", "utterance windows", "audio Q-Former")),
        ("subtitle, question", "LLM with LoRA"),
        ("LLM with LoRA", "judge"),
    ]
    return boxes, arrows


class Looks(NamedTuple):
    """Where a model looks in one clip."""

    frames: list[int]
    """Numbers of the frames that are shown."""

    times_s: list[float]
    """Theirs."""

    patches: Float[np.ndarray, "shown patches"]
    """Share of the local reading that each patch of theirs gets."""

    regions: pd.DataFrame
    """The same by region of the face, a row a frame that is shown; a patch counts in each region that it belongs to."""

    over_time: tuple[list[float], np.ndarray, np.ndarray, list[tuple[float, float]]]
    """Of all frames: times, shares of the whole clip's reading, of each window's, and the windows' utterances."""


def looks(network: MicroEmo, one: Dialogue, around: Sequence[tuple[float, float]], *, shown: int = 7) -> Looks:
    """What a model attends to in a clip: some frames around a moment, and all of them over time.

    Args:
        network: the whole model.
        one: the clip.
        around: moments, of which the first one's middle is taken; the clip's middle where there is none.
        shown: frames.
    """
    [found] = network.attentions([one.seen])
    times = list(one.seen.times_s)
    middle = sum(around[0]) / 2 if around else times[len(times) // 2]
    first = int(np.clip(np.searchsorted(times, middle) - shown // 2, 0, max(0, len(times) - shown)))
    chosen = list(range(first, min(first + shown, len(times))))
    seen_at = [round(times[frame], 1) for frame in chosen]
    regions = pd.DataFrame(found.regions[chosen].float().cpu().numpy(), pd.Index(seen_at, name="time (s)"), [*REGIONS])
    spoken = [tuple(one.seen.utterances[number]) for number in found.utterances]
    over_time = (times, found.whole.float().cpu().numpy(), found.windows.float().cpu().numpy(), spoken)
    return Looks(chosen, seen_at, found.patches[chosen].float().cpu().numpy(), regions, over_time)


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


class Ablation(NamedTuple):
    """Runs of every row, and what they say."""

    told: pd.DataFrame
    """A row a run and test clip: `row`, `seed`, `clip` (its place among the test clips), `text`."""

    runs: dict[tuple[str, int], Tuned]
    """By row and seed."""


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
    processes: int = 1,
) -> Ablation:
    """Trains each row of Table 2 once for each seed and asks it about the test clips.

    Args:
        load: parts of the config -> a model that begins from the common checkpoint, frozen where it does not learn.
        train: what is learned from.
        devel: chooses the epoch; not reported.
        test: what is asked.
        folder: of the runs; a finished one is read from there.
        recipe: of training; its seed is replaced by each of `seeds`.
        seeds: of new parts' initial weights, batches and dropout.
        score: validates, see `openset.by_labels`.
        watch: sees each run's history grow.
        rows: name -> what differs in the config.
        processes: that learn together, see `tuning.tune`.
    """
    told, runs = [], {}
    for name, parts in rows.items():
        for seed in seeds:
            torch.manual_seed(seed)
            model = load(**parts)
            seeded = replace(recipe, seed=seed)
            run = tune(model, train, devel, folder, seeded, score=score, watch=watch, processes=processes)
            runs[name, seed] = run
            texts = answers(model, test, run.folder / "answers.json", recipe)
            told += [{"row": name, "seed": seed, "clip": clip, "text": text} for clip, text in enumerate(texts)]
    return Ablation(pd.DataFrame(told), runs)


def answers(model: MicroEmo, asked: Sequence[Lesson], file: Path, recipe: Recipe) -> list[str]:
    """What a model says, kept in a file beside its weights."""
    mark = fingerprint([(one.question, one.answer) for one in asked], recipe.max_new_tokens)
    return asking.answers(model, asked, file, mark, max_new_tokens=recipe.max_new_tokens)


def untrained(
    model: Describer, clips: Sequence[str], asked: Sequence[Lesson], *, frames: int, max_new_tokens: int
) -> list[str]:
    """What a model of Hugging Face's says to the same questions: it sees the frames and, if it can, hears the sound.

    Args:
        model: from `mllm.load`.
        clips: media files, one a question.
        asked: their answers are not looked at.
        frames: equidistant ones of each clip.
        max_new_tokens: of an answer.
    """
    options = {"frames": frames, "audio": model.takes_audio, "max_new_tokens": max_new_tokens, "strict": True}
    return [
        model.describe([clip], one.question, **options).text.iloc[0] for clip, one in zip(clips, asked, strict=True)
    ]
