"""Sounds with words: Common Voice (what is said), WavCaps (what is heard) and VGGSound (what it is called).

Omni-Emotion aligns its audio projector with the three, Common Voice in release 15 (Section 4.4, phase 1); which
languages and parts it used is unpublished. Read are those that lie under one root:

- `common_voice/<locale>/train.tsv`, `dev.tsv`, `test.tsv`: columns client_id, path, sentence and more, parted by tabs,
  quotes are letters; sounds in `clips/` beside them.
- `wavcaps/json_files/<part>/*.json`: `{"data": [{"id", "caption", ...}, ...]}`; sounds are
  `wavcaps/audio/<part>/<id>.flac`. Ids of AudioSet end in `.wav`, files do not. FreeSound comes with a second table
  of a part of its clips, which adds nothing; the lists in `blacklist/` are not applied.
- `vggsound/vggsound.csv`, no header: YouTube id, start in seconds, label, train or test; videos or sounds
  `<id>_<start, six digits>.mp4` or `.wav`, in any folders. Many videos are gone from where they were: see `strict`.

The layouts are from memory and users' reports: not verified. Sources disagree on the numbers of clips, so that there is
nothing to check them against.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from reaffect.corpora import folds, tables
from reaffect.errors import InputError

SPLITS = {"train": "train", "dev": "devel", "test": "test"}
"""Common Voice's tables -> our names of splits."""

_COLUMNS = ("path", "sentence")


def load(root: str | Path, *, strict: bool = True) -> pd.DataFrame:
    """Reads whichever of the three corpora are there.

    Args:
        root: the folder with `common_voice/`, `wavcaps/` or `vggsound/`.
        strict: a missing sound, or a row without words, is an error; otherwise the clip is left out and listed in
            `table.attrs["problems"]`.

    Returns:
        One row a clip, by corpus and in the tables' order: `clip` (corpus, locale or part, and name), `source`
        (common_voice, wavcaps or vggsound), `media` (path), `kind` (transcript or caption), `text` (a transcript, a
        caption, or VGGSound's label), `split` (train, devel or test; WavCaps has train alone).
        `attrs["counts"]` says by source how many clips were left out.

    Raises:
        InputError: names the file, the line and the mend: none of the three is there, a table that cannot be read, a
            path that leads elsewhere, a clip that stands in two places.
    """
    root = folds.open_root(root, "Common Voice, WavCaps or VGGSound")
    parts, problems, counts = [], {}, {}
    for source, (kind, read) in _SOURCES.items():
        if not (root / source).is_dir():
            continue
        counts[source] = 0
        for place in read(root / source):
            found, wrong = _with_media(place, source, strict=strict)
            parts.append(found.assign(source=source, kind=kind))
            problems |= wrong
            counts[source] += len(wrong)
    if not parts:
        raise InputError(f"{root}: none of {'/, '.join(_SOURCES)}/ is there. Put at least one of the corpora there.")
    columns = ("clip", "source", "media", "kind", "text", "split")
    return folds.finished(pd.concat(parts), columns, problems=problems, counts=counts)


class _Row(NamedTuple):
    name: str  # of the sound, without suffix
    text: str
    split: str
    file: str  # with the line


class _Place(NamedTuple):
    name: str  # locale or part; empty where there is but one
    folder: Path  # of the sounds
    suffixes: Sequence[str]
    rows: list[_Row]


def _with_media(place: _Place, source: str, *, strict: bool) -> tuple[pd.DataFrame, dict[str, str]]:
    """The clips of a place that have words and a sound, and by clip why others have none."""
    start = "_".join(filter(None, (source, place.name)))
    table = pd.DataFrame(place.rows, columns=_Row._fields)
    table["clip"] = [f"{start}_{name}" for name in table.name]
    twice = table[table["clip"].duplicated(keep=False)]
    if len(twice):
        raise InputError(f"{twice.file.iloc[1]}: this sound is also in {twice.file.iloc[0]}. Keep one of the two.")
    for name, file in zip(table.name, table.file, strict=True):
        tables.check_ids([name], Path(file))
    mute = table[table.text == ""]
    problems = {
        clip: f"{file}: clip {clip!r} has no words. Fetch the file again."
        for clip, file in zip(mute["clip"], mute.file, strict=True)
    }
    tables.refuse(problems, strict=strict)
    files = {f"{start}_{name}": file for name, file in _files(place.folder, place.suffixes).items()}
    table, missing = folds.with_media(table.drop(mute.index), files, place.folder, strict=strict)
    return table, problems | missing


