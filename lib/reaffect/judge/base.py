"""What every judge can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from reaffect.errors import InputError
from reaffect.judge.question import Question

Heard = Callable[[Question, str], None]


class Judge(Protocol):
    """Answers questions: a server, a recording or a lexicon."""

    name: str
    """The model that answers; recordings are kept by it."""

    def ask(self, questions: Sequence[Question], heard: Heard | None = None) -> list[str | InputError]:
        """The raw answers, in order, or for a question that has none the reason.

        Args:
            questions: what to ask.
            heard: called with every question and answer as soon as it is there, in the caller's thread; what it was
                called with is safe even if a later question raises.

        Raises:
            InputError: no question can be answered (no server, no key, no recording).
        """
        ...
