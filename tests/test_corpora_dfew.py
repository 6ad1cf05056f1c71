"""DFEW's folds in both layouts, and everything that can be wrong with them."""

from __future__ import annotations

import pytest

from reaffect.corpora import dfew
from reaffect.errors import InputError

ROWS = {1: "happy", 2: "sad", 3: "neutral", 4: "angry", 5: "surprise", 6: "disgust", 7: "fear"}
"""The numbers as the release's README prints them."""


def release(root, *, train="EmoLabel_DataSplit/train(single-labeled)/set_{}.csv", test=None, head="video_name,label"):
    """Ten clips, numbered from 1; fold k tests clips 2k - 1 and 2k. Labels go round the seven numbers."""
    test = test or train.replace("train", "test")
    for fold in range(1, 6):
        tested = {2 * fold - 1, 2 * fold}
        for name, clips in ((train, set(range(1, 11)) - tested), (test, tested)):
            file = root / name.format(fold)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join([head, *(f"{clip},{(clip - 1) % 7 + 1}" for clip in sorted(clips))]) + "\n")
    return root


def videos(root, folder="Clip/original", clips=range(1, 11)):
    (root / folder).mkdir(parents=True, exist_ok=True)
    for clip in clips:
        (root / folder / f"{clip:05d}.mp4").touch()
    return root


@pytest.fixture
def root(tmp_path):
    return videos(release(tmp_path))


def change(root, old, new, name="EmoLabel_DataSplit/train(single-labeled)/set_1.csv"):
    file = root / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("train", "head"),
    [
        ("EmoLabel_DataSplit/train(single-labeled)/set_{}.csv", "video_name,label"),
        ("EmoLabel_DataSplit/train(single_labeled)/set_{}.csv", "video_name,label"),
        ("label/single_trainset_{}.csv", "order,label"),
    ],
)
def test_both_layouts_give_the_same_fold(tmp_path, train, head):
    table = dfew.load(videos(release(tmp_path, train=train, head=head)), fold=2)
    assert list(table.columns) == ["clip", "split", "media", "labels"]
    assert table["clip"].tolist() == ["1", "2", "5", "6", "7", "8", "9", "10", "3", "4"]
    assert table.split.tolist() == ["train"] * 8 + ["test"] * 2
    assert table.labels.tolist() == [[ROWS[(int(clip) - 1) % 7 + 1]] for clip in table["clip"]]
    assert table.media[1] == str(tmp_path / "Clip" / "original" / "00002.mp4")
    assert table.attrs == {"problems": {}, "fold": 2}


def test_the_folds_test_each_clip_once(root):
    tested = [clip for fold in range(1, 6) for clip in dfew.load(root, fold).query("split == 'test'")["clip"]]
    assert sorted(map(int, tested)) == list(range(1, 11))


def test_numbers_are_dfew_s_own():
    assert {str(number): label for number, label in ROWS.items()} == dfew.NUMBERS


def test_names_are_read_as_well_as_numbers(root):
    change(root, "3,3", "3,Happiness")
    assert dfew.load(root).labels[0] == ["happy"]


def test_clips_in_parts_padded_or_not_and_with_suffix_are_found(tmp_path):
    release(tmp_path, head="video_name,label")
    videos(tmp_path, "Clip/original/part_1", range(1, 6))
    folder = tmp_path / "Clip" / "original" / "part_2"
    folder.mkdir()
    for clip in range(6, 11):
        (folder / f"{clip}.MP4").touch()
        (folder / f"._{clip}.mp4").touch()
    change(tmp_path, "\n3,", "\n00003.mp4,")
    table = dfew.load(tmp_path)
    assert table["clip"].tolist()[0] == "3" and table.media[0].endswith("part_1/00003.mp4")
    assert table.media[4].endswith("part_2/7.MP4")


def test_folders_of_frames_stand_for_clips_where_there_are_no_videos(tmp_path):
    release(tmp_path)
    for clip in range(1, 11):
        folder = tmp_path / "Clip" / "clip_224x224_16f" / f"{clip:05d}"
        folder.mkdir(parents=True)
        (folder / "1.jpg").touch()
    table = dfew.load(tmp_path)
    assert table.media[0] == str(tmp_path / "Clip" / "clip_224x224_16f" / "00003")


def test_videos_go_before_frames_and_a_named_folder_before_both(root):
    (root / "Clip" / "clip_224x224" / "00003").mkdir(parents=True)
    (root / "Clip" / "clip_224x224" / "00003" / "1.jpg").touch()
    assert dfew.load(root).media[0].endswith("original/00003.mp4")
    with pytest.raises(
        InputError, match=r"9 of 10 clips are not in .*clip_224x224; the first: '4', '5', '6', named in"
    ):
        dfew.load(root, folder="Clip/clip_224x224")


