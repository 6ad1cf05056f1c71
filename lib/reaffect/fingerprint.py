"""Names for contents: one short hash for any mix of options, numbers and files."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from reaffect.errors import InputError

DIGITS = 16  # 64 bits: a billion fingerprints collide with a chance of 3 %, a million with 3e-8


def fingerprint(*things: Any) -> str:
    """Hash of plain values and of the contents of files, 16 hexadecimal digits.

    Equal things give equal fingerprints on every machine; the order of a dict does not count, the type of a
    number does. A path stands for what the file (or every file of the folder) holds, not for where it lies.

    Args:
        things: None, bool, int, float, str, Path, NumPy scalar or array, or lists, tuples and dicts of these.

    Raises:
        InputError: a path that does not exist.
        TypeError: anything else, for example a function: its name says nothing about its contents.

    >>> fingerprint({"frames": 8, "prompt": "1"}) == fingerprint({"prompt": "1", "frames": 8})
    True
    >>> fingerprint(1) == fingerprint(1.0)
    False
    """
    text = json.dumps([_plain(thing) for thing in things], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def clip_key(clip: str | Path) -> str:
    """Key of a media file in the store: its name and its content, so that a replaced file is computed anew.

    A folder of frames is known by its name and by all files in it.

    Raises:
        InputError: the file does not exist.
    """
    clip = Path(clip)
    return f"{clip.name}@{fingerprint(clip) if clip.is_dir() else _of_file(clip)[:DIGITS]}"


def _plain(thing: Any) -> Any:
    match thing:
        case None | bool() | int() | float() | str():
            return thing
        case np.generic():
            return _plain(thing.item())
        case np.ndarray() if not thing.dtype.hasobject:
            content = hashlib.sha256(np.ascontiguousarray(thing)).hexdigest()
            return {"array": [thing.dtype.str, list(thing.shape), content]}
        case Path():
            return {"content": _of_path(thing)}
        case list() | tuple():
            return [_plain(item) for item in thing]
        case dict() if all(isinstance(key, str) for key in thing):
            return {key: _plain(value) for key, value in thing.items()}
    raise TypeError(f"no fingerprint of a {type(thing).__name__}: {thing!r}")


def _of_path(path: Path) -> Any:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return {file.relative_to(path).as_posix(): _of_file(file) for file in files}
    return _of_file(path)


def _of_file(path: Path) -> str:
    try:
        state = path.stat()
        return _sha256(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path.") from error


@lru_cache(maxsize=100_000)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    # size and time only decide whether a file that was hashed in this process must be read again
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
