"""Questions to a model that has learned: what is asked together, in which order answers come, and what is kept."""

import json
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reaffect.tuning import Lesson, asking


class Echo:
    """Answers with the question, and remembers what was asked at once."""

    language_model = SimpleNamespace(device=torch.device("cpu"))

    def __init__(self):
        self.batches = []

    def lengths(self, questions, frames, audio):
        return [len(question) for question in questions], None

    def generate(self, questions, frames, audio, *, max_new_tokens):
        self.batches.append(questions)
        assert all(clips is None or len(clips) == len(questions) for clips in (frames, audio))
        kind = "frames" * (frames is not None) + "audio" * (audio is not None)
        return [f"{question} {kind} {max_new_tokens}" for question in questions]


def lessons(count: int, *, seed: int = 0) -> list[Lesson]:
    """Questions of different lengths, every third one without audio."""
    words = np.random.default_rng(seed).permutation(count) + 1
    clip = torch.zeros(2, 3)
    return [Lesson("a" * int(n), "unread", clip, None if row % 3 == 0 else clip) for row, n in enumerate(words)]


def test_answers_come_in_the_order_of_the_lessons(tmp_path):
    asked = lessons(50)
    told = asking.answers(Echo(), asked, tmp_path / "answers.json", "mark", max_new_tokens=7)
    kinds = ["frames" + "audio" * (one.audio is not None) for one in asked]
    assert told == [f"{one.question} {kind} 7" for one, kind in zip(asked, kinds, strict=True)]


def test_what_is_asked_together_is_of_one_kind_and_of_like_length(tmp_path):
    model, asked = Echo(), lessons(60)
    asking.answers(model, asked, tmp_path / "answers.json", "mark", max_new_tokens=1)
    kinds = {one.question: one.audio is None for one in asked}
    assert sorted(chain(*model.batches)) == sorted(kinds)
    for kind in (True, False):
        batches = sorted(sorted(map(len, batch)) for batch in model.batches if {kinds[one] for one in batch} == {kind})
        lengths = list(chain(*batches))
        assert len(lengths) == list(kinds.values()).count(kind)
        assert lengths == sorted(lengths)  # none reaches into the next one's
    assert max(map(len, model.batches)) == asking.ASKED


def test_nothing_is_asked_twice_but_under_another_mark(tmp_path):
    file, asked = tmp_path / "answers.json", lessons(5)
    told = asking.answers(Echo(), asked, file, "mark", max_new_tokens=3)
    again = Echo()
    assert asking.answers(again, asked, file, "mark", max_new_tokens=3) == told
    assert not again.batches
    asking.answers(again, asked, file, "other", max_new_tokens=3)
    assert again.batches
    assert json.loads(file.read_text())["fingerprint"] == "other"


@pytest.mark.parametrize("kind", ["frames", "audio"])
def test_a_model_is_given_none_of_what_is_not_there(kind):
    clip = torch.zeros(2, 3)
    questions, *given = asking.inputs([Lesson("why?", "", **{"frames": clip, "audio": clip, kind: None})], clip.device)
    assert questions == ["why?"]
    assert [one is None for one in given] == [kind == "frames", kind == "audio"]
