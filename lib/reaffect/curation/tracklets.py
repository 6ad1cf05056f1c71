"""Faces of a clip as tracklets: who is where, from frame to frame (Omni-Emotion, Section 3, Figure 2).

The paper detects by RetinaFace and tracks by DeepSORT. Here dlib's CNN scans both ends of every shot and one frame
every `interval_s`, optical flow follows each face in between, and both meet by their overlap: detector and flow are
those of de-identification (`deid`). There is no model of a person's looks, so one who leaves and comes back begins
another tracklet, and so do all faces at a cut. Who is there for less than `interval_s` between two scans is not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from reaffect.deid import boxes, coverage, detection, schedule, streams, tracking
from reaffect.deid.boxes import Box, area, overlap
from reaffect.deid.coverage import GAP, SAME_FACE, SURE
from reaffect.deid.detection import Sighting
from reaffect.deid.streams import Frame
from reaffect.errors import InputError
from reaffect.fingerprint import clip_key, fingerprint
from reaffect.store import Store

CODE = [Path(module.__file__) for module in (boxes, coverage, detection, schedule, streams, tracking)]
CODE += [Path(__file__)]
"""Modules that decide what is found: a change in them finds anew."""


class Tracklet(NamedTuple):
    """One face through consecutive frames."""

    first: int
    """Number of its first frame in the clip."""

    boxes: Float[np.ndarray, "frames 4"]
    """Left, top, right, bottom in pixels; dlib's go from brows to chin."""

    confidence: float
    """Mean of the detector's over the frames that it saw."""

    @property
    def last(self) -> int:
        """Number of its last frame."""
        return self.first + len(self.boxes) - 1

    @property
    def prominence(self) -> float:
        """Pixels of its boxes, all frames together."""
        return sum(area(box) for box in self.boxes)


class Faces(NamedTuple):
    """What was found in a clip."""

    tracklets: list[Tracklet]
    """The most prominent first."""

    frames: int
    fps: float


@dataclass(frozen=True)
class Search:
    """How faces are searched; the paper is silent on all of it."""

    interval_s: float = 1.0
    """Between two scans; the CNN's time goes with 1 / `interval_s`."""

    smallest_face: float = 0.2
    """Side of the smallest face searched, in sides of the frame (the shorter one); time: its inverse square."""

    shortest_s: float = 0.5
    """A shorter tracklet is left out."""


SEARCH = Search()


class _Stretch(NamedTuple):
    start: int
    """Number of its first frame."""

    frames: list[Frame]
    """From scan to scan, both included."""

    opens: bool
    """Whether a shot begins with it; if not, its first frame is the last one of the stretch before."""


@dataclass
class _Track:
    """A face as it is being followed."""

    first: int
    boxes: list[Box]
    confidences: list[float]

    def go_on(self, boxes: Iterable[Box], confidence: float) -> None:
        self.boxes += boxes
        self.confidences.append(confidence)


def find(clip: str | Path, search: Search = SEARCH) -> Faces:
    """The tracklets of a clip, a stretch of `interval_s` in memory at a time.

    Args:
        clip: video file.
        search: how.

    Raises:
        InputError: the file is missing, no video, cut off or damaged; an option out of range.
    """
    if not (search.interval_s > 0 and 0.02 <= search.smallest_face <= 1 and search.shortest_s >= 0):
        raise InputError(f"{search}: interval_s must be above 0, smallest_face from 0.02 to 1, shortest_s 0 or more.")
    with streams.decoded(Path(clip)) as (form, _, frames):
        fps, done, live, count = float(form.rate), [], [], 0
        for stretch in _stretches(frames, max(1, round(search.interval_s * fps))):
            if stretch.opens:
                done += live
                seen = _scan(stretch.frames[0], search.smallest_face)
                live = [_Track(stretch.start, [face.box], [face.confidence]) for face in seen]
            if len(stretch.frames) > 1:
                live, ended = _follow_all(stretch, live, search.smallest_face)
                done += ended
            count = stretch.start + len(stretch.frames)
    shortest = max(1, round(search.shortest_s * fps))
    found = [_tracklet(track) for track in done + live if len(track.boxes) >= shortest]
    return Faces(sorted(found, key=lambda one: (-one.prominence, one.first)), count, fps)


def find_all(
    clips: Sequence[str | Path],
    search: Search = SEARCH,
    *,
    store: Store | None = None,
) -> tuple[dict[str, Faces], dict[str, str]]:
    """The tracklets of each clip, from the store or found once; and by clip why there are none.

    Args:
        clips: video files.
        search: how.
        store: by default the one under `paths.STORE`.
    """
    computed = (store or Store()).compute(
        "face tracklets",
        {"search": vars(search), "code": fingerprint(CODE)},
        [str(clip) for clip in clips],
        lambda batch: [_attempt(clip, search) for clip in batch],
        batch_size=1,  # a clip takes seconds, and a kill should cost no more
        key=clip_key,
    )
    return {clip: _read(value) for clip, value in computed.values.items()}, computed.problems


def _attempt(clip: str, search: Search) -> dict[str, Any] | InputError:
    try:
        found = find(clip, search)
    except InputError as error:
        return error
    kept = [
        {"first": one.first, "boxes": one.boxes.round(2).tolist(), "confidence": one.confidence}
        for one in found.tracklets
    ]
    return {"tracklets": kept, "frames": found.frames, "fps": found.fps}


