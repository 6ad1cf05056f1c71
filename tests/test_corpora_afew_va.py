"""AFEW-VA: valence, arousal and landmarks of every frame, and no class."""

from __future__ import annotations

import json

import numpy as np
import pytest

from reaffect.corpora import afew_va
from reaffect.errors import InputError


def clip(root, name, actor, values, **changes):
    """One clip with a frame for each (valence, arousal)."""
    folder = root / name
    folder.mkdir(parents=True)
    frames = {}
    for number, (valence, arousal) in enumerate(values):
        (folder / f"{number:05d}.png").touch()
        points = [[number + point, point / 2] for point in range(68)]
        frames[f"{number:05d}"] = {"valence": valence, "arousal": arousal, "landmarks": points}
    told = {"actor": actor, "video_id": folder.name, "frames": frames} | changes
    (folder / f"{folder.name}.json").write_text(json.dumps(told))
    return folder / f"{folder.name}.json"


@pytest.fixture
def root(tmp_path):
    clip(tmp_path, "001", "A. Actor", [(-2, 3), (4, 5)])
    clip(tmp_path, "deeper/002", "B. Actor", [(10, -10)])
    (tmp_path / "001_cropped").mkdir()
    return tmp_path


def edit(root, change):
    file = root / "001" / "001.json"
    told = json.loads(file.read_text())
    change(told)
    file.write_text(json.dumps(told))


def test_a_row_a_clip_without_a_class(root):
    table = afew_va.load(root)
    assert table.to_numpy().tolist() == [
        ["1", "A. Actor", "train", str(root / "001"), [], 2, 1.0, 4.0],
        ["2", "B. Actor", "train", str(root / "deeper" / "002"), [], 1, 10.0, -10.0],
    ]
    assert list(table.columns) == ["clip", "subject", "split", "media", "labels", "frames", "valence", "arousal"]
    assert table.attrs == {"problems": {}}


def test_a_row_a_frame(root):
    table = afew_va.load_frames(root)
    assert table.drop(columns="landmarks").to_numpy().tolist() == [
        ["1", "A. Actor", 0, str(root / "001" / "00000.png"), -2.0, 3.0],
        ["1", "A. Actor", 1, str(root / "001" / "00001.png"), 4.0, 5.0],
        ["2", "B. Actor", 0, str(root / "deeper" / "002" / "00000.png"), 10.0, -10.0],
    ]
    assert table.landmarks[1].shape == (68, 2) and table.landmarks[1].dtype == np.float32
    assert table.landmarks[1][10].tolist() == [11, 5]


def test_actors_are_tested_on_when_named(root):
    assert afew_va.load(root, test_subjects=["B. Actor"]).split.tolist() == ["train", "test"]
    with pytest.raises(InputError, match=r"no clip is of 'C\. Actor'"):
        afew_va.load(root, test_subjects=["C. Actor"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda told: told["frames"]["00001"].update(valence=11), "frame '00001' has valence and arousal [11.0, 5.0]"),
        (lambda told: told["frames"]["00001"].update(arousal="high"), "frame '00001' lacks valence, arousal or"),
        (lambda told: told["frames"]["00001"].update(arousal=float("nan")), "each must be from -10 to 10"),
        (lambda told: told["frames"]["00001"].pop("landmarks"), "frame '00001' lacks valence, arousal or landmarks"),
        (lambda told: told["frames"]["00001"]["landmarks"].pop(), "has landmarks (67, 2); expected are 68 points"),
        (lambda told: told["frames"].update({"00001": None}), "frame '00001' lacks valence"),
        (lambda told: told["frames"].update({"00009": {}}), "of frame '00009' there is no picture"),
        (
            lambda told: told["frames"].update({"../deeper/002/00000": {}}),
            "of frame '../deeper/002/00000' there is no picture",
        ),
        (lambda told: told.update(frames={}), "it has 0 frames of clip '001'"),
        (lambda told: told.update(video_id="002"), "it has 2 frames of clip '002'"),
        (lambda told: told.pop("actor"), "expected is JSON with actor, video_id and frames"),
        (lambda told: told.update(frames=[1]), "expected is JSON with actor, video_id and frames"),
    ],
)
def test_annotations_that_cannot_be_read_are_an_error_or_left_out_and_listed(root, change, says):
    edit(root, change)
    with pytest.raises(InputError) as caught:
        afew_va.load(root)
    assert says in str(caught.value) and str(root / "001" / "001.json") in str(caught.value)
    table = afew_va.load(root, strict=False)
    assert table["clip"].tolist() == ["2"] and says in table.attrs["problems"]["1"]


def test_a_file_that_is_cut_off_is_named(root):
    file = root / "001" / "001.json"
    file.write_text(file.read_text()[:-20])
    with pytest.raises(InputError, match=r"001\.json: expected is JSON"):
        afew_va.load(root)


def test_one_clip_in_two_folders_is_refused(root):
    clip(root, "deeper/001", "A. Actor", [(0, 0)])
    with pytest.raises(InputError, match="clip '1' is also"):
        afew_va.load(root, strict=False)


def test_nothing_is_left_when_no_clip_can_be_read(tmp_path):
    clip(tmp_path, "001", "A. Actor", [(20, 0)])
    table = afew_va.load(tmp_path, strict=False)
    assert table.empty and list(table.attrs["problems"]) == ["1"]


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    file = clip(tmp_path, "001", "A. Actor", [(0, 0), (1, 0), (2, 0)])
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"frames": dict(reversed(told["frames"].items()))}))
    assert afew_va.load_frames(tmp_path).valence.tolist() == [0, 1, 2]


def test_what_is_asked_for_must_be_there(root):
    with pytest.raises(InputError, match=r"no such folder.*AFEW-VA"):
        afew_va.load(root / "nowhere")
    with pytest.raises(InputError, match="no clip such as"):
        afew_va.load(root / "001_cropped")


def test_the_number_of_clips_stands_beside_the_published_one(root):
    assert afew_va.check(root).to_dict("index") == {"clips": {"found": 2, "published": 600, "agrees": False}}
