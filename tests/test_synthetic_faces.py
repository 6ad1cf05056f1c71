"""Morphed faces before detectors that did not make them: MediaPipe's mesh and dlib's CNN."""

from __future__ import annotations

import cv2
import dlib
import numpy as np
import pytest
from scipy.stats import spearmanr

from mesh_geometry import faces_found, measure
from reaffect.errors import InputError
from reaffect.synthetic import assets, faces

PEOPLE = 6
"""In each group of sources."""


@pytest.fixture(scope="module")
def people() -> list[faces.Subject]:
    return faces.subjects(PEOPLE, seed=5) + faces.subjects(PEOPLE, seed=5, unseen=True)


def test_enough_sources_and_some_held_out():
    assert len(assets.SOURCES) >= 8
    assert len({source.name for source in assets.SOURCES}) == len(assets.SOURCES)
    assert sum(source.unseen for source in assets.SOURCES) >= 2


each_source = pytest.mark.parametrize("source", assets.SOURCES, ids=lambda source: source.name)


def around(source: assets.Source, margin: float) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A source's picture cut at `margin` box widths around its box, and the box in the cut."""
    left, top, right, bottom = source.box
    wide = int(margin * (right - left))
    x, y = max(0, left - wide), max(0, top - wide)
    cut = assets.picture(source)[y : bottom + wide, x : right + wide]
    return np.ascontiguousarray(cut), (left - x, top - y, right - x, bottom - y)


@each_source
def test_a_second_detector_sees_each_source_in_its_box(source):
    cut, (left, top, right, bottom) = around(source, 0.5)
    centres = [box.center() for box in dlib.get_frontal_face_detector()(cut, 1)]
    assert any(left <= centre.x <= right and top <= centre.y <= bottom for centre in centres)


@each_source
def test_the_cnn_sees_one_face_in_each_sources_box(source):
    cut, _ = around(source, 0.1)
    assert faces_found([cv2.resize(cut, (200, 200), interpolation=cv2.INTER_AREA)]) == [1]


def test_nobody_is_shown_as_they_are(people):
    for person in people:
        for weights in (person.shape_weights, person.texture_weights):
            assert len(weights) == 3
            assert sum(weights.values()) == pytest.approx(1, abs=1e-3)
            assert max(weights.values()) <= faces.LARGEST_WEIGHT


def test_groups_share_no_source(people):
    held_out = {source.name for source in assets.SOURCES if source.unseen}
    assert all(set(person.texture_weights) <= held_out for person in people[PEOPLE:])
    assert not any(set(person.texture_weights) & held_out for person in people[:PEOPLE])


@pytest.mark.parametrize("unseen", [False, True], ids=["seen", "unseen"])
def test_no_pixel_of_the_other_group_is_shown(unseen, monkeypatch):
    """Three of the sources stand side by side in one photo: painting over the other group's changes no head."""

    def head_pixels() -> np.ndarray:
        faces._neutral_sources.cache_clear()
        group = faces._neutral_sources(unseen)
        return group.textures * (faces._head_mask(group.shapes.mean(0)) > 0)[..., None]

    def painted_over(source: assets.Source) -> np.ndarray:
        picture = assets.picture(source).copy()
        for other in assets.SOURCES:
            if other.file == source.file and other.unseen != unseen:
                left, top, right, bottom = other.box
                picture[top:bottom, left:right] = (255, 0, 255)
        return picture

    everyone = [source for source in assets.SOURCES if not source.unseen]
    predictor = dlib.shape_predictor(assets.dlib_weights("shape_predictor_68_face_landmarks.dat"))
    rest = faces._found_shapes(everyone, predictor)  # where both groups' mouths and brows rest: two medians
    monkeypatch.setattr(faces, "_found_shapes", lambda *_: rest)
    before = head_pixels()
    monkeypatch.setattr(faces, "picture", painted_over)
    np.testing.assert_array_equal(head_pixels(), before)
    faces._neutral_sources.cache_clear()


def test_the_mesh_follows_planted_smiles_and_brows_and_the_cnn_finds_one_face(people):
    found = []
    for index, person in enumerate(people):
        rng = np.random.default_rng(index)
        units = rng.random((16, 5)) * (rng.random((16, 5)) < 0.6)
        film = faces.render(person, units, rng=rng)
        smile, brow = measure(film).T
        assert spearmanr(units[:, 0] - units[:, 1], smile).statistic >= 0.6
        assert spearmanr(units[:, 2] - units[:, 3], brow).statistic >= 0.6
        found += faces_found(film[::8])
    assert np.mean(np.array(found) == 1) >= 0.98


def test_measured_smile_does_not_follow_another_unit(people):
    """The check above can fail: jaw and brows do not pass for a smile."""
    units = np.zeros((12, 5))
    units[:, 2] = np.random.default_rng(0).permutation(12) / 12
    smile, _ = measure(faces.render(people[0], units, rng=np.random.default_rng(1))).T
    wide = np.zeros((12, 5))
    wide[:, 0] = units[:, 2]
    smiled, _ = measure(faces.render(people[0], wide, rng=np.random.default_rng(1))).T
    assert smile.std() < 0.4 * smiled.std()


def test_same_seed_same_film_and_another_seed_another(people):
    units = np.linspace(0, 1, 4)[:, None].repeat(5, 1)
    again = faces.subjects(PEOPLE, seed=5)[0]
    first = faces.render(people[0], units, rng=np.random.default_rng(3))
    assert first.shape == (4, 240, 320, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, faces.render(again, units, rng=np.random.default_rng(3)))
    assert (first != faces.render(people[0], units, rng=np.random.default_rng(4))).mean() > 0.5


def test_mirroring_twice_is_the_face_itself():
    shape = np.random.default_rng(0).random((68, 2)) * faces.CANVAS
    np.testing.assert_allclose(faces._mirrored(faces._mirrored(shape)), shape)


@each_source
def test_mirrored_landmarks_are_those_of_the_mirrored_picture(source):
    predictor = dlib.shape_predictor(assets.dlib_weights("shape_predictor_68_face_landmarks.dat"))
    image, found = faces._align(assets.picture(source), source.box, predictor)
    flipped = np.ascontiguousarray(image[:, ::-1].astype(np.uint8))
    left, top = found.min(0)
    right, bottom = found.max(0)
    box = dlib.rectangle(int(faces.CANVAS - 1 - right), int(top), int(faces.CANVAS - 1 - left), int(bottom))
    again = np.array([(point.x, point.y) for point in predictor(flipped, box).parts()])
    off = np.linalg.norm(faces._mirrored(found) - again, axis=1) / faces.EYE_DISTANCE
    assert np.median(off) < 0.06


def test_missing_assets_are_named():
    with pytest.raises(InputError, match="package 'no_such_package' is not installed"):
        assets.packaged_file("no_such_package", "a.jpg")
    with pytest.raises(InputError, match=r"lacks data/nobody\.png"):
        assets.packaged_file("skimage", "data/nobody.png")
