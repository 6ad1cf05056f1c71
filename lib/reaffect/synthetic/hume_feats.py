"""The embedded corpus's `feats/`: what real detectors measure in its clips, never what was planted.

`FAUs` holds twenty action units from MediaPipe's mesh twice a second, `VGGFace2` dlib's face embedding (128) every two
seconds, zeros where no face is found: in the organisers' layout, for whom py-feat and a VGGFace2 network did it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import dlib
import numpy as np

from reaffect import faces, media
from reaffect.corpora import hume_feats
from reaffect.synthetic.assets import dlib_weights

FAU_HZ = 2.0
VGGFACE2_HZ = 0.5
MARGIN = 1.6
"""Of the crop that dlib embeds, about what its own chips show."""

FEATURES = ("FAUs", "VGGFace2")
UNIT_NAMES = [f"AU{unit:02d}" for unit in faces.ACTION_UNITS]


def measure(root: Path, file: Path) -> None:
    """Measures one clip and writes its two feature files under `root`."""
    duration_s = media.probe(file).duration_s
    count = max(2, round(duration_s * FAU_HZ))
    frames = media.read_frames(file, count)
    points = [faces.landmarks(frame) for frame in frames]
    units = np.zeros((count, len(UNIT_NAMES)), np.float32)
    seen = [index for index, found in enumerate(points) if found is not None]
    if seen:
        units[seen] = faces.action_units(np.stack([points[index] for index in seen]))[:, : len(UNIT_NAMES)]
    times = np.linspace(0, duration_s, count)
    hume_feats.write(root, "FAUs", file.stem, times, units, UNIT_NAMES)
    chosen = range(0, count, round(FAU_HZ / VGGFACE2_HZ))
    embedded = np.stack([_embedding(frames[index], points[index]) for index in chosen])
    names = [f"vggface2_{index}" for index in range(embedded.shape[1])]
    hume_feats.write(root, "VGGFace2", file.stem, times[list(chosen)], embedded, names)


def measured(root: Path, file: Path) -> bool:
    """Whether both files of a clip are there."""
    return all((root / "c2_muse_reaction" / "feats" / name / f"{file.stem}.csv").exists() for name in FEATURES)


def _embedding(frame: np.ndarray, points: np.ndarray | None) -> np.ndarray:
    """dlib's 128 numbers that tell people apart; zeros without a face."""
    if points is None:
        return np.zeros(128)
    chip = dlib.resize_image(faces.crop(frame, points, MARGIN), 150, 150)
    return np.array(_embedder().compute_face_descriptor(np.ascontiguousarray(chip)))


@cache
def _embedder() -> dlib.face_recognition_model_v1:
    return dlib.face_recognition_model_v1(dlib_weights("dlib_face_recognition_resnet_model_v1.dat"))
