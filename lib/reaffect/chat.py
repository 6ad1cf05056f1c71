"""A model behind any server that speaks OpenAI's protocol: vLLM, SGLang, Ollama, `transformers serve`, the vendors."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, TypeVar

import openai
from openai.types.chat import ChatCompletion

from reaffect.errors import InputError

ITEM = (400, 413, 422)
"""Status of a request that the server will not have, while it may have others: too long, or filtered."""

ADVICE = {
    403: "the key may not use this model",
    404: "it has no such model or address: check the model, and the address, which often ends in /v1",
}

Item = TypeVar("Item")


class RefusedError(InputError):
    """The server answers a request with an error."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Chat:
    """Asks one model, greedily and with a seed; may be used by several threads at once.

    The client library retries lost connections, time-outs and the statuses 408, 409, 429 and 5xx, with a back-off
    that doubles from 0.5 s to 8 s or as long as the server says.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        key_variable: str | None,
        timeout_s: float,
        advice: Mapping[int, str],
        retries: int = 5,
        seed: int = 0,
        before: Callable[[object], None] | None = None,
    ) -> None:
        """Sets up the client; nothing is sent before the first question.

        Args:
            base_url: such as `http://localhost:8000/v1`.
            model: as the server names it.
            key_variable: environment variable that holds the key; None for a server that wants none.
            timeout_s: for one request.
            advice: what to do, by status, in the words of whoever asks; 408 also serves for a server that is silent.
            retries: further requests after one that failed.
            seed: sent along, for servers that are deterministic only with one.
            before: called before each request, retries included.

        Raises:
            InputError: the variable is not set.
        """
        self.base_url, self.model = base_url, model
        self._key_variable, self._timeout_s, self._retries = key_variable, timeout_s, retries
        self._advice = {**ADVICE, **advice}
        self._options = {"model": model, "temperature": 0, "seed": seed}
        self._client = openai.OpenAI(
            base_url=base_url,
            api_key=_key(key_variable),
            max_retries=retries,
            timeout=timeout_s,
            # a client of its own, because its hook sees the client library's retries too
            http_client=openai.DefaultHttpxClient(event_hooks={"request": [before] if before else []}),
        )

    def complete(self, content: str | Sequence[Mapping[str, Any]], **options: Any) -> ChatCompletion:
        """The completion of one user message, with one choice at least.

        Args:
            content: the message's text, or its parts (texts, pictures, sounds) in OpenAI's form.
            options: of the request, such as `max_tokens`.

        Raises:
            RefusedError: the server answers with an error.
            InputError: it is not there, is silent, or is no such server.
        """
        messages = [{"role": "user", "content": content}]
        with self._explained():
            completion = self._client.chat.completions.create(messages=messages, **self._options, **options)
        if not isinstance(completion, ChatCompletion) or not completion.choices:
            raise self._foreign()
        if getattr(completion.choices[0], "message", None) is None:
            raise self._foreign()
        return completion

    def listed(self) -> dict[str, dict[str, Any]]:
        """What the server tells of the models that it has, by their names; empty if it tells nothing.

        Raises:
            InputError: as for `complete`.
        """
        try:
            with self._explained():
                told = self._client.get("/models", cast_to=object)
        except RefusedError as error:
            if error.status in (404, 405) or error.status >= 500:  # a list that is not there, or broken: questions tell
                return {}
            raise
        match told:
            case {"data": [*models]}:
                return {model["id"]: model for model in models if _has_name(model)}
        return {}

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns the client library's errors into ours."""
        try:
            yield
        except openai.APIStatusError as error:
            raise RefusedError(self._status(error), error.status_code) from error
        except openai.APITimeoutError as error:
            raise InputError(
                f"{self.base_url} did not answer within {self._timeout_s:g} s, {1 + self._retries} times: "
                f"{self._advice[408]}."
            ) from error
        except openai.APIConnectionError as error:
            raise InputError(
                f"{self.base_url} cannot be reached, or broke off: start the server, or check its address."
            ) from error
        except (json.JSONDecodeError, openai.APIResponseValidationError) as error:
            raise self._foreign() from error

    def _foreign(self) -> InputError:
        return InputError(f"{self.base_url} answers, but not as OpenAI's servers do: it often has to end in /v1.")

    def _status(self, error: openai.APIStatusError) -> str:
        code = error.status_code
        said = " ".join(error.response.text.split())
        if self._key_variable:  # some servers repeat the key that they refuse
            said = said.replace(self._client.api_key, "***")
        advice = self._advice.get(
            code, "look into the server's log" if code >= 500 else "it will not have this request"
        )
        return f"{self.base_url} answers with status {code} for the model {self.model}: {advice}. It says: {said[:200]}"


def ask_all(
    ask: Callable[[Item], str | InputError],
    items: Sequence[Item],
    heard: Callable[[int, str | InputError], None],
    *,
    at_once: int,
) -> None:
    """Asks about items in threads, several at a time.

    Args:
        ask: item -> its answer, or why it has none.
        items: in the order in which they are asked about.
        heard: called in the caller's thread with an item's place and what `ask` returned, as soon as it is there.
        at_once: items under way together.

    Raises:
        InputError: the first that `ask` raises: what is then under way is still heard, nothing else is asked.
    """
    failures: list[InputError] = []

    def attempt(item: Item) -> str | InputError | None:
        if failures:
            return None
        try:
            return ask(item)
        except InputError as error:
            failures.append(error)
            return None

    pool = ThreadPoolExecutor(at_once)
    try:
        places = {pool.submit(attempt, item): place for place, item in enumerate(items)}
        for future in as_completed(places):
            answer = future.result()
            if answer is not None:
                heard(places[future], answer)
    finally:
        pool.shutdown(cancel_futures=True)
    if failures:
        raise failures[0]


def _has_name(model: Any) -> bool:
    return isinstance(model, dict) and isinstance(model.get("id"), str)


def _key(variable: str | None) -> str:
    if variable is None:
        return "none"  # the client wants one, servers without keys ignore it
    if not os.environ.get(variable, "").strip():
        raise InputError(f"The environment variable {variable} holds no key: set it, or name another one.")
    return os.environ[variable].strip()
