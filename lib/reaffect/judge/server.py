"""A judge behind any server that speaks OpenAI's protocol: vLLM, SGLang, Ollama, `transformers serve`, the vendors."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import openai
from openai.types.chat import ChatCompletion
from tqdm import tqdm

from reaffect.errors import InputError
from reaffect.judge.base import Heard
from reaffect.judge.question import Question

ITEM = (400, 413, 422)
"""Status of a request that the server will not have, while it may have others: too long, or filtered."""

ADVICE = {
    401: "it wants a key: name the environment variable that holds it (key_variable)",
    403: "the key may not use this model",
    404: "it has no such model or address: check the model, and that base_url ends as the server's does, often in /v1",
    429: "too many requests, or no quota left: lower requests_per_minute or concurrency, or wait",
}


class Server:
    """Asks a model behind an OpenAI-compatible server, greedily, several questions at a time.

    The client library retries lost connections, time-outs and the statuses 408, 409, 429 and 5xx, with a back-off
    that doubles from 0.5 s to 8 s or as long as the server says. Answers are asked for in the template's JSON schema;
    a server that will not have a schema is asked in plain text from then on.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        key_variable: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 5,
        requests_per_minute: float | None = None,
        concurrency: int = 4,
        max_tokens: int = 400,
        seed: int = 0,
    ) -> None:
        """Sets up the client; nothing is sent before the first question.

        Args:
            base_url: such as `http://localhost:8000/v1`.
            model: as the server names it.
            key_variable: environment variable that holds the key; None for a server that wants none.
            timeout_s: for one request.
            retries: further requests after one that failed.
            requests_per_minute: upper limit, retries included; None or 0 for no limit.
            concurrency: requests under way at once.
            max_tokens: of an answer; groupings of many labels are the longest.
            seed: sent along, for servers that are deterministic only with one.

        Raises:
            InputError: the variable is not set.
        """
        self.base_url, self.name, self.key_variable = base_url, model, key_variable
        self.timeout_s, self.retries, self.concurrency = timeout_s, retries, concurrency
        self._options = {"model": model, "temperature": 0, "seed": seed, "max_tokens": max_tokens}
        self._structured = True
        # a client of its own, because its hook sees the client library's retries too
        hooks = {"request": [Pace(requests_per_minute)]} if requests_per_minute else {}
        self._client = openai.OpenAI(
            base_url=base_url,
            api_key=_key(key_variable),
            max_retries=retries,
            timeout=timeout_s,
            http_client=openai.DefaultHttpxClient(event_hooks=hooks),
        )

    def ask(self, questions: Sequence[Question], heard: Heard | None = None) -> list[str | InputError]:
        """The model's answers as they came, an empty one included; see `Judge.ask`.

        Raises:
            InputError: the server is not there, refuses the key, does not know the model, or fails time and again;
                answers under way at that moment are still heard.
        """
        answers: dict[int, str | InputError] = {}
        failures: list[InputError] = []

        def attempt(question: Question) -> str | InputError | None:
            if failures:
                return None
            try:
                return self._answer(question)
            except InputError as error:
                failures.append(error)
                return None

        pool = ThreadPoolExecutor(self.concurrency)
        try:
            places = {pool.submit(attempt, question): place for place, question in enumerate(questions)}
            for future in tqdm(as_completed(places), self.name, len(places)):
                place, answer = places[future], future.result()
                if answer is not None:
                    answers[place] = answer
                if heard and isinstance(answer, str):
                    heard(questions[place], answer)
        finally:
            pool.shutdown(cancel_futures=True)
        if failures:
            raise failures[0]
        return [answers[place] for place in range(len(questions))]

    def _answer(self, question: Question) -> str | InputError:
        """An answer, or why this question has none; raises what no other question would escape."""
        try:
            return self._text(self._complete(question))
        except openai.APIStatusError as error:
            problem = InputError(self._status(error))
            if error.status_code in ITEM:
                return problem
            raise problem from error
        except openai.APITimeoutError as error:
            raise InputError(
                f"{self.base_url} did not answer within {self.timeout_s:g} s, {1 + self.retries} times: look whether "
                "it is overloaded, lower concurrency or raise timeout_s."
            ) from error
        except openai.APIConnectionError as error:
            raise InputError(
                f"{self.base_url} cannot be reached, or broke off: start the server, or check base_url."
            ) from error
        except (json.JSONDecodeError, openai.APIResponseValidationError) as error:
            raise self._foreign() from error

    def _complete(self, question: Question) -> ChatCompletion:
        """The server's completion, in the template's schema if the server has not refused schemas before."""
        messages = [{"role": "user", "content": question.text}]
        create = self._client.chat.completions.create
        if self._structured:
            schema = {"name": question.template.name, "schema": question.template.schema, "strict": True}
            structure = {"type": "json_schema", "json_schema": schema}
            try:
                return create(messages=messages, response_format=structure, **self._options)
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                pass
        completion = create(messages=messages, **self._options)
        self._structured = False  # only now is it known that the schema was the reason
        return completion

    def _text(self, completion: ChatCompletion) -> str:
        if not isinstance(completion, ChatCompletion) or not completion.choices:
            raise self._foreign()
        return completion.choices[0].message.content or ""

    def _foreign(self) -> InputError:
        return InputError(f"{self.base_url} answers, but not as OpenAI's servers do: it often has to end in /v1.")

    def _status(self, error: openai.APIStatusError) -> str:
        code = error.status_code
        said = " ".join(error.response.text.split())
        if self.key_variable:  # some servers repeat the key that they refuse
            said = said.replace(self._client.api_key, "***")
        advice = ADVICE.get(code, "look into the server's log" if code >= 500 else "it will not have this request")
        return f"{self.base_url} answers with status {code} for the model {self.name}: {advice}. It says: {said[:200]}"


def _key(variable: str | None) -> str:
    if variable is None:
        return "none"  # the client wants one, servers without keys ignore it
    if not os.environ.get(variable, "").strip():
        raise InputError(f"The environment variable {variable} holds no key: set it, or name another one.")
    return os.environ[variable].strip()


class Pace:
    """Makes whoever calls it wait for a turn; turns are a fixed time apart, over all threads."""

    def __init__(self, per_minute: float) -> None:
        self._apart_s = 60.0 / per_minute
        self._next = 0.0
        self._lock = threading.Lock()

    def __call__(self, _request: object = None) -> None:
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._apart_s
        if turn > now:
            time.sleep(turn - now)
