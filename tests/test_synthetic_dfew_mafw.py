"""The embedded DFEW and MAFW: official layouts, folds without a shared face, and each carrier's information its own."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import cv2
import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reaffect import faces, media
from reaffect.corpora import dfew as dfew_files
from reaffect.corpora import expressions as vocabulary
from reaffect.corpora import mafw as mafw_files
from reaffect.errors import InputError
from reaffect.synthetic import building, dfew, expression_clips, expressions, mafw
from reaffect.synthetic.expressions import CARRIERS, CODES, Clip, Recipe

BUILDERS = {"dfew": dfew, "mafw": mafw}
each_corpus = pytest.mark.parametrize("corpus", BUILDERS)


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Both corpora, small, of clips cut short: how they look and sound is tested on whole ones."""
    root = tmp_path_factory.mktemp("corpora")
    with pytest.MonkeyPatch.context() as patch:
        cut_short(patch)
        return {name: builder.build(root, people=5) for name, builder in BUILDERS.items()}


def cut_short(patch: pytest.MonkeyPatch) -> list[Clip]:
    """Clips have a few frames and are filmed in this process; they are in the list that comes back."""
    filmed = []
    patch.setattr(expression_clips, "DURATION_S", (0.3, 0.5))
    patch.setattr(building, "film_all", lambda film, clips, *_, **__: [film(c) or filmed.append(c) for c in clips])
    return filmed


def planted(folder: Path) -> dict:
    return json.loads((folder / "planted.json").read_text())


def planned(corpus: str, **recipe) -> list[Clip]:
    return BUILDERS[corpus].plan(Path("nowhere"), Recipe(**recipe))


def dfew_rows(folder: Path, part: str, fold: int) -> list[list[str]]:
    with (folder / "EmoLabel_DataSplit" / f"{part}(single-labeled)" / f"set_{fold}.csv").open(newline="") as file:
        return list(csv.reader(file))


def mafw_rows(folder: Path, kind: str, captions: str, fold: int, part: str) -> list[list[str]]:
    file = folder / "split" / kind / captions / f"set_{fold}" / f"{part}.txt"
    separator = " " if captions == "no_caption" else "\t"
    return [line.split(separator) for line in file.read_text(encoding="utf-8").splitlines()]


# --- layouts -------------------------------------------------------------------------------------------------


def test_dfew_has_the_official_tables_and_a_video_for_every_row(roots):
    truth = planted(roots["dfew"])["clips"]
    names = ["happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"]
    for fold in range(1, 6):
        for part in ("train", "test"):
            header, *rows = dfew_rows(roots["dfew"], part, fold)
            assert header == ["video_name", "label"]
            for name, label in rows:
                assert (roots["dfew"] / "Clip" / "original" / f"{name}.mp4").exists()
                assert [names[int(label) - 1]] == truth[name]["classes"]


def test_mafw_has_the_official_tables_and_a_video_for_every_row(roots):
    truth = planted(roots["mafw"])["clips"]
    for kind in ("single", "compound"):
        for fold in range(1, 6):
            for part in ("train", "test"):
                bare = mafw_rows(roots["mafw"], kind, "no_caption", fold, part)
                for name, label in bare:
                    assert len(name) == len("00025.mp4") and (roots["mafw"] / "data" / "clips" / name).exists()
                    assert label.split("_") == truth[str(int(name[:5]))]["classes"]
                told = mafw_rows(roots["mafw"], kind, "with_caption", fold, part)
                assert [row[:2] for row in told] == [row for row in bare if row[1] != "neutral"]
                assert all(len(row) == 4 for row in told)


@pytest.mark.parametrize("fold", range(1, 6))
def test_the_adapters_read_what_was_planted(roots, fold):
    truth = {name: planted(folder)["clips"] for name, folder in roots.items()}
    tables = {
        "dfew": [dfew_files.load(roots["dfew"], fold)],
        "mafw": [mafw_files.load(roots["mafw"], fold, kind=kind) for kind in ("single", "compound")],
    }
    for corpus, row in [(name, row) for name, own in tables.items() for table in own for row in table.itertuples()]:
        own = truth[corpus][row.clip]
        assert row.labels == [vocabulary.class_of(name) for name in own["classes"]]
        assert row.split == ("test" if own["fold"] == fold else "train")
        if corpus == "mafw":
            assert bool(row.text) == (own["classes"] != ["neutral"])


def test_nothing_else_lies_in_the_folders(roots):
    assert {path.name for path in roots["dfew"].iterdir()} == {"Clip", "EmoLabel_DataSplit", "planted.json"}
    assert {path.name for path in roots["mafw"].iterdir()} == {"data", "split", "planted.json"}


