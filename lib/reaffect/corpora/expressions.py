"""One vocabulary for the seven corpora that Omni-Emotion learns from.

Every release names its classes in its own words: `happy`, `Happiness`, `surprised`. A label is mapped by its name, with
the table `ALIASES`, never by its number, since releases and their users number classes differently. The classes are the
words of the paper's own instructions (Sections 4.4 and 8); it never prints how `worried` of MER2024 and `calm` of
RAVDESS became one of them, so both stay classes of their own until `merged` is asked for.

The training sets are those of DFEW, MAFW, MER2024, CAER, AFEW-VA, RAVDESS and FERV39k (Section 3). AFEW-VA has no
classes, and which it was given is unpublished. MER2024 is read by `corpora.mer`: `neutral`, `angry`, `happy`, `sad` and
`surprise` are classes here, too, and `worried` is one of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from reaffect import media
from reaffect.errors import InputError

ALIASES = {
    "happy": ("happiness", "joy", "joyful"),
    "sad": ("sadness",),
    "neutral": ("neutrality",),
    "angry": ("anger",),
    "surprise": ("surprised",),
    "disgust": ("disgusted",),
    "fear": ("fearful", "afraid", "scared"),
    "contemptuous": ("contempt",),
    "anxious": ("anxiety",),
    "helpless": ("helplessness",),
    "disappointed": ("disappointment",),
    "worried": ("worry",),
    "calm": ("calmness",),
}
"""Class -> the other names that releases and models give it, in lower case."""

CLASSES = tuple(ALIASES)

MERGED = {"worried": "anxious", "calm": "neutral"}
"""Classes that only one corpus has -> the nearest of the paper's words. The paper is silent: the choice is ours."""

OFFICIAL = {
    "dfew": ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear"),
    "mafw": (
        "anger",
        "disgust",
        "fear",
        "happiness",
        "neutral",
        "sadness",
        "surprise",
        "contempt",
        "anxiety",
        "helplessness",
        "disappointment",
    ),
    "mer2024": ("neutral", "angry", "happy", "sad", "worried", "surprise"),
    "caer": ("Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"),
    "afew_va": (),
    "ravdess": ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"),
    "ferv39k": ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral"),
}
"""Each corpus's classes as its release names them."""

_CLASS_OF = {name: label for label, names in ALIASES.items() for name in (label, *names)}


def classes(corpus: str) -> tuple[str, ...]:
    """The classes of a corpus, one of `OFFICIAL`, in the release's order: the fixed label set of its scores.

    >>> classes("caer")
    ('angry', 'disgust', 'fear', 'happy', 'neutral', 'sad', 'surprise')
    """
    return tuple(_CLASS_OF[name.lower()] for name in OFFICIAL[corpus])


def class_of(label: str, among: Sequence[str] = CLASSES) -> str:
    """The class that a label names, in any case and by any of its aliases.

    Args:
        label: as a file has it.
        among: the classes that the corpus has.

    Raises:
        InputError: the label is a number, unknown, or a class that the corpus has not. Who reads a file adds its
            name and the row.

    >>> class_of("Happiness"), class_of("fearful")
    ('happy', 'fear')
    """
    name = label.strip().lower()
    if re.fullmatch(r"[+-]?\d+(\.\d*)?", name):
        raise InputError(
            f"the label {label!r} is a number where a name is expected: numbers differ between files. Write one of "
            f"{', '.join(among)}."
        )
    found = _CLASS_OF.get(name)
    if found not in among:
        raise InputError(
            f"the label {label!r} is unknown; known are {', '.join(among)}, and their aliases in "
            "reaffect.corpora.expressions. Mend it, or add an alias there."
        )
    return found


def merged(labels: Iterable[str], into: Mapping[str, str] = MERGED) -> list[str]:
    """Labels with rare classes put to the nearest ones, each once, in their order.

    >>> merged(["calm", "neutral", "sad"])
    ['neutral', 'sad']
    """
    return list(dict.fromkeys(into.get(label, label) for label in labels))


def answered(text: object, among: Sequence[str]) -> str:
    """The class that an answer in free text names; empty if it names none, several, or one outside the label set.

    What is empty here is a wrong answer, and never a class of its own.

    Args:
        text: what a model said; anything that is no string names nothing.
        among: the label set.

    >>> answered("Answer: the woman is Surprised.", classes("dfew")), answered("calm", classes("dfew"))
    ('surprise', '')
    """
    found = named(text)
    return found.pop() if len(found) == 1 and found <= set(among) else ""


def named(text: object) -> set[str]:
    """The classes of any corpus that a text names, by any of their aliases; anything that is no string names nothing.

    >>> sorted(named("Surprised, perhaps even scared."))
    ['fear', 'surprise']
    """
    words = re.findall(r"[^\W\d_]+", text.lower()) if isinstance(text, str) else []
    return {_CLASS_OF[word] for word in words if word in _CLASS_OF}


def without_audio(table: pd.DataFrame) -> list[str]:
    """The clips whose video has no audio track, as 21 of MAFW's: they are kept, and a model hears nothing of them.

    Args:
        table: from a corpus of videos, with `clip` and `media`.

    Raises:
        InputError: a video cannot be read.
    """
    pairs = zip(table["clip"], table.media, strict=True)
    return [clip for clip, path in pairs if not media.probe(path).has_audio]


def compared(found: Mapping[str, int], published: Mapping[str, int]) -> pd.DataFrame:
    """What was counted beside what was published: `found`, `published`, `agrees`, a row each."""
    table = pd.DataFrame({"found": {name: found.get(name, 0) for name in published}, "published": dict(published)})
    return table.assign(agrees=table.found == table.published)
