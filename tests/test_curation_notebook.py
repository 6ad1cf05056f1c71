"""What notebook 09 asks of the library: clips to begin with, the two sets, and checks against what was planted."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reaffect.curation import hearing
from reaffect.curation.checking import (
    by_carrier,
    carriers,
    contradictions,
    filter_table,
    right_labels,
    score_correlations,
    with_foreign_labels,
)
from reaffect.curation.clips import LOADERS, training_clips
from reaffect.curation.selection import both_sets, self_reviewed
from reaffect.errors import InputError
from reaffect.judge import Lexicon

# ---- clips


def dfew(root):
    """Ids 1 and 2 to train on, 3 to test."""
    for part, rows in {"train": "1,1\n2,4\n", "test": "3,2\n"}.items():
        file = root / f"EmoLabel_DataSplit/{part}(single-labeled)/set_1.csv"
        file.parent.mkdir(parents=True)
        file.write_text(f"video_name,label\n{rows}")
    return videos(root, "Clip/original", 3)


def mafw(root):
    """Ids 1 and 2 to train on, 3 to test."""
    for part, rows in {"train": "00001.mp4 anxiety\n00002.mp4 fear\n", "test": "00003.mp4 anger\n"}.items():
        file = root / f"split/single/no_caption/set_1/{part}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(rows)
    return videos(root, "data/clips", 3)


def videos(root, folder, count):
    (root / folder).mkdir(parents=True)
    for number in range(1, count + 1):
        (root / folder / f"{number:05d}.mp4").touch()
    return root


def afew_va(root):
    for name, valence, arousal in (("001", 3, -2), ("002", -4, 5)):
        (root / name).mkdir(parents=True)
        (root / name / "00000.png").touch()
        frame = {"valence": valence, "arousal": arousal, "landmarks": [[0, 0]] * 68}
        told = {"actor": "A", "video_id": name, "frames": {"00000": frame}}
        (root / name / f"{name}.json").write_text(json.dumps(told))
    return root


def test_training_clips_of_several_corpora_have_names_of_their_own(tmp_path):
    table = training_clips({"MAFW": mafw(tmp_path / "mafw"), "DFEW": dfew(tmp_path / "dfew")})
    assert list(zip(table["clip"], table.coarse, strict=True)) == [
        ("MAFW/1", "anxious"),
        ("MAFW/2", "fear"),
        ("DFEW/1", "happy"),
        ("DFEW/2", "angry"),
    ]
    assert table.media[2] == str(tmp_path / "dfew/Clip/original/00001.mp4")


def test_a_corpus_without_classes_is_labelled_by_the_sides_of_its_axes(tmp_path):
    table = training_clips({"AFEW-VA": afew_va(tmp_path)})
    assert table.coarse.tolist() == ["pleasant, calm", "unpleasant, excited"]


@pytest.mark.parametrize("folders", [{}, {"dfew2": "somewhere"}])
def test_unknown_corpora_are_refused_with_the_known_names(folders):
    with pytest.raises(InputError, match=", ".join(LOADERS)):
        training_clips(folders)


def test_a_listener_is_one_model_that_hears(monkeypatch):
    with pytest.raises(InputError, match="name one model"):
        hearing.load_listener(["one", "two"])
    deaf = type("Deaf", (), {"takes_audio": False})()
    monkeypatch.setattr(hearing.mllm, "load", lambda model: deaf)
    with pytest.raises(InputError, match="cannot hear"):
        hearing.load_listener(["one"])
    deaf.takes_audio = True
    assert hearing.load_listener(["one"]) is deaf


# ---- the two sets


@pytest.fixture
def annotated():
    """Ten clips of each of three corpora, scores 0 to 9; one has no reason."""
    corpora = ["DFEW", "MAFW", "RAVDESS"]
    table = pd.DataFrame([{"corpus": corpus, "score": float(k)} for corpus in corpora for k in range(10)])
    names = [f"{row.corpus}/{k}" for k, row in enumerate(table.itertuples())]
    table = table.assign(clip=names, coarse=["sad", "happy"] * 15, reason="He smiles.")
    table.loc[0, "reason"] = None
    return table


def test_sets_that_are_apart_share_no_clip(annotated):
    sre, hre = both_sets(annotated, ["DFEW", "MAFW"], 4, without=["ravdess"])
    assert hre.corpus.value_counts().to_dict() == {"DFEW": 4, "MAFW": 4}
    assert not set(sre["clip"]) & set(hre["clip"]) and annotated["clip"][0] not in set(hre["clip"])
    left = annotated[~annotated["clip"].isin(hre["clip"]) & (annotated.corpus != "RAVDESS") & (annotated.score >= 5)]
    assert sre["clip"].tolist() == left["clip"].tolist()
    assert sre.attrs["counts"]["left out"] == 10 and sre.attrs["counts"]["taken"] == 8


def test_or_what_people_review_is_self_reviewed(annotated):
    sre, hre = both_sets(annotated, ["MAFW"], 3, apart=False, threshold=6)
    assert sre["clip"].tolist() == self_reviewed(annotated, threshold=6)["clip"].tolist()
    assert set(hre["clip"]) < set(sre["clip"]) and set(hre.corpus) == {"MAFW"}


def test_too_few_clips_for_people_are_named(annotated):
    with pytest.raises(InputError, match="DFEW: fewer than 10"):
        both_sets(annotated, ["MAFW", "DFEW"], 10)
    with pytest.raises(InputError, match="CAER: fewer than 1"):
        both_sets(annotated, ["CAER"], 1, apart=False)


# ---- checks


def test_every_clip_gets_another_label_of_its_corpus(annotated):
    table = annotated.assign(coarse=["sad", "happy", "angry"] * 10)
    table.loc[table.corpus == "MAFW", "coarse"] = ["anxious", "helpless"] * 5
    both = with_foreign_labels(table, seed=1)
    own, other = both[both.own], both[~both.own]
    assert own["clip"].tolist() == other["clip"].tolist() == table["clip"].tolist()
    assert (own.coarse.to_numpy() != other.coarse.to_numpy()).all()
    assert set(other.coarse[other.corpus == "MAFW"]) == {"anxious", "helpless"}
    pd.testing.assert_frame_equal(both, with_foreign_labels(table, seed=1))
    with pytest.raises(InputError, match="no other one"):
        with_foreign_labels(table.assign(coarse="sad"))


def test_labels_are_right_by_their_groups():
    told = pd.DataFrame({"coarse": ["happy", "sad, angry", "fear"], "labels": [["glad", "proud"], ["sad"], []]})
    assert right_labels(told, {"glad": 1, "happy": 1}).tolist() == [0.75, 0.75, 0]


def test_contradictions_are_planted_anew_with_each_seed():
    labels = ["happy", "sad"] * 10
    table = pd.DataFrame({"clip": [str(k) for k in range(20)], "coarse": labels})
    for source in ("scene", "face", "audio"):
        table[source] = [f"They look {label}." for label in labels]
    found = contradictions(Lexicon(), table, 0.25, seeds=[0, 1, 2])
    assert len(found) == 3 * 60 and found.truth.sum() == 3 * 5
    assert (found.dropped == found.truth).all()
    table = filter_table({"plain": found}, seed=0).set_index(["dealt", "measure"])
    assert table.value["found"].tolist() == [1, 1, 1] and set(table["share foreign"]) == {1 / 12}
    assert table.low["shuffled", "precision"] <= 1 / 12 <= table.high["shuffled", "precision"]
    drawn = [set(part["clip"][part.truth]) for part in (found[:60], found[60:120])]
    assert drawn[0] != drawn[1]


def test_carriers_come_from_what_was_planted(tmp_path):
    file, empty = tmp_path / "planted.json", tmp_path / "empty.json"
    file.write_text(json.dumps({"clips": {"7": {"carriers": ["voice", "face"]}}}))
    empty.write_text(json.dumps({"clips": {}}))
    table = pd.DataFrame({"corpus": ["MAFW", "CAER"], "clip": ["MAFW/7", "CAER/7"]}, index=[3, 4])
    assert carriers({"MAFW": file}, table).to_dict() == {3: "voice+face", 4: "unknown"}
    with pytest.raises(InputError, match="clip '7'"):
        carriers({"MAFW": empty}, table)
    with pytest.raises(InputError, match="no such file"):
        carriers({"MAFW": tmp_path / "none.json"}, table)


def test_scores_are_worth_something_where_they_tell_labels_apart():
    rng = np.random.default_rng(0)
    clips = [str(k) for k in range(40)]
    both = pd.DataFrame({"clip": clips * 2, "own": [True] * 40 + [False] * 40})
    both["score"] = rng.integers(0, 10, 80).astype(float)
    kinds = pd.Series((["face"] * 20 + ["scene"] * 20) * 2)
    both.loc[(kinds == "face") & both.own, "score"] = 9.0
    table = by_carrier(both, kinds, threshold=5)
    assert table.clips.tolist() == [20, 20] and table["own label"]["face"] == 9 and table.stays["face"] == 1
    part = both[kinds == "scene"]
    assert table.rho["scene"] == pytest.approx(stats.spearmanr(part.own, part.score).statistic)
    assert table.low["face"] > 0.3 and table.low["scene"] < 0 < table.high["scene"]
    alone = score_correlations({"scene": (part.own, part.score, part["clip"])})
    assert alone.loc["scene", ["rho", "low", "high"]].tolist() == table.loc["scene", ["rho", "low", "high"]].tolist()
    assert alone.scores["scene"] == 40 and alone["without score"]["scene"] == 0
