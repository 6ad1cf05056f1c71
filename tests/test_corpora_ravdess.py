"""RAVDESS, whose file names say everything."""

from __future__ import annotations

import pytest

from reaffect.corpora import ravdess
from reaffect.errors import InputError

FILES = (
    "Video_Speech_Actor_01/Actor_01/01-01-01-01-01-01-01.mp4",
    "Video_Speech_Actor_01/Actor_01/02-01-01-01-01-01-01.mp4",
    "Video_Speech_Actor_01/Actor_01/01-01-02-02-02-01-01.mp4",
    "Actor_12/01-01-06-01-02-01-12.mp4",
    "Actor_12/01-01-08-01-01-02-12.mp4",
    "Actor_12/01-02-03-02-01-01-12.mp4",
    "Actor_12/03-01-06-01-02-01-12.wav",
)


@pytest.fixture
def root(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_names_are_read(root):
    table = ravdess.load(root)
    assert table.drop(columns="media").to_numpy().tolist() == [
        ["01-01-01-01-01-01-01", "1", "train", ["neutral"], "speech", "normal", "Kids are talking by the door"],
        ["01-01-02-02-02-01-01", "1", "train", ["calm"], "speech", "strong", "Dogs are sitting by the door"],
        ["01-01-06-01-02-01-12", "12", "train", ["fear"], "speech", "normal", "Dogs are sitting by the door"],
        ["01-01-08-01-01-02-12", "12", "train", ["surprise"], "speech", "normal", "Kids are talking by the door"],
    ]
    assert table.media[2] == str(root / "Actor_12" / "01-01-06-01-02-01-12.mp4")
    assert table.attrs == {"problems": {}, "counts": {"without sound": 1, "other channel": 1}}


def test_the_numbers_of_emotions_are_the_release_s():
    expected = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise")
    assert {f"0{number}": label for number, label in enumerate(expected, 1)} == ravdess.EMOTIONS


def test_songs_are_read_when_asked(root):
    both = ravdess.load(root, channels=("speech", "song"))
    assert both.channel.value_counts().to_dict() == {"speech": 4, "song": 1}
    assert ravdess.load(root, channels=("song",)).labels.tolist() == [["happy"]]


def test_actors_are_tested_on_when_named(root):
    table = ravdess.load(root, test_subjects=["12"])
    assert table.groupby("subject").split.unique().str[0].to_dict() == {"1": "train", "12": "test"}


@pytest.mark.parametrize(
    "name",
    [
        "01-01-09-01-01-01-01",
        "01-03-01-01-01-01-01",
        "01-01-01-03-01-01-01",
        "01-01-01-01-03-01-01",
        "01-01-01-01-01-01-25",
        "01-01-01-01-01-01-00",
        "01-01-01-01-01-01",
        "sample",
    ],
)
def test_a_name_that_is_none_is_an_error_or_left_out_and_listed(root, name):
    (root / "Actor_12" / f"{name}.mp4").touch()
    with pytest.raises(InputError, match=rf"{name}\.mp4: this is no name of RAVDESS"):
        ravdess.load(root)
    table = ravdess.load(root, strict=False)
    assert len(table) == 4 and list(table.attrs["problems"]) == [name]


def test_folders_of_frames_are_no_clips(root):
    (root / "frames").mkdir()
    (root / "frames" / "0001.png").touch()
    assert len(ravdess.load(root)) == 4


def test_one_clip_in_two_folders_is_refused(root):
    (root / "Actor_01").mkdir()
    (root / "Actor_01" / "01-01-01-01-01-01-01.mp4").touch()
    with pytest.raises(InputError, match="clip '01-01-01-01-01-01-01' is also"):
        ravdess.load(root)


def test_what_is_asked_for_must_be_there(root, tmp_path_factory):
    with pytest.raises(InputError, match=r"no such folder.*RAVDESS"):
        ravdess.load(root / "nowhere")
    with pytest.raises(InputError, match="no videos of RAVDESS"):
        ravdess.load(tmp_path_factory.mktemp("empty"))
    for channels in ((), ("speech", "dance")):
        with pytest.raises(InputError, match=r"channels \(.*there are speech and song"):
            ravdess.load(root, channels=channels)
    with pytest.raises(InputError, match="no clip is of actor '7'"):
        ravdess.load(root, test_subjects=["7"])


def test_sizes_stand_beside_the_published_ones(root):
    table = ravdess.check(root)
    assert table.found.to_dict() == {"speech": 4, "song": 1, "subjects": 2}
    assert 3 * (table.published["speech"] + table.published["song"]) == 7356  # all files, in three modalities
