"""The embedded Hume-Reaction: people who do not exist, reacting, in the official MuSe layout, truth planted.

`build` makes two folders. `hume/` has train, devel and test; their subjects differ, but are mixed from the same source
faces. `hume_unseen/` has a second devel set whose subjects are mixed from sources of which no pixel is in `hume/`.
Each folder has `planted.json` with every latent value, the best attainable correlation, and the true test labels,
which the official layout leaves empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reaffect import faces as detectors
from reaffect import media
from reaffect.corpora.hume import COLUMNS, EMOTIONS
from reaffect.errors import InputError
from reaffect.fingerprint import fingerprint
from reaffect.synthetic import assets, building, faces, hume_feats, reactions, scene, speech

FPS = 12
SIZE = (320, 240)
SAMPLE_RATE = 16_000
DURATION_S = (3.0, 5.0)
CLIPS_A_SUBJECT = 3

SOURCES = [Path(__file__)]
SOURCES += [Path(module.__file__) for module in (assets, detectors, faces, hume_feats, reactions, scene, speech)]
"""Modules that decide what is built: a change in them makes another corpus."""


@dataclass(frozen=True)
class Recipe:
    """What is built: clips in each split, and the seed of every draw."""

    train: int = 240
    devel: int = 96
    unseen: int = 48
    test: int = 48
    seed: int = 2024


@dataclass(frozen=True)
class Clip:
    """One clip to film: where it goes, who is in it, and the stream of its draws."""

    file: Path
    split: str
    subject: int
    unseen: bool
    entropy: tuple[int, ...]
    units: tuple[float, ...]
    arousal: float
    valence: float


def build(
    root: str | Path,
    *,
    train: int = Recipe.train,
    devel: int = Recipe.devel,
    unseen: int = Recipe.unseen,
    test: int = Recipe.test,
    seed: int = Recipe.seed,
    workers: int = 2,
) -> Path:
    """Builds `hume/` and `hume_unseen/` under `root`, or returns at once if they are there and unchanged.

    The same recipe gives the same bytes, whatever the number of workers. A killed build goes on where it stopped; a
    changed recipe begins anew.

    Args:
        root: the folder of corpora.
        train, devel, test: clips in each split of `hume/`.
        unseen: clips in the devel split of `hume_unseen/`.
        seed: of every draw.
        workers: processes.

    Returns:
        `root`.

    Raises:
        InputError: a split without clips, or a source that is missing.
    """
    recipe = Recipe(train=train, devel=devel, unseen=unseen, test=test, seed=seed)
    for name in ("train", "devel", "unseen", "test"):
        if getattr(recipe, name) < 1:
            raise InputError(f"{name} is {getattr(recipe, name)}: every split needs at least one clip.")
    root = Path(root)
    plans = [
        ("hume", [("train", train), ("devel", devel), ("test", test)], False),
        ("hume_unseen", [("devel", unseen)], True),
    ]
    for name, splits, held_out in plans:
        _build_folder(root / name, splits, held_out, recipe, workers)
    return root


def _build_folder(
    folder: Path, splits: Sequence[tuple[str, int]], held_out: bool, recipe: Recipe, workers: int
) -> None:
    mark = fingerprint({"recipe": asdict(recipe), "splits": list(splits), "code": SOURCES})
    if building.is_built(folder, mark):
        return
    table, clips, drawn = _plan(folder, splits, held_out, recipe.seed)
    missing = [clip for clip in clips if not (clip.file.exists() and hume_feats.measured(folder, clip.file))]
    building.film_all(film, missing, workers, folder.name, together=CLIPS_A_SUBJECT)  # neighbours share a subject
    table = table.assign(**dict(zip(EMOTIONS, drawn.reported.T, strict=True)))
    _write_tables(folder, table)
    building.finish(folder, _planted(table, drawn, mark, recipe))


def _plan(folder: Path, splits: Sequence[tuple[str, int]], held_out: bool, seed: int):
    """Who reacts how in which clip: a table of rows, the clips to film, and the drawn reactions."""
    rows, clips = [], []
    total = sum(count for _, count in splits)
    drawn = reactions.sample(total, np.random.default_rng([seed, held_out]))
    subject, index = -1, 0
    for split, count in splits:
        for number in range(count):
            subject += number % CLIPS_A_SUBJECT == 0
            clip = f"{index + 1:05d}"
            rows.append({"clip": clip, "subject": f"{'U' if held_out else 'S'}{subject:03d}", "split": split})
            clips.append(
                Clip(
                    file=folder / "mp4" / f"{clip}.mp4",
                    split=split,
                    subject=subject,
                    unseen=held_out,
                    entropy=(seed, int(held_out), index),
                    units=tuple(drawn.units[index]),
                    arousal=float(drawn.arousal[index]),
                    valence=float(drawn.valence[index]),
                )
            )
            index += 1
    return pd.DataFrame(rows), clips, drawn


def film(clip: Clip) -> None:
    """Renders one clip with its sound, writes it, and measures what was written."""
    rng = np.random.default_rng(clip.entropy)
    duration = rng.uniform(*DURATION_S)
    frames = round(duration * FPS)
    person = _person(clip.entropy[0], clip.subject, clip.unseen)
    units = reactions.curves(np.array(clip.units), frames, FPS, rng)
    picture = faces.render(person, units, rng=rng, size=SIZE)
    voice = str(np.random.default_rng([clip.subject, int(clip.unseen)]).choice(speech.VOICES))
    sound = speech.reaction(clip.arousal, clip.valence, frames / FPS, rng, voice=voice, sample_rate=SAMPLE_RATE)
    media.write_video(clip.file, picture, FPS, sound, SAMPLE_RATE)
    hume_feats.measure(clip.file.parents[1], clip.file)


@lru_cache(maxsize=4)
def _person(seed: int, subject: int, unseen: bool) -> faces.Subject:
    return faces.subject(f"{subject:03d}", np.random.default_rng([seed, 7, subject, int(unseen)]), unseen=unseen)


def _write_tables(folder: Path, table: pd.DataFrame) -> None:
    """partition.csv and labels.csv as MuSe released them; the column between id and split is ours."""
    official = folder / "c2_muse_reaction"
    official.mkdir(exist_ok=True)
    ids = "[" + table["clip"] + "]"
    partition = pd.DataFrame({"Id": ids, "Subject": table.subject, "Partition": table.split})
    building.write_aside(official / "partition.csv", partition.to_csv(index=False))
    labels = table[list(EMOTIONS)].round(4).where(table.split != "test")
    labels.columns = list(COLUMNS)
    labels.insert(0, "File_ID", ids)
    building.write_aside(official / "labels.csv", labels.to_csv(index=False))


def _planted(table: pd.DataFrame, drawn: reactions.Reactions, mark: str, recipe: Recipe) -> dict[str, Any]:
    """Everything that was planted, for those who check what was found."""
    people = {}
    unseen = table.subject.iloc[0].startswith("U")
    for name in table.subject.unique():
        person = _person(recipe.seed, int(name[1:]), unseen)
        people[name] = {"shape": person.shape_weights, "texture": person.texture_weights}
    by_clip = {
        clip: {field: np.round(values[index], 5).tolist() for field, values in drawn._asdict().items()}
        for index, clip in enumerate(table["clip"])
    }
    return {
        "fingerprint": mark,
        "recipe": asdict(recipe),
        "emotions": list(EMOTIONS),
        "units": list(faces.UNITS),
        "ceiling": reactions.ceiling(),
        "subjects": people,
        "clips": by_clip,
    }
