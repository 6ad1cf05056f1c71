"""The recogniser, against what was really said."""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import ctranslate2
import jiwer
import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from reaffect import media, speech
from reaffect.corpora import eald
from reaffect.errors import InputError
from reaffect.speech import Utterance, Word, segment
from reaffect.speech import recogniser as recognition
from reaffect.store import Store
from reaffect.synthetic import speech as espeak


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory):
    return speech.Recogniser(store=Store(tmp_path_factory.mktemp("store")))


@pytest.fixture
def packages(monkeypatch, tmp_path):
    """A machine with a GPU, and what NVIDIA's packages bring: nothing yet."""
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    found, spec = importlib.util.find_spec, SimpleNamespace(submodule_search_locations=[tmp_path])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "nvidia" else found(name))
    monkeypatch.setattr(recognition, "CUBLAS", "libcublas-of-no-machine.so.12")
    return tmp_path


def test_a_gpu_without_the_library_that_multiplies_there_is_not_used_and_the_mend_is_told(packages, caplog):
    told = speech.Recogniser()
    assert told.model.model.device == "cpu" and told.model.model.compute_type.startswith("int8")
    assert "finds no libcublas-of-no-machine.so.12. Install nvidia-cublas-cu12." in caplog.text


def test_the_library_is_found_in_its_package(packages, caplog):
    [library] = Path(ctranslate2.__file__).parents[1].glob("ctranslate2.libs/libgomp*")  # any that can be loaded
    place = packages / "cublas" / "lib" / recognition.CUBLAS
    place.parent.mkdir(parents=True)
    place.write_bytes(b"no library")
    assert not speech.on_gpu()
    place.write_bytes(library.read_bytes())
    caplog.clear()
    assert speech.on_gpu() and not caplog.text


def test_without_a_gpu_nothing_is_said(monkeypatch, caplog):
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)
    assert not speech.on_gpu() and not caplog.text


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
    with pytest.raises(InputError, match="does not know the language 'zh'"):
        speech.Recogniser(language="zh")


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


# ---- word times and utterances in sound


def test_words_are_heard_where_they_were_spoken(recogniser):
    text = "The first set took about forty minutes in the end."
    said = espeak.spoken(text, espeak.prosody(0.5), voice="m3")
    late = np.concatenate([np.zeros(8_000, np.float32), said.waveform, np.zeros(8_000, np.float32)])
    planted = {word.text.split()[-1].strip("."): word.end_s + 0.5 for word in said.words}
    heard = {word.text.strip(" ."): word.end_s for word in recogniser.words(late)}
    shared = planted.keys() & heard.keys()
    assert len(shared) >= 5
    assert np.median([abs(planted[word] - heard[word]) for word in shared]) < 0.15


def test_voice_is_found_between_silences():
    said = espeak.say("I am very happy with the way I played today", espeak.prosody(0.5), voice="f1")
    still = np.random.default_rng(0).normal(0, 1e-3, 16_000).astype(np.float32)
    stretches = speech.voiced_stretches(np.concatenate([still, said, still]))
    assert stretches[0][0] == pytest.approx(1, abs=0.15)
    assert stretches[-1][1] == pytest.approx(1 + len(said) / 16_000, abs=0.25)
    assert all(one[1] <= other[0] for one, other in pairwise(stretches))


@pytest.mark.parametrize("sound", ["none", "silence", "noise", "tone"])
def test_a_clip_without_speech_is_one_segment(tmp_path, recogniser, sound):
    time_s = np.arange(32_000) / 16_000
    wave = {
        "none": None,
        "silence": 0 * time_s,
        "noise": np.random.default_rng(0).normal(0, 0.05, 32_000),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * time_s),
    }[sound]
    still = np.zeros((16, 32, 32, 3), np.uint8)
    clip = media.write_video(tmp_path / f"{sound}.mp4", still, 8, wave, None if wave is None else 16_000)
    assert recogniser.utterances([clip]) == {str(clip): [Utterance(0, 2, "")]}


