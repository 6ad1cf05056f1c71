"""The queue for reviewers, verdicts that outlive kills, full disks and hand edits, and the dataset they make."""

from __future__ import annotations

import fcntl
import json
import math
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reaffect.curation import review
from reaffect.curation.review_queue import QUEUE, read_queue, shown, write_queue
from reaffect.errors import InputError

CLIPS = ("00001", "00002", "00003", "00004")


def annotated(root, clips=CLIPS, corpus="dfew"):
    """A table as curation makes it, with its videos."""
    rows = []
    for number, clip in enumerate(clips):
        path = root / corpus / "clip" / f"{clip}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video " + clip.encode())
        reason = f"She 笑 “smiles” in {clip}."
        rows.append((corpus, clip, str(path), reason, ["happy", "relieved"], "high", "Happy", float(number + 5)))
    return pd.DataFrame(rows, columns=list(QUEUE))


@pytest.fixture
def table(tmp_path):
    return annotated(tmp_path / "corpora")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "new" / "verdicts.jsonl"


def say(file, table, clip, said, reviewer="Ana", **edits):
    row = table[table["clip"] == clip].iloc[0].to_dict()
    review.append(file, review.verdict(row, reviewer, said, edits or None))


def said(file):
    found = review.verdicts(file)
    return list(zip(found["reviewer"], found["clip"], found["verdict"], strict=True))


# The queue


def test_a_queue_is_read_as_it_was_written(table, tmp_path):
    table["score"] = [5.0, math.nan, 7.0, 10.0]
    table["intensity"] = [1, 2.5, np.float32(3), None]
    queue = read_queue(write_queue(table, tmp_path / "q" / "queue.jsonl", tmp_path / "corpora"), tmp_path / "corpora")
    assert queue[["corpus", "clip", "media", "reason", "labels", "coarse"]].equals(
        table[["corpus", "clip", "media", "reason", "labels", "coarse"]]
    )
    assert queue["score"].equals(table["score"])
    assert [shown(row) for row in queue.to_dict("records")] == [shown(row) for row in table.to_dict("records")]


def test_a_clip_without_an_annotation_can_be_edited_or_rejected_and_not_accepted(table, file, tmp_path):
    table = table.astype(object)
    table.at[0, "reason"], table.at[1, "labels"], table.at[1, "intensity"] = None, None, None
    queue = read_queue(write_queue(table, tmp_path / "queue.jsonl", tmp_path / "corpora"), tmp_path / "corpora")
    assert queue["reason"][0] == "" and queue["labels"][1] == []
    for clip, lacking in (("00001", "reason"), ("00002", "labels")):
        with pytest.raises(InputError, match=f"Clip '{clip}': '{lacking}' must"):
            say(file, queue, clip, "accept")
    say(file, queue, "00001", "edit", reason="He frowns.", labels=["angry"], intensity=None)
    say(file, queue, "00002", "reject")
    for clips in (queue, table):
        assert review.reviewed(clips, review.verdicts(file))["reason"].tolist() == ["He frowns."]


def test_labels_from_a_parquet_file_are_labels(table, tmp_path):
    table.to_parquet(tmp_path / "table.parquet")
    again = pd.read_parquet(tmp_path / "table.parquet")
    queue = read_queue(write_queue(again, tmp_path / "queue.jsonl", tmp_path / "corpora"), tmp_path / "corpora")
    assert queue["labels"].tolist() == table["labels"].tolist()
    assert [shown(row) for row in again.to_dict("records")] == [shown(row) for row in table.to_dict("records")]


