"""MAFW's folds, compound labels and captions, and everything that can be wrong with them."""

from __future__ import annotations

import numpy as np
import pytest

from reaffect import media
from reaffect.corpora import mafw
from reaffect.errors import InputError

NAMES = (
    *("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise", "contempt", "anxiety"),
    *("helplessness", "disappointment"),
)
CLASSES = (
    *("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise", "contemptuous", "anxious"),
    *("helpless", "disappointed"),
)


def release(root, split="split"):
    """Eleven clips, 00021 to 00031, one a class; fold k tests clips 2k + 19 and 2k + 20. Two are compound."""
    labels = {f"{number:05d}": name for number, name in enumerate(NAMES, 21)}
    compound = labels | {"00021": "anger_disgust", "00029": "anxiety_fear_sadness"}
    for kind, told in (("single", labels), ("compound", compound)):
        for fold in range(1, 6):
            tested = {f"{2 * fold + 19:05d}", f"{2 * fold + 20:05d}"}
            for part in ("train", "test"):
                clips = [clip for clip in told if (clip in tested) == (part == "test")]
                write(root, split, kind, "no_caption", fold, part, [f"{clip}.mp4 {told[clip]}" for clip in clips])
                spoken = [clip for clip in clips if told[clip] != "neutral"]
                rows = [f"{clip}.mp4\t{told[clip]}\t他在{clip}。\tHe is, in {clip}." for clip in spoken]
                write(root, split, kind, "with_caption", fold, part, rows)
    (root / "data" / "clips").mkdir(parents=True)
    for clip in labels:
        (root / "data" / "clips" / f"{clip}.mp4").touch()
    return root


def write(root, split, kind, captions, fold, part, lines, encoding="utf-8"):
    file = root / split / kind / captions / f"set_{fold}" / f"{part}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding=encoding)


@pytest.fixture
def root(tmp_path):
    return release(tmp_path)


def change(root, old, new, name="split/single/no_caption/set_1/train.txt"):
    file = root / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("split", ["split", "Train & Test Set"])
def test_one_fold_of_single_labels(tmp_path, split):
    table = mafw.load(release(tmp_path, split), fold=1)
    assert list(table.columns) == ["clip", "split", "media", "labels", "text"]
    assert table["clip"].tolist() == [str(number) for number in (*range(23, 32), 21, 22)]
    assert table.split.tolist() == ["train"] * 9 + ["test"] * 2
    assert table.labels.tolist() == [[label] for label in (*CLASSES[2:], *CLASSES[:2])]
    assert table.media[0] == str(tmp_path / "data" / "clips" / "00023.mp4")
    assert table.text[0] == "He is, in 00023."
    assert table.attrs == {"problems": {}, "fold": 1, "kind": "single", "counts": {"without caption": 1}}


def test_the_classes_are_mapped_by_name_in_the_release_s_order():
    assert mafw.CLASSES == CLASSES


def test_compound_labels_are_parted(root):
    table = mafw.load(root, kind="compound").set_index("clip")
    assert table.labels["21"] == ["angry", "disgust"]
    assert table.labels["29"] == ["anxious", "fear", "sad"]
    assert table.labels["23"] == ["fear"]


def test_a_compound_label_in_the_single_folds_is_refused(root):
    change(root, "00023.mp4 fear", "00023.mp4 fear_anger")
    with pytest.raises(
        InputError, match=r"clip '23' has the labels fear, angry, and one is expected\. Pass kind='compound'"
    ):
        mafw.load(root)


def test_captions_in_either_language_and_neutral_clips_without(root):
    english, chinese = mafw.load(root), mafw.load(root, language="chinese")
    assert chinese.text[0] == "他在00023。"
    for table in (english, chinese):
        assert table[table.text == ""].labels.tolist() == [["neutral"]]
    with pytest.raises(InputError, match="language 'german'"):
        mafw.load(root, language="german")


def test_captions_that_are_not_utf_8_are_read_as_the_release_s_other_encoding(root):
    line = "00023.mp4\tfear\t她害怕。\tShe fears."
    write(root, "split", "single", "with_caption", 1, "train", [line], encoding="gb18030")
    assert mafw.load(root, language="chinese").text[0] == "她害怕。"


