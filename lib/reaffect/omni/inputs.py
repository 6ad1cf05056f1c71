"""What notebook 10 shows Omni-Emotion: encoders' states of clips, computed once, and the lessons made of them.

Frames, faces and sound are frozen encoders' business (Section 4.4): their states do not change while the rest learns,
so they are kept in the store, mapped from disk. At the paper's size a clip of 8 frames takes 27 MB.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from reaffect import faces, instructions, media, recognition
from reaffect.errors import InputError
from reaffect.features import extract
from reaffect.features.visual import Landmarks
from reaffect.judge.question import neutral
from reaffect.models.facexformer import MARGIN
from reaffect.models.omni_emotion import OmniClip, OmniEmotion
from reaffect.models.whisper_audio import SAMPLE_RATE, SHORTEST, Sound
from reaffect.store import Store
from reaffect.tuning import Lesson


class Perceived(NamedTuple):
    """A clip as Omni-Emotion takes it: its encoders' states."""

    seen: OmniClip
    heard: Sound | None
    """None where there is nothing to hear."""


def perceived(
    clips: Sequence[str], network: OmniEmotion, identity: str, *, frames: int, store: Store | None = None
) -> dict[str, Perceived]:
    """Clips as the network takes them.

    A frame's face is what MediaPipe's mesh finds, cut out with FaceXFormer's margin. The paper does not say how faces
    are found.

    Args:
        clips: videos, or folders of frames, which have no sound.
        network: whose encoders, with all of its parts.
        identity: of their weights.
        frames: equidistant ones of each clip, first and last included; the paper has 8.
        store: by default the one under `paths.STORE`.

    Raises:
        InputError: a clip that cannot be read.
    """
    shown = extract(FrameStates(network, identity, frames), clips, store=store, strict=True).values
    landmarks = extract(Landmarks(frames), clips, store=store, strict=True).values
    found = extract(FaceStates(network, identity, landmarks, frames), clips, store=store, strict=True).values
    heard = extract(SoundStates(network, identity), clips, store=store, strict=True).values
    return {
        clip: Perceived(_clip(_mapped(shown[clip]), _mapped(found[clip]), frames), _sound(_mapped(heard[clip])))
        for clip in map(str, clips)
    }


def listened(
    clips: Sequence[str], network: OmniEmotion, identity: str, *, store: Store | None = None
) -> dict[str, Sound]:
    """The sound of each clip alone, for phase 1; arguments as for `perceived`.

    Raises:
        InputError: a clip that cannot be read, or has no sound.
    """
    states = extract(SoundStates(network, identity), clips, store=store, strict=True).values
    heard = {clip: _sound(_mapped(states[clip])) for clip in map(str, clips)}
    silent = [clip for clip, sound in heard.items() if sound is None]
    if silent:
        raise InputError(f"{silent[0]} ({len(silent)} such clips): no sound to learn from. Leave it out.")
    return heard


def counts(clips: Mapping[str, Perceived]) -> dict[str, int]:
    """What clips lack, for a run card: zeros stand for it."""
    shown = [clip.seen for clip in clips.values()]
    return {
        "clips": len(clips),
        "clips without audio": sum(clip.heard is None for clip in clips.values()),
        "clips without a face": sum(clip.faces is None for clip in shown),
        "frames without a face": sum(len(clip) - len(clip.places()) for clip in shown),
    }


# ---- encoders


class FrameStates:
    """The tower's states of equidistant frames, one after the other: (frames * patches, tower_width)."""

    name = "frame states"
    batch_size = 8

    def __init__(self, network: OmniEmotion, identity: str, frames: int):
        self.network, self.width = network, network.config.tower_width
        self.recipe = {"model": identity, "frames": frames}

    def prepare(self, clip: str) -> OmniClip:
        frames = media.read_frames(clip, self.recipe["frames"])
        return OmniClip(self.network.pixels(torch.from_numpy(frames)))

    @torch.inference_mode()
    def __call__(self, prepared: list[OmniClip]) -> list[np.ndarray]:
        return [_kept(clip.frames.flatten(0, 1)) for clip in self.network.see(prepared)]