def test_a_queue_moves_with_the_corpora(table, tmp_path):
    file = write_queue(table, tmp_path / "queue.jsonl", tmp_path / "corpora")
    (tmp_path / "corpora").rename(tmp_path / "elsewhere")
    assert read_queue(file, tmp_path / "elsewhere")["media"][0] == str(tmp_path / "elsewhere/dfew/clip/00001.mp4")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("media", "../secret.mp4", r"clip '00002': the video '../secret\.mp4' lies outside .*corpora"),
        ("media", "/etc/passwd", "lies outside"),
        ("media", "linked.mp4", "lies outside"),
        ("media", "dfew/notes.txt", "is not the name of a video"),
        ("media", "dfew/gone.mp4", r"1 of 4 videos are missing; the first: .*gone\.mp4: no such video\. Fetch it"),
        ("media", None, "'media' must be text"),
        ("clip", "00001", "clip '00001' of 'dfew' stands there twice"),
        ("reason", "  ", "'reason' must be text that is not empty"),
        ("reason", 3, "'reason' must be text that is not empty"),
        ("reason", "half \ud800", "half a character"),
        ("labels", "happy", "'labels' must be a list"),
        ("labels", ["happy", 3], "'labels' must be text"),
        ("intensity", True, "'intensity' must be text, a number or null"),
        ("intensity", math.inf, "'intensity' must be"),
        ("score", 10.5, "'score' must be a number from 0 to 10"),
        ("coarse", "", "'coarse' must be text"),
    ],
)
def test_a_clip_that_cannot_be_reviewed_is_refused(table, tmp_path, column, value, message):
    (tmp_path / "secret.mp4").touch()
    (tmp_path / "corpora" / "linked.mp4").symlink_to(tmp_path / "secret.mp4")
    (tmp_path / "corpora" / "dfew" / "notes.txt").touch()
    table = table.astype(object)
    table.at[1, column] = value
    with pytest.raises(InputError, match=message):
        write_queue(table, tmp_path / "queue.jsonl", tmp_path / "corpora")
    assert not (tmp_path / "queue.jsonl").exists()


def test_a_queue_without_clips_or_columns_is_refused(table, tmp_path):
    with pytest.raises(InputError, match="no clip in the queue"):
        write_queue(table[:0], tmp_path / "queue.jsonl", tmp_path)
    with pytest.raises(InputError, match="lacks the column 'coarse'"):
        write_queue(table.drop(columns="coarse"), tmp_path / "queue.jsonl", tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"corpus": "dfew", "cl', r"queue\.jsonl, line 2: it is cut off or damaged"),
        ("[1, 2]", "line 2: it is no JSON object"),
        ('{"corpus": "dfew"}', "line 2: 'clip' must be text"),
    ],
)
def test_a_damaged_queue_is_refused_with_the_line(table, tmp_path, line, message):
    file = write_queue(table[:1], tmp_path / "queue.jsonl", tmp_path / "corpora")
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(InputError, match=message):
        read_queue(file, tmp_path / "corpora")
    with pytest.raises(InputError, match=r"none\.jsonl: no such file\. Write it by"):
        read_queue(tmp_path / "none.jsonl", tmp_path)


def test_a_path_in_a_queue_edited_by_hand_does_not_leave_the_root(table, tmp_path):
    (tmp_path / "secret.mp4").touch()
    file = write_queue(table, tmp_path / "queue.jsonl", tmp_path / "corpora")
    file.write_text(file.read_text().replace("dfew/clip/00003.mp4", "dfew/../../secret.mp4"))
    with pytest.raises(InputError, match=r"line 3: the video 'dfew/\.\./\.\./secret\.mp4' lies outside"):
        read_queue(file, tmp_path / "corpora")


# Verdicts


def test_the_last_verdict_of_a_reviewer_on_a_clip_counts(file, table):
    say(file, table, "00001", "accept")
    say(file, table, "00002", "reject")
    say(file, table, "00001", "reject", reviewer=" Bo ")
    say(file, table, "00001", "edit", reason="He frowns.", labels=["angry"], intensity=None)
    assert said(file) == [("Ana", "00002", "reject"), ("Bo", "00001", "reject"), ("Ana", "00001", "edit")]
    last = review.verdicts(file).iloc[-1]
    assert (last["line"], last["reason"], last["labels"], last["corpus"]) == (4, "He frowns.", ["angry"], "dfew")
    assert last["shown"] == shown(table.iloc[0].to_dict())
    assert abs(last["time"] - pd.Timestamp.now("UTC")) < pd.Timedelta(hours=1)


def test_a_verdict_taken_back_is_none(file, table):
    say(file, table, "00001", "accept")
    say(file, table, "00001", "reject", reviewer="Bo")
    say(file, table, "00001", "undo")
    assert said(file) == [("Bo", "00001", "reject")]
    say(file, table, "00001", "reject")
    assert said(file)[-1] == ("Ana", "00001", "reject")
    assert len(file.read_text().splitlines()) == 4


