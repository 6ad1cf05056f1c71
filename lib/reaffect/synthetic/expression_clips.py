"""The films of the embedded DFEW and MAFW: somebody between two curtains, with a voice from behind the camera.

What carries a class lies apart from the rest. Curtains and raised hands are at the sides, where no crop of the face
shows them; the face is small in the picture, so that its motion needs a closer look; lips do not move with the voice,
or they would tell how it sounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, UInt8

from reaffect import media
from reaffect.fingerprint import fingerprint
from reaffect.synthetic import assets, building, expressions, faces, reactions, scene, speech, studio
from reaffect.synthetic.expressions import CODES, Clip, Recipe

FPS, SIZE = 16, (224, 224)
SAMPLE_RATE = 16_000
DURATION_S = (2.2, 2.8)

HEAD = 0.44
"""Frame pixels a canonical pixel of the head, before framing varies it."""

CURTAINS = {
    "grey": (142, 140, 138),
    "red": (190, 36, 40),
    "blue": (36, 62, 190),
    "yellow": (222, 192, 40),
    "green": (34, 140, 62),
}
"""Colours, RGB."""

CURTAIN = 0.2
"""Width of each of the two, in frame widths."""

RAISED = (0.42, -0.28)
"""Where a raised hand is: right and down of the shoulders' middle, in `studio.Sitter`'s units."""

MOUTH = {"rest": None, "smile": "smile", "frown": "frown", "open": "jaw_drop"}
BROWS = {"rest": None, "raised": "brow_raise", "lowered": "brow_lower"}
"""The facial units of `expressions.Face`."""

PITCH = {-1: (15, 25), 0: (45, 45), 1: (92, 80)}
"""Pitch and its range, in eSpeak NG's units."""

RATE_WPM = {-1: 115, 0: 165, 1: 250}
LOUDNESS_DB = {-1: -38, 0: -28, 1: -18}


SOURCES = [Path(__file__)]
SOURCES += [Path(module.__file__) for module in (assets, expressions, faces, reactions, scene, speech, studio)]
"""Modules that decide what is built: a change in them makes another corpus."""


