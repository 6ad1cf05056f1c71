"""Common Voice, WavCaps and VGGSound, as their releases lay them out."""

from __future__ import annotations

import json

import pytest

from reaffect.corpora import sounds
from reaffect.errors import InputError

HEADER = "client_id\tpath\tsentence\tup_votes"
COMMON_VOICE = {
    "train": [
        ("a", "common_voice_en_1.mp3", '"Well," he said, "  yes."', "2"),
        ("b", "common_voice_en_2.mp3", "No.", "3"),
    ],
    "dev": [("c", "common_voice_en_3.mp3", "Perhaps\u2028later.", "2")],
    "test": [("d", "common_voice_en_4.mp3", "Go.", "2")],
}
WAVCAPS = {
    "AudioSet_SL/as_final.json": [{"id": "Y-a_b.wav", "caption": "Rain falls.", "duration": 10.0}],
    "FreeSound/fsd_final.json": [{"id": "7", "caption": "A dog barks."}, {"id": "8", "caption": "A door."}],
    "FreeSound/fsd_final_2s.json": [{"id": "8", "caption": "A door."}],
}
VGGSOUND = '--x_0,30,"people sniggering, laughing",train\nabc,100,dog barking,test\n'


@pytest.fixture
def root(tmp_path):
    for part, rows in COMMON_VOICE.items():
        lines = [HEADER, *("\t".join(row) for row in rows)]
        write(tmp_path / f"common_voice/en/{part}.tsv", "\n".join(lines) + "\n")
        for row in rows:
            write(tmp_path / "common_voice/en/clips" / row[1])
    for name, entries in WAVCAPS.items():
        write(tmp_path / "wavcaps/json_files" / name, json.dumps({"num_captions_per_audio": 1, "data": entries}))
    write(tmp_path / "wavcaps/json_files/blacklist/blacklist_exclude_all_ac.json", '{"AudioSet": ["Y-a_b"]}')
    for name in ("AudioSet_SL/Y-a_b.flac", "FreeSound/7.flac", "FreeSound/8.flac"):
        write(tmp_path / "wavcaps/audio" / name)
    write(tmp_path / "vggsound/vggsound.csv", VGGSOUND)
    write(tmp_path / "vggsound/video/--x_0_000030.mp4")
    write(tmp_path / "vggsound/video/abc_000100.wav")
    return tmp_path


def write(file, text=""):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def test_all_three_are_read(root):
    table = sounds.load(root)
    assert table.drop(columns="media").to_numpy().tolist() == [
        ["common_voice_en_common_voice_en_1", "common_voice", "transcript", '"Well," he said, " yes."', "train"],
        ["common_voice_en_common_voice_en_2", "common_voice", "transcript", "No.", "train"],
        ["common_voice_en_common_voice_en_3", "common_voice", "transcript", "Perhaps later.", "devel"],
        ["common_voice_en_common_voice_en_4", "common_voice", "transcript", "Go.", "test"],
        ["wavcaps_AudioSet_SL_Y-a_b", "wavcaps", "caption", "Rain falls.", "train"],
        ["wavcaps_FreeSound_7", "wavcaps", "caption", "A dog barks.", "train"],
        ["wavcaps_FreeSound_8", "wavcaps", "caption", "A door.", "train"],
        ["vggsound_--x_0_000030", "vggsound", "caption", "people sniggering, laughing", "train"],
        ["vggsound_abc_000100", "vggsound", "caption", "dog barking", "test"],
    ]
    assert table.media[0] == str(root / "common_voice/en/clips/common_voice_en_1.mp3")
    assert table.media[4] == str(root / "wavcaps/audio/AudioSet_SL/Y-a_b.flac")
    assert table.media[8] == str(root / "vggsound/video/abc_000100.wav")
    assert table.attrs == {"problems": {}, "counts": {"common_voice": 0, "wavcaps": 0, "vggsound": 0}}


@pytest.mark.parametrize("source", ["common_voice", "wavcaps", "vggsound"])
def test_one_of_them_is_enough(root, tmp_path_factory, source):
    alone = tmp_path_factory.mktemp("alone")
    (root / source).rename(alone / source)
    table = sounds.load(alone)
    assert set(table.source) == {source} and list(table.attrs["counts"]) == [source]


@pytest.mark.parametrize(
    ("sound", "named"),
    [
        ("common_voice/en/clips/common_voice_en_3.mp3", r"dev\.tsv, line 2"),
        ("wavcaps/audio/FreeSound/7.flac", r"fsd_final\.json, entry 1"),
        ("vggsound/video/abc_000100.wav", r"vggsound\.csv, line 2"),
    ],
)
def test_a_missing_sound_is_an_error_or_left_out_and_counted(root, sound, named):
    (root / sound).unlink()
    with pytest.raises(InputError, match=rf"1 of \d clips are not in .*{named}"):
        sounds.load(root)
    table = sounds.load(root, strict=False)
    assert len(table) == 8
    [(clip, problem)] = table.attrs["problems"].items()
    assert clip not in set(table["clip"]) and "is not in" in problem
    assert table.attrs["counts"][sound.split("/")[0]] == 1 and sum(table.attrs["counts"].values()) == 1


def add(file, text):
    file.write_text(file.read_text(encoding="utf-8") + text, encoding="utf-8")


