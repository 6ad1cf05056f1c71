"""The embedded EMER: dialogue clips of people who do not exist, in EMER v2's layout, truth planted.

`final-EMER-reason.csv` (descriptions), `openset.csv` (labels), `subtitle_chieng.csv`, `mp4/`, and `split.csv`, which is
ours, as EMER's split is unpublished: each carrier of emotion (`dialogues.CARRIERS`) has the same share of each part.
`planted.json` has every utterance and word with its times, and which part of the face moves when.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reaffect import media
from reaffect.errors import InputError
from reaffect.fingerprint import fingerprint
from reaffect.synthetic import assets, building, dialogues, faces, scene, speech

FPS, SIZE = 12, (320, 240)

SHARES = {"train": 4, "devel": 1, "test": 6}
"""Clips of each carrier in every `ROUND`; most are tested on, for an interval over clips tells little of a dozen."""

ROUND = len(dialogues.CARRIERS) * sum(SHARES.values())

SOURCES = [Path(__file__)]
SOURCES += [Path(module.__file__) for module in (assets, dialogues, faces, scene, speech)]
"""Modules that decide what is built: a change in them makes another corpus."""


@dataclass(frozen=True)
class Recipe:
    """What is built: clips, and the seed of every draw."""

    count: int = 4 * ROUND
    seed: int = 2024


@dataclass(frozen=True)
class Shot:
    """One clip to film."""

    file: Path
    index: int
    carrier: str
    seed: int


def build(root: str | Path, *, count: int = Recipe.count, seed: int = Recipe.seed, workers: int = 2) -> Path:
    """Builds `emer/` under `root`, or returns at once if it is there and unchanged; a killed build goes on.

    Args:
        root: the folder of corpora.
        count: clips, a multiple of 44, so that each carrier has its share of each part.
        seed: of every draw; the same recipe gives the same bytes.
        workers: processes.

    Returns:
        The corpus's folder.

    Raises:
        InputError: a count that is no multiple of 44.
    """
    if count < ROUND or count % ROUND:
        raise InputError(f"count is {count}: it must be a multiple of {ROUND}.")
    recipe = Recipe(count=count, seed=seed)
    folder = Path(root) / "emer"
    mark = fingerprint({"recipe": asdict(recipe), "code": SOURCES})
    if building.is_built(folder, mark):
        return folder
    shots = [
        Shot(folder / "mp4" / f"sample_{index:08d}.mp4", index, dialogues.CARRIERS[index % 4], seed)
        for index in range(count)
    ]
    building.film_all(film, [shot for shot in shots if not shot.file.exists()], workers, folder.name)
    planted = {shot.file.stem: plant(shot)[0] for shot in shots}
    splits = _splits(shots)
    _write_tables(folder, planted, splits)
    building.finish(folder, {"fingerprint": mark, "recipe": asdict(recipe), "clips": _truth(planted)})
    return folder


def film(shot: Shot) -> None:
    """Renders one clip with its sound."""
    planted, rng = plant(shot)
    person = faces.subject(shot.file.stem, rng)
    units = dialogues.face_units(planted, round(planted.duration_s * FPS), FPS)
    picture = faces.render(person, units, rng=rng, size=SIZE)
    media.write_video(shot.file, picture, FPS, planted.waveform, dialogues.SAMPLE_RATE)


def plant(shot: Shot) -> tuple[dialogues.Dialogue, np.random.Generator]:
    """What happens in a clip, and the generator that goes on to draw how it looks."""
    rng = np.random.default_rng([shot.seed, 21, shot.index])
    return dialogues.dialogue(shot.carrier, str(rng.choice(speech.VOICES)), rng), rng


def _splits(shots: list[Shot]) -> list[str]:
    """A part for each clip; clips of a carrier come one after the other into train, devel and test."""
    rounds = len(shots) // ROUND
    parts = [part for part, share in SHARES.items() for _ in range(share * rounds)]
    return [parts[shot.index // len(dialogues.CARRIERS)] for shot in shots]


def _write_tables(folder: Path, planted: dict[str, dialogues.Dialogue], splits: list[str]) -> None:
    names, clips = list(planted), list(planted.values())
    tables = {
        "final-EMER-reason.csv": {
            "chinese": [clip.chinese for clip in clips],
            "english": [clip.english for clip in clips],
        },
        "openset.csv": {"openset": [str(clip.labels) for clip in clips]},
        "subtitle_chieng.csv": {
            "chinese": [""] * len(clips),
            "english": [" ".join(utterance.text for utterance in clip.utterances) for clip in clips],
        },
        "split.csv": {"split": splits},
    }
    for file, columns in tables.items():
        building.write_aside(folder / file, pd.DataFrame({"name": names} | columns).to_csv(index=False))


def _truth(planted: dict[str, dialogues.Dialogue]) -> dict[str, dict[str, Any]]:
    """Everything that was planted in each clip, for those who check what was found."""
    return {
        name: {
            "carrier": clip.carrier,
            "utterances": [one._asdict() for one in clip.utterances],
            "motions": [one._asdict() for one in clip.motions],
        }
        for name, clip in planted.items()
    }
