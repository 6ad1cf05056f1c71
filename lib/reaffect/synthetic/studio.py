"""A press conference on film: upper bodies with arms and hands before a backdrop, moving, turning, coming and going.

Heads are `faces`' morphs; bodies, arms and hands are drawn. They touch what the planted body language names, so that it
can be seen, and hands at times cover a face, so that whoever hides faces has to cope with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import cv2
import numpy as np

from reaffect.synthetic import faces, scene
from reaffect.synthetic.interviews import Interval

HEAD = 0.7
"""Height of the head's canvas in frame heights."""

FACE = (50, 50, 206, 220)
"""What is blurred of a head: left, top, right and bottom in its canonical pixels."""

REACH_S = 0.3
"""How long a hand is on its way."""

ON_HEAD = {
    "N1": [(128, 140)],
    "N2": [(62, 128)],
    "N3": [(90, 60)],
    "N4": [(120, 222)],
    "N5": [(104, 135), (152, 135)],
    "N6": [(120, 198)],
    "N9": [(126, 172)],
    "N14": [(100, 112), (156, 112)],
}
"""Where hands go, in the head's canonical pixels."""

ON_TABLE = {
    "N7": [(0.16, 0.80)],
    "N8": [(-0.02, 0.90), (0.02, 0.90)],
    "N10": [(-0.03, 0.88), (0.05, 0.88)],
    "N11": [(-0.10, 0.86)],
    "N12": [(-0.10, 0.90), (0.10, 0.90)],
    "N13": [(0.13, 0.80)],
    "N15": [(0.12, 0.84), (-0.12, 0.86)],
    "N16": [],
}
"""Where hands go, in frame heights from the body's middle and from the top."""

IDLE = ((-0.30, 1.10), (0.30, 1.10))
"""Where hands rest: below the frame."""


