"""People who do not exist: morphs of real faces, animated by a handful of facial actions.

Each source face is brought to a canonical frame and to one neutral mean shape (mouth closed, brows at rest). A
subject mixes three sources, shape and texture with weights of their own, none above `LARGEST_WEIGHT`, so that
nobody is shown as they are. Expressions are displacement fields through dlib's 68 landmarks (thin-plate splines),
linear in the units; one remap a frame applies their weighted sum.

What holds: MediaPipe's mesh, which made none of this, follows planted smiles and brows closely
(tests/test_synthetic_faces.py). What does not: a classifier's label need not change, lips hide no teeth, and an open
mouth is a dark gap. Subjects of one group share sources: only the `unseen` group shows faces that are new to a model.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import cv2
import dlib
import numpy as np
from scipy.interpolate import LinearNDInterpolator, RBFInterpolator

from reaffect.synthetic import scene
from reaffect.synthetic.assets import SOURCES, dlib_weights, picture

UNITS = ("smile", "frown", "brow_raise", "brow_lower", "jaw_drop")
"""AU12, AU15, AU1+2, AU4 and AU26 of the Facial Action Coding System, each in [0, 1]."""

CANVAS = 256
"""Side of the canonical frame in pixels."""

EYES = (128.0, 112.0)
"""Midpoint between the outer eye corners in the canonical frame."""

EYE_DISTANCE = 72.0
"""Between the outer eye corners in the canonical frame; the unit of every amplitude below."""

LARGEST_WEIGHT = 0.6
"""Of one source in a mixture."""

JAW, RIGHT_BROW, LEFT_BROW = range(17), range(17, 22), range(22, 27)
RIGHT_EYE, LEFT_EYE, MOUTH = range(36, 42), range(42, 48), range(48, 68)


class Subject(NamedTuple):
    """A person who does not exist, ready to be animated."""

    name: str
    portrait: np.ndarray
    """float32 (CANVAS, CANVAS, 3): head and neck at rest, RGB in [0, 255]."""

    landmarks: np.ndarray
    """float32 (68, 2): dlib's points at rest, canonical pixels."""

    alpha: np.ndarray
    """float32 (CANVAS, CANVAS): 1 on head and neck, 0 elsewhere, soft between."""

    fields: np.ndarray
    """float32 (len(UNITS), CANVAS, CANVAS, 2): how far away to look for each pixel when a unit is 1."""

    moves: np.ndarray
    """float32 (len(UNITS), 68, 2): where each unit at 1 takes the landmarks."""

    shape_weights: dict[str, float]
    texture_weights: dict[str, float]


class _Neutral(NamedTuple):
    """The sources of one group at rest, in the canonical frame."""

    names: list[str]
    shapes: np.ndarray  # (sources, 68, 2)
    textures: np.ndarray  # (sources, CANVAS, CANVAS, 3), all on the mean shape


def subjects(count: int, *, seed: int, unseen: bool = False, prefix: str = "S") -> list[Subject]:
    """Mixes `count` people.

    Args:
        count: how many.
        seed: the same seed gives the same people, bit for bit.
        unseen: mix the held-out sources instead of the others.
        prefix: their names are prefix000, prefix001, ...

    Returns:
        The subjects; each mixes three sources of the group.
    """
    streams = np.random.SeedSequence([seed, int(unseen)]).spawn(count)
    return [subject(f"{prefix}{k:03d}", np.random.default_rng(s), unseen=unseen) for k, s in enumerate(streams)]


def subject(name: str, rng: np.random.Generator, *, unseen: bool = False) -> Subject:
    """Mixes one person with the draws of `rng`; see `subjects`."""
    group = _neutral_sources(unseen)
    chosen = rng.choice(len(group.names), size=3, replace=False)
    shape_weights, texture_weights = _weights(rng), _weights(rng)
    mean = group.shapes.mean(0)
    shape = mean + 1.3 * np.tensordot(shape_weights, group.shapes[chosen] - mean, 1)
    shape = EYES + (shape - EYES) * rng.uniform((0.95, 0.94), (1.05, 1.07))
    texture = np.tensordot(texture_weights, group.textures[chosen], 1).astype(np.float32)
    portrait = cv2.remap(texture, _warp(mean, shape), None, cv2.INTER_LINEAR)
    portrait = np.clip(portrait * rng.uniform(0.82, 1.12) * rng.uniform(0.94, 1.06, 3), 0, 255).astype(np.float32)
    if rng.random() < 0.5:
        portrait, shape = portrait[:, ::-1].copy(), _mirrored(shape)
    moves = _unit_moves(shape)
    return Subject(
        name=name,
        portrait=portrait,
        landmarks=shape.astype(np.float32),
        alpha=_head_mask(shape),
        fields=_displacement_fields(shape, moves),
        moves=moves,
        shape_weights=_named(group.names, chosen, shape_weights),
        texture_weights=_named(group.names, chosen, texture_weights),
    )


