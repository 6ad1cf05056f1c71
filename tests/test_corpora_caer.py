"""CAER, whose folders are its labels."""

from __future__ import annotations

import pytest

from reaffect.corpora import caer
from reaffect.errors import InputError

FOLDERS = ("Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


@pytest.fixture
def root(tmp_path):
    for part in ("train", "validation", "test"):
        for folder in FOLDERS:
            (tmp_path / part / folder).mkdir(parents=True)
            (tmp_path / part / folder / "0001.avi").touch()
    (tmp_path / "train" / "Sad" / "0002.avi").touch()
    (tmp_path / "train" / "Sad" / "._0002.avi").touch()
    (tmp_path / "train" / "readme.txt").touch()
    return tmp_path


def test_parts_and_classes_are_folders(root):
    table = caer.load(root)
    assert list(table.columns) == ["clip", "split", "media", "labels"]
    assert table.split.value_counts().to_dict() == {"train": 8, "devel": 7, "test": 7}
    assert table["clip"].is_unique and table["clip"][0] == "train_Anger_0001"
    assert table.labels[:2].tolist() == [["angry"], ["disgust"]]
    assert table.media[0] == str(root / "train" / "Anger" / "0001.avi")
    assert table.attrs == {"problems": {}}


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("4", "the label '4' is a number where a name is expected"),
        ("Joyous", "the label 'Joyous' is unknown; known are"),
    ],
)
def test_a_folder_that_names_no_class_is_an_error_or_left_out_and_listed(root, folder, says):
    (root / "train" / "Happy").rename(root / "train" / folder)
    with pytest.raises(InputError) as caught:
        caer.load(root)
    assert says in str(caught.value) and str(root / "train" / folder) in str(caught.value)
    table = caer.load(root, strict=False)
    assert len(table) == 21 and list(table.attrs["problems"]) == [f"train_{folder}_0001"]


def test_two_videos_of_one_name_are_refused(root):
    (root / "test" / "Sad" / "0001.mp4").touch()
    with pytest.raises(InputError, match="clip 'test_Sad_0001' has a second video"):
        caer.load(root)


def test_all_three_parts_must_be_there(root):
    (root / "validation").rename(root / "elsewhere")
    with pytest.raises(InputError, match="validation: no videos are there"):
        caer.load(root)
    with pytest.raises(InputError, match=r"no such folder.*CAER"):
        caer.load(root / "nowhere")


def test_sizes_of_classes_stand_beside_the_published_ones(root):
    table = caer.check(root)
    assert table.found.to_dict() == {
        "clips": 22,
        "angry": 3,
        "disgust": 3,
        "fear": 3,
        "happy": 3,
        "neutral": 3,
        "sad": 4,
        "surprise": 3,
    }
    assert table.published["clips"] == table.published.drop("clips").sum() == 13201
