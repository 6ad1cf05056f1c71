"""Answers by the small Video-LLaVA: in batches, against one clip at a time; questions, for one look or one each.

Run: python -m bench.generation
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
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
    vectors = {
        "together": partial(embedded, model, clips),
        "one after the other": partial(embedded_apart, model, clips),
    }
    compare("vectors under these", vectors, reference="together", alike=close)


def compare(
    title: str,
    contenders: dict[str, Callable[[], pd.DataFrame]],
    *,
    reference: str,
    alike: Callable[[pd.DataFrame, pd.DataFrame], bool] = pd.DataFrame.equals,
) -> None:
    """Times contenders whose tables are alike."""
    tables = [contender() for contender in contenders.values()]
    if not all(alike(table, tables[0]) for table in tables):
        raise SystemExit(f"{title}: the answers differ, so the comparison means nothing")
    report(title, median_seconds_by_turns(contenders, repeats=3), reference=reference)


@contextmanager
def empty_store(model: mllm.VideoMLLM) -> Iterator[None]:
    """Within, nothing that the model has said before is found: each answer is really generated."""
    with tempfile.TemporaryDirectory() as folder:
        model.store = Store(folder)
        yield


def describe(model: mllm.VideoMLLM, clips: list[str], batch_size: int) -> pd.DataFrame:
    """Answers to one question."""
    with empty_store(model):
        return model.describe(clips, VAIANI_PROMPTS[1], batch_size=batch_size)


def together(model: mllm.VideoMLLM, clips: list[str]) -> pd.DataFrame:
    """Three answers for one look at each clip."""
    with empty_store(model):
        return model.describe_each(clips, QUESTIONS)


def apart(model: mllm.VideoMLLM, clips: list[str]) -> pd.DataFrame:
    """The same answers, each for a look of its own."""
    with empty_store(model):
        return pd.DataFrame({name: model.describe(clips, prompt).text for name, prompt in QUESTIONS.items()})


def embedded(model: mllm.VideoMLLM, clips: list[str]) -> pd.DataFrame:
    """Vectors under three prompts for one look at each clip."""
    with empty_store(model):
        return pd.concat(model.embed_each(clips, QUESTIONS), axis=1)


def embedded_apart(model: mllm.VideoMLLM, clips: list[str]) -> pd.DataFrame:
    """The same vectors, each for a look of its own."""
    with empty_store(model):
        return pd.concat({name: model.embed(clips, prompt) for name, prompt in QUESTIONS.items()}, axis=1)


def close(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """To the digits that bfloat16 has."""
    return one.index.equals(other.index) and np.allclose(one, other, atol=0.02)


if __name__ == "__main__":
    main()
