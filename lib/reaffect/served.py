"""A video or image LLM behind a server, in the place of one that is loaded here: `describe`, `score`.

Wherever a parameter names such a model's checkpoint it may name a served one: `http://localhost:8000/v1/` and then
the name that the server (vLLM, SGLang, any that speaks OpenAI's protocol) has for it. The model is shown the frames
that `mllm` would show it, as JPEG pictures in time's order (the protocol has no videos), and then asked: pictures
before words, so that a server that keeps prefixes reads them once for several questions. Answers go through the store,
clip by clip.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import cv2
import numpy as np
import soundfile

from reaffect import describing
from reaffect.chat import ITEM, Chat, RefusedError, ask_all
from reaffect.describing import Describer
from reaffect.errors import InputError
from reaffect.fingerprint import clip_key
from reaffect.store import Store

KEY = "REAFFECT_SERVER_KEY"
"""The environment variable with the server's key, for one that wants a key."""

FRAMES = 8
"""Shown of a clip by default, as `mllm` does where a checkpoint does not say: a server never says."""

JPEG_QUALITY = 95
SAMPLE_RATE = 16_000
"""Of sounds, in Hz: what omni-modal models hear (Qwen2.5-Omni, Qwen3-Omni, and all others with Whisper's encoder)."""

TIMEOUT_S = 300.0
"""For one request: a server may let it wait behind many others."""

STABLE = ("root", "parent", "owned_by")
"""Of what servers tell of a model: what was loaded under its name, what that adapts, and who serves it. The rest, such
as vLLM's time of creation and permissions, is new after each start."""

ADVICE = {
    401: f"set the environment variable {KEY} to the server's key",
    408: "look whether it is overloaded, or lower batch_size",
    429: "too many requests, or no quota left: lower batch_size, or wait",
    **dict.fromkeys(ITEM, "it will not have this request; if it says too many pictures or tokens, lower `frames`"),
}

Part = dict[str, Any]
"""Of a message, in OpenAI's form."""

_ADDRESS = re.compile(r"(https?://[^/@\s]+(?:/\S+?)??/v1)/(\S+)")


class Shown(NamedTuple):
    """What is sent of a clip."""

    clip: str
    pictures: list[Part]
    sound: list[Part]
    """Empty where it is not to be heard."""


def connect(name: str) -> ServedMLLM:
    """A served model, after a look whether it is there and can see.

    Args:
        name: see `address`.

    Raises:
        InputError: the name is none of a served model; the server is not reachable, wants another key or does not
            have the model; or the model takes text only.
    """
    chat = Chat(
        *address(name),
        key_variable=KEY if os.environ.get(KEY, "").strip() else None,
        timeout_s=TIMEOUT_S,
        advice=ADVICE,
    )
    listed = chat.listed()
    told = {field: listed.get(chat.model, {}).get(field) for field in STABLE}
    model = ServedMLLM(chat, json.dumps({"served": chat.model} | {k: v for k, v in told.items() if v}))
    try:
        blind = model.notices(_picture(np.full((224, 224, 3), 128, np.uint8))) is False
    except RefusedError as error:
        if error.status == 404 and listed:
            names = get_close_matches(chat.model, listed, n=5, cutoff=0)
            raise InputError(f"{error} The server has {len(listed)} models, among them {', '.join(names)}.") from error
        raise
    if blind:
        raise InputError(f"{name}: the model takes text only; name one that sees videos or images.")
    return model


def address(name: str) -> tuple[str, str]:
    """The server's address and the model's name there.

    Args:
        name: `http(s)://host[:port]/v1/<model>`.

    Raises:
        InputError: it has another form, or a password in it.

    >>> address("http://localhost:8000/v1/Qwen/Qwen3-VL-8B-Instruct")
    ('http://localhost:8000/v1', 'Qwen/Qwen3-VL-8B-Instruct')
    """
    parts = _ADDRESS.fullmatch(name)
    if not parts:
        raise InputError(
            f"{name!r} names no served model: write http(s)://host[:port]/v1/<the model's name>, and put a key into "
            f"the environment variable {KEY}."
        )
    return parts[1], parts[2]


