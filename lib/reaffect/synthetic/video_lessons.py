"""What the small networks on whole clips are taught with: films of body language, and recordings of moods.

People and rooms occur in no embedded corpus. Nothing is written: films are rendered, shrunk as `features.clips` will
shrink the corpus, and kept as bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import librosa
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms.v2 import functional as images
from tqdm import tqdm

from reaffect.corpora.eald import NFBL
from reaffect.models.tsm import larger
from reaffect.synthetic import building, faces, interviews, speech, studio

SIDE = 64
"""Of a frame's crop, in pixels."""

FRAMES = 8

MOMENTS = 4
"""In a film: each shows something else, as frames far apart in an interview do."""

MOMENT_S = 1.0

SIZE = (160, 90)
"""Width and height of a film before it is shrunk."""

BUSY = 0.65
"""Share of moments with body language."""

STEADY = 0.25
"""Share of films that show one thing throughout: what a whole film shows then varies more."""

LABELS = (*NFBL, "none", *faces.UNITS)
"""Body language, of which a frame shows one or none, then facial units."""

SAMPLE_RATE = 320
"""What BEATs hears of an interview (EALD-MLLM 2024, Section 4.3)."""

REACTIONS, REACTION_S = 12, 2.0
"""In one recording, and the length of each."""

HEARD = ("arousal", "valence", *speech.VOICES)


class Films(NamedTuple):
    """Films, and what every moment shows."""

    pixels: UInt8[Tensor, "films frames 3 side side"]
    shown: Float[Tensor, "films moments labels"]
    """`LABELS`: one of the first 17 is 1, the others 0; units are standardised."""


class Recordings(NamedTuple):
    """Recordings, and what is heard in them."""

    waveforms: Float[Tensor, "recordings samples"]
    heard: Float[Tensor, "recordings labels"]
    """`HEARD`, standardised."""


def films(people: int, takes: int, *, seed: int, workers: int) -> Films:
    """Films `people` in `takes` rooms each; every moment has body language and facial units of its own."""
    codes = list(NFBL)

    def filmed(number: int) -> list[tuple[Tensor, np.ndarray, np.ndarray]]:
        rng = np.random.default_rng([seed, number])
        person = faces.subject(f"clips{number}", rng)
        taken = []
        for _ in range(takes):
            units = rng.random((MOMENTS, len(faces.UNITS))) * (rng.random((MOMENTS, len(faces.UNITS))) < 0.6)
            doing = np.where(rng.random(MOMENTS) < BUSY, rng.integers(len(codes), size=MOMENTS), len(codes))
            if rng.random() < STEADY:
                units[:], doing[:] = units[0], doing[0]
            pixels = _rendered(person, units, [[*codes, None][code] for code in doing], rng)
            taken.append((pixels, np.eye(len(codes) + 1)[doing], units))
        return taken

    made = [one for takes_of in building.side_by_side(filmed, people, workers, "filming") for one in takes_of]
    pixels, doing, units = (np.stack([one[part] for one in made]) for part in range(3))
    return Films(torch.from_numpy(pixels), torch.from_numpy(np.concatenate([doing, _standardised(units)], -1)).float())


def _rendered(person: faces.Subject, units: np.ndarray, doing: list[str | None], rng: np.random.Generator) -> Tensor:
    """(frames, 3, side, side): one film, shrunk and cropped as a clip is."""
    acts = [
        interviews.Interval(MOMENT_S * (number - 0.2), MOMENT_S * (number + 0.8), code)
        for number, code in enumerate(doing)
        if code
    ]
    held = FRAMES // MOMENTS
    film = studio.film(
        studio.Sitter(person, rng, SIZE),
        None,
        np.repeat(units, held, axis=0),
        acts,
        fps=held / MOMENT_S,
        size=SIZE,
        absent_s=None,
        guest_s=(0.0, 0.0),
        rng=rng,
    )
    frames = torch.from_numpy(np.stack(list(film))).permute(0, 3, 1, 2)
    return images.center_crop(images.resize(frames, [larger(SIDE)], antialias=True), [SIDE, SIDE])


def recordings(count: int, *, seed: int) -> Recordings:
    """Recordings of reactions of one voice in about one mood, as low as BEATs will hear interviews.

    Each voice says as many reactions as there are recordings for it; neighbours in arousal make up a recording.
    """
    rng = np.random.default_rng([seed, 1])
    waveforms, heard = [], []
    each = -(-count // len(speech.VOICES)) + REACTIONS
    for number, voice in enumerate(tqdm(speech.VOICES, "speaking")):
        moods = rng.random((each, 2))
        moods = moods[moods[:, 0].argsort()]
        rate = interviews.SAMPLE_RATE
        said = [speech.reaction(*mood, REACTION_S, rng, voice=voice, sample_rate=rate) for mood in moods]
        low = [librosa.resample(wave, orig_sr=rate, target_sr=SAMPLE_RATE) for wave in said]
        for first in range(each - REACTIONS):
            order = first + rng.permutation(REACTIONS)
            waveforms.append(np.concatenate([low[k] for k in order]))
            heard.append([*moods[order].mean(0), *np.eye(len(speech.VOICES))[number]])
    heard = _standardised(np.array(heard))
    return Recordings(torch.from_numpy(np.stack(waveforms)).float(), torch.from_numpy(heard).float())


def _standardised(values: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1 in the last axis' columns."""
    axes = tuple(range(values.ndim - 1))
    return (values - values.mean(axes)) / values.std(axes)
