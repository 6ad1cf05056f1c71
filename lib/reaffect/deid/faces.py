"""Faces blurred in a video of any length, at a memory that does not grow with it.

EALD-MLLM 2024 (Section 2.2) detects with dlib's CNN and blurs with a Gaussian; neither schedule nor kernel is told.
Run on every frame the CNN takes seconds each. Here it scans one frame every `interval_s`, in a process of its own,
and faces are followed in between (see `coverage`).
"""

from __future__ import annotations

import os
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from reaffect.deid import blurring, boxes, coverage, detection, scanning, schedule, streams, tracking, voices
from reaffect.deid import record as records
from reaffect.deid.boxes import grown, whole_pixels
from reaffect.deid.record import Record, RecordWriter, read_record, record_file
from reaffect.deid.scanning import Scanner
from reaffect.deid.streams import Frame, Sound, Writer
from reaffect.errors import InputError
from reaffect.fingerprint import fingerprint
from reaffect.media import open_media, waveform_blocks
from reaffect.media.writing import AAC_FRAME

VOICE_RATE = 16_000
"""In Hz, of the sound that `deidentify` writes: that of the VoicePrivacy baseline."""

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}

CODE = [
    Path(module.__file__)
    for module in (blurring, boxes, coverage, detection, records, scanning, schedule, streams, tracking, voices)
] + [Path(__file__)]
"""Modules that decide what is blurred: a change in them blurs anew."""


@dataclass(frozen=True)
class Options:
    interval_s: float
    smallest_face: float
    margin: float
    strength: float
    coefficient: float | None = None


def blur_faces(
    source: str | Path,
    target: str | Path,
    *,
    interval_s: float = 1.5,
    smallest_face: float = 0.2,
    margin: float = 0.3,
    strength: float = 0.15,
) -> Record:
    """Blurs every face of a video, copies its sound as it is, and writes a record of every frame beside it.

    It fails closed: where a face may be but was not located, more is blurred, and the record says so (`record.FOUND`).
    Video and record appear whole or not at all; a second call with the same source and options does nothing. The
    result is h264, 8 bits, upright, with even sides (an odd one gets one line more), at the source's own times;
    interlaced pictures stay woven. Subtitles, covers and metadata are left behind.

    Not found, and so not blurred: faces that the CNN never sees in a scan (turned away throughout, smaller than
    `smallest_face`, or there for less than `interval_s` between two scans).

    Args:
        source: the video.
        target: .mp4, .mov or .mkv; its record is `target` + ".json".
        interval_s: between two scans; the time of the CNN goes with 1 / `interval_s`.
        smallest_face: side of the smallest face searched, in sides of the frame (the shorter one); the time of the
            CNN goes with 1 / `smallest_face`^2.
        margin: blurred around a face's box on each side, in sides of the box (dlib's go from brows to chin).
        strength: sigma of the Gaussian in sides of the face's box.

    Returns:
        The files and how many frames were found how.

    Raises:
        InputError: a source that is missing, empty, cut off or no video; an option out of range; a target that is
            the source, of an unknown kind, or cannot hold the sound.
    """
    source, target = Path(source), Path(target)
    options = Options(interval_s, smallest_face, margin, strength)
    return _blur(source, target, options, partial(streams.copied, source))


def deidentify(
    source: str | Path,
    target: str | Path,
    *,
    coefficient: float = 0.8,
    interval_s: float = 1.5,
    smallest_face: float = 0.2,
    margin: float = 0.3,
    strength: float = 0.15,
    scans: Scanner | None = None,
) -> Record:
    """As `blur_faces`, with the voice anonymised by `mcadams`: the first sound track as mono AAC at 16 kHz.

    While the voice is made it lies beside the target, in a file without a name: 0.46 GB for an hour.

    Args:
        coefficient: see `mcadams`; the others: see `blur_faces`.
        scans: one that serves several videos; else this one has its own.
    """
    source, target = Path(source), Path(target)
    options = Options(interval_s, smallest_face, margin, strength, coefficient)
    return _blur(source, target, options, partial(_anonymous, source, target.parent, coefficient), scans)


