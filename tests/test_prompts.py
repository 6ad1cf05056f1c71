"""Prompts to the letter, and a parser that reads what models write."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reaffect import paths, prompts
from reaffect.corpora.hume import EMOTIONS

SEVEN = (0.3, 0.7, 0.2, 0.0, 0.1, 1.0, 0.5)


def parsed(text) -> tuple:
    return tuple(prompts.parse_scores(text, EMOTIONS).values())


@pytest.mark.parametrize("text", [prompts.VAIANI_QUESTION, *prompts.VAIANI_PROMPTS])
def test_prompts_stand_in_the_paper(text):
    paper = paths.ROOT.parent / "shared" / "papers" / "vaiani2024_mllm_emotion.txt"
    if not paper.exists():
        pytest.skip("the papers' texts lie beside the checkout only where the project is developed")
    assert text in paper.read_text()


@pytest.mark.parametrize(
    "pattern",
    [
        "{}: {}",
        "- {} = {}",
        "{} ({})",
        "**{}**: {}",
        "* {} - {}",
        "{}\t{}",
        "I would give {} a score of {}.",
        "{}: {}/1",
    ],
)
def test_common_ways_to_write_seven_scores(pattern):
    lines = [pattern.format(name.capitalize(), score) for name, score in zip(EMOTIONS, SEVEN, strict=True)]
    assert parsed("\n".join(lines)) == SEVEN
    assert parsed(", ".join(lines)) == SEVEN


def test_numbered_lists_are_not_scores():
    lines = [f"{k}. {name}: {s}" for k, (name, s) in enumerate(zip(EMOTIONS, SEVEN, strict=True), 1)]
    assert parsed("\n".join(lines)) == SEVEN


@pytest.mark.parametrize("name", ["Empathic Pain", "empathic-pain", "EMPATHIC_PAIN"])
def test_spellings_of_empathic_pain(name):
    assert prompts.parse_scores(f"{name}: 0.4", EMOTIONS)["empathic pain"] == 0.4


@pytest.mark.parametrize(
    ("text", "score"), [("70%", 0.7), ("70 percent", 0.7), ("7/10", 0.7), ("7 out of 10", 0.7), (".7", 0.7)]
)
def test_fractions(text, score):
    assert prompts.parse_scores(f"fear: {text}", EMOTIONS)["fear"] == pytest.approx(score)


def test_bare_list_in_the_order_asked():
    assert parsed("0.3, 0.7, 0.2, 0.0, 0.1, 1.0, 0.5") == SEVEN


def test_first_mention_with_a_number_wins():
    assert prompts.parse_scores("fear and surprise: fear 0.2, surprise 0.9, fear 0.8", EMOTIONS)["fear"] == 0.2


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        3,
        "I'm sorry, I cannot judge emotions.",
        "fear is high",
        "fear: 7",
        "fear: -0.3",
        "fear: 3/0",
        prompts.VAIANI_QUESTION,
    ],
)
def test_nothing_readable_is_nan_and_no_exception(text):
    assert all(math.isnan(score) for score in parsed(text))


def test_an_echoed_scale_is_no_score():
    scores = prompts.parse_scores("On a scale from 0 to 1, fear (between 0 and 1) is 0.4", EMOTIONS)
    assert scores["fear"] == 0.4


@given(st.text())
def test_any_text_gives_seven_numbers_or_nan(text):
    scores = parsed(text)
    assert len(scores) == 7
    assert all(math.isnan(score) or 0 <= score <= 1 for score in scores)


@given(st.lists(st.integers(0, 100), min_size=7, max_size=7), st.permutations(range(7)))
def test_whatever_is_written_is_read_in_any_order(hundredths, order):
    text = ", ".join(f"{EMOTIONS[k]}: {hundredths[k] / 100}" for k in order)
    assert parsed(text) == tuple(value / 100 for value in hundredths)
