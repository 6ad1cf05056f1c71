"""What a notebook needs in the paper profile, read from its parameters.

The notebook's own defaults, those of the tiny profile, tell what a parameter is: where they name `corpora/<name>` the
parameter is a corpus, where they name `corpora/<name>/<file>` a file, where they name `checkpoints/...` or
`package:...` a checkpoint. The values are those of `params/paper`. So there is no second list to keep.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pkgutil import iter_modules
from typing import Any, NamedTuple

from reaffect import corpora, paths, runner
from reaffect.errors import InputError

PROFILE = "paper"

SHARED = {"expressions", "folds", "hume_feats", "predictions", "tables"}
"""Modules of `reaffect.corpora` that read no corpus."""

ADAPTERS = tuple(module.name for module in iter_modules(corpora.__path__) if module.name not in SHARED)

KINDS = ("corpus", "features", "file", "checkpoint", "judge")
"""Of needs, in the report's order."""

FEATURES = {"05": ("FAUs", "VGGFace2"), "11": ("FAUs",)}
"""Features of Hume-Reaction's organisers that notebooks read besides, if `action_units` is `released`."""


class Need(NamedTuple):
    """Something that must be there."""

    kind: str
    """One of `KINDS`."""

    name: str
    """As the parameter has it."""

    adapter: str = ""
    """Of a corpus: the module of `reaffect.corpora`."""

    year: int = 0
    """Of a MER challenge."""

    key_variable: str = ""
    """Of a judge: the environment variable with its key."""


def of_notebook(number: str) -> list[Need]:
    """What a notebook needs, each once.

    Args:
        number: the notebook's two digits.

    Raises:
        InputError: there is no such notebook, a wrong parameter, or a corpus that no adapter reads.
    """
    given = runner.profile_params(number, PROFILE)
    defaults = runner.defaults(runner.notebook_path(number))
    values = defaults | given
    found = [need for name, value in values.items() for need in _needs(defaults[name], value)]
    if values.get("action_units") == "released":
        found += [Need("features", f"{values['corpus']}/{feature}") for feature in FEATURES.get(number, ())]
    if paths.is_address(str(values.get("judge_name", ""))):
        name = f"{values['judge_name']} ({values['judge_model']})"
        found.append(Need("judge", name, key_variable=values["judge_key"]))
    return list(dict.fromkeys(found))


def _needs(default: Any, value: Any) -> Iterator[Need]:
    """Of one parameter, whose value may be a list or a dict; what is empty is not needed."""
    known = next((leaf for _, leaf in _leaves(default) if leaf), "")
    for key, name in _leaves(value):
        if not name:
            continue
        if known.startswith("corpora/") and known.count("/") == 1:
            yield _corpus(name, [_plain(one) for one in (key, name, known)])
        elif known.startswith("corpora/"):
            yield Need("file", name)
        elif known.startswith(("checkpoints/", "package:")):
            yield Need("checkpoint", name)


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The texts in a value, each with the key of the innermost dict that it is in."""
    match value:
        case str():
            yield key, value
        case list():
            for item in value:
                yield from _leaves(item, key)
        case dict():
            for name, item in value.items():
                yield from _leaves(item, str(name))


def _plain(name: str) -> str:
    """The last part of a path, in the letters of modules' names: `licensed/AFEW-VA` is `afew_va`."""
    return name.rsplit("/", 1)[-1].lower().replace("-", "_")


def _corpus(name: str, called: list[str]) -> Need:
    """A corpus, read by the module whose name begins the first of what it is called, the longest such module."""
    for one in called:
        if found := [adapter for adapter in ADAPTERS if one.startswith(adapter)]:
            adapter = max(found, key=len)
            year = re.fullmatch(r"mer_?(?:20)?(\d\d)", one)
            return Need("corpus", name, adapter, 2000 + int(year[1]) if year else 0)
    raise InputError(
        f"Corpus {name!r}: no module of reaffect.corpora has such a name; there are {', '.join(ADAPTERS)}."
    )
