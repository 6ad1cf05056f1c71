"""What the small Video-LLaVA learns to say: descriptions and score answers, by a grammar.

A description names what can be seen (facial movements, from the planted units) and what it expresses (emotions,
from the planted strengths), strongest first, in wording drawn at random. A score answer lists the seven emotions
with one decimal, in the form that the paper's question asks for.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from reaffect.corpora.hume import EMOTIONS

FEELINGS = {
    "adoration": ("adoring", "touched", "loving"),
    "amusement": ("amused", "entertained", "cheerful"),
    "anxiety": ("anxious", "nervous", "uneasy"),
    "disgust": ("disgusted", "repelled", "sickened"),
    "empathic pain": ("pained", "hurt", "sorrowful"),
    "fear": ("afraid", "scared", "frightened"),
    "surprise": ("surprised", "astonished", "amazed"),
}
"""How an emotion is said; no word belongs to two emotions."""

MOVEMENTS = {
    "smile": ("smiling", "showing a smile"),
    "frown": ("pulling the mouth down", "turning the mouth corners down"),
    "brow_raise": ("raising the brows", "lifting the eyebrows"),
    "brow_lower": ("lowering the brows", "knitting the eyebrows"),
    "jaw_drop": ("opening the mouth", "letting the jaw drop"),
}
"""How a facial action is said; no phrase belongs to two actions."""

OPENINGS = (
    "A person sits in front of a camera",
    "The video shows a person in front of a camera",
    "Someone watches a screen and reacts",
)

VISIBLE = 0.5
"""Strength from which an emotion or a movement is mentioned."""

STRONG = 0.8
"""Strength from which it is called strong."""


def describe_video(emotions: Mapping[str, float], movements: Mapping[str, float], rng: np.random.Generator) -> str:
    """A general description that ends with the reaction.

    Args:
        emotions: strength of each emotion in [0, 1].
        movements: strength of each of `faces.UNITS` in [0, 1].
        rng: draws the wording.

    >>> calm = dict.fromkeys(MOVEMENTS, 0.0)
    >>> describe_video({"fear": 0.9}, calm | {"jaw_drop": 0.7}, np.random.default_rng(0))
    'Someone watches a screen and reacts, letting the jaw drop. They look very scared.'
    """
    return f"{_pick(OPENINGS, rng)}, {_movements(movements, rng)}. They look {_feelings(emotions, rng)}."


def describe_reaction(emotions: Mapping[str, float], movements: Mapping[str, float], rng: np.random.Generator) -> str:
    """A description of the reaction alone; arguments as for `describe_video`.

    >>> describe_reaction({"amusement": 0.6, "fear": 0.1}, {"smile": 0.9}, np.random.default_rng(1))
    'The subject seems entertained, strongly showing a smile.'
    """
    verb = _pick(("looks", "seems", "appears"), rng)
    return f"The subject {verb} {_feelings(emotions, rng)}, {_movements(movements, rng)}."


def scores(emotions: Mapping[str, float]) -> str:
    """The answer to the paper's question: every emotion with one decimal, in the paper's order.

    >>> scores(dict.fromkeys(EMOTIONS, 0.25) | {"fear": 1.0})[-35:]
    'pain: 0.2, fear: 1.0, surprise: 0.2'
    """
    return ", ".join(f"{emotion}: {emotions[emotion]:.1f}" for emotion in EMOTIONS)


def _feelings(emotions: Mapping[str, float], rng: np.random.Generator) -> str:
    """The strongest emotion that is visible, with a touch of the second, or calm."""
    match _strongest(emotions):
        case []:
            return "calm"
        case [(first, strength), *others]:
            degree = "very " if strength >= STRONG else ""
            touch = f" with a touch of {others[0][0]}" if others else ""
            return degree + _pick(FEELINGS[first], rng) + touch


def _movements(movements: Mapping[str, float], rng: np.random.Generator) -> str:
    """The two strongest movements that are visible, or a face at rest."""
    phrases = [
        ("strongly " if strength >= STRONG else "") + _pick(MOVEMENTS[unit], rng)
        for unit, strength in _strongest(movements)
    ]
    return " and ".join(phrases) or "with a face at rest"


def _strongest(strengths: Mapping[str, float]) -> list[tuple[str, float]]:
    visible = [(name, strength) for name, strength in strengths.items() if strength >= VISIBLE]
    return sorted(visible, key=lambda pair: -pair[1])[:2]


def _pick(phrases: tuple[str, ...], rng: np.random.Generator) -> str:
    return phrases[rng.integers(len(phrases))]
