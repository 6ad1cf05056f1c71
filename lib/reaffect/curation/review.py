"""Human review of annotations: a queue of clips, verdicts that are never lost, and the dataset that they make (HRE).

Omni-Emotion verifies 700 clips of each corpus by hand (Section 3.2); by what rules, with which tool and by how many
people is unpublished: all of this is ours. `review_queue` writes what is to be reviewed, `review_page` shows it.
Verdicts are JSON lines in a file that only grows: of a reviewer's verdicts on a clip the last one counts. A verdict
names, by a fingerprint, the annotation that was shown: where that has changed since, it is outdated and counts no more.
The file may be edited by hand while no page is open. What cannot be read in it is reported, stays where it is and is
never written over.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from reaffect.curation.review_queue import (
    ANNOTATION,
    check_annotation,
    check_columns,
    check_text,
    read_lines,
    shown,
)
from reaffect.errors import InputError

DECISIONS = ("accept", "edit", "reject")

UNDO = "undo"
"""Takes the verdict on a clip back: the clip is undecided again."""

VERDICT = ("time", "reviewer", "corpus", "clip", "shown", "verdict", *ANNOTATION)
"""Of a verdict; the annotation only where it was edited."""


def verdict(row: Mapping[str, Any], reviewer: str, said: str, edits: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A verdict on a clip of the queue, as `append` stores it.

    Args:
        row: of the queue.
        reviewer: a name.
        said: one of `DECISIONS`, or `UNDO`. What lacks a reason or labels cannot be accepted.
        edits: the annotation as it shall be, with `edit` only.

    Raises:
        InputError: what is wrong with it.
    """
    values = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "reviewer": reviewer.strip() if isinstance(reviewer, str) else reviewer,
        "corpus": row["corpus"],
        "clip": row["clip"],
        "shown": shown(row),
        "verdict": said,
    }
    if said == "edit":
        values |= {name: (edits or {}).get(name) for name in ANNOTATION}
    try:
        if said == "accept":
            check_annotation(row)
        return _verdict(values)
    except ValueError as error:
        raise InputError(f"Clip {row['clip']!r}: {error}.") from None


def append(file: str | Path, given: Mapping[str, Any]) -> None:
    """Stores a verdict: when this returns, it is on the disk.

    The line is added under a lock, so that several pages may write to one file. It begins a line of its own, whatever
    stands before it: half a line that a killed process or an editor left behind is neither lost nor continued.

    Args:
        file: JSON lines; made if it is not there.
        given: from `verdict`.

    Raises:
        InputError: it is no verdict, or it could not be stored.
    """
    file = Path(file)
    try:
        line = json.dumps(_verdict(given)).encode() + b"\n"
    except ValueError as error:
        raise InputError(f"{file}: this is no verdict: {error}.") from None
    with _to_append(file) as (raw, end):
        rest = memoryview((b"\n" if end else b"") + line)
        while rest:
            rest = rest[raw.write(rest) :]
        os.fsync(raw.fileno())


def prepare(file: str | Path) -> None:
    """Makes sure that verdicts can be stored, before anybody gives one.

    Raises:
        InputError: the file cannot be written.
    """
    with _to_append(Path(file)):
        pass


def verdicts(file: str | Path) -> pd.DataFrame:
    """Reads the verdicts that count: of each reviewer and clip the last one, unless it was taken back.

    Args:
        file: as `append` wrote it, and perhaps a person edited it.

    Returns:
        One row a reviewer and clip, in the order given: `line` (in the file, from 1), `VERDICT` (`time` in UTC, missing
        where it is no time). `attrs["problems"]` says by line what could not be read: it stays in the file.

    Raises:
        InputError: no such file, or it cannot be read.
    """
    file = Path(file)
    lines, problems = read_lines(file, _verdict, absent="The review page makes it: begin the review, or mend the path.")
    last: dict[tuple[str, str, str], dict[str, Any]] = {}
    for number, values in lines.items():
        key = values["reviewer"], values["corpus"], values["clip"]
        last.pop(key, None)
        if values["verdict"] != UNDO:
            last[key] = {"line": number, **values}
    table = pd.DataFrame(list(last.values()), columns=["line", *VERDICT])
    table["time"] = pd.to_datetime(table["time"], utc=True, errors="coerce", format="ISO8601")
    table.attrs = {"problems": problems}
    return table


