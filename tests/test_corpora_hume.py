"""Both official releases of Hume-Reaction, and every way in which they can be broken."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from reaffect.corpora import hume
from reaffect.errors import InputError


@pytest.fixture
def muse(tmp_path):
    """A corpus in the MuSe layout: brackets, a hyphen, empty test labels, a meta column."""
    folder = tmp_path / "c2_muse_reaction"
    folder.mkdir()
    (folder / "partition.csv").write_text(
        "Id,subject_id,Proposal\n[00001],[7],train\n[00002],[7],train\n[00003],[8],devel\n[00004],[9],test\n"
    )
    head = "File_ID,Adoration,Amusement,Anxiety,Disgust,Empathic-Pain,Fear,Surprise\n"
    (folder / "labels.csv").write_text(
        head + "[00001],0.1,0.2,0.3,0.4,0.5,0.6,0.7\n[00002],0,0,0,0,0,0,1\n[00003],1,1,1,1,1,1,1\n[00004],,,,,,,\n"
    )
    (tmp_path / "mp4").mkdir()
    for name in ("00001", "[00002]", "00003", "00004"):
        (tmp_path / "mp4" / f"{name}.mp4").touch()
    return tmp_path


@pytest.fixture
def abaw(tmp_path):
    head = "File_ID,Adoration,Amusement,Anxiety,Disgust,Empathic-Pain,Fear,Surprise,Split\n"
    rows = "00012,0.1,0.2,0.3,0.4,0.5,0.6,0.7,Train\n00013,0,0,0,0,0,0,1,Val\n00014,,,,,,,,Test\n"
    (tmp_path / "data_info.csv").write_text(head + rows)
    (tmp_path / "mp4").mkdir()
    for name in ("00012.mp4", "00013.MP4", "00014.mp4"):
        (tmp_path / "mp4" / name).touch()
    return tmp_path


def change(root, name: str, old: str, new: str) -> None:
    file = root / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_muse_release(muse):
    table = hume.load(muse)
    assert list(table.columns) == ["clip", "subject", "split", "media", *hume.EMOTIONS]
    assert table["clip"].tolist() == ["00001", "00002", "00003", "00004"]
    assert table.subject.tolist() == ["7", "7", "8", "9"]
    assert table["empathic pain"].tolist()[:3] == [0.5, 0, 1]
    assert math.isnan(table.surprise[3])
    assert table.media[1].endswith("[00002].mp4")
    assert table.attrs == {"problems": {}, "subjects_known": True}


def test_abaw_release(abaw):
    table = hume.load(abaw)
    assert table.split.tolist() == ["train", "devel", "test"]
    assert table.subject.tolist() == table["clip"].tolist() == ["00012", "00013", "00014"]
    assert not table.attrs["subjects_known"]
    assert table.media[1].endswith("00013.MP4")


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("labels.csv", "0.4", "1.4", "Disgust of id '00001' is '1.4'; it must be a number from 0 to 1"),
        ("labels.csv", "0.4", "much", "Disgust of id '00001' is 'much'"),
        ("labels.csv", "0.4", "", "Disgust of id '00001' is ''"),
        ("labels.csv", "[00002]", "[00001]", "id '00001' stands there twice"),
        ("labels.csv", "[00004]", "[00005]", "id '00005' is not in partition.csv"),
        ("labels.csv", "[00003],1,1,1,1,1,1,1\n", "", "id '00003' of partition.csv has no row"),
        ("labels.csv", "Empathic-Pain", "EmpathicPain", "column 'Empathic-Pain' is missing; there are File_ID"),
        ("partition.csv", "[8],devel", "[7],devel", "subject '7' is in train and devel"),
        ("partition.csv", "devel", "dev", "has the split 'dev'; known are train"),
        ("partition.csv", "[00002]", "[00001]", "id '00001' stands there twice"),
    ],
)
def test_a_broken_table_names_file_fault_and_mend(muse, file, old, new, says):
    change(muse, f"c2_muse_reaction/{file}", old, new)
    with pytest.raises(InputError) as caught:
        hume.load(muse)
    assert says in str(caught.value)
    assert str(muse) in str(caught.value)


def test_missing_folder_layout_and_file(tmp_path, muse):
    with pytest.raises(InputError, match="no such folder"):
        hume.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="neither c2_muse_reaction"):
        hume.load(muse / "mp4")
    (muse / "c2_muse_reaction" / "labels.csv").unlink()
    with pytest.raises(InputError, match=r"labels\.csv: no such file"):
        hume.load(muse)


def test_an_empty_or_binary_table(muse):
    file = muse / "c2_muse_reaction" / "labels.csv"
    for content in (b"", b"\xff\xfe\x00\x81"):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"labels\.csv"):
            hume.load(muse)


def test_a_missing_video_is_an_error_or_is_listed(muse):
    (muse / "mp4" / "00003.mp4").unlink()
    with pytest.raises(InputError, match=r"1 of 4 videos are missing; the first: .*00003\.mp4: no such video"):
        hume.load(muse)
    table = hume.load(muse, strict=False)
    assert table["clip"].tolist() == ["00001", "00002", "00004"]
    assert list(table.attrs["problems"]) == ["00003"]


@pytest.mark.parametrize("strict", [True, False])
def test_an_id_cannot_lead_out_of_the_folder(muse, strict):
    for file in ("partition.csv", "labels.csv"):
        change(muse, f"c2_muse_reaction/{file}", "[00001]", "[../../secret]")
    with pytest.raises(InputError, match="must not contain folders"):
        hume.load(muse, strict=strict)


def test_reads_what_the_embedded_corpus_writes(hume_full):
    table = hume.load(hume_full / "hume")
    assert table.groupby("split").size().to_dict() == {"train": 240, "devel": 96, "test": 48}
    assert table[table.split == "test"][list(hume.EMOTIONS)].isna().all(axis=None)
    assert pd.api.types.is_float_dtype(table.fear)
