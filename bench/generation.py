"""Answers by the small Video-LLaVA: in batches, against one clip at a time; three questions, for one look or three.

Run: python -m bench.generation
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial

import pandas as pd
import torch

from bench.timing import median_seconds_by_turns, report
from reaffect import mllm, paths
from reaffect.corpora import hume
from reaffect.prompts import VAIANI_PROMPTS, VAIANI_QUESTION
from reaffect.store import Store

CLIPS = 32
QUESTIONS = {"prompt 1": VAIANI_PROMPTS[0], "prompt 2": VAIANI_PROMPTS[1], "scores": VAIANI_QUESTION}


def main() -> None:
    clips = hume.load(paths.CORPORA / "hume").media[:CLIPS].tolist()
    model = mllm.load(paths.CHECKPOINTS / "video-llava-tiny", device="cpu")
    print(f"{CLIPS} clips, {model.network.dtype}, {torch.get_num_threads()} threads, video decoding included")
    batches = {f"batches of {size}": partial(describe, model, clips, size) for size in (32, 8, 1)}
    compare(f"descriptions, prompt {VAIANI_PROMPTS[1]!r}", batches, reference="batches of 32")
    looks = {"together": partial(together, model, clips), "one after the other": partial(apart, model, clips)}
    compare("both prompts and the score question", looks, reference="together")


def compare(title: str, contenders: dict[str, Callable[[], pd.DataFrame]], *, reference: str) -> None:
    """Times contenders whose answers are equal."""
    tables = [contender() for contender in contenders.values()]
    if not all(table.equals(tables[0]) for table in tables):
        raise SystemExit(f"{title}: the answers differ, so the comparison means nothing")
    report(title, median_seconds_by_turns(contenders, repeats=3), reference=reference)


def describe(model: mllm.VideoMLLM, clips: list[str], batch_size: int) -> pd.DataFrame:
    """Answers from an empty store, as below, so that each is really generated."""
    with tempfile.TemporaryDirectory() as folder:
        model.store = Store(folder)
        return model.describe(clips, VAIANI_PROMPTS[1], batch_size=batch_size)


def together(model: mllm.VideoMLLM, clips: list[str]) -> pd.DataFrame:
    """Three answers for one look at each clip."""
    with tempfile.TemporaryDirectory() as folder:
        model.store = Store(folder)
        return model.describe_each(clips, QUESTIONS)


def apart(model: mllm.VideoMLLM, clips: list[str]) -> pd.DataFrame:
    """The same answers, each for a look of its own."""
    with tempfile.TemporaryDirectory() as folder:
        model.store = Store(folder)
        return pd.DataFrame({name: model.describe(clips, prompt).text for name, prompt in QUESTIONS.items()})


if __name__ == "__main__":
    main()
