"""One vocabulary for all corpora of expressions: names, never numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reaffect import media
from reaffect.corpora import expressions, mer
from reaffect.errors import InputError

PAPER = {"surprise", "neutral", "fear", "angry", "happy", "sad", "disgust"} | {
    "anxious",
    "helpless",
    "contemptuous",
    "disappointed",
}
"""The words of Omni-Emotion's own instructions (Sections 4.4 and 8)."""


def test_the_vocabulary_is_the_paper_s_and_two_words_of_one_corpus_each():
    assert set(expressions.CLASSES) == PAPER | {"worried", "calm"}


def test_no_name_belongs_to_two_classes():
    names = [name for label, aliases in expressions.ALIASES.items() for name in (label, *aliases)]
    assert len(names) == len(set(names)) and names == [name.strip().lower() for name in names]


def test_every_official_name_has_a_class_of_its_own():
    for corpus, names in expressions.OFFICIAL.items():
        found = expressions.classes(corpus)
        assert len(set(found)) == len(names) and set(found) <= set(expressions.CLASSES)
        assert [expressions.class_of(name) for name in names] == list(found)


def test_mer2024_is_mapped_as_its_reader_names_it():
    assert expressions.OFFICIAL["mer2024"] == mer.EMOTIONS
    assert expressions.classes("mer2024") == mer.EMOTIONS


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Happiness", "happy"),
        (" joy ", "happy"),
        ("ANGER", "angry"),
        ("surprised", "surprise"),
        ("contempt", "contemptuous"),
        ("worried", "worried"),
        ("calm", "calm"),
    ],
)
def test_a_label_is_mapped_by_name(label, expected):
    assert expressions.class_of(label) == expected


@pytest.mark.parametrize("label", ["3", "0", "-1", "3.0", "+2"])
def test_a_number_where_a_name_is_expected_says_so(label):
    with pytest.raises(InputError) as caught:
        expressions.class_of(label)
    assert f"the label {label!r} is a number where a name is expected" in str(caught.value)
    assert "Write one of happy, sad" in str(caught.value)


@pytest.mark.parametrize("label", ["joyous", "", "happy sad", "3rd"])
def test_an_unknown_label_says_what_is_known(label):
    with pytest.raises(InputError, match=f"'{label}' is unknown; known are happy, sad, neutral"):
        expressions.class_of(label)


def test_a_class_that_the_corpus_has_not_is_unknown_there():
    with pytest.raises(InputError, match="'calm' is unknown; known are happy, sad, neutral, angry, surprise"):
        expressions.class_of("calm", expressions.classes("dfew"))


def test_rare_classes_are_merged_only_when_asked():
    assert expressions.merged(["worried", "anxious", "calm", "sad"]) == ["anxious", "neutral", "sad"]
    assert expressions.merged(["worried"], into={}) == ["worried"]
    assert set(expressions.MERGED.values()) <= PAPER
    assert set(expressions.MERGED) == set(expressions.CLASSES) - PAPER


# --- answers ---------------------------------------------------------------------------------------------------

DFEW = expressions.classes("dfew")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Answer: neutral.", "neutral"),
        ("Happiness", "happy"),
        ("The man shows fear; he is afraid.", "fear"),
        ("unhappy", ""),
        ("happy or sad", ""),
        ("contempt", ""),
        ("sad and calm", ""),
        ("3", ""),
        ("", ""),
        (None, ""),
        (float("nan"), ""),
    ],
)
def test_an_answer_names_one_class_of_the_label_set_or_none(answer, expected):
    assert expressions.answered(answer, DFEW) == expected


@given(st.text())
def test_no_answer_adds_a_class(text):
    assert expressions.answered(text, DFEW) in {*DFEW, ""}


# --- counts ----------------------------------------------------------------------------------------------------


def test_counts_are_compared_with_the_published_ones_and_what_is_not_there_is_none():
    table = expressions.compared({"a": 2, "b": 5, "other": 1}, {"a": 2, "b": 4, "c": 1})
    assert table.to_dict("index") == {
        "a": {"found": 2, "published": 2, "agrees": True},
        "b": {"found": 5, "published": 4, "agrees": False},
        "c": {"found": 0, "published": 1, "agrees": False},
    }


def test_clips_without_an_audio_track_are_found(tmp_path):
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    silent = media.write_video(tmp_path / "silent.mp4", frames, 8)
    loud = media.write_video(tmp_path / "loud.mp4", frames, 8, np.zeros(8000, np.float32), 16000)
    table = pd.DataFrame({"clip": ["1", "2"], "media": [str(loud), str(silent)]})
    assert expressions.without_audio(table) == ["2"]
