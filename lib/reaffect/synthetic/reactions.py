r"""What a reaction is before anybody sees it: seven intensities, what face and voice show of them, and the report.

The chain has four links, each kept in `planted.json`:

1. a latent reaction $z \sim N(0, C)$, seven correlated standard normals, squashed to `expressed` in [0, 1];
2. what is shown: five facial units and the voice's arousal and valence, fixed functions of $z$;
3. the self-report's own latent $r = \sqrt{\rho}\,z + \sqrt{1 - \rho}\,\varepsilon$: people report what they felt, not
   what they showed;
4. `reported` $= Q(\Phi(r))$, with $Q$ the quantiles of a zero-and-one inflated beta distribution that has the mean
   and the standard deviation of the paper's Table 2 and the two peaks of its Figure 1.

$Q$ is monotone and the same for all, so the best that can be predicted from $z$ is $E[Q(\Phi(r)) \mid z]$; its Pearson
correlation with `reported` is the ceiling. $\rho$ is set for a mean ceiling near 0.6.

| unit | adoration | amusement | anxiety | disgust | empathic pain | fear | surprise |
|---|---|---|---|---|---|---|---|
| smile | + | ++ | | | | | |
| frown | | - | | + | ++ | | |
| brow_raise | + | | | | | + | ++ |
| brow_lower | | | ++ | ++ | | | - |
| jaw_drop | | | | | | ++ | + |
| arousal (voice) | - | + | + | | - | + | + |
| valence (voice) | + | + | - | - | - | - | |
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from reaffect.corpora.hume import EMOTIONS

TABLE_2 = np.array(
    [
        (0.3218, 0.3612),
        (0.6204, 0.3669),
        (0.3431, 0.3245),
        (0.2432, 0.2866),
        (0.2152, 0.3032),
        (0.2824, 0.3363),
        (0.5307, 0.3219),
    ]
)
"""Mean and standard deviation of each emotion, in the order of `EMOTIONS` (Vaiani et al. 2024, Table 2)."""

RHO = 0.41
"""Share of the report's latent variance that is shown; gives a mean ceiling near 0.6."""

INFLATION = 0.10
"""Share of reports at exactly 0 and of reports at exactly 1, before the mean tilts them: Figure 1's peaks."""

#                    adoration amusement anxiety disgust  pain    fear  surprise
TO_SHOWN = np.array(
    [
        (0.55, 0.85, 0.00, 0.00, 0.00, 0.00, 0.00),  # smile
        (0.00, -0.30, 0.00, 0.30, 0.90, 0.00, 0.00),  # frown
        (0.40, 0.00, 0.00, 0.00, 0.00, 0.35, 0.85),  # brow_raise
        (0.00, 0.00, 0.75, 0.65, 0.00, 0.00, -0.20),  # brow_lower
        (0.00, 0.00, 0.00, 0.00, 0.00, 0.85, 0.45),  # jaw_drop
        (-0.40, 0.35, 0.45, 0.00, -0.35, 0.45, 0.35),  # arousal
        (0.60, 0.50, -0.40, -0.45, -0.30, -0.35, 0.00),  # valence
    ]
)
"""Rows: the five units of `faces.UNITS`, arousal, valence; columns: `EMOTIONS`."""

CORRELATION = np.array(
    [
        (1.00, 0.35, -0.20, -0.25, -0.05, -0.20, 0.05),
        (0.35, 1.00, -0.25, -0.20, -0.30, -0.20, 0.10),
        (-0.20, -0.25, 1.00, 0.20, 0.30, 0.45, 0.10),
        (-0.25, -0.20, 0.20, 1.00, 0.15, 0.20, 0.10),
        (-0.05, -0.30, 0.30, 0.15, 1.00, 0.20, -0.05),
        (-0.20, -0.20, 0.45, 0.20, 0.20, 1.00, 0.25),
        (0.05, 0.10, 0.10, 0.10, -0.05, 0.25, 1.00),
    ]
)
"""Of the latent reactions; our choice, for the paper prints none."""


class Reactions(NamedTuple):
    """`count` reactions, one a row; columns of seven follow `EMOTIONS`."""

    latent: np.ndarray
    """(count, 7), standard normal."""

    expressed: np.ndarray
    """(count, 7) in [0, 1]: the latent reaction as an intensity, before the report's noise."""

    reported: np.ndarray
    """(count, 7) in [0, 1]: the self-report, the label."""

    units: np.ndarray
    """(count, 5) in [0, 1]: peak of each facial unit."""

    arousal: np.ndarray
    """(count,) in [0, 1], of the voice."""

    valence: np.ndarray
    """(count,) in [0, 1], of the voice."""


def sample(count: int, rng: np.random.Generator) -> Reactions:
    """Draws `count` independent reactions; see the module's text for the chain."""
    latent = rng.multivariate_normal(np.zeros(len(EMOTIONS)), CORRELATION, size=count, method="cholesky")
    noise = rng.standard_normal(latent.shape)
    shown = shown_by(latent)
    return Reactions(
        latent=latent,
        expressed=expected_report(latent),
        reported=_report(np.sqrt(RHO) * latent + np.sqrt(1 - RHO) * noise),
        units=shown[:, :5],
        arousal=shown[:, 5],
        valence=shown[:, 6],
    )


