"""Features: decoding beside the model against one after the other, and a second run from the store.

Run: python -m bench.features
"""

from __future__ import annotations

from tempfile import TemporaryDirectory

from bench.timing import median_seconds_by_turns, report
from reaffect import paths
from reaffect.corpora import hume
from reaffect.features import extract
from reaffect.features.visual import FaceViT, Landmarks
from reaffect.fingerprint import clip_key
from reaffect.store import Store

CLIPS, FRAMES = 96, 32


def main() -> None:
    clips = hume.load(paths.CORPORA / "hume").media[:CLIPS].tolist()
    print(f"{CLIPS} clips, {FRAMES} frames each: decode, crop the face, embed it")
    with TemporaryDirectory() as folder:
        kept = Store(folder)
        points = extract(Landmarks(FRAMES), clips, store=kept).values
        faces = FaceViT("checkpoints/vision-tiny", points, frames=FRAMES)
        extract(faces, clips, store=kept)
        for clip in clips:
            clip_key(clip)  # hashed once a process, by whoever comes first

        def overlapped() -> None:
            with TemporaryDirectory() as fresh:
                extract(faces, clips, store=Store(fresh))

        def one_after_the_other() -> None:
            with TemporaryDirectory() as fresh:
                Store(fresh).compute(
                    faces.name,
                    faces.recipe,
                    clips,
                    lambda batch: faces([faces.prepare(clip) for clip in batch]),
                    batch_size=faces.batch_size,
                    key=clip_key,
                )

        contenders = {
            "decoding beside the model": overlapped,
            "one after the other": one_after_the_other,
            "second run": lambda: extract(faces, clips, store=kept),
        }
        report("face features", median_seconds_by_turns(contenders), reference="decoding beside the model")


if __name__ == "__main__":
    main()
