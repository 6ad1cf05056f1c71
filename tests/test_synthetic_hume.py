"""The embedded Hume-Reaction: planted reactions, voices, and the build."""

from __future__ import annotations

import json

import librosa
import numpy as np
import pytest
from scipy.stats import spearmanr

from mesh_geometry import faces_found, measure
from reaffect import media
from reaffect.corpora import hume as corpus
from reaffect.errors import InputError
from reaffect.metrics import mean_pearson, pearson
from reaffect.synthetic import building, hume, reactions, speech


@pytest.fixture(scope="module")
def many() -> reactions.Reactions:
    return reactions.sample(20_000, np.random.default_rng(1))


def test_reports_have_table_2s_moments(many):
    np.testing.assert_allclose(many.reported.mean(0), reactions.TABLE_2[:, 0], atol=0.01)
    np.testing.assert_allclose(many.reported.std(0), reactions.TABLE_2[:, 1], atol=0.01)


def test_reports_have_figure_1s_two_peaks(many):
    tenths = np.stack([np.histogram(column, 10, (0, 1))[0] for column in many.reported.T])
    inner = tenths[:, 1:-1].max(1)
    assert (tenths[:, 0] > inner).all() and (tenths[:, -1] > tenths[:, -2]).all()
    higher_at_one = {e for e, row in zip(corpus.EMOTIONS, tenths, strict=True) if row[-1] > row[0]}
    assert higher_at_one == {"amusement", "surprise"}


def test_the_ceiling_is_what_the_best_predictor_reaches(many):
    stated = reactions.ceiling()
    reached = pearson(many.reported, many.expressed)
    np.testing.assert_allclose([stated[e] for e in corpus.EMOTIONS], reached, atol=0.015)
    assert stated["mean"] == pytest.approx(0.6, abs=0.02)


def test_no_predictor_from_what_is_shown_beats_the_ceiling_and_one_comes_near(many):
    shown = np.column_stack([many.units, many.arousal, many.valence])
    features = np.column_stack([shown, shown**2, np.ones(len(shown))])
    half = len(features) // 2
    weights = np.linalg.lstsq(features[:half], many.reported[:half], rcond=None)[0]
    score = mean_pearson(many.reported[half:], features[half:] @ weights)
    assert 0.5 < score < reactions.ceiling()["mean"] + 0.01
    face_only = np.linalg.lstsq(shown[:half, :5], many.reported[:half], rcond=None)[0]
    assert mean_pearson(many.reported[half:], shown[half:, :5] @ face_only) < score


def test_expressions_rise_hold_and_fall():
    for seed in range(20):
        curve = reactions.curves(np.array([1.0, 0.5, 0.0, 0.8, 0.2]), 48, 12, np.random.default_rng(seed))
        assert curve.shape == (48, 5) and curve.min() >= 0 and curve.max() <= 1
        assert (curve[0] <= 0.6 * curve.max(0) + 1e-9).all(), "begins before its apex"
        assert (np.mean(curve > 0.85 * curve.max(0), axis=0)[[0, 1, 3, 4]] >= 0.4).all(), "holds"
        assert (curve[:, 2] == 0).all()


@pytest.mark.parametrize("voice", ["f1", "m3"])
def test_arousal_is_heard_in_pitch_and_energy(voice):
    levels = np.linspace(0, 1, 9)
    waves = [speech.say("so that is how it ends", speech.prosody(level), voice=voice) for level in levels]
    pitch = [np.nanmedian(librosa.pyin(wave, fmin=60, fmax=500, sr=16_000)[0]) for wave in waves]
    energy = [np.sqrt(np.mean(wave**2)) for wave in waves]
    assert spearmanr(levels, pitch).statistic > 0.7
    assert spearmanr(levels, energy).statistic > 0.9
    assert spearmanr(levels, [len(wave) for wave in waves]).statistic < -0.9, "faster speech is shorter"


def test_a_voice_repeats_itself_exactly_whatever_was_said_before():
    first = speech.reaction(0.4, 0.6, 3.0, np.random.default_rng(2))
    speech.say("what is this about", speech.prosody(0.9), voice="m1")
    speech._synthesised.cache_clear()  # or it would be remembered, not spoken again
    np.testing.assert_array_equal(first, speech.reaction(0.4, 0.6, 3.0, np.random.default_rng(2)))
    assert first.shape == (48_000,) and first.dtype == np.float32 and np.abs(first).max() <= 1


def test_planted_values_and_official_files_agree(hume_full):
    for name in ("hume", "hume_unseen"):
        table = corpus.load(hume_full / name)
        planted = json.loads((hume_full / name / "planted.json").read_text())
        labelled = table[table.split != "test"]
        reported = np.array([planted["clips"][clip]["reported"] for clip in labelled["clip"]])
        np.testing.assert_allclose(labelled[list(corpus.EMOTIONS)], reported, atol=1e-4)
        assert planted["ceiling"]["mean"] == pytest.approx(0.6, abs=0.02)
        assert set(table.subject) == set(planted["subjects"])