def shown_by(latent: np.ndarray) -> np.ndarray:
    """Latent reactions (n, 7) -> what face and voice show (n, 7) in [0, 1]: five units, arousal, valence.

    A weighted sum of the latents, scaled to unit variance and squashed by the normal distribution function: each
    channel is then uniform on [0, 1], so that no intensity is rare.
    """
    spread = np.sqrt(np.einsum("ij,jk,ik->i", TO_SHOWN, CORRELATION, TO_SHOWN))
    return stats.norm.cdf(latent @ TO_SHOWN.T / spread)


def expected_report(latent: np.ndarray) -> np.ndarray:
    """$E[\\text{reported} \\mid z]$ (n, 7): the best prediction of the report for one who knows the latent reaction."""
    grid, table = _expectation_table()
    return np.stack([np.interp(column, grid, row) for column, row in zip(latent.T, table, strict=True)], 1)


def ceiling() -> dict[str, float]:
    """Pearson correlation of the best prediction with the report, by emotion and as their mean.

    Computed by quadrature over the latent reaction: the correlation of $E[Y|z]$ with $Y$ is sd(E[Y|z]) / sd(Y).
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    weights = weights / weights.sum()
    best = expected_report(np.repeat(nodes[:, None], len(EMOTIONS), 1))
    spread = np.sqrt(weights @ best**2 - (weights @ best) ** 2)
    reports = _report(_midpoints(20_000)[:, None].repeat(len(EMOTIONS), 1))
    each = spread / reports.std(0)
    return {**dict(zip(EMOTIONS, each.tolist(), strict=True)), "mean": float(each.mean())}


def curves(peaks: np.ndarray, frames: int, fps: float, rng: np.random.Generator) -> np.ndarray:
    """An expression over time: onset, apex, offset.

    Args:
        peaks: (5,) in [0, 1], the intensity of each unit at its apex.
        frames: length of the clip.
        fps: frames a second.
        rng: draws when units rise and fall, and a small tremor.

    Returns:
        (frames, 5) in [0, 1]. Every unit holds its apex for at least 40 % of the clip.
    """
    duration = frames / fps
    time = np.arange(frames)[:, None] / fps
    onset = duration * rng.uniform(0.02, 0.22) + rng.uniform(0, 0.04 * duration, 5)
    offset = duration * rng.uniform(0.78, 1.02) - rng.uniform(0, 0.04 * duration, 5)
    rise, fall = rng.uniform(0.15, 0.4, 5), rng.uniform(0.2, 0.5, 5)
    envelope = _smooth_step((time - onset) / rise) * (1 - _smooth_step((time - offset) / fall))
    tremor = 0.03 * np.sin(2 * np.pi * (rng.uniform(0.5, 2, 5) * time + rng.random(5)))
    return np.clip(peaks * envelope * (1 + tremor), 0, 1)


def _smooth_step(position: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, and 3x² - 2x³ between."""
    position = np.clip(position, 0, 1)
    return position**2 * (3 - 2 * position)


def _midpoints(count: int) -> np.ndarray:
    """`count` standard normal quantiles at evenly spaced probabilities."""
    return stats.norm.ppf((np.arange(count) + 0.5) / count)


def _report(latent: np.ndarray) -> np.ndarray:
    """Latent reports (n, 7), standard normal -> intensities in [0, 1] with Table 2's moments."""
    probability = stats.norm.cdf(latent)
    return np.stack([_quantile(column, *law) for column, law in zip(probability.T, _laws(), strict=True)], 1)


def _quantile(probability: np.ndarray, a: float, b: float, zeros: float, ones: float) -> np.ndarray:
    """Quantiles of: 0 with probability `zeros`, 1 with probability `ones`, else Beta(a, b)."""
    inner = np.clip((probability - zeros) / (1 - zeros - ones), 0, 1)
    return stats.beta.ppf(inner, a, b)


@cache
def _laws() -> tuple[tuple[float, float, float, float], ...]:
    """(a, b, zeros, ones) of each emotion, with exactly Table 2's mean and standard deviation."""
    return tuple(_law(mean, deviation) for mean, deviation in TABLE_2)


def _law(mean: float, deviation: float) -> tuple[float, float, float, float]:
    zeros, ones = 2 * INFLATION * (1 - mean), 2 * INFLATION * mean
    inside = 1 - zeros - ones

    def off(logarithms: np.ndarray) -> np.ndarray:
        law = stats.beta(*np.exp(logarithms))
        second = ones + inside * (law.var() + law.mean() ** 2)
        first = ones + inside * law.mean()
        return np.array([first - mean, np.sqrt(second - first**2) - deviation])

    found = optimize.root(off, np.log([0.6, 0.6 * (1 - mean) / mean]))
    a, b = np.exp(found.x)
    return float(a), float(b), float(zeros), float(ones)


@cache
def _expectation_table() -> tuple[np.ndarray, np.ndarray]:
    """A grid of latent values, and E[reported | z] on it for each emotion (7, grid)."""
    grid = np.linspace(-5, 5, 401)
    noise = _midpoints(800)
    latent = np.sqrt(RHO) * grid[:, None] + np.sqrt(1 - RHO) * noise
    probability = stats.norm.cdf(latent)
    return grid, np.stack([_quantile(probability, *law).mean(1) for law in _laws()])