def build(
    folder: Path,
    recipe: Recipe,
    clips: Sequence[Clip],
    write_tables: Callable[[Path, Sequence[Clip]], None],
    *,
    code: str,
    workers: int,
) -> Path:
    """Films clips and writes a corpus's tables and `planted.json`, unless all is there and unchanged.

    Args:
        folder: of the corpus.
        recipe: what is built.
        clips: as planned by it.
        write_tables: writes the official tables into the folder.
        code: the file of the module that has the corpus's layout.
        workers: processes.

    Returns:
        `folder`.
    """
    mark = fingerprint({"recipe": asdict(recipe), "code": [*SOURCES, Path(code)]})
    if building.is_built(folder, mark):
        return folder
    with suppress(FileNotFoundError):
        (folder / "mp4").rmdir()  # these layouts keep their videos elsewhere
    missing = sorted((clip for clip in clips if not clip.file.exists()), key=lambda clip: clip.person)
    building.film_all(film, missing, workers, folder.name, together=len(clips) // recipe.people)
    write_tables(folder, clips)
    planted = {"ceiling": expressions.ceiling(clips), "clips": expressions.truth(clips)}
    building.finish(folder, {"fingerprint": mark, "recipe": asdict(recipe), **planted})
    return folder


def film(clip: Clip) -> None:
    """Renders one clip with its sound."""
    rng = np.random.default_rng([*clip.entropy, clip.number])
    frames = round(rng.uniform(*DURATION_S) * FPS)
    sound = _sound(clip, frames / FPS, rng)
    picture = _picture(clip, frames, rng)
    if clip.silent:
        media.write_video(clip.file, picture, FPS)
    else:
        media.write_video(clip.file, picture, FPS, sound, SAMPLE_RATE)


def prosody(voice: expressions.Voice) -> speech.Prosody:
    """How a voice's code sounds."""
    pitch, pitch_range = PITCH[voice.pitch]
    return speech.Prosody(RATE_WPM[voice.rate], pitch, pitch_range, LOUDNESS_DB[voice.loudness])


class Host(studio.Sitter):
    """A sitter who keeps as many hands raised as `doing` begins with, in place of a code of body language."""

    def _hands(self, doing, pose: np.ndarray, middle: np.ndarray, unit: float) -> list[np.ndarray]:
        hands = super()._hands(None, pose, middle, unit)
        count, _, since = doing
        waved = RAISED[0] + 0.02 * np.sin(2 * np.pi * 1.5 * since)
        for side in range(count):
            hands[side] = middle + np.array([(-waved, waved)[side], RAISED[1]]) * unit
        return hands


def staged(
    person: faces.Subject, surroundings: expressions.Surroundings, rng: np.random.Generator
) -> tuple[studio.Camera, Host]:
    """A camera whose backdrop is what a scene's code asks for, and a person in front of it."""
    camera = studio.Camera(rng, SIZE)
    camera.backdrop[:] = camera.backdrop.mean(2, keepdims=True)  # the curtains' colour is the only one behind a person
    _hang_curtains(camera.backdrop, CURTAINS[surroundings.curtains], rng)
    return camera, Host(person, rng, SIZE)


def _picture(clip: Clip, frames: int, rng: np.random.Generator) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    surroundings, _, face = (CODES[shown][place] for place, shown in enumerate(clip.shown))
    camera, host = staged(_person(*clip.entropy, clip.person), surroundings, rng)
    units = reactions.curves(_peaks(face, rng), frames, FPS, rng)
    poses = scene.head_poses(rng, frames, SIZE, anchor=faces.EYES, scale=HEAD)
    for index, (weights, pose) in enumerate(zip(units, poses, strict=True)):
        frame = camera.backdrop.copy()
        host.draw(frame, pose, weights if weights.any() else None, (surroundings.hands, 1.0, index / FPS))
        yield camera.grainy(frame, rng)


@lru_cache(maxsize=2)
def _person(seed: int, corpus: int, number: int) -> faces.Subject:
    return faces.subject(f"{number:03d}", np.random.default_rng([seed, corpus, 0, number]))


def _peaks(face: expressions.Face, rng: np.random.Generator) -> Float[np.ndarray, " units"]:
    """The intensity of each facial unit at its apex."""
    peaks = np.zeros(len(faces.UNITS))
    for unit, intensity in zip((MOUTH[face.mouth], BROWS[face.brows]), rng.uniform(0.85, 1, 2), strict=True):
        if unit:
            peaks[faces.UNITS.index(unit)] = intensity
    return peaks


def _hang_curtains(
    backdrop: UInt8[np.ndarray, "height width 3"], colour: tuple[int, int, int], rng: np.random.Generator
) -> None:
    """Two curtains with folds at the sides of a backdrop, in place."""
    width = round(CURTAIN * backdrop.shape[1])
    dyed = np.array(colour) + rng.uniform(-12, 12, 3)
    for edge in (slice(0, width), slice(-width, None)):
        folds = 1 + 0.12 * np.sin(np.arange(width) / width * 2 * np.pi * rng.uniform(2.5, 4) + rng.uniform(0, 6))
        backdrop[:, edge] = np.clip(dyed * folds[:, None], 0, 255)


def _sound(clip: Clip, duration_s: float, rng: np.random.Generator) -> Float32[np.ndarray, " samples"]:
    """The words, said as the voice's code asks, in a quiet room; what does not fit is cut."""
    how = prosody(CODES[clip.shown[1]].voice)
    voice = speech.VOICES[clip.person % len(speech.VOICES)]
    said = speech.say(clip.words, how, voice=voice, sample_rate=SAMPLE_RATE)
    wave = rng.normal(0, 10 ** (-60 / 20), round(duration_s * SAMPLE_RATE)).astype(np.float32)
    start = int(rng.uniform(0.05, 0.2) * SAMPLE_RATE)
    said = said[: len(wave) - start]
    wave[start : start + len(said)] += said
    return np.clip(wave, -1, 1)
