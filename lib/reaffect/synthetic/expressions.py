"""What the clips of the embedded DFEW and MAFW show before anybody films them: who, which class, and what carries it.

A clip's class is carried by one thing alone (`CARRIERS`), all else is as in a neutral clip: whoever does not look at
the surroundings, hear the voice, or see the face closely cannot know. Each class has a code of its own in each carrier.
The codes are ours, near to what is known of expressions where the few facial units allow it: they are there to be found
and have to be told apart, and claim nothing about people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reaffect.errors import InputError
from reaffect.synthetic import speech

FOLDS = 5

NEUTRAL = "neutral"

CARRIERS = ("scene", "voice", "face")
"""What a clip's class is known by, in the order in which Omni-Emotion's Table 1 adds modalities (v, v+a, v+a+f)."""


class Surroundings(NamedTuple):
    """What is to be seen outside of the face."""

    curtains: str
    """A key of `expression_clips.CURTAINS`."""

    hands: int
    """How many are raised."""


class Voice(NamedTuple):
    """Prosody, each in {-1, 0, 1}."""

    pitch: int
    rate: int
    loudness: int


class Face(NamedTuple):
    """What mouth and brows do."""

    mouth: str
    """rest, smile, frown or open."""

    brows: str
    """rest, raised or lowered."""


class Code(NamedTuple):
    """How a class is shown, by carrier."""

    scene: Surroundings
    voice: Voice
    face: Face


CODES = {
    "anger": Code(Surroundings("red", 2), Voice(-1, 1, 1), Face("rest", "lowered")),
    "disgust": Code(Surroundings("green", 2), Voice(-1, -1, 1), Face("frown", "lowered")),
    "fear": Code(Surroundings("blue", 2), Voice(1, 1, -1), Face("rest", "raised")),
    "happiness": Code(Surroundings("yellow", 2), Voice(1, 1, 1), Face("smile", "rest")),
    "neutral": Code(Surroundings("grey", 0), Voice(0, 0, 0), Face("rest", "rest")),
    "sadness": Code(Surroundings("blue", 0), Voice(-1, -1, -1), Face("frown", "rest")),
    "surprise": Code(Surroundings("grey", 2), Voice(1, -1, 1), Face("open", "raised")),
    "contempt": Code(Surroundings("red", 0), Voice(0, -1, 0), Face("smile", "lowered")),
    "anxiety": Code(Surroundings("yellow", 0), Voice(-1, 1, -1), Face("frown", "raised")),
    "helplessness": Code(Surroundings("grey", 1), Voice(1, -1, -1), Face("open", "rest")),
    "disappointment": Code(Surroundings("green", 0), Voice(0, 0, -1), Face("open", "lowered")),
}
"""MAFW's eleven classes; DFEW's seven are among them."""


@dataclass(frozen=True)
class Recipe:
    """What is built.

    Args:
        people: each of them shows every class once.
        seed: of every draw.
        uninformative: those of `CARRIERS` that are as in a neutral clip also where they should carry a class.
    """

    people: int = 15
    seed: int = 2024
    uninformative: tuple[str, ...] = ()

    def __post_init__(self):
        if self.people < FOLDS or self.people % FOLDS:
            raise InputError(f"people is {self.people}: it must be a multiple of {FOLDS}, as many in each fold.")
        for name in self.uninformative:
            if name not in CARRIERS:
                raise InputError(f"uninformative has {name!r}: carriers are {', '.join(CARRIERS)}.")

    def folder(self, corpus: str) -> str:
        """A name for the corpus that says which carriers tell nothing: `dfew`, `dfew_without_face`."""
        return "_without_".join([corpus, *self.uninformative])


@dataclass(frozen=True)
class Clip:
    """One clip to film."""

    file: Path
    number: int
    """From 1, as the official ids are."""

    person: int
    fold: int
    """1 to 5: the one whose test part it is in."""

    classes: tuple[str, ...]
    """One, or the two of a compound, in the order of `CODES`."""

    carriers: tuple[str, ...]
    """Of each class its own."""

    shown: tuple[str, ...]
    """By each of `CARRIERS` the class that it shows."""

    words: str
    """What is said; it tells nothing."""

    silent: bool
    """No audio track."""

    entropy: tuple[int, int]
    """Seed and corpus: the root of every draw."""


def plan(
    recipe: Recipe,
    classes: Sequence[str],
    file_of: Callable[[int], Path],
    *,
    corpus: int,
    compounds: Sequence[tuple[str, str]] = (),
    silent: int = 0,
) -> list[Clip]:
    """Who shows what by which carrier in which clip.

    The people of a fold are nobody else's, and show every class once. With three people a fold (or six, ...) each class
    is carried by each carrier equally often in it.

    Args:
        recipe: what is built.
        classes: single ones, keys of `CODES`.
        file_of: number -> where the video goes.
        corpus: sets its draws apart from those of the other corpus.
        compounds: pairs of classes, of which each person shows one, by two carriers.
        silent: clips without an audio track; none of those that the voice carries.

    Returns:
        The clips by number, which tells nothing about them.
    """
    rng = np.random.default_rng([recipe.seed, corpus])
    cast = [part for person in range(recipe.people) for part in _parts(person, classes, compounds)]
    order = [cast[place] for place in rng.permutation(len(cast))]
    words = [str(text) for text in rng.choice(speech.UTTERANCES, len(order))]
    unheard = [place for place, (_, _, carriers) in enumerate(order) if "voice" not in carriers][:silent]
    return [
        Clip(
            file=file_of(place + 1),
            number=place + 1,
            person=person,
            fold=1 + person % FOLDS,
            classes=felt,
            carriers=carriers,
            shown=_shown(felt, carriers, recipe.uninformative),
            words=words[place],
            silent=place in unheard,
            entropy=(recipe.seed, corpus),
        )
        for place, (person, felt, carriers) in enumerate(order)
    ]


def _parts(
    person: int, classes: Sequence[str], compounds: Sequence[tuple[str, str]]
) -> Iterable[tuple[int, tuple[str, ...], tuple[str, ...]]]:
    """Of one person's clips the classes and their carriers: a Latin square over the people of a fold."""
    turn = person % FOLDS + person // FOLDS
    for number, felt in enumerate(classes):
        yield person, (felt,), (CARRIERS[(turn + number) % len(CARRIERS)],)
    if compounds:
        pairs = list(permutations(CARRIERS, 2))
        yield person, compounds[person % len(compounds)], pairs[person % len(pairs)]


