"""What one batch of each kind of step is: inputs of the real size, full of noise, and the call that computes them.

Each function takes the network and returns the call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from transformers import PreTrainedModel

from reaffect.face_regions import REGIONS
from reaffect.mllm import FALLBACK_TEMPLATE
from reaffect.models.dialogue_clip import DialogueClip
from reaffect.models.imagebind import SEGMENT_S
from reaffect.models.microemo import MicroEmo
from reaffect.models.omni_emotion import OmniClip, OmniEmotion
from reaffect.models.pandagpt import PandaGPT
from reaffect.models.soft_prompt import SoftPromptLM
from reaffect.models.timestamps import bert
from reaffect.models.video_llama import VideoLLaMA
from reaffect.models.viper import Viper
from reaffect.models.whisper_audio import SAMPLE_RATE, TOKEN, Sound
from reaffect.rehearsal.estimate import counted
from reaffect.rehearsal.readings import Batch

WORD = "calm"
"""One token of BERT's; answers are made of it."""


class Clips(NamedTuple):
    """What a `SoftPromptLM` takes of a batch; None where the batch has none of it."""

    frames: list[Any] | None
    audio: list[Any] | None


Shown = Callable[[Any, int], Clips]
"""Network and number of clips -> clips in its sizes and on its device."""


# ---- models of Hugging Face's


def answered(
    network: PreTrainedModel, at_once: int, *, frames: int, prompt: str, max_new_tokens: int, apart: bool = False
) -> Batch:
    """A question about films, each of which is read for it alone, and answers as long as they may be.

    Args:
        network: such as Video-LLaVA.
        at_once: films.
        frames: of each.
        prompt: the question, without the chat format.
        max_new_tokens: of an answer.
        apart: each frame is a picture that is asked about by itself, by a network such as LLaVA.
    """
    inputs = _pictures(network, at_once * frames, prompt) if apart else _films(network, at_once, frames, prompt)
    length = {"max_new_tokens": max_new_tokens, "min_new_tokens": max_new_tokens}
    return partial(network.generate, **inputs, **length, do_sample=False)


def embedded(network: PreTrainedModel, at_once: int, *, frames: int, prompt: str) -> Batch:
    """The mean of the last layer's states, as `VideoMLLM.embed` takes it; arguments as for `answered`."""
    inputs = _films(network, at_once, frames, prompt)

    @torch.inference_mode()
    def batch() -> Tensor:
        states = network(**inputs, output_hidden_states=True, logits_to_keep=1).hidden_states[-1]
        return states.float().mean(1)

    return batch


def _films(network: PreTrainedModel, count: int, frames: int, prompt: str) -> dict[str, Tensor]:
    side, patches = network.config.vision_config.image_size, _patches(network.config.vision_config)
    read = _read(network, count, frames * (patches + 1), network.config.video_token_index, prompt)  # with class tokens
    return read | {"pixel_values_videos": _normal(network, count, frames, 3, side, side)}


def _pictures(network: PreTrainedModel, count: int, prompt: str) -> dict[str, Tensor]:
    side, patches = network.config.vision_config.image_size, _patches(network.config.vision_config)
    read = _read(network, count, patches, network.config.image_token_index, prompt)
    return read | {"pixel_values": _normal(network, count, 3, side, side)}


def _read(network: PreTrainedModel, count: int, soft: int, mark: int, prompt: str) -> dict[str, Tensor]:
    """Marks where soft tokens go, and as many others as BERT has for the question."""
    tokens = torch.full((count, soft + questions_tokens(prompt)), 5, device=network.device)
    tokens[:, :soft] = mark
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


def questions_tokens(prompt: str) -> int:
    """How many tokens a question takes in a chat format, as BERT counts them."""
    return len(bert()(FALLBACK_TEMPLATE.format(medium="", prompt=prompt)).input_ids)


def _patches(tower: Any) -> int:
    return (tower.image_size // tower.patch_size) ** 2


# ---- language models with soft prompts


def told(network: SoftPromptLM, at_once: int, *, shown: Shown, question: str, max_new_tokens: int) -> Batch:
    """Answers as long as they may be: random weights hardly ever end one earlier."""
    network.requires_grad_(False)
    return partial(network.generate, [question] * at_once, *shown(network, at_once), max_new_tokens=max_new_tokens)


def learned(
    network: SoftPromptLM, at_once: int, *, shown: Shown, question: str, answer_tokens: int, accumulate: int = 1
) -> Batch:
    """Forward and backward pass and a step of AdamW, as `tuning.tune` takes them.

    Gradients of a step that accumulates batches stay from one batch to the next, as memory for them must be there. On
    the meta device nothing is autocast, so that what is float32 there is counted as such.

    Args:
        network: frozen where it is not to learn.
        at_once: lessons in a batch.
        shown: see `Shown`.
        question: of each.
        answer_tokens: learned of each, with the mark that ends it.
        accumulate: batches a step.
    """
    clips, device = shown(network, at_once), network.language_model.device
    ending = len(network.tokenizer(network.stop, add_special_tokens=False).input_ids)
    answer = " ".join([WORD] * (answer_tokens - ending))
    mixed = network.language_model.dtype == torch.bfloat16 and device.type != "meta"

    def loss() -> Tensor:
        with (
            torch.autocast(device.type, torch.bfloat16) if mixed else nullcontext(),
            counted(answer_tokens) if device.type == "meta" else nullcontext(),
        ):
            return network([question] * at_once, *clips, [answer] * at_once).loss

    return optimised(network, loss, keep=accumulate > 1)


def optimised(network: nn.Module, loss: Callable[[], Tensor], *, keep: bool = False) -> Batch:
    """Steps after the first, which has made the optimiser's moments.

    Args:
        network: learns.
        loss: of a batch.
        keep: gradients stay from one step to the next.
    """
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-5, fused=not weights[0].is_meta, foreach=False)
    network.train()
    for weight in weights:
        weight.grad = torch.zeros_like(weight)

    def step() -> None:
        optimizer.step()
        if not keep:
            optimizer.zero_grad()

    def batch() -> None:
        loss().backward()
        step()

    step()
    return batch


