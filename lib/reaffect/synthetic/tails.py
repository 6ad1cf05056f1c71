r"""A corpus of features with the paper's main claim planted: text that knows the extremes, or text that does not.

Vaiani et al. 2024, Section 5.3, say that text features of an MLLM make predictions wider and better at atypical
intensities. Whether the analysis (`reaffect.extremes`) can tell that from its absence is shown on two variants of one
corpus, equal in all but the text:

- what face and voice show of the latent reaction $z$ saturates: $m = \mathrm{clip}(z, -q, q)$, with $q$ the quartile
  of $z$, so that half of all reactions lie beyond what can be seen; each person's looks and each clip's noise add to
  it;
- `base` features are a linear mixture of $m$;
- `text` with `extra`: a mixture of what was cut off, $z - \mathrm{clip}(z, -q, q)$, with noise of its own;
- `text` without: a mixture of the same $m$, looks and clip's noise included, with noise of its own: a second report of
  what was seen already. Given `base` it is independent of the labels, so nothing is there to be found.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from reaffect.errors import InputError
from reaffect.synthetic import reactions

KNEE = float(norm.ppf(0.75))
"""Where what is shown saturates, in standard deviations of the latent reaction: its quartile."""

WIDTH = 14
"""Of the base features and of the text features: twice the emotions, so that neither mixture loses one."""

SHOWN_NOISE = 0.2
"""Standard deviation of what is shown about the clipped reaction."""

TEXT_NOISE = 0.2
"""Standard deviation of what is written about what it describes."""

PERSON = 0.3
"""Standard deviation of what a person's looks add: a resting face can look angry."""


PENALTY = 30.0
"""Of `predictions`."""


class Variant(NamedTuple):
    """`clips` clips, one a row."""

    base: np.ndarray
    """(clips, WIDTH): face and voice."""

    text: np.ndarray
    """(clips, WIDTH)."""

    labels: np.ndarray
    """(clips, 7) in [0, 1]: the self-reports."""

    subjects: np.ndarray
    """(clips,): names."""


def variant(extra: bool, *, clips: int = 480, subjects: int = 160, seed: int = 0) -> Variant:
    """Draws the corpus; the module's text says how.

    Args:
        extra: whether the text knows what face and voice do not show. All else is the same, bit for bit.
        clips: how many, dealt to the subjects in turn.
        subjects: how many people.
        seed: of all draws.

    Raises:
        InputError: fewer clips than subjects.

    >>> with_tails, without = variant(True), variant(False)
    >>> bool((with_tails.base == without.base).all()), with_tails.text.shape
    (True, (480, 14))
    """
    if not 0 < subjects <= clips:
        raise InputError(f"{subjects} subjects for {clips} clips: every subject needs a clip.")
    rng = np.random.default_rng(seed)
    drawn = reactions.sample(clips, rng)
    person = np.arange(clips) % subjects
    middle = np.clip(drawn.latent, -KNEE, KNEE)
    looks = PERSON * rng.standard_normal((subjects, middle.shape[1]))
    shown = middle + looks[person] + SHOWN_NOISE * rng.standard_normal(middle.shape)
    told = drawn.latent - middle if extra else shown
    base = shown @ _mixture(rng)
    text = (told + TEXT_NOISE * rng.standard_normal(told.shape)) @ _mixture(rng)
    return Variant(base, text, drawn.reported, np.array([f"S{k:03d}" for k in person]))


class Predictions(NamedTuple):
    """On the half of the subjects that was not learned from."""

    without: np.ndarray
    """(clips, 7): from the base features."""

    with_text: np.ndarray
    """(clips, 7): from base and text."""

    truth: np.ndarray
    subjects: np.ndarray


def predictions(corpus: Variant, *, penalty: float = PENALTY) -> Predictions:
    """Ridge regression with and without the text, learned on half of the subjects and applied to the others.

    Args:
        corpus: see `variant`.
        penalty: on the weights, in variances of a feature: more of it, narrower predictions.
    """
    names = np.unique(corpus.subjects)
    learned = np.isin(corpus.subjects, names[: len(names) // 2])

    def predict(features: np.ndarray) -> np.ndarray:
        x = features - features[learned].mean(0)
        mean = corpus.labels[learned].mean(0)
        gram = x[learned].T @ x[learned] + penalty * x[learned].var(0).mean() * np.eye(x.shape[1])
        return mean + x[~learned] @ np.linalg.solve(gram, x[learned].T @ (corpus.labels[learned] - mean))

    both = np.hstack([corpus.base, corpus.text])
    return Predictions(predict(corpus.base), predict(both), corpus.labels[~learned], corpus.subjects[~learned])


def _mixture(rng: np.random.Generator) -> np.ndarray:
    """(7, WIDTH) with orthonormal rows: every emotion is in the features, none in one of them alone."""
    return np.linalg.qr(rng.standard_normal((WIDTH, 7)))[0].T
