"""The recogniser, against what was really said."""

from __future__ import annotations

import jiwer
import numpy as np
import pytest

from reaffect import media, speech
from reaffect.corpora import eald
from reaffect.errors import InputError
from reaffect.store import Store


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory):
    return speech.Recogniser(store=Store(tmp_path_factory.mktemp("store")))


def test_it_hears_most_of_what_was_said(eald_root, recogniser):
    clips, said = eald.load(eald_root), eald.load_transcripts(eald_root)
    heard = recogniser(clips.media)
    references = [" ".join(said[said["clip"] == clip].text) for clip in clips["clip"]]
    wrong = jiwer.wer([speech.normalised(r) for r in references], [speech.normalised(heard[m]) for m in clips.media])
    others = jiwer.wer(
        [speech.normalised(r) for r in references[1:] + references[:1]],
        [speech.normalised(heard[m]) for m in clips.media],
    )
    assert wrong < 0.35  # eSpeak's voices are hard for a recogniser of people
    assert others > 2 * wrong


def test_what_was_heard_once_is_not_heard_again(eald_root, recogniser, monkeypatch):
    clip = eald.load(eald_root).media[0]
    first = recogniser([clip])
    monkeypatch.setattr(recogniser, "transcribe", lambda waveform: pytest.fail("heard again"))
    assert recogniser([clip]) == first


def test_silence_and_no_sound_are_no_words(tmp_path, recogniser):
    still = np.zeros((8, 32, 32, 3), np.uint8)
    mute = media.write_video(tmp_path / "mute.mp4", still, 8)
    silent = media.write_video(tmp_path / "silent.mp4", still, 8, np.zeros(16_000), 16_000)
    assert recogniser([mute, silent]) == {str(mute): "", str(silent): ""}


def test_bad_input_is_named(tmp_path, recogniser):
    (tmp_path / "cut.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"cut\.mp4"):
        recogniser([tmp_path / "cut.mp4"])
    with pytest.raises(InputError, match="checkpoints/none: no CTranslate2 model"):
        speech.Recogniser("checkpoints/none")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Forty minutes, in the END!", "40 minutes in the end"),
        ("I'm proud; we won't stop.", "i am proud we will not stop"),
        ("It was, uh, [applause] great", "it was great"),
    ],
)
def test_spellings_of_the_same_words_are_equal(one, other):
    assert speech.normalised(one) == speech.normalised(other)


def test_other_words_stay_different():
    assert speech.normalised("We won.") != speech.normalised("We lost.")
