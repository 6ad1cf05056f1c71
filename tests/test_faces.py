"""Landmarks beside dlib's, crops beside padding by hand, and action units on faces whose movements are known."""

from __future__ import annotations

import dlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from reaffect import faces
from reaffect.synthetic import assets
from reaffect.synthetic import faces as morphed

COLUMN = {unit: index for index, unit in enumerate(faces.ACTION_UNITS)}
PLANTED = [(12, "smile"), (1, "brow_raise"), (2, "brow_raise"), (4, "brow_lower"), (26, "jaw_drop")]
"""Action unit, and the planted unit that it follows."""

EYE_CORNERS = {36: 33, 39: 133, 42: 362, 45: 263}
"""dlib's points -> MediaPipe's."""

each_source = pytest.mark.parametrize("source", assets.SOURCES, ids=lambda source: source.name)


def portrait(source: assets.Source) -> tuple[np.ndarray, np.ndarray]:
    """A source's picture cut around its box, and where the box's left upper corner was."""
    left, top, right, bottom = source.box
    margin = (right - left) // 2
    corner = np.maximum(0, [left - margin, top - margin])
    return assets.picture(source)[corner[1] : bottom + margin, corner[0] : right + margin], corner


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    found = faces.landmarks(portrait(assets.SOURCES[0])[0])
    assert found.shape == (faces.POINTS, 2) and found.dtype == np.float32
    return found.astype(float)


@pytest.fixture(scope="module")
def filmed() -> list[tuple[np.ndarray, np.ndarray]]:
    """For each of some people: planted units (frames, 5), and the landmarks in the film of them."""
    people = morphed.subjects(3, seed=5) + morphed.subjects(1, seed=5, unseen=True)
    films = []
    for index, person in enumerate(people):
        rng = np.random.default_rng(index)
        units = rng.random((24, 5)) * (rng.random((24, 5)) < 0.6)
        film = morphed.render(person, units, rng=rng)
        films.append((units, np.stack([faces.landmarks(frame) for frame in film])))
    return films


# --- landmarks -----------------------------------------------------------------------------------------------


@each_source
def test_eye_corners_lie_where_dlib_sees_them(source):
    cut, corner = portrait(source)
    found = faces.landmarks(cut)  # a view of the picture: rows are not contiguous
    predictor = dlib.shape_predictor(assets.dlib_weights("shape_predictor_68_face_landmarks.dat"))
    seen = predictor(np.ascontiguousarray(assets.picture(source)), dlib.rectangle(*source.box))
    expected = np.array([(seen.part(k).x, seen.part(k).y) for k in EYE_CORNERS]) - corner
    off = np.linalg.norm(found[list(EYE_CORNERS.values())] - expected, axis=1)
    assert (off / np.linalg.norm(expected[0] - expected[-1])).max() < 0.06


@pytest.mark.parametrize("kind", ["noise", "grey"])
def test_no_face_is_none(kind):
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    assert faces.landmarks(noise if kind == "noise" else np.full_like(noise, 128)) is None


# --- crops ---------------------------------------------------------------------------------------------------


@given(
    size=st.tuples(st.integers(2, 30), st.integers(2, 30)),
    box=st.tuples(*[st.floats(-20, 50, width=32)] * 4),
    margin=st.floats(0.5, 3),
)
def test_a_crop_is_a_square_around_the_box_and_the_border_goes_on(size, box, margin):
    frame = np.arange(size[0] * size[1] * 3).astype(np.uint8).reshape(*size, 3)
    corners = np.array(box, np.float32).reshape(2, 2)
    cut = faces.crop(frame, corners, margin)
    longer = np.ptp(corners, axis=0).max()
    side = len(cut)
    assert cut.shape == (side, side, 3)
    assert side == 2 or abs(side - margin * longer) <= 0.501
    around = 250  # beyond whatever is asked: then a crop is a plain slice
    padded = np.pad(frame, ((around, around), (around, around), (0, 0)), mode="edge")
    centre_x, centre_y = corners.mean(0) + around
    same = [
        (left, top)
        for left in near(centre_x - side / 2)
        for top in near(centre_y - side / 2)
        if np.array_equal(cut, padded[top : top + side, left : left + side])
    ]
    assert same, "no slice within a pixel of the centred one"


def near(position: float) -> range:
    return range(round(position) - 1, round(position) + 2)