def reviewed(queue: pd.DataFrame, given: pd.DataFrame, *, keep_share: float = 1.0) -> pd.DataFrame:
    """The human-reviewed dataset: clips whose annotation was accepted or edited, edits applied (Section 3.2).

    Args:
        queue: from `read_queue`, or the table that was written.
        given: from `verdicts`.
        keep_share: of a clip's reviewers, in (0, 1], who must have accepted or edited it. The paper does not say what
            it does where reviewers disagree: by default one rejection is enough.

    Returns:
        The rows of the queue that are kept, in its order, with `verdict` (edit if anybody edited: the last edit given
        holds, since everybody is shown the queue's annotation) and `reviewers` (a count). `attrs["counts"]` tells how
        many clips are `accept`, `edit`, `reject` and `undecided`, and how many verdicts are left out because they are
        `outdated` (the annotation has changed since) or `not in queue`.

    Raises:
        InputError: a column is missing, a clip stands twice in the queue, or the share is none.
    """
    if not 0 < keep_share <= 1:
        raise InputError(f"keep_share={keep_share}: a share of reviewers lies above 0 and at most at 1.")
    check_columns(queue)
    rows = {(row["corpus"], row["clip"]): row for row in queue.to_dict("records")}
    if len(rows) < len(queue):
        raise InputError("A clip stands twice in the queue: keep one of its rows.")
    prints = {key: shown(row) for key, row in rows.items()}
    votes: dict[tuple[str, str], list[dict[str, Any]]] = {key: [] for key in rows}
    left_out = Counter()
    for vote in given.to_dict("records"):
        key = vote["corpus"], vote["clip"]
        if prints.get(key) == vote["shown"]:
            votes[key].append(vote)
        else:
            left_out["outdated" if key in rows else "not in queue"] += 1
    results = {key: _result(found, keep_share) for key, found in votes.items()}
    kept = [
        rows[key] | edits | {"verdict": result, "reviewers": len(votes[key])}
        for key, (result, edits) in results.items()
        if result in ("accept", "edit")
    ]
    table = pd.DataFrame(kept, columns=[*queue.columns, "verdict", "reviewers"])
    tally = Counter(result for result, _ in results.values())
    counts = {name: tally[name] for name in (*DECISIONS, "undecided")}
    table.attrs = {"counts": counts | {name: left_out[name] for name in ("outdated", "not in queue")}}
    return table


def agreement(given: pd.DataFrame) -> pd.DataFrame:
    """How far reviewers agree on accept, edit and reject, for each two of them.

    Args:
        given: from `verdicts`.

    Returns:
        A row a pair: `first`, `second` (names), `clips` (that both were shown with the same annotation), `agree` (share
        of them, in [0, 1]), `kappa` (Cohen's, in [-1, 1]). The last two are missing without common clips, kappa also
        where both say one and the same throughout: agreement by chance is then complete.
    """
    from sklearn.metrics import cohen_kappa_score  # takes longer to import than all that the page needs

    by_reviewer = {
        name: votes.set_index(["corpus", "clip", "shown"])["verdict"] for name, votes in given.groupby("reviewer")
    }
    found = []
    for first, second in combinations(sorted(by_reviewer), 2):
        both = pd.concat([by_reviewer[first], by_reviewer[second]], axis=1, join="inner").set_axis([0, 1], axis=1)
        agree = float((both[0] == both[1]).mean()) if len(both) else math.nan
        varied = len(set(both[0]) | set(both[1])) > 1
        kappa = float(cohen_kappa_score(both[0], both[1])) if varied else math.nan
        found.append((first, second, len(both), agree, kappa))
    return pd.DataFrame(found, columns=["first", "second", "clips", "agree", "kappa"])


def _result(votes: list[dict[str, Any]], keep_share: float) -> tuple[str, dict[str, Any]]:
    """What becomes of a clip, and what of its annotation is edited."""
    if not votes:
        return "undecided", {}
    keep = [vote for vote in votes if vote["verdict"] != "reject"]
    if len(keep) / len(votes) < keep_share:
        return "reject", {}
    edits = [vote for vote in keep if vote["verdict"] == "edit"]
    return ("edit", {name: edits[-1][name] for name in ANNOTATION}) if edits else ("accept", {})


@contextmanager
def _to_append(file: Path) -> Iterator[tuple[BinaryIO, bool]]:
    """The file, locked, and whether its last line has no end; an OSError within becomes an InputError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _locked(file) as raw:
            size = raw.seek(0, os.SEEK_END)
            if not size:  # a new file's name must outlast a power cut, too
                _sync_folder(file.parent)
            yield raw, bool(size) and os.pread(raw.fileno(), 1, size - 1) != b"\n"
    except OSError as error:
        raise InputError(
            f"{file}: a verdict cannot be stored ({error.strerror}). What is in the file is safe: mend its rights or "
            "free some disk, and give the verdict again."
        ) from error


@contextmanager
def _locked(file: Path) -> Iterator[BinaryIO]:
    while True:
        with file.open("a+b", buffering=0) as raw:
            fcntl.flock(raw, fcntl.LOCK_EX)
            # an editor that saves by renaming has put another file here while this one was waited for
            if file.exists() and os.path.samestat(os.fstat(raw.fileno()), file.stat()):
                yield raw
                return


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _verdict(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a verdict; InputError, a clause, if it is none."""
    for name in ("time", "reviewer", "corpus", "clip", "shown"):
        check_text(name, values.get(name))
    said = values.get("verdict")
    if said not in (*DECISIONS, UNDO):
        raise InputError(f"'verdict' is {said!r}, it must be one of {', '.join((*DECISIONS, UNDO))}")
    if said == "edit":
        check_annotation(values)
    return {name: values.get(name) for name in (VERDICT if said == "edit" else VERDICT[: -len(ANNOTATION)])}
