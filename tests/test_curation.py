"""Clips described three times, what becomes of them, and how well that did where the truth is planted."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import precision_recall_fscore_support

from reaffect import media, mllm
from reaffect.curation import people, pipeline, tracklets
from reaffect.curation.checking import filter_scores, found_foreign, score_correlation, with_foreign
from reaffect.curation.consistency import annotate
from reaffect.curation.hearing import listen
from reaffect.curation.pipeline import Models, Prompts, describe, problem_counts
from reaffect.curation.scenes import describe_scenes
from reaffect.curation.selection import compare_annotations, draw, score_counts, self_reviewed, sizes
from reaffect.curation.tracklets import Faces, Tracklet
from reaffect.errors import InputError
from reaffect.judge import Lexicon
from reaffect.store import Store

FPS, RATE = 10, 16_000


def video(file, seconds, *, sound=True, shade=120):
    """A grey clip."""
    frames = np.full((round(seconds * FPS), 48, 64, 3), shade, np.uint8)
    wave = 0.1 * np.sin(np.arange(round(seconds * RATE)) / 9)
    return str(media.write_video(file, frames, FPS, *((wave, RATE) if sound else ())))


class Seer:
    """Tells from a table, by a word in the file's name, and keeps what it was asked."""

    def __init__(self, **texts) -> None:
        self.texts, self.problems, self.asked, self.prompts = texts, {}, [], []

    def describe(self, clips, prompt, *, frames, max_new_tokens, batch_size):
        self.asked.append((list(clips), frames, batch_size))
        self.prompts.append(prompt)
        texts = [next((text for word, text in self.texts.items() if word in clip), None) for clip in clips]
        self.problems |= {clip: "cannot be seen" for clip, text in zip(clips, texts, strict=True) if text is None}
        return pd.DataFrame({"text": texts}, index=pd.Index(clips, name="clip"))


class Listener:
    """Answers by a word in the question."""

    def __init__(self, deaf=()) -> None:
        self.problems, self.asked, self.deaf, self.prompts = {}, [], deaf, []

    def describe(self, asked, question, *, video, max_new_tokens, batch_size):
        self.asked += [one.clip for one in asked]
        self.prompts.append(question)
        assert video is False
        self.problems |= {one.clip: "silence" for one in asked if one.clip in self.deaf}
        text = "A sad voice." if "emotion" in question else "Someone speaks."
        return pd.DataFrame({"text": [None if one.clip in self.deaf else text for one in asked]})


def transcripts(clips):
    return dict.fromkeys(clips, "I lost it.")


# ---- scenes


def test_scenes_are_shown_at_one_frame_a_second_clips_of_a_length_together(tmp_path):
    lengths = {"a": 3.0, "b": 1.2, "c": 3.4, "d": 0.4}
    clips = [video(tmp_path / f"{name}.mp4", seconds) for name, seconds in lengths.items()]
    seer = Seer(mp4="A wall.")
    table = describe_scenes(seer, clips, batch_size=5)
    assert table["clip"].tolist() == clips and table.frames.tolist() == [3, 1, 3, 1]
    assert seer.asked == [([clips[1], clips[3]], 1, 5), ([clips[0], clips[2]], 3, 5)]
    assert table.text.tolist() == ["A wall."] * 4 and table.attrs["problems"] == {}
    assert describe_scenes(seer, clips, fps=2.5).frames.tolist() == [8, 3, 8, 1]


def test_a_clip_that_cannot_be_read_has_no_scene_and_is_listed(tmp_path):
    good, damaged, unseen = video(tmp_path / "good.mp4", 1), tmp_path / "damaged.mp4", video(tmp_path / "odd.mp4", 1)
    damaged.write_bytes(b"nothing")
    table = describe_scenes(Seer(good="A wall."), [str(damaged), good, unseen])
    assert table.text.isna().tolist() == [True, False, True] and table.frames.tolist() == [0, 1, 1]
    assert set(table.attrs["problems"]) == {str(damaged), unseen}


def test_a_folder_of_frames_does_not_tell_how_many_are_a_second(tmp_path):
    folder = tmp_path / "0010"
    folder.mkdir()
    cv2.imwrite(str(folder / "1.png"), np.zeros((8, 8, 3), np.uint8))
    table = describe_scenes(Seer(), [str(folder)])
    assert table.text.isna().all() and "do not tell when" in table.attrs["problems"][str(folder)]


def test_no_frames_a_second_are_refused():
    with pytest.raises(InputError, match="fps"):
        describe_scenes(Seer(), [], fps=0)


# ---- hearing