def test_a_fold_that_names_missing_clips_is_refused_or_they_are_counted(root):
    for clip in (2, 3, 7, 9):
        (root / "Clip" / "original" / f"{clip:05d}.mp4").unlink()
    with pytest.raises(
        InputError, match=r"4 of 10 clips are not in .*original; the first: '3', '7', '9', .*set_1\.csv"
    ):
        dfew.load(root)
    table = dfew.load(root, strict=False)
    assert table["clip"].tolist() == ["4", "5", "6", "8", "10", "1"]
    assert set(table.attrs["problems"]) == {"2", "3", "7", "9"}
    assert "test(single-labeled)/set_1.csv: clip '2' is not in" in table.attrs["problems"]["2"]


@pytest.mark.parametrize("strict", [True, False])
def test_parts_of_a_fold_that_share_a_clip_are_refused(root, strict):
    change(root, "3,3", "2,2")
    with pytest.raises(
        InputError, match=r"clip '2' \(1 such clips\) is in .*train.*set_1\.csv and in .*test.*set_1\.csv"
    ):
        dfew.load(root, strict=strict)


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("0", "line 2: clip '3': the label '0' is none of DFEW's numbers, 1 to 7"),
        ("8", "line 2: clip '3': the label '8' is none of DFEW's numbers"),
        ("-1", "the label '-1' is none of DFEW's numbers"),
        ("2.5", "the label '2.5' is a number where a name is expected"),
        ("contempt", "the label 'contempt' is unknown; known are happy, sad, neutral, angry, surprise, disgust, fear"),
        ("", "the label '' is unknown"),
    ],
)
def test_a_label_that_is_none_is_an_error_or_left_out_and_listed(root, label, says):
    change(root, "3,3", f"3,{label}")
    with pytest.raises(InputError) as caught:
        dfew.load(root)
    assert says in str(caught.value) and str(root) in str(caught.value)
    table = dfew.load(root, strict=False)
    assert len(table) == 9 and says in table.attrs["problems"]["3"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("4,4", "03,3", "clip '3' stands there twice"),
        ("3,3", "../../secret,3", "must not contain folders"),
        ("3,3", ",3", "must not contain folders"),
        ("label", "emotion", "column 'label' is missing; there are video_name, emotion"),
        ("video_name,label\n3,3", "a,b,label\n3,4,3", "column 'video_name' is missing; there are a, b, label"),
        ("3,3", "3,3,9", "this is no table"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_table_that_is_none_is_always_an_error(root, old, new, says, strict):
    change(root, old, new)
    with pytest.raises(InputError, match=r"set_1\.csv") as caught:
        dfew.load(root, strict=strict)
    assert says in str(caught.value)


def test_what_is_asked_for_must_be_there(root):
    for arguments, says in [
        ((root / "nowhere",), "no such folder.*DFEW"),
        ((root, 6), "fold 6: there are 1 to 5"),
        ((root, 0), "fold 0: there are 1 to 5"),
        ((root / "Clip",), r"none of EmoLabel_DataSplit/train.*set_1\.csv, .*single_trainset_1\.csv is there"),
    ]:
        with pytest.raises(InputError, match=says):
            dfew.load(*arguments)


def test_two_files_of_one_clip_are_refused(root):
    (root / "Clip" / "original" / "3.avi").touch()
    with pytest.raises(InputError, match="clip '3' is also"):
        dfew.load(root)


def test_sizes_of_folds_stand_beside_the_published_ones(root):
    table = dfew.check(root)
    assert table.published[[f"fold {fold} test" for fold in range(1, 6)]].tolist() == [2341, 2341, 2340, 2339, 2336]
    assert table.published["clips"] == sum(table.published[f"fold {fold} test"] for fold in range(1, 6))
    for fold in range(1, 6):
        assert table.published[f"fold {fold} train"] == 11697 - table.published[f"fold {fold} test"]
    assert table.found.tolist() == [8] * 5 + [2] * 5 + [10]
    assert not table.agrees.any()


def test_a_release_of_the_published_sizes_agrees(tmp_path):
    bounds = [0, 2341, 4682, 7022, 9361, 11697]
    for fold in range(5):
        tested = range(bounds[fold] + 1, bounds[fold + 1] + 1)
        for part, clips in (("test", tested), ("train", sorted(set(range(1, 11698)) - set(tested)))):
            file = tmp_path / "label" / f"single_{part}set_{fold + 1}.csv"
            file.parent.mkdir(exist_ok=True)
            file.write_text("video_name,label\n" + "".join(f"{clip},1\n" for clip in clips))
    assert dfew.check(tmp_path).agrees.all()