class Sitter:
    """A person with clothes and hands, seated.

    Args:
        subject: whose head.
        rng: draws clothes.
        size: of the frame, width and height in pixels.
    """

    def __init__(self, subject: faces.Subject, rng: np.random.Generator, size: tuple[int, int]):
        self.subject = subject
        self._height = size[1]
        self._clothes = np.clip(rng.uniform(30, 190) + rng.uniform(-40, 40, 3), 10, 235)
        cheek = subject.landmarks[[2, 14]].mean(0) * (1, 0) + subject.landmarks[30] * (0, 1)
        x, y = np.round(0.5 * cheek + 0.5 * subject.landmarks[2]).astype(int)
        self._skin = subject.portrait[y - 6 : y + 7, x - 6 : x + 7].mean((0, 1))

    @cached_property
    def _at_rest(self) -> np.ndarray:
        return faces.express(self.subject, np.zeros(len(faces.UNITS)))

    def pose(self, middle: np.ndarray, roll_deg: float, yaw_deg: float, scale: float) -> np.ndarray:
        """(2, 3), head's pixels to the frame's: eyes' midpoint at `middle`, a turned head is narrower."""
        size = HEAD * self._height / faces.CANVAS * scale
        angle = np.deg2rad(roll_deg)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = size * turn @ np.diag([np.cos(np.deg2rad(yaw_deg)), 1.0])
        return np.column_stack([linear, middle - linear @ faces.EYES])

    def draw(
        self, frame: np.ndarray, pose: np.ndarray, units: np.ndarray | None, doing: tuple[str, float, float] | None
    ) -> None:
        """Puts head, body and hands into a frame (height, width, 3), in place.

        Args:
            frame: uint8, RGB.
            pose: see `pose`.
            units: (5,) of `faces.UNITS`; None is a face at rest.
            doing: body language, how far the hands are there (0 to 1), and seconds since it began.
        """
        head = self._at_rest if units is None else faces.express(self.subject, units)
        _blend(frame, head, self.subject.alpha, pose)
        scale = np.sqrt(abs(np.linalg.det(pose[:, :2]))) * faces.CANVAS / (HEAD * self._height)
        unit = self._height * scale
        shoulders = pose @ (128.0, 232.0, 1.0)
        bob = 0.012 * unit * np.sin(2 * np.pi * 2.5 * doing[2]) if doing and doing[0] == "N16" else 0.0
        middle = shoulders + np.array([0, bob])
        self._draw_body(frame, middle, unit)
        if doing and doing[0] in ("N11", "N12", "N13", "N10"):
            _draw_object(frame, doing[0], middle[0], self._height, unit)
        for side, hand in enumerate(self._hands(doing, pose, middle, unit)):
            elbow = middle + np.array([(-0.34, 0.34)[side], 0.36]) * unit
            self._draw_arm(frame, elbow, hand, unit)

    def _hands(self, doing, pose: np.ndarray, middle: np.ndarray, unit: float) -> list[np.ndarray]:
        idle = [np.array([middle[0] + x * unit, y * self._height]) for x, y in IDLE]
        if not doing or doing[0] == "N16":
            return idle
        code, there, since = doing
        if code in ON_HEAD:
            targets = [pose @ (x, y, 1.0) for x, y in ON_HEAD[code]]
        else:
            targets = [np.array([middle[0] + x * unit, y * self._height]) for x, y in ON_TABLE[code]]
        rubbing = 0.008 * unit * np.array([np.sin(2 * np.pi * 3 * since), np.cos(2 * np.pi * 3 * since)])
        sides = range(2) if len(targets) == 2 else [int(targets[0][0] > middle[0])]
        for side, target in zip(sides, targets, strict=True):
            idle[side] = idle[side] + there * (target + rubbing - idle[side])
        return idle

    def _draw_body(self, frame: np.ndarray, middle: np.ndarray, unit: float) -> None:
        outline = np.array([(-0.10, -0.03), (-0.30, 0.03), (-0.40, 0.14), (-0.44, 0.75)])
        outline = np.vstack([outline, outline[::-1] * (-1, 1)])
        _fill(frame, middle + outline * unit, self._clothes)
        _fill(frame, middle + np.array([(-0.07, -0.04), (0.07, -0.04), (0, 0.07)]) * unit, 0.8 * self._skin)
        for side in (-1, 1):
            seam = middle + np.array([(0.10 * side, -0.03), (0, 0.14), (0, 0.75)]) * unit
            _line(frame, seam, 0.6 * self._clothes, 0.008 * unit)

    def _draw_arm(self, frame: np.ndarray, elbow: np.ndarray, hand: np.ndarray, unit: float) -> None:
        along = (hand - elbow) / (np.linalg.norm(hand - elbow) + 1e-9)
        wrist = hand - 0.05 * unit * along
        _line(frame, [elbow, wrist], 0.85 * self._clothes, 0.085 * unit)
        across = np.array([-along[1], along[0]])
        _line(frame, [wrist, hand], 0.95 * self._skin, 0.066 * unit)
        for spread in (-0.022, -0.007, 0.008, 0.023):
            tip = hand + (0.045 * along + spread * across) * unit
            _line(frame, [hand + 0.8 * spread * across * unit, tip], self._skin, 0.017 * unit)