def test_who_has_no_sound_is_not_listened_to(tmp_path):
    heard, mute = video(tmp_path / "heard.mp4", 1), video(tmp_path / "mute.mp4", 1, sound=False)
    listener = Listener()
    table = listen(transcripts, listener, [mute, heard])
    assert listener.asked == [heard] * 2
    assert table.loc[1, ["transcript", "caption", "vocal_emotion"]].tolist() == [
        "I lost it.",
        "Someone speaks.",
        "A sad voice.",
    ]
    assert table.loc[0, ["transcript", "caption", "vocal_emotion"]].isna().all()
    assert list(table.attrs["problems"]) == [mute] and "no sound" in table.attrs["problems"][mute]


def test_a_track_of_silence_is_listed_and_keeps_its_transcript(tmp_path):
    silent = video(tmp_path / "silent.mp4", 1)
    table = listen(lambda clips: dict.fromkeys(clips, ""), Listener(deaf=[silent]), [silent])
    assert table.transcript.tolist() == [""] and table.caption.isna().all()
    assert table.attrs["problems"] == {silent: "silence"}


def test_a_damaged_sound_track_does_not_take_the_others_with_it(tmp_path):
    clips = [video(tmp_path / f"{name}.mp4", 1) for name in ("one", "bad", "two")]

    def transcriber(asked):
        if any("bad" in clip for clip in asked):
            raise InputError("bad.mp4: damaged")
        return transcripts(asked)

    table = listen(transcriber, Listener(), clips)
    assert table.transcript.isna().tolist() == [False, True, False]
    assert table.attrs["problems"] == {clips[1]: "bad.mp4: damaged"}


def test_an_omni_modal_model_is_asked_with_its_ears_open(tmp_path):
    class Omni(mllm.VideoMLLM):
        def __init__(self) -> None:
            self.problems, self.options = {}, []

        def describe(self, clips, prompt, **options):
            self.options.append(options)
            return pd.DataFrame({"text": ["A hum."] * len(clips)})

    omni, clip = Omni(), video(tmp_path / "clip.mp4", 1)
    assert listen(transcripts, omni, [clip], batch_size=3).caption.tolist() == ["A hum."]
    assert all(options["audio"] is True and options["batch_size"] == 3 for options in omni.options)


# ---- together


@pytest.fixture
def described(tmp_path, monkeypatch):
    """Three clips: one with everything, one without face and sound, one damaged; faces by rote."""
    whole, bare = video(tmp_path / "whole.mp4", 2), video(tmp_path / "bare.mp4", 2, sound=False)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"nothing")
    face = Tracklet(0, np.tile([10.0, 10, 40, 40], (20, 1)), 1.0)

    def find(clip, search):
        media.probe(clip)
        return Faces([face] if "whole" in clip else [], 20, FPS)

    monkeypatch.setattr(tracklets, "find", find)
    table = pd.DataFrame(
        {
            "corpus": "dfew",
            "clip": ["1", "2", "3"],
            "media": [whole, bare, str(damaged)],
            "coarse": ["sadness", "happiness", "anger"],
        },
        index=[4, 5, 6],
    )
    seer = Seer(**{"close-ups": "A sad face.", "whole": "A happy feast.", "bare": "A happy crowd."})
    listener = Listener()
    models = Models(seer, transcripts, listener)
    prompts = Prompts("The scene?", "The face?", "What do you hear?", "Which emotion?")
    return describe(table, models, prompts=prompts, store=Store(tmp_path / "store"), batch_size=7), seer, table, models


def test_every_clip_is_described_three_times_or_listed(described):
    found = described[0]
    clips = found.clips
    assert clips.index.tolist() == [4, 5, 6] and clips["clip"].tolist() == ["1", "2", "3"]
    assert clips.scene.fillna("-").tolist() == ["A happy feast.", "A happy crowd.", "-"]
    assert clips.face[4].endswith("seen from 0.0 to 2.0 s): A sad face.") and clips.face[5:].isna().all()
    assert clips.audio[4] == 'Someone speaks. A sad voice. What is said: "I lost it."' and clips.audio[5:].isna().all()
    listed = found.problems.groupby("clip").step.agg(set).to_dict()
    assert listed == {"2": {"people", "audio"}, "3": {"scene", "faces", "audio"}}
    assert problem_counts(found.problems).to_dict() == {"scene": 1, "faces": 1, "people": 1, "audio": 2}
    assert found.people.attrs["counts"][people.NOT_ESTIMATED] == 1


def test_what_is_described_can_be_judged(described):
    annotated = annotate(Lexicon(), described[0].clips)
    assert annotated.dropped.tolist() == [["scene"], [], []]
    assert annotated.labels.tolist() == [["sad"], ["happy"], None]
    assert annotated.score.tolist()[:2] == [10, 10] and np.isnan(annotated.score[6])
    assert self_reviewed(annotated)["clip"].tolist() == ["1", "2"]


