"""Any Hugging Face video or image LLM, asked about clips: `describe`, `score`, `embed`.

One class serves all models: the Auto classes load them, the processor's chat template words the question, and what
the processor can take (videos, or images only) decides what it is shown. Answers and embeddings go through the
store, clip by clip, so that nothing is asked twice and a killed run goes on where it stopped.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reaffect import media
from reaffect.errors import InputError
from reaffect.fingerprint import clip_key, fingerprint
from reaffect.hardware import best_device, precision
from reaffect.memory import Fitting
from reaffect.models.multimodal import CONTINUING, PER_TOKEN, chat, endings_of, read_multimodal
from reaffect.prompts import parse_scores
from reaffect.store import Store

if TYPE_CHECKING:
    from reaffect.served import ServedMLLM

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
    if str(model).startswith(("http://", "https://")):
        from reaffect.served import connect  # not above: the client of servers takes a second to import

        return connect(str(model))
    if device == "auto":
        device = best_device()
    number = precision(device) if dtype == "auto" else getattr(torch, dtype)
    network, processor, commit = read_multimodal(model, number)
    identity = fingerprint(model) if isinstance(model, Path) else f"{model}@{commit}"
    return VideoMLLM(network.to(device).eval(), processor, f"{identity}:{number}")


class Describer:
    """A model that answers questions about clips, be it loaded here or served."""

    takes_audio: bool
    """Whether it hears the sound beside the frames."""

    def describe_each(self, clips: Sequence[str | Path], prompts: Mapping[str, str], **options: Any) -> pd.DataFrame:
        """Answers to several questions about the same clips: a table with a column a question."""
        raise NotImplementedError

    def describe(self, clips: Sequence[str | Path], prompt: str, **options: Any) -> pd.DataFrame:
        """Answers in the model's own words, decoded greedily: a table with the column `text`.

        Args:
            clips: video files.
            prompt: what is asked, without the chat format.
            options: as for `describe_each`.
        """
        return self.describe_each(clips, {"text": prompt}, **options)

    def score(self, clips: Sequence[str | Path], prompt: str, emotions: Sequence[str], **options: Any) -> pd.DataFrame:
        """Asks for scores and reads them from the answer: one column an emotion in [0, 1] or NaN, and `text`.

        Args:
            clips: video files.
            prompt: the question; see `prompts.VAIANI_QUESTION`.
            emotions: what `prompts.parse_scores` looks for.
            options: as for `describe`.
        """
        answers = self.describe(clips, prompt, **options)
        scores = [parse_scores(text, emotions) for text in answers.text]
        return pd.DataFrame(scores, index=answers.index, columns=list(emotions)).assign(text=answers.text)


class Seen(NamedTuple):
    """What a model is shown of a clip."""

    film: np.ndarray  # uint8 (frames, height, width, 3), RGB
    sound: np.ndarray | None  # float32 (samples,), if it is to be heard
    times: dict[str, Any] | None  # of its frames, if they are told; see `_times`


class VideoMLLM(Describer):
    """A loaded model with its processor.

    Every method takes clips as paths and returns a table indexed by clip, in the order asked. A clip that cannot
    be read has a row of missing values and is listed in `problems`; the others finish.
    """

    def __init__(self, network: torch.nn.Module, processor: Any, identity: str, store: Store | None = None):
        self.network = network
        self.processor = processor
        self.identity = identity
        self.store = store or Store()
        self.problems: dict[str, str] = {}
        processor.tokenizer.padding_side = "left"  # answers of a batch begin side by side

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

    def describe_each(
        self,
        clips: Sequence[str | Path],
        prompts: Mapping[str, str],
        *,
        frames: int | None = None,
        audio: bool = False,
        max_new_tokens: int = 128,
        batch_size: int = 16,
        strict: bool = False,
    ) -> pd.DataFrame:
        """Answers to several questions about the same clips, for one look at each: a table with a column a question.

        Vaiani et al. 2024 ask three of every clip: for scores (Section 4.1) and by two prompts (4.2 and 4.3). Frames
        are decoded once, and the network reads once what all questions begin with, the video above all. The answers
        are those of `describe`, but for rounding, as with another batch size, and it finds them in the store. Of a
        clip some of whose answers are there only the others are asked. Models not in `CONTINUING` look again.

        Args:
            clips: video files.
            prompts: what is asked, without the chat format, by the column's name.
            frames: equidistant frames shown, the first and last included; an image model sees the middle one.
            audio: whether the sound is played to it, too; a clip without sound is then played as a second of silence.
            max_new_tokens: where an answer is cut off.
            batch_size: clips asked together, fewer if memory runs out; changes speed, not answers.
            strict: raise the first bad clip's InputError instead of listing it.

        Raises:
            InputError: `audio` with a model that cannot hear; a single clip does not fit in memory.
        """
        if audio and not self.takes_audio:
            raise InputError("describe: this model cannot hear; ask without audio, or load an omni-modal one.")
        shown = {"frames": frames or self.frames, "max_new_tokens": max_new_tokens}
        shown |= ({"audio": True} if audio else {}) | self._timed
        recipes = {name: {"prompt": prompt, **shown} for name, prompt in prompts.items()}

        def answer(seen: list[Seen], lacking: tuple[str, ...]) -> list[tuple[str, ...]]:
            answers = self._answers_each(seen, [prompts[name] for name in lacking], max_new_tokens)
            return list(zip(*answers, strict=True))

        told = self._compute_each("answers", recipes, clips, answer, batch_size, strict)
        texts = {name: [values.get(str(clip)) for clip in clips] for name, values in told.items()}
        return pd.DataFrame(texts, index=_index(clips))

    def describe_frames(
        self,
        clips: Sequence[str | Path],
        prompt: str,
        *,
        frames: int = 32,
        max_new_tokens: int = 128,
        batch_size: int = 4,
        strict: bool = False,
    ) -> pd.DataFrame:
        """Describes single frames (Vaiani et al. 2024, Section 4.3, LLaVA): one column a frame, 0, 1, ...

        Args:
            clips: video files.
            prompt: what is asked of every frame.
            frames: equidistant, first and last included.
            max_new_tokens, strict: as for `describe`.
            batch_size: clips asked together; the model sees `frames` times as many pictures at once.
        """
        recipe = {"prompt": prompt, "frames": frames, "max_new_tokens": max_new_tokens, "each frame": True}

        def answer(seen: list[Seen]) -> list[dict[str, str]]:
            inputs = self._inputs([frame[None] for one in seen for frame in one.film], prompt)
            texts = self._answers(inputs, max_new_tokens)
            return [
                {str(frame): texts[start + frame] for frame in range(frames)} for start in range(0, len(texts), frames)
            ]

        values = self._compute("answers", recipe, clips, answer, batch_size, strict)
        columns = [str(frame) for frame in range(frames)]
        return pd.DataFrame([values.get(str(clip), {}) for clip in clips], index=_index(clips), columns=columns)

    def embed(
        self,
        clips: Sequence[str | Path],
        prompt: str,
        *,
        tokens: str = "sequence",
        frames: int | None = None,
        max_new_tokens: int = 128,
        batch_size: int = 16,
        strict: bool = False,
    ) -> pd.DataFrame:
        """Mean of the last layer's states over all output tokens (Vaiani et al. 2024, Section 4.2).

        Args:
            clips: video files.
            prompt: what is asked, without the chat format.
            tokens: which output tokens: those of the whole input `sequence`, video and question, or those of
                the generated `answer`. The paper does not say; we read the former.
            frames, max_new_tokens, batch_size, strict: as for `describe`.

        Returns:
            One column a hidden unit (float32), columns 0, 1, ...
        """
        if tokens not in ("sequence", "answer"):
            raise InputError(f"tokens is {tokens!r}; it must be 'sequence' or 'answer'.")
        recipe = {"prompt": prompt, "frames": frames or self.frames, "tokens": tokens}
        recipe |= ({"max_new_tokens": max_new_tokens} if tokens == "answer" else {}) | self._timed

        def pool(seen: list[Seen]) -> np.ndarray:
            inputs = self._shown(seen, prompt)
            states, mask = self._answer_states(inputs, max_new_tokens) if tokens == "answer" else self._states(inputs)
            mean = (states.float() * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            return mean.cpu().numpy()

        values = self._compute("embeddings", recipe, clips, pool, batch_size, strict)
        width = self.network.config.get_text_config().hidden_size
        missing = np.full(width, np.nan, np.float32)
        return pd.DataFrame(np.stack([values.get(str(clip), missing) for clip in clips]), index=_index(clips))

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
            batch_size=batch_size,
            key=clip_key,
            prepare=lambda clip: self._read(clip, **next(iter(recipes.values()))),
            strict=strict,
        )
        for computed in each.values():
            self.problems |= computed.problems
        return {part: computed.values for part, computed in each.items()}

    @property
    def _timed(self) -> dict[str, bool]:
        """What a recipe says of times: they change answers, and `_read` looks for them."""
        return {"timed": True} if self.takes_times else {}

    def _read(self, clip: str, frames: int, audio: bool = False, timed: bool = False, **_: Any) -> Seen:
        """A clip's frames, of a single one the middle one; and what else of the clip a recipe asks for."""
        film = media.read_frames(clip, frames) if frames > 1 else media.read_frames(clip, 3)[1:2]
        return Seen(film, self._sound(clip) if audio else None, _times(clip, frames) if timed else None)

    def _sound(self, clip: str) -> np.ndarray:
        rate = self.processor.feature_extractor.sampling_rate
        sound = media.read_waveform(clip, rate)
        return sound if len(sound) else np.zeros(rate, np.float32)

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

    def _answers_each(self, seen: list[Seen], prompts: list[str], max_new_tokens: int) -> list[list[str]]:
        """Answers by prompt and clip; the clips and all else that the questions begin with are read once."""
        endings = self._endings(prompts, heard=seen[0].sound is not None)
        if endings is None:
            return [self._answers(self._shown(seen, prompt), max_new_tokens) for prompt in prompts]
        inputs = self._shown(seen, prompts[0])
        begun = {name: value[:, : -len(endings[0])] for name, value in inputs.items() if name in PER_TOKEN}
        # By `generate`, as the answers are: it alone knows which position of its own a class gives to each token.
        read = self._generate(inputs | begun, 1).past_key_values
        answers = []
        for ending in endings:
            ids = torch.tensor([ending] * len(seen), device=self.network.device)
            asked = {
                "input_ids": torch.cat([begun["input_ids"], ids], 1),
                "attention_mask": torch.cat([begun["attention_mask"], torch.ones_like(ids)], 1),
            }
            answers.append(self._answers({**asked, "past_key_values": copy.deepcopy(read)}, max_new_tokens))
        return answers

    def _endings(self, prompts: list[str], *, heard: bool) -> list[list[int]] | None:
        """Each question's token ids from where the questions part; None if they cannot share a look.

        That is so for a single question, for model types not known to go on from what was read, and for a chat
        template that puts the clip after the prompt.
        """
        if len(prompts) == 1 or self.network.config.model_type not in CONTINUING:
            return None
        return endings_of(self.processor, [self._question(prompt, heard=heard) for prompt in prompts])

    def _answers(self, inputs: dict[str, Tensor], max_new_tokens: int) -> list[str]:
        sequences = self._generate(inputs, max_new_tokens).sequences
        fresh = sequences[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(fresh, skip_special_tokens=True)]

    @torch.inference_mode()
    def _generate(self, inputs: dict[str, Tensor], max_new_tokens: int, **options: Any) -> Any:
        return self.network.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, return_dict_in_generate=True, **options
        )

    @torch.inference_mode()
    def _states(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Last layer's states of the input sequence (batch, tokens, width), and which of them count."""
        known = inspect.signature(self.network.forward).parameters
        spare = {"logits_to_keep": 1} if "logits_to_keep" in known else {}  # a row of logits a token is GBs at 7B
        output = self.network(**inputs, output_hidden_states=True, **spare)
        states = output.hidden_states[-1]
        return states, inputs["attention_mask"][:, -states.shape[1] :].to(states.device)

    def _answer_states(self, inputs: dict[str, Tensor], max_new_tokens: int) -> tuple[Tensor, Tensor]:
        """The same for the generated tokens, up to and with each answer's end."""
        output = self._generate(inputs, max_new_tokens, output_hidden_states=True)
        states = torch.stack([step[-1][:, -1] for step in output.hidden_states], 1)
        fresh = output.sequences[:, -states.shape[1] :]
        ended = torch.isin(fresh, torch.as_tensor(self.network.generation_config.eos_token_id, device=fresh.device))
        return states, (ended.cumsum(1) - ended.long() == 0).long()


def _times(clip: str, frames: int) -> dict[str, Any]:
    """Which of a clip's frames `_read` shows, and the clip's rate; None for a folder of frames, which does not tell."""
    whole = media.probe(clip)
    shown = media.frame_indices(whole.frames, frames) if frames > 1 else media.frame_indices(whole.frames, 3)[1:2]
    rate = whole.fps if whole.fps > 0 else None
    return {"total_num_frames": whole.frames, "fps": rate, "frames_indices": shown}


def _index(clips: Sequence[str | Path]) -> pd.Index:
    return pd.Index([str(clip) for clip in clips], name="clip")