class FaceStates:
    """The face encoder's tokens of the same frames: (frames * tokens, fused), NaN for a frame without a face."""

    name = "face states"
    batch_size = 8

    def __init__(self, network: OmniEmotion, identity: str, landmarks: Mapping[str, np.ndarray], frames: int):
        self.network, self.landmarks, self.width = network, landmarks, network.config.face.fused
        self.recipe = {"model": identity, "frames": frames, "landmarks": Landmarks(frames).recipe, "margin": MARGIN}

    def prepare(self, clip: str) -> list[Float[Tensor, "1 3 size size"] | None]:
        frames = media.read_frames(clip, self.recipe["frames"])
        points = self.landmarks[clip].reshape(len(frames), faces.POINTS, 2)
        return [self._crop(*pair) for pair in zip(frames, points, strict=True)]

    @torch.inference_mode()
    def __call__(self, prepared: list[list[Tensor | None]]) -> list[np.ndarray]:
        weight = self.network.face_encoder.fuse.weight
        nobody = weight.new_full((1, self.network.config.face.token_side**2, self.width), torch.nan)
        crops = [crop for clip in prepared for crop in clip if crop is not None]
        states = iter(self.network.face_encoder(torch.cat(crops).to(weight)).split(1) if crops else ())
        each = [[nobody if crop is None else next(states) for crop in clip] for clip in prepared]
        return [_kept(torch.cat(clip).flatten(0, 1)) for clip in each]

    def _crop(self, frame: np.ndarray, points: np.ndarray) -> Tensor | None:
        if np.isnan(points).any():
            return None
        return self.network.face_pixels(torch.from_numpy(faces.crop(frame, points, MARGIN))[None])


class SoundStates:
    """The ears' states, one each 60 ms: (tokens, width); none where there is no sound track, or nothing on it."""

    name = "sound states"
    batch_size = 8

    def __init__(self, network: OmniEmotion, identity: str):
        self.network, self.width = network, network.config.audio.width
        self.recipe = {"model": identity}

    def prepare(self, clip: str) -> Sound | None:
        waveform = media.read_waveform(clip, SAMPLE_RATE)
        audible = len(waveform) >= SHORTEST and np.abs(waveform).max() > 0
        return self.network.hear(waveform, SAMPLE_RATE) if audible else None

    @torch.inference_mode()
    def __call__(self, prepared: list[Sound | None]) -> list[np.ndarray]:
        there = [sound for sound in prepared if sound is not None]
        states = iter(self.network.listen(there) if there else ())
        nothing = np.zeros((0, self.width), np.float32)
        return [nothing if sound is None else _kept(next(states).heard) for sound in prepared]


def _kept(states: Tensor) -> np.ndarray:
    return states.float().cpu().numpy()


def _mapped(states: np.ndarray) -> Tensor:
    """A tensor in the store's own memory: clips that are not in use need none."""
    with warnings.catch_warnings():  # nobody writes into it
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(states)


def _clip(shown: Tensor, found: Tensor, frames: int) -> OmniClip:
    tokens = found.unflatten(0, (frames, -1))
    there = ~tokens.isnan().any(2).any(1)
    return OmniClip(shown.unflatten(0, (frames, -1)), tokens[there] if there.any() else None, there)


def _sound(heard: Tensor) -> Sound | None:
    return Sound(heard, len(heard)) if len(heard) else None


# ---- lessons


def sound_lessons(table: pd.DataFrame, heard: Mapping[str, Sound], *, seed: int) -> list[Lesson]:
    """Phase 1: what is heard, asked for as a transcript or a caption (Sections 4.4 and 8).

    Args:
        table: from `corpora.sounds`: `clip`, `media`, `kind`, `text`.
        heard: by media file, from `listened`.
        seed: draws each clip's instruction.
    """
    return [
        Lesson(instructions.draw(row.kind, row.clip, seed=seed), neutral(row.text), None, heard[row.media])
        for row in table.itertuples()
    ]


