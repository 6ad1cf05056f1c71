"""A video frame by frame: decoded as it is shown, encoded with its own times, its sound beside it.

Only the first picture track is kept. What else a file may carry about a person is left behind: further tracks,
subtitles, cover pictures, titles, places and dates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from jaxtyping import Float, UInt8

from reaffect.errors import InputError
from reaffect.media import open_media
from reaffect.media.writing import AAC_SAMPLE_RATES, X264, audio_frames, encoded

TRACKING_LINES = 240
"""Shorter side of the small picture in which faces are followed."""

ENCODER = X264 | {"threads": "2"}


@dataclass
class Frame:
    """One picture, upright, 8 bits, 4:2:0, with even sides; `faces` says what is to be blurred in it."""

    pixels: UInt8[np.ndarray, "lines width"]
    """Luma above, both chromas below, as PyAV's yuv420p arrays."""

    pts: int
    time_s: float
    small: UInt8[np.ndarray, "height width"] = field(init=False)
    faces: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        factor = TRACKING_LINES / min(self.luma.shape)
        size = [max(16, round(length * factor)) for length in self.luma.shape[::-1]]
        self.small = cv2.resize(self.luma, size, interpolation=cv2.INTER_AREA)

    @property
    def luma(self) -> UInt8[np.ndarray, "height width"]:
        return self.pixels[: self.pixels.shape[0] * 2 // 3]

    @property
    def planes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Luma and both chromas, views of `pixels`."""
        height, width = self.luma.shape
        chroma = self.pixels[height:].reshape(2, height // 2, width // 2)
        return self.luma, chroma[0], chroma[1]


@dataclass(frozen=True)
class Format:
    """What the encoder must know of the source."""

    rate: Fraction
    time_base: Fraction
    aspect: Fraction
    colours: dict[str, int]


Sound = Callable[[av.container.OutputContainer], Iterator[av.Packet]]
"""Adds its tracks to a container that is written, and yields their packets."""


@contextmanager
def decoded(path: Path) -> Iterator[tuple[Format, int, Iterator[Frame]]]:
    """A video's format, its announced number of frames (0 if unknown), and its frames one by one.

    Raises:
        InputError: the file is missing, no video, cut off or damaged, or without a picture; also later, while frames
            are taken.
    """
    with open_media(path) as container:
        track = container.streams.best("video")
        if track is None:
            raise InputError(f"{path}: no video track; name a video file.")
        track.thread_type = "AUTO"
        rate = track.average_rate or track.guessed_rate or Fraction(25)
        frames = container.decode(track)
        first = next(frames, None)
        if first is None:
            raise InputError(f"{path}: no frame can be decoded; download it again, or leave the clip out.")
        aspect = track.sample_aspect_ratio or Fraction(1)
        aspect = 1 / aspect if round(first.rotation / 90) % 2 and aspect else aspect
        names = ("color_range", "colorspace", "color_primaries", "color_trc")
        colours = {name: int(getattr(first, name)) for name in names}
        yield Format(rate, track.time_base, aspect, colours), track.frames, _upright(first, frames, track)


def _upright(first: av.VideoFrame, rest: Iterator[av.VideoFrame], track: Any) -> Iterator[Frame]:
    step = max(1, round(1 / (track.average_rate or 25) / track.time_base))
    pts, shape = None, None
    frame: av.VideoFrame | None = first
    while frame is not None:
        # some files repeat a time or leave it out; a muxer takes neither
        told = frame.pts if frame.pts is not None else (0 if pts is None else pts + step)
        pts = told if pts is None else max(told, pts + 1)
        pixels = _pixels(frame)
        shape = shape or pixels.shape
        if pixels.shape != shape:
            raise InputError(f"{track.container.name}: the picture changes its size; re-encode it with ffmpeg.")
        yield Frame(pixels, pts, float(pts * track.time_base))
        frame = next(rest, None)


def _pixels(frame: av.VideoFrame) -> np.ndarray:
    if frame.format.name not in ("yuv420p", "yuvj420p"):
        frame = frame.reformat(format="yuv420p")  # 10 bits and other colour formats, alpha left out
    turns = round(frame.rotation / 90) % 4
    planes = [np.rot90(_plane(plane), turns) for plane in frame.planes]
    planes[0] = np.pad(planes[0], [(0, length % 2) for length in planes[0].shape], mode="edge")
    return np.concatenate([plane.ravel() for plane in planes]).reshape(-1, planes[0].shape[1])


def _plane(plane: av.video.plane.VideoPlane) -> np.ndarray:
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]


class Writer:
    """Encodes frames (h264) as they come, with the sound up to each frame's time; a context.

    Args:
        path: the file that is written; its ending names the container.
        sound: see `copied` and `spoken`.
    """

    def __init__(self, path: Path, form: Format, sound: Sound, container: str) -> None:
        self._path, self._form, self._sound, self._kind = path, form, sound, container
        self._video = None

    def __enter__(self) -> Writer:
        with self._complaints():
            # bitexact: neither version strings nor times in the file
            self._out = av.open(str(self._path), "w", format=self._kind, options={"fflags": "+bitexact"})
            self._video = self._out.add_stream("libx264", rate=self._form.rate, options=ENCODER)
            self._packets = self._sound(self._out)
            self._next = None
        return self

    def write(self, frame: Frame) -> None:
        with self._complaints():
            if self._video.codec_context.is_open is False:
                self._configure(frame)
                self._next = next(self._packets, None)
            self._sound_until(frame.time_s)
            picture = av.VideoFrame.from_ndarray(frame.pixels, format="yuv420p")
            picture.pts, picture.time_base = frame.pts, self._form.time_base
            for name, value in self._form.colours.items():
                setattr(picture, name, value)
            self._out.mux(self._video.encode(picture))

    def __exit__(self, kind: type | None, *_: Any) -> None:
        if kind is not None:  # what went wrong is being told; the file is thrown away
            with suppress(av.FFmpegError):
                self._out.close()
            return
        with self._complaints():
            self._sound_until(float("inf"))
            self._out.mux(self._video.encode(None))
            self._out.close()

    def _configure(self, frame: Frame) -> None:
        context = self._video.codec_context
        context.height, context.width, context.pix_fmt = *frame.luma.shape, "yuv420p"
        context.time_base, context.sample_aspect_ratio = self._form.time_base, self._form.aspect
        for name, value in self._form.colours.items():
            setattr(context, name, value)

    def _sound_until(self, time_s: float) -> None:
        while self._next is not None and self._next.dts * self._next.time_base <= time_s:
            self._out.mux(self._next)
            self._next = next(self._packets, None)

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{self._path.parent}: cannot write {self._kind} ({error}); name a target that ends in .mkv, which "
                "holds every kind of sound, or mend the folder."
            ) from error


def copied(source: Path) -> Sound:
    """All sound tracks of a file, packet by packet as they are."""

    def packets(out: av.container.OutputContainer) -> Iterator[av.Packet]:
        with open_media(source) as container:
            tracks = {track.index: out.add_stream_from_template(track) for track in container.streams.audio}
            yield  # the tracks are there
            for packet in container.demux(list(container.streams.audio)) if tracks else ():
                if packet.dts is not None:
                    packet.stream = tracks[packet.stream.index]
                    yield packet

    return _begun(packets)


def spoken(blocks: Iterable[Float[np.ndarray, " samples"]], sample_rate: int, start_s: float) -> Sound:
    """Mono sound as AAC, beginning at `start_s`; none where there is no block. For their sizes see `audio_frames`."""
    if sample_rate not in AAC_SAMPLE_RATES:
        raise InputError(f"AAC has no sample rate {sample_rate}; resample to one of {AAC_SAMPLE_RATES}.")

    def packets(out: av.container.OutputContainer) -> Iterator[av.Packet]:
        rest = iter(blocks)
        first = next(rest, None)
        if first is None:
            yield
            return
        track = out.add_stream("aac", rate=sample_rate, layout="mono")
        yield
        yield from encoded(track, audio_frames(chain([first], rest), sample_rate, round(start_s * sample_rate)))

    return _begun(packets)


def _begun(packets: Callable[[av.container.OutputContainer], Iterator[av.Packet]]) -> Sound:
    def begin(out: av.container.OutputContainer) -> Iterator[av.Packet]:
        generator = packets(out)
        next(generator)
        return generator

    return begin
