"""Any Hugging Face video or image LLM, asked about clips: `describe`, `score`, `embed`.

One class serves all models: the Auto classes load them, the processor's chat template words the question, and what
the processor can take (videos, or images only) decides what it is shown. Answers and embeddings go through the
store, clip by clip, so that nothing is asked twice and a killed run goes on where it stopped.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reaffect import describing, paths
from reaffect.describing import Describer, Extent
from reaffect.errors import InputError
from reaffect.fingerprint import clip_key, fingerprint
from reaffect.hardware import best_device, precision
from reaffect.memory import SHARE, Fitting, cut, free_bytes
from reaffect.models.multimodal import (
    CONTINUING,
    PER_TOKEN,
    chat,
    endings_of,
    last_states,
    read_multimodal,
    token_bytes,
)
from reaffect.store import Store

if TYPE_CHECKING:
    from reaffect.served import ServedMLLM

Value = TypeVar("Value")

DEFAULT_FRAMES = 8
"""Shown of a clip if the processor does not say; as Video-LLaVA (Lin et al. 2023) was trained."""

FALLBACK_TEMPLATE = "USER: {medium}\n{prompt} ASSISTANT:"
"""Video-LLaVA's and LLaVA-1.5's own format, for checkpoints that carry no chat template."""


def load(model: str | Path, device: str = "auto", dtype: str = "auto") -> VideoMLLM | ServedMLLM:
    """Loads a checkpoint.

    Args:
        model: a hub id, a folder in Hugging Face format, or a served model's name (see `served`), which runs elsewhere
            in numbers of its own.
        device: `cpu`, `cuda`, ...; `auto` takes a GPU if there is one.
        dtype: a torch dtype's name; `auto` is `hardware.precision`'s.

    Raises:
        InputError: as for `read_multimodal`; or the server is not there.
    """
    if paths.is_address(str(model)):
        from reaffect.served import connect  # not above: the client of servers takes a second to import

        return connect(str(model))
    if device == "auto":
        device = best_device()
    number = precision(device) if dtype == "auto" else getattr(torch, dtype)
    network, processor, commit = read_multimodal(model, number)
    identity = fingerprint(model) if isinstance(model, Path) else f"{model}@{commit}"
    return VideoMLLM(network.to(device).eval(), processor, f"{identity}:{number}")


class Seen(NamedTuple):
    """What a model is shown of a clip."""

    film: np.ndarray  # uint8 (frames, height, width, 3), RGB
    sound: np.ndarray | None  # float32 (samples,), if it is to be heard
    times: dict[str, Any] | None  # of its frames, if they are told; see `describing.times`


class VideoMLLM(Describer):
    """A loaded model with its processor.

    The network reads once what all questions about a clip begin with, the video above all; models not in `CONTINUING`
    look again for each.
    """

    def __init__(self, network: torch.nn.Module, processor: Any, identity: str, store: Store | None = None):
        super().__init__(identity, store)
        self.network = network
        self.processor = processor
        self.static = False
        """Whether a question asked alone is answered with a cache of fixed size, for which transformers compiles the
        network on a GPU; questions that share a look go on from one that grows. `make bench-gpu` tells if it pays."""
        processor.tokenizer.padding_side = "left"  # answers of a batch begin side by side

    @property
    def called(self) -> str:
        """The class's name."""
        return self.network.config.model_type

    @property
    def takes_videos(self) -> bool:
        """Whether the processor takes videos; otherwise it is shown single images."""
        return getattr(self.processor, "video_processor", None) is not None

    @property
    def takes_audio(self) -> bool:
        """Whether it takes sound beside videos: the large of a family may lack ears that its processor has."""
        hears = getattr(self.network.config, "audio_config", None) is not None
        return self.takes_videos and hears and getattr(self.processor, "feature_extractor", None) is not None

    @property
    def takes_times(self) -> bool:
        """Whether the processor tells in words when each frame is shown; not told, it takes 24 frames, or 1, a second.

        Qwen2.5-VL's makes positions of them: transformers 5.23 then places the question before the video's end.
        """
        told = getattr(self.processor, "videos_kwargs", {}).get("return_metadata", False)
        return told and "second_per_grid_ts" not in self.processor.model_input_names

    @property
    def frames(self) -> int:
        """How many equidistant frames of a clip are shown by default: the processor's own number, or 8; 1 image."""
        if not self.takes_videos:
            return 1
        return getattr(self.processor.video_processor, "num_frames", None) or DEFAULT_FRAMES

    def embed_each(
        self,
        clips: Sequence[str | Path],
        prompts: Mapping[str, str],
        *,
        tokens: str = "sequence",
        frames: int | None = None,
        max_new_tokens: int = 128,
        batch_size: int = 16,
        strict: bool = False,
    ) -> dict[str, pd.DataFrame]:
        """Clips as vectors, under several prompts for one look at each.

        A vector is the mean of the last layer's states over all output tokens (Vaiani et al. 2024, Section 4.2, which
        does so under two prompts). Vectors are those of `embed`, but for rounding, and it finds them in the store.

        Args:
            clips: video files.
            prompts: what is asked, without the chat format, by a name of one's own.
            tokens: which output tokens: those of the whole input `sequence`, video and question, or those of
                the generated `answer`. The paper does not say; we read the former.
            frames, max_new_tokens, batch_size, strict: as for `describe_each`.

        Returns:
            By the prompts' names: one column a hidden unit (float32), columns 0, 1, ...
        """
        if tokens not in ("sequence", "answer"):
            raise InputError(f"tokens is {tokens!r}; it must be 'sequence' or 'answer'.")
        shown = {"frames": frames or self.frames, "tokens": tokens}
        shown |= ({"max_new_tokens": max_new_tokens} if tokens == "answer" else {}) | self._timed
        recipes = {name: {"prompt": prompt, **shown} for name, prompt in prompts.items()}
        whole = tokens == "sequence"

        def mean(inputs: dict[str, Any], before: Tensor | None) -> np.ndarray:
            states, mask = self._states(inputs, before) if whole else self._answer_states(inputs, max_new_tokens)
            return ((states.float() * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).cpu().numpy()

        def pool(seen: list[Seen], lacking: tuple[str, ...]) -> list[tuple[np.ndarray, ...]]:
            asked = [recipes[name]["prompt"] for name in lacking]
            return list(zip(*self._each(seen, asked, mean, whole=whole), strict=True))

        values = self._compute_each("embeddings", recipes, clips, pool, batch_size, strict)
        missing = np.full(self.network.config.get_text_config().hidden_size, np.nan, np.float32)
        index = describing.index(clips)
        return {
            name: pd.DataFrame(np.stack([found.get(str(clip), missing) for clip in clips]), index=index)
            for name, found in values.items()
        }

    def embed(self, clips: Sequence[str | Path], prompt: str, **options: Any) -> pd.DataFrame:
        """Clips as vectors: the table of `embed_each` for a single prompt.

        Args:
            clips: video files.
            prompt: what is asked, without the chat format.
            options: as for `embed_each`.
        """
        return self.embed_each(clips, {"prompt": prompt}, **options)["prompt"]

    def _shows(self, *, audio: bool) -> dict[str, bool]:
        return ({"audio": True} if audio else {}) | self._timed

    def _told(self, recipes, clips, batch_size, strict) -> dict[str, dict[str, str]]:
        def answer(seen: list[Seen], lacking: tuple[str, ...]) -> list[tuple[str, ...]]:
            prompts, length = [recipes[name]["prompt"] for name in lacking], recipes[lacking[0]]["max_new_tokens"]
            answers = self._each(seen, prompts, lambda inputs, _: self._answers(inputs, length))
            return list(zip(*answers, strict=True))

        return self._compute_each("answers", recipes, clips, answer, batch_size, strict)

    def _told_of_frames(self, recipe, clips, batch_size, strict) -> dict[str, dict[str, str]]:
        frames = recipe["frames"]

        def answer(seen: list[Seen]) -> list[dict[str, str]]:
            inputs = self._inputs([frame[None] for one in seen for frame in one.film], recipe["prompt"])
            texts = self._answers(inputs, recipe["max_new_tokens"])
            return [
                {str(frame): texts[start + frame] for frame in range(frames)} for start in range(0, len(texts), frames)
            ]

        return self._compute("answers", recipe, clips, answer, batch_size, strict)

    def _compute(self, name, recipe, clips, function, batch_size, strict) -> dict[str, Any]:
        """Values by clip, from the store or from `function` on what is seen of a batch."""

        def row(seen: list[Seen], _: tuple[str, ...]) -> list[list[Any]]:
            return [[value] for value in function(seen)]

        return self._compute_each(name, {name: recipe}, clips, row, batch_size, strict)[name]

    def _compute_each(self, name, recipes, clips, function, batch_size, strict) -> dict[str, dict[str, Any]]:
        """The same under several recipes that show the clips alike; see `Store.compute_each`."""
        each = self.store.compute_each(
            name,
            {part: {"model": self.identity, **recipe} for part, recipe in recipes.items()},
            [str(clip) for clip in clips],
            Fitting(function),
            batch_size=lambda lacking: self._batches(lacking, list(recipes.values()), batch_size),
            key=clip_key,
            prepare=lambda clip: self._read(clip, **next(iter(recipes.values()))),
            strict=strict,
        )
        for computed in each.values():
            self.problems |= computed.problems
        return {part: computed.values for part, computed in each.items()}

    def _batches(self, clips: list[str], recipes: list[dict[str, Any]], most: int) -> list[list[int]]:
        """Clips of about as many tokens together, by their numbers, and no more at once than there is memory for.

        Args:
            clips: what is asked about.
            recipes: alike in what they show of a clip.
            most: clips in a batch.
        """
        asked, audio = max(recipes, key=lambda recipe: len(recipe["prompt"])), recipes[0].get("audio", False)
        # a processor that makes as many tokens of these makes as many of every clip
        alike = len({self._tokens(extent, {**asked, "frames": 2}) for extent in describing.UNLIKE}) == 1
        seen = describing.UNLIKE[:1] * len(clips) if alike and not audio else describing.extents(clips, audio=audio)
        tokens = {extent: self._tokens(extent, asked) for extent in set(seen) if extent}
        caches = 1 if len(recipes) == 1 else 2  # of what questions share, and of the one that is asked
        each = token_bytes(self.network.config.get_text_config(), self.network.dtype, caches=caches)
        budget = int(SHARE * free_bytes(self.network.device)) // each
        return cut([tokens.get(extent, 0) for extent in seen], most, budget)

    def _tokens(self, extent: Extent, recipe: dict[str, Any]) -> int:
        """How many a clip of noise and its answer are; a clip that hardly moves may be fewer."""
        frames, apart = recipe["frames"], "each frame" in recipe
        shape = (1 if apart else frames, extent.height, extent.width, 3)
        film = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        rate = self.processor.feature_extractor.sampling_rate if extent.sound_s else 0
        sounds = [np.zeros(extent.sound_s * rate, np.float32)] if rate else None
        times = [{"total_num_frames": frames, "fps": 1.0, "frames_indices": list(range(frames))}]
        inputs = self._inputs([film], recipe["prompt"], sounds, times if recipe.get("timed") else None)
        return (inputs["input_ids"].shape[1] + recipe.get("max_new_tokens", 0)) * (frames if apart else 1)

    @property
    def _timed(self) -> dict[str, bool]:
        """What a recipe says of times: they change answers, and `_read` looks for them."""
        return {"timed": True} if self.takes_times else {}

    def _read(self, clip: str, frames: int, audio: bool = False, timed: bool = False, **_: Any) -> Seen:
        """A clip's frames, of a single one the middle one; and what else of the clip a recipe asks for."""
        rate = self.processor.feature_extractor.sampling_rate if audio else 0
        heard = describing.sound(clip, rate) if audio else None
        return Seen(describing.film(clip, frames), heard, describing.times(clip, frames) if timed else None)

    def _question(self, prompt: str, *, heard: bool) -> str:
        """A prompt in the chat format, with a place for the clip before it."""
        kind = "video" if self.takes_videos else "image"
        if not getattr(self.processor, "chat_template", None):
            return FALLBACK_TEMPLATE.format(medium=f"<{kind}>", prompt=prompt)
        media_parts = [{"type": kind}, {"type": "audio"}] if heard else [{"type": kind}]
        message = {"role": "user", "content": [*media_parts, {"type": "text", "text": prompt}]}
        return chat(self.processor, message)

    def _shown(self, seen: list[Seen], prompt: str) -> dict[str, Tensor]:
        """What is seen of clips, of all the same, and a question as the network takes them."""
        films, sounds, times = (None if each[0] is None else list(each) for each in zip(*seen, strict=True))
        return self._inputs(films, prompt, sounds, times)

    def _inputs(
        self, films: list[np.ndarray], prompt: str, sounds: list[np.ndarray] | None = None, times: list | None = None
    ) -> dict[str, Tensor]:
        """The same of films (frames, height, width, 3), their sounds (samples,) and times."""
        text = self._question(prompt, heard=sounds is not None)
        if self.takes_videos:
            told = {"video_metadata": times} if times else {}
            shown = {"videos": films, "videos_kwargs": {"do_sample_frames": False, **told}}
        else:  # a list for each question: some processors take a plain list for the pictures of a single question
            shown = {"images": [[film[len(film) // 2]] for film in films]}
        shown |= {"audio": sounds} if sounds else {}
        inputs = self.processor(text=[text] * len(films), padding=True, return_tensors="pt", **shown)
        return inputs.to(self.network.device, self.network.dtype).data

    def _each(
        self,
        seen: list[Seen],
        prompts: list[str],
        ask: Callable[[dict[str, Any], Tensor | None], Value],
        *,
        whole: bool = False,
    ) -> list[Value]:
        """What `ask` finds, by prompt; the clips and all else that the questions begin with are read once.

        Args:
            seen: of a batch.
            prompts: see `describe_each`.
            ask: inputs of `generate`, and the last layer's states (batch, tokens, width) of what the network has read
                of them before, or None if it has read nothing -> anything. Called with one cache at a time.
            whole: see `_begin`.
        """
        endings = self._endings(prompts, heard=seen[0].sound is not None)
        if endings is None:
            return [ask(self._shown(seen, prompt), None) for prompt in prompts]
        inputs = self._shown(seen, prompts[0])
        begun = {name: value[:, : -len(endings[0])] for name, value in inputs.items() if name in PER_TOKEN}
        read, states = self._begin(inputs | begun, whole=whole)
        found = []
        for ending in endings:
            ids = torch.tensor([ending] * len(seen), device=self.network.device)
            asked = {
                "input_ids": torch.cat([begun["input_ids"], ids], 1),
                "attention_mask": torch.cat([begun["attention_mask"], torch.ones_like(ids)], 1),
            }
            found.append(ask({**asked, "past_key_values": copy.deepcopy(read)}, states))
        return found

    def _endings(self, prompts: list[str], *, heard: bool) -> list[list[int]] | None:
        """Each question's token ids from where the questions part; None if they cannot share a look.

        That is so for a single question, for model types not known to go on from what was read, and for a chat
        template that puts the clip after the prompt.
        """
        if len(prompts) == 1 or self.network.config.model_type not in CONTINUING:
            return None
        return endings_of(self.processor, [self._question(prompt, heard=heard) for prompt in prompts])

    def _answers(self, inputs: dict[str, Tensor], max_new_tokens: int) -> list[str]:
        fixed = {"cache_implementation": "static"} if self.static and "past_key_values" not in inputs else {}
        sequences = self._generate(inputs, max_new_tokens, **fixed).sequences
        fresh = sequences[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(fresh, skip_special_tokens=True)]

    @torch.inference_mode()
    def _generate(self, inputs: dict[str, Any], max_new_tokens: int, **options: Any) -> Any:
        return self.network.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, return_dict_in_generate=True, **options
        )

    def _begin(self, inputs: dict[str, Any], *, whole: bool) -> tuple[Any, Tensor]:
        """The cache of what was read, and the last layer's states (batch, tokens, width).

        By `generate`, as what follows is: it alone knows which position of its own a class gives to each token.

        Args:
            inputs: of `generate`.
            whole: the states are those of all tokens. Told by a number how many logits matter, as `generate` tells it,
                Gemma 4 leaves out the others' states; so it is told by their place.
        """
        known = inspect.signature(self.network.forward).parameters
        last = {"logits_to_keep": torch.tensor([-1], device=self.network.device)} if "logits_to_keep" in known else {}
        with last_states(self.network) as passes:
            read = self._generate(inputs, 1, **(last if whole else {})).past_key_values
        return read, passes[0]

    def _states(self, inputs: dict[str, Any], before: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Last layer's states of the input sequence (batch, tokens, width), and which of them count.

        Args:
            inputs, before: see `_each`.
        """
        _, states = self._begin(inputs, whole=True)
        states = states if before is None else torch.cat([before, states], 1)
        return states, inputs["attention_mask"][:, -states.shape[1] :].to(states.device)

    def _answer_states(self, inputs: dict[str, Any], max_new_tokens: int) -> tuple[Tensor, Tensor]:
        """The same for the generated tokens, up to and with each answer's end."""
        with last_states(self.network) as passes:
            sequences = self._generate(inputs, max_new_tokens).sequences
        states = torch.stack([one[:, -1] for one in passes], 1)
        fresh = sequences[:, -states.shape[1] :]
        ended = torch.isin(fresh, torch.as_tensor(self.network.generation_config.eos_token_id, device=fresh.device))
        return states, (ended.cumsum(1) - ended.long() == 0).long()
