"""Descriptions by the small Video-LLaVA: in batches, against one clip at a time.

Run: python -m bench.generation
"""

from __future__ import annotations

import tempfile
from functools import partial

import pandas as pd
import torch

from bench.timing import median_seconds_by_turns, report
from reaffect import mllm, paths
from reaffect.corpora import hume
from reaffect.prompts import VAIANI_PROMPTS
from reaffect.store import Store

CLIPS = 32


def main() -> None:
    clips = hume.load(paths.CORPORA / "hume").media[:CLIPS].tolist()
    model = mllm.load(paths.CHECKPOINTS / "video-llava-tiny", device="cpu")
    print(f"{CLIPS} clips, prompt {VAIANI_PROMPTS[1]!r}, {torch.get_num_threads()} threads, video decoding included")
    contenders = {f"batches of {size}": partial(describe, model, clips, size) for size in (32, 8, 1)}
    tables = [contender() for contender in contenders.values()]
    if not all(table.equals(tables[0]) for table in tables):
        raise SystemExit("batched and single answers differ: the comparison means nothing")
    report("descriptions", median_seconds_by_turns(contenders, repeats=3), reference="batches of 32")


def describe(model: mllm.VideoMLLM, clips: list[str], batch_size: int) -> pd.DataFrame:
    """Answers from an empty store, so that each is really generated."""
    with tempfile.TemporaryDirectory() as folder:
        model.store = Store(folder)
        return model.describe(clips, VAIANI_PROMPTS[1], batch_size=batch_size)


if __name__ == "__main__":
    main()
