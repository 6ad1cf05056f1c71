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
    checkpoint = what.add_parser("video-llava", help="the small Video-LLaVA")
    checkpoint.add_argument("--folder", type=Path, default=paths.CHECKPOINTS / "video-llava-tiny")
    for command in (corpus, checkpoint):
        command.add_argument("--workers", type=int, default=2, help="processes or threads that render")
    options = parser.parse_args(arguments)
    try:
        if options.what == "hume":
            from reaffect.synthetic import hume

            hume.build(options.root, workers=options.workers)
        else:
            from reaffect.synthetic import video_llava

            video_llava.build(options.folder, workers=options.workers)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