def film(
    player: Sitter,
    guest: Sitter | None,
    units: np.ndarray,
    nfbl: list[Interval],
    *,
    fps: float,
    size: tuple[int, int],
    absent_s: tuple[float, float] | None,
    guest_s: tuple[float, float],
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Frames (height, width, 3), uint8 RGB, of an interview.

    Args:
        player: who is asked.
        guest: who sits beside for a while, or None.
        units: (frames, 5), the player's face.
        nfbl: the player's body language.
        fps: frames a second.
        size: width and height in pixels.
        absent_s: when the player is out of the frame.
        guest_s: when the guest, if there is one, is in it.
        rng: draws backdrop, motion and camera noise.
    """
    camera = Camera(rng, size)
    times = np.arange(len(units)) / fps
    sway = [_wander(rng, times) for _ in range(5)]
    place = rng.uniform(0.42, 0.58)
    for index, time in enumerate(times):
        frame = camera.backdrop.copy()
        x, y, *turned = (float(motion[index]) for motion in sway)
        if guest is not None:
            beside = np.array([1.25 - 0.42 * _presence(time, guest_s), 0.34 + 0.01 * y]) * size
            guest.draw(frame, guest.pose(beside, -6 * turned[0], 20 * turned[1], 0.85), None, None)
        gone = _presence(time, absent_s) if absent_s else 0.0
        eyes = np.array([place - 0.06 * (guest is not None) + 0.09 * x - 0.9 * gone, 0.36 + 0.02 * y]) * size
        player.draw(frame, _leaning(player, eyes, turned), units[index], _doing(nfbl, time))
        yield camera.grainy(frame, rng)


def snapshot(
    player: Sitter, camera: Camera, units: np.ndarray, code: str | None, rng: np.random.Generator, *, hidden: bool
) -> np.ndarray:
    """One frame (height, width, 3), uint8 RGB, of a player who sits as at any moment of a film.

    Args:
        player: alone.
        camera: where.
        units: (5,), the player's face.
        code: body language, with the hands nearly or quite there; None: hands are at rest.
        rng: draws the pose.
        hidden: whether the face is blurred, as in a de-identified video.
    """
    size = camera.backdrop.shape[1::-1]
    x, y, *turned = np.sin(2 * np.pi * rng.random((5, 3))).mean(1)
    eyes = np.array([rng.uniform(0.42, 0.58) + 0.09 * x, 0.36 + 0.02 * y]) * size
    pose = _leaning(player, eyes, turned)
    frame = camera.backdrop.copy()
    player.draw(frame, pose, units, code and (code, rng.uniform(0.7, 1), rng.uniform(0, 3)))
    if hidden:
        corners = np.array([(x, y, 1.0) for x in FACE[::2] for y in FACE[1::2]]) @ pose.T
        (left, top), (right, bottom) = np.maximum(corners.min(0), 0).astype(int), corners.max(0).astype(int)
        face = frame[top:bottom, left:right]
        face[:] = cv2.GaussianBlur(face, (0, 0), 0.2 * (right - left))
    return camera.grainy(frame, rng)


class Camera:
    """A backdrop, and the noise of what films it."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]):
        self.backdrop = _backdrop(rng, size)
        self._noise = _grain(rng, size)

    def grainy(self, frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The frame with noise that is another one each time."""
        height, width = frame.shape[:2]
        top, left = rng.integers(0, 32, 2)
        for change, noise in zip((cv2.add, cv2.subtract), self._noise, strict=True):
            frame = change(frame, noise[top : top + height, left : left + width])
        return frame


def _leaning(player: Sitter, eyes: np.ndarray, turned: Sequence[float]) -> np.ndarray:
    """The pose of a head rolled, turned and moved forward, each in [-1, 1]."""
    roll, yaw, closer = turned
    return player.pose(eyes, 10 * roll, 38 * yaw, 1 + 0.06 * closer)


def _doing(nfbl: list[Interval], time_s: float) -> tuple[str, float, float] | None:
    """What the hands do, how far they are there, and since when."""
    for start, end, code in nfbl:
        if start <= time_s < end:
            on_the_way = min(time_s - start, end - time_s) / min(REACH_S, (end - start) / 3)
            return code, min(1.0, on_the_way), time_s - start
    return None


def _presence(time_s: float, span: tuple[float, float]) -> float:
    """0 before and after a span, 1 within, on its way for 0.6 s."""
    return float(np.clip(min(time_s - span[0], span[1] - time_s) / 0.6, 0, 1))


def _blend(frame: np.ndarray, head: np.ndarray, alpha: np.ndarray, pose: np.ndarray) -> None:
    """Puts the head's picture where the pose takes it; only that part of the frame is touched."""
    side = faces.CANVAS - 1
    corners = np.array([(0, 0, 1), (side, 0, 1), (0, side, 1), (side, side, 1)]) @ pose.T
    (left, top), (right, bottom) = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, frame.shape[1]), min(bottom, frame.shape[0])
    if right <= left or bottom <= top:
        return
    shifted = pose - np.array([(0, 0, left), (0, 0, top)])
    size = (right - left, bottom - top)
    placed = cv2.warpAffine(head, shifted, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(alpha, shifted, size, flags=cv2.INTER_LINEAR)
    part = frame[top:bottom, left:right]
    part[:] = np.clip(scene.mixed(part.astype(np.float32), placed, cover), 0, 255, out=placed)


def _fill(frame: np.ndarray, points: np.ndarray, colour: np.ndarray) -> None:
    cv2.fillPoly(frame, [np.round(np.asarray(points) * 16).astype(np.int32)], colour.tolist(), cv2.LINE_AA, shift=4)


def _line(frame: np.ndarray, points, colour: np.ndarray, width: float) -> None:
    knots = [np.round(np.asarray(points) * 16).astype(np.int32)]
    cv2.polylines(frame, knots, False, colour.tolist(), max(1, round(width)), cv2.LINE_AA, shift=4)


def _draw_object(frame: np.ndarray, code: str, middle: float, height: int, unit: float) -> None:
    """Ring, pen, papers or microphone, where the hands will be."""
    x, y = middle + ON_TABLE[code][0][0] * unit, ON_TABLE[code][0][1] * height
    dark, white = np.array([35.0, 35, 40]), np.array([238.0, 238, 232])
    match code:
        case "N10":
            cv2.circle(
                frame, (int(x + 0.04 * unit), int(y)), max(2, round(0.014 * unit)), (212, 175, 55), 2, cv2.LINE_AA
            )
        case "N11":
            _line(frame, [(x - 0.05 * unit, y - 0.06 * unit), (x + 0.07 * unit, y + 0.05 * unit)], dark, 0.012 * unit)
        case "N12":
            sheet = np.array([(-0.03, -0.05), (0.24, -0.07), (0.27, 0.08), (-0.01, 0.10)]) * unit
            _fill(frame, np.array([x, y]) + sheet, white)
        case "N13":
            _line(frame, [(x, y), (x, height)], dark, 0.02 * unit)
            cv2.circle(frame, (int(x), int(y)), round(0.03 * unit), (40, 40, 45), -1, cv2.LINE_AA)


def _backdrop(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A sponsors' wall: a colour, with panels in a grid."""
    width, height = size
    wall = np.clip(rng.uniform(60, 180) + rng.uniform(-50, 50, 3), 0, 255)
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = wall * np.linspace(0.85, 1.1, width)[None, :, None]
    panel = np.clip(wall + rng.uniform(-60, 60, 3), 0, 255)
    for row in range(4):
        for column in range(5):
            x, y = (column + 0.5 * (row % 2)) * width / 4.5, (row + 0.2) * height / 4
            corner = (int(x + 0.13 * width), int(y + 0.1 * height))
            cv2.rectangle(picture, (int(x), int(y)), corner, panel.tolist(), -1, cv2.LINE_AA)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), height / 180), 0, 255).astype(np.uint8)


def _grain(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A camera's noise as what is added and what is taken away, larger than the frame by 32 pixels."""
    noise = rng.normal(0, rng.uniform(1.0, 2.5), (size[1] + 32, size[0] + 32, 3))
    return np.clip(noise, 0, 255).astype(np.uint8), np.clip(-noise, 0, 255).astype(np.uint8)


def _wander(rng: np.random.Generator, times_s: np.ndarray) -> np.ndarray:
    """A smooth path in [-1, 1]: three slow sines of random phase."""
    return np.sin(2 * np.pi * (np.outer(times_s, rng.uniform(0.03, 0.35, 3)) + rng.random(3))).mean(1)
