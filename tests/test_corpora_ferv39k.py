"""FERV39k's two parts, whose clips are paths."""

from __future__ import annotations

import pytest

from reaffect.corpora import ferv39k
from reaffect.errors import InputError

TRAIN = ("Action/Sad/0010 Sad", "War/Sad/0010 Sad", "War/Happy/0002 Happy")
TEST = ("Action/Fear/0001 Fear",)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "4_setups" / "All_scenes"
    folder.mkdir(parents=True)
    for part, lines in (("train", TRAIN), ("test", TEST)):
        (folder / f"{part}_All.csv").write_text("\n".join(lines) + "\n")
        for line in lines:
            clip = tmp_path / "2_ClipsforFaceCrop" / line.split()[0]
            clip.mkdir(parents=True)
            (clip / "0001.jpg").touch()
    return tmp_path


def change(root, old, new):
    file = root / "4_setups" / "All_scenes" / "train_All.csv"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_clips_of_one_name_in_two_scenes_are_two(root):
    table = ferv39k.load(root)
    assert list(table.columns) == ["clip", "split", "media", "labels", "scene"]
    assert table["clip"].tolist() == ["Action_Sad_0010", "War_Sad_0010", "War_Happy_0002", "Action_Fear_0001"]
    assert table.split.tolist() == ["train", "train", "train", "test"]
    assert table.labels.tolist() == [["sad"], ["sad"], ["happy"], ["fear"]]
    assert table.scene.tolist() == ["Action", "War", "War", "Action"]
    assert table.media[1] == str(root / "2_ClipsforFaceCrop" / "War" / "Sad" / "0010")
    assert table.attrs == {"problems": {}}


def test_clips_may_be_videos_in_a_folder_of_another_name(root):
    for line in (*TRAIN, *TEST):
        video = root / "videos" / f"{line.split()[0]}.mp4"
        video.parent.mkdir(parents=True, exist_ok=True)
        video.touch()
    assert ferv39k.load(root, folder="videos").media[0] == str(root / "videos" / "Action" / "Sad" / "0010.mp4")


def test_missing_clips_are_refused_or_counted(root):
    (root / "2_ClipsforFaceCrop" / "War").rename(root / "elsewhere")
    with pytest.raises(
        InputError, match=r"2 of 4 clips are not in .*; the first: 'War_Sad_0010', 'War_Happy_0002', named"
    ):
        ferv39k.load(root)
    table = ferv39k.load(root, strict=False)
    assert table["clip"].tolist() == ["Action_Sad_0010", "Action_Fear_0001"]
    assert set(table.attrs["problems"]) == {"War_Sad_0010", "War_Happy_0002"}


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("5", "line 1: clip 'Action_Sad_0010': the label '5' is a number where a name is expected"),
        ("Joyous", "line 1: clip 'Action_Sad_0010': the label 'Joyous' is unknown; known are angry, disgust"),
        ("Happy", "line 1: the label of Action/Sad/0010 is 'Happy', not its folder's"),
    ],
)
def test_a_label_that_is_none_or_another_is_an_error_or_left_out_and_listed(root, label, says):
    change(root, "0010 Sad", f"0010 {label}")
    with pytest.raises(InputError, match=r"train_All\.csv") as caught:
        ferv39k.load(root)
    assert says in str(caught.value)
    table = ferv39k.load(root, strict=False)
    assert len(table) == 3 and says in table.attrs["problems"]["Action_Sad_0010"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("Action/Sad/0010 Sad", "Action/Sad/0010", "line 1: 'Action/Sad/0010'; expected are scene/class/clip"),
        ("Action/Sad/0010 Sad", "0010 Sad", "line 1: '0010 Sad'; expected are scene/class/clip"),
        ("Action/Sad/0010", "../Sad/0010", "the clip '../Sad/0010' is no path under the clips"),
        ("Action/Sad/0010", "/Sad/0010", "the clip '/Sad/0010' is no path under the clips"),
        ("War/Sad", "Action/Sad", "clip 'Action_Sad_0010' stands there twice"),
        ("Action/Sad/0010 Sad", "Action/Fear/0001 Fear", "clip 'Action_Fear_0001' (1 such clips) is in"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_file_that_is_none_is_always_an_error(root, old, new, says, strict):
    change(root, old, new)
    with pytest.raises(InputError, match=r"train_All\.csv") as caught:
        ferv39k.load(root, strict=strict)
    assert says in str(caught.value)


def test_what_is_asked_for_must_be_there(root):
    with pytest.raises(InputError, match=r"no such folder.*FERV39k"):
        ferv39k.load(root / "nowhere")
    with pytest.raises(InputError, match=r"none of 4_setups/All_scenes/train_All\.csv is there"):
        ferv39k.load(root / "4_setups")


def test_sizes_stand_beside_the_published_ones(root):
    table = ferv39k.check(root)
    assert table.found.to_dict() == {"train": 3, "test": 1, "clips": 4}
    assert table.published["train"] + table.published["test"] == table.published["clips"] == 38935
