"""The writer: h264 and aac in mp4."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

from reaffect.errors import InputError

# The fastest preset: a third of the time of "veryfast" and read twice as fast, for about 1 dB at the same crf and other
# sizes. The same bytes anywhere: x264 cuts its work by the number of threads, and its macroblock tree, in assembler and
# with B-frames, differs from call to call within one process.
X264 = {"preset": "ultrafast", "crf": "20", "threads": "1", "x264-params": "mbtree=0"}

AAC_FRAME = 1024  # samples in one AAC packet
AAC_SAMPLE_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float,
    waveform: np.ndarray | None = None,
    sample_rate: int | None = None,
) -> Path:
    """Write an mp4 file with h264 video (yuv420p) and, given a waveform, mono aac sound.

    The file appears whole or not at all. The same arguments give the same bytes, whatever the number of cores.

    Args:
        path: where to write; a file already there is replaced.
        frames: array (frames, height, width, 3) or any iterable of (height, width, 3), uint8 RGB; even sizes.
        fps: frames per second.
        waveform: float (samples,), clipped to [-1, 1].
        sample_rate: samples per second, one that AAC knows (8000 to 48000).

    Returns:
        `path`.

    Raises:
        InputError: no frames, frames of another type or of different or odd sizes, a waveform that is not mono,
            an unknown sample rate.
    """
    path = Path(path)
    if (waveform is None) != (sample_rate is None):
        raise InputError(f"{path}: give waveform and sample_rate together, or neither.")
    if waveform is not None and np.ndim(waveform) != 1:
        raise InputError(f"{path}: waveform must be mono, (samples,), not {np.shape(waveform)}; average the channels.")
    if sample_rate is not None and sample_rate not in AAC_SAMPLE_RATES:
        raise InputError(f"{path}: AAC has no sample rate {sample_rate}; resample to one of {AAC_SAMPLE_RATES}.")
    if not fps > 0:
        raise InputError(f"{path}: fps must be above 0, not {fps}.")
    frames = _checked(frames, path)
    first = next(frames, None)
    if first is None:
        raise InputError(f"{path}: no frames to write.")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _encode(aside, chain([first], frames), first.shape, fps, waveform, sample_rate)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def _checked(frames: Iterable[np.ndarray], path: Path) -> Iterator[np.ndarray]:
    shape = None
    for number, frame in enumerate(frames):
        frame = np.asarray(frame)
        shape = shape or frame.shape
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise InputError(
                f"{path}: frame {number} must be uint8 (height, width, 3), not {frame.dtype} {frame.shape}."
            )
        if frame.shape != shape:
            raise InputError(f"{path}: frame {number} is {frame.shape}, the first one {shape}; make them alike.")
        if shape[0] % 2 or shape[1] % 2:
            raise InputError(f"{path}: h264 in yuv420p needs an even height and width, not {shape[:2]}; crop or pad.")
        yield np.ascontiguousarray(frame)


def _encode(path, frames, shape, fps, waveform, sample_rate) -> None:
    # bitexact: neither version strings nor times in the file
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        rate = Fraction(fps).limit_denominator(1001)
        video = container.add_stream("libx264", rate=rate, options=X264)
        video.height, video.width, video.pix_fmt = shape[0], shape[1], "yuv420p"
        streams = [encoded(video, _video_frames(frames, rate))]
        if waveform is not None:
            audio = container.add_stream("aac", rate=sample_rate, layout="mono")
            streams.append(encoded(audio, audio_frames([waveform], sample_rate)))
        for packet in heapq.merge(*streams, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)


def encoded(stream, frames: Iterable[av.frame.Frame]) -> Iterator[av.Packet]:
    """The packets of an output stream's frames."""
    for frame in chain(frames, [None]):  # None flushes the encoder
        yield from stream.encode(frame)


def _video_frames(arrays: Iterable[np.ndarray], rate: Fraction) -> Iterator[av.VideoFrame]:
    for number, array in enumerate(arrays):
        frame = av.VideoFrame.from_ndarray(array, format="rgb24")
        frame.pts, frame.time_base = number, 1 / rate
        yield frame


def audio_frames(blocks: Iterable[np.ndarray], sample_rate: int, start: int = 0) -> Iterator[av.AudioFrame]:
    """Mono sound, clipped to [-1, 1], in frames as long as AAC's packets, as are all blocks but the last or a multiple.

    Args:
        blocks: float (samples,), one after the other.
        sample_rate: samples per second.
        start: the first sample's place, in samples.
    """
    for block in blocks:
        samples = np.clip(np.asarray(block, np.float32)[None], -1, 1)
        for first in range(0, samples.shape[1], AAC_FRAME):
            chunk = np.ascontiguousarray(samples[:, first : first + AAC_FRAME])
            frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
            frame.pts, frame.time_base, frame.sample_rate = start + first, Fraction(1, sample_rate), sample_rate
            yield frame
        start += samples.shape[1]
