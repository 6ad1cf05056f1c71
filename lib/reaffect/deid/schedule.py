"""When the CNN scans: at the ends of every shot and every few seconds, ahead of the frames' turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

import cv2
import numpy as np

from reaffect.deid import coverage, detection
from reaffect.deid.coverage import Face, Placed, Stretch
from reaffect.deid.scanning import Scanner
from reaffect.deid.streams import Format, Frame

STRETCH_BYTES = 64 * 2**20
"""Of the pictures between two scans: larger videos are scanned more often instead of taking more memory."""

CUT = 20.0
"""Mean difference of luma between neighbours, of 255, above which a new shot begins."""

SHORTEST_SHOT = 4
"""Frames; a shorter shot between two cuts is blurred whole, not searched."""


@dataclass
class _Part:
    """Frames up to the next scan or cut, with the scans of their ends under way."""

    frames: list[Frame] = field(default_factory=list)
    starts_shot: bool = False
    ends_shot: bool = False
    scans: dict[int, Future] = field(default_factory=dict)

    @property
    def too_short(self) -> bool:
        return self.starts_shot and self.ends_shot and len(self.frames) < SHORTEST_SHOT


def _parts(frames: Iterable[Frame], form: Format, interval_s: float) -> Iterator[_Part]:
    """The video cut at its cuts and at the times of the scans."""
    part, before, length = _Part(starts_shot=True), None, 1
    for frame in frames:
        if before is None:
            length = max(1, min(round(interval_s * form.rate), STRETCH_BYTES // frame.pixels.nbytes))
        if before is not None and _is_cut(before, frame):
            if part.frames:
                part.ends_shot = True
                yield part
            part = _Part(starts_shot=True)
        part.frames.append(frame)
        before = frame
        if len(part.frames) == length:
            yield part
            part = _Part()
    if part.frames:
        yield part


def _is_cut(before: Frame, after: Frame) -> bool:
    return float(cv2.absdiff(before.small[::4, ::4], after.small[::4, ::4]).mean()) > CUT


def _scanned(parts: Iterable[_Part], smallest_face: float, scanner: Scanner) -> Iterator[_Part]:
    """Parts with their scans begun one part ahead of their use."""
    waiting: deque[_Part] = deque()
    for part in parts:
        ends = {len(part.frames) - 1} | ({0} if part.starts_shot else set())
        if not part.too_short:
            for index in sorted(ends):
                part.scans[index] = scanner.scan(part.frames[index].luma, smallest_face)
        waiting.append(part)
        if len(waiting) > 1:
            yield waiting.popleft()
    yield from waiting


def covered(
    frames: Iterable[Frame], form: Format, interval_s: float, smallest_face: float, scanner: Scanner
) -> Iterator[Frame]:
    """Frames in order, once nothing that comes later can add a face to them.

    Held back is a second, or half of what lies between two scans: as far as a face that appears is followed back.
    """
    pending: list[Frame] = []
    known: list[Face] = []
    for part in _scanned(_parts(frames, form, interval_s), smallest_face, scanner):
        if part.starts_shot:
            yield from pending
            pending, known = [], []
        if part.too_short:
            yield from map(_all_blurred, part.frames)
            continue
        known = _cover(part, pending, known, form)
        pending = pending + part.frames
        keep = min(round(form.rate), max(1, len(part.frames) // 2)) + 1
        yield from pending[:-keep]
        pending = pending[-keep:]
    yield from pending


def _cover(part: _Part, pending: list[Frame], known: list[Face], form: Format) -> list[Face]:
    scans = {index: scan.result() for index, scan in part.scans.items()}
    frames, earlier = part.frames, pending[:-1]
    if part.starts_shot:
        known = [Face(*sighting) for sighting in scans[0]]
        for face in known:
            coverage.place(frames[0], face)
        if len(frames) == 1:
            return known
    else:
        frames = [pending[-1], *frames]
    stretch = Stretch(frames, earlier, lambda frame, box: detection.look(frame.luma, box), float(form.rate))
    return stretch.cover(known, scans[len(part.frames) - 1])


def _all_blurred(frame: Frame) -> Frame:
    height, width = frame.luma.shape
    frame.faces.append(Placed(np.array([0, 0, width, height], float), "whole frame"))
    return frame
