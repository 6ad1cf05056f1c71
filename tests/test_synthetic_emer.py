"""The embedded EMER: what was planted is in the files, and is found there by those who did not plant it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from reaffect import faces, media
from reaffect.corpora import emer
from reaffect.errors import InputError
from reaffect.judge.lexicon import found_labels, wheel_group
from reaffect.synthetic import dialogues, speech
from reaffect.synthetic import emer as builder


@pytest.fixture(scope="module")
def planted(emer_root):
    return json.loads((emer_root / "planted.json").read_text())["clips"]


def test_the_adapter_reads_it(emer_root, planted):
    table = emer.load(emer_root)
    assert table.attrs["version"] == "v2" and table.attrs["labels_known"]
    assert list(table["clip"]) == list(planted)
    assert (table.subtitle != "").all() and (table.text != "").all()
    assert (emer.load(emer_root, language="chinese").text.str.contains("。")).all()
    for row in table.itertuples():
        assert row.subtitle == " ".join(one["text"] for one in planted[row.clip]["utterances"])


def test_parts_have_the_same_share_of_each_carrier(emer_root, planted):
    table = emer.split(emer.load(emer_root), emer_root / "split.csv")
    carrier = table["clip"].map(lambda clip: planted[clip]["carrier"])
    counts = pd.crosstab(table.split, carrier)
    assert (counts.nunique(axis=1) == 1).all()
    assert counts.shape == (3, 4)
    assert counts.iloc[:, 0].to_dict() == {"devel": 1, "test": 6, "train": 4}


def test_clips_have_the_asked_length_and_changing_emotion(emer_root, planted):
    for row in emer.load(emer_root).itertuples():
        probe = media.probe(row.media)
        assert 6 <= probe.duration_s <= 15 and probe.has_audio
        utterances = planted[row.clip]["utterances"]
        assert 2 <= len(utterances) <= 4
        assert len({one["emotion"] for one in utterances}) > 1
        times = [time for one in utterances for time in (one["start_s"], one["end_s"])]
        assert times == sorted(times) and times[-1] < probe.duration_s


def test_descriptions_name_the_labels_and_no_others(emer_root):
    for row in emer.load(emer_root).itertuples():
        assert sorted(found_labels(row.text)) == sorted(row.labels)


@pytest.mark.parametrize("emotion", dialogues.LABELS)
def test_the_words_for_an_emotion_are_one_group(emotion):
    own = {wheel_group(label) for label in dialogues.LABELS[emotion]}
    others = {wheel_group(label) for name, words in dialogues.LABELS.items() if name != emotion for label in words}
    assert len(own) == 1 and not own & others


def test_the_mesh_sees_what_moves_and_when(emer_root, planted):
    """MediaPipe's brows and mouth corners, in frames inside of a planted motion against the clip's others."""
    moved = []
    for row in emer.load(emer_root).itertuples():
        for motion in planted[row.clip]["motions"]:
            probe = media.probe(row.media)
            frames = media.read_frames(row.media, probe.frames)
            times = np.arange(probe.frames) / probe.fps
            inside = (times > motion["start_s"] + 0.2) & (times < motion["end_s"] - 0.2)
            shown = [faces.landmarks(frames[place]) for place in np.flatnonzero(inside)[:3]]
            rest = [faces.landmarks(frames[place]) for place in (0, len(frames) - 1)]
            change = np.mean([_measure(p, motion["unit"]) for p in shown]) - np.mean(
                [_measure(p, motion["unit"]) for p in rest]
            )
            moved.append(change > 0)
    assert np.mean(moved) > 0.9


def _measure(points: np.ndarray, unit: str) -> float:
    """How far brows are above the eyes, or mouth corners above the lips' middle, in eye distances; signed by unit."""
    apart = np.linalg.norm(points[33] - points[263])
    brows = (points[[159, 386], 1].mean() - points[[105, 334], 1].mean()) / apart
    corners = (points[[13, 14], 1].mean() - points[[61, 291], 1].mean()) / apart
    return {"smile": corners, "frown": -corners, "brow_raise": brows, "brow_lower": -brows}[unit]


def test_clips_carried_by_voice_or_words_show_nothing(planted):
    assert all(bool(clip["motions"]) == (clip["carrier"] in dialogues.SEEN) for clip in planted.values())


def test_a_local_clue_is_short_and_lies_within_its_utterance(planted):
    for clip in planted.values():
        if clip["carrier"] != "local":
            continue
        [motion] = clip["motions"]
        assert motion["end_s"] - motion["start_s"] < 1
        assert any(
            one["start_s"] <= motion["start_s"] and motion["end_s"] <= one["end_s"]
            for one in clip["utterances"]
            if one["emotion"] != "calm"
        )


def test_words_are_spoken_when_it_is_said(planted):
    """Each word begins where the one before ends, inside of its utterance."""
    for clip in planted.values():
        for one in clip["utterances"]:
            assert " ".join(word[0] for word in one["words"]) == one["text"]
            starts, ends = np.array([word[1:] for word in one["words"]]).T
            assert (starts[1:] == ends[:-1]).all() and (starts < ends).all()
            assert starts[0] >= one["start_s"] and ends[-1] <= one["end_s"] + 1e-3


def test_a_pause_is_heard_where_a_comma_is_written():
    """The word before a comma ends later than its sound: eSpeak's own times, against the loudness of the sound."""
    said = speech.spoken("stop, go", speech.prosody(0.5), voice="m1")
    first, second = said.words
    level = np.abs(said.waveform)
    loud = np.flatnonzero(level > 0.1 * level.max()) / 16_000
    gap = loud[np.argmax(np.diff(loud))], loud[np.argmax(np.diff(loud)) + 1]
    assert first.start_s < gap[0] < second.start_s <= gap[1] + 0.05


def test_the_same_recipe_gives_the_same_bytes(tmp_path, emer_root):
    name = "sample_00000001.mp4"
    builder.film(builder.Shot(tmp_path / name, 1, dialogues.CARRIERS[1], builder.Recipe.seed))
    assert (tmp_path / name).read_bytes() == (emer_root / "mp4" / name).read_bytes()


def test_a_second_build_does_nothing(emer_root, monkeypatch):
    monkeypatch.setattr(builder.building, "film_all", lambda *_: pytest.fail("filmed again"))
    assert builder.build(emer_root.parent, count=44) == emer_root


def test_a_count_that_cannot_be_shared_is_refused(tmp_path):
    with pytest.raises(InputError, match="multiple of 44"):
        builder.build(tmp_path, count=30)
