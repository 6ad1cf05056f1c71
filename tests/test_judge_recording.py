"""Recordings: every answer kept, replayed bit for bit, and damage named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pandas as pd
import pytest

from judges import GOOD, Scripted, about
from reaffect import judge
from reaffect.errors import InputError
from reaffect.judge import Recorder, Recording
from reaffect.judge.recording import FIELDS


def test_a_recording_repeats_every_answer_bit_for_bit(tmp_path):
    said = {"a": ' {"emotion": "positive",\r\n"score": 7}\t', "b": "é 笑 \u2028 \ud800 \x00", "c": ""}
    path = tmp_path / "new" / "answers.jsonl"
    questions = [about(text) for text in said]
    assert Recorder(Scripted(said), path).ask(questions) == list(said.values())
    assert Recording(path).ask(questions[::-1]) == list(said.values())[::-1]
    assert Recording(path).name == "scripted"


def test_a_line_holds_all_that_was_asked_and_said(tmp_path):
    path = tmp_path / "answers.jsonl"
    Recorder(Scripted({"a": GOOD}), path).ask([about("a")])
    [line] = map(json.loads, path.read_text().splitlines())
    assert tuple(line) == FIELDS
    assert line["key"] == about("a").key("scripted") and line["prompt"] == about("a").text
    assert (line["version"], line["model"], line["answer"]) == ("emotion_v1", "scripted", GOOD)
    assert pd.Timestamp(line["time"]).tz is not None


def test_only_what_is_missing_is_asked(tmp_path):
    first, second = Scripted({"a": GOOD, "b": GOOD}), Scripted({"c": "x", "a": "never", "b": "never"})
    heard = []
    Recorder(first, tmp_path / "r.jsonl").ask([about("a"), about("b"), about("a")])
    assert len(first.asked) == 2
    answers = Recorder(second, tmp_path / "r.jsonl").ask(
        [about("c"), about("b"), about("a")], lambda question, answer: heard.append(answer)
    )
    assert answers == ["x", GOOD, GOOD] and len(second.asked) == 1
    assert sorted(heard) == sorted(answers)


def test_what_was_heard_before_a_judge_failed_is_kept(tmp_path):
    path = tmp_path / "r.jsonl"
    with pytest.raises(InputError, match=r"gone\. 2 of 4 answers are kept in .*r\.jsonl: run again"):
        Recorder(Scripted({"a": GOOD, "b": GOOD, "c": "die"}), path).ask([about(text) for text in "abcd"])
    later = Scripted({"c": GOOD, "d": GOOD})
    assert Recorder(later, path).ask([about(text) for text in "abcd"]) == [GOOD] * 4
    assert [question.gist for question in later.asked] == ["c", "d"]


def test_problems_are_not_recorded(tmp_path):
    path = tmp_path / "r.jsonl"
    problem = InputError("too long")
    assert Recorder(Scripted({"a": problem, "b": GOOD}), path).ask([about("a"), about("b")]) == [problem, GOOD]
    assert Recorder(Scripted({"a": GOOD}), path).ask([about("a"), about("b")]) == [GOOD, GOOD]


def test_a_miss_is_loud(tmp_path):
    path = tmp_path / "r.jsonl"
    Recorder(Scripted({"a": GOOD}), path).ask([about("a")])
    replay = Recording(path)
    with pytest.raises(InputError, match=r"r\.jsonl has no answer of scripted to 1 of 2 .* about 'A man") as miss:
        replay.ask([about("a"), about("A man sits.\n" * 9)])
    assert "To record: judge.Recorder(" in str(miss.value) and "…" in str(miss.value)
    with pytest.raises(InputError, match="no answer of other to 1 of 1"):
        Recording(path, "other").ask([about("a")])


def test_a_recording_of_two_models_wants_a_choice(tmp_path):
    path = tmp_path / "r.jsonl"
    one, two = Scripted({"a": "1"}), Scripted({"a": "2"})
    two.name = "other"
    for answering in (one, two):
        Recorder(answering, path).ask([about("a")])
    with pytest.raises(InputError, match=r"2 models \(other, scripted\): name one"):
        Recording(path)
    assert Recording(path, "other").ask([about("a")]) == ["2"]
    assert Recording(path, "scripted").ask([about("a")]) == ["1"]


def test_a_recording_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl: no such recording\. To record: "):
        Recording(tmp_path / "none.jsonl")


@pytest.mark.parametrize("cut", [1, 40, 5000])
def test_a_torn_last_line_is_asked_again(tmp_path, cut):
    """What a kill or a full disk leaves: the end of a file, cut anywhere within its last line."""
    path = tmp_path / "r.jsonl"
    answers = {"a": GOOD, "b": "long " * 4000}
    questions = [about(text) for text in "ab"]
    Recorder(Scripted(answers), path).ask(questions)
    whole = path.read_bytes()
    os.truncate(path, len(whole) - cut)
    with pytest.raises(InputError, match="1 of 2"):
        Recording(path).ask(questions)
    later = Scripted(answers)
    assert Recorder(later, path).ask(questions) == list(answers.values())
    assert len(later.asked) == 1
    assert len(path.read_bytes().splitlines()) == 2
    assert Recording(path).ask(questions) == list(answers.values())


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line[: len(line) // 2],
        lambda line: line.replace("watched", "missed"),
        lambda line: line.replace('"answer": ', '"answer": 7, "was": '),
        lambda line: "[]",
        lambda line: "",
    ],
)
def test_a_damaged_line_is_named(tmp_path, damage):
    path = tmp_path / "r.jsonl"
    Recorder(Scripted(dict.fromkeys("abc", GOOD)), path).ask([about(text) for text in "abc"])
    lines = path.read_text().split("\n")
    lines[1] = damage(lines[1])
    path.write_text("\n".join(lines))
    for reading in (Recording, lambda path: Recorder(Scripted({}), path).ask([about("a")])):
        with pytest.raises(InputError, match=r"r\.jsonl, line 2: no answer as it was recorded"):
            reading(path)


def test_two_processes_record_into_one_file(tmp_path):
    path = tmp_path / "r.jsonl"
    program = textwrap.dedent(f"""
        import sys
        from reaffect.judge import Lexicon, Question, Recorder, template
        who = sys.argv[1]
        questions = [Question(template("emotion_v1"), {{"description": f"{{who}} {{n}} " * 400}}) for n in range(40)]
        print("ready", flush=True); sys.stdin.readline()
        Recorder(Lexicon(), {str(path)!r}).ask(questions)
    """)
    command = [sys.executable, "-c", program]
    both = [subprocess.Popen([*command, who], stdin=-1, stdout=-1, text=True) for who in "ab"]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        process.communicate()
        assert process.returncode == 0
    assert len(path.read_text().splitlines()) == 80
    wanted = [about(f"{who} {n} " * 400) for who in "ab" for n in range(40)]
    assert len(Recording(path).ask(wanted)) == 80


def test_judges_by_name(tmp_path):
    path = tmp_path / "r.jsonl"
    recorded = judge.load("lexicon", record=path)
    table = judge.emotion(recorded, ["She is happy.", "He is sad."])
    assert table["emotion"].tolist() == ["positive", "negative"]
    pd.testing.assert_frame_equal(judge.emotion(judge.load(str(path)), ["She is happy.", "He is sad."]), table)
    assert judge.load("http://localhost:1/v1", model="m", retries=0).name == "m"
    with pytest.raises(InputError, match="needs the name of a model"):
        judge.load("http://localhost:1/v1")
    with pytest.raises(InputError, match="Only a server takes retries; the judge is 'lexicon'"):
        judge.load("lexicon", retries=1)
