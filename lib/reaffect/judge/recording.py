"""Answers as JSON lines: recorded while a judge is asked, replayed without it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from reaffect.errors import InputError
from reaffect.judge.base import Heard, Judge
from reaffect.judge.question import Question, key

FIELDS = ("key", "prompt", "version", "model", "answer", "time")


class Recording:
    """A judge that only repeats what was recorded; a question that is not there is an error, never a new answer."""

    def __init__(self, path: str | Path, model: str | None = None) -> None:
        """Reads the recording.

        Args:
            path: JSON lines, as `Recorder` writes them.
            model: whose answers to repeat; needed only where the file holds those of several.

        Raises:
            InputError: no such file, a damaged line, or no or several models without a choice.
        """
        self.path = Path(path)
        if not self.path.exists():
            raise InputError(f"{self.path}: no such recording. {_how(self.path)}")
        lines = _read(self.path)
        models = sorted({line["model"] for line in lines.values()})
        if model is None and len(models) != 1:
            raise InputError(f"{self.path} holds answers of {len(models)} models ({', '.join(models)}): name one.")
        self.name = model or models[0]
        self._answers = {name: line["answer"] for name, line in lines.items()}

    def ask(self, questions: Sequence[Question], heard: Heard | None = None) -> list[str | InputError]:
        """The recorded answers.

        Raises:
            InputError: some question was never recorded.
        """
        keys = [question.key(self.name) for question in questions]
        missing = [question for question, name in zip(questions, keys, strict=True) if name not in self._answers]
        if missing:
            raise InputError(
                f"{self.path} has no answer of {self.name} to {len(missing)} of {len(questions)} questions, the first "
                f"{missing[0].template.name} about {missing[0].gist!r}. {_how(self.path)}"
            )
        answers = [self._answers[name] for name in keys]
        for question, answer in zip(questions, answers, strict=True):
            if heard:
                heard(question, answer)
        return list(answers)


class Recorder:
    """A judge whose every answer is kept in a file: what is there is not asked again.

    A line is written as soon as an answer is heard. Several processes may record into one file.
    """

    def __init__(self, judge: Judge, path: str | Path) -> None:
        self.judge, self.path, self.name = judge, Path(path), judge.name

    def ask(self, questions: Sequence[Question], heard: Heard | None = None) -> list[str | InputError]:
        """Answers from the file, the missing ones from the judge.

        Raises:
            InputError: the judge's, with the number of answers that are kept; or the file is damaged.
        """
        keys = [question.key(self.name) for question in questions]
        known: dict[str, str | InputError] = {}
        if self.path.exists():
            recorded = _read(self.path)
            known |= {name: recorded[name]["answer"] for name in keys if name in recorded}
        missing = {name: question for name, question in zip(keys, questions, strict=True) if name not in known}

        def keep(question: Question, answer: str) -> None:
            known[question.key(self.name)] = answer
            _append(self.path, _line(question, self.name, answer))
            if heard:
                heard(question, answer)

        if heard:
            for name, question in zip(keys, questions, strict=True):
                if name in known:
                    heard(question, known[name])
        if missing:
            try:
                problems = self.judge.ask(list(missing.values()), keep)
            except InputError as error:
                kept = f"{len(known)} of {len(set(keys))} answers are kept in {self.path}: run again to ask the rest."
                raise InputError(f"{error} {kept}") from error
            known |= zip(missing, problems, strict=True)
        return [known[name] for name in keys]


def _how(path: Path) -> str:
    return f"To record: judge.Recorder(judge.Server(base_url, model), {str(path)!r}) in its place."


def _line(question: Question, model: str, answer: str) -> bytes:
    values = question.key(model), question.text, question.template.name, model, answer, _now()
    return json.dumps(dict(zip(FIELDS, values, strict=True))).encode() + b"\n"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _append(path: Path, line: bytes) -> None:
    """Adds a whole line; what a killed process left of its last one goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # nobody is writing now: a tail without an end has lost its writer
        file.truncate(_whole(file))
        file.write(line)


def _whole(file: BinaryIO) -> int:
    """Bytes up to and with the last line's end."""
    position = file.seek(0, os.SEEK_END)
    while position:
        start = max(0, position - 4096)
        file.seek(start)
        end = file.read(position - start).rfind(b"\n")
        if end >= 0:
            return start + end + 1
        position = start
    return 0


def _read(path: Path) -> dict[str, dict[str, str]]:
    """The lines of a recording by key, the first of each; a last line without an end is not there yet."""
    recorded: dict[str, dict[str, str]] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            values = json.loads(line)
            prompt, version, model, name = (values[field] for field in ("prompt", "version", "model", "key"))
            if not isinstance(values["answer"], str) or name != key(prompt, version, model):
                raise ValueError("the key is not that of prompt, version and model")
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{path}, line {number}: no answer as it was recorded ({error}). Restore the file, or delete the line "
                "and record again."
            ) from error
        recorded.setdefault(name, values)
    return recorded
