"""Where faces are between two scans, and where they may be.

The CNN scans the first and the last frame of a stretch. A face that both scans saw is followed forward from the one
and backward from the other; where both ways agree, their joint box is taken. Where they disagree, and where a face
appears or vanishes, the CNN looks again in the middle, near where the face should be, and so on by halves. What stays
open is covered more widely, and ever more with the time since the face was last seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from reaffect.deid import tracking
from reaffect.deid.boxes import Box, grown, hull, overlap
from reaffect.deid.detection import Sighting
from reaffect.deid.streams import Frame

AGREE = 0.4
"""Overlap (intersection over union) above which the way forward and the way back tell the same."""

SAME_FACE = 0.15
"""Overlap above which a face that was followed and one that was found may be the same."""

SURE = 0.5
"""Confidence below which a box of the CNN is widened."""

GROWTH_PER_S = 0.5
"""Of an unseen face's box, at each edge, in sides of the box."""

UNSURE_SIDES = 0.25
"""By which a box is widened at least when the CNN was not sure or the two ways disagree."""

GAP = 3
"""Frames; between two looks this close there is no third."""

LOOKS = 8
"""Between two scans, so that a restless scene does not take for ever; what they leave open is widened."""

PATIENCE = 2
"""Scans that must miss a face before it counts as gone."""


class Placed(NamedTuple):
    """What is blurred in one frame, and why."""

    box: Box
    """Where the face is or may be, before the margin."""

    found: str
    """See `record`."""

    confidence: float | None = None


@dataclass(frozen=True)
class Face:
    """A face at one frame; of one that the last scan missed: where it may be."""

    box: Box
    confidence: float | None = None
    unseen_s: float = 0.0
    missed: int = 0


Look = Callable[[Frame, Box], Sighting | None]