def test_test_folds_partition_each_corpus(roots):
    names = {
        "dfew": [[row[0] for row in dfew_rows(roots["dfew"], "test", fold)[1:]] for fold in range(1, 6)],
        "single": [
            [row[0] for row in mafw_rows(roots["mafw"], "single", "no_caption", k, "test")] for k in range(1, 6)
        ],
        "compound": [
            [row[0] for row in mafw_rows(roots["mafw"], "compound", "no_caption", k, "test")] for k in range(1, 6)
        ],
    }
    for kind, count in {"dfew": 35, "single": 55, "compound": 60}.items():
        together = [name for fold in names[kind] for name in fold]
        assert len(together) == len(set(together)) == count, kind


def test_train_and_test_share_no_clip_and_no_person(roots):
    for corpus, folder in roots.items():
        truth = planted(folder)["clips"]
        for fold in range(1, 6):
            if corpus == "dfew":
                parts = [{row[0] for row in dfew_rows(folder, part, fold)[1:]} for part in ("train", "test")]
            else:
                rows = [mafw_rows(folder, "compound", "no_caption", fold, part) for part in ("train", "test")]
                parts = [{str(int(name[:5])) for name, _ in part} for part in rows]
            assert parts[0] | parts[1] == set(truth) and not parts[0] & parts[1]
            train, test = ({truth[name]["person"] for name in part} for part in parts)
            assert train and test and not train & test


def test_a_few_mafw_clips_have_no_sound_and_their_voice_carries_nothing(roots):
    clips = planned("mafw", people=5)
    heard = [media.probe(roots["mafw"] / clip.file.relative_to("nowhere")).has_audio for clip in clips]
    mute = [clip for clip, has_audio in zip(clips, heard, strict=True) if not has_audio]
    assert len(mute) == 3 and all("voice" not in clip.carriers for clip in mute)
    assert all(planted(roots["mafw"])["clips"][str(clip.number)]["words"] == "" for clip in mute)


# --- plans ---------------------------------------------------------------------------------------------------


@each_corpus
@settings(max_examples=15)
@given(trios=st.integers(1, 3), seed=st.integers(0, 99))
def test_every_fold_tests_every_class_by_every_carrier_equally_often(corpus, trios, seed):
    clips = [clip for clip in planned(corpus, people=15 * trios, seed=seed) if len(clip.classes) == 1]
    counts = Counter((clip.fold, clip.classes[0], clip.carriers[0]) for clip in clips)
    assert set(counts.values()) == {trios}
    assert len(counts) == 5 * len(BUILDERS[corpus].CLASSES) * len(CARRIERS)


@each_corpus
@settings(max_examples=15)
@given(uninformative=st.sets(st.sampled_from(CARRIERS)))
def test_the_ceiling_rises_with_each_informative_carrier_and_with_no_other(corpus, uninformative):
    """Neutral clips are all right, of each other class the third that each informative carrier shows."""
    clips = planned(corpus, uninformative=tuple(uninformative))
    classes = len(BUILDERS[corpus].CLASSES)
    for name, found in expressions.ceiling(clips).items():
        known = len(set(name.split("+")) - uninformative)
        assert found == pytest.approx((1 + (classes - 1) * known / 3) / classes)


@each_corpus
def test_a_class_is_shown_by_its_carrier_and_by_nothing_else(corpus):
    for clip in planned(corpus):
        by = dict(zip(clip.carriers, clip.classes, strict=True))
        assert clip.shown == tuple(by.get(carrier, "neutral") for carrier in CARRIERS)
        assert len(by) == len(clip.classes)


@each_corpus
def test_without_a_carrier_only_what_it_showed_changes(corpus):
    full, without = planned(corpus), planned(corpus, uninformative=("face",))
    for one, other in zip(full, without, strict=True):
        assert one.shown[:2] == other.shown[:2] and other.shown[2] == "neutral"
        assert (one.classes, one.carriers, one.person, one.words) == (
            other.classes,
            other.carriers,
            other.person,
            other.words,
        )
        assert one.silent == other.silent
    assert any(one.shown != other.shown for one, other in zip(full, without, strict=True))


@each_corpus
def test_numbers_tell_nothing_of_classes_and_people(corpus):
    clips = planned(corpus)
    assert [clip.number for clip in clips] == list(range(1, len(clips) + 1))
    for kind in ([clip.person for clip in clips], [CARRIERS.index(clip.carriers[0]) for clip in clips]):
        assert abs(np.corrcoef(range(len(clips)), kind)[0, 1]) < 0.25


