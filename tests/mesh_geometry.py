"""What detectors that made nothing of the embedded corpora see in it: MediaPipe's mesh and dlib's CNN.

Geometry only, in units of the distance between the outer eye corners; no classifier's label.
"""

from __future__ import annotations

from functools import cache

import dlib
import mediapipe as mp
import numpy as np

from reaffect.synthetic.assets import dlib_weights

# Points of MediaPipe's 478-point mesh.
EYE_CORNERS = (33, 263)
LIP_CORNERS = (61, 291)
LIP_MIDDLE = (0, 17)
BROWS = (105, 66, 107, 334, 296, 336)
LIDS = (33, 133, 362, 263)


def measure(frames: np.ndarray) -> np.ndarray:
    """Frames (n, height, width, 3) uint8 -> (n, 2): smile (corner lift plus width) and brow height; NaN: no face."""
    with mp.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1, refine_landmarks=False) as mesh:
        return np.array([_geometry(mesh.process(np.ascontiguousarray(frame)), frame.shape) for frame in frames])


def _geometry(result, shape) -> tuple[float, float]:
    if not result.multi_face_landmarks:
        return np.nan, np.nan
    points = np.array([(p.x * shape[1], p.y * shape[0]) for p in result.multi_face_landmarks[0].landmark])
    right, left = points[list(EYE_CORNERS)]
    across = (left - right) / np.linalg.norm(left - right)
    points = points @ np.array([across, (-across[1], across[0])]).T / np.linalg.norm(left - right)
    corners, middle = points[list(LIP_CORNERS)], points[list(LIP_MIDDLE)]
    lift = middle[:, 1].mean() - corners[:, 1].mean()
    width = corners[1, 0] - corners[0, 0]
    return lift + 0.5 * width, points[list(LIDS), 1].mean() - points[list(BROWS), 1].mean()


@cache
def _cnn() -> dlib.cnn_face_detection_model_v1:
    return dlib.cnn_face_detection_model_v1(dlib_weights("mmod_human_face_detector.dat"))


def faces_found(frames: np.ndarray) -> list[int]:
    """How many faces dlib's CNN finds in each frame (n, height, width, 3)."""
    return [len(_cnn()(np.ascontiguousarray(frame), 0)) for frame in frames]
