"""Omni-Emotion's phase 3: encoders' states that are kept against encoders that run in every step, with equal losses.

What is gained depends on how much the encoders cost beside the language model. Operations are counted for the paper's
encoders, beside its language model of 7.6 billion weights and beside SmolLM2-135M. Steps are timed with a twentieth of
the latter's weights: tower, ears, face encoder and the layers of the language model stand to each other as
SigLIP-so400m, Whisper-large-v3, FaceXFormer and SmolLM2.
Run: python -m bench.omni_emotion
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    masking_utils,
)

from bench.timing import median_seconds_by_turns, report
from reaffect.models.facexformer import FaceConfig
from reaffect.models.omni_emotion import OmniClip, OmniEmotion, OmniEmotionConfig
from reaffect.models.timestamps import bert
from reaffect.models.whisper_audio import Sound, WhisperAudioConfig
from reaffect.rehearsal.networks import QWEN2_7B
from reaffect.runs import one_thread

FRAMES, SOUND_S = 8, 3
BATCH, STEPS = 3, 2
ENOUGH, APART = 3.0, 1e-3
QUESTION = "What insights can we gain about the character's emotional state? Please provide a detailed analysis."
ANSWER = "She raises her brows and her voice trembles, which shows that she is afraid of what she has just been told."

SMALL = OmniEmotionConfig(
    image_size=126,
    tower_width=384,
    tower_mlp=1536,
    tower_layers=12,
    tower_heads=6,
    face=FaceConfig(image_size=112, width=32, heads=2, third_layers=6, fused=128, token_side=2),
    audio=WhisperAudioConfig(mel_bins=80, width=512, mlp=2048, layers=10, heads=8, positions=600),
)


def main() -> None:
    for name, words in (("the paper's language model", qwen2_7b), ("SmolLM2-135M", smollm2)):
        encoders, step = operations(words)
        print(f"operations a clip, {name}: encoders {encoders / 1e12:.1f} T, the rest of a step {step / 1e12:.1f} T:")
        print(f"    at most {(encoders + step) / step:.2f} times as fast with kept states")
    with one_thread():  # small networks wait for threads longer than they compute
        timed()


def operations(words: Callable[[], PreTrainedModel]) -> tuple[int, int]:
    """Of a clip at the paper's size, no weight being there: encoders, and a step without them.

    A backward pass counts twice its forward pass.
    """
    # a mask without values cannot be looked into, as transformers otherwise do
    with torch.device("meta"), mock.patch.object(masking_utils, "is_tracing", return_value=True):
        model = OmniEmotion(OmniEmotionConfig(), words(), bert()).eval()
        shown = OmniClip(torch.empty(FRAMES, 3, 384, 384), torch.empty(FRAMES, 3, 224, 224))
        heard = Sound(torch.empty(1, 128, 3000), round(SOUND_S / 0.06))
        with torch.no_grad(), FlopCounterMode(display=False) as encoders:
            [seen], [states] = model.see([shown]), model.listen([heard])
        with torch.no_grad(), FlopCounterMode(display=False) as forward:
            soft = [len(tokens) for [tokens] in model.encode([seen], [states]).values()]
            asked, told = (len(bert()(text).input_ids) for text in (QUESTION, ANSWER))
            hidden = model.newline.embedding_dim
            model.language_model(inputs_embeds=torch.empty(1, sum(soft) + asked + told, hidden), logits_to_keep=told)
    return encoders.get_total_flops(), 3 * forward.get_total_flops()


def timed() -> None:
    """Phase 3 both ways from the same weights."""
    torch.manual_seed(0)
    model = OmniEmotion(SMALL, LlamaForCausalLM(sizes(6, 256, 704, 4)), bert()).begin(3)
    clips = [OmniClip(torch.randn(FRAMES, 3, 126, 126), torch.randn(FRAMES, 3, 112, 112)) for _ in range(BATCH)]
    sounds = [Sound(torch.randn(1, 80, 1200), round(SOUND_S / 0.06)) for _ in range(BATCH)]
    large = {name: count(part) for name, part in model.named_children() if count(part) > 1}
    print("weights, millions: " + ", ".join(f"{name} {millions:.1f}" for name, millions in large.items()))

    with torch.no_grad():
        contenders = {"kept": (model.see(clips), model.listen(sounds)), "recomputed": (clips, sounds)}
    start = {name: value.clone() for name, value in model.state_dict().items()}
    losses: dict[str, Tensor] = {}

    def steps(name: str) -> None:
        model.load_state_dict(start)
        losses[name] = torch.tensor(learn(model, *contenders[name]))

    seconds = median_seconds_by_turns({name: partial(steps, name) for name in contenders}, repeats=3)
    apart = (losses["kept"] - losses["recomputed"]).abs().max()
    if apart > APART:
        raise SystemExit(f"losses differ by {apart:.1e}, more than {APART:.0e}: the comparison means nothing")
    print(f"losses of {STEPS} steps differ by at most {apart:.1e}")
    report(f"{STEPS} steps of {BATCH} clips", seconds, reference="kept")
    ratio = seconds["recomputed"] / seconds["kept"]
    if ratio < ENOUGH:
        raise SystemExit(f"kept states are {ratio:.2f} times as fast, less than {ENOUGH}")


def learn(model: OmniEmotion, clips: list[OmniClip], sounds: list[Sound]) -> list[float]:
    """Losses of some steps on one batch."""
    optimiser = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-5)
    losses = []
    for _ in range(STEPS):
        loss = model.train()([QUESTION] * BATCH, clips, sounds, [ANSWER] * BATCH).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    return losses


def count(part: nn.Module) -> float:
    return sum(weight.numel() for weight in part.parameters()) / 1e6


def qwen2_7b() -> Qwen2ForCausalLM:
    return Qwen2ForCausalLM(Qwen2Config(**QWEN2_7B))


def smollm2() -> LlamaForCausalLM:
    return LlamaForCausalLM(sizes(30, 576, 1536, 9, num_key_value_heads=3, vocab_size=49_152))


def sizes(layers: int, width: int, mlp: int, heads: int, **more: int) -> LlamaConfig:
    shape = {"num_hidden_layers": layers, "hidden_size": width, "intermediate_size": mlp, "num_attention_heads": heads}
    return LlamaConfig(**shape, **{"vocab_size": 30_522, "tie_word_embeddings": True, **more})


if __name__ == "__main__":
    main()
