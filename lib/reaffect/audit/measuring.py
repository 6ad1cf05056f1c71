"""How the audit's extractors get at clips: as `extract` does, with what is known of a clip in its key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from reaffect.errors import InputError
from reaffect.features.extraction import Extractor
from reaffect.fingerprint import clip_key, fingerprint
from reaffect.store import Store


class Guided(Extractor, Protocol):
    """An extractor that is told something of each clip: where its faces were, or when somebody speaks."""

    told: dict[str, Any]
    """By clip; it is a part of the key, as the clip's content is."""


def measured(extractor: Guided, clips: Sequence[str], *, store: Store | None) -> list[np.ndarray]:
    """Features of clips, in their order, from the store or computed once.

    Raises:
        InputError: a clip that cannot be read.
    """
    computed = (store or Store()).compute(
        extractor.name,
        {"extractor": type(extractor).__name__, **extractor.recipe},
        clips,
        extractor,
        batch_size=extractor.batch_size,
        key=lambda clip: f"{clip_key(clip)}@{fingerprint(extractor.told[clip])}",
        prepare=extractor.prepare,
        strict=True,
    )
    return [computed.values[clip] for clip in clips]


def told_of_both(originals: Sequence[str], deidentified: Sequence[str], known: Sequence[Any]) -> dict[str, Any]:
    """What is known of each original, for it and for its de-identified version.

    Raises:
        InputError: lists of different lengths.
    """
    if not len(originals) == len(deidentified) == len(known):
        raise InputError(f"{len(originals)} originals, {len(deidentified)} de-identified clips, {len(known)} rows.")
    return dict(zip(originals, known, strict=True)) | dict(zip(deidentified, known, strict=True))
