"""Whatever is computed once (features, answers, judgements), kept in shards that are whole or absent.

A folder holds the values of one recipe: `<root>/<name>/<fingerprint of the recipe>/`, with `recipe.json` for
readers and one Arrow file a batch. A shard is written aside and renamed, under a name of its own: a kill loses
the batch in flight and nothing else, and several processes may fill one folder at once. Shards are mapped into
memory, so that arrays larger than it can be read; they are float32.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
from tqdm import tqdm

from reaffect import paths
from reaffect.errors import InputError
from reaffect.fingerprint import fingerprint

log = logging.getLogger(__name__)

READERS = 4
"""Threads that prepare items while the batch before them is computed."""

Value = str | np.ndarray | Mapping[str, Any]

Cut = Callable[[list[Any]], Iterable[Sequence[int]]]
"""Items -> the numbers of those in each batch, in the order in which batches are to be computed."""


class Computed(NamedTuple):
    """What the store holds for the items that were asked for."""

    values: dict[Any, Value]
    """By item, in the order asked; an item with a problem is absent."""

    problems: dict[Any, str]
    """By item: why it has no value."""


class Store:
    """Values by name, recipe and key, in files under `root` (by default `paths.STORE`)."""

    def __init__(self, root: str | Path | None = None) -> None:
        self.root = Path(root or paths.STORE)

    def folder(self, name: str, recipe: Mapping[str, Any]) -> Path:
        """Where the values of a recipe lie."""
        return self.root / name / fingerprint(recipe)

    def compute(
        self,
        name: str,
        recipe: Mapping[str, Any],
        items: Iterable[Any],
        function: Callable[[list[Any]], Sequence[Value | InputError]],
        *,
        batch_size: int | Cut,
        key: Callable[[Any], str] = str,
        prepare: Callable[[Any], Any] | None = None,
        strict: bool = False,
    ) -> Computed:
        """Values of `items`, from the store where they are there, else from `function`, and then stored.

        Args:
            name: what is computed, for example "descriptions"; the label of the progress bar.
            recipe: all that the values depend on besides the item (model, prompt, options); see `fingerprint`.
            items: what to compute, hashable; an item that is asked twice is computed once.
            function: list of items -> as many values, each a str, a float array (d,) or (rows, d), d and kind the
                same throughout the recipe, or a flat dict that JSON can hold; an InputError for an item without one.
            batch_size: items in a call of `function`, and values in a shard; or what cuts those without a value into
                batches of different sizes.
            key: item -> its name in the store; `fingerprint.clip_key` for media files, so that a replaced file is
                computed anew.
            prepare: item -> what `function` gets instead; threads call it for the next batch while `function` works
                on this one (decoding beside computing). An item for which it raises InputError has no value.
            strict: raise an item's InputError instead of listing it, once the rest of its batch is stored.

        Returns:
            The values, read back from the store (arrays as float32), and the problems.

        Raises:
            InputError: with `strict`, the first problem met.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     Store(folder).compute("shout", {"mark": "!"}, ["a", "b"], lambda b: [s + "!" for s in b], batch_size=2)
        Computed(values={'a': 'a!', 'b': 'b!'}, problems={})
        """
        each = self.compute_each(
            name,
            {name: recipe},
            items,
            lambda batch, _: [[value] for value in function(batch)],
            batch_size=batch_size,
            key=key,
            prepare=prepare,
            strict=strict,
        )
        return each[name]

    def compute_each(
        self,
        name: str,
        recipes: Mapping[str, Mapping[str, Any]],
        items: Iterable[Any],
        function: Callable[[list[Any], tuple[str, ...]], Sequence[Sequence[Value | InputError]]],
        *,
        batch_size: int | Cut,
        key: Callable[[Any], str] = str,
        prepare: Callable[[Any], Any] | None = None,
        strict: bool = False,
    ) -> dict[str, Computed]:
        """Values of `items` under several recipes, of which `function` computes together what an item lacks.

        Args:
            recipes: as `compute`'s, by a name of one's own; the values of each are stored as `compute` stores them.
            function: list of items, names of the recipes that all of them lack -> for each item its values, one a
                name, in their order.
            name, items, batch_size, key, prepare, strict: as for `compute`.

        Returns:
            What `compute` returns, by the recipes' names.
        """
        folders = {part: self.folder(name, recipe) for part, recipe in recipes.items()}
        keys, problems = _keys(items, key, strict)
        stored = {part: _read(folder) for part, folder in folders.items()}
        missing: dict[tuple[str, ...], dict[str, Any]] = {}
        for item, k in keys.items():
            if lacking := tuple(part for part in recipes if k not in stored[part]):
                missing.setdefault(lacking, {})[k] = item
        failed: dict[str, dict[str, str]] = {part: {} for part in recipes}
        if missing:
            with tqdm(total=sum(map(len, missing.values())), desc=name) as progress:
                for lacking, group in missing.items():
                    for part in lacking:
                        _describe(folders[part], recipes[part])
                    for batch in _ahead(group, batch_size, prepare):
                        errors = _fill({part: folders[part] for part in lacking}, batch, function, strict)
                        failed = {part: failed[part] | errors.get(part, {}) for part in recipes}
                        progress.update(len(batch))
            stored = {part: _read(folder) for part, folder in folders.items()}
        return {
            part: Computed(
                {item: stored[part][k] for item, k in keys.items() if k in stored[part]},
                problems | {item: failed[part][k] for item, k in keys.items() if k in failed[part]},
            )
            for part in recipes
        }


def _keys(items: Iterable[Any], key: Callable[[Any], str], strict: bool) -> tuple[dict, dict]:
    keys, problems = {}, {}
    for item in items:
        try:
            keys[item] = key(item)
        except InputError as error:
            if strict:
                raise
            problems[item] = str(error)
    return keys, problems


def _parts(items: Mapping[str, Any], batch_size: int | Cut) -> list[dict[str, Any]]:
    """Batches of items by key."""
    keys = list(items)
    if callable(batch_size):
        batches = batch_size(list(items.values()))
    else:
        numbers = range(len(keys))
        batches = [numbers[start : start + batch_size] for start in range(0, len(keys), batch_size)]
    return [{keys[number]: items[keys[number]] for number in batch} for batch in batches]


def _ahead(items: Mapping[str, Any], batch_size: int | Cut, prepare: Callable | None) -> Iterator[dict[str, Any]]:
    """Batches of items by key, each item prepared, or the InputError that this raised; one batch is read ahead."""
    parts = _parts(items, batch_size)
    if prepare is None:
        yield from parts
        return

    def attempt(item: Any) -> Any:
        try:
            return prepare(item)
        except InputError as error:
            return error

    with ThreadPoolExecutor(READERS) as pool:
        waiting: deque = deque()
        for part in parts:
            waiting.append({k: pool.submit(attempt, item) for k, item in part.items()})
            if len(waiting) > 1:
                yield {k: future.result() for k, future in waiting.popleft().items()}
        for part in waiting:
            yield {k: future.result() for k, future in part.items()}


def _fill(
    folders: Mapping[str, Path], batch: Mapping[str, Any], function: Callable, strict: bool
) -> dict[str, dict[str, str]]:
    """Compute and store one batch of items by key under each recipe; return its problems by recipe and key."""
    unread = {k: item for k, item in batch.items() if isinstance(item, InputError)}
    good = {k: item for k, item in batch.items() if k not in unread}
    rows = list(function(list(good.values()), tuple(folders))) if good else []
    if len(rows) != len(good):
        raise ValueError(f"{len(good)} items went into the function, {len(rows)} values came out")
    errors = {}
    for column, (part, folder) in enumerate(folders.items()):
        values = {k: row[column] for k, row in zip(good, rows, strict=True)}
        errors[part] = unread | {k: values.pop(k) for k in good if isinstance(values[k], InputError)}
        if values:
            _write(folder, values)
    every = [error for of in errors.values() for error in of.values()]
    if strict and every:
        raise every[0]
    return {part: {k: str(error) for k, error in of.items()} for part, of in errors.items()}


def _describe(folder: Path, recipe: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f"{uuid.uuid4().hex}.part"
    aside.write_text(json.dumps(recipe, indent=1, sort_keys=True, default=str) + "\n")
    aside.replace(folder / "recipe.json")


def _write(folder: Path, values: Mapping[str, Value]) -> None:
    kind, column = _column(list(values.values()))
    table = pa.table({"key": pa.array(list(values), pa.string()), kind: column})
    aside = folder / f"{uuid.uuid4().hex}.part"
    feather.write_feather(table, aside, compression="uncompressed")
    # the time in front: where two processes computed one key, the first result stays the valid one
    aside.replace(folder / f"{time.time_ns():020d}-{uuid.uuid4().hex}.arrow")


def _column(values: list[Value]) -> tuple[str, pa.Array]:
    if all(isinstance(value, str) for value in values):
        return "text", pa.array(values, pa.string())
    if all(isinstance(value, Mapping) for value in values):
        return "record", pa.array([json.dumps(value) for value in values], pa.string())
    arrays = [np.asarray(value, np.float32) for value in values]
    kinds = {(array.ndim, array.shape[-1:]) for array in arrays}
    if len(kinds) > 1 or arrays[0].ndim not in (1, 2):
        raise TypeError(f"a batch holds only str, only dicts or only arrays of one width, not {values!r:.200}")
    width = arrays[0].shape[-1]
    flat = pa.array(np.concatenate([array.ravel() for array in arrays]))
    rows = pa.FixedSizeListArray.from_arrays(flat, width)
    if arrays[0].ndim == 1:
        return "vector", rows
    offsets = np.cumsum([0, *(len(array) for array in arrays)])
    return "matrix", pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), rows)


def _read(folder: Path) -> dict[str, Value]:
    stored: dict[str, Value] = {}
    for shard in sorted(folder.glob("*.arrow"), reverse=True):
        try:
            table = feather.read_table(shard, memory_map=True)
        except (pa.ArrowInvalid, OSError) as error:
            log.warning("%s is not readable (%s): its values are computed again; delete it.", shard, error)
            continue
        stored |= zip(table["key"].to_pylist(), _values(table), strict=True)
    return stored


def _values(table: pa.Table) -> Sequence[Value]:
    kind, column = table.column_names[1], table.column(1).chunk(0)
    match kind:
        case "vector":
            return column.values.to_numpy().reshape(len(column), column.type.list_size)
        case "matrix":
            rows = column.values
            flat = rows.values.to_numpy().reshape(len(rows), rows.type.list_size)
            return np.split(flat, column.offsets.to_numpy()[1:-1])
        case "record":
            return [json.loads(text) for text in column.to_pylist()]
    return column.to_pylist()
