"""Boxes as arrays (left, top, right, bottom) in pixels, the last two outside."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Box = Float[np.ndarray, "4"]


def side(box: Box) -> float:
    """The mean of width and height."""
    return float((box[2] - box[0] + box[3] - box[1]) / 2)


def grown(box: Box, sides: float) -> Box:
    """A box with `sides` times its side more on each edge.

    >>> grown(np.array([10.0, 10.0, 20.0, 20.0]), 0.5)
    array([ 5.,  5., 25., 25.])
    """
    return box + np.array([-1, -1, 1, 1]) * sides * side(box)


def hull(*boxes: Box) -> Box:
    """The smallest box that holds all of them."""
    stacked = np.stack(boxes)
    return np.concatenate([stacked[:, :2].min(0), stacked[:, 2:].max(0)])


def overlap(one: Box, other: Box) -> float:
    """Intersection over union, in [0, 1]."""
    both = shared(one, other)
    return both / (area(one) + area(other) - both) if both else 0.0


def covered(box: Box, mask: Box) -> float:
    """Share of `box` that lies in `mask`, in [0, 1]."""
    return shared(box, mask) / area(box) if area(box) else 0.0


def area(box: Box) -> float:
    return float(max(box[2] - box[0], 0) * max(box[3] - box[1], 0))


def shared(one: Box, other: Box) -> float:
    """Area of the intersection."""
    return area(np.concatenate([np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])]))


def whole_pixels(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """The pixels that a box touches, inside a frame; empty (left >= right or top >= bottom) where it lies outside."""
    left, top = np.floor(box[:2]).astype(int)
    right, bottom = np.ceil(box[2:]).astype(int)
    return max(left, 0), max(top, 0), min(right, width), min(bottom, height)