def interviews(network: VideoLLaMA | PandaGPT, at_once: int, *, frames: int, sound_s: float) -> Clips:
    """Films, and sound in segments of two seconds; no sound where it lasts 0 s."""
    panda = isinstance(network, PandaGPT)
    config = network.config.senses if panda else network.config
    side = config.vision.image_size if panda else config.image_size
    pictures = frames * (3 if panda else 1)  # PandaGPT sees three crops of each frame
    segments = (math.ceil(sound_s / SEGMENT_S), 1, config.audio.mel_bins, config.audio.mel_frames)
    films = [_noise(network, pictures, 3, side, side) for _ in range(at_once)]
    return Clips(films, [_noise(network, *segments) for _ in range(at_once)] if sound_s else None)


def dialogues(network: MicroEmo, at_once: int, *, frames: int, duration_s: float, utterances: int) -> Clips:
    """Clips of which the tower's tokens are kept; a face fills each frame, utterances follow one another."""
    config = network.config
    patches = _patches(config)
    times = [duration_s * frame / frames for frame in range(frames)]
    utterances_s = list(pairwise(duration_s * number / utterances for number in range(utterances + 1)))
    regions = torch.ones(frames, len(REGIONS), patches, dtype=torch.bool, device="cpu")  # their values are looked at
    segments = (math.ceil(duration_s / SEGMENT_S), 1, config.audio.mel_bins, config.audio.mel_frames)
    seen = [
        DialogueClip(_noise(network, frames, 1 + patches, config.tower_width).float(), times, regions, utterances_s)
        for _ in range(at_once)
    ]
    return Clips(seen, [_noise(network, *segments).float() for _ in range(at_once)])


def expressions(
    network: OmniEmotion, at_once: int, *, frames: int, duration_s: float, video: bool = True, audio: bool = True
) -> Clips:
    """Clips of which the encoders' states are kept; a face is in each frame."""
    config = network.config
    tokens = math.ceil(duration_s * SAMPLE_RATE / TOKEN)
    seen = [
        OmniClip(
            _noise(network, frames, _patches(config), config.tower_width),
            _noise(network, frames, config.face.token_side**2, config.face.fused),
        )
        for _ in range(at_once)
    ]
    heard = [Sound(_noise(network, tokens, config.audio.width), tokens) for _ in range(at_once)]
    return Clips(seen if video else None, heard if audio else None)


# ---- encoders, and networks on their features


def patches_seen(network: MicroEmo, at_once: int, *, frames: int) -> Batch:
    """MicroEmo's tower on the frames of some clips, as `finetuning.Patches` runs it."""
    network.requires_grad_(False)
    side = network.config.image_size
    pixels = _noise(network, at_once * frames, 3, side, side).to(network.tower.dtype)
    return torch.inference_mode()(lambda: network.tower(pixels).last_hidden_state.float())


def perceived(network: OmniEmotion, at_once: int, *, frames: int) -> Batch:
    """Omni-Emotion's encoders, one after the other, as `omni.inputs` runs them; without frames, its ears alone."""
    config = network.config
    films = [_noise(network, frames, 3, config.image_size, config.image_size) for _ in range(at_once)]
    faces = _noise(network, at_once * frames, 3, config.face.image_size, config.face.image_size)
    window = (1, config.audio.mel_bins, 2 * config.audio.positions)
    sounds = [Sound(_noise(network, *window), 1) for _ in range(at_once)]

    @torch.inference_mode()
    def batch() -> None:
        if frames:
            network.see([OmniClip(film) for film in films])
            network.face_encoder(faces)
        network.listen(sounds)

    return batch


def encoded(network: PreTrainedModel, at_once: int, *, parts: int, each: tuple[int, ...], name: str) -> Batch:
    """An encoder of features on clips that have so many parts.

    Args:
        network: the encoder, or a CLIP, of which images are encoded.
        at_once: clips.
        parts: of each: frames, windows of sound, sentences.
        each: shape of a part; it is of whole numbers if it is called `input_ids`.
        name: of the argument.
    """
    kind = {"dtype": torch.long} if name == "input_ids" else {}
    given = {name: torch.ones((at_once * parts, *each), device=network.device, **kind)}
    call = network.get_image_features if hasattr(network, "get_image_features") else network
    return torch.inference_mode()(partial(call, **given))


def fitted(network: Viper, at_once: int, *, frames: int) -> Batch:
    """A training step on frames' features, as `training.fit_sequences` takes it."""
    device = next(network.parameters()).device
    features, truth = (torch.rand(at_once, *shape, device=device) for shape in ((frames, network.width), (7,)))
    mixed = device.type == "cuda"

    def loss() -> Tensor:
        with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
            predicted = network(features)
        return mse_loss(predicted.float(), truth)

    return optimised(network, loss)


def _noise(network: SoftPromptLM, *shape: int) -> Tensor:
    """Where and as what numbers the language model is."""
    return _normal(network.language_model, *shape)


def _normal(network: PreTrainedModel, *shape: int) -> Tensor:
    return torch.randn(shape, device=network.device, dtype=network.dtype)
