"""dlib's CNN face detector (max-margin object detection), made affordable by the size of what it sees.

Its time goes with the pixels: 4 us each on one core, 3.6 s for a 720p frame. Its smallest box has 80 pixels, so a
frame is shrunk until the smallest face that matters is that large. It sees luma: dlib's own boxes from RGB and from
luma differ by one step of its grid (8 pixels) at most on the clips tried.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import dlib
import numpy as np
from jaxtyping import UInt8

from reaffect.deid.boxes import Box, grown, side, whole_pixels
from reaffect.errors import InputError

SMALLEST = 80
"""Side of dlib's smallest box, in pixels."""

CLOSE_UP = 96
"""Pixels that a face is brought to where it is looked for near a known place."""


class Sighting(NamedTuple):
    """A face that the CNN found."""

    box: Box
    confidence: float
    """About 1 for a plain face; dlib reports none below 0."""


def weights() -> Path:
    """The detector's weights, in the installed package `face_recognition_models` (which is not imported: it needs
    an old setuptools).

    Raises:
        InputError: the package or the file is missing.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    folders = spec.submodule_search_locations if spec else []
    for folder in folders or []:
        if (file := Path(folder) / "models" / "mmod_human_face_detector.dat").exists():
            return file
    raise InputError("dlib's face detector is not installed (face_recognition_models): run `make install`.")


@cache
def _detector() -> dlib.cnn_face_detection_model_v1:
    return dlib.cnn_face_detection_model_v1(str(weights()))


def find(luma: UInt8[np.ndarray, "height width"]) -> list[Sighting]:
    """The faces of a picture, as it is: none smaller than about 60 pixels is found."""
    found = _detector()(np.ascontiguousarray(luma))
    return [
        Sighting(np.array([r.rect.left(), r.rect.top(), r.rect.right() + 1, r.rect.bottom() + 1], float), r.confidence)
        for r in found
    ]


def shrunk(luma: UInt8[np.ndarray, "height width"], smallest_face: float) -> UInt8[np.ndarray, "lines columns"]:
    """A picture in which a face of `smallest_face` times the shorter side is as large as dlib's smallest box."""
    factor = SMALLEST / (smallest_face * min(luma.shape))
    return _resized(luma, factor)


def look(luma: UInt8[np.ndarray, "height width"], box: Box) -> Sighting | None:
    """The face nearest to `box` within its surroundings, if the CNN sees one there: 0.05 to 0.1 s.

    Found are faces from 0.7 to 1.8 times as large as the box.
    """
    left, top, right, bottom = whole_pixels(grown(box, 0.4), luma.shape[1], luma.shape[0])
    if right - left < 8 or bottom - top < 8:
        return None
    part = luma[top:bottom, left:right]
    small = _resized(part, CLOSE_UP / side(box))
    found = scaled_back(find(small), small.shape, part.shape)
    if not found:
        return None
    found = [Sighting(box_ + np.array([left, top, left, top]), confidence) for box_, confidence in found]
    return min(found, key=lambda sighting: float(np.hypot(*(_centre(sighting.box) - _centre(box)))))


def scaled_back(found: list[Sighting], small: tuple[int, ...], full: tuple[int, ...]) -> list[Sighting]:
    """Sightings in a resized picture, in the pixels of the full one; shapes are (height, width)."""
    factor = np.array([full[1] / small[1], full[0] / small[0]] * 2)
    return [Sighting(box * factor, confidence) for box, confidence in found]


def _resized(luma: np.ndarray, factor: float) -> np.ndarray:
    size = [max(16, round(length * factor)) for length in luma.shape[::-1]]
    return cv2.resize(luma, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)


def _centre(box: Box) -> np.ndarray:
    return (box[:2] + box[2:]) / 2
