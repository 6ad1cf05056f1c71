"""Corpora as the notebooks will read them: the files' layout, the clips, their numbers, and whether they decode."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pandas as pd
from tqdm import tqdm

from reaffect import media, paths, results
from reaffect.corpora import eald, emer, expressions, hume, sounds
from reaffect.errors import InputError
from reaffect.preflight.finding import Finding, some
from reaffect.preflight.needs import Need

SAMPLE = 8
"""Clips of a corpus that are decoded unless all are asked for, equidistant in its table."""

SOUNDS = {".mp3", ".flac", ".wav"}

EXHIBITS = {
    hume: ("vaiani2024", "Section 3"),
    eald: ("eald2024", "Table 2"),
    emer: ("omni_emotion2025", "Section 3"),
}
"""Where a paper prints how many clips a corpus has whose adapter has no `check`."""


def look(need: Need, *, whole: bool) -> Iterator[Finding]:
    """What is found of a corpus, a file or the organisers' features.

    Args:
        need: of that kind.
        whole: every clip is decoded, not `SAMPLE`.
    """
    match need.kind:
        case "corpus":
            yield from _corpus(need, whole=whole)
        case "features":
            corpus, feature = need.name.rsplit("/", 1)
            folder = paths.DATA / corpus / "c2_muse_reaction" / "feats" / feature
            yield _there(f"features {feature}", folder, "The official release has them beside labels.csv: fetch them.")
        case "file":
            yield _there(f"file {need.name}", paths.DATA / need.name, "Put it there, or empty the parameter.")


def _there(what: str, path: Path, mend: str) -> Finding:
    if path.exists():
        return Finding(what, "ok", str(path))
    return Finding(what, "missing", f"{path}: not there. {mend}", stops=True)


def _corpus(need: Need, *, whole: bool) -> Iterator[Finding]:
    what, root = f"corpus {need.name}", paths.DATA / need.name
    adapter = import_module(f"reaffect.corpora.{need.adapter}")
    try:
        table = adapter.load(root, *([need.year] if need.adapter == "mer" else []), strict=False)
    except (InputError, OSError) as error:
        yield Finding(what, "broken" if root.is_dir() else "missing", str(error), stops=True)
        return
    yield Finding(what, "ok" if len(table) else "broken", f"{len(table)} clips in {root}", stops=table.empty)
    problems = table.attrs["problems"]
    if problems:
        first = next(iter(problems.values()))
        said = f"{len(problems)} clips cannot be used: {some(list(problems))}. The first: {first}"
        yield Finding(what, "missing", said, stops=adapter is not sounds)  # notebook 10 does without such sounds
    yield _counted(what, adapter, table, root)
    if len(table):
        yield _decoded(what, table, whole=whole)


def _counted(what: str, adapter: ModuleType, table: pd.DataFrame, root: Path) -> Finding:
    """Numbers of clips beside the published ones; EALD's body language, which lies beside its clips, is read, too."""
    try:
        if adapter is eald:
            eald.load_nfbl(root)
        compared = adapter.check(root) if hasattr(adapter, "check") else _compared(adapter, table)
    except (InputError, OSError) as error:
        return Finding(what, "broken", str(error), stops=True)
    wrong = compared[~compared.agrees.astype(bool)]
    if compared.empty:
        return Finding(what, "note", "counts: nothing is published to compare them with")
    if wrong.empty:
        return Finding(what, "ok", f"counts: all {len(compared)} are as published")
    each = [f"{name} {row.found} (published: {row.published})" for name, row in wrong.iterrows()]
    return Finding(what, "differs", f"counts: {some(each)}. Another release, or not all of it")


def _compared(adapter: ModuleType, table: pd.DataFrame) -> pd.DataFrame:
    """Numbers of clips beside those that a paper prints; no rows if none does."""
    found: dict[tuple[str, str], int] = {}
    if adapter is hume:
        found = {(split, "clips"): len(own) for split, own in table.groupby("split")}
        if table.attrs["subjects_known"]:
            found |= {(split, "subjects"): own.subject.nunique() for split, own in table.groupby("split")}
    if adapter is eald:
        won = int(table.positive.sum())
        found = {("videos", "EALD"): len(table), ("videos won", "EALD"): won, ("videos lost", "EALD"): len(table) - won}
    if adapter is emer:
        found = {("EMER", "samples"): len(table)}
    if not found:
        return expressions.compared({}, {})
    printed = results.published(*EXHIBITS[adapter]).set_index(["row", "column"]).value.to_dict()
    ours = {" ".join(place): count for place, count in found.items() if place in printed}
    return expressions.compared(ours, {" ".join(place): int(printed[place]) for place in found if place in printed})


def _decoded(what: str, table: pd.DataFrame, *, whole: bool) -> Finding:
    chosen = range(len(table)) if whole else media.frame_indices(len(table), min(SAMPLE, len(table)))
    files = [table.media.iloc[index] for index in chosen]
    wrong = {file: said for file in tqdm(files, what, leave=False) if (said := undecodable(Path(file)))}
    if wrong:
        said = f"{len(wrong)} of {len(files)} clips cannot be decoded: {some(list(wrong.values()))}"
        return Finding(what, "broken", said, stops=True)
    return Finding(what, "ok", f"{len(files)} of {len(table)} clips decoded" + ("" if whole else " (--all takes each)"))


def undecodable(file: Path) -> str | None:
    """Why the first and last frame, or the sound, of a clip cannot be read; None if they can."""
    try:
        if file.suffix.lower() not in SOUNDS:
            media.read_frames(file, 2)
        media.read_waveform(file)
    except (InputError, OSError) as error:
        return str(error)
    return None