IN_COMMON_VOICE, IN_VGGSOUND = "common_voice/en/train.tsv", "vggsound/vggsound.csv"


@pytest.mark.parametrize(
    ("table", "row", "message"),
    [
        (IN_COMMON_VOICE, "e\t../../other.mp3\tHello.\t2\n", r"train\.tsv, line 4: the id .* is no file name"),
        (IN_COMMON_VOICE, "e\tother.mp3\tHello.\n", r"train\.tsv, line 4: 3 cells, and 4 columns"),
        (IN_COMMON_VOICE, "e\tother.mp3\tHello.\t2\t3\n", r"train\.tsv, line 4: 5 cells, and 4 columns"),
        (
            IN_COMMON_VOICE,
            "e\tcommon_voice_en_1.mp3\tHello.\t2\n",
            r"train\.tsv, line 4: this sound is also in .*train\.tsv, line 2",
        ),
        (
            IN_COMMON_VOICE,
            "e\tcommon_voice_en_4.mp3\tHello.\t2\n",
            r"test\.tsv, line 2: this sound is also in .*train\.tsv, line 4",
        ),
        (IN_VGGSOUND, "abc,ten,dog barking,test\n", r"vggsound\.csv, line 3: 'abc,ten,dog barking,test'; expected are"),
        (IN_VGGSOUND, "abc,10,dog barking,dev\n", r"vggsound\.csv, line 3"),
        (IN_VGGSOUND, "abc,10,dog, barking,test\n", r"vggsound\.csv, line 3"),
        (IN_VGGSOUND, "abc,100,cat,train\n", r"vggsound\.csv, line 3: this sound is also in .*line 2"),
        (IN_VGGSOUND, "../abc,100,cat,train\n", r"vggsound\.csv, line 3: the id '\.\./abc_000100' is no file name"),
    ],
)
def test_a_broken_row_is_named(root, table, row, message):
    add(root / table, row)
    with pytest.raises(InputError, match=message):
        sounds.load(root, strict=False)


def test_a_row_without_words_is_an_error_or_left_out_and_counted(root):
    add(root / "common_voice/en/train.tsv", "e\tcommon_voice_en_5.mp3\t \t2\n")
    with pytest.raises(InputError, match=r"train\.tsv, line 4: clip 'common_voice_en_common_voice_en_5' has no words"):
        sounds.load(root)
    table = sounds.load(root, strict=False)
    assert len(table) == 9 and table.attrs["counts"]["common_voice"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("client_id\tpath\n", r"train\.tsv: column 'sentence' is missing; there are client_id, path"),
        ("", r"train\.tsv: column 'path' is missing"),
        (None, r"train\.tsv: no such file.*fetch it again"),
    ],
)
def test_a_table_of_common_voice_that_is_none_is_named(root, content, message):
    file = root / "common_voice/en/train.tsv"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(InputError, match=message):
        sounds.load(root)


def test_a_table_in_another_encoding_is_refused(root):
    (root / "common_voice/en/train.tsv").write_bytes(b"client_id\tpath\tsentence\n\tx.mp3\t\xff\xfe\n")
    with pytest.raises(InputError, match=r"train\.tsv: this is no table"):
        sounds.load(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [{"id": "7", "caption": "A d', r"fsd_final\.json: expected is JSON with data"),
        ('{"data": [{"id": "7"}]}', r"fsd_final\.json: expected is JSON with data"),
        ('{"data": [{"id": "7", "caption": 3}]}', r"fsd_final\.json: expected is JSON with data"),
        ('[{"id": "7", "caption": "A dog."}]', r"fsd_final\.json: expected is JSON with data"),
        ('{"data": [{"id": "../7", "caption": "A dog."}]}', r"fsd_final\.json, entry 1: the id '\.\./7' is no file"),
        ('{"data": [{"id": "8", "caption": "A cat."}]}', r"entry 1: this sound is also in .*fsd_final\.json, entry 1"),
        (
            '{"data": [{"id": "7", "caption": ""}]}',
            r"fsd_final\.json, entry 1: clip 'wavcaps_FreeSound_7' has no words",
        ),
    ],
)
def test_a_broken_table_of_wavcaps_is_named(root, content, message):
    (root / "wavcaps/json_files/FreeSound/fsd_final.json").write_text(content)
    with pytest.raises(InputError, match=message):
        sounds.load(root)


def test_two_files_of_one_sound_are_refused(root):
    write(root / "vggsound/again/abc_000100.mp4")
    with pytest.raises(InputError, match=r"abc_000100\.(wav|mp4): the same sound is also"):
        sounds.load(root)


def test_what_is_asked_for_must_be_there(tmp_path):
    with pytest.raises(InputError, match=r"no such folder.*Common Voice"):
        sounds.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="none of common_voice/, wavcaps/, vggsound/ is there"):
        sounds.load(tmp_path)
    (tmp_path / "common_voice").mkdir()
    with pytest.raises(InputError, match="no locale, such as en/"):
        sounds.load(tmp_path)
    (tmp_path / "common_voice").rename(tmp_path / "wavcaps")
    with pytest.raises(InputError, match=r"no table such as json_files/FreeSound"):
        sounds.load(tmp_path)