def test_without_files_of_captions_none_is_known(root):
    for file in root.glob("split/*/with_caption/*/*.txt"):
        file.unlink()
    assert mafw.load(root).attrs["counts"] == {"without caption": 11}


def test_a_line_of_captions_that_is_none_is_named(root):
    name = "split/single/with_caption/set_1/test.txt"
    change(root, "anger\t", "anger ", name)
    with pytest.raises(InputError, match=r"with_caption/set_1/test\.txt, line 1: 3 cells; expected are clip, label"):
        mafw.load(root)
    (root / name).write_bytes(b"\xff\xff\xff\x00\n")
    with pytest.raises(InputError, match="this is no text in utf-8-sig or gb18030"):
        mafw.load(root)


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("3", "line 1: clip '23': the label '3' is a number where a name is expected"),
        ("joyous", "line 1: clip '23': the label 'joyous' is unknown; known are angry, disgust, fear, happy"),
        ("calm", "the label 'calm' is unknown"),
        ("fear_", "the label '' is unknown"),
        ("fear_7", "the label '7' is a number where a name is expected"),
    ],
)
def test_a_label_that_is_none_is_an_error_or_left_out_and_listed(root, label, says):
    change(root, "00023.mp4 fear", f"00023.mp4 {label}")
    with pytest.raises(InputError) as caught:
        mafw.load(root)
    assert says in str(caught.value) and str(root) in str(caught.value)
    table = mafw.load(root, strict=False)
    assert len(table) == 10 and says in table.attrs["problems"]["23"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("00023.mp4 fear", "00023.mp4", "line 1: '00023.mp4'; expected are a clip and a label"),
        ("00023.mp4 fear", "00023.mp4 fear 3", "line 1: '00023.mp4 fear 3'; expected are"),
        ("00023.mp4", "24.mp4", "clip '24' stands there twice"),
        ("00023.mp4", "../../secret.mp4", "must not contain folders"),
        ("00023.mp4", "21.mp4", "clip '21' (1 such clips) is in"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_file_that_is_none_is_always_an_error(root, old, new, says, strict):
    change(root, old, new)
    with pytest.raises(InputError, match=r"set_1/train\.txt") as caught:
        mafw.load(root, strict=strict)
    assert says in str(caught.value)


def test_binary_content_is_named(root):
    (root / "split/single/no_caption/set_1/train.txt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match=r"set_1/train\.txt: this is no text"):
        mafw.load(root)


def test_a_fold_that_names_missing_clips_is_refused_or_they_are_counted(root):
    for clip in ("00023", "00021"):
        (root / "data" / "clips" / f"{clip}.mp4").unlink()
    with pytest.raises(
        InputError, match=r"2 of 11 clips are not in .*data/clips; the first: '23', '21', named in .*train"
    ):
        mafw.load(root)
    table = mafw.load(root, strict=False)
    assert len(table) == 9 and set(table.attrs["problems"]) == {"21", "23"}


def test_what_is_asked_for_must_be_there(root):
    for arguments, says in [
        ((root / "nowhere",), "no such folder.*MAFW"),
        ((root / "data",), r"none of split/single/.*, Train & Test Set/single/no_caption/set_1/train\.txt is there"),
        ((root, 6), "fold 6: there are 1 to 5"),
    ]:
        with pytest.raises(InputError, match=says):
            mafw.load(*arguments)
    with pytest.raises(InputError, match="kind 'multi': there are single and compound"):
        mafw.load(root, kind="multi")


def test_sizes_stand_beside_the_published_ones_and_silent_clips_are_counted(root):
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    for number, clip in enumerate(sorted((root / "data" / "clips").iterdir())):
        clip.unlink()
        sound = (np.zeros(8000, np.float32), 16000) if number else ()
        media.write_video(clip, frames, 8, *sound)
    table = mafw.check(root)
    assert table.found[["clips", "clips without audio"]].tolist() == [11, 1]
    assert table.published[["clips", "clips without audio"]].tolist() == [10045, 21]
    for kind, total in (("single", 9172), ("compound", 8996)):
        for fold in range(1, 6):
            names = [f"{kind} fold {fold} {part}" for part in ("train", "test")]
            assert table.published[names].sum() == total and table.found[names].tolist() == [9, 2]
        assert sum(table.published[f"{kind} fold {fold} test"] for fold in range(1, 6)) == total