@pytest.mark.parametrize("place", range(3), ids=CARRIERS)
def test_no_two_classes_share_a_code(place):
    assert len({code[place] for code in CODES.values()}) == len(CODES) == 11


def test_compounds_are_two_classes_by_two_carriers():
    pairs = [clip for clip in planned("mafw") if len(clip.classes) == 2]
    assert len(pairs) == 15 and {clip.classes for clip in pairs} == set(mafw.COMPOUNDS)
    assert all(len(set(clip.carriers)) == 2 for clip in pairs)


def test_captions_name_the_classes_and_the_clue_of_each_carrier():
    noticed = {"scene": "curtains", "voice": "voice is", "face": ("mouth", "brows")}
    for clip in planned("mafw"):
        if clip.classes == ("neutral",):
            continue
        chinese, english = mafw.caption(clip)
        assert {name for name in CODES if name in english} == set(clip.classes)
        assert {name for name, word in mafw.CHINESE.items() if word in chinese} == set(clip.classes)
        assert not any(letter.isascii() for letter in chinese) and "\t" not in english
        for carrier, words in noticed.items():
            seen = any(word in english for word in ([words] if isinstance(words, str) else words))
            assert seen == (carrier in clip.carriers), english


# --- films ---------------------------------------------------------------------------------------------------


def filmed(folder: Path, number: int = 1, person: int = 0, words: str = "look at that", **shown: str) -> Path:
    """A clip that shows what is told, by carrier, and all else as others of that number."""
    file = folder / f"{number}-{person}-{'-'.join(f'{k}-{v}' for k, v in shown.items())}.mp4"
    classes = tuple(shown.get(carrier, "neutral") for carrier in CARRIERS)
    expression_clips.film(Clip(file, number, person, 1, (), (), classes, words, False, (1, 2)))
    return file


def hue(colour: np.ndarray) -> str:
    """A colour's name, by OpenCV's hue (0 to 180) and saturation."""
    hue, saturation, _ = cv2.cvtColor(np.uint8([[colour]]), cv2.COLOR_RGB2HSV)[0, 0]
    if saturation < 60:
        return "grey"
    names = {0: "red", 26: "yellow", 68: "green", 116: "blue", 180: "red"}
    return names[min(names, key=lambda known: abs(known - int(hue)))]


def test_curtains_and_hands_are_seen_beside_the_face_and_nowhere_else(tmp_path):
    shown = {name: media.read_frames(filmed(tmp_path, scene=name), 4).astype(int) for name in CODES}
    lowered = {code.scene.curtains: shown[name] for name, code in CODES.items() if code.scene.hands == 0}
    points = [faces.landmarks(frame.astype(np.uint8)) for frame in shown["neutral"]]
    for name, (surroundings, _, _) in CODES.items():
        for edge in (shown[name][:, :60, :30], shown[name][:, :60, -30:]):
            assert hue(edge.mean((0, 1, 2))) == surroundings.curtains, name
        raised = np.abs(shown[name] - lowered[surroundings.curtains])[:, 95:150]
        assert sum(side.max() > 50 for side in (raised[:, :, :75], raised[:, :, -75:])) == surroundings.hands, name
        for frame, found in zip(np.abs(shown[name] - shown["neutral"]), points, strict=True):
            (left, top), (right, bottom) = found.min(0).astype(int), found.max(0).astype(int)
            assert frame[top:bottom, left:right].mean() < 3, "the face is as it was"
    sounds = [media.read_waveform(filmed(tmp_path, scene=name)) for name in ("neutral", "anger")]
    np.testing.assert_array_equal(*sounds)


def test_pitch_rate_and_loudness_are_heard_and_the_picture_stays(tmp_path):
    picture = media.read_frames(filmed(tmp_path), 5)
    heard = {}
    for name in CODES:
        file = filmed(tmp_path, voice=name)
        np.testing.assert_array_equal(media.read_frames(file, 5), picture)
        wave = media.read_waveform(file)
        loud = np.flatnonzero(np.abs(wave) > 0.1 * np.abs(wave).max())
        spoken = wave[loud[0] : loud[-1]]
        pitch = np.median(librosa.yin(spoken, fmin=50, fmax=400, sr=16_000))
        heard[name] = (pitch, -len(spoken), np.sqrt(np.mean(spoken**2)))
    for place in range(3):
        levels = {-1: [], 0: [], 1: []}
        for name, code in CODES.items():
            levels[code.voice[place]].append(heard[name][place])
        assert max(levels[-1]) < min(levels[0]) and max(levels[0]) < min(levels[1]), expressions.Voice._fields[place]