def _files(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """The sounds at any depth of a folder, by name without suffix."""
    found: dict[str, Path] = {}
    for file in sorted(file for suffix in suffixes for file in folder.rglob(f"*{suffix}")):
        if file.stem in found:
            raise InputError(f"{file}: the same sound is also {found[file.stem]}. Keep one of them.")
        found[file.stem] = file
    return found


def _common_voice(root: Path) -> Iterator[_Place]:
    """Locale by locale."""
    locales = sorted(path for path in root.iterdir() if path.is_dir())
    if not locales:
        raise InputError(f"{root}: no locale, such as en/, is there. Put the folders of the release there.")
    for locale in locales:
        rows = []
        for name, split in SPLITS.items():
            file = locale / f"{name}.tsv"
            [(_, header), *lines] = _lines(file, delimiter="\t", quoting=csv.QUOTE_NONE) or [(0, [])]
            missing = [column for column in _COLUMNS if column not in header]
            if missing:
                raise InputError(f"{file}: column {missing[0]!r} is missing; there are {', '.join(header)}.")
            for number, cells in lines:
                where = f"{file}, line {number}"
                if len(cells) != len(header):
                    raise InputError(f"{where}: {len(cells)} cells, and {len(header)} columns. Fetch the file again.")
                path, sentence = (cells[header.index(column)] for column in _COLUMNS)
                rows.append(_Row(path.removesuffix(".mp3"), _plain(sentence), split, where))
        yield _Place(locale.name, locale / "clips", [".mp3"], rows)


def _wavcaps(root: Path) -> Iterator[_Place]:
    """Part by part."""
    parts: dict[str, dict[tuple[str, str], _Row]] = {}
    for file in sorted((root / "json_files").glob("*/*.json")):
        if file.parent.name == "blacklist":
            continue
        try:
            entries = json.loads(file.read_text(encoding="utf-8-sig"))["data"]
            told = [(str(entry["id"]).removesuffix(".wav"), _plain(entry["caption"])) for entry in entries]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f"{file}: expected is JSON with data, a list with an id and a caption in each entry, and this is none. "
                "Fetch the file again."
            ) from None
        rows = parts.setdefault(file.parent.name, {})
        for number, key in enumerate(told, 1):
            rows.setdefault(key, _Row(*key, "train", f"{file}, entry {number}"))
    if not parts:
        raise InputError(f"{root}: no table such as json_files/FreeSound/fsd_final.json is there. Fetch json_files/.")
    for name, rows in parts.items():
        yield _Place(name, root / "audio" / name, [".flac"], list(rows.values()))


def _vggsound(root: Path) -> Iterator[_Place]:
    file = root / "vggsound.csv"
    rows = []
    for number, cells in _lines(file):
        where = f"{file}, line {number}"
        if len(cells) != 4 or not cells[1].isdecimal() or cells[3] not in ("train", "test"):
            raise InputError(
                f"{where}: {','.join(cells)!r}; expected are YouTube id, start in whole seconds, label, and train or "
                "test. Mend the line."
            )
        video, start, label, split = cells
        rows.append(_Row(f"{video}_{int(start):06d}", _plain(label), split, where))
    yield _Place("", root, [".mp4", ".wav"], rows)


def _lines(file: Path, **dialect: object) -> list[tuple[int, list[str]]]:
    """The rows of a table that are not empty, with the numbers of their lines from 1."""
    with (
        tables.reading(file, absent="The release has it: fetch it again."),
        file.open(encoding="utf-8-sig", newline="") as text,
    ):
        try:
            reader = csv.reader(text, **dialect)
            return [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
        except csv.Error as error:
            raise InputError(f"{file}: this is no table ({error}). Fetch the file again.") from None


def _plain(text: str) -> str:
    return " ".join(text.split())


_SOURCES: dict[str, tuple[str, Callable[[Path], Iterator[_Place]]]] = {
    "common_voice": ("transcript", _common_voice),
    "wavcaps": ("caption", _wavcaps),
    "vggsound": ("caption", _vggsound),
}
"""The folder of each corpus -> what its texts are, and its reader."""
