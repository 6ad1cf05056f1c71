"""What the small Video-LLaVA is taught with: short films of people who occur in no split of the corpus.

Two kinds. In `Studio.faces_at_random` every frame carries facial units of its own, drawn wide: the quickest way to
teach a vision tower to see them. In `Studio.reactions_over_time` units rise and fall as in the corpus, and each film
has the emotions behind it. Nothing is written: films are rendered, shrunk as the processor will shrink the corpus,
and kept as bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import norm
from threadpoolctl import threadpool_limits
from torch import Tensor
from tqdm import tqdm

from reaffect.synthetic import faces, reactions

FPS, DURATION_S = 12, (3.0, 5.0)
"""As in the corpus."""

TAKES = 3
"""Films of one person, each in a room of its own."""


class Films(NamedTuple):
    """A few equidistant frames of each clip, and what was planted in it."""

    pixels: Tensor
    """uint8 (films, frames, 3, side, side), RGB."""

    units: Tensor
    """float32 (films, frames, 5): `faces.UNITS` of each frame, in [0, 1]."""


@dataclass(frozen=True)
class Studio:
    """Films people who occur in no split of the corpus.

    Args:
        frames: equidistant frames a film, first and last included.
        seed: of people, rooms and reactions.
        shrink: uint8 (frames, height, width, 3) -> uint8 (frames, 3, side, side), as the processor does it.
        workers: threads.
    """

    frames: int
    seed: int
    shrink: Callable[[np.ndarray], Tensor]
    workers: int

    def faces_at_random(self, count: int) -> Films:
        """Films whose every frame shows units of its own: each is 0 with probability 0.4, else uniform."""
        rng = np.random.default_rng([self.seed, 0])
        shape = (count, self.frames, len(faces.UNITS))
        return self._film(rng.random(shape) * (rng.random(shape) < 0.6), "faces")

    def reactions_over_time(self, count: int) -> tuple[Films, reactions.Reactions]:
        """Films of reactions as in the corpus, and the reactions."""
        rng = np.random.default_rng([self.seed, 1])
        planted = reactions.sample(count, rng)
        units = np.stack([_sampled(peaks, self.frames, rng) for peaks in planted.units])
        return self._film(units, "reactions"), planted

    def _film(self, units: np.ndarray, title: str) -> Films:
        """Renders (films, frames, 5) units, `TAKES` films a person."""
        people = range(-(-len(units) // TAKES))

        def takes(person: int) -> list[Tensor]:
            rng = np.random.default_rng([self.seed, person, *title.encode()])
            actor = faces.subject(f"{title}{person}", rng)
            mine = units[person * TAKES : (person + 1) * TAKES]
            return [self.shrink(faces.render(actor, take, rng=rng)) for take in mine]

        # OpenCV and NumPy, which do the work, release the interpreter: threads are enough
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(self.workers) as pool:
            films = [film for made in tqdm(pool.map(takes, people), f"filming {title}", len(people)) for film in made]
        return Films(torch.stack(films), torch.as_tensor(units, dtype=torch.float32))


def strengths(planted: reactions.Reactions) -> np.ndarray:
    """(films, 7): each emotion as the share of people who feel less of it, uniform on [0, 1]."""
    return norm.cdf(planted.latent)


def _sampled(peaks: np.ndarray, frames: int, rng: np.random.Generator) -> np.ndarray:
    """(frames, 5): the units at equidistant moments of a clip, first and last included."""
    length = round(FPS * rng.uniform(*DURATION_S))
    curves = reactions.curves(peaks, length, FPS, rng)
    return curves[np.linspace(0, length - 1, frames).round().astype(int)]