def test_utterances_are_the_turns_of_the_interviews(eald_root, recogniser):
    clips, said = eald.load(eald_root), eald.load_transcripts(eald_root)
    found = recogniser.utterances(clips.media)
    errors, strange = [], []  # of the planted bounds, against this clip's utterances and against another's
    planted = covered = uttered = 0.0
    for clip, file, other in zip(clips["clip"], clips.media, np.roll(clips.media, 1), strict=True):
        turns = said[said["clip"] == clip][["start_s", "end_s"]].to_numpy()
        errors += bound_errors(turns, found[file])
        strange += bound_errors(turns, found[other])
        planted += np.ptp(turns, axis=1).sum()
        uttered += sum(one.end_s - one.start_s for one in found[file])
        covered += sum(max(0, min(b, one.end_s) - max(a, one.start_s)) for a, b in turns for one in found[file])
        assert found[file][-1].end_s <= media.probe(file).duration_s
    assert np.median(errors) < 0.1
    # of nine turns one may be joined to the next, as without AVX-512, where Whisper puts no full stop between them
    assert np.quantile(errors, 0.8) < 0.2 < np.quantile(strange, 0.8)
    assert covered / planted > 0.9
    assert covered / uttered > 0.8


def test_where_noise_fills_the_pauses_sentences_part_the_utterances(eald_root, recogniser):
    clips, said = eald.load(eald_root), eald.load_transcripts(eald_root)
    rng, errors, stretches = np.random.default_rng(0), [], 0
    for clip, file in zip(clips["clip"], clips.media, strict=True):
        waveform = media.read_waveform(file)
        loudness = np.sqrt(np.mean(waveform**2))
        noisy = waveform + rng.normal(0, loudness / 2, len(waveform)).astype(np.float32)  # 6 dB below the speech
        voiced = speech.voiced_stretches(noisy)
        turns = said[said["clip"] == clip][["start_s", "end_s"]].to_numpy()
        errors += bound_errors(turns, segment(recogniser.words(noisy), voiced, len(noisy) / 16_000))
        stretches += len(voiced)
    assert stretches < len(said)  # so that voice alone cannot tell the turns apart
    assert np.median(errors) < 0.25


def test_utterances_carry_the_words_of_the_transcript(eald_root, recogniser):
    clips = eald.load(eald_root).media
    transcripts, found = recogniser(clips), recogniser.utterances(clips)
    texts = [" ".join(one.text for one in found[clip]) for clip in clips]
    normalised = [[speech.normalised(text) for text in side] for side in ([transcripts[c] for c in clips], texts)]
    assert jiwer.wer(*normalised) < 0.1


def test_words_and_voice_are_heard_once_whatever_a_pause_is(eald_root, recogniser, monkeypatch):
    clip = eald.load(eald_root).media[0]
    first = recogniser.utterances([clip])
    monkeypatch.setattr(recogniser, "words", lambda waveform: pytest.fail("heard again"))
    assert recogniser.utterances([clip]) == first
    assert len(recogniser.utterances([clip], pause_s=0.01, shortest_s=0.01)[clip]) >= len(first[clip])


def test_a_file_of_sound_alone_has_utterances(eald_root, recogniser, tmp_path):
    clip = eald.load(eald_root).media[0]
    waveform = media.read_waveform(clip)
    sf.write(tmp_path / "interview.wav", waveform, 16_000, subtype="FLOAT")
    sf.write(tmp_path / "empty.wav", waveform[:0], 16_000)
    heard = recogniser.hear([tmp_path / "interview.wav"])[str(tmp_path / "interview.wav")]
    assert heard.duration_s == len(waveform) / 16_000
    assert heard.words == recogniser.hear([clip])[clip].words
    with pytest.raises(InputError, match=r"empty\.wav"):
        recogniser.utterances([tmp_path / "empty.wav"])


def test_the_choice_of_a_language_left_old_transcripts_valid(recogniser):
    assert recogniser.recipe.keys() == {"model", "compute_type", "beam_size"}


# ---- utterances from words and voice


