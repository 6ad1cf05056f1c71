"""The embedded EALD: post-match interviews of people who do not exist, in `corpora.eald`'s layout, truth planted.

Every player gives two interviews, so that identity can be looked for. The first half of the players is the pool of
'part of EALD's training set, the second half of its test set; both take as many defeats as victories. One more
interview is as EALD's own files are: 1280x720 at 32 fps, and longer than the others.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reaffect import media
from reaffect.corpora import eald as corpus
from reaffect.errors import InputError
from reaffect.fingerprint import fingerprint
from reaffect.synthetic import assets, building, faces, interviews, scene, speech, studio

FPS, SIZE = 16, (640, 360)
LONG_FPS, LONG_SIZE = 32, (1280, 720)
DURATION_S = (20.0, 40.0)
TRACTS = (1.0, 0.92, 1.09)
"""Factors of a vocal tract's length; with `speech.VOICES` they give 27 speakers."""

SOURCES = [Path(__file__)]
SOURCES += [Path(module.__file__) for module in (assets, faces, interviews, scene, speech, studio)]
"""Modules that decide what is built: a change in them makes another corpus."""


@dataclass(frozen=True)
class Recipe:
    """What is built: interviews but for the long one, its length in seconds (0: none), and the seed of every draw."""

    count: int = 24
    longest_s: float = 40.0
    long_s: float = 60.0
    seed: int = 2024


@dataclass(frozen=True)
class Shot:
    """One interview to film."""

    file: Path
    index: int
    subject: int
    won: bool
    duration_s: float
    fps: int
    size: tuple[int, int]
    seed: int


def build(
    root: str | Path,
    *,
    count: int = Recipe.count,
    longest_s: float = Recipe.longest_s,
    long_s: float = Recipe.long_s,
    seed: int = Recipe.seed,
    workers: int = 2,
) -> Path:
    """Builds `eald/` under `root`, or returns at once if it is there and unchanged; a killed build goes on.

    Args:
        root: the folder of corpora.
        count: interviews, a multiple of four; every two share a player.
        longest_s: they last from half of this to this, most of them nearer to the half.
        long_s: length of one more interview at 1280x720, 32 fps; 0 leaves it out.
        seed: of every draw; the same recipe gives the same bytes.
        workers: processes.

    Returns:
        The corpus's folder.

    Raises:
        InputError: a count that is no multiple of four or too large for the voices, or a length below 4 s.
    """
    players = len(speech.VOICES) * len(TRACTS)
    if count < 4 or count % 4 or count // 2 > players:
        raise InputError(f"count is {count}: it must be a multiple of 4 from 4 to {players * 2 // 4 * 4}.")
    if longest_s < 8 or (long_s and long_s < 4):
        raise InputError("An interview needs at least 4 s for a question and an answer: longest_s >= 8, long_s >= 4.")
    recipe = Recipe(count=count, longest_s=longest_s, long_s=long_s, seed=seed)
    folder = Path(root) / "eald"
    mark = fingerprint({"recipe": asdict(recipe), "nfbl": corpus.FAMILIES, "code": SOURCES})
    if building.is_built(folder, mark):
        return folder
    shots = _plan(folder, recipe)
    # the longest first, so that no worker is left alone with it at the end
    shots_by_work = sorted(shots, key=lambda shot: -shot.duration_s * shot.fps * shot.size[0])
    building.film_all(film, [shot for shot in shots_by_work if not shot.file.exists()], workers, folder.name)
    planted = [plant(shot)[0] for shot in shots]
    _write_tables(folder, shots, planted)
    building.finish(folder, {"fingerprint": mark, "recipe": asdict(recipe), "clips": _truth(shots, planted)})
    return folder