def _shown(felt: tuple[str, ...], carriers: tuple[str, ...], uninformative: tuple[str, ...]) -> tuple[str, ...]:
    by = {carrier: one for one, carrier in zip(felt, carriers, strict=True) if carrier not in uninformative}
    return tuple(by.get(carrier, NEUTRAL) for carrier in CARRIERS)


def ceiling(clips: Sequence[Clip]) -> dict[str, float]:
    """The best accuracy on single classes for one who sees the scene alone, hears the voice too, sees the face too.

    Clips that look and sound alike to him get the class that is the most frequent among them. As classes are equally
    frequent, this is UAR as well as WAR.

    Returns:
        `scene`, `scene+voice`, `scene+voice+face` -> in [0, 1].
    """
    single = [clip for clip in clips if len(clip.classes) == 1]
    best = {}
    for count in range(1, len(CARRIERS) + 1):
        alike: dict[tuple[str, ...], Counter[str]] = {}
        for clip in single:
            alike.setdefault(clip.shown[:count], Counter())[clip.classes[0]] += 1
        right = sum(max(group.values()) for group in alike.values())
        best["+".join(CARRIERS[:count])] = right / len(single)
    return best


def truth(clips: Sequence[Clip]) -> dict[str, dict[str, Any]]:
    """Everything that was planted in each clip, by its official number, for those who check what was found."""
    return {
        str(clip.number): {
            "classes": list(clip.classes),
            "carriers": list(clip.carriers),
            "shown": dict(zip(CARRIERS, clip.shown, strict=True)),
            "person": clip.person,
            "fold": clip.fold,
            "words": "" if clip.silent else clip.words,
        }
        for clip in clips
    }


def folds(clips: Sequence[Clip]) -> Iterable[tuple[int, str, list[Clip]]]:
    """Of each fold, 1 to 5, the parts `train` and `test`; nobody is in both."""
    for fold in range(1, FOLDS + 1):
        yield fold, "train", [clip for clip in clips if clip.fold != fold]
        yield fold, "test", [clip for clip in clips if clip.fold == fold]