def spoken(text: str, start_s: float, end_s: float) -> list[Word]:
    """Words of equal length."""
    words = text.split()
    times = np.linspace(start_s, end_s, len(words) + 1).tolist()
    return [Word(a, b, f" {word}") for word, a, b in zip(words, times, times[1:], strict=False)]


HELLO = spoken("hello there", 1, 2)


@pytest.mark.parametrize(
    ("words", "voiced", "expected"),
    [
        pytest.param(HELLO, [(1, 2)], [(1, 2, "hello there")], id="voice gives the bounds"),
        pytest.param(spoken("hello there", 0.8, 2.3), [(1, 2)], [(1, 2, "hello there")], id="not the words' times"),
        pytest.param([], [(1, 2)], [(1, 2, "")], id="a laugh"),
        pytest.param(HELLO, [(1, 2), (5, 6)], [(1, 2, "hello there"), (5, 6, "")], id="a laugh afterwards"),
        pytest.param(HELLO, [(0, 0.8), (1, 2)], [(0, 0.8, ""), (1, 2, "hello there")], id="a laugh just before"),
        pytest.param(HELLO, [(0.5, 0.8), (1, 2)], [(0.5, 2, "hello there")], id="a breath just before"),
        pytest.param(HELLO, [(1, 2), (5, 5.3)], [(1, 2, "hello there")], id="a breath on its own"),
        pytest.param([], [(5, 5.3)], [(0, 10, "")], id="nothing but a breath"),
        pytest.param(HELLO, [], [(0, 10, "")], id="words without any voice are made up"),
        pytest.param(
            [*HELLO, *spoken("Thank you.", 7, 8)], [(1, 2)], [(1, 2, "hello there")], id="words in silence are made up"
        ),
        pytest.param(
            [*HELLO, *spoken("you", 2.3, 2.8)], [(1, 2)], [(1, 2, "hello there you")], id="words near a voice"
        ),
        pytest.param(
            [*spoken("so we", 1, 2), *spoken("won it", 2.3, 3)],
            [(1, 2), (2.3, 3)],
            [(1, 3, "so we won it")],
            id="a breath",
        ),
        pytest.param(
            [*spoken("so we", 1, 2), *spoken("won it", 2.6, 3)],
            [(1, 2), (2.6, 3)],
            [(1, 2, "so we"), (2.6, 3, "won it")],
            id="a pause",
        ),
        pytest.param(
            [*spoken("Who won?", 1, 2), *spoken("We did.", 2.2, 3)],
            [(1, 2), (2.2, 3)],
            [(1, 2, "Who won?"), (2.2, 3, "We did.")],
            id="a sentence ends between stretches",
        ),
        pytest.param(
            [*spoken("Who won?", 1, 2), *spoken("We did.", 2.2, 3)],
            [(1, 3)],
            [(1, 2.1, "Who won?"), (2.1, 3, "We did.")],
            id="a sentence ends within a stretch",
        ),
        pytest.param(
            [*spoken("Who", 1, 1.9), Word(2.2, 2.4, " won?"), *spoken("We did.", 2.4, 4)],
            [(1, 2), (2.2, 4)],
            [(1, 2, "Who won?"), (2.2, 4, "We did.")],
            id="a sentence that seems to end in the next stretch",
        ),
        pytest.param(
            [*spoken("Who won?", 1, 1.8), Word(1.8, 2, " We"), *spoken("did.", 2.2, 4)],
            [(1, 2), (2.2, 4)],
            [(1, 2, "Who won?"), (2.2, 4, "We did.")],
            id="a sentence that seems to begin in the stretch before",
        ),
        pytest.param(
            [*spoken("Dr. No met", 1, 2), *spoken("at 9 a.m. and... well, 3.5 hours", 2, 4)],
            [(1, 4)],
            [(1, 4, "Dr. No met at 9 a.m. and... well, 3.5 hours")],
            id="full stops that end no sentence",
        ),
        pytest.param(
            [Word(1, 2, "\u6211\u8d62"), Word(2, 3, "\u4e86\u3002"), Word(3, 4, "\u597d")],
            [(1, 4)],
            [(1, 3, "\u6211\u8d62\u4e86\u3002"), (3, 4, "\u597d")],
            id="Chinese has no spaces",
        ),
        pytest.param(
            spoken("one two", 1, 2) + spoken("three four", 4, 5),
            [(1, 5)],
            [(1, 3, "one two"), (3, 5, "three four")],
            id="no words for long, though noise is taken for voice",
        ),
        pytest.param(
            [Word(9, 9.5, " the"), Word(9.6, 11, " very"), Word(11, 12, " end")],
            [(9, 13)],
            [(9, 10, "the very end")],
            id="past the end of the clip",
        ),
        pytest.param(
            [Word(1.2, 1.0, " back"), Word(1.5, 1.5, " wards"), Word(-1, 0.9, " not")],
            [(1, 2)],
            [(1, 2, "not back wards")],
            id="impossible times",
        ),
        pytest.param(HELLO, [(1.5, 2), (1, 1.6), (3, 3), (4, 3)], [(1, 2, "hello there")], id="overlapping stretches"),
    ],
)
def test_where_utterances_begin_and_end(words, voiced, expected):
    found = segment(words, voiced, 10.0)
    assert [one.text for one in found] == [text for *_, text in expected]
    assert np.ravel([one[:2] for one in found]) == pytest.approx(np.ravel([one[:2] for one in expected]))


