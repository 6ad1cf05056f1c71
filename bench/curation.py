"""Curation: clips described and judged together, against one clip at a time.

Faces and transcripts have no batches: they are found beforehand, once for both. What is compared is what the models
are asked, and the judge.

Run: python -m bench.curation
"""

from __future__ import annotations

from functools import partial
from tempfile import TemporaryDirectory

import pandas as pd
import torch

from bench.timing import median_seconds_by_turns, report
from reaffect import judge, mllm, paths
from reaffect.curation import clips, consistency, hearing, pipeline
from reaffect.curation.people import CloseUp
from reaffect.curation.tracklets import Search
from reaffect.prompts import VAIANI_PROMPTS
from reaffect.speech import Recogniser
from reaffect.store import Store

CLIPS, WANTED = 16, 2.0

PROMPTS = pipeline.Prompts(*VAIANI_PROMPTS, "How does the voice sound?", "How does the speaker feel?")


def main() -> None:
    table = clips.training_clips({"DFEW": paths.CORPORA / "dfew"}).head(CLIPS)
    with TemporaryDirectory() as folder:
        kept = Store(folder)
        seer = mllm.load(paths.CHECKPOINTS / "video-llava-tiny", device="cpu")
        listener = hearing.load_listener(["checkpoints/video-llama-tiny"], "checkpoints/smollm2")
        models = pipeline.Models(seer, Recogniser(store=kept), listener)
        print(f"{CLIPS} clips, {torch.get_num_threads()} threads; faces and transcripts are in the store")
        contenders = {
            "together": partial(curated, models, [table], CLIPS, kept),
            "clip by clip": partial(curated, models, [table[k : k + 1] for k in range(CLIPS)], 1, kept),
        }
        networks = seer.network, listener.network
        usual = [next(network.parameters()).dtype for network in networks]
        for network in networks:
            network.float()  # bfloat16 rounds differently with the batch, and near-ties then fall otherwise
        together, alone = (contender() for contender in contenders.values())
        if not together.equals(alone):
            raise SystemExit("clips together and one by one are told differently: the comparison means nothing")
        for network, dtype in zip(networks, usual, strict=True):
            network.to(dtype)
        seconds = median_seconds_by_turns(contenders, repeats=2)
    reference, other = contenders
    report(f"curation, {usual[1]}", seconds, reference=reference)
    if seconds[other] < WANTED * seconds[reference]:
        raise SystemExit(f"batches are less than {WANTED:g} times as fast: see what is asked clip by clip")


def curated(models: pipeline.Models, tables: list[pd.DataFrame], batch_size: int, kept: Store) -> pd.DataFrame:
    """Annotations of the tables' clips, table by table; answers go to an empty store, so that each is generated."""
    search, close_up = Search(smallest_face=0.3), CloseUp(frames=8)
    options = {"prompts": PROMPTS, "fps": 3.2, "search": search, "close_up": close_up, "max_new_tokens": 24}
    with TemporaryDirectory() as folder:
        models.seer.store = models.listener.store = Store(folder)
        described = [pipeline.describe(one, models, batch_size=batch_size, store=kept, **options) for one in tables]
        return pd.concat([consistency.annotate(judge.Lexicon(), one.clips) for one in described], ignore_index=True)


if __name__ == "__main__":
    main()
