"""Omni-Emotion's instructions (Sections 4.4 and 8), which are data: `omni_emotion.yaml` beside this file."""

from __future__ import annotations

import string
from functools import lru_cache
from pathlib import Path

import yaml

from reaffect.errors import InputError
from reaffect.fingerprint import fingerprint
from reaffect.judge.question import neutral

FILE = Path(__file__).with_name("omni_emotion.yaml")

SLOTS: dict[str, set[str]] = {"caption": set(), "transcript": set(), "recognition": {"options"}, "multimodal": set()}
"""Kind of instruction -> what its templates leave open."""


@lru_cache
def load(file: Path = FILE) -> dict[str, tuple[str, ...]]:
    """Templates by kind, those of `SLOTS`.

    Raises:
        InputError: the file cannot be read, lacks a kind or has another, or a template lacks a slot of its kind or has
            another.
    """
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{file}: no instructions can be read ({str(error).splitlines()[0]}). Mend it.") from error
    if not isinstance(found, dict) or found.keys() != SLOTS.keys():
        raise InputError(f"{file}: expected are lists named {', '.join(SLOTS)}, and nothing else.")
    for kind, templates in found.items():
        if not isinstance(templates, list) or not templates or not all(isinstance(one, str) for one in templates):
            raise InputError(f"{file}: {kind!r} must be a list of texts, at least one.")
        for one in templates:
            _check(one, SLOTS[kind], f"{file}, {kind}")
    return {kind: tuple(templates) for kind, templates in found.items()}


def draw(kind: str, clip: str, *, seed: int, **fields: str) -> str:
    """One of a kind's templates, always the same for a clip and a seed, with its slots filled.

    Args:
        kind: one of `SLOTS`.
        clip: id.
        seed: of the draw.
        fields: slot -> text, which enters as text, without marks that could end its part of the prompt.

    Raises:
        InputError: an unknown kind, or fields that are not its slots.

    >>> draw("recognition", "17", seed=0, options="happy, sad").endswith(("? happy, sad", "? happy, sad."))
    True
    """
    if kind not in SLOTS or fields.keys() != SLOTS[kind]:
        kinds = ", ".join(f"{name} ({', '.join(slots) or 'no slots'})" for name, slots in SLOTS.items())
        raise InputError(f"Instruction {kind!r} with {', '.join(fields) or 'no fields'}: there are {kinds}.")
    templates = load()[kind]
    template = templates[int(fingerprint(seed, clip), 16) % len(templates)]
    return template.format(**{slot: neutral(text) for slot, text in fields.items()})


def _check(template: str, slots: set[str], where: str) -> None:
    """Raises InputError unless a template has exactly these slots."""
    try:
        found = [name for _, name, *_ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise InputError(f"{where}: {template!r} has a brace without its fellow ({error}). Mend it.") from error
    if sorted(found) != sorted(slots):
        wanted = ", ".join(f"{{{name}}}" for name in sorted(slots)) or "no slot"
        raise InputError(f"{where}: {template!r} has the slots {found}, and {wanted} is expected once. Mend it.")
