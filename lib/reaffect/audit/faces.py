"""Whether a face is still found, and whether it is still recognised where it was."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import dlib
import numpy as np

from reaffect import faces, media, paths
from reaffect.audit.estimates import Estimate, Row, rank_one, ratio
from reaffect.audit.measuring import measured, told_of_both
from reaffect.errors import InputError
from reaffect.features.extraction import extract
from reaffect.features.visual import Landmarks
from reaffect.fingerprint import fingerprint
from reaffect.store import Store

EMBEDDER = "package:face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat"
WIDTH = 128
"""Of dlib's face embedding."""

CHIP = 150
"""Side of what it sees, in pixels."""

MARGIN = 1.6
"""Side of the crop in sides of the landmarks' box, about what dlib's own chips show."""

_threads = threading.local()


class FaceViews:
    """What dlib sees in frames: (frames, 129), faces found by its HOG detector, then the embedding at a known place.

    The place is that of the face in the ORIGINAL, for its de-identified version too: an attacker who knows where the
    face was. NaN where the original shows none.

    Args:
        places: by clip, landmarks of the original (frames, 936) from `Landmarks`.
        frames: equidistant, first and last included.
    """

    name = "face views"
    width = 1 + WIDTH
    batch_size = 4

    def __init__(self, places: dict[str, np.ndarray], *, frames: int):
        self.told = places
        self.frames = frames
        self.recipe = {"embedder": fingerprint(paths.checkpoint(EMBEDDER)), "frames": frames, "margin": MARGIN}

    def prepare(self, clip: str) -> np.ndarray:
        places = self.told[clip].reshape(self.frames, faces.POINTS, 2)
        return np.stack([_view(*pair) for pair in zip(media.read_frames(clip, self.frames), places, strict=True)])

    def __call__(self, prepared: list[np.ndarray]) -> list[np.ndarray]:
        return prepared


def faces_found(
    originals: Sequence[str],
    deidentified: Sequence[str],
    subjects: Sequence,
    *,
    frames: int = 8,
    store: Store | None = None,
) -> list[Row]:
    """Share of frames with a face before in which a detector still finds one, anywhere in the frame.

    Two detectors that did not make the mask (dlib's CNN did): MediaPipe's mesh (BlazeFace and its own check of the
    points) and dlib's HOG, of another kind than its CNN.

    Args:
        originals: media files.
        deidentified: of the same clips.
        subjects: whose faces they show; any number of names, equal names are one subject.
        frames: equidistant frames of each clip.
        store: by default the one under `paths.STORE`.

    Returns:
        A row a detector; before is 1 by definition.

    Raises:
        InputError: a file that cannot be read, lists of different lengths, fewer than two subjects.
    """
    before, after = face_landmarks(originals, frames, store), face_landmarks(deidentified, frames, store)
    views = _views(originals, deidentified, before, frames, store)
    by_mesh = [~np.isnan(points[..., 0]) for points in (before, after)]
    by_hog = [views[part][..., 0] > 0 for part in (0, 1)]
    return [
        _still_found("face still found by MediaPipe's mesh", *by_mesh, subjects),
        _still_found("face still found by dlib's HOG", *by_hog, subjects),
    ]


def faces_recognised(
    originals: Sequence[str],
    deidentified: Sequence[str],
    subjects: Sequence,
    *,
    frames: int = 8,
    store: Store | None = None,
) -> list[Row]:
    """Rank-1 re-identification by dlib's face embedding, mean over frames, at the places of the original faces.

    The gallery is the first clip of each subject, the probes are all others. The ignorant attacker has a gallery of
    originals, the informed one blurs his gallery in the same way.

    Args:
        originals: media files, at least two subjects with two clips or more.
        deidentified: of the same clips.
        subjects: whose faces they show.
        frames: equidistant frames of each clip.
        store: by default the one under `paths.STORE`.

    Returns:
        A row an attacker; chance is one by the number of people in the gallery.

    Raises:
        InputError: a file that cannot be read, lists of different lengths, no subject with two clips.
    """
    before, after = face_embeddings(originals, deidentified, frames, store)
    seen = np.flatnonzero(~np.isnan(before[:, 0]))
    names = np.asarray(subjects)[seen]
    _, first = np.unique(names, return_index=True)
    gallery, probes = seen[first], np.delete(seen, first)
    if not len(probes):
        raise InputError("No subject has two clips with a face: there is nothing to recognise anybody by. Add clips.")
    people, wanted = np.asarray(subjects)[gallery], np.asarray(subjects)[probes]

    def rate(known: np.ndarray, tried: np.ndarray) -> Estimate:
        return rank_one(known[gallery], people, tried[probes], wanted)

    plain, chance = rate(before, before), 1 / len(people)
    return [
        Row("face recognised, ignorant attacker (rank 1)", plain, rate(before, after), chance, len(seen)),
        Row("face recognised, informed attacker (rank 1)", plain, rate(after, after), chance, len(seen)),
    ]


def face_landmarks(clips: Sequence[str], frames: int, store: Store | None) -> np.ndarray:
    """MediaPipe's mesh (clips, frames, 936) in pixels; NaN without a face."""
    found = extract(Landmarks(frames), clips, store=store, strict=True).values
    return np.stack([found[clip] for clip in clips])


def face_embeddings(
    originals: Sequence[str], deidentified: Sequence[str], frames: int, store: Store | None
) -> tuple[np.ndarray, np.ndarray]:
    """dlib's embedding at the originals' faces, mean over frames: (clips, 128) before and after; NaN without a face."""
    places = face_landmarks(originals, frames, store)
    return tuple(_mean_of_known(v[..., 1:]) for v in _views(originals, deidentified, places, frames, store))


def _views(originals, deidentified, places, frames, store) -> tuple[np.ndarray, np.ndarray]:
    """`FaceViews` of both versions: (clips, frames, 129) each."""
    extractor = FaceViews(told_of_both(originals, deidentified, list(places)), frames=frames)
    return tuple(np.stack(measured(extractor, clips, store=store)) for clips in (originals, deidentified))


def _view(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    frame, dlibs = np.ascontiguousarray(frame), _dlibs()
    found = len(dlibs.hog(frame, 0))
    if np.isnan(points).any():
        return np.append(found, np.full(WIDTH, np.nan))
    chip = dlib.resize_image(faces.crop(frame, points, MARGIN), CHIP, CHIP)
    return np.append(found, dlibs.embedder.compute_face_descriptor(np.ascontiguousarray(chip)))


def _dlibs() -> threading.local:
    """This thread's detector and embedder: dlib's serve one thread, two at once in the HOG abort the process."""
    if not hasattr(_threads, "hog"):
        _threads.hog = dlib.get_frontal_face_detector()
        _threads.embedder = dlib.face_recognition_model_v1(str(paths.checkpoint(EMBEDDER)))
    return _threads


def _still_found(measure: str, before: np.ndarray, after: np.ndarray, subjects: Sequence) -> Row:
    """Of flags (clips, frames)."""
    known = before.sum(1)
    return Row(
        measure,
        ratio(known, known, subjects),
        ratio((before & after).sum(1), known, subjects),
        np.nan,
        int((known > 0).sum()),
    )


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over frames: (clips, frames, width) -> (clips, width), NaN where no frame is known."""
    known = ~np.isnan(values)
    return np.where(known, values, 0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)
