"""What an extractor is, and how its features get into the store and out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float
from transformers import logging as transformers_logging

from reaffect import paths
from reaffect.errors import InputError
from reaffect.fingerprint import clip_key, fingerprint
from reaffect.hardware import best_device
from reaffect.memory import Fitting
from reaffect.models.checkpoints import read_pretrained, read_processor
from reaffect.store import Store

POOLER = r"(.*\.)?pooler\."
"""Weights that some releases lack, as RoBERTa's, and none of the extractors reads; pattern."""


class Extractor(Protocol):
    """Clip -> float32 (frames, width)."""

    name: str
    """Under which the store keeps its features, and the label of the progress bar."""

    width: int
    """Features a frame."""

    recipe: Mapping[str, Any]
    """All that the features depend on besides the clip: weights, options, other features."""

    batch_size: int
    """Clips in one call."""

    def prepare(self, clip: str) -> Any:
        """What can be done in a thread of its own, above all decoding; InputError for a clip that cannot be read."""

    def __call__(self, prepared: list[Any]) -> list[Float[np.ndarray, "frames width"]]:
        """Features of a batch."""


class Extracted(NamedTuple):
    """Features by clip."""

    values: dict[str, np.ndarray]
    """float32 (frames, width), mapped from disk; a clip with a problem is absent."""

    problems: dict[str, str]
    """By clip: why it has none."""


def extract(
    extractor: Extractor, clips: Sequence[str | Path], *, store: Store | None = None, strict: bool = False
) -> Extracted:
    """Features of all clips, from the store or computed once.

    The key is the clip's content, the extractor's weights and its options: a changed option never reads a stale
    feature, and a run that was killed loses at most the batch in flight.

    Args:
        extractor: see `Extractor`.
        clips: media files.
        store: by default the one under `paths.STORE`.
        strict: raise the first bad clip's InputError instead of listing it.
    """
    computed = (store or Store()).compute(
        extractor.name,
        {"extractor": type(extractor).__name__, **extractor.recipe},
        [str(clip) for clip in clips],
        Fitting(extractor),
        batch_size=extractor.batch_size,
        key=clip_key,
        prepare=extractor.prepare,
        strict=strict,
    )
    return Extracted(computed.values, computed.problems)


def pretrained(auto: type, name: str) -> tuple[Any, str]:
    """A frozen Hugging Face model, on the GPU if there is one, and what identifies its weights.

    Args:
        auto: such as `AutoModel`.
        name: a hub id, a folder under `paths.DATA`, or `package:<name>/<folder>` for weights that a package carries.

    Raises:
        InputError: names the model and the mend.
    """
    place = paths.checkpoint(name)
    if isinstance(place, Path) and not (place / "config.json").exists():
        raise InputError(f"{name}: no checkpoint at {place}. `make embedded` makes the small ones; or name another.")
    transformers_logging.disable_progress_bar()
    try:
        model = read_pretrained(auto, place, unread=POOLER)
    except ValueError as error:
        raise InputError(
            f"{name}: no {auto.__name__} could be loaded ({error}). Check the name; offline, the hub's models must "
            "be in its cache; a folder whose weights cannot be read must be fetched or made again."
        ) from error
    device = best_device()
    identity = fingerprint(place) if isinstance(place, Path) else f"{name}@{model.config._commit_hash}"
    return model.to(device).eval().requires_grad_(False), identity


def preparing(auto: type, name: str) -> Any:
    """What prepares the input of `pretrained`'s model: a tokenizer, an image processor, ...

    Args:
        auto: such as `AutoTokenizer`.
        name: as for `pretrained`.

    Raises:
        InputError: names the model and the mend.
    """
    try:
        return read_processor(auto, paths.checkpoint(name))
    except ValueError as error:
        raise InputError(f"{name}: its input cannot be prepared ({error}). Fetch it again, with all files.") from error