def face_lessons(table: pd.DataFrame, seen: Mapping[str, Perceived], *, seed: int) -> list[Lesson]:
    """Phase 2: the class of what frames and faces show, without sound (Sections 4.4 and 8).

    Args:
        table: from `training_clips`.
        seen: by media file, from `perceived`.
        seed: draws each clip's instruction.
    """
    drawn = [
        instructions.draw("recognition", row.clip, seed=seed, options=", ".join(row.among))
        for row in table.itertuples()
    ]
    asked = recognition_lessons(table, seen)
    return [one._replace(question=question, audio=None) for one, question in zip(asked, drawn, strict=True)]


def emotion_lessons(table: pd.DataFrame, seen: Mapping[str, Perceived], *, seed: int) -> list[Lesson]:
    """Phase 3, and what test clips are asked: a description of the emotion and its clues (Sections 4.4 and 8).

    Args:
        table: such as from `corpora.emer`: `clip`, `media`, `text`.
        seen: by media file, from `perceived`.
        seed: draws each clip's instruction.
    """
    return [
        Lesson(instructions.draw("multimodal", row.clip, seed=seed), neutral(row.text), *seen[row.media])
        for row in table.itertuples()
    ]


def recognition_lessons(table: pd.DataFrame, seen: Mapping[str, Perceived]) -> list[Lesson]:
    """Section 5.4: the question of phase 2 about all that a clip has.

    Args:
        table: from `training_clips` or `tested_clips`.
        seen: by media file, from `perceived`.
    """
    asked = [recognition.lessons(table.iloc[[place]], row.among)[0] for place, row in enumerate(table.itertuples())]
    return [
        lesson._replace(frames=seen[clip].seen, audio=seen[clip].heard)
        for lesson, clip in zip(asked, table.media, strict=True)
    ]


class Corpus(NamedTuple):
    """A corpus of expressions, in folds."""

    folds: Mapping[int, pd.DataFrame]
    """Number -> table, from `corpora.dfew.load` or `corpora.mafw.load`."""

    among: Sequence[str]
    """Its label set."""

    learned: bool = True
    """Whether its training parts are learned from; if not, those who learned from others are asked about its tests."""


def training_clips(
    corpora: Mapping[str, Corpus], fold: int, *, at_most: int | None = None, held_out: int = 4, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Clips of a fold's training parts, of all corpora that are learned from: to learn from, and to choose by.

    Both have as many of each class as can be.

    Args:
        corpora: by name.
        fold: number.
        at_most: clips to learn from; all but the held-out ones by default.
        held_out: clips that choose the epoch. They are not learned from, and not tested in this fold.
        seed: of the draw.

    Returns:
        Two tables: `corpus`, `clip`, `media`, `labels` and `among`.

    Raises:
        InputError: a corpus has no such fold, or nothing is left to learn from.
    """
    table = _clips(corpora, fold, "train")
    drawn = table.sample(frac=1, random_state=seed)
    # every class's first clip, then every class's second one, ...
    rounds = drawn.groupby([drawn.corpus, drawn.labels.str[0]]).cumcount().sort_values(kind="stable").index
    held, learned = rounds[:held_out], rounds[held_out:][:at_most]
    if held_out < 1 or not len(learned):
        raise InputError(
            f"Fold {fold}: of {len(table)} training clips {held_out} are to be held out, at least one, and others "
            f"learned from (at_most={at_most})."
        )
    return table.loc[learned].reset_index(drop=True), table.loc[held].reset_index(drop=True)


def tested_clips(corpora: Mapping[str, Corpus], fold: int) -> pd.DataFrame:
    """Clips of a fold's test parts, of all corpora, as a table like those of `training_clips`.

    Raises:
        InputError: a corpus has no such fold.
    """
    return _clips(corpora, fold, "test")


def _clips(corpora: Mapping[str, Corpus], fold: int, split: str) -> pd.DataFrame:
    parts: list[Any] = []
    for name, corpus in corpora.items():
        if fold not in corpus.folds:
            raise InputError(f"{name} has no fold {fold}; there are {', '.join(map(str, corpus.folds))}.")
        table = corpus.folds[fold]
        if corpus.learned or split == "test":
            own = table[table.split == split]
            among = pd.Series([tuple(corpus.among)] * len(own), own.index, dtype=object)
            parts.append(own[["clip", "media", "labels"]].assign(corpus=name, among=among))
    if not parts:
        raise InputError("None of the corpora is learned from.")
    return pd.concat(parts, ignore_index=True)