def test_a_crop_inside_of_the_frame_is_a_slice():
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    box = np.array([[30, 20], [50, 40]], np.float32)
    np.testing.assert_array_equal(faces.crop(frame, box, 1.0), frame[20:40, 30:50])
    np.testing.assert_array_equal(faces.crop(frame, box, 1.5), frame[15:45, 25:55])


# --- action units --------------------------------------------------------------------------------------------


@given(
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
    scale=st.floats(0.2, 5),
    angle=st.floats(-np.pi, np.pi),
    seed=st.integers(0, 99),
)
def test_units_do_not_depend_on_place_size_and_turn(points, shift, scale, angle, seed):
    shape = points + np.random.default_rng(seed).normal(0, 3, points.shape)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = scale * shape @ turn.T + shift
    before, after = faces.action_units(np.stack([shape, moved]))
    np.testing.assert_allclose(after, before, atol=1e-4)
    assert before.shape == (27,) and before.dtype == np.float32
    assert ((before >= 0) & (before <= 1)).all()


def test_a_mirror_image_is_no_rotation_but_shows_the_same_movements(filmed):
    """Each distance is a mean over both sides; a mirrored face has its left and right points exchanged."""
    points = filmed[0][1][:1].astype(float)
    mirrored = points * (-1, 1)
    pairs = {33: 263, 133: 362, 159: 386, 145: 374, 107: 336, 70: 300, 55: 285, 61: 291, 117: 346, 129: 358, 39: 269}
    for one, other in pairs.items():
        mirrored[:, [one, other]] = mirrored[:, [other, one]]
    np.testing.assert_allclose(faces.action_units(mirrored), faces.action_units(points), atol=1e-4)


def test_without_landmarks_there_are_no_units(points):
    found = faces.action_units(np.stack([points, np.full_like(points, np.nan), points]))
    assert np.isnan(found).any(1).tolist() == [False, True, False]
    assert np.isnan(found[1]).all()
    assert faces.action_units(np.empty((0, faces.POINTS, 2))).shape == (0, 27)


def test_expressions_are_means_of_their_units_and_neutral_their_absence(filmed):
    found = faces.action_units(filmed[0][1])
    assert len(faces.ACTION_UNITS) + len(faces.EXPRESSIONS) + 1 == found.shape[1] == 27
    felt = found[:, 20:26]
    happiness = list(faces.EXPRESSIONS).index("happiness")
    np.testing.assert_allclose(felt[:, happiness], (found[:, COLUMN[6]] + found[:, COLUMN[12]]) / 2, atol=1e-6)
    np.testing.assert_allclose(found[:, 26], 1 - felt.max(1), atol=1e-6)


@pytest.mark.parametrize(("unit", "planted"), PLANTED)
def test_a_unit_follows_the_movement_planted_alone(unit, planted):
    weights = np.zeros((8, 5))
    weights[:, morphed.UNITS.index(planted)] = np.random.default_rng(0).permutation(8) / 7
    person = morphed.subjects(1, seed=5)[0]
    film = morphed.render(person, weights, rng=np.random.default_rng(1))
    found = faces.action_units(np.stack([faces.landmarks(frame) for frame in film]))
    assert spearmanr(weights.max(1), found[:, COLUMN[unit]]).statistic >= 0.85


@pytest.mark.parametrize(
    ("unit", "planted", "against"),
    [(12, "smile", "frown"), (1, "brow_raise", "brow_lower"), (2, "brow_raise", "brow_lower"),
     (4, "brow_lower", "brow_raise"), (26, "jaw_drop", None)],
)  # fmt: skip
def test_a_unit_follows_its_movement_among_others(filmed, unit, planted, against):
    """Smile and frown pull the same corners, and both brow movements the same brows: a unit shows the difference."""
    by_person = []
    for weights, points in filmed:
        truth = weights[:, morphed.UNITS.index(planted)]
        if against:
            truth = truth - weights[:, morphed.UNITS.index(against)]
        by_person.append(spearmanr(truth, faces.action_units(points)[:, COLUMN[unit]]).statistic)
    assert np.min(by_person) >= 0.6


def test_brows_do_not_pass_for_a_smile(filmed):
    """The checks above can fail."""
    raised = np.concatenate([weights[:, morphed.UNITS.index("brow_raise")] for weights, _ in filmed])
    smiling = np.concatenate([faces.action_units(points)[:, COLUMN[12]] for _, points in filmed])
    assert abs(spearmanr(raised, smiling).statistic) < 0.35
