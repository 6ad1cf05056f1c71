"""Morphed faces before detectors that did not make them: MediaPipe's mesh and dlib's CNN."""

from __future__ import annotations

import dlib
import numpy as np
import pytest
from scipy.stats import spearmanr

from mesh_geometry import faces_found, measure
from reaffect.errors import InputError
from reaffect.synthetic import assets, faces

PEOPLE = 3


@pytest.fixture(scope="module")
def people() -> list[faces.Subject]:
    return faces.subjects(PEOPLE, seed=5) + faces.subjects(PEOPLE, seed=5, unseen=True)


def test_enough_sources_and_some_held_out():
    assert len(assets.SOURCES) >= 8
    assert len({source.name for source in assets.SOURCES}) == len(assets.SOURCES)
    assert sum(source.unseen for source in assets.SOURCES) >= 2


@pytest.mark.parametrize("source", assets.SOURCES, ids=lambda source: source.name)
def test_a_second_detector_sees_each_source_in_its_box(source):
    left, top, right, bottom = source.box
    margin = (right - left) // 2
    picture = assets.picture(source)[max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin]
    boxes = dlib.get_frontal_face_detector()(np.ascontiguousarray(picture), 1)
    shift = (min(left, margin), min(top, margin))
    centres = [(box.center().x - shift[0], box.center().y - shift[1]) for box in boxes]
    assert any(0 <= x <= right - left and 0 <= y <= bottom - top for x, y in centres)


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


def test_missing_assets_are_named():
    with pytest.raises(InputError, match="package 'no_such_package' is not installed"):
        assets.packaged_file("no_such_package", "a.jpg")
    with pytest.raises(InputError, match=r"lacks data/nobody\.png"):
        assets.packaged_file("skimage", "data/nobody.png")
