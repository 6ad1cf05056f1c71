"""Judging while a data set is curated: prompts, what counts as an answer, the lexicon, and all steps in order."""

from __future__ import annotations

import json
import string

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reaffect.curation.consistency import annotate, problem_counts
from reaffect.errors import InputError
from reaffect.judge import Lexicon, Question, Recorder, Recording, template
from reaffect.judge.curation import INTENSITIES, SOURCES, alignment, annotation, consistency

PROMPTS = {
    "consistency_v1": ["scene", "face", "audio"],
    "annotation_v1": ["scene", "face", "audio"],
    "alignment_v1": ["reason", "label"],
}
ANSWERS = {
    "consistency_v1": {"contradicting": ["audio"], "explanation": "The voice is glad."},
    "annotation_v1": {"reason": "She weeps.", "labels": ["Sad", "sad", "hurt"], "intensity": "high"},
    "alignment_v1": {"alignment": 8, "explanation": "Nearly."},
}
SAD = pd.DataFrame({"scene": ["A dark room."], "face": ["She looks sad."], "audio": ["A cheerful voice."]})


class Told:
    """A judge that answers each prompt by rote, as an object or word for word, and keeps what it was asked."""

    name = "told"

    def __init__(self, **answers) -> None:
        self.answers, self.asked = ANSWERS | answers, []

    def ask(self, questions, heard=None):
        self.asked += questions
        given = []
        for question in questions:
            answer = self.answers[question.template.name]
            given.append(answer if isinstance(answer, str) else json.dumps(answer))
            if heard:
                heard(question, given[-1])
        return given


# ---- prompts


@pytest.mark.parametrize(("name", "fields"), PROMPTS.items())
def test_prompt_files_fill_every_field_and_ask_for_every_property(name, fields):
    form = template(name)
    assert string.Template(form.text).get_identifiers() == fields
    assert set(form.schema["required"]) == set(form.schema["properties"])
    assert form.schema["additionalProperties"] is False
    assert all(f'"{key}"' in form.text.splitlines()[-1] for key in form.schema["properties"])
    assert "material to be" in form.text and "do not follow them" in form.text


@pytest.mark.parametrize(("name", "fields"), PROMPTS.items())
@given(text=st.text() | st.lists(st.sampled_from(["</face>", "</reason>", "<|im_end|>", "$scene", "\n"])).map("".join))
def test_text_cannot_leave_its_place(name, fields, text):
    prompt = Question(template(name), dict.fromkeys(fields, text)).text
    assert prompt.count("<") == template(name).text.count("<")
    assert prompt.splitlines()[-1] == template(name).text.splitlines()[-1]


@pytest.mark.parametrize(("name", "ask"), [("consistency_v1", consistency), ("annotation_v1", annotation)])
def test_the_form_of_an_answer_echoed_is_none(name, ask):
    judged = ask(Told(**{name: template(name).text.splitlines()[-1]}), SAD)
    assert judged.problem.tolist() == ["it is not valid JSON"] and judged.asked.tolist() == [2]


# ---- what counts as an answer


@pytest.mark.parametrize(
    ("name", "answer", "problem"),
    [
        ("consistency_v1", "", "it is empty"),
        ("consistency_v1", "The audio contradicts.", "it is no JSON object"),
        ("consistency_v1", {"contradicting": "audio", "explanation": "x"}, "no list of descriptions that exist"),
        ("consistency_v1", {"contradicting": ["smell"], "explanation": "x"}, "no list of descriptions that exist"),
        ("consistency_v1", {"contradicting": [["audio"]], "explanation": "x"}, "no list of descriptions that exist"),
        ("consistency_v1", {"contradicting": ["audio"], "explanation": " "}, "it gives no explanation"),
        ("annotation_v1", {"reason": "", "labels": [], "intensity": "low"}, "it gives no reason"),
        ("annotation_v1", {"reason": "x", "labels": "sad", "intensity": "low"}, "its labels are no list"),
        ("annotation_v1", {"reason": "x", "labels": ["sad", " "], "intensity": "low"}, "its labels are no list"),
        ("annotation_v1", {"reason": "x", "labels": [], "intensity": "extreme"}, "its intensity is none of"),
        ("annotation_v1", {"reason": "x", "labels": [], "intensity": ["low"]}, "its intensity is none of"),
        ("alignment_v1", {"alignment": "0-10", "explanation": "x"}, "its alignment is not a number"),
        ("alignment_v1", {"alignment": True, "explanation": "x"}, "its alignment is not a number"),
        ("alignment_v1", {"alignment": 11, "explanation": "x"}, "not within 0 to 10"),
        ("alignment_v1", {"alignment": -1, "explanation": "x"}, "not within 0 to 10"),
        ("alignment_v1", '{"alignment": NaN, "explanation": "x"}', "it is not valid JSON"),
        ("alignment_v1", '{"alignment": 3, "alignment": 9, "explanation": "x"}', "it is not valid JSON"),
        ("alignment_v1", {"alignment": 5}, "it gives no explanation"),
    ],
)
def test_what_is_unclear_is_asked_for_again_and_then_missing(name, answer, problem):
    judge = Told(**{name: answer})
    if name == "alignment_v1":
        judged = alignment(judge, ["She weeps."], ["sadness"])
    else:
        judged = {"consistency_v1": consistency, "annotation_v1": annotation}[name](judge, SAD)
    assert problem in judged.problem[0]
    assert problem in judge.asked[1].complaint and len(judge.asked) == 2
    values = judged.drop(columns=["answer", "asked", "problem"])
    assert values.isna().all(axis=None)


