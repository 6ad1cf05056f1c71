"""The organisers' feature files: read as written, refused where broken; and what the embedded ones tell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reaffect import faces, media
from reaffect.corpora import hume, hume_feats
from reaffect.errors import InputError
from reaffect.synthetic import faces as morphed
from reaffect.synthetic import hume_feats as detectors

NAMES = ["AU01", "AU02", "AU04"]


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (5, 3)).astype(np.float32)


def file_of(root: Path, clip: str, feature: str = "FAUs") -> Path:
    return root / "c2_muse_reaction" / "feats" / feature / f"{clip}.csv"


def write(root: Path, clip: str, rows: np.ndarray, names: list[str] = NAMES) -> None:
    hume_feats.write(root, "FAUs", clip, np.arange(len(rows)) / 2, rows, names)


# --- reading and writing -------------------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path, rows):
    write(tmp_path, "00001", rows)
    write(tmp_path, "00002", rows[:2])
    found = hume_feats.load(tmp_path, "FAUs", {"a.mp4": "00001", "b.mp4": "00002"})
    assert list(found.values) == ["a.mp4", "b.mp4"] and found.problems == {}
    assert found.values["a.mp4"].dtype == np.float32
    np.testing.assert_allclose(found.values["a.mp4"], rows, atol=0.51e-5)
    np.testing.assert_allclose(found.values["b.mp4"], rows[:2], atol=0.51e-5)
    assert [path.name for path in file_of(tmp_path, "").parent.iterdir() if path.suffix != ".csv"] == []


def test_the_layout_is_the_organisers(tmp_path, rows):
    write(tmp_path, "00001", rows)
    lines = file_of(tmp_path, "00001").read_text().splitlines()
    assert lines[0] == "timestamp,segment_id,AU01,AU02,AU04"
    assert [line.split(",")[:2] for line in lines[1:3]] == [["0", "00001"], ["500", "00001"]]


def test_leading_columns_may_stand_in_either_order(tmp_path, rows):
    write(tmp_path, "00001", rows)
    file = file_of(tmp_path, "00001")
    table = pd.read_csv(file)
    table[["segment_id", "timestamp", *NAMES]].to_csv(file_of(tmp_path, "00002"), index=False)
    found = hume_feats.load(tmp_path, "FAUs", {"1": "00001", "2": "00002"}).values
    np.testing.assert_array_equal(found["1"], found["2"])


def test_rows_without_a_face_are_kept(tmp_path, rows):
    rows[[0, 3]] = 0
    write(tmp_path, "00001", rows)
    found = hume_feats.load(tmp_path, "FAUs", {"x": "00001"}).values["x"]
    assert (found == 0).all(1).tolist() == [True, False, False, True, False]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file. Fetch the features again"),
        ("", "this is no table"),
        ("timestamp,segment_id,a,b\n0,1,2,3\n0,1,2,3,4,5\n", "this is no table"),
        (b"timestamp,segment_id,a\n0,1,\xff\xfe\n", "this is no table"),
        ("timestamp,segment_id,a,b,c\n", "no rows"),
        ("timestamp,segment_id\n0,1\n", "no features beside timestamp and segment_id"),
        ("time,segment_id,a,b,c\n0,1,2,3,4\n", "the first columns are time, segment_id; expected timestamp and seg"),
        ("timestamp,a,b,c,segment_id\n0,1,2,3,4\n", "the first columns are timestamp, a;"),
        ("timestamp\n0\n", "the first columns are timestamp;"),
        ("timestamp,segment_id,a,b\n0,1,2,3\n", "2 features, the other files have 3"),
        ("timestamp,segment_id,a,b,c\n0,1,2,3,4,5\n1,1,2,3,4,5\n", "this is no table (Length of header"),
        ("timestamp,segment_id,a,b,c\n0,1,2,3,4\n0,1,2,,4\n", "row 3, column 'b' is no number"),
        ("timestamp,segment_id,a,b,c\n0,1,2,3\n", "row 2, column 'c' is no number"),
        ("timestamp,segment_id,a,b,c\n0,1,2,3,none\n", "row 2, column 'c' is no number"),
        ("timestamp,segment_id,a,b,c\n0,1,inf,3,4\n", "row 2, column 'a' is no number"),
    ],
)
def test_a_broken_file_is_named_with_the_mend(tmp_path, rows, content, said):
    write(tmp_path, "00001", rows)
    write(tmp_path, "00003", rows)
    if content is not None:
        file = file_of(tmp_path, "00002")
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    clips = {"a": "00001", "b": "00002", "c": "00003"}
    with pytest.raises(InputError) as caught:
        hume_feats.load(tmp_path, "FAUs", clips)
    assert str(file_of(tmp_path, "00002")) in str(caught.value)
    assert said in str(caught.value)
    assert "Fetch" in str(caught.value) or "expected" in str(caught.value)
    found = hume_feats.load(tmp_path, "FAUs", clips, strict=False)
    assert list(found.values) == ["a", "c"]
    assert found.problems == {"b": str(caught.value)}


def test_a_missing_folder_is_an_error_even_if_not_strict(tmp_path, rows):
    write(tmp_path, "00001", rows)
    for strict in (True, False):
        with pytest.raises(InputError, match=r"feats/VGGFace2: no such folder.*fetch it"):
            hume_feats.load(tmp_path, "VGGFace2", {"a": "00001"}, strict=strict)


@pytest.mark.parametrize(
    ("rows", "count", "expected"),
    [(5, 3, [0, 2, 4]), (5, 5, [0, 1, 2, 3, 4]), (9, 1, [0]), (2, 4, [0, 0, 1, 1]), (1, 3, [0, 0, 0])],
)
def test_sampled_rows_are_equidistant_and_repeat_where_there_are_too_few(rows, count, expected):
    table = np.arange(rows)[:, None] * np.ones(2)
    found = hume_feats.sampled(table, count)
    assert found.shape == (count, 2)
    assert found[:, 0].tolist() == expected


# --- what the embedded corpus's detectors write ----------------------------------------------------------------


def test_clips_are_measured_frame_by_frame_and_zero_without_a_face(tmp_path):
    person = morphed.subjects(1, seed=3)[0]
    film = morphed.render(person, np.zeros((24, 5)), rng=np.random.default_rng(0))
    noise = np.random.default_rng(0).integers(0, 256, film.shape, dtype=np.uint8)
    for name, frames in (("person", film), ("nobody", noise)):
        file = media.write_video(tmp_path / "mp4" / f"{name}.mp4", frames, 12)
        assert not detectors.measured(tmp_path, file)
        detectors.measure(tmp_path, file)
        assert detectors.measured(tmp_path, file)
    clips = {name: name for name in ("person", "nobody")}
    units = hume_feats.load(tmp_path, "FAUs", clips).values
    embedded = hume_feats.load(tmp_path, "VGGFace2", clips).values
    assert {one.shape for one in units.values()} == {(4, 20)}  # 2 s at 2 Hz
    assert {one.shape for one in embedded.values()} == {(1, 128)}
    seen = [faces.landmarks(frame) for frame in media.read_frames(tmp_path / "mp4" / "person.mp4", 4)]
    np.testing.assert_allclose(units["person"], faces.action_units(np.stack(seen))[:, :20], atol=0.51e-5)
    assert np.linalg.norm(embedded["person"]) > 0.5
    assert not units["nobody"].any() and not embedded["nobody"].any()


@pytest.fixture(scope="module")
def clips(hume_full: Path) -> pd.DataFrame:
    return hume.load(hume_full / "hume").query("split == 'devel'")


def released(root: Path, feature: str, clips: pd.DataFrame) -> np.ndarray:
    """Each clip's mean over its rows with a face."""
    found = hume_feats.load(root / "hume", feature, dict(zip(clips["media"], clips["clip"], strict=True)))
    return np.stack([rows[rows.any(1)].mean(0) for rows in found.values.values()])


def test_released_units_follow_the_planted_movements(hume_full, clips):
    planted = json.loads((hume_full / "hume" / "planted.json").read_text())["clips"]
    truth = np.array([planted[clip]["units"] for clip in clips["clip"]])
    found = released(hume_full, "FAUs", clips)
    smiling = found[:, faces.ACTION_UNITS.index(12)]
    r = dict(zip(morphed.UNITS, np.corrcoef(smiling, truth.T)[0, 1:], strict=True))
    assert r["smile"] > 0.5
    assert r["smile"] > max(r["brow_raise"], r["brow_lower"], r["jaw_drop"]) + 0.2


def test_released_embeddings_tell_people_apart(hume_full, clips):
    found = released(hume_full, "VGGFace2", clips)
    distance = np.linalg.norm(found[:, None] - found[None], axis=-1)
    subject = clips["subject"].to_numpy()
    pairs = np.triu_indices(len(subject), 1)
    same = (subject[:, None] == subject)[pairs]
    assert np.quantile(distance[pairs][same], 0.9) < np.quantile(distance[pairs][~same], 0.1)