class Stretch:
    """The frames from one scan to the next, both included.

    Args:
        frames: in order; what is found is appended to their `faces`.
        earlier: frames before, of the same shot, that are not written yet; a face that appears is followed into them.
        look: searches one frame near a box.
        fps: frames per second.
    """

    def __init__(self, frames: Sequence[Frame], earlier: Sequence[Frame], look: Look, fps: float) -> None:
        self._frames, self._earlier, self._fps = list(frames), list(earlier), fps
        self._look, self._looks = look, LOOKS
        self._factor = frames[0].small.shape[1] / frames[0].luma.shape[1]

    def cover(self, start: Sequence[Face], end: Sequence[Sighting]) -> list[Face]:
        """Places every face in every frame after the first.

        Args:
            start: faces known at the first frame: seen there, or missed by earlier scans.
            end: what the scan of the last frame saw.

        Returns:
            The faces known at the last frame.
        """
        ends = [Face(*sighting) for sighting in end]
        forward = [self._follow(self._frames, face) for face in start]
        backward = [self._follow_back(self._frames, face) for face in ends]
        pairs = self._pairs(start, ends, forward, backward)
        for one, other in pairs.items():
            self._link(self._frames, start[one], forward[one], ends[other], backward[other])
        for face in ends:
            place(self._frames[-1], face)
        new = [face for index, face in enumerate(ends) if index not in pairs.values()]
        for face in new:
            self._appear(face)
        lost = [self._vanish(face) for index, face in enumerate(start) if index not in pairs]
        return ends + [face for face in lost if face is not None]

    def _pairs(self, start, ends, forward, backward) -> dict[int, int]:
        """Which face of the first frame is which of the last: the largest overlaps first, each face once."""
        scores = {
            (one, other): max(overlap(way.boxes[-1], end.box), overlap(back.boxes[0], face.box))
            for one, (face, way) in enumerate(zip(start, forward, strict=True))
            for other, (end, back) in enumerate(zip(ends, backward, strict=True))
        }
        pairs: dict[int, int] = {}
        for one, other in sorted(scores, key=scores.get, reverse=True):
            if scores[one, other] > SAME_FACE and one not in pairs and other not in pairs.values():
                pairs[one] = other
        return pairs

    def _follow(self, frames: Sequence[Frame], face: Face) -> tracking.Path:
        path = tracking.follow([frame.small for frame in frames], face.box * self._factor)
        return path._replace(boxes=path.boxes / self._factor)

    def _follow_back(self, frames: Sequence[Frame], face: Face) -> tracking.Path:
        """From the last frame to the first, in the frames' order."""
        return self._follow(frames[::-1], face).reversed()

    def _link(
        self, frames: Sequence[Frame], first: Face, forth: tracking.Path, last: Face, back: tracking.Path
    ) -> None:
        """Places a face between two frames in which it was seen: followed forth from one, back from the other."""
        if len(frames) < 3:
            return
        agree = forth.trusted.all() and back.trusted.all() and not first.missed
        agree = agree and all(overlap(*pair) > AGREE for pair in zip(forth.boxes, back.boxes, strict=True))
        middle = len(frames) // 2
        if not agree and len(frames) > 2 * GAP:
            seen = self._seen(frames[middle], hull(forth.boxes[middle], back.boxes[middle]))
            if seen:
                before, after = frames[: middle + 1], frames[middle:]
                self._link(before, first, forth.part(0, middle + 1), seen, self._follow_back(before, seen))
                self._link(after, seen, self._follow(after, seen), last, back.part(middle, len(frames)))
                return
        for k in range(1, len(frames) - 1):
            box = hull(forth.boxes[k], back.boxes[k])
            away = min(k / self._fps + first.unseen_s, (len(frames) - 1 - k) / self._fps)
            found = "tracked" if agree else "widened"
            frames[k].faces.append(Placed(box if agree else self._widened(box, away), found))

    def _vanish(self, face: Face) -> Face | None:
        """Places a face that the scan of the last frame missed; returns what is still to be covered after it."""
        seen_at, face = self._last_seen(self._frames, face, may_look=not face.missed)
        rest = self._frames[seen_at:]
        path = self._trail(rest, face, "forward")
        if face.missed + 1 >= PATIENCE:
            return None
        unseen_s = face.unseen_s + (len(rest) - 1) / self._fps
        return replace(face, box=path.boxes[-1], confidence=None, unseen_s=unseen_s, missed=face.missed + 1)

    def _appear(self, face: Face) -> None:
        """Places a face that the scan of the first frame missed, back to a second before it was first seen."""
        backward = self._frames[::-1]
        seen_at, face = self._last_seen(backward, face, may_look=True)
        reach = round(self._fps) + 1
        self._trail((backward[seen_at:] + self._earlier[::-1])[:reach], face, "backward")

    def _last_seen(self, frames: Sequence[Frame], face: Face, may_look: bool) -> tuple[int, Face]:
        """The place of the last frame, by halves, in which the CNN sees a face that it does not see at the end."""
        low, high = 0, len(frames) - 1
        while may_look and high - low > GAP:
            middle = (low + high) // 2
            part = frames[low : middle + 1]
            forth = self._follow(part, face)
            seen = self._seen(frames[middle], forth.boxes[-1])
            if seen:
                self._link(part, face, forth, seen, self._follow_back(part, seen))
                low, face = middle, seen
            else:
                high = middle
        return low, face

    def _trail(self, frames: Sequence[Frame], face: Face, way: str) -> tracking.Path:
        """Covers where a face may be in the frames after the one in which it was seen last (before it, if reversed)."""
        path = self._follow(frames, face)
        for k in range(1, len(frames)):
            box = self._widened(
                hull(path.boxes[k], face.box) if not path.trusted[k] else path.boxes[k], face.unseen_s + k / self._fps
            )
            frames[k].faces.append(Placed(box, way if path.trusted[k] else "held"))
        return path

    def _seen(self, frame: Frame, box: Box) -> Face | None:
        """What the CNN sees near a box, placed in the frame; None without a sighting, or when the looks are used up."""
        if self._looks == 0:
            return None
        self._looks -= 1
        sighting = self._look(frame, box)
        if sighting is None:
            return None
        face = Face(*sighting)
        place(frame, face)
        return face

    def _widened(self, box: Box, unseen_s: float) -> Box:
        return grown(box, UNSURE_SIDES + GROWTH_PER_S * unseen_s)


def place(frame: Frame, face: Face) -> None:
    """Marks a face that the CNN saw in a frame; one that it was not sure of more widely."""
    sure = face.confidence >= SURE
    box = face.box if sure else grown(face.box, UNSURE_SIDES)
    frame.faces.append(Placed(box, "detected" if sure else "unsure", face.confidence))
