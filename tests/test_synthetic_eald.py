"""The embedded EALD: what was planted is in the files, and is seen and heard."""

from __future__ import annotations

import json

import librosa
import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu

from reaffect import faces, media
from reaffect.corpora import eald as corpus
from reaffect.errors import InputError
from reaffect.synthetic import eald, interviews, studio
from reaffect.synthetic import faces as morphs

VOICE = interviews.Voice("f1", 1.0)


def auc(score, truth):
    """Chance that a victory scores higher than a defeat."""
    score, truth = np.asarray(score, float), np.asarray(truth)
    return mannwhitneyu(score[truth], score[~truth]).statistic / (truth.sum() * (~truth).sum())


@pytest.fixture(scope="module")
def talks():
    """Sixty short interviews, half of them won."""
    return [interviews.interview(k % 2 == 0, 14, VOICE, np.random.default_rng(k)) for k in range(60)]


def test_the_files_are_what_the_layout_says(eald_root):
    table = corpus.load(eald_root)
    assert table.subject.value_counts().tolist() == [2, 2]
    part = table[table.split != ""]
    assert (part.groupby("split").positive.mean() == 0.5).all()
    assert not set(part[part.split == "train"].subject) & set(part[part.split == "test"].subject)
    for path in table.media:
        facts = media.probe(path)
        assert (facts.width, facts.height) == eald.SIZE and facts.fps == pytest.approx(eald.FPS) and facts.has_audio
    assert corpus.load_nfbl(eald_root).attrs["counts"] == {"cut": 0, "joined": 0, "left out": 0}
    assert not corpus.load_transcripts(eald_root).empty


def test_a_rebuild_does_nothing_and_another_recipe_rebuilds(eald_root):
    before = {path: path.stat().st_mtime_ns for path in eald_root.rglob("*") if path.is_file()}
    recipe = json.loads((eald_root / "planted.json").read_text())["recipe"]
    eald.build(eald_root.parent, **recipe, workers=1)
    assert {path: path.stat().st_mtime_ns for path in eald_root.rglob("*") if path.is_file()} == before


def test_the_same_recipe_gives_the_same_bytes(tmp_path, eald_root):
    shots = eald._plan(tmp_path, eald.Recipe(count=4, longest_s=10, long_s=0))
    shots[0].file.parent.mkdir(parents=True)
    eald.film(shots[0])
    assert shots[0].file.read_bytes() == (eald_root / "mp4" / "0.mp4").read_bytes()


def test_the_whole_corpus_keeps_its_promises(eald_full):
    table = corpus.load(eald_full)
    facts = {clip: media.probe(path) for clip, path in zip(table["clip"], table.media, strict=True)}
    regular = [fact for fact in facts.values() if fact.height == 360]
    [long] = [fact for fact in facts.values() if fact.height == 720]
    assert len(regular) >= 24 and all(20 <= round(fact.duration_s, 1) <= 40 for fact in regular)
    assert long.duration_s == pytest.approx(60, abs=0.1) and round(long.fps) == 32
    assert 0.6 < table.positive.mean() < 0.8
    nfbl = corpus.load_nfbl(eald_full)
    two_most = set(nfbl.nfbl.value_counts().index[:2])
    assert two_most == {"N5", "N9"}, "as in the paper's Figure 4"


def test_won_or_lost_shows_in_every_channel_and_in_none_for_sure(talks):
    won = [talk.won for talk in talks]
    words = [
        sum((t.text in interviews.PLEASED) - (t.text in interviews.DISPLEASED) for t in talk.turns) for talk in talks
    ]
    protects = [-sum(corpus.FAMILY_OF[act.nfbl] != "object" for act in talk.nfbl) for talk in talks]
    loud = [np.sqrt(np.mean(talk.waveform**2)) for talk in talks]
    smiles = [interviews.face_units(t, 14 * 16, 16, np.random.default_rng(0))[:, 0].mean() for t in talks]
    for channel in (words, protects, loud, smiles):
        assert 0.62 < auc(channel, won) < 0.999


def test_longer_watching_tells_more(talks):
    """The planted reason for the supplement's Table 1: an answer's mood varies around the player's."""
    answers = [[turn.mood for turn in talk.turns if turn.speaker == "player"] for talk in talks]
    players = [talk.mood for talk in talks]
    first, mean = (
        np.corrcoef(players, heard)[0, 1] for heard in ([a[0] for a in answers], list(map(np.mean, answers)))
    )
    assert first + 0.03 < mean < 0.99


def test_turns_and_intervals_stay_in_their_time(talks):
    for talk in talks:
        starts, ends = np.array([turn[:2] for turn in talk.turns]).T
        assert (ends > starts).all() and (starts[1:] >= ends[:-1]).all() and ends[-1] <= 14
        acts = pd.DataFrame(talk.nfbl, columns=["start", "end", "nfbl"])
        assert (acts.end > acts.start).all() and (acts.end < 14).all() and set(acts.nfbl) <= set(corpus.NFBL)


def test_speech_is_where_the_transcript_says(talks):
    for talk in talks[:5]:
        spoken = np.zeros(len(talk.waveform), bool)
        for turn in talk.turns:
            spoken[int(turn.start_s * 16_000) : int(turn.end_s * 16_000)] = True
        energy = talk.waveform**2
        assert energy[spoken].mean() > 300 * energy[~spoken].mean()


def test_vocal_tracts_make_other_speakers():
    waves = []
    for tract in (1.0, 1.09):
        talk = interviews.interview(True, 8, interviews.Voice("m3", tract), np.random.default_rng(3))
        answer = next(turn for turn in talk.turns if turn.speaker == "player")
        waves.append(talk.waveform[int(answer.start_s * 16e3) : int(answer.end_s * 16e3)])
    centroids = [librosa.feature.spectral_centroid(y=wave, sr=16_000).mean() for wave in waves]
    assert len(waves[1]) > 1.05 * len(waves[0]) and centroids[1] < centroids[0]


def test_hands_are_where_the_body_language_says():
    """A hand on the mouth changes the picture there; at rest it does not."""
    person = morphs.subject("one", np.random.default_rng(1))
    sitter = studio.Sitter(person, np.random.default_rng(2), (640, 360))
    pose = sitter.pose(np.array([320.0, 130.0]), 0, 0, 1)
    frames = {}
    for code in (None, *corpus.NFBL):
        frames[code] = np.full((360, 640, 3), 90, np.uint8)
        sitter.draw(frames[code], pose, None, code and (code, 1.0, 0.1))
    for code, targets in studio.ON_HEAD.items():
        for target in targets:
            x, y = np.round(pose @ (*target, 1)).astype(int)
            patch = slice(y - 6, y + 7), slice(x - 6, x + 7)
            assert np.abs(frames[code][patch].astype(int) - frames[None][patch]).mean() > 4, code
    assert all((frames[code] != frames[None]).any() for code in corpus.NFBL), "every class can be seen"


def test_faces_are_found_but_for_hidden_and_absent_ones(eald_root):
    table = corpus.load(eald_root)
    found = [faces.landmarks(frame) is not None for path in table.media for frame in media.read_frames(path, 8)]
    assert np.mean(found) > 0.7


@pytest.mark.parametrize("wrong", [{"count": 6}, {"count": 0}, {"count": 400}, {"longest_s": 2}, {"long_s": 1}])
def test_recipes_that_make_no_corpus(tmp_path, wrong):
    with pytest.raises(InputError):
        eald.build(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())