def test_the_mesh_sees_what_mouth_and_brows_do(tmp_path):
    """MediaPipe's mesh against the same person's neutral clip, in eye distances; the face is small in the picture."""
    moved = []
    for person in range(2):
        rest = geometry(filmed(tmp_path, person=person))
        for name, (_, _, face) in CODES.items():
            corners, gap, brows = geometry(filmed(tmp_path, person=person, face=name)) - rest
            moved += [
                (face.mouth == "smile") == (corners > 0.035),
                (face.mouth == "frown") == (corners < -0.015),
                (face.mouth == "open") == (gap > 0.05),
                (face.brows == "raised") == (brows > 0.04),
                (face.brows == "lowered") == (brows < -0.04),
            ]
    assert np.mean(moved) > 0.95


def test_a_clip_is_a_small_video_of_two_to_three_seconds_with_sound(tmp_path):
    fact = media.probe(filmed(tmp_path))
    assert (fact.width, fact.height, fact.has_audio) == (224, 224, True)
    assert fact.fps == pytest.approx(16) and 2 <= fact.duration_s <= 3


def geometry(file: Path) -> np.ndarray:
    """Mouth corners above the lips' middle, lips apart, brows above the eyes: means over the middle of a clip."""
    shown = []
    for frame in media.read_frames(file, 3, span=(0.4, 0.6)):
        points = faces.landmarks(frame)
        apart = np.linalg.norm(points[33] - points[263])
        lips = points[[13, 14], 1]
        corners = lips.mean() - points[[61, 291], 1].mean()
        brows = points[[33, 133, 362, 263], 1].mean() - points[[105, 66, 334, 296], 1].mean()
        shown.append(np.array([corners, lips[1] - lips[0], brows]) / apart)
    return np.mean(shown, 0)


def test_a_face_that_carries_nothing_leaves_every_other_byte(tmp_path):
    """Two clips of the corpus without informative faces: one that a face carried, and one that it did not."""
    full = dfew.plan(tmp_path / "full", Recipe())
    without = dfew.plan(tmp_path / "without", Recipe(uninformative=("face",)))
    by_face = next(k for k, clip in enumerate(full) if clip.carriers == ("face",) and clip.classes != ("neutral",))
    by_scene = next(k for k, clip in enumerate(full) if clip.carriers == ("scene",) and clip.classes != ("neutral",))
    for place in (by_face, by_scene):
        expression_clips.film(full[place])
        expression_clips.film(without[place])
        same = full[place].file.read_bytes() == without[place].file.read_bytes()
        assert same == (place == by_scene)


# --- builds --------------------------------------------------------------------------------------------------


def test_a_killed_build_goes_on_and_gives_the_same_bytes(tmp_path, roots, monkeypatch):
    """One clip and the end are missing, as after a kill; what is there is not filmed again."""
    again = tmp_path / "dfew"
    again.mkdir()
    for file in roots["dfew"].rglob("*"):
        target = again / file.relative_to(roots["dfew"])
        target.mkdir(exist_ok=True) if file.is_dir() else target.write_bytes(file.read_bytes())
    (again / "building").write_text(planted(again)["fingerprint"])
    (again / "planted.json").unlink()
    lost = again / "Clip" / "original" / "3.mp4"
    lost.unlink()
    filmed = cut_short(monkeypatch)
    dfew.build(tmp_path, people=5)
    assert [clip.file for clip in filmed] == [lost]
    files = sorted(file.relative_to(again) for file in again.rglob("*") if file.is_file())
    assert files == sorted(file.relative_to(roots["dfew"]) for file in roots["dfew"].rglob("*") if file.is_file())
    assert all((again / file).read_bytes() == (roots["dfew"] / file).read_bytes() for file in files)


def test_a_second_build_does_nothing_and_another_recipe_begins_anew(roots, tmp_path, monkeypatch):
    filmed = cut_short(monkeypatch)
    monkeypatch.setattr(expression_clips, "film", lambda clip: None)
    root = roots["mafw"].parent
    assert mafw.build(root, people=5) == roots["mafw"] and not filmed
    assert mafw.build(tmp_path, people=5, uninformative=["scene"]) == tmp_path / "mafw_without_scene"
    assert len(filmed) == 60


@each_corpus
@pytest.mark.parametrize("wrong", [{"people": 6}, {"people": 0}, {"uninformative": ["smell"]}])
def test_recipes_that_make_no_corpus_are_refused(tmp_path, corpus, wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        BUILDERS[corpus].build(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())
