"""MicroEmo: what local clues cost beside the global encoding, and utterance windows read at once against one by one.

Operations are counted at the paper's size, windows are timed at a small one, with equal results.
Run: python -m bench.microemo
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, masking_utils

from bench.timing import median_seconds_by_turns, report
from reaffect.models.microemo import MicroEmo, MicroEmoConfig
from reaffect.models.qformer import padded
from reaffect.models.timestamps import bert, timestamp_tokens

CLIPS, UTTERANCES, FRAMES = 8, 3, 6
"""Windows of `FRAMES` frames, as many as a batch of clips has."""

WIDTH, QUERIES = 96, 4


def main() -> None:
    share = local_share()
    print(f"local clues at paper size: {share:.1%} of the operations of the global encoding (every patch in a region)")
    batched_windows()


def local_share() -> float:
    """Operations of the local part over those of tower and Q-Former, for one frame, no weight being there."""
    # a mask without values cannot be looked into, as transformers otherwise do
    with torch.device("meta"), mock.patch.object(masking_utils, "is_tracing", return_value=True):
        words = LlamaForCausalLM(LlamaConfig(num_hidden_layers=1, hidden_size=64, intermediate_size=64, vocab_size=64))
        model = MicroEmo(MicroEmoConfig(), words, bert()).eval()
        frame, patches = torch.empty(1, 3, 224, 224), torch.empty(1, 256, 1408)
        text, real = (sentence.to("meta") for sentence in timestamp_tokens([0.0]))
        with FlopCounterMode(display=False) as globally:
            model.image_qformer(model.tower(frame).last_hidden_state, None, text, real)
        with FlopCounterMode(display=False) as locally:
            model.local.attention(patches, patches, patches, need_weights=False)
            read = model.image_qformer(patches, None, text, real)
            model.local.fuse(read, read)
    return locally.get_total_flops() / globally.get_total_flops()


@torch.inference_mode()
def batched_windows() -> None:
    torch.manual_seed(0)
    reader: nn.Module = small_reader()
    windows = [torch.randn(FRAMES * QUERIES - 4 * (k % 3), WIDTH) for k in range(CLIPS * UTTERANCES)]
    apart = (reader(*padded(windows)) - torch.cat([reader(window[None]) for window in windows])).abs().max()
    if apart > 1e-4:
        raise SystemExit(f"results differ by {apart:.1e}: the comparison means nothing")
    contenders = {
        "batched": lambda: reader(*padded(windows)),
        "one by one": lambda: [reader(window[None]) for window in windows],
    }
    seconds = median_seconds_by_turns(contenders, repeats=15)
    report(f"{len(windows)} utterance windows", seconds, reference="batched")


def small_reader() -> nn.Module:
    """The video Q-Former over utterances of a small MicroEmo."""
    words = LlamaForCausalLM(LlamaConfig(num_hidden_layers=1, hidden_size=64, intermediate_size=64, vocab_size=64))
    config = small_config(image_queries=QUERIES, video_queries=QUERIES)
    return MicroEmo(config, words, bert()).utterance_qformer.eval()


def small_config(**more: Any) -> MicroEmoConfig:
    """Of a MicroEmo that sees and does not hear, as large as the one of the tiny profile."""
    return MicroEmoConfig(
        tower_width=WIDTH,
        tower_mlp=2 * WIDTH,
        tower_layers=1,
        tower_heads=4,
        width=WIDTH,
        mlp=2 * WIDTH,
        heads=4,
        image_layers=2,
        audio_branch=False,
        local_heads=4,
        **more,
    )


if __name__ == "__main__":
    main()
