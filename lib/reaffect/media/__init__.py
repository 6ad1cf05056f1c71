"""Clips in and out, videos or folders of frames: equidistant frames, mono waveforms, facts, and a writer."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import av
import numpy as np
import soxr  # librosa's resampler, which librosa does not stream; and it would bring 150 MB of numba
from jaxtyping import Float32, UInt8

from reaffect.errors import InputError
from reaffect.media.folders import frame_files, read_picture, read_pictures
from reaffect.media.writing import AAC_FRAME, write_video

__all__ = [
    "WHOLE",
    "Probe",
    "frame_at",
    "frame_indices",
    "open_media",
    "probe",
    "read_frames",
    "read_waveform",
    "waveform_blocks",
    "write_video",
]


def _import_decord() -> ModuleType | None:
    """decord2, or None where it has no wheel (Intel Macs, musl): PyAV then reads alone, the same frames.

    On its import decord2 loads every CUDA library of the environment for all to see. One of them, nvblas, has an
    sgemm that a torch imported later takes for its own, and crashes. Decoding here is on the CPU: they are hidden.
    """
    known = sys.modules.get("nvidia")
    sys.modules["nvidia"] = None
    try:
        import decord
    except ImportError:
        return None
    finally:
        del sys.modules["nvidia"]
        if known is not None:
            sys.modules["nvidia"] = known
    return decord


decord = _import_decord()


class Probe(NamedTuple):
    """What a clip holds, as `read_frames` and `read_waveform` give it."""

    width: int
    height: int  # of the upright picture, in a folder of frames of the first one
    fps: float  # mean over the clip; NaN for a folder of frames, which does not tell
    frames: int
    duration_s: float  # of the video track; NaN for a folder of frames
    has_audio: bool


WHOLE = (0.0, 1.0)  # a clip from its beginning to its end


def frame_indices(total: int, count: int, span: tuple[float, float] = WHOLE) -> list[int]:
    """Numbers of `count` equidistant frames of a clip of `total`, or of its part `span` (shares), both ends included.

    The k-th of K is frame k (N - 1) / (K - 1), rounded, a half upward. ViPER (Vaiani et al. 2022) takes
    round(k N / 31) for k = 0..30 and the last frame: at most one frame off, but for clips of about 32 frames and
    fewer it repeats some and leaves out others. Here a clip shorter than `count` repeats frames evenly, and one
    frame is the first.

    >>> frame_indices(100, 5)
    [0, 25, 50, 74, 99]
    >>> frame_indices(3, 6)
    [0, 0, 1, 1, 2, 2]
    >>> frame_indices(100, 3, (0.5, 0.75))
    [50, 62, 74]
    """
    if count < 1:
        raise InputError(f"count must be at least 1, not {count}.")
    if not 0 <= span[0] < span[1] <= 1:
        raise InputError(f"The part {span} of a clip must lie between 0 and 1 and begin before it ends.")
    first = min(math.floor(span[0] * total), total - 1)
    rest = max(math.ceil(span[1] * total), first + 1) - first - 1
    if count == 1:
        return [first]
    steps = count - 1
    return [first + (2 * k * rest + steps) // (2 * steps) for k in range(count)]


def read_frames(
    path: str | Path, count: int, *, span: tuple[float, float] = WHOLE
) -> UInt8[np.ndarray, "count height width 3"]:
    """`count` equidistant frames of a clip or of a part of it, upright, RGB; see `frame_indices` for which.

    Equidistant in frames, not in seconds, as the papers' own samplers are: of a clip with a variable frame rate
    a stretch with more frames gives more of the sample. Read by decord, or by PyAV where that is faster or where
    decord is wrong or absent: the frames are the same.

    Args:
        path: video file, or folder of frames, which come in the order of the numbers in their names; those of another
            size are scaled to that of the first one.
        count: of the frames.
        span: the part, as shares of the clip.

    Raises:
        InputError: the file is missing, no video, cut off or damaged; the folder has no frames, or one of those that
            are read is damaged.
    """
    if Path(path).is_dir():
        files = frame_files(path)
        return read_pictures(files, frame_indices(len(files), count, span))
    return _frames(path, _layout_of(path), count, span)


def frame_at(path: str | Path, time_s: float) -> UInt8[np.ndarray, "height width 3"]:
    """The frame that is shown at a time, the last one if the clip ends before.

    Raises:
        InputError: as for `read_frames`; or a folder of frames, which does not tell when they are shown.
    """
    layout = _layout_of(path)
    share = min(max(time_s / max(layout.duration_s, 1e-9), 0.0), 1 - 1e-9)
    return _frames(path, layout, 1, (share, 1.0))[0]


def _frames(path: str | Path, layout: _Layout, count: int, span: tuple[float, float]) -> np.ndarray:
    frames = None
    if layout.seekable:
        wanted = frame_indices(layout.frames, count, span)
        jump = decord is not None and (span != WHOLE or not _is_dense(layout, count))
        frames = (_by_decord if jump else _sparing)(path, layout, wanted)
    return _decode(path, layout.frames, count, span) if frames is None else frames


def read_waveform(path: str | Path, sample_rate: int = 16000) -> Float32[np.ndarray, " samples"]:
    """Sound of a clip: mean of its channels, about [-1, 1], empty where the file has no audio track.

    Args:
        path: video or audio file, or folder of frames, which has no sound.
        sample_rate: samples per second of the result.

    Raises:
        InputError: the file is missing, no media file, cut off or damaged; the folder has no frames.
    """
    return np.concatenate([np.zeros(0, np.float32), *waveform_blocks(path, sample_rate)])


def waveform_blocks(path: str | Path, sample_rate: int = 16000) -> Iterator[Float32[np.ndarray, " samples"]]:
    """`read_waveform` in blocks of any size, for a memory that does not grow with the length of the file."""
    if Path(path).is_dir():
        frame_files(path)  # complains of a folder that is no clip
        return
    with open_media(path) as container:
        if not container.streams.audio:
            return
        track = container.streams.audio[0]
        as_float = av.AudioResampler(format="fltp")
        frames = (part for frame in container.decode(track) for part in as_float.resample(frame))
        blocks = (frame.to_ndarray().mean(0) for frame in frames)
        told = round(track.duration * track.time_base * track.rate) if track.duration else math.inf
        yield from _resampled(_unpadded(blocks, told), track.rate, sample_rate)


def _unpadded(blocks: Iterable[np.ndarray], told: float) -> Iterator[np.ndarray]:
    """Blocks without the padding of the last packet, for mp4 files know their length to the millisecond.

    What comes after the length `told` waits: only where it is more than padding can be does it belong to the sound.
    """
    seen, behind = 0, []
    for block in blocks:
        inside = min(max(told - seen, 0), len(block))
        seen += len(block)
        yield block[:inside]
        if inside < len(block):
            behind.append(block[inside:])
        if seen - told > 2 * AAC_FRAME:
            yield from behind
            behind.clear()


def _resampled(blocks: Iterable[np.ndarray], rate: int, target: int) -> Iterator[np.ndarray]:
    """As `librosa.resample` makes it of the whole: the same values, as many."""
    if rate == target:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, target, 1, dtype="float32", quality="soxr_hq")
    heard = made = 0
    for block in blocks:
        heard += len(block)
        part = stream.resample_chunk(block)
        made += len(part)
        yield part
    rest = stream.resample_chunk(np.zeros(0, np.float32), last=True)
    yield np.pad(rest, (0, math.ceil(heard * (target / rate)) - made - len(rest)))


def probe(path: str | Path) -> Probe:
    """Size, length and tracks of a video file, counted from its packets rather than taken from its header.

    Of a folder of frames, the number of its frames and the size of the first one.

    Raises:
        InputError: the file is missing, no video, cut off or damaged; the folder has no frames, or its first one is
            damaged.
    """
    if Path(path).is_dir():
        files = frame_files(path)
        height, width, _ = read_picture(files[0]).shape
        return Probe(width, height, math.nan, len(files), math.nan, False)
    with open_media(path) as container:
        layout = _layout(container, path)
        has_audio = bool(container.streams.audio)
    with open_media(path) as container:
        first = next(container.decode(video=0), None)
    if first is None:
        raise _undecodable(path)
    height, width, _ = _upright(first).shape
    fps = layout.frames / layout.duration_s if layout.duration_s else 0.0
    return Probe(width, height, fps, layout.frames, layout.duration_s, has_audio)


@contextmanager
def open_media(path: str | Path) -> Iterator[av.container.InputContainer]:
    """The file for reading; whatever is wrong with it, then or later, is an InputError."""
    path = Path(path)
    if path.is_dir():
        raise InputError(
            f"{path}: a folder, and a video or sound file is needed here: frames in a folder do not tell when they "
            "are shown. If you know their rate, make a video of them with ffmpeg."
        )
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path.")
    if not path.stat().st_size:
        raise InputError(f"{path}: the file is empty; download or copy it again.")
    if missing := _missing_bytes(path):
        raise InputError(f"{path}: cut off, {missing} bytes are missing; download or copy it again.")
    try:
        with av.open(str(path)) as container:
            yield container
    except av.FFmpegError as error:
        raise InputError(
            f"{path}: not a readable media file ({error.strerror}): cut off, damaged or of an unknown format; "
            "download it again, or re-encode it with ffmpeg."
        ) from error


def _missing_bytes(path: Path) -> int:
    """Bytes that an mp4 or mov file promises in its outermost boxes and does not have.

    FFmpeg reads what is there of such a file, and of a half index sometimes no track at all, without an error.
    """
    size, start = path.stat().st_size, 0
    with path.open("rb") as file:
        while len(head := file.read(16)) >= 8:
            length, kind = int.from_bytes(head[:4]), head[4:8]
            length = int.from_bytes(head[8:]) if length == 1 else length
            if start + length > size and kind in (b"moov", b"mdat", b"moof"):
                return start + length - size
            if length < 8:  # the last box: it reaches to the end
                break
            start += length
            file.seek(start)
    return 0


class _Layout(NamedTuple):
    times: list[int]  # of the frames as they are shown, in the track's time base
    duration_s: float
    key_frames: int
    seekable: bool

    @property
    def frames(self) -> int:
        return len(self.times)


def _layout_of(path: str | Path) -> _Layout:
    with open_media(path) as container:
        return _layout(container, path)


def _layout(container: av.container.InputContainer, path: str | Path) -> _Layout:
    """What the packets of the video track tell without decoding."""
    if not container.streams.video:
        raise InputError(f"{path}: no video track; name a video file.")
    packets = [packet for packet in container.demux(video=0) if packet.size and not packet.is_discard]
    if not packets:
        raise InputError(f"{path}: the video track is empty; download it again, or leave the clip out.")
    times = [packet.dts if packet.pts is None else packet.pts for packet in packets]
    span = max(time + (packet.duration or 0) for time, packet in zip(times, packets, strict=True)) - min(times)
    is_key = [packet.is_keyframe for packet in packets]
    indexed = container.format.name.startswith(("mov,mp4", "matroska"))
    seekable = indexed and _groups_are_closed(is_key, times)
    return _Layout(sorted(times), float(span * packets[0].time_base), sum(is_key), seekable)


def _groups_are_closed(is_key: list[bool], times: list[int]) -> bool:
    """Whether every frame is shown after the key frame that it is stored after (no "open GOP").

    Frames that are shown before it cannot be decoded once a reader has jumped to that key frame. decord jumps
    nevertheless and returns broken or neighbouring frames without a word, as it does in MPEG transport streams.
    """
    key_time = None
    for key, time in zip(is_key, times, strict=True):
        key_time = time if key else key_time
        if key_time is None or time < key_time:
            return False
    return True


def _is_dense(layout: _Layout, count: int) -> bool:
    """Whether leaving out frames beats decord: many to leave out, and no group of frames to jump over.

    Measured on two cores: 32 of 472 frames take 0.7 to 0.8 of decord's time, 8 of 60 small ones 1.1 to 1.3.
    """
    return layout.frames > 8 * count and layout.key_frames < count


def _by_decord(path: str | Path, layout: _Layout, wanted: list[int]) -> np.ndarray | None:
    """The wanted frames, or None where decord cannot tell them."""
    try:
        reader = decord.VideoReader(str(path))
        if len(reader) == layout.frames:  # else it counts frames that the file hides
            return reader.get_batch(wanted).asnumpy()
    except (decord.DECORDError, RuntimeError):
        pass  # a format that decord does not know or a damaged file: PyAV reads it or says what is wrong
    return None


def _sparing(path: str | Path, layout: _Layout, wanted: list[int]) -> np.ndarray | None:
    """The wanted frames by PyAV, which leaves out those that no other frame needs; None if one is lost."""
    times = [layout.times[index] for index in wanted]
    needed, found = set(times), {}
    with open_media(path) as container:
        track = container.streams.video[0]
        track.thread_type = "AUTO"
        for packet in container.demux(track):
            track.codec_context.skip_frame = "DEFAULT" if packet.pts in needed else "NONREF"
            found |= {frame.pts: _upright(frame) for frame in packet.decode() if frame.pts in needed}
    return np.stack([found[time] for time in times]) if needed == set(found) else None


def _decode(path: str | Path, total: int, count: int, span: tuple[float, float]) -> np.ndarray:
    """The wanted frames of a clip of `total`, by decoding all of it with PyAV."""
    wanted = frame_indices(total, count, span)
    found: dict[int, np.ndarray] = {}
    number = -1
    with open_media(path) as container:
        container.streams.video[0].thread_type = "AUTO"
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                found[number] = _upright(frame)
    decoded = number + 1
    if not decoded:
        raise _undecodable(path)
    if decoded < total:  # what comes before the first key frame of a stream that was cut without re-encoding
        return _decode(path, decoded, count, span)
    return np.stack([found[number] for number in wanted])


def _undecodable(path: str | Path) -> InputError:
    return InputError(f"{path}: no frame can be decoded; download it again, or leave the clip out.")


def _upright(frame: av.VideoFrame) -> np.ndarray:
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