def _read(value: Mapping[str, Any]) -> Faces:
    tracklets = [Tracklet(one["first"], np.array(one["boxes"]), one["confidence"]) for one in value["tracklets"]]
    return Faces(tracklets, value["frames"], value["fps"])


def _tracklet(track: _Track) -> Tracklet:
    return Tracklet(track.first, np.stack(track.boxes), float(np.mean(track.confidences)))


def _stretches(frames: Iterable[Frame], length: int) -> Iterator[_Stretch]:
    """Frames cut at cuts and at every `length`-th frame, which ends one stretch and begins the next."""
    part: list[Frame] = []
    start, opens = 0, True
    for number, frame in enumerate(frames):
        if part and _is_cut(part[-1], frame):
            yield _Stretch(start, part, opens)
            part, start, opens = [], number, True
        part.append(frame)
        if len(part) > length:
            yield _Stretch(start, part, opens)
            part, start, opens = [frame], number, False
    yield _Stretch(start, part, opens)


def _is_cut(before: Frame, after: Frame) -> bool:
    return float(cv2.absdiff(before.small[::4, ::4], after.small[::4, ::4]).mean()) > schedule.CUT


def _scan(frame: Frame, smallest_face: float) -> list[Sighting]:
    small = detection.shrunk(frame.luma, smallest_face)
    found = detection.scaled_back(detection.find(small), small.shape, frame.luma.shape)
    return [sighting for sighting in found if sighting.confidence >= SURE]


def _follow_all(stretch: _Stretch, live: Sequence[_Track], smallest_face: float) -> tuple[list[_Track], list[_Track]]:
    """Takes every face to the stretch's end: those that are there, the new ones among them, and those that are not."""
    frames = stretch.frames
    seen = _scan(frames[-1], smallest_face)
    ways = [_follow(frames, track.boxes[-1]) for track in live]
    pairs = _pairs([way[-1] for way in ways], [face.box for face in seen])
    there, ended = [], []
    for place, (track, way) in enumerate(zip(live, ways, strict=True)):
        sighting = seen[pairs[place]] if place in pairs else _overlooked(frames[-1], way[-1], seen)
        if sighting:
            track.go_on(_joined(way, sighting.box), sighting.confidence)
        else:
            for part, seen_there in _while_seen(frames, track.boxes[-1]):
                track.go_on(part, seen_there.confidence)
        (there if sighting else ended).append(track)
    new = [seen[place] for place in range(len(seen)) if place not in pairs.values()]
    return there + [_appeared(stretch, sighting) for sighting in new], ended


def _follow(frames: Sequence[Frame], box: Box) -> Float[np.ndarray, "frames 4"]:
    factor = frames[0].small.shape[1] / frames[0].luma.shape[1]
    return tracking.follow([frame.small for frame in frames], box * factor).boxes / factor


def _pairs(expected: Sequence[Box], seen: Sequence[Box]) -> dict[int, int]:
    """Which face that was followed is which that was seen: the largest sum of overlaps, each face once."""
    overlaps = np.array([[overlap(one, other) for other in seen] for one in expected]).reshape(len(expected), len(seen))
    rows, columns = linear_sum_assignment(overlaps, maximize=True)
    return {int(row): int(col) for row, col in zip(rows, columns, strict=True) if overlaps[row, col] > SAME_FACE}


def _overlooked(frame: Frame, expected: Box, seen: Sequence[Sighting]) -> Sighting | None:
    """A face that the scan missed and a closer look finds, unless it is one that the scan saw."""
    sighting = _look(frame, expected)
    known = sighting and any(overlap(sighting.box, other.box) > SAME_FACE for other in seen)
    return None if known else sighting


def _look(frame: Frame, expected: Box) -> Sighting | None:
    sighting = detection.look(frame.luma, expected)
    return sighting if sighting and overlap(sighting.box, expected) > SAME_FACE else None


def _joined(way: Float[np.ndarray, "frames 4"], box: Box) -> list[Box]:
    """A way after its first frame, bent so that it ends in the box that was seen there."""
    shares = np.linspace(0, 1, len(way))[:, None]
    return list((way + shares * (box - way[-1]))[1:])


def _while_seen(frames: Sequence[Frame], box: Box) -> Iterator[tuple[list[Box], Sighting]]:
    """Follows a face that is not there at the end as far as the CNN sees it: by halves, `GAP` frames exact."""
    low, high = 0, len(frames) - 1
    while high - low > GAP:
        middle = (low + high) // 2
        way = _follow(frames[low : middle + 1], box)
        if sighting := _look(frames[middle], way[-1]):
            yield _joined(way, sighting.box), sighting
            low, box = middle, sighting.box
        else:
            high = middle


def _appeared(stretch: _Stretch, sighting: Sighting) -> _Track:
    """A face that is there at a stretch's end and was not at its beginning, from the first frame that shows it."""
    earlier = list(_while_seen(stretch.frames[::-1], sighting.box))
    back = list(chain.from_iterable(part for part, _ in earlier))
    first = stretch.start + len(stretch.frames) - 1 - len(back)
    return _Track(first, [*back[::-1], sighting.box], [face.confidence for _, face in earlier] + [sighting.confidence])
