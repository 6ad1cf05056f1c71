"""Folders of frames are written here by Pillow, as png without loss, and read by OpenCV."""

from __future__ import annotations

import math
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reaffect.errors import InputError
from reaffect.fingerprint import clip_key
from reaffect.media import frame_at, open_media, probe, read_frames, read_waveform, write_video
from reaffect.media.folders import frame_files, read_picture

relaxed = settings(deadline=None, derandomize=True, max_examples=40)  # a busy machine is no failure

READERS = [lambda path: read_frames(path, 4), probe, read_waveform]


def film(count: int, height: int = 24, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def folder_of(frames: np.ndarray, folder: Path, name: str = "{:05d}.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / name.format(number))
    return folder


@pytest.fixture
def clip(tmp_path) -> Path:
    """Twelve frames as AFEW-VA has them, with their annotations beside them."""
    folder = folder_of(film(12), tmp_path / "001")
    (folder / "001.json").write_text("{}")
    return folder


# ---- the same pictures as of a video


@relaxed
@given(
    total=st.integers(1, 24),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    name=st.sampled_from(["{:05d}.png", "{}.PNG", "frame{}.png", "img_1_{}.png", "{:03d}-cut.png"]),
    seed=st.integers(0, 99),
)
def test_a_film_written_as_frames_comes_back(total, size, name, seed):
    frames = film(total, *size, seed)
    with TemporaryDirectory() as place:
        folder = folder_of(frames, Path(place, "clip"), name)
        np.testing.assert_array_equal(read_frames(folder, total), frames)
        assert probe(folder)[:2] == size[::-1]
        assert probe(folder).frames == total


@relaxed
@given(
    total=st.integers(1, 30),
    count=st.integers(1, 12),
    span=st.tuples(st.integers(0, 9), st.integers(1, 10)).filter(lambda ends: ends[0] < ends[1]),
)
def test_the_frames_taken_of_a_folder_are_those_taken_of_a_video(total, count, span):
    """The value of every pixel is the number of its frame: h264 blurs nothing in a plain picture."""
    numbers = np.arange(total) * 8
    frames = np.broadcast_to(numbers[:, None, None, None], (total, 32, 32, 3)).astype(np.uint8)
    part = (span[0] / 10, span[1] / 10)
    with TemporaryDirectory() as place:
        folder = folder_of(frames, Path(place, "clip"))
        video = write_video(Path(place, "clip.mp4"), frames, 25)
        seen = read_frames(folder, count, span=part)[:, 0, 0, 0]
        filmed = read_frames(video, count, span=part)[:, 16, 16, 0]
    assert (np.round(filmed / 8) * 8).tolist() == seen.tolist()


@pytest.mark.parametrize("span", [(0.0, 1.0), (0.5, 1.0), (0.9, 1.0)])
def test_frames_of_another_size_are_scaled_to_the_first_one(tmp_path, span):
    """Whichever part is read, and whichever frame of it is the odd one."""
    for number, size in enumerate([(20, 30), (20, 30), (40, 60), (9, 11)]):
        plain = np.full((*size, 3), 60 * number + 20, np.uint8)
        Image.fromarray(plain).save(tmp_path / f"{number}.png")
    frames = read_frames(tmp_path, 4, span=span)
    assert frames.shape == (4, 20, 30, 3)
    assert probe(tmp_path)[:2] == (30, 20)
    first = int(span[0] * 4)
    assert [set(frame.ravel().tolist()) for frame in frames[[0, -1]]] == [{60 * first + 20}, {200}]


# ---- which files are frames, and in what order


@pytest.mark.parametrize("step", [1, -1])
def test_frame_2_comes_before_frame_10(tmp_path, monkeypatch, step):
    """In whatever order the disk lists them."""
    names = ["frame10.png", "frame9.png", "frame2.png", "frame1.png", "frame02.png", "frame100.png"]
    monkeypatch.setattr(Path, "iterdir", lambda folder: [folder / name for name in names[::step]])
    expected = ["frame1.png", "frame02.png", "frame2.png", "frame9.png", "frame10.png", "frame100.png"]
    assert [file.name for file in frame_files(tmp_path)] == expected


def test_only_pictures_of_the_folder_itself_that_are_not_hidden_are_frames(clip):
    expected = frame_files(clip)
    assert [file.name for file in expected] == [f"{number:05d}.png" for number in range(12)]
    for name in ("._00001.png", ".hidden.jpg", "notes.txt", "Thumbs.db"):
        (clip / name).write_bytes(b"no picture")
    (clip / "mask.png").mkdir()
    folder_of(film(3), clip / "aligned")
    assert frame_files(clip) == expected
    np.testing.assert_array_equal(read_frames(clip, 12), film(12))


# ---- pictures of every kind


def test_jpeg_is_read_as_another_decoder_reads_it(tmp_path):
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    picture = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, ::-1], np.uint8(40)), axis=-1)
    for suffix in ("jpg", "JPEG"):
        Image.fromarray(picture).save(tmp_path / f"0.{suffix}", format="jpeg", quality=95)
        with Image.open(tmp_path / f"0.{suffix}") as image:
            expected = np.asarray(image.convert("RGB")).astype(int)
        assert np.abs(read_picture(tmp_path / f"0.{suffix}") - expected).max() <= 3