def test_no_verdicts_yet_is_an_empty_table_and_no_file_an_error(file):
    with pytest.raises(InputError, match=r"verdicts\.jsonl: no such file\. The review page makes it"):
        review.verdicts(file)
    review.prepare(file)
    found = review.verdicts(file)
    assert len(found) == 0 and {"line", "reviewer", "verdict", "labels"} <= set(found) and not found.attrs["problems"]


@pytest.mark.parametrize(
    ("reviewer", "verdict", "edits", "message"),
    [
        ("Ana", "maybe", None, "'verdict' is 'maybe', it must be one of accept, edit, reject, undo"),
        ("Ana", ["edit"], None, "'verdict' is"),
        (" ", "accept", None, "'reviewer' must be text"),
        (None, "accept", None, "'reviewer' must be text"),
        ("Ana", "edit", None, "'reason' must be text"),
        ("Ana", "edit", {"reason": "x", "labels": [" "], "intensity": 1}, "'labels' must be text"),
        ("Ana", "edit", {"reason": "x", "labels": ["a"], "intensity": math.nan}, "'intensity' must be"),
        ("A\ud800", "accept", None, "'reviewer' holds half a character"),
    ],
)
def test_what_is_no_verdict_is_refused(table, reviewer, verdict, edits, message):
    with pytest.raises(InputError, match=f"Clip '00001': {message}"):
        review.verdict(table.iloc[0].to_dict(), reviewer, verdict, edits)


def test_nothing_that_is_no_verdict_enters_the_file(file, table):
    say(file, table, "00001", "accept")
    with pytest.raises(InputError, match="no verdict: 'time' must be text"):
        review.append(file, {"verdict": "accept"})
    assert len(file.read_text().splitlines()) == 1