def test_splits_share_no_person_and_the_second_devel_set_no_source(hume_full):
    table = corpus.load(hume_full / "hume")
    assert table.groupby("subject").split.nunique().max() == 1
    sources = [
        {
            source
            for person in json.loads((hume_full / name / "planted.json").read_text())["subjects"].values()
            for source in person["texture"]
        }
        for name in ("hume", "hume_unseen")
    ]
    assert not sources[0] & sources[1]


def test_clips_are_video_with_sound(hume_full):
    facts = media.probe(hume_full / "hume" / "mp4" / "00001.mp4")
    assert (facts.width, facts.height, facts.fps, facts.has_audio) == (320, 240, 12, True)
    assert 3 <= facts.duration_s <= 5.1
    wave = media.read_waveform(hume_full / "hume" / "mp4" / "00001.mp4")
    assert len(wave) / 16_000 == pytest.approx(facts.duration_s, abs=0.15)
    assert wave.std() > 1e-3


def test_workers_and_restarts_change_nothing(tmp_path, monkeypatch):
    sizes = {"train": 2, "devel": 1, "unseen": 1, "test": 1}
    one = hume.build(tmp_path / "one", **sizes, workers=1)
    two = hume.build(tmp_path / "two", **sizes, workers=2)
    files = sorted(file.relative_to(one) for file in one.rglob("*") if file.is_file())
    assert len(files) == 5 * 3 + 6, "a video and two feature files a clip; two tables and planted.json a folder"
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files)

    lost, kept = (one / "hume" / "mp4" / name for name in ("00002.mp4", "00001.mp4"))
    lost.unlink()  # and the rest as a kill would leave it
    mark = json.loads((one / "hume" / "planted.json").read_text())["fingerprint"]
    (one / "hume" / "planted.json").unlink()
    (one / "hume" / "building").write_text(mark)
    before = kept.stat().st_mtime_ns
    hume.build(one, **sizes, workers=1)
    assert lost.read_bytes() == (two / "hume" / "mp4" / "00002.mp4").read_bytes()
    assert kept.stat().st_mtime_ns == before, "whole clips are not filmed again"

    filmed = []
    monkeypatch.setattr(building, "film_all", lambda _film, clips, *_, **__: filmed.extend(clips))
    hume.build(two, **sizes)
    assert not filmed, "nothing changed"
    hume.build(two, **sizes, seed=7)
    assert len(filmed) == 5, "another recipe begins anew"
    assert not list(two.rglob("*.mp4"))


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(InputError, match="devel is 0"):
        hume.build(tmp_path, devel=0)


def test_other_detectors_find_what_was_planted_in_the_whole_corpus(hume_full):
    """dlib's CNN finds one face in 98 % of frames; the mesh follows smile and brow within subjects."""
    table = corpus.load(hume_full / "hume")
    planted = json.loads((hume_full / "hume" / "planted.json").read_text())
    assert table.subject.nunique() >= 100
    assert table.groupby("split").size().to_dict() == {"devel": 96, "test": 48, "train": 240}
    found, followed = [], []
    for _, clips in list(table.groupby("subject"))[::10]:
        films = [media.read_frames(path, 7) for path in clips.media]
        found += [count for film in films for count in faces_found(film[3:4])]
        units = np.array([planted["clips"][clip]["units"] for clip in clips["clip"]])
        seen = np.concatenate([measure(film) for film in films])
        rise = np.concatenate(
            [_as_filmed(clip, planted, len(film)) for clip, film in zip(clips["clip"], films, strict=True)]
        )
        assert len(units) == len(films)
        followed.append(
            (
                spearmanr(rise[:, 0] - rise[:, 1], seen[:, 0]).statistic,
                spearmanr(rise[:, 2] - rise[:, 3], seen[:, 1]).statistic,
            )
        )
    assert np.mean(np.array(found) == 1) >= 0.98
    assert (np.median(followed, 0) >= 0.6).all(), followed


def _as_filmed(clip: str, planted: dict, count: int) -> np.ndarray:
    """Units (count, 5) at the frames that `media.read_frames` takes: the film's own draws, repeated."""
    seed, index = planted["recipe"]["seed"], int(clip) - 1
    rng = np.random.default_rng((seed, 0, index))
    frames = round(rng.uniform(*hume.DURATION_S) * hume.FPS)
    curve = reactions.curves(np.array(planted["clips"][clip]["units"]), frames, hume.FPS, rng)
    return curve[media.frame_indices(frames, count)]