@pytest.mark.parametrize("lengths", [(0, 1, 1), (-1, 1, 1), (1, 0, 1), (1, 1, 0), (float("nan"), 1, 1)])
def test_lengths_that_are_none_are_named(lengths):
    with pytest.raises(InputError, match="must be above 0"):
        segment([], [], lengths[0], pause_s=lengths[1], shortest_s=lengths[2])


times = st.floats(-2, 12)
positive = st.floats(0.05, 2)


@given(
    spans=st.lists(st.tuples(times, times, st.sampled_from([".", "?", "", ","])), max_size=12),
    voiced=st.lists(st.tuples(times, times), max_size=8),
    pause_s=positive,
    shortest_s=positive,
    random=st.randoms(use_true_random=False),
)
def test_utterances_are_in_order_and_lose_no_word(spans, voiced, pause_s, shortest_s, random):
    spans = list({start: (start, end, mark) for start, end, mark in spans}.values())
    words = [Word(start, end, f" w{k}{mark}") for k, (start, end, mark) in enumerate(spans)]
    found = segment(words, voiced, 10.0, pause_s=pause_s, shortest_s=shortest_s)

    assert all(0 <= one.start_s < one.end_s <= 10 for one in found)
    assert all(one.end_s <= other.start_s for one, other in pairwise(found))
    texts = [text for one in found for text in one.text.split()]
    away = {word.text.strip(): min((distance(word, stretch) for stretch in voiced), default=99) for word in words}
    assert sorted(texts) == sorted(text for text, far in away.items() if far <= pause_s)
    for start, end in voiced:  # nothing that may carry something is left out
        inside = [max(start, 0), min(end, 10)]
        if inside[1] - inside[0] >= shortest_s:
            assert any(one.start_s <= inside[0] < one.end_s for one in found)
            assert any(one.start_s < inside[1] <= one.end_s for one in found)
    shuffled = [random.sample(items, len(items)) for items in (words, voiced)]
    assert segment(*shuffled, 10.0, pause_s=pause_s, shortest_s=shortest_s) == found


def distance(word: Word, stretch: tuple[float, float]) -> float:
    """Between two intervals within a clip of 10 s, 0 where they touch; 99 from a stretch that is none."""
    start, end = max(stretch[0], 0), min(stretch[1], 10)
    first = min(max(word.start_s, 0), 10)
    last = max(first, min(word.end_s, 10))
    return max(0, start - last, first - end) if start < end else 99


def bound_errors(turns: np.ndarray, found: list[Utterance]) -> list[float]:
    """Distance in seconds of each planted start and end (n, 2) to the nearest that was found."""
    bounds = np.array([[one.start_s, one.end_s] for one in found])
    return np.abs(turns[:, None] - bounds[None]).min(1).ravel().tolist()
