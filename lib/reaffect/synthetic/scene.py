"""What surrounds an animated head: a room, clothes, framing and motion of the head, light, a noisy camera."""

from __future__ import annotations

import cv2
import numpy as np


class Scene:
    """A room with a body in it, fixed for one clip.

    Args:
        rng: draws colours, furniture, clothes, light and noise.
        size: width and height in pixels.
    """

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]):
        self._size = size
        self._room = _room(rng, size)
        body, alpha = _body(rng, size)
        self._shoulders = int(alpha.any(1).argmax())  # the first line with any of the body
        self._body, self._body_alpha = body[self._shoulders :], cv2.merge([alpha[self._shoulders :]] * 3)
        self._light = cv2.merge([_light(rng, size)] * 3)  # NumPy is slow at one value for three channels
        self._noise = rng.normal(0, rng.uniform(1.0, 3.5), (size[1] + 32, size[0] + 32, 3)).astype(np.float32)
        self._rng = rng

    def compose(self, head: np.ndarray, alpha: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """Room, then head, then body, under the room's light and the camera's noise.

        Args:
            head: float32 (side, side, 3).
            alpha: float32 (side, side), where the head is.
            pose: (2, 3), from the head's pixels to the frame's.

        Returns:
            uint8 (height, width, 3).
        """
        placed = cv2.warpAffine(head, pose, self._size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        cover = cv2.warpAffine(alpha, pose, self._size, flags=cv2.INTER_LINEAR)
        frame = mixed(self._room, placed, cover)
        below = frame[self._shoulders :]
        below += (self._body - below) * self._body_alpha
        top, left = self._rng.integers(0, 32, 2)
        frame *= self._light
        frame += self._noise[top : top + self._size[1], left : left + self._size[0]]
        return np.clip(frame, 0, 255, out=frame).astype(np.uint8)


def mixed(behind: np.ndarray, picture: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """`picture` (height, width, 3), overwritten, over what is `behind`, as far as `cover` (height, width) says."""
    picture -= behind
    picture *= cv2.merge([cover] * 3)
    picture += behind
    return picture


def head_poses(
    rng: np.random.Generator, frames: int, size: tuple[int, int], *, anchor: tuple[float, float], scale: float
) -> np.ndarray:
    """Slow, small motion of a head: float64 (frames, 2, 3), from canonical pixels to the frame's.

    Args:
        rng: draws framing and motion.
        frames: how many.
        size: of the frame, width and height.
        anchor: the canonical point (between the eyes) that framing places.
        scale: frame pixels a canonical pixel, before framing varies it.
    """
    width, height = size
    centre = np.array([width * rng.uniform(0.46, 0.54), height * rng.uniform(0.42, 0.48)])
    size_of_head = scale * rng.uniform(0.95, 1.12)
    time = np.linspace(0, 1, frames)
    sway = [_wander(rng, time) for _ in range(4)]
    poses = np.empty((frames, 2, 3))
    for index in range(frames):
        x, y, turn, closer = (float(motion[index]) for motion in sway)
        matrix = cv2.getRotationMatrix2D(anchor, 4.0 * turn, size_of_head * (1 + 0.03 * closer))
        matrix[:, 2] += centre - anchor + np.array([0.018 * width * x, 0.015 * height * y])
        poses[index] = matrix
    return poses


def _wander(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """A smooth path in [-1, 1]: three slow sines of random phase."""
    cycles = rng.uniform(0.3, 2.0, 3)
    phases = rng.uniform(0, 2 * np.pi, 3)
    return np.sin(2 * np.pi * np.outer(time, cycles) + phases).mean(1)


def _colour(rng: np.random.Generator, low: float, high: float, tint: float) -> np.ndarray:
    """A muted colour: a grey in [low, high], each channel off by at most `tint`."""
    return np.clip(rng.uniform(low, high) + rng.uniform(-tint, tint, 3), 0, 255)


def _room(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A wall with a gradient and some furniture, out of focus: float32 (height, width, 3)."""
    width, height = size
    across = np.linspace(0, 1, width)[None, :, None]
    wall = _colour(rng, 90, 210, 14) * (1 - across) + _colour(rng, 90, 210, 14) * across
    room = np.ascontiguousarray(np.broadcast_to(wall, (height, width, 3)), np.float32)
    for _ in range(rng.integers(1, 5)):
        left, top = rng.uniform(-0.2, 0.9) * width, rng.uniform(-0.3, 0.7) * height
        corner = (int(left + rng.uniform(0.1, 0.4) * width), int(top + rng.uniform(0.2, 0.9) * height))
        cv2.rectangle(room, (int(left), int(top)), corner, _colour(rng, 40, 220, 22).tolist(), -1)
    texture = cv2.resize(rng.normal(0, 3, (12, 16)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    return cv2.GaussianBlur(room, (0, 0), rng.uniform(2, 7)) + texture[..., None]


def _body(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Shoulders in plain clothes with a round neckline: float32 (height, width, 3) and its alpha (height, width)."""
    width, height = size
    middle, top = 0.5 * width, 0.90 * height
    reach = rng.uniform(0.34, 0.42) * width
    outline = [(middle - reach, height), (middle - 0.9 * reach, top + 0.02 * height), (middle - 0.32 * reach, top)]
    outline += [(2 * middle - x, y) for x, y in reversed(outline)]
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.array(outline, np.int32)], 255)
    neckline = (int(0.30 * reach), int(rng.uniform(0.03, 0.06) * height))
    cv2.ellipse(mask, (int(middle), int(top)), neckline, 0, 0, 360, 0, -1)
    alpha = cv2.GaussianBlur(mask, (0, 0), 1.5).astype(np.float32) / 255
    folds = cv2.resize(rng.normal(0, 8, (6, 12)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    return (_colour(rng, 20, 190, 45) + folds[..., None]).astype(np.float32), alpha


def _light(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A slanting light: float32 (height, width), gains around 1."""
    across, down = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]))
    slant = rng.uniform(-0.14, 0.14, 2)
    return (1 + slant[0] * across + slant[1] * down).astype(np.float32)