def render(
    subject: Subject, units: np.ndarray, *, rng: np.random.Generator, size: tuple[int, int] = (320, 240)
) -> np.ndarray:
    """Films a subject before a webcam.

    Args:
        subject: who.
        units: (frames, 5), the intensity of each of `UNITS` in [0, 1].
        rng: draws the room, clothes, framing, head motion, light and camera noise.
        size: width and height in pixels.

    Returns:
        uint8 (frames, height, width, 3), RGB.
    """
    units = np.asarray(units, np.float32)
    room = scene.Scene(rng, size)
    poses = scene.head_poses(rng, len(units), size, anchor=EYES, scale=size[1] / CANVAS)
    film = np.empty((len(units), size[1], size[0], 3), np.uint8)
    for index, (weights, pose) in enumerate(zip(units, poses, strict=True)):
        film[index] = room.compose(express(subject, weights), subject.alpha, pose)
    return film


def express(subject: Subject, weights: np.ndarray) -> np.ndarray:
    """The portrait with an expression: weights (5,) in [0, 1] -> float32 (CANVAS, CANVAS, 3)."""
    weights = np.asarray(weights, np.float32)
    shift = np.tensordot(weights, subject.fields, 1)
    face = cv2.remap(subject.portrait, _grid() + shift, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return _open_mouth(face, subject.landmarks + np.tensordot(weights, subject.moves, 1))


def _open_mouth(face: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Fills the gap between the inner lips, as far as they stand apart, with a mouth's dark, in place."""
    inner = landmarks[60:68]
    gap = (inner[5:8, 1] - inner[3:0:-1, 1]).mean() / EYE_DISTANCE
    if gap < 0.04:
        return face
    mask = np.zeros((CANVAS, CANVAS), np.uint8)
    cv2.fillPoly(mask, [np.round(inner * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    left, top = np.maximum(inner.min(0) - 8, 0).astype(int)  # the blur reaches no further
    right, bottom = inner.max(0).astype(int) + 9
    around = slice(top, bottom), slice(left, right)
    soft = cv2.GaussianBlur(mask[around], (0, 0), 1.2)[..., None].astype(np.float32) / 255 * min(1.0, gap / 0.08)
    face[around] = face[around] * (1 - soft) + np.float32([52, 22, 24]) * soft
    return face


# --- sources -------------------------------------------------------------------------------------------------


@cache
def _neutral_sources(unseen: bool) -> _Neutral:
    """Every source of a group, aligned by the eyes, at rest, and its texture on the group's mean shape."""
    sources = [source for source in SOURCES if source.unseen == unseen]
    predictor = dlib.shape_predictor(dlib_weights("shape_predictor_68_face_landmarks.dat"))
    aligned, found = zip(*(_align(picture(source), source.box, predictor) for source in sources), strict=True)
    everyone = [source for source in SOURCES if not source.unseen]
    rest = np.stack(found) if not unseen else _found_shapes(everyone, predictor)
    shapes = _at_rest(np.stack(found), rest)
    mean = shapes.mean(0)
    textures = np.stack(
        [
            cv2.remap(image, _warp(own, mean), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for image, own in zip(aligned, found, strict=True)
        ]
    )
    return _Neutral([source.name for source in sources], shapes, _same_complexion(textures, mean))


def _found_shapes(sources: list, predictor: dlib.shape_predictor) -> np.ndarray:
    return np.stack([_align(picture(source), source.box, predictor)[1] for source in sources])


def _align(image: np.ndarray, box: tuple, predictor: dlib.shape_predictor) -> tuple[np.ndarray, np.ndarray]:
    """Picture -> canonical frame (float32) and its landmarks there, by the similarity that places the eyes."""
    found = predictor(np.ascontiguousarray(image), dlib.rectangle(*box))
    points = np.array([(found.part(k).x, found.part(k).y) for k in range(68)], float)
    (x0, y0), (x1, y1) = points[36], points[45]
    scale = EYE_DISTANCE / np.hypot(x1 - x0, y1 - y0)
    angle = np.degrees(np.arctan2(y1 - y0, x1 - x0))
    matrix = cv2.getRotationMatrix2D(((x0 + x1) / 2, (y0 + y1) / 2), angle, scale)
    matrix[:, 2] += np.array(EYES) - ((x0 + x1) / 2, (y0 + y1) / 2)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas = cv2.warpAffine(
        image.astype(np.float32), matrix, (CANVAS, CANVAS), flags=method, borderMode=cv2.BORDER_REPLICATE
    )
    return np.clip(canvas, 0, 255), points @ matrix[:, :2].T + matrix[:, 2]


def _at_rest(found: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Shapes (sources, 68, 2) with a closed mouth and resting brows, whatever the photo's expression.

    The mouth is the template below, hung at the usual distance under each nose. Brows keep half of what sets
    them apart from the usual distance to the eyes: the rest is taken for expression.
    """
    shapes = found.copy()
    below_nose = np.median([shape[MOUTH].mean(0)[1] - shape[33, 1] for shape in rest])
    eye_to_brow = np.median([shape[17:27, 1].mean() - shape[36:48, 1].mean() for shape in rest])
    for shape in shapes:
        shape[MOUTH] = shape[33] + (0, below_nose) + _mouth_template() * EYE_DISTANCE
        own = shape[17:27, 1].mean() - shape[36:48, 1].mean()
        shape[17:27, 1] += 0.5 * (eye_to_brow - own)
    return shapes


def _mouth_template() -> np.ndarray:
    """A closed mouth (20, 2) in eye distances around its centre: dlib's points 48 to 67."""
    half = np.array([(-0.29, 0.0), (-0.19, -0.055), (-0.07, -0.085), (0.0, -0.07)])
    upper = np.vstack([half, half[2::-1] * (-1, 1)])
    lower = np.array([(0.19, 0.065), (0.08, 0.10), (0.0, 0.108), (-0.08, 0.10), (-0.19, 0.065)])
    inside = np.array([(-0.25, 0.0), (-0.08, -0.006), (0, -0.004), (0.08, -0.006), (0.25, 0.0)])
    return np.vstack([upper, lower, inside, np.array([(0.08, 0.010), (0, 0.012), (-0.08, 0.010)])])


def _same_complexion(textures: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Scales each texture's colours so that the average over the face is shared: mixtures show no seams."""
    face = np.zeros((CANVAS, CANVAS), np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(mean.astype(np.int32)), 1)
    averages = np.stack([texture[face > 0].mean(0) for texture in textures])
    gains = np.clip(averages.mean(0) / averages, 0.6, 2.2)
    return np.clip(textures * gains[:, None, None], 0, 255).astype(np.float32)


# --- geometry ------------------------------------------------------------------------------------------------


@cache
def _grid() -> np.ndarray:
    """float32 (CANVAS, CANVAS, 2): each pixel's own x and y."""
    return np.stack(np.meshgrid(np.arange(CANVAS), np.arange(CANVAS)), -1).astype(np.float32)


@cache
def _anchors() -> np.ndarray:
    """Points on the border and around the hair that no warp moves."""
    side = np.linspace(0, CANVAS - 1, 6)
    border = [(x, y) for x in side for y in side if x in side[[0, -1]] or y in side[[0, -1]]]
    hair = [(EYES[0] + 100 * np.cos(a), EYES[1] + 14 - 100 * np.sin(a)) for a in np.linspace(0.1, np.pi - 0.1, 7)]
    return np.array(border + hair)


def _warp(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The map that shows at `target` landmarks what lies at `source` landmarks, linear on their triangles."""
    knots = np.vstack([target, _anchors()])
    values = np.vstack([source, _anchors()])
    return LinearNDInterpolator(knots, values)(_grid()).astype(np.float32)


def _unit_moves(shape: np.ndarray) -> np.ndarray:
    """float32 (5, 68, 2): landmark motion of each unit at full intensity, in canonical pixels."""
    moves = np.zeros((len(UNITS), 68, 2))
    smile, frown, brow_raise, brow_lower, jaw_drop = moves
    # Fraction of a corner's motion that each mouth point takes: all at the corners, none in the middle.
    reach = np.abs(shape[MOUTH, 0] - shape[MOUTH, 0].mean())
    reach = (reach / reach.max()) ** 1.5
    outward = np.sign(shape[MOUTH, 0] - shape[MOUTH, 0].mean())
    smile[MOUTH] = np.stack([0.13 * outward * reach, -0.12 * reach], 1)
    smile[[40, 41, 46, 47], 1] = -0.025  # cheeks push the lower lids
    frown[MOUTH] = np.stack([-0.02 * outward * reach, 0.13 * reach], 1)
    frown[[57, 58, 56], 1] -= 0.02
    brow_raise[17:27, 1] = -0.15
    brow_raise[[37, 38, 43, 44], 1] = -0.035  # upper lids follow
    brow_lower[17:27, 1] = [0.05, 0.08, 0.10, 0.11, 0.12, 0.12, 0.11, 0.10, 0.08, 0.05]
    brow_lower[[20, 21], 0], brow_lower[[22, 23], 0] = 0.05, -0.05
    brow_lower[[37, 38, 43, 44], 1] = 0.03
    lower_lip = [55, 56, 57, 58, 59, 65, 66, 67]
    jaw_drop[lower_lip, 1] = [0.15, 0.22, 0.24, 0.22, 0.15, 0.21, 0.23, 0.21]
    jaw_drop[[48, 54, 60, 64], 1] = 0.08
    jaw_drop[[48, 60], 0], jaw_drop[[54, 64], 0] = 0.03, -0.03
    jaw_drop[4:13, 1] = [0.06, 0.11, 0.16, 0.19, 0.20, 0.19, 0.16, 0.11, 0.06]
    return (moves * EYE_DISTANCE).astype(np.float32)


def _displacement_fields(shape: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Thin-plate fields (5, CANVAS, CANVAS, 2) that undo each unit's motion, looked up by a backward remap.

    A field is fitted at the middle of the motion, so that one linear field serves small and large intensities.
    """
    nodes = np.linspace(0, CANVAS - 1, 65)
    where = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2)
    between = _grid() * np.float32((len(nodes) - 1) / (CANVAS - 1))
    fields = []
    for move in moves:
        knots = np.vstack([shape + 0.5 * move, _anchors()])
        values = np.vstack([-move, np.zeros_like(_anchors())])
        spline = RBFInterpolator(knots, values, kernel="thin_plate_spline", smoothing=0.5)
        coarse = spline(where).reshape(len(nodes), len(nodes), 2).astype(np.float32)
        fields.append(cv2.remap(coarse, between, None, cv2.INTER_LINEAR))
    return np.stack(fields)


def _head_mask(shape: np.ndarray) -> np.ndarray:
    """float32 (CANVAS, CANVAS): an ellipse over face and hair, and the neck below it, with soft edges."""
    mask = np.zeros((CANVAS, CANVAS), np.uint8)
    left, right, chin = shape[0], shape[16], shape[8]
    width = 0.5 * (right[0] - left[0]) * 1.12
    top = shape[17:27, 1].min() - 0.95 * EYE_DISTANCE
    middle = (int((left[0] + right[0]) / 2), int((top + chin[1]) / 2))
    cv2.ellipse(mask, middle, (int(width), int((chin[1] - top) / 2 + 2)), 0, 0, 360, 255, -1)
    neck = [shape[5], shape[11], (shape[11][0] + 4, CANVAS), (shape[5][0] - 4, CANVAS)]
    cv2.fillConvexPoly(mask, np.array(neck, np.int32), 255)
    cv2.fillConvexPoly(mask, cv2.convexHull(shape[JAW].astype(np.int32)), 255)
    return cv2.GaussianBlur(mask, (0, 0), 3.0).astype(np.float32) / 255


def _mirrored(shape: np.ndarray) -> np.ndarray:
    """Landmarks of the mirrored face, renumbered so that each keeps its meaning."""
    order = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)]
    order += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    order += [*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]
    return (shape * (-1, 1) + (CANVAS - 1, 0))[order]


# --- draws ---------------------------------------------------------------------------------------------------


def _weights(rng: np.random.Generator) -> np.ndarray:
    """Three weights that sum to 1, none above `LARGEST_WEIGHT`: Dirichlet, drawn again until that holds."""
    while True:
        weights = rng.dirichlet((1.5, 1.5, 1.5))
        if weights.max() <= LARGEST_WEIGHT:
            return weights


def _named(names: list[str], chosen: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    return {names[index]: round(float(weight), 4) for index, weight in zip(chosen, weights, strict=True)}
