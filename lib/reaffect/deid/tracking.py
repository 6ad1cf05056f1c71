"""Following a face from frame to frame by optical flow, with a word on whether to trust it.

MedianFlow (Kalal, Mikolajczyk and Matas 2010): points on a grid in the box are followed forth and back by pyramidal
Lucas-Kanade; those that return are trusted; their median shift moves the box, the median change of their distances
scales it. It knows nothing of faces, which the CNN says at the ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from reaffect.deid.boxes import Box, grown, side, whole_pixels

GRID = 8
"""Points along each edge of a box."""

RETURNED_PX = 1.0
"""How close to its start a point must come back."""

TRUSTED_SHARE = 0.3
"""Of the points must return, or the track is lost."""

FLOW = {"winSize": (11, 11), "maxLevel": 3, "criteria": (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 12, 0.03)}


class Path(NamedTuple):
    """Where a face was followed to."""

    boxes: Float[np.ndarray, "frames 4"]
    """The first one is the start; of a track that is lost, the last one goes on."""

    trusted: Bool[np.ndarray, " frames"]
    """Once lost, lost for good."""

    def reversed(self) -> Path:
        return Path(self.boxes[::-1], self.trusted[::-1])

    def part(self, first: int, end: int) -> Path:
        """Of the frames from `first` to before `end`."""
        return Path(self.boxes[first:end], self.trusted[first:end])


def follow(pictures: Sequence[UInt8[np.ndarray, "height width"]], box: Box) -> Path:
    """Follows what is in `box` of the first picture through the others.

    Args:
        pictures: luma, all of one size; about 240 lines are enough.
        box: in their pixels.
    """
    boxes, trusted = [np.asarray(box, float)], [True]
    for before, after in pairwise(pictures):
        moved = _step(before, after, boxes[-1]) if trusted[-1] else None
        boxes.append(boxes[-1] if moved is None else moved)
        trusted.append(moved is not None)
    return Path(np.stack(boxes), np.array(trusted))


def _step(before: np.ndarray, after: np.ndarray, box: Box) -> Box | None:
    left, top, right, bottom = whole_pixels(grown(box, 0.5), before.shape[1], before.shape[0])
    if right - left < 16 or bottom - top < 16:
        return None  # out of the frame
    before, after = before[top:bottom, left:right], after[top:bottom, left:right]
    start = _grid(box - np.array([left, top, left, top]), before.shape)
    if len(start) < GRID:
        return None
    end, forth, _ = cv2.calcOpticalFlowPyrLK(before, after, start, None, **FLOW)
    back, hither, _ = cv2.calcOpticalFlowPyrLK(after, before, end, None, **FLOW)
    returned = np.hypot(*(back - start).T) < RETURNED_PX
    good = returned & (forth[:, 0] > 0) & (hither[:, 0] > 0)
    if good.sum() < max(4, TRUSTED_SHARE * len(start)):
        return None
    return _moved(box, start[good], end[good])


def _grid(box: Box, shape: tuple[int, ...]) -> Float[np.ndarray, "points 2"]:
    """Points inside the middle of a box and inside the picture: at a box's edges lies the background."""
    inner = grown(box, -0.12)
    across, down = (np.linspace(inner[k], inner[k + 2], GRID) for k in (0, 1))
    points = np.stack(np.meshgrid(across, down), -1).reshape(-1, 2)
    inside = (points >= 0).all(1) & (points < (shape[1], shape[0])).all(1)
    return points[inside].astype(np.float32)


def _moved(box: Box, start: np.ndarray, end: np.ndarray) -> Box | None:
    spread = [np.hypot(*(points - np.roll(points, 1, axis=0)).T) for points in (start, end)]
    apart = spread[0] > 1
    scale = float(np.median(spread[1][apart] / spread[0][apart])) if apart.any() else 1.0
    if not 0.8 < scale < 1.25:
        return None
    # about the grid's own middle, so that a face half out of the frame is scaled where its points are
    middle, shift = np.median(start, axis=0), np.median(end - start, axis=0)
    if np.hypot(*shift) > side(box):
        return None
    corners = middle + scale * (box.reshape(2, 2) - middle) + shift
    return corners.ravel()