def test_a_file_cut_off_anywhere_keeps_its_whole_lines_and_takes_more(file, table):
    for clip in CLIPS[:3]:
        say(file, table, clip, "edit", reason="她笑。", labels=["glad"], intensity=2)
    whole = file.read_bytes()
    ends = [position + 1 for position, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(0, len(whole), 7):
        file.write_bytes(whole[:cut])
        before = sum(cut >= end - 1 for end in ends)
        found = review.verdicts(file)
        torn = cut > max([0, *(end for end in ends if end <= cut)]) and cut + 1 not in ends
        assert list(found["clip"]) == list(CLIPS[:before])
        assert list(found.attrs["problems"]) == ([before + 1] if torn else [])
        say(file, table, "00004", "accept")
        assert list(review.verdicts(file)["clip"]) == [*CLIPS[:before], "00004"]
        assert list(review.verdicts(file).attrs["problems"]) == ([before + 1] if torn else [])
        assert file.read_bytes().startswith(whole[:cut])


def test_lines_edited_by_hand_are_read_where_they_can_be_and_reported_where_not(file, table):
    for clip in CLIPS:
        say(file, table, clip, "accept")
    first, second, third, fourth = file.read_bytes().splitlines()
    lines = [
        b"\xef\xbb\xbf" + first + b"\r",  # saved by an editor of Windows
        b"",
        second.replace(b'"accept"', b'"acept"'),
        third.replace(b'"time": "2', b'"note": "mine", "time": "yesterday 2'),
        b"\xff\xfe" + fourth,
        b'"accept"',
        b"[" * 100_000,
        b'{"verdict": "edit", "reviewer": "Bo"}',
    ]
    file.write_bytes(b"\n".join(lines))
    found = review.verdicts(file)
    assert list(found["clip"]) == ["00001", "00003"] and found["time"].isna().tolist() == [False, True]
    problems = found.attrs["problems"]
    assert list(problems) == [3, 5, 6, 7, 8]
    assert "'verdict' is 'acept'" in problems[3] and "damaged" in problems[5] and "no JSON object" in problems[6]
    say(file, table, "00004", "reject")
    assert file.read_bytes().startswith(b"\n".join(lines) + b"\n")
    assert list(review.verdicts(file)["clip"]) == ["00001", "00003", "00004"]


@settings(max_examples=60)
@given(st.binary(max_size=60))
def test_whatever_stands_in_the_file_stays_and_the_next_verdict_is_read(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")
    file = folder / "verdicts.jsonl"
    file.write_bytes(content)
    say(file, annotated(folder, ("7",)), "7", "reject")
    assert file.read_bytes().startswith(content)
    assert said(file) == [("Ana", "7", "reject")]


WRITER = """
import sys
from reaffect.curation import review
row = {"corpus": "dfew", "reason": "r" * 2000, "labels": ["a"], "intensity": None}
for number in range(int(sys.argv[3])):
    review.append(sys.argv[1], review.verdict(row | {"clip": str(number)}, sys.argv[2], "edit", row))
    print(number, flush=True)
"""


def writer(file, reviewer, count):
    command = [sys.executable, "-c", WRITER, str(file), reviewer, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_page_killed_while_it_saves_loses_no_verdict_that_it_called_stored(file, table):
    with writer(file, "Ana", 1_000_000) as process:
        heard = [process.stdout.readline() for _ in range(25)]
        process.send_signal(signal.SIGKILL)
        heard += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    numbers = [line.strip() for line in heard if line.endswith("\n")]
    assert list(review.verdicts(file)["clip"])[: len(numbers)] == numbers
    say(file, table, "00001", "accept", reviewer="Bo")
    assert said(file)[-1] == ("Bo", "00001", "accept")


def test_pages_that_save_at_once_do_not_mix_their_lines(file):
    with writer(file, "Ana", 60) as first, writer(file, "Bo", 60) as second:
        assert len(first.stdout.readlines()) == len(second.stdout.readlines()) == 60
    found = review.verdicts(file)
    assert found["reviewer"].value_counts().to_dict() == {"Ana": 60, "Bo": 60} and not found.attrs["problems"]


@contextmanager
def largest_file(size):
    """As a full disk: what is written past that many bytes of a file fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_reported_and_loses_nothing_before_or_after(file, table):
    say(file, table, "00001", "accept")
    with (
        largest_file(file.stat().st_size + 10),
        pytest.raises(InputError, match=r"cannot be stored \(File too large\)"),
    ):
        say(file, table, "00002", "accept")
    say(file, table, "00003", "reject")
    assert said(file) == [("Ana", "00001", "accept"), ("Ana", "00003", "reject")]
    assert list(review.verdicts(file).attrs["problems"]) == [2]


def test_a_verdict_is_on_the_disk_before_it_is_called_stored(file, table, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    say(file, table, "00001", "accept")
    assert synced[-1] == file.stat().st_size


def test_a_file_that_cannot_be_written_is_refused_before_anybody_reviews(tmp_path):
    with pytest.raises(InputError, match=r"cannot be stored \(Is a directory\)"):
        review.prepare(tmp_path)
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        review.verdicts(tmp_path)


def test_a_file_replaced_by_an_editor_gets_the_verdict(file, table, monkeypatch):
    """An editor renames its copy over the file just when a verdict has opened the old one."""
    say(file, table, "00001", "accept")
    edited, lock = file.with_name("edited"), fcntl.flock
    edited.write_bytes(file.read_bytes())

    def replace_then_lock(raw, how):
        if edited.exists():
            edited.replace(file)
        lock(raw, how)

    monkeypatch.setattr(fcntl, "flock", replace_then_lock)
    say(file, table, "00002", "reject")
    assert said(file) == [("Ana", "00001", "accept"), ("Ana", "00002", "reject")]


# The dataset


def test_accepted_and_edited_annotations_are_kept_with_their_edits(file, table):
    say(file, table, "00001", "accept")
    say(file, table, "00002", "edit", reason="He frowns.", labels=["angry"], intensity="low")
    say(file, table, "00003", "reject")
    kept = review.reviewed(table, review.verdicts(file))
    assert list(kept["clip"]) == ["00001", "00002"] and list(kept["verdict"]) == ["accept", "edit"]
    assert kept.loc[0, list(QUEUE)].equals(table.loc[0, list(QUEUE)])
    assert kept.loc[1, ["reason", "labels", "intensity"]].tolist() == ["He frowns.", ["angry"], "low"]
    assert kept.loc[1, ["media", "coarse", "score"]].equals(table.loc[1, ["media", "coarse", "score"]])
    assert kept.attrs["counts"] == {
        "accept": 1,
        "edit": 1,
        "reject": 1,
        "undecided": 1,
        "outdated": 0,
        "not in queue": 0,
    }


def test_a_verdict_on_an_annotation_that_has_changed_since_does_not_count(file, table):
    say(file, table, "00001", "accept")
    say(file, table, "00002", "accept")
    table.at[0, "reason"] = "Quite another one."
    kept = review.reviewed(table[table["clip"] != "00002"], review.verdicts(file))
    assert len(kept) == 0 and list(kept) == [*QUEUE, "verdict", "reviewers"]
    assert (kept.attrs["counts"]["outdated"], kept.attrs["counts"]["not in queue"]) == (1, 1)
    assert kept.attrs["counts"]["undecided"] == 3


def test_a_rescored_clip_keeps_its_verdict(file, table):
    say(file, table, "00001", "accept")
    assert list(review.reviewed(table.assign(score=1.0), review.verdicts(file))["clip"]) == ["00001"]


def test_one_rejection_is_enough_unless_a_share_is_named(file, table):
    for reviewer, verdict in (("Ana", "accept"), ("Bo", "reject"), ("Cy", "edit"), ("Di", "edit")):
        edits = {"reason": f"{reviewer}'s", "labels": ["a"], "intensity": None} if verdict == "edit" else {}
        say(file, table, "00001", verdict, reviewer=reviewer, **edits)
    found = review.verdicts(file)
    assert len(review.reviewed(table, found)) == 0
    assert len(review.reviewed(table, found, keep_share=0.76)) == 0
    [row] = review.reviewed(table, found, keep_share=0.75).to_dict("records")
    assert (row["reason"], row["verdict"], row["reviewers"]) == ("Di's", "edit", 4)
    with pytest.raises(InputError, match="keep_share=0"):
        review.reviewed(table, found, keep_share=0)


def test_clips_of_one_name_in_two_corpora_are_two(file, tmp_path, table):
    both = pd.concat([table, annotated(tmp_path / "corpora", corpus="mafw")], ignore_index=True)
    say(file, both[both.corpus == "mafw"], "00001", "accept")
    assert review.reviewed(both, review.verdicts(file))[["corpus", "clip"]].values.tolist() == [["mafw", "00001"]]
    with pytest.raises(InputError, match="stands twice"):
        review.reviewed(pd.concat([table, table]), review.verdicts(file))


def votes(file, first, second):
    """Verdicts of two reviewers on clips 0, 1, 2 ..., each with its annotation's fingerprint."""
    rows = [
        {"time": "2025-01-01", "reviewer": name, "corpus": "c", "clip": str(clip), "shown": "s", "verdict": verdict}
        for name, sequence in (("Ana", first), ("Bo", second))
        for clip, verdict in enumerate(sequence)
        if verdict
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return review.verdicts(file)


def test_agreement_is_cohens_kappa(file):
    """20 + 15 of 50 agree, by chance (25 * 30 + 25 * 20) / 50² = 0.5 would: kappa = (0.7 - 0.5) / 0.5."""
    first = ["accept"] * 25 + ["reject"] * 25 + ["accept", None]
    second = ["accept"] * 20 + ["reject"] * 5 + ["accept"] * 10 + ["reject"] * 15 + [None, "edit"]
    [row] = review.agreement(votes(file, first, second)).to_dict("records")
    assert (row["first"], row["second"], row["clips"]) == ("Ana", "Bo", 50)
    assert row["agree"] == pytest.approx(0.7, abs=1e-12) and row["kappa"] == pytest.approx(0.4, abs=1e-12)


def test_kappa_is_missing_where_chance_explains_all_or_nothing_is_common(file):
    [row] = review.agreement(votes(file, ["accept"] * 3, ["accept"] * 3)).to_dict("records")
    assert row["agree"] == 1 and math.isnan(row["kappa"])
    [row] = review.agreement(votes(file, ["accept", None], [None, "accept"])).to_dict("records")
    assert row["clips"] == 0 and math.isnan(row["agree"]) and math.isnan(row["kappa"])


def test_a_single_reviewer_agrees_with_nobody(file):
    found = review.agreement(votes(file, ["accept"], [None]))
    assert len(found) == 0 and list(found) == ["first", "second", "clips", "agree", "kappa"]