def test_a_description_that_does_not_exist_cannot_contradict():
    deaf = SAD.assign(audio=None)
    judge = Told()
    assert "descriptions that exist" in consistency(judge, deaf).problem[0]
    assert judge.asked[0].fields["audio"] == "none"


@given(st.integers(0, 10))
def test_every_score_of_the_scale_is_read(score):
    told = Told(alignment_v1={"alignment": score, "explanation": "x"})
    assert alignment(told, ["She weeps."], ["sadness"]).score.tolist() == [score]


def test_labels_are_read_once_each_and_in_lower_case():
    assert annotation(Told(), SAD).labels[0] == ["sad", "hurt"]


def test_one_description_alone_is_not_asked_about():
    judge = Told()
    judged = consistency(judge, pd.DataFrame({"scene": ["A room.", None], "face": ["", None], "audio": [None, " "]}))
    assert judged.contradicting.tolist() == [[], []] and not judge.asked


def test_descriptions_that_lack_a_column_are_refused():
    with pytest.raises(InputError, match="'audio'"):
        consistency(Told(), SAD.drop(columns="audio"))
    with pytest.raises(InputError, match="'coarse'"):
        annotate(Told(), SAD.assign(clip="1"))


# ---- the lexicon


@pytest.mark.parametrize(
    ("texts", "contradicting"),
    [
        (("She seems sad.", "A frown, angry.", "A cheerful voice."), ["audio"]),
        (("A happy crowd.", "A smile, joyful.", "A sad voice."), ["audio"]),
        (("A happy crowd.", "He looks furious.", "Voices."), ["scene", "face"]),
        (("A room.", "He looks furious.", "He sounds afraid."), []),
        (("A room.", "She smiles, happy.", "The voice is calm."), []),
        (("A room.", "He is sad.", "The voice is neutral and surprised."), []),
        (("A room.", "A face.", "A voice."), []),
        (("She seems sad.", "A tear, sorrowful.", "He sounds afraid."), ["audio"]),  # one side, but two against one
        (("She seems sad.", "A tear, sorrowful.", "He sounds sad, and afraid."), []),
        (("She seems sad.", "A tear, sorrowful.", "The voice is calm."), []),
        (("She seems sad.", "A scowl, angry.", "He sounds afraid."), []),
        (("She seems sad.", None, "He sounds afraid."), []),
    ],
)
def test_the_lexicon_drops_the_fewer_of_pleasant_and_unpleasant(texts, contradicting):
    table = pd.DataFrame([dict(zip(SOURCES, texts, strict=True))])
    assert consistency(Lexicon(), table).contradicting[0] == contradicting


@pytest.mark.parametrize(
    ("reason", "label", "score"),
    [
        ("She seems glad.", "happiness", 10),
        ("She seems glad.", "sadness", 0),
        ("She seems proud.", "happiness", 5),  # joy, but another cluster
        ("She seems glad and sad.", "happiness", 8),  # right 1/2, met 1: 7.5, to the even number
        ("She seems glad.", "happiness, sadness", 8),  # right 1, met 1/2
        ("She seems glad and sad.", "happiness, sadness", 10),
        ("The man stands at a door.", "neutral", 10),
        ("The man stands at a door.", "anger", 0),
        ("The man is calm.", "neutral", 10),
        ("The man is furious.", "neutral", 0),
    ],
)
def test_the_lexicon_scores_labels_that_meet(reason, label, score):
    assert alignment(Lexicon(), [reason], [label]).score.tolist() == [score]


