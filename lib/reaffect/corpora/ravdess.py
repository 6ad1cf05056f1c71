"""RAVDESS: 24 actors who speak and sing two sentences with eight expressions.

The file's name says everything: `02-01-06-01-02-01-12.mp4` is modality, channel, emotion, intensity, statement,
repetition and actor. Files may lie in any folders, such as `Actor_12/` or `Video_Speech_Actor_12/`. Each performance
comes three times, with picture and sound (01), with picture (02) and with sound (03): read are those with both.

Omni-Emotion uses the training set of RAVDESS (Section 3) to align the face, and leaves the corpus out of SRE since it
is filmed in a studio (Section 3.1). The release has no split; which actors and whether songs were used is unpublished.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from reaffect.corpora import expressions, folds, tables
from reaffect.errors import InputError

CLASSES = expressions.classes("ravdess")

EMOTIONS = {f"{number:02d}": label for number, label in enumerate(CLASSES, 1)}
"""The file names' numbers -> classes."""

CHANNELS = {"01": "speech", "02": "song"}

INTENSITIES = {"01": "normal", "02": "strong"}

STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}

BOTH = "01"
"""The modality with picture and sound."""

ACTORS = 24

PUBLISHED = {"speech": 1440, "song": 1012, "subjects": ACTORS}
"""Clips with picture and sound: 60 trials of each actor; 44 songs of each but one, who has none."""

_NAME = re.compile(r"(0[123])-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(0[12])-(\d\d)")


def load(
    root: str | Path,
    *,
    channels: Collection[str] = ("speech",),
    test_subjects: Collection[str] = (),
    strict: bool = True,
) -> pd.DataFrame:
    """Reads the clips that have picture and sound.

    Args:
        root: the folder with the videos, in any folders.
        channels: speech, song, or both; the paper does not say.
        test_subjects: actors, such as `23`, whose clips are `test`. The release has no split, and the paper's is
            unpublished: by default all clips are `train`.
        strict: a name that is none of RAVDESS's is an error; otherwise the file is left out and listed in
            `table.attrs["problems"]`.

    Returns:
        One row a clip, by name: `clip` (the file's name without suffix), `subject` (actor without leading zero),
        `split`, `media` (path), `labels` (list of one of `CLASSES`), `channel`, `intensity`, `subtitle` (the
        sentence). `attrs["counts"]` says how many were left out as `without sound` and as `other channel`.

    Raises:
        InputError: names the file and the mend: no videos, two of one name, an unknown channel or actor.
    """
    root = folds.open_root(root, "RAVDESS")
    wrong = sorted(set(channels) - set(CHANNELS.values()))
    if wrong or not channels:
        raise InputError(f"channels {tuple(channels)!r}: there are {' and '.join(CHANNELS.values())}.")
    table, problems, silent = _read(root)
    tables.refuse(problems, strict=strict)
    unknown = sorted(set(map(str, test_subjects)) - set(table.subject))
    if unknown:
        raise InputError(f"test_subjects: no clip is of actor {unknown[0]!r}. There are 1 to {ACTORS}.")
    table["split"] = ["test" if subject in set(map(str, test_subjects)) else "train" for subject in table.subject]
    kept = table[table.channel.isin(list(channels))]
    counts = {"without sound": silent, "other channel": len(table) - len(kept)}
    columns = ("clip", "subject", "split", "media", "labels", "channel", "intensity", "subtitle")
    return folds.finished(kept, columns, problems=problems, counts=counts)


def check(root: str | Path) -> pd.DataFrame:
    """The numbers of clips and actors beside the published ones."""
    table, _, _ = _read(folds.open_root(root, "RAVDESS"))
    found = Counter(table.channel) | Counter({"subjects": table.subject.nunique()})
    return expressions.compared({name: found[name] for name in PUBLISHED}, PUBLISHED)


def _read(root: Path) -> tuple[pd.DataFrame, dict[str, str], int]:
    """All clips with sound, by name of file why one is none of RAVDESS, and how many have no sound."""
    files = {clip: file for clip, file in folds.media_files(root).items() if file.is_file()}
    rows, problems, silent = [], {}, 0
    for clip, file in sorted(files.items()):
        found = _NAME.fullmatch(clip)
        try:
            modality, channel, emotion, intensity, statement, _, actor = found.groups()
            row = (CHANNELS[channel], INTENSITIES[intensity], STATEMENTS[statement], [EMOTIONS[emotion]])
            if not 1 <= int(actor) <= ACTORS:
                raise KeyError(actor)
        except (AttributeError, KeyError):
            problems[clip] = (
                f"{file}: this is no name of RAVDESS, such as 01-01-06-01-02-01-12: modality, channel, emotion, "
                "intensity, statement, repetition, actor. Take the file out, or name it right."
            )
            continue
        if modality == BOTH:
            rows.append((clip, str(int(actor)), str(file), *row))
        else:
            silent += 1
    if not rows and not problems:
        raise InputError(f"{root}: no videos of RAVDESS are there. Check the folder.")
    table = pd.DataFrame(rows, columns=["clip", "subject", "media", "channel", "intensity", "subtitle", "labels"])
    return table, problems, silent