def test_grey_and_transparent_pictures_have_three_channels(tmp_path):
    colours = film(1)[0]
    Image.fromarray(colours[..., 0]).save(tmp_path / "grey.png")
    opaque = np.full((*colours.shape[:2], 1), 255, np.uint8)
    Image.fromarray(np.concatenate([colours, opaque // 2], axis=-1)).save(tmp_path / "transparent.png")
    grey, transparent = (read_picture(tmp_path / f"{name}.png") for name in ("grey", "transparent"))
    np.testing.assert_array_equal(grey, colours[..., :1].repeat(3, axis=-1))
    np.testing.assert_array_equal(transparent, colours)


def test_a_picture_that_was_taken_lying_comes_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by a quarter clockwise to show it
    picture = np.zeros((24, 40, 3), np.uint8)
    picture[:, :20] = 255
    Image.fromarray(picture).save(tmp_path / "0.jpg", exif=exif, quality=95)
    upright = read_picture(tmp_path / "0.jpg")
    assert upright.shape == (40, 24, 3)
    assert upright[:18].min() > 200
    assert upright[22:].max() < 50


# ---- what a folder does not tell


def test_a_folder_has_no_sound_and_an_unknown_rate(clip):
    facts = probe(clip)
    assert facts[:2] == (32, 24)
    assert (facts.frames, facts.has_audio) == (12, False)
    assert math.isnan(facts.fps)
    assert math.isnan(facts.duration_s)
    assert read_waveform(clip).shape == (0,)
    assert read_waveform(clip).dtype == np.float32


def test_what_needs_times_or_a_media_file_refuses_a_folder(clip):
    with pytest.raises(InputError, match=r"001: a folder, and a video.*make a video of them"):
        frame_at(clip, 0.2)
    with pytest.raises(InputError, match=r"001: a folder, and a video"), open_media(clip):
        pass


# ---- folders that are not what they should be


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("inside", [[], ["notes.txt", ".0001.png"]])
def test_a_folder_without_pictures_is_named(tmp_path, read, inside):
    for name in inside:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: a folder without frames (.jpeg, .jpg, .png)")
    assert "fetch the clip again" in str(caught.value)


def headers_of(picture: bytes, pixels: int) -> bytes:
    """A png that promises `pixels` a side."""
    place = picture.index(b"IHDR") + 4
    return picture[:place] + pixels.to_bytes(4) * 2 + picture[place + 8 :]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: b"<html>404 not found</html>",
        lambda content: content[:40],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-20],
    ],
    ids=["empty", "text", "a header", "half", "end lost"],
)
def test_a_picture_that_is_cut_off_or_none_is_named(tmp_path, suffix, spoil):
    folder = folder_of(film(5), tmp_path / "clip", "{}." + suffix)
    bad = folder / f"3.{suffix}"
    bad.write_bytes(spoil(bad.read_bytes()))
    with pytest.raises(InputError) as caught:
        read_frames(folder, 5)
    assert str(caught.value).startswith(f"{bad}: no picture that can be read")
    assert "fetch the clip again" in str(caught.value)
    assert read_frames(folder, 2).shape[0] == 2  # it is not among those that are read


def test_a_picture_that_promises_too_many_pixels_is_named(clip):
    first = clip / "00000.png"
    first.write_bytes(headers_of(first.read_bytes(), 60_000))
    with pytest.raises(InputError, match=r"00000\.png: no picture that can be read"):
        probe(clip)


def test_a_frame_that_links_to_nothing_is_named_and_not_left_out(clip):
    (clip / "00003.png").unlink()
    (clip / "00003.png").symlink_to(clip / "nowhere.png")
    with pytest.raises(InputError, match=r"00003\.png: cannot be read \(No such file or directory\); fetch"):
        read_frames(clip, 12)


def test_a_folder_that_cannot_be_opened_is_named(clip, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=r"001: cannot be opened \(Permission denied\); check the path and its perm"):
        probe(clip)


@pytest.mark.parametrize("count, span", [(0, (0.0, 1.0)), (4, (0.6, 0.5)), (4, (0.0, 1.1))])
def test_counts_and_parts_that_are_none_are_refused_as_of_a_video(clip, count, span):
    with pytest.raises(InputError, match=r"count must be|The part"):
        read_frames(clip, count, span=span)


# ---- what identifies a folder in the store


def test_the_key_of_a_folder_is_its_name_and_its_frames(clip, tmp_path):
    key = clip_key(clip)
    assert key.startswith("001@")
    assert len(key) == len("001@") + 16
    assert clip_key(str(clip)) == key
    same = folder_of(film(12), tmp_path / "elsewhere" / "001")
    (same / "001.json").write_text("{}")
    assert clip_key(same) == key
    other = same.rename(tmp_path / "elsewhere" / "002")
    assert clip_key(other) == key.replace("001@", "002@")


@pytest.mark.parametrize("change", ["another picture", "one more", "one less", "two swapped"])
def test_the_key_of_a_folder_changes_with_any_frame(clip, change):
    key = clip_key(clip)
    frame, next_one = clip / "00004.png", clip / "00005.png"
    match change:
        case "another picture":
            Image.fromarray(film(1, seed=1)[0]).save(frame)
        case "one more":
            Image.fromarray(film(1, seed=1)[0]).save(clip / "00012.png")
        case "one less":
            frame.unlink()
        case "two swapped":
            one, two = frame.read_bytes(), next_one.read_bytes()
            frame.write_bytes(two)
            next_one.write_bytes(one)
    for file in clip.iterdir():
        os.utime(file, ns=(0, 0))  # a change within one tick of the clock would not be seen
    assert clip_key(clip) != key


def test_the_key_of_a_file_is_the_sha_256_of_its_content(tmp_path):
    """What is in stores already stays found."""
    (tmp_path / "a.mp4").write_bytes(b"abc")
    assert clip_key(tmp_path / "a.mp4") == "a.mp4@ba7816bf8f01cfea"
    with pytest.raises(InputError, match=r"nowhere: cannot be read"):
        clip_key(tmp_path / "nowhere")