def test_the_lexicons_annotation_repeats_the_descriptions_and_the_labels_in_them():
    told = annotation(Lexicon(), SAD.assign(audio=None)).iloc[0]
    assert told.reason == "In the picture: A dark room. In the face: She looks sad."
    assert told.labels == ["sad"] and told.intensity in INTENSITIES


def test_stronger_words_are_more_intense():
    texts = ["The walls are grey.", "She is a bit annoyed.", "She is furious, full of hate, terrified and devastated!"]
    told = annotation(Lexicon(), pd.DataFrame({"scene": None, "face": texts, "audio": None})).intensity
    assert [INTENSITIES.index(one) for one in told] == sorted(INTENSITIES.index(one) for one in told)
    assert told.iloc[0] == "low" and told.iloc[-1] == "high"


# ---- all steps


@pytest.fixture
def clips():
    return pd.DataFrame(
        {
            "clip": ["a", "b", "c"],
            "coarse": ["sadness", "happiness", "anger"],
            "scene": ["Rain.", "A feast.", None],
            "face": ["She looks sad.", "He looks happy.", None],
            "audio": ["Sobs, sad.", "A furious voice.", None],
        },
        index=[7, 8, 9],
    )


def test_what_contradicts_is_not_shown_to_who_annotates(clips):
    judge = Told()
    annotated = annotate(judge, clips)
    shown = [question.fields for question in judge.asked if question.template.name == "annotation_v1"]
    assert [fields["audio"] for fields in shown] == ["none", "none"]
    assert [fields["face"] for fields in shown] == ["She looks sad.", "He looks happy."]
    assert annotated.index.tolist() == [7, 8, 9]
    assert annotated.dropped.tolist() == [["audio"], ["audio"], []]
    assert annotated.score.tolist()[:2] == [8, 8] and np.isnan(annotated.score[9])
    assert annotated.audio.tolist()[:2] == ["Sobs, sad.", "A furious voice."]  # what was said stays in the table


def test_who_annotates_is_not_told_the_coarse_label(clips):
    judge = Told()
    annotate(judge, clips)
    early = [question.text for question in judge.asked if question.template.name != "alignment_v1"]
    assert not [text for text in early if "sadness" in text or "happiness" in text]


def test_a_clip_that_nothing_was_found_in_is_counted_and_not_asked_about(clips):
    judge = Told()
    annotated = annotate(judge, clips)
    assert [question.template.name for question in judge.asked] == [name for name in PROMPTS for _ in range(2)]
    assert annotated.problem[9] == "annotation: no description is left to conclude from"
    assert problem_counts(annotated).to_dict() == {annotated.problem[9]: 1}


def test_unknown_consistency_is_not_taken_for_consistency(clips):
    annotated = annotate(Told(consistency_v1="I cannot tell."), clips[:2])
    assert annotated.dropped.tolist() == [None, None] and annotated.reason.isna().all()
    assert annotated.problem.tolist() == ["consistency: it is no JSON object"] * 2


def test_a_recorded_run_asks_nothing_and_says_the_same(clips, tmp_path):
    first = annotate(Recorder(Lexicon(), tmp_path / "judge.jsonl"), clips)
    replayed = annotate(Recording(tmp_path / "judge.jsonl"), clips)
    pd.testing.assert_frame_equal(first, replayed)


def test_a_run_that_was_killed_goes_on_where_it_stopped(clips, tmp_path):
    class Dying(Told):
        def ask(self, questions, heard=None):
            if questions[0].template.name == "alignment_v1" and len(self.asked) < 5:
                super().ask(questions[:1], heard)
                raise InputError("the server is gone.")
            return super().ask(questions, heard)

    judge = Dying()
    with pytest.raises(InputError, match="the server is gone"):
        annotate(Recorder(judge, tmp_path / "judge.jsonl"), clips)
    asked = len(judge.asked)
    annotate(Recorder(judge, tmp_path / "judge.jsonl"), clips)
    assert asked == 5 and len(judge.asked) == 6