def _plan(folder: Path, recipe: Recipe) -> list[Shot]:
    """Who is asked, for how long, and whether he won; the long interview is the last, by the first player."""
    rng = np.random.default_rng([recipe.seed, 1])
    half = recipe.count // 2
    defeats = max(1, round((1 - interviews.WIN_SHARE) * half))
    won = np.concatenate([rng.permutation([False] * defeats + [True] * (half - defeats)) for _ in range(2)])
    lengths = recipe.longest_s * (0.5 + 0.5 * rng.beta(1, 4, recipe.count))
    shots = []
    for index, (result, length) in enumerate(zip(won, lengths, strict=True)):
        file = folder / "mp4" / f"{index}.mp4"
        shots.append(Shot(file, index, index // 2, bool(result), float(length), FPS, SIZE, recipe.seed))
    if recipe.long_s:
        file = folder / "mp4" / f"{recipe.count}.mp4"
        shots.append(Shot(file, recipe.count, 0, True, recipe.long_s, LONG_FPS, LONG_SIZE, recipe.seed))
    return shots


def film(shot: Shot) -> None:
    """Renders one interview with its sound."""
    planted, rng = plant(shot)
    frames = round(shot.duration_s * shot.fps)
    guest = _person(shot.seed, 1000 + shot.index) if rng.random() < 0.35 else None
    when = rng.uniform(0.1, 0.6, 2) * shot.duration_s
    picture = studio.film(
        studio.Sitter(_person(shot.seed, shot.subject), rng, shot.size),
        guest and studio.Sitter(guest, rng, shot.size),
        interviews.face_units(planted, frames, shot.fps, rng),
        planted.nfbl,
        fps=shot.fps,
        size=shot.size,
        absent_s=(when[0], when[0] + 2.4) if rng.random() < 0.3 else None,
        guest_s=(when[1], when[1] + rng.uniform(3, 6)),
        rng=rng,
    )
    media.write_video(shot.file, picture, shot.fps, planted.waveform, interviews.SAMPLE_RATE)


def plant(shot: Shot) -> tuple[interviews.Interview, np.random.Generator]:
    """What happens in an interview, and the generator that goes on to draw how it looks."""
    rng = np.random.default_rng([shot.seed, 2, shot.index])
    return interviews.interview(shot.won, shot.duration_s, _voice(shot.seed, shot.subject), rng), rng


def _voice(seed: int, subject: int) -> interviews.Voice:
    """Each player's own: no two share voice and vocal tract."""
    order = np.random.default_rng([seed, 3]).permutation(len(speech.VOICES) * len(TRACTS))
    name, tract = divmod(int(order[subject]), len(TRACTS))
    return interviews.Voice(speech.VOICES[name], TRACTS[tract])


@lru_cache(maxsize=4)
def _person(seed: int, number: int) -> faces.Subject:
    return faces.subject(f"{number:03d}", np.random.default_rng([seed, 4, number]))


def _write_tables(folder: Path, shots: list[Shot], planted: list[interviews.Interview]) -> None:
    ids = [str(shot.index) for shot in shots]
    results = ["won" if shot.won else "lost" for shot in shots]
    players = [f"P{shot.subject:02d}" for shot in shots]
    labels = pd.DataFrame({"video_id": ids, "subject": players, "result": results})
    building.write_aside(folder / "labels.csv", labels.to_csv(index=False))
    acts, words = [], []
    for name, talk in zip(ids, planted, strict=True):
        acts += [(name, act.start_s, act.end_s, act.nfbl) for act in talk.nfbl]
        words += [(name, turn.start_s, turn.end_s, turn.speaker, turn.text) for turn in talk.turns]
    nfbl = pd.DataFrame(acts, columns=["video_id", "start", "end", "class"])
    building.write_aside(folder / "nfbl.csv", nfbl.to_csv(index=False))
    spoken = pd.DataFrame(words, columns=["video_id", "start", "end", "speaker", "text"])
    building.write_aside(folder / "transcripts.csv", spoken.to_csv(index=False))
    building.write_aside(folder / "part_of_eald.csv", _part(shots).to_csv(index=False))


def _part(shots: list[Shot]) -> pd.DataFrame:
    """Of each half of the players: every defeat, and as many victories, the first ones."""
    regular = [shot for shot in shots if shot.fps == FPS]
    rows = []
    for split, pool in (("train", regular[: len(regular) // 2]), ("test", regular[len(regular) // 2 :])):
        lost = [shot for shot in pool if not shot.won]
        won = [shot for shot in pool if shot.won][: len(lost)]
        rows += [(str(shot.index), split) for shot in sorted(lost + won, key=lambda shot: shot.index)]
    return pd.DataFrame(rows, columns=["video_id", "split"])


def _truth(shots: list[Shot], planted: list[interviews.Interview]) -> dict[str, dict[str, Any]]:
    """Everything that was planted in each clip, for those who check what was found."""
    clips = {}
    for shot, talk in zip(shots, planted, strict=True):
        person, voice = _person(shot.seed, shot.subject), _voice(shot.seed, shot.subject)
        clips[str(shot.index)] = {
            "won": talk.won,
            "mood": round(talk.mood, 4),
            "answers": [turn.mood for turn in talk.turns if turn.speaker == "player"],
            "voice": [voice.name, voice.tract],
            "shape": person.shape_weights,
            "texture": person.texture_weights,
        }
    return clips
