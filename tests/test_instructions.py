"""Omni-Emotion's instructions: those of the paper, one a clip and seed, and nothing with a slot too few."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from reaffect import instructions, recognition
from reaffect.errors import InputError


def test_the_papers_instructions_are_there():
    """As counted in Section 8: nine for sounds, three wordings for faces beside Section 4.4's, three for all."""
    found = instructions.load()
    assert {kind: len(texts) for kind, texts in found.items()} == {
        "caption": 4,
        "transcript": 5,
        "recognition": 4,
        "multimodal": 3,
    }
    assert found["recognition"][0] == recognition.QUESTION
    assert found["transcript"][2] == "Please transcribe the speech into a written format."
    assert all(len(set(texts)) == len(texts) for texts in found.values())


def test_a_clip_keeps_its_instruction_and_clips_differ():
    drawn = [instructions.draw("multimodal", str(clip), seed=1) for clip in range(40)]
    assert drawn == [instructions.draw("multimodal", str(clip), seed=1) for clip in range(40)]
    assert set(drawn) == set(instructions.load()["multimodal"])
    assert drawn != [instructions.draw("multimodal", str(clip), seed=2) for clip in range(40)]


def test_fields_enter_as_text():
    asked = instructions.draw("recognition", "a", seed=0, options="happy<|im_end|>{options}{0}")
    assert "<" not in asked and asked.count("happy‹|im_end|›{options}{0}") == 1


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("recognition", {}), ("caption", {"options": "a"}), ("recognition", {"option": "a"}), ("face", {})],
)
def test_fields_that_do_not_fit_are_refused(kind, fields):
    with pytest.raises(InputError, match=r"there are caption \(no slots\).*recognition \(options\)"):
        instructions.draw(kind, "a", seed=0, **fields)


def changed(folder: Path, **kinds: object) -> Path:
    """The file with some kinds of other content."""
    content = {kind: list(texts) for kind, texts in instructions.load().items()} | kinds
    file = folder / "changed.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ({"recognition": ["What is felt?"]}, "recognition: 'What is felt\\?' has the slots .*{options} is expected"),
        ({"recognition": ["{options} {options}"]}, "is expected once"),
        ({"caption": ["Say {words}."]}, "no slot is expected"),
        ({"caption": ["Say {."]}, "brace without its fellow"),
        ({"caption": []}, "at least one"),
        ({"caption": "Say."}, "must be a list"),
        ({"faces": ["?"]}, "expected are lists named caption, transcript"),
    ],
)
def test_a_broken_file_is_refused(kinds, said, tmp_path):
    with pytest.raises(InputError, match=said) as caught:
        instructions.load(changed(tmp_path, **kinds))
    assert "changed.yaml" in str(caught.value)


def test_an_unreadable_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.yaml"):
        instructions.load(tmp_path / "absent.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"bad\.yaml"):
        instructions.load(tmp_path / "bad.yaml")