class ServedMLLM(Describer):
    """A model behind a server, with those methods of `mllm.VideoMLLM` that a server can serve.

    Each question about a clip is a request of its own. What the server answered before it broke down is kept, and not
    asked again.
    """

    frames = FRAMES

    def __init__(self, chat: Chat, identity: str, store: Store | None = None):
        super().__init__(identity, store)
        self.chat = chat
        self.called = chat.model

    @cached_property
    def takes_audio(self) -> bool:
        """Whether sound beside pictures is heard; where the server does not tell, it is not."""
        return self.notices(_sound(np.zeros(SAMPLE_RATE, np.float32))) is True

    def notices(self, part: Part) -> bool | None:
        """Whether a picture or sound adds tokens to a prompt; None if the server does not count them.

        Asked because some servers pass over in silence what their model cannot take.
        """
        words = _words("?")
        try:
            told = [self.chat.complete(content, max_tokens=1).usage for content in ([part, words], [words])]
        except RefusedError as error:
            if error.status in ITEM:
                return False
            raise
        with_it, alone = (getattr(usage, "prompt_tokens", None) for usage in told)
        return None if with_it is None or alone is None else with_it > alone

    def embed_each(self, *_: Any, **__: Any) -> NoReturn:
        """Raises InputError: a server tells no hidden states."""
        raise InputError(
            f"{self.chat.model}: a server gives answers, and no hidden states to embed clips by. Name a checkpoint, a "
            "folder or a hub id, that can be loaded here."
        )

    embed = embed_each

    def _shows(self, *, audio: bool) -> dict[str, int]:
        return {"audio": SAMPLE_RATE} if audio else {}

    def _told(self, recipes, clips, batch_size, strict) -> dict[str, dict[str, str]]:
        def requests(one: Shown, lacking: tuple[str, ...]) -> list[list[Part]]:
            return [[*one.pictures, *one.sound, _words(recipes[name]["prompt"])] for name in lacking]

        return self._compute(recipes, clips, requests, list, batch_size, strict)

    def _told_of_frames(self, recipe, clips, batch_size, strict) -> dict[str, dict[str, str]]:
        columns = [str(frame) for frame in range(recipe["frames"])]

        def requests(one: Shown, _: tuple[str, ...]) -> list[list[Part]]:
            return [[picture, _words(recipe["prompt"])] for picture in one.pictures]

        def whole(texts: list[str | InputError]) -> list[dict[str, str] | InputError]:
            missing = [text for text in texts if isinstance(text, InputError)]
            return missing[:1] or [dict(zip(columns, texts, strict=True))]

        return self._compute({"frames": recipe}, clips, requests, whole, batch_size, strict)["frames"]

    def _compute(
        self,
        recipes: Mapping[str, dict[str, Any]],
        clips: Sequence[str | Path],
        requests: Callable[[Shown, tuple[str, ...]], list[list[Part]]],
        values: Callable[[list[str | InputError]], list[Any]],
        batch_size: int,
        strict: bool,
    ) -> dict[str, dict[str, Any]]:
        """Values by recipe and clip, from the store or from the server.

        Args:
            recipes: alike in what they show of a clip.
            clips: media files.
            requests: what is shown of a clip, names of recipes -> messages.
            values: the answers to these -> a value for each of the recipes.
            batch_size, strict: as for `describe_each`.
        """
        shows = next(iter(recipes.values()))
        lost: list[InputError] = []

        def answer(shown: list[Shown], lacking: tuple[str, ...]) -> list[list[Any]]:
            if lost:
                raise lost[0]
            asked = [(row, content) for row, one in enumerate(shown) for content in requests(one, lacking)]
            told: list[str | InputError | None] = [None] * len(asked)
            try:
                ask_all(
                    lambda item: self._answer(shown[item[0]].clip, item[1], shows["max_new_tokens"]),
                    asked,
                    told.__setitem__,
                    at_once=len(asked),
                )
            except InputError as error:  # the store keeps this batch's other answers before the next one raises
                lost.append(InputError(f"{error} What was answered is kept: run again to ask the rest."))
            rows: list[list[str | InputError]] = [[] for _ in shown]
            for (row, _), text in zip(asked, told, strict=True):
                rows[row].append(lost[0] if text is None else text)
            return [values(row) for row in rows]

        computed = self.store.compute_each(
            "answers",
            {
                name: {"model": self.identity, "jpeg_quality": JPEG_QUALITY, **recipe}
                for name, recipe in recipes.items()
            },
            [str(clip) for clip in clips],
            answer,
            batch_size=batch_size,
            key=clip_key,
            prepare=lambda clip: _shown(clip, shows["frames"], "audio" in shows),
            strict=strict,
        )
        if lost:
            raise lost[0]
        for one in computed.values():
            self.problems |= one.problems
        return {name: one.values for name, one in computed.items()}

    def _answer(self, clip: str, content: list[Part], max_new_tokens: int) -> str | InputError:
        """The answer, or why there is none; raises what no other clip would escape."""
        try:
            choice = self.chat.complete(content, max_tokens=max_new_tokens).choices[0]
        except RefusedError as error:
            if error.status in (*ITEM, 429) or error.status >= 500:
                return InputError(f"{clip}: {error}")
            raise
        text = (choice.message.content or "").strip()
        return text or InputError(
            f"{clip}: {self.chat.model} answered nothing (it ended by {choice.finish_reason!r}): if that is 'length', "
            "raise max_new_tokens."
        )


def _shown(clip: str, frames: int, audio: bool) -> Shown:
    """What is sent of a clip."""
    heard = [_sound(describing.sound(clip, SAMPLE_RATE))] if audio else []
    return Shown(clip, [_picture(frame) for frame in describing.film(clip, frames)], heard)


def _words(text: str) -> Part:
    return {"type": "text", "text": text}


def _picture(frame: np.ndarray) -> Part:
    """A frame (height, width, 3), RGB, uint8."""
    _, jpeg = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_base64(jpeg.tobytes())}"}}


def _sound(waveform: np.ndarray) -> Part:
    """A waveform (samples,) in [-1, 1] at `SAMPLE_RATE`, as 16-bit WAV."""
    file = io.BytesIO()
    soundfile.write(file, waveform, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return {"type": "input_audio", "input_audio": {"data": _base64(file.getvalue()), "format": "wav"}}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
