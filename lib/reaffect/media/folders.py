"""Clips that are folders of frames, as FERV39k, AFEW-VA and the aligned faces of DFEW are released.

Nothing tells how many frames are shown a second, and there is no sound.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from reaffect.errors import InputError

IMAGES = {".jpg", ".jpeg", ".png"}
"""Suffixes of frames, in lower case."""


def frame_files(folder: str | Path) -> list[Path]:
    """The pictures of a folder in the order of the numbers in their names: frame2 comes before frame10.

    What lies in folders under it does not count, nor what is hidden, as a Mac's archives have beside each file.

    Raises:
        InputError: there is none, or the folder cannot be opened.
    """
    folder = Path(folder)
    try:
        found = [file for file in folder.iterdir() if is_picture(file)]
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be opened ({error.strerror}); check the path and its permissions."
        ) from error
    if not found:
        raise InputError(
            f"{folder}: a folder without frames ({', '.join(sorted(IMAGES))}), and there is no such file; check the "
            "path, or fetch the clip again."
        )
    return sorted(found, key=_natural)


def read_pictures(files: Sequence[Path], wanted: Sequence[int]) -> UInt8[np.ndarray, "count height width 3"]:
    """Pictures of a clip, upright, RGB, all as large as its first one, be that wanted or not.

    Crops that follow a face grow and shrink with it, and every encoder scales what it gets: such a clip is not
    refused. Any part of it comes in one size, which is the one that `probe` tells.

    Args:
        files: all of the clip, from `frame_files`.
        wanted: their numbers, from 0, as often as wanted.

    Raises:
        InputError: a picture cannot be read, or is cut off or damaged.
    """
    first = read_picture(files[0])
    pictures = {0: first} | {number: _scaled(read_picture(files[number]), first) for number in set(wanted) - {0}}
    return np.stack([pictures[number] for number in wanted])


def read_picture(file: Path) -> UInt8[np.ndarray, "height width 3"]:
    """A picture, upright, RGB; grey ones have three equal channels, and what is transparent is taken as opaque.

    Raises:
        InputError: it cannot be read, or is cut off or damaged.
    """
    try:
        content = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); fetch the clip again.") from error
    picture = _decoded(content)
    if picture is None:
        raise InputError(f"{file}: no picture that can be read: empty, cut off or damaged; fetch the clip again.")
    return picture


def is_picture(file: Path) -> bool:
    """Whether a file is a frame by its name; what is hidden is none."""
    return file.suffix.lower() in IMAGES and not file.name.startswith(".") and not file.is_dir()


def _natural(file: Path) -> tuple[list[str | int], str]:
    """Text and numbers by turns; the name itself where 1.png stands beside 01.png."""
    parts = re.split(r"(\d+)", file.stem)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], file.name


def _decoded(content: np.ndarray) -> np.ndarray | None:
    try:
        return cv2.imdecode(content, cv2.IMREAD_COLOR_RGB)
    except cv2.error:  # an empty file, or a header that promises more pixels than OpenCV takes
        return None


def _scaled(picture: np.ndarray, first: np.ndarray) -> np.ndarray:
    if picture.shape == first.shape:
        return picture
    interpolation = cv2.INTER_AREA if picture.size > first.size else cv2.INTER_LINEAR
    return cv2.resize(picture, first.shape[1::-1], interpolation=interpolation)
