"""32 equidistant frames of one clip: `read_frames` against PyAV over the whole clip and OpenCV's seeks.

One process and one clip at a time; every contender may use all the cores that its decoder asks for.
Run: python -m bench.media
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np

from bench.timing import median_seconds_by_turns, report
from reaffect.media import frame_indices, probe, read_frames, write_video

COUNT = 32


def main() -> None:
    clip = Path(importlib.util.find_spec("feat").origin).parent / "tests/data/WolfgangLanger_Pexels.mp4"
    print(f"{COUNT} of {probe(clip).frames} frames, {os.cpu_count()} cores, medians of turns in one run")
    with tempfile.TemporaryDirectory() as folder:
        for size in ((640, 360), (1280, 720)):
            path = write_video(Path(folder) / f"{size[1]}p.mp4", scaled(clip, size), probe(clip).fps)
            compare(path)


def compare(path: Path) -> None:
    contenders: dict[str, Callable[[], np.ndarray]] = {
        "read_frames": partial(read_frames, path, COUNT),
        "PyAV, whole clip": partial(whole_clip, path),
        "PyAV, whole clip, all cores, only the 32 as RGB": partial(whole_clip_sparing, path),
        "OpenCV, a seek a frame": partial(seeks, path),
    }
    expected = whole_clip(path)
    for name, contender in contenders.items():
        if not np.array_equal(contender(), expected):
            raise SystemExit(f"{name} returns other frames: the comparison means nothing")
    report(path.name, median_seconds_by_turns(contenders, repeats=5), reference="read_frames")


def whole_clip(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack([frames[index] for index in frame_indices(len(frames), COUNT)])


def whole_clip_sparing(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        track = container.streams.video[0]
        track.thread_type = "AUTO"
        wanted = set(frame_indices(track.frames, COUNT))
        frames = enumerate(container.decode(track))
        return np.stack([frame.to_ndarray(format="rgb24") for index, frame in frames if index in wanted])


def seeks(path: Path) -> np.ndarray:
    video = cv2.VideoCapture(str(path))
    frames = []
    for index in frame_indices(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), COUNT):
        video.set(cv2.CAP_PROP_POS_FRAMES, index)
        frames.append(cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB))
    return np.stack(frames)


def scaled(path: Path, size: tuple[int, int]):
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield cv2.resize(frame.to_ndarray(format="rgb24"), size, interpolation=cv2.INTER_CUBIC)


if __name__ == "__main__":
    main()
