"""The blur itself: a Gaussian as wide as a share of the face, in place, on the mask alone."""

from __future__ import annotations

import cv2
import numpy as np

from reaffect.deid.boxes import Box, side, whole_pixels


def blur(planes: tuple[np.ndarray, np.ndarray, np.ndarray], mask: Box, sigma: float) -> None:
    """Blurs a rectangle of a 4:2:0 picture in place.

    The surroundings are averaged in blocks of half a sigma, blurred there, and interpolated back: more is lost than by
    the Gaussian alone, as the blocks' contents are gone for good.

    Args:
        planes: luma (height, width) and both chromas (height / 2, width / 2), uint8.
        mask: what is blurred, in luma pixels; nothing happens outside.
        sigma: of the Gaussian, in luma pixels.
    """
    for plane, factor in zip(planes, (1, 2, 2), strict=True):
        _blur_plane(plane, mask / factor, sigma / factor)


def _blur_plane(plane: np.ndarray, mask: Box, sigma: float) -> None:
    height, width = plane.shape
    left, top, right, bottom = whole_pixels(mask, width, height)
    if left >= right or top >= bottom:
        return
    around = mask + np.array([-3, -3, 3, 3]) * sigma
    x0, y0, x1, y1 = whole_pixels(around, width, height)
    part = plane[y0:y1, x0:x1]
    block = max(1.0, sigma / 2)
    size = (max(1, round((x1 - x0) / block)), max(1, round((y1 - y0) / block)))
    coarse = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    coarse = cv2.GaussianBlur(coarse, (0, 0), sigma / block, borderType=cv2.BORDER_REPLICATE)
    smooth = cv2.resize(coarse, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    plane[top:bottom, left:right] = smooth[top - y0 : bottom - y0, left - x0 : right - x0]


def sigma_of(box: Box, strength: float) -> float:
    """Sigma in pixels for a face's box."""
    return max(1.0, strength * side(box))
