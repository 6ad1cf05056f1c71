"""Builds what the tiny profile stands on: `python -m reaffect.synthetic hume --root data/corpora`."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from reaffect import paths
from reaffect.errors import InputError


class Builder(NamedTuple):
    """A module of `reaffect.synthetic` with a `build`, and what it is told."""

    module: str
    makes: str
    place: str = "root"
    """Its first argument: the folder of corpora or of checkpoints, or `folder`, that of the checkpoint itself."""

    default: Path = paths.CORPORA
    stands_on: str = ""
    """The checkpoint that it begins from."""

    workers: bool = True
    """Whether it renders by processes or threads."""


MODELS = paths.CHECKPOINTS

BUILDERS = {
    "hume": Builder("hume", "the embedded Hume-Reaction"),
    "eald": Builder("eald", "the embedded EALD"),
    "emer": Builder("emer", "the embedded EMER"),
    "dfew": Builder("dfew", "the embedded DFEW"),
    "mafw": Builder("mafw", "the embedded MAFW"),
    "sounds": Builder("sounds", "the embedded Common Voice and WavCaps"),
    "video-llava": Builder("video_llava", "the small Video-LLaVA", "folder", MODELS / "video-llava-tiny"),
    "image-models": Builder(
        "image_models", "the small LLaVA, CLIP and vision tower", default=MODELS, stands_on="video-llava-tiny"
    ),
    "wavlm": Builder("wavlm", "the small WavLM", "folder", MODELS / "wavlm-tiny", workers=False),
    "smollm2": Builder(
        "smollm2",
        "SmolLM2-135M-Instruct from its package, in Hugging Face format",
        "folder",
        MODELS / "smollm2",
        workers=False,
    ),
    "video-llama": Builder("video_llama", "the small Video-LLaMA and PandaGPT", default=MODELS, stands_on="smollm2"),
    "microemo": Builder(
        "microemo", "the small MicroEmo as it is before EMER", "folder", MODELS / "microemo-tiny", "smollm2"
    ),
    "omni-emotion": Builder(
        "omni_emotion", "the small Omni-Emotion before its phases", "folder", MODELS / "omni-emotion-tiny", "smollm2"
    ),
    "video-nets": Builder(
        "video_nets", "the small SlowFast, TSM, Video-Swin, TimeSformer and BEATs", "folder", MODELS / "video-nets-tiny"
    ),
}


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status: 0, or 2 after a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m reaffect.synthetic", description=__doc__.splitlines()[0])
    what = parser.add_subparsers(dest="what", required=True)
    for name, builder in BUILDERS.items():
        own = what.add_parser(name, help=builder.makes)
        own.add_argument(f"--{builder.place}", type=Path, default=builder.default)
        if builder.stands_on:
            option = builder.stands_on.removesuffix("-tiny")
            own.add_argument(f"--{option}", type=Path, default=MODELS / builder.stands_on)
        if name in ("dfew", "mafw"):
            own.add_argument("--uninformative", nargs="*", default=[], help="what tells nothing: scene, voice, face")
        if builder.workers:
            own.add_argument("--workers", type=int, default=2, help="processes or threads that render")
    options = vars(parser.parse_args(arguments))
    builder = BUILDERS[options.pop("what")]
    # each builder takes seconds to import: only the one that is asked for
    build = import_module(f"reaffect.synthetic.{builder.module}").build
    try:
        build(options.pop(builder.place), **options)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