def _anonymous(source: Path, folder: Path, coefficient: float) -> Sound:
    with open_media(source) as container:
        tracks = container.streams.audio
        start_s = float((tracks[0].start_time or 0) * tracks[0].time_base) if tracks else 0.0
    sound = waveform_blocks(source, VOICE_RATE)
    made = voices.anonymised(sound, VOICE_RATE, coefficient, 64 * AAC_FRAME, folder)
    return streams.spoken(made, VOICE_RATE, max(0.0, start_s))


def _blur(source: Path, target: Path, options: Options, sound, scans: Scanner | None = None) -> Record:
    _check(source, target, options)
    with open_media(source):  # says what is wrong with the file before anything is done
        pass
    mark = fingerprint({"source": source, "options": asdict(options), "code": CODE})
    if (done := _finished(target, mark)) is not None:
        return done
    target.parent.mkdir(parents=True, exist_ok=True)
    video_aside, record_aside = (
        file.with_name(f".{file.name}.{os.getpid()}.part") for file in (target, record_file(target))
    )
    head = {"fingerprint": mark, "source": source.name, "options": asdict(options)}
    try:
        with record_aside.open("w") as file:
            container = CONTAINERS[target.suffix.lower()]
            with nullcontext(scans) if scans else closing(Scanner()) as own:
                writer = _render(source, video_aside, container, options, sound(), own, file, head)
            writer.finish(fingerprint(video_aside))
        record_file(target).unlink(missing_ok=True)  # a kill between the two renames leaves no record of another video
        video_aside.replace(target)
        record_aside.replace(record_file(target))
    finally:
        video_aside.unlink(missing_ok=True)
        record_aside.unlink(missing_ok=True)
    return Record(target, record_file(target), writer.frames, dict(writer.counts))


def _check(source: Path, target: Path, options: Options) -> None:
    if target.suffix.lower() not in CONTAINERS:
        raise InputError(f"{target}: the ending must be one of {', '.join(CONTAINERS)}.")
    if target.exists() and source.exists() and target.samefile(source):
        raise InputError(f"{target}: source and target are one file; name another target.")
    ranges = {"interval_s": (0.1, 60), "smallest_face": (0.02, 1), "margin": (0.1, 2), "strength": (0.1, 2)}
    for name, (low, high) in ranges.items():
        if not low <= getattr(options, name) <= high:
            raise InputError(f"{name} is {getattr(options, name)}; it must be from {low} to {high}.")


def _finished(target: Path, mark: str) -> Record | None:
    """What an earlier call with the same source and options made, if both files are as it left them."""
    if not target.exists() or not record_file(target).exists():
        return None
    try:
        done = read_record(target)
    except InputError:
        return None
    if done["fingerprint"] != mark or done.get("target") != fingerprint(target):
        return None
    return Record(target, record_file(target), len(done["frames"]), done["counts"])


def _render(
    source: Path, aside: Path, container: str, options: Options, sound: Sound, scans: Scanner, file, head
) -> RecordWriter:
    with streams.decoded(source) as (form, total, frames), Writer(aside, form, sound, container) as out:
        bar = tqdm(total=total or None, desc=f"blurring {source.name}", unit="frame")
        writer = None
        with bar:
            for frame in schedule.covered(frames, form, options.interval_s, options.smallest_face, scans):
                if writer is None:
                    height, width = frame.luma.shape
                    writer = RecordWriter(file, head | {"width": width, "height": height})
                writer.add(frame, _blur_frame(frame, options))
                out.write(frame)
                bar.update()
    return writer


def _blur_frame(frame: Frame, options: Options) -> list[tuple[int, int, int, int]]:
    """Blurs a frame's faces in place; returns what was blurred, in pixels."""
    height, width = frame.luma.shape
    masks = []
    for face in frame.faces:
        mask = grown(face.box, options.margin)
        blurring.blur(frame.planes, mask, blurring.sigma_of(face.box, options.strength))
        masks.append(whole_pixels(mask, width, height))
    return masks
