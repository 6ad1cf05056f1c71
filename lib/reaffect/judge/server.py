"""A judge behind any server that speaks OpenAI's protocol; see `chat`."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from tqdm import tqdm

from reaffect.chat import ITEM, Chat, RefusedError, ask_all
from reaffect.errors import InputError
from reaffect.judge.base import Heard
from reaffect.judge.question import Question

ADVICE = {
    401: "it wants a key: name the environment variable that holds it (key_variable)",
    408: "look whether it is overloaded, lower concurrency or raise timeout_s",
    429: "too many requests, or no quota left: lower requests_per_minute or concurrency, or wait",
}


class Server:
    """Asks a model behind an OpenAI-compatible server, greedily, several questions at a time.

    Requests that fail are retried as `Chat` says. Answers are asked for in the template's JSON schema; a server that
    will not have a schema is asked in plain text from then on.
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
        self.name, self.concurrency, self.max_tokens = model, concurrency, max_tokens
        self._structured = True
        self._chat = Chat(
            base_url,
            model,
            key_variable=key_variable,
            timeout_s=timeout_s,
            advice=ADVICE,
            retries=retries,
            seed=seed,
            before=Pace(requests_per_minute) if requests_per_minute else None,
        )

    def ask(self, questions: Sequence[Question], heard: Heard | None = None) -> list[str | InputError]:
        """The model's answers as they came, an empty one included; see `Judge.ask`.

        Raises:
            InputError: the server is not there, refuses the key, does not know the model, or fails time and again;
                answers under way at that moment are still heard.
        """
        answers: dict[int, str | InputError] = {}
        with tqdm(desc=self.name, total=len(questions)) as progress:

            def keep(place: int, answer: str | InputError) -> None:
                answers[place] = answer
                progress.update()
                if heard and isinstance(answer, str):
                    heard(questions[place], answer)

            ask_all(self._answer, questions, keep, at_once=self.concurrency)
        return [answers[place] for place in range(len(questions))]

    def _answer(self, question: Question) -> str | InputError:
        """An answer, or why this question has none; raises what no other question would escape."""
        try:
            return self._text(question)
        except RefusedError as error:
            if error.status in ITEM:
                return error
            raise

    def _text(self, question: Question) -> str:
        """The server's answer, in the template's schema if the server has not refused schemas before."""
        if self._structured:
            schema = {"name": question.template.name, "schema": question.template.schema, "strict": True}
            structure = {"type": "json_schema", "json_schema": schema}
            try:
                return self._complete(question, response_format=structure)
            except RefusedError as error:
                if error.status not in (400, 422):
                    raise
        text = self._complete(question)
        self._structured = False  # only now is it known that the schema was the reason
        return text

    def _complete(self, question: Question, **options: object) -> str:
        completion = self._chat.complete(question.text, max_tokens=self.max_tokens, **options)
        return completion.choices[0].message.content or ""


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