def test_prompts_and_batches_reach_the_models(described):
    _, seer, _, models = described
    assert {size for _, _, size in seer.asked} == {7}
    assert seer.prompts == ["The scene?", "The face?"]
    assert models.listener.prompts == ["What do you hear?", "Which emotion?"]


def test_a_table_with_a_video_twice_or_without_a_column_is_refused(described):
    _, _, table, models = described
    with pytest.raises(InputError, match="twice"):
        describe(pd.concat([table, table]), models)
    with pytest.raises(InputError, match="'coarse'"):
        describe(table.drop(columns="coarse"), models)
    assert set(pipeline.COLUMNS) <= set(table)


# ---- selection


def annotated(scores, corpora="dfew"):
    names = [f"{place:03d}" for place in range(len(scores))]
    return pd.DataFrame({"corpus": corpora, "clip": names, "coarse": "anger", "score": scores})


def test_what_scores_below_five_or_not_at_all_is_no_self_reviewed_sample():
    table = self_reviewed(annotated([4.9, 5.0, 10.0, np.nan, 0.0]))
    assert table["clip"].tolist() == ["001", "002"]
    assert table.attrs["counts"] == {"left out": 0, "taken": 0, "no score": 1, "below": 2}


def test_studio_recordings_and_clips_for_people_are_left_out():
    table = annotated([9.0, 9.0, 9.0, 1.0], ["ravdess", "dfew", "dfew", "dfew"])
    reviewed = self_reviewed(table, taken=["001", "000"])
    assert reviewed["clip"].tolist() == ["002"]
    assert reviewed.attrs["counts"] == {"left out": 1, "taken": 1, "no score": 0, "below": 1}


@settings(max_examples=30)
@given(st.lists(st.floats(0, 10) | st.just(np.nan), min_size=1), st.floats(0, 10))
def test_every_clip_is_kept_or_counted_once(scores, threshold):
    table = self_reviewed(annotated(scores), threshold=threshold)
    assert len(table) + sum(table.attrs["counts"].values()) == len(scores)
    assert (table.score >= threshold).all()


pools = st.lists(st.tuples(st.sampled_from(["dfew", "mafw"]), st.sampled_from("abc")), min_size=2, max_size=60)


@settings(max_examples=30)
@given(pools, st.integers(1, 12), st.integers(0, 9), st.randoms(use_true_random=False))
def test_a_draw_has_as_many_of_each_corpus_with_the_labels_shares(pool, each, seed, random):
    table = pd.DataFrame(pool, columns=["corpus", "coarse"]).assign(clip=[f"{k:03d}" for k in range(len(pool))])
    sizes_there = table.corpus.value_counts()
    if sizes_there.min() < each:
        with pytest.raises(InputError, match="to draw"):
            draw(table, each, seed=seed)
        return
    drawn = draw(table, each, seed=seed)
    assert drawn.corpus.value_counts().to_dict() == dict.fromkeys(sizes_there.index, each)
    assert drawn["clip"].is_unique and set(drawn["clip"]) <= set(table["clip"])
    shares = pd.crosstab(table.corpus, table.coarse, normalize="index") * each
    told = pd.crosstab(drawn.corpus, drawn.coarse).reindex_like(shares).fillna(0)
    assert (told - shares).abs().max(axis=None) < 1
    order = list(table.index)
    random.shuffle(order)
    pd.testing.assert_frame_equal(draw(table.loc[order].reset_index(drop=True), each, seed=seed), drawn)


def test_a_draw_does_not_depend_on_other_corpora_and_does_on_the_seed():
    table = annotated([1.0] * 200, ["dfew", "mafw"] * 100)
    own = table[table.corpus == "mafw"]
    together = draw(table, 20)
    pd.testing.assert_frame_equal(
        together[together.corpus == "mafw"].reset_index(drop=True), draw(own, 20).reset_index(drop=True)
    )
    assert draw(own, 20, seed=1)["clip"].tolist() != draw(own, 20)["clip"].tolist()


def test_what_is_taken_is_not_drawn():
    table = annotated([5.0] * 30)
    sre = table["clip"][:12].tolist()
    assert not set(draw(table, 18, taken=sre)["clip"]) & set(sre)
    with pytest.raises(InputError, match="dfew: 18 clips to draw 19 from"):
        draw(table, 19, taken=sre)


def test_figures_count_every_score_and_every_corpus():
    table = annotated([0, 10, 10, 4.5, np.nan], ["dfew", "dfew", "mafw", "mafw", "mafw"])
    counts = score_counts(table)
    assert counts.index.tolist() == list(range(11)) and counts.to_numpy().sum() == 4
    assert counts.dfew[[0, 10]].tolist() == [1, 1] and counts.mafw[[4, 10]].tolist() == [1, 1]
    assert sizes(table).to_dict() == {"mafw": 3, "dfew": 2}


