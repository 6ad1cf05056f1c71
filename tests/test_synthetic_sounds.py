"""The embedded Common Voice and WavCaps: real files, in which what was planted is heard."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from itertools import product

import librosa
import numpy as np
import pytest

from reaffect import media
from reaffect.corpora import sounds as sound_files
from reaffect.errors import InputError
from reaffect.synthetic import building, dialogues, sounds, speech
from reaffect.synthetic.expressions import CODES
from reaffect.synthetic.sounds import Recipe


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The corpus, whole, and what was planted."""
    with pytest.MonkeyPatch.context() as patch:
        record_here(patch)
        folder = sounds.build(tmp_path_factory.mktemp("corpora"))
    return folder, json.loads((folder / "planted.json").read_text())


def record_here(patch):
    """Sounds are made in this process; they are in the list that comes back."""
    made = []
    patch.setattr(building, "film_all", lambda film, todo, *_, **__: [film(one) or made.append(one) for one in todo])
    return made


def words_of(text):
    return set(re.findall(r"\w+", text))


def test_the_adapter_reads_what_was_planted(built):
    folder, planted = built
    table = sound_files.load(folder)
    truth = planted["sounds"]
    assert len(table) == len(truth) == 48
    assert table.attrs == {"problems": {}, "counts": {"common_voice": 0, "wavcaps": 0}}
    for row in table.itertuples():
        own = truth[row.media.rsplit("/", 1)[1]]
        if row.kind == "transcript":
            assert row.text == own["said"]
        else:
            assert sounds.FEELS[own["feels"]] in words_of(row.text)
    assert Counter(table.split[table.kind == "transcript"]) == {"train": 18, "devel": 3, "test": 3}


def test_every_file_is_heard_as_it_was_spoken(built):
    """The voice alone, spoken anew, lies in the decoded file, whatever the codec did to it."""
    folder, _ = built
    for sound in sounds.plan(folder, Recipe())[::5]:
        heard = media.read_waveform(sound.file)
        said = speech.say(sound.said, sound.how, voice=sound.speaker)
        likeness = np.correlate(heard, said, "valid") / np.linalg.norm(said)
        assert likeness.max() > 0.97 * np.linalg.norm(heard)
        assert 0.1 <= likeness.argmax() / 16_000 <= 0.5


def test_pitch_rate_and_loudness_are_heard_as_coded(built, tmp_path):
    """Of one sentence of one speaker, so that nothing else differs."""
    planned = {sound.feels: sound for sound in sounds.plan(tmp_path, Recipe()) if sound.file.parent.name == "FreeSound"}
    heard = {}
    for feels, sound in planned.items():
        sound = sound._replace(said="My neighbour found an old map near the station.", speaker="m3")
        sounds.record(sound)
        wave = media.read_waveform(sound.file)
        loud = np.flatnonzero(np.abs(wave) > 0.1 * np.abs(wave).max())
        spoken = wave[loud[0] : loud[-1]]
        pitch = np.median(librosa.yin(spoken, fmin=50, fmax=400, sr=16_000))
        heard[feels] = (pitch, -len(spoken), np.sqrt(np.mean(spoken**2)))
    for place in range(3):
        levels = {
            level: [heard[name][place] for name in heard if CODES[name].voice[place] == level] for level in (-1, 0, 1)
        }
        assert max(levels[-1]) < min(levels[0]) and max(levels[0]) < min(levels[1])


def test_captions_name_what_is_coded_and_nothing_else_in_words_that_vary():
    rng = np.random.default_rng(1)
    words = {"pitch": sounds.PITCH, "rate": sounds.RATE, "loudness": sounds.LOUDNESS}
    for feels, code in CODES.items():
        told = {sounds.caption(feels, rng) for _ in range(60)}
        assert len(told) >= 8
        for text, (name, levels) in product(told, words.items()):
            found = {level for level, names in levels.items() if set(names) & words_of(text)}
            assert found == {getattr(code.voice, name)} - {0}, text
        for text in told:
            assert {name for name, word in sounds.FEELS.items() if word in words_of(text)} == {feels}
            assert text[0].isupper() and text.endswith(".") and " a angry" not in text.lower() and " a even" not in text


def test_every_voice_is_there_and_what_is_said_tells_nothing(tmp_path):
    planned = [sound for sound in sounds.plan(tmp_path, Recipe(count=256)) if sound.feels]
    counts = Counter((sound.file.parent.name, sound.feels) for sound in planned)
    assert len(counts) == len(CODES) + len(sounds.TALKS) and max(counts.values()) - min(counts.values()) <= 1
    assert len({sound.said for sound in planned}) > 0.9 * len(planned)


def test_nobody_says_what_other_corpora_say_nor_speaks_in_two_parts(tmp_path):
    planned = sounds.plan(tmp_path, Recipe())
    elsewhere = {*speech.UTTERANCES, *(text for texts in dialogues.SENTENCES.values() for text in texts)}
    assert not elsewhere & {sound.said for sound in planned}
    read = [sound for sound in planned if not sound.feels]
    assert len({sound.said for sound in read}) == len(read)
    speakers = {part: {sound.speaker for sound in read if sound.split == part} for part in sounds.SHARES}
    assert not any(
        speakers[one] & speakers[other] for one, other in (("train", "dev"), ("train", "test"), ("dev", "test"))
    )


def test_another_seed_makes_other_sounds(tmp_path):
    one, other = (sounds.plan(tmp_path, replace(Recipe(), seed=seed)) for seed in (1, 2))
    assert sum(a.said != b.said for a, b in zip(one, other, strict=True)) > 40


def test_a_killed_build_goes_on_and_gives_the_same_bytes(built, tmp_path, monkeypatch):
    """A sound of each kind and the end are missing, as after a kill; what is there is not made again."""
    folder, planted = built
    again = tmp_path / "sounds"
    for file in [file for file in folder.rglob("*") if file.is_file()]:
        target = again / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    (again / "planted.json").unlink()
    (again / "building").write_text(planted["fingerprint"])
    lost = [next(again.rglob("*.mp3")), next(again.rglob("*.flac"))]
    for file in lost:
        file.unlink()
    made = record_here(monkeypatch)
    sounds.build(tmp_path)
    assert {sound.file for sound in made} == set(lost)
    files = {file.relative_to(folder) for file in folder.rglob("*") if file.is_file()}
    assert files == {file.relative_to(again) for file in again.rglob("*") if file.is_file()}
    assert all((again / file).read_bytes() == (folder / file).read_bytes() for file in files)
    made.clear()
    assert sounds.build(tmp_path) == again and not made


@pytest.mark.parametrize("count", [0, 8, 40])
def test_a_count_that_gives_no_even_parts_is_refused(tmp_path, count):
    with pytest.raises(InputError, match=f"count is {count}: it must be a multiple of 16"):
        sounds.build(tmp_path, count=count)
    assert not list(tmp_path.iterdir())
