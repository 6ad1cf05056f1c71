"""Audio-visual LLMs asked about long recordings: Video-LLaMA and PandaGPT, from their released files or ours.

`mllm` serves every model that Hugging Face has a class for; these two have none. What is asked of a recording may be
limited to a part of it, to one modality, and may come with a note in words, as EALD-MLLM's body language does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import logging as transformers_logging

from reaffect import media, paths
from reaffect.errors import InputError
from reaffect.fingerprint import clip_key, fingerprint
from reaffect.hardware import best_device, precision
from reaffect.memory import Fitting
from reaffect.models.checkpoints import read_pretrained, read_processor
from reaffect.models.imagebind import SAMPLE_RATE, mel_clips
from reaffect.models.pandagpt import PandaGPT, PandaGPTConfig
from reaffect.models.soft_prompt import SoftPromptLM
from reaffect.models.video_llama import VideoLLaMA, VideoLLaMAConfig
from reaffect.store import Store

KINDS = {"Video-LLaMA": (VideoLLaMA, VideoLLaMAConfig), "PandaGPT": (PandaGPT, PandaGPTConfig)}

SHORTEST_S = 0.5
"""Of sound that is listened to; shorter counts as none."""


class Asked(NamedTuple):
    """A recording, or a part of it, and what is told about it."""

    clip: str
    note: str = ""
    """Put after the question."""

    start: float = 0.0
    end: float = 1.0
    """Of the part, as shares of the recording."""


def load(kind: str, weights: Sequence[str], language_model: str, *, device: str = "auto") -> AudioVisualLLM:
    """Loads a model.

    Args:
        kind: one of `KINDS`.
        weights: one folder in our format, or the released files in the order in which they are laid over one another
            (`SoftPromptLM.load_original`); each a name as for `paths.checkpoint`.
        language_model: the LLM that was not released with them (Vicuna), as a folder or hub id.
        device: `cpu`, `cuda`, ...; `auto` takes a GPU if there is one. Numbers are `hardware.precision`'s.

    Raises:
        InputError: an unknown kind, a missing file, or weights that do not fit.
    """
    if kind not in KINDS:
        raise InputError(f"{kind!r} is no audio-visual LLM that is known here; there are {', '.join(KINDS)}.")
    device = best_device() if device == "auto" else device
    dtype = precision(device)
    network, identity = network_of(*KINDS[kind], weights, language_model, dtype=dtype)
    return AudioVisualLLM(network.to(device, dtype).eval(), identity)


def network_of(
    cls: type[SoftPromptLM],
    config: type,
    weights: Sequence[str],
    language_model: str,
    *,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> tuple[SoftPromptLM, str]:
    """A network around a language model, and what identifies all of its weights.

    Args:
        cls, config: of the network.
        weights, language_model: as for `load`.
        dtype: of the language model's own weights.
        options: of the config, where they are not as in the folder, or as in the paper.

    Raises:
        InputError: a missing file, or weights that do not fit.
    """
    places = [Path(paths.checkpoint(name)) for name in weights]
    missing = [place for place in places if not place.exists()]
    if missing or not places:
        raise InputError(
            f"{missing[0] if missing else cls.__name__}: no weights. `make embedded` makes the small ones."
        )
    transformers_logging.disable_progress_bar()
    source, ours = paths.checkpoint(language_model), places[0].is_dir()
    try:
        words = read_pretrained(AutoModelForCausalLM, source, dtype=dtype)
        tokenizer = None if ours else read_processor(AutoTokenizer, source)
    except ValueError as error:
        raise InputError(f"{language_model}: no language model could be loaded ({error}). Fetch it again.") from error
    try:
        if ours:
            network = cls.from_pretrained(places[0], words, **options)
        else:
            network = cls(config(**options), words, tokenizer)
            network.load_original(places)
    except (OSError, ValueError) as error:
        raise InputError(f"{cls.__name__} could not be loaded: {str(error).strip().splitlines()[0]}") from error
    return network, fingerprint(cls.__name__, *places, source, str(dtype))


class AudioVisualLLM:
    """A loaded model; answers go through the store, so that nothing is asked twice."""

    def __init__(self, network: SoftPromptLM, identity: str, store: Store | None = None):
        self.network = network
        self.identity = identity
        self.store = store or Store()
        self.problems: dict[str, str] = {}

    def describe(
        self,
        asked: Sequence[Asked],
        question: str,
        *,
        video: bool = True,
        audio: bool = True,
        frames: int = 32,
        max_new_tokens: int = 128,
        batch_size: int = 8,
    ) -> pd.DataFrame:
        """Answers in the model's own words: a table with the column `text`, one row for each of `asked`, in order.

        A recording that cannot be read has no text and is listed in `problems`. A silent one is described from its
        frames alone, and counted in `attrs["silent"]`.

        Args:
            asked: recordings, parts and notes.
            question: what is asked of each.
            video, audio: what the model is given.
            frames: equidistant ones of the part.
            max_new_tokens: where an answer is cut off.
            batch_size: recordings asked together; changes speed, not answers.

        Raises:
            InputError: neither video nor audio.
        """
        if not (video or audio):
            raise InputError("describe: give the model video, audio or both.")
        recipe = {"model": self.identity, "question": question, "video": video, "audio": audio}
        recipe |= {"frames": frames, "max_new_tokens": max_new_tokens}

        def prepare(item: Asked) -> tuple[Asked, np.ndarray | None, np.ndarray | None]:
            film = media.read_frames(item.clip, frames, span=(item.start, item.end)) if video else None
            sound = _part(media.read_waveform(item.clip, SAMPLE_RATE), item) if audio else None
            if film is None and sound is None:
                raise InputError(f"{item.clip}: no sound to listen to; ask about its frames.")
            return item, film, sound

        def answer(batch: list) -> list[dict]:
            texts: dict[int, str] = {}
            for rows in _alike([sound is None for _, _, sound in batch]):
                texts |= zip(rows, self._answers([batch[row] for row in rows], question, max_new_tokens), strict=True)
            return [{"text": texts[row], "silent": audio and batch[row][2] is None} for row in range(len(batch))]

        computed = self.store.compute(
            "interview answers",
            recipe,
            list(asked),
            Fitting(answer),
            batch_size=batch_size,
            key=lambda item: f"{clip_key(item.clip)} {item.start:.4f} {item.end:.4f} {item.note}",
            prepare=prepare,
        )
        self.problems |= {item.clip: problem for item, problem in computed.problems.items()}
        nothing = {"text": None, "silent": False}
        table = pd.DataFrame([computed.values.get(item, nothing) for item in asked], columns=list(nothing))
        table.attrs["silent"] = int(table.pop("silent").sum())
        return table

    def _answers(self, batch: list, question: str, max_new_tokens: int) -> list[str]:
        items, films, sounds = zip(*batch, strict=True)
        device, dtype = _place(self.network)
        questions = [f"{question} {item.note}".strip() for item in items]
        frames = audio = None
        if films[0] is not None:
            frames = [self.network.pixels(torch.from_numpy(film)).to(device, dtype) for film in films]
        if sounds[0] is not None:
            ears = getattr(self.network.config, "audio", None) or self.network.config.senses.audio
            audio = [mel_clips(sound, SAMPLE_RATE, ears).to(device, dtype) for sound in sounds]
        return self.network.generate(questions, frames, audio, max_new_tokens=max_new_tokens)


def _alike(silent: Sequence[bool]) -> list[list[int]]:
    """Rows with sound and rows without it: what is asked together has the same modalities."""
    groups = [[row for row, none in enumerate(silent) if none == kind] for kind in (False, True)]
    return [rows for rows in groups if rows]


def _part(waveform: np.ndarray, item: Asked) -> np.ndarray | None:
    part = waveform[int(item.start * len(waveform)) : int(item.end * len(waveform))]
    return part if len(part) >= SHORTEST_S * SAMPLE_RATE and np.abs(part).max() > 0 else None


def _place(network: SoftPromptLM) -> tuple[torch.device, torch.dtype]:
    weight: Tensor = network.language_model.get_input_embeddings().weight
    return weight.device, weight.dtype