def test_annotations_are_compared_in_numbers():
    ours = pd.DataFrame({"reason": ["one two", "one two three four"], "labels": [["a", "b"], ["a"]]})
    row = compare_annotations({"SRE": ours, "other": ours[:1]}).loc["SRE"]
    assert row.to_dict() == {"samples": 2, "words": 3, "labels": 1.5, "distinct labels": 2}


# ---- checking


def moods():
    """Twenty clips whose three descriptions all tell their label; one has a single description."""
    labels = ["happy", "sad"] * 10
    table = pd.DataFrame({"clip": [str(k) for k in range(20)], "coarse": labels})
    for source in ("scene", "face", "audio"):
        table[source] = [f"{source} {k}: they look {label}." for k, label in enumerate(labels)]
    table.loc[0, ["scene", "audio"]] = None
    return table


def test_a_foreign_description_is_of_another_label_and_the_rest_stays():
    table = moods()
    planted = with_foreign(table, 0.5, seed=3)
    assert planted.foreign.notna().sum() == 10 and pd.isna(planted.foreign[0])
    changed = planted[["scene", "face", "audio"]].fillna("") != table[["scene", "face", "audio"]].fillna("")
    for place, row in changed.iterrows():
        assert list(row.index[row]) == planted.foreign.iloc[[place]].dropna().tolist()
        for source in row.index[row]:
            assert planted[source][place].startswith(source) and table.coarse[place] not in planted[source][place]
    pd.testing.assert_frame_equal(planted, with_foreign(table, 0.5, seed=3))


def test_the_lexicon_finds_what_was_planted_in_three_clear_descriptions():
    found = found_foreign(annotate(Lexicon(), with_foreign(moods(), 0.5)))
    assert len(found) == 19 * 3 + 1 and found.truth.sum() == 10
    assert filter_scores(found.truth, list(found.dropped), list(found["clip"])).value.tolist() == [1, 1, 1]


def test_where_the_judge_could_not_be_read_nothing_is_found():
    annotated = with_foreign(moods(), 0.5).assign(dropped=[None] * 20)
    assert set(found_foreign(annotated).dropped) == {None}


def test_contradictions_need_clips_that_can_hold_them():
    with pytest.raises(InputError, match="20 clips are to get"):
        with_foreign(moods(), 1.0)
    with pytest.raises(InputError, match="No clip but those of 'sad'"):
        with_foreign(moods().assign(coarse="sad"), 0.5)


def test_the_filters_scores_are_sklearns():
    rng = np.random.default_rng(0)
    truth, dropped = rng.random(120) < 0.4, rng.random(120) < 0.5
    table = filter_scores(truth, list(dropped), [f"{k // 3}" for k in range(120)])
    expected = precision_recall_fscore_support(truth, dropped, average="binary")[:3]
    assert np.allclose(table.value, expected)
    assert (table.low < table.value).all() and (table.value < table.high).all()


def test_a_perfect_filter_is_perfect_and_an_unread_answer_finds_nothing():
    truth = [True, False] * 20
    clips = [str(k) for k in range(40)]
    assert filter_scores(truth, truth, clips).loc["f1"].tolist() == [1, 1, 1]
    unread = filter_scores(truth, [None, *truth[1:]], clips)
    assert unread.value["recall"] == 0.95 and unread.value["precision"] == 1 and unread.attrs["unread"] == 1


def test_clips_are_drawn_whole():
    truth, dropped = [True, True, False, False], [True, True, False, False]
    with pytest.raises(InputError, match="at least two"):
        filter_scores(truth, dropped, ["a"] * 4)
    with pytest.raises(InputError, match="triples"):
        filter_scores(truth, dropped, ["a"] * 3)


def test_score_and_truth_correlate_as_scipy_says():
    rng = np.random.default_rng(0)
    truth = rng.random(60)
    scores = np.round(10 * np.clip(truth + rng.normal(0, 0.3, 60), 0, 1))
    scores[:5] = np.nan
    found = score_correlation(truth, scores, [str(k) for k in range(60)], resamples=200)
    assert found.value == pytest.approx(stats.spearmanr(truth[5:], scores[5:]).statistic)
    assert found.interval.low < found.value < found.interval.high
    assert (found.clips, found.without_score) == (55, 5)


def test_a_score_in_the_order_of_the_truth_correlates_fully_and_a_constant_one_not():
    truth, clips = np.arange(20.0), [str(k) for k in range(20)]
    assert score_correlation(truth, truth**3, clips, resamples=50) == (pytest.approx(1), pytest.approx((1, 1)), 20, 0)
    assert score_correlation(truth, np.full(20, 7.0), clips, resamples=50).value == 0


def test_truth_must_be_known():
    with pytest.raises(InputError, match="NaN"):
        score_correlation(np.array([np.nan, 1.0]), np.array([1.0, 2.0]), ["a", "b"])
