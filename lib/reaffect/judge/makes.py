"""A judge by the words of a parameter file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reaffect import paths
from reaffect.errors import InputError
from reaffect.judge.base import Judge
from reaffect.judge.lexicon import Lexicon
from reaffect.judge.recording import Recorder, Recording
from reaffect.judge.server import Server


def load(
    make: str, *, model: str | None = None, key_variable: str = "", record: str | Path | None = None, **options: Any
) -> Judge:
    """The judge that a parameter names.

    Args:
        make: 'lexicon', a server's address (`http://localhost:8000/v1`), or the path of a recording.
        model: of the server; of a recording only where it holds several.
        key_variable: environment variable that holds a server's key; empty for one that wants none.
        record: file that keeps the answers.
        options: of `Server`.

    Raises:
        InputError: a server without a model, options without a server, or what the make itself raises.

    >>> load("lexicon").name
    'vader-3.3.2'
    """
    judge: Judge
    if key_variable:
        options["key_variable"] = key_variable
    if paths.is_address(make):
        if not model:
            raise InputError(f"The judge at {make} needs the name of a model.")
        judge = Server(make, model, **options)
    elif options:
        raise InputError(f"Only a server takes {', '.join(options)}; the judge is {make!r}.")
    else:
        judge = Lexicon() if make == "lexicon" else Recording(make, model)
    return Recorder(judge, record) if record else judge
