"""Faces in frames: landmarks by MediaPipe's mesh, crops around them, and action units from their distances.

The mesh (468 points, 3 ms a frame) is the one detector here: what it does not find counts as no face.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import mediapipe
import numpy as np
from jaxtyping import Float, UInt8

POINTS = 468
"""Of MediaPipe's face mesh."""

ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
"""The twenty that py-feat reports, by their numbers in the Facial Action Coding System."""

EXPRESSIONS = {
    "anger": (4, 5, 7, 23),
    "disgust": (9, 15, 17),
    "fear": (1, 2, 4, 5, 7, 20, 26),
    "happiness": (6, 12),
    "sadness": (1, 4, 15),
    "surprise": (1, 2, 5, 26),
}
"""Which action units an emotion's prototype joins (EMFACS, Friesen and Ekman 1983); `neutral` is the absence of all."""

_threads = threading.local()  # a mesh serves one thread
_one_at_a_time = threading.Lock()


def landmarks(frame: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "468 2"] | None:
    """The most prominent face's points in pixels (x right, y down), or None where no face is found."""
    frame = np.ascontiguousarray(frame)
    with nullcontext() if hasattr(_threads, "mesh") else _silence():
        if not hasattr(_threads, "mesh"):
            _threads.mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1)
        found = _threads.mesh.process(frame).multi_face_landmarks
    if not found:
        return None
    size = (frame.shape[1], frame.shape[0])
    return np.array([(point.x, point.y) for point in found[0].landmark], np.float32) * np.float32(size)


def crop(
    frame: UInt8[np.ndarray, "height width 3"], points: Float[np.ndarray, "n 2"], margin: float
) -> UInt8[np.ndarray, "side side 3"]:
    """A square around a face; beyond the frame its border goes on.

    Args:
        frame: RGB.
        points: the face's landmarks in pixels.
        margin: side of the square in sides of the landmarks' box (the longer one).
    """
    low, high = points.min(0), points.max(0)
    side = max(2, round(float(margin * (high - low).max())))
    left, top = np.round((low + high) / 2 - side / 2).astype(int)
    across = np.clip(np.arange(left, left + side), 0, frame.shape[1] - 1)
    down = np.clip(np.arange(top, top + side), 0, frame.shape[0] - 1)
    return frame[down[:, None], across]


def action_units(points: Float[np.ndarray, "n 468 2"]) -> Float[np.ndarray, "n 27"]:
    """Twenty action units and seven expressions from the mesh's distances, in [0, 1], in py-feat's order.

    No package carries an action-unit model, so this is geometry: each unit is a distance that it changes, measured
    in outer eye distances with the face turned upright, and squashed around what faces at rest show. Units that
    move the same points share their distance (5, 7 and 43 the eye's opening, 12 and 15 the mouth's corners), wrinkles
    are not seen, and how a face is built shifts its values. Expressions are means of their prototypes' units.

    Args:
        points: landmarks in pixels; a row of NaN gives NaN.

    Returns:
        Columns `ACTION_UNITS`, then `EXPRESSIONS`, then neutral.
    """
    measured = _distances(_upright(points))
    units = 1 / (1 + np.exp(-(measured - AT_REST[:, 0]) / AT_REST[:, 1]))
    column = {unit: index for index, unit in enumerate(ACTION_UNITS)}
    felt = [units[:, [column[unit] for unit in prototype]].mean(1) for prototype in EXPRESSIONS.values()]
    return np.column_stack([units, *felt, 1 - np.max(felt, axis=0)]).astype(np.float32)


def _upright(points: np.ndarray) -> np.ndarray:
    """Faces with the outer eye corners level and one apart, the midpoint between them at the origin."""
    right, left = points[:, 33], points[:, 263]
    axis = left - right
    length = np.hypot(*axis.T)[:, None, None]
    cosine, sine = (axis / length[:, 0]).T
    turn = np.stack([np.stack([cosine, -sine], 1), np.stack([sine, cosine], 1)], 1)
    return np.einsum("nij,njk->nik", points - ((left + right) / 2)[:, None], turn) / length


def _distances(p: np.ndarray) -> np.ndarray:
    """One distance an action unit (n, 20), larger where the unit is stronger; point numbers are MediaPipe's."""

    def gap(*pairs: tuple[int, int]) -> np.ndarray:
        return np.mean([np.hypot(*(p[:, one] - p[:, other]).T) for one, other in pairs], axis=0)

    def above(*pairs: tuple[int, int]) -> np.ndarray:
        return np.mean([p[:, low, 1] - p[:, high, 1] for high, low in pairs], axis=0)

    inner_brow, outer_brow = above((107, 133), (336, 362)), above((70, 33), (300, 263))
    eye = gap((159, 145), (386, 374))
    width, lift = gap((61, 291)), above((61, 17), (291, 17))
    upper_lip, lower_lip, mouth = gap((0, 13)), gap((14, 17)), gap((13, 14))
    by_unit = {
        1: inner_brow,
        2: outer_brow,
        4: -inner_brow - 0.5 * gap((55, 285)),
        5: eye,
        6: -gap((145, 117), (374, 346)),
        7: -eye,
        9: -gap((129, 133), (358, 362)),
        10: -gap((0, 2)),
        11: -gap((39, 129), (269, 358)),
        12: lift + 0.5 * width,
        14: width - lift,
        15: -lift,
        17: -gap((17, 152)),
        20: width,
        23: -upper_lip - lower_lip,
        24: -upper_lip - lower_lip - mouth,
        25: mouth,
        26: gap((2, 152)),
        28: -lower_lip,
        43: -eye,
    }
    return np.stack([by_unit[unit] for unit in ACTION_UNITS], 1)


# Median and standard deviation of each distance over 80 morphed faces at rest.
AT_REST = np.array(
    [
        (0.271, 0.019),  # 1
        (0.162, 0.010),  # 2
        (-0.412, 0.020),  # 4
        (0.093, 0.010),  # 5
        (-0.272, 0.010),  # 6
        (-0.093, 0.010),  # 7
        (-0.374, 0.025),  # 9
        (-0.145, 0.011),  # 10
        (-0.254, 0.017),  # 11
        (0.432, 0.031),  # 12
        (0.469, 0.020),  # 14
        (-0.130, 0.019),  # 15
        (-0.391, 0.027),  # 17
        (0.606, 0.029),  # 20
        (-0.172, 0.010),  # 23
        (-0.204, 0.022),  # 24
        (0.034, 0.017),  # 25
        (0.747, 0.040),  # 26
        (-0.105, 0.005),  # 28
        (-0.093, 0.010),  # 43
    ]
)


@contextmanager
def _silence() -> Iterator[None]:
    """For a thread's first face: MediaPipe then tells stderr of its delegates, and no setting of it helps."""
    with _one_at_a_time, Path(os.devnull).open("w") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
