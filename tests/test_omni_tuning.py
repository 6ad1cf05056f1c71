"""What notebook 10 trains: clips as encoders see them, lessons, phases that move what they should, folds kept apart."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from reaffect import faces, instructions, media, recognition
from reaffect.corpora import dfew, emer, mafw
from reaffect.errors import InputError
from reaffect.media.folders import frame_files
from reaffect.models.facexformer import MARGIN
from reaffect.models.omni_emotion import PHASES, OmniClip, OmniEmotion
from reaffect.models.whisper_audio import SAMPLE_RATE, Sound
from reaffect.omni import inputs, tuning
from reaffect.omni.inputs import Corpus, Perceived
from reaffect.omni.tuning import FUSION_ROWS, ROWS, Beginning, Phase
from reaffect.store import Store
from reaffect.tuning import Lesson, Recipe, tune
from test_models_omni_emotion import SMALL, build, clip, released, sound, whisper
from test_models_video_llama import llama, loud, words

pytestmark = pytest.mark.usefixtures("on_the_processor")
__all__ = ["released", "whisper"]  # fixtures

FRAMES = 3
RECIPE = Recipe(seed=9, epochs=1, batch_size=2, learning_rate=1e-2, max_new_tokens=2)


# --- inputs --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(emer_full, tmp_path_factory) -> dict[str, str]:
    """A face that speaks; frames of it in a folder, the second one blank; and a silent film of noise."""
    folder = tmp_path_factory.mktemp("clips")
    spoken = emer.load(emer_full).media[0]
    pictures = media.read_frames(spoken, FRAMES)
    pictures[1] = 90
    (folder / "frames").mkdir()
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / "frames" / f"{number:03d}.png"), picture[..., ::-1])
    grain = np.random.default_rng(0).integers(0, 255, (10, 64, 64, 3), np.uint8)
    media.write_video(folder / "noise.mp4", grain, 10, np.zeros(16_000), 16_000)
    return {"spoken": spoken, "frames": str(folder / "frames"), "noise": str(folder / "noise.mp4")}


@pytest.fixture(scope="module")
def network() -> OmniEmotion:
    return build()


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def seen(clips, network, store) -> dict[str, Perceived]:
    return inputs.perceived(list(clips.values()), network, "small", frames=FRAMES, store=store)


def test_states_are_what_the_encoders_make_of_the_files(clips, network, seen):
    one, pictures = seen[clips["spoken"]], media.read_frames(clips["spoken"], FRAMES)
    crops = [faces.crop(picture, faces.landmarks(picture), MARGIN) for picture in pictures]
    shown = OmniClip(
        network.pixels(torch.from_numpy(pictures)),
        torch.cat([network.face_pixels(torch.from_numpy(crop)[None]) for crop in crops]),
    )
    heard = network.hear(media.read_waveform(clips["spoken"], SAMPLE_RATE), SAMPLE_RATE)
    with torch.inference_mode():
        [expected], [states] = network.see([shown]), network.listen([heard])
    torch.testing.assert_close(one.seen.frames, expected.frames, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(one.seen.faces, expected.faces, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(one.heard.heard, states.heard, atol=1e-4, rtol=1e-4)
    assert one.seen.found.all()
    assert len(one.heard) == math.ceil(len(media.read_waveform(clips["spoken"], SAMPLE_RATE)) / 960)


def test_folders_of_frames_have_faces_and_no_sound(clips, seen):
    one, spoken = seen[clips["frames"]], seen[clips["spoken"]]
    assert len(frame_files(clips["frames"])) == FRAMES
    assert one.heard is None and one.seen.found.tolist() == [True, False, True]
    assert one.seen.faces.shape == (2, *spoken.seen.faces.shape[1:])
    torch.testing.assert_close(one.seen.frames[0], spoken.seen.frames[0], atol=1e-4, rtol=1e-4)


def test_nobody_and_silence_are_absent_and_counted(clips, seen):
    one = seen[clips["noise"]]
    assert one.heard is None and one.seen.faces is None and one.seen.places() == []
    assert inputs.counts(seen) == {
        "clips": 3,
        "clips without audio": 2,
        "clips without a face": 1,
        "frames without a face": FRAMES + 1,
    }


def test_encoders_run_once(clips, network, seen, store, monkeypatch):
    for kind in (inputs.FrameStates, inputs.FaceStates, inputs.SoundStates):
        monkeypatch.setattr(kind, "__call__", lambda *_: pytest.fail("computed again"))
    again = inputs.perceived(list(clips.values()), network, "small", frames=FRAMES, store=store)
    assert torch.equal(again[clips["spoken"]].seen.frames, seen[clips["spoken"]].seen.frames)
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        inputs.perceived([clips["noise"]], network, "other weights", frames=FRAMES, store=store)


def test_what_is_perceived_reaches_the_answer(clips, network, seen):
    kept = seen[clips["spoken"]]
    logits = network(["Sad?"], [kept.seen], [kept.heard]).logits[:, -1]
    for frames, audio in ((replace(kept.seen, faces=None, found=None), kept.heard), (kept.seen, None)):
        other = network(["Sad?"], [frames], [audio] if audio else None).logits[:, -1]
        assert (other - logits).abs().max() > 1e-3


def test_sounds_alone(clips, network, store, seen):
    heard = inputs.listened([clips["spoken"]], network, "small", store=store)
    assert torch.equal(heard[clips["spoken"]].heard, seen[clips["spoken"]].heard.heard)
    with pytest.raises(InputError, match=r"noise\.mp4 \(1 such clips\): no sound to learn from"):
        inputs.listened(list(clips.values())[::2], network, "small", store=store)


# --- lessons -------------------------------------------------------------------------------------------------


def states(name: str) -> Perceived:
    """Of a clip that does not exist; every third one has no sound."""
    seed = int(name[1:]) + (name[0] == "m") * 500
    heard = sound(7, seed=seed) if seed % 3 else None
    with torch.no_grad():
        return Perceived(*build().see([clip(2, seed % 2, seed=seed)]), heard and build().listen([heard])[0])


def fold_of(prefix: str, among: tuple[str, ...], test: int) -> pd.DataFrame:
    """Three clips of each class; of each, number `test` is tested."""
    rows = [
        {
            "clip": str(k),
            "media": f"{prefix}{k}",
            "labels": [among[k // 3]],
            "split": "test" if k % 3 == test else "train",
        }
        for k in range(3 * len(among))
    ]
    return pd.DataFrame(rows)


LABELS = {"d": dfew.CLASSES[:3], "m": mafw.CLASSES[:4]}


@pytest.fixture(scope="module")
def corpora() -> dict[str, Corpus]:
    made = {
        name: Corpus({fold: fold_of(name[0].lower(), LABELS[name[0].lower()], fold) for fold in (1, 2)}, among)
        for name, among in (("DFEW", LABELS["d"]), ("MAFW", LABELS["m"]))
    }
    return made | {"DFEW without face": Corpus(made["DFEW"].folds, LABELS["d"], learned=False)}


@pytest.fixture(scope="module")
def known(corpora) -> dict[str, Perceived]:
    names = {name for corpus in corpora.values() for table in corpus.folds.values() for name in table.media}
    return {name: states(name) for name in sorted(names)}


def test_lessons_have_the_modalities_of_their_phase(known):
    table = pd.DataFrame(
        {
            "clip": ["0", "1"],
            "media": ["d0", "d1"],
            "labels": [["happy"], ["happy"]],
            "among": [LABELS["d"]] * 2,
            "kind": ["caption", "transcript"],
            "text": ["A dog<|im_end|>.", "hello there"],
        }
    )
    heard = {"d0": sound(3), "d1": sound(4)}
    caption, transcript = inputs.sound_lessons(table, heard, seed=0)
    assert (
        caption.question in instructions.load()["caption"] and transcript.question in instructions.load()["transcript"]
    )
    assert caption.answer == "A dog‹|im_end|›." and caption.frames is None and transcript.audio is heard["d1"]
    for lesson, name in zip(inputs.face_lessons(table, known, seed=0), table.media, strict=True):
        assert lesson.answer == "happy." and lesson.audio is None and lesson.frames is known[name].seen
        assert lesson.question.rstrip(".").endswith("? happy, sad, neutral")
    for lesson, name in zip(inputs.recognition_lessons(table, known), table.media, strict=True):
        assert lesson.question == recognition.QUESTION.format(options="happy, sad, neutral")
        assert (lesson.frames, lesson.audio) == known[name]
    assert known["d0"].heard is None and known["d1"].heard is not None
    for lesson, name in zip(inputs.emotion_lessons(table, known, seed=0), table.media, strict=True):
        assert lesson.question in instructions.load()["multimodal"] and (lesson.frames, lesson.audio) == known[name]


def test_a_label_that_is_no_class_is_refused(known):
    table = pd.DataFrame({"clip": ["0"], "media": ["d0"], "labels": [["happy", "sad"]], "among": [LABELS["d"]]})
    for lessons in (inputs.recognition_lessons, lambda *a: inputs.face_lessons(*a, seed=0)):
        with pytest.raises(InputError, match="clip '0' has the labels happy, sad"):
            lessons(table, known)


def test_a_folds_clips_are_apart_and_of_all_classes(corpora):
    learned, held = inputs.training_clips(corpora, 1, at_most=7, held_out=7, seed=3)
    for part in (learned, held):
        assert sorted(zip(part.corpus, part.labels.str[0], strict=True)) == sorted(
            [("DFEW", label) for label in LABELS["d"]] + [("MAFW", label) for label in LABELS["m"]]
        )
        assert all(among == corpora[name].among for name, among in zip(part.corpus, part.among, strict=True))
    tested = inputs.tested_clips(corpora, 1)
    assert tested.corpus.value_counts().to_dict() == {"DFEW": 3, "MAFW": 4, "DFEW without face": 3}
    assert not {*learned.media} & {*held.media} and not {*learned.media, *held.media} & {*tested.media}
    again, other = (inputs.training_clips(corpora, 1, at_most=7, seed=seed)[0].media.tolist() for seed in (3, 4))
    assert again != other
    assert len(inputs.training_clips(corpora, 1, held_out=1)[0]) == 13


def test_folds_that_give_nothing_are_refused(corpora):
    with pytest.raises(InputError, match="Fold 1: of 14 training clips 14 are to be held out"):
        inputs.training_clips(corpora, 1, held_out=14)
    with pytest.raises(InputError, match="DFEW has no fold 7; there are 1, 2"):
        inputs.tested_clips(corpora, 7)
    with pytest.raises(InputError, match="None of the corpora is learned from"):
        inputs.training_clips({"x": corpora["DFEW without face"]}, 1)


# --- beginnings ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def load(tmp_path_factory) -> Beginning:
    folder = tmp_path_factory.mktemp("weights")
    build().save_pretrained(folder / "omni", language_model=False)
    loud(llama()).save_pretrained(folder / "words")
    return Beginning([str(folder / "omni")], str(folder / "words"))


def test_each_model_begins_anew_from_the_same_weights(load):
    one, other = load(), load(fusion="cross")
    expected = build().state_dict()
    for name, value in one.state_dict().items():
        if not name.startswith("language_model."):
            assert torch.equal(value, expected[name]), name
        value.zero_()
    assert {*other.state_dict()} - {*expected} == {
        f"face_attention.{name}" for name in other.face_attention.state_dict()
    }
    assert all(value.any() for name, value in other.state_dict().items() if name in expected)
    assert not one.training and not other.training


def test_new_parts_are_drawn_by_the_seed_alone(load):
    """Also where the language model is read for the first time."""
    drawn = []
    for beginning, seed in ((Beginning([str(load.places[0])], str(load.source)), 5), (load, 5), (load, 6)):
        torch.manual_seed(seed)
        drawn.append(beginning(fusion="cross").face_attention.in_proj_weight)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[1], drawn[2])


def test_what_identifies_a_beginning(load):
    _, identity = load.identified()
    assert load.identified(**ROWS["v"])[1] == identity, "states of encoders do not depend on what is left out"
    assert Beginning([str(load.places[0])], str(load.source), absent_tokens=3).identified()[1] != identity


def test_released_files_are_a_beginning(released):
    _, _, folder = released
    files = [str(folder / name) for name in ("llava", "whisper", "face.pt")]
    model = Beginning(files, frames=3, face=SMALL.face)(fusion="frame")
    assert model.config.fusion == "frame" and model(["Sad?"], [clip(2)], [sound(3)]).logits.isfinite().all()
    (folder / "face.pt").unlink()
    with pytest.raises(InputError, match=r"face\.pt"):
        Beginning(files, frames=3, face=SMALL.face)()


def test_beginnings_that_cannot_be_are_refused(load, tmp_path):
    with pytest.raises(InputError, match=r"no-such-folder: no weights\. `make embedded`"):
        Beginning(["checkpoints/no-such-folder"], "checkpoints/smollm2")()
    with pytest.raises(InputError, match="one folder, with a language_model, or three checkpoints"):
        Beginning([str(load.places[0])])
    with pytest.raises(InputError, match="there are 2"):
        Beginning(["a", "b"], "c")
    llama(hidden_size=64).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"Omni-Emotion could not be loaded: .*this model's"):
        Beginning([str(load.places[0])], str(tmp_path))()


# --- phases --------------------------------------------------------------------------------------------------


def course(recipe: Recipe = RECIPE) -> list[Phase]:
    """The three phases, of clips that no fold tests."""
    with torch.no_grad():
        heard = build().listen([sound(5 + k, seed=200 + k) for k in range(5)])
        shown = [Perceived(*build().see([clip(2, seed=300 + k)]), heard[k % 5]) for k in range(7)]
    sounds = [Lesson("What is it?", f"a {k}", None, one) for k, one in enumerate(heard)]
    looks = [Lesson("Which? happy, sad", "happy.", one.seen) for one in shown]
    both = [Lesson("Why?", "she is sad", *one) for one in shown]
    return [
        Phase(1, sounds[:4], sounds[4:], recipe),
        Phase(2, looks[:5], looks[5:], recipe),
        Phase(3, both[:5], both[5:], recipe, score=lambda answers, _: float(len(answers))),
    ]


@pytest.fixture(scope="module")
def phases() -> list[Phase]:
    return course()


@pytest.fixture(scope="module")
def asked() -> list[Lesson]:
    """Test clips, one of them without sound."""
    return [Lesson("Why?", "she is sad", *states(f"x{100 + k}")) for k in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


OPTIONS = {"seeds": [0, 1], "max_new_tokens": 3}


@pytest.fixture(scope="module")
def ablation(load, phases, asked, folder) -> tuning.Ablation:
    return tuning.ablate(load, phases, asked, folder, **OPTIONS)


def test_every_row_is_trained_with_every_seed_and_asked_about_every_clip(ablation):
    assert len(ablation.told) == len(ROWS) * 2 * 3
    assert ablation.told.groupby(["row", "seed"])["clip"].apply(list).map(lambda clips: clips == [0, 1, 2]).all()
    assert [*ablation.runs] == [(row, seed) for row in ROWS for seed in (0, 1)]
    assert {row: len(ablation.runs[row, 0]) for row in ROWS} == {"v": 1, "v+a": 2, "v+a+f": 3}
    shared = [(ablation.runs["v+a", seed][0], ablation.runs["v+a+f", seed][0]) for seed in (0, 1)]
    assert all(one.folder == other.folder for one, other in shared), "phase 1 sees nothing"
    losses = {run.history.loss.iloc[-1] for runs in ablation.runs.values() for run in runs}
    assert len(losses) == 12 - len(shared), "every other run is of its own weights, seed and lessons"


def test_answers_are_those_of_a_model_that_went_from_phase_to_phase(load, phases, asked, ablation, tmp_path):
    """By another way: one model from the beginning to the end, phase 1 with its faces, clip by clip."""
    torch.manual_seed(1)
    model = load()
    for phase in phases:
        recipe = replace(phase.recipe, seed=1)
        tune(model.begin(phase.number), phase.lessons, phase.held_out, tmp_path, recipe, score=phase.score)
    texts = [
        model.generate([one.question], [one.frames], one.audio and [one.audio], max_new_tokens=3)[0] for one in asked
    ]
    told = ablation.told
    assert told.text[(told.row == "v+a+f") & (told.seed == 1)].tolist() == texts


def test_a_second_call_reads(load, phases, asked, folder, ablation, monkeypatch):
    monkeypatch.setattr(OmniEmotion, "generate", lambda *_, **__: pytest.fail("asked again"))
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_, **__: pytest.fail("trained again"))
    again = tuning.ablate(load, phases, asked, folder, **OPTIONS)
    pd.testing.assert_frame_equal(again.told, ablation.told)
    with pytest.raises(pytest.fail.Exception, match="asked again"):
        tuning.ablate(load, phases, asked[::-1], folder, **OPTIONS)


def test_tables_share_what_they_have_in_common(load, phases, asked, folder, ablation):
    """Concatenation on video level is v+a+f; a longer course begins with the runs of a shorter one."""
    found = tuning.ablate(load, phases[:2], asked, folder, rows=FUSION_ROWS, **OPTIONS)
    for seed in OPTIONS["seeds"]:
        runs, known = found.runs["Concatenation on video level", seed], ablation.runs["v+a+f", seed]
        assert [run.folder for run in runs] == [run.folder for run in known[:2]]
        others = {found.runs[row, seed][1].folder for row in [*FUSION_ROWS][:2]}
        assert len(others) == 2 and known[1].folder not in others


@pytest.mark.parametrize(("row", "numbers"), [("v", [3]), ("v+a", [1, 3]), ("v+a+f", [1, 2, 3])])
def test_phases_move_their_own_parts_bit_for_bit(load, phases, folder, row, numbers):
    found = tuning.follow(load, phases, folder, seed=0, **ROWS[row])
    assert found.phase.tolist() == numbers
    for each in found.itertuples():
        model = load(**ROWS["v+a" if each.phase == 1 else row])
        parts = {name for name, _ in model.named_children()}
        assert {*each.moved.split(", ")} == parts & {*PHASES[each.phase]}
        assert {*each.kept.split(", ")} == parts - {*PHASES[each.phase]}
    assert found.steps.tolist() == [math.ceil(len(phases[number - 1].lessons) / 2) for number in numbers]
    assert (found["loss before"] != found["loss after"]).all()


def test_lora_is_a_part_of_its_own(load, phases, tmp_path):
    build(lora_rank=2).save_pretrained(tmp_path / "omni", language_model=False)
    found = tuning.follow(Beginning([str(tmp_path / "omni")], str(load.source)), phases[2:], tmp_path / "runs", seed=0)
    assert "language_model (LoRA)" in found.moved[0].split(", ")
    assert {*found.kept[0].split(", ")} == {*OmniEmotion.published, "language_model"}


def test_held_out_losses_are_means_over_lessons(load, phases):
    """By another way: cross-entropy of logits at the answer's places, lesson by lesson."""
    model, lessons = load(), phases[2].held_out
    expected = []
    for lesson in lessons:
        target = words()(f"{lesson.answer}</s>").input_ids
        with torch.no_grad():
            logits = model([lesson.question], [lesson.frames], [lesson.audio], [lesson.answer]).logits[0]
        scores = logits.float().log_softmax(-1)[-len(target) - 1 : -1]
        expected.append(-scores[range(len(target)), target].mean().item())
    assert tuning.held_out_loss(model, lessons) == pytest.approx(np.mean(expected), rel=1e-2)


def test_learning_lowers_the_loss(load, phases, tmp_path):
    long = phases[2]._replace(recipe=replace(RECIPE, epochs=6, patience=6), score=rising())
    [found] = tuning.follow(load, [long], tmp_path, seed=0).to_dict("records")
    assert found["loss after"] < found["loss before"] - 0.5


def rising():
    """A score under which the last epoch is chosen."""
    scores = iter(range(100))
    return lambda *_: float(next(scores))


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(load, asked, tmp_path):
    phases = course(replace(RECIPE, epochs=2))
    options = {"seeds": [0], "max_new_tokens": 3, "rows": {"v+a+f": {}}}
    expected = tuning.ablate(load, phases, asked, tmp_path / "whole", **options)
    steps = []

    def kill(history: pd.DataFrame, _scores: pd.Series) -> None:
        steps.append(len(history))
        if len(steps) == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuning.ablate(load, phases, asked, tmp_path / "killed", watch=kill, **options)
    again = tuning.ablate(load, phases, asked, tmp_path / "killed", **options)
    pd.testing.assert_frame_equal(again.told, expected.told)
    for one, other in zip(again.runs["v+a+f", 0], expected.runs["v+a+f", 0], strict=True):
        assert one.folder.name == other.folder.name
        assert (one.folder / "adapters.safetensors").read_bytes() == (
            other.folder / "adapters.safetensors"
        ).read_bytes()


def test_courses_that_train_nothing_are_refused(load, phases, asked, tmp_path):
    with pytest.raises(InputError, match="No phase of the course trains a part"):
        tuning.ablate(load, phases[:1], asked, tmp_path, rows={"v": ROWS["v"]}, **OPTIONS)
    with pytest.raises(ValueError, match="phase 4 trains nothing of this model"):
        tuning.ablate(load, [phases[0]._replace(number=4)], asked, tmp_path, **OPTIONS)


def test_answers_name_one_class_or_are_wrong():
    lessons = [Lesson("?", f"{label}.") for label in ("happy", "sad", "angry", "fear")]
    assert tuning.names_class(["Happiness!", "happy", "angry or sad", "none"], lessons) == 0.25
    assert tuning.names_class(["", "a dog"], [Lesson("?", "a dog"), Lesson("?", "a cat")]) == 0


# --- folds ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def courses(corpora, known, phases) -> dict[int, list[Phase]]:
    made = {}
    for fold in (1, 2):
        learned, held = inputs.training_clips(corpora, fold, at_most=4, held_out=2)
        lessons = [inputs.recognition_lessons(part, known) for part in (learned, held)]
        looks = [inputs.face_lessons(part, known, seed=0) for part in (learned, held)]
        made[fold] = [phases[0], Phase(2, *looks, RECIPE), Phase(3, *lessons, RECIPE)]
    return made


def test_every_fold_is_trained_and_tested(load, courses, corpora, known, folder):
    rows = {name: ROWS[name] for name in ("v", "v+a+f")}
    found = tuning.recognise(load, courses, corpora, known, folder, seeds=[0], max_new_tokens=3, rows=rows)
    assert [*found.runs] == [(row, fold, 0) for fold in (1, 2) for row in rows]
    for name, corpus in corpora.items():
        tested = recognition.clips_of(corpus.folds, corpus.among)
        assert recognition.read(found.told[name], tested, corpus.among).groupby("row").size().eq(len(tested)).all()
    one, other = (found.runs["v+a+f", fold, 0] for fold in (1, 2))
    assert one[0].folder == other[0].folder, "phase 1 knows no folds"
    assert one[1].folder != other[1].folder and one[2].folder != other[2].folder
    same = found.told["DFEW"].text.tolist(), found.told["DFEW without face"].text.tolist()
    assert same[0] == same[1], "the same clips under another name, asked of the same models"


@pytest.mark.parametrize("part", ["lessons", "held_out"])
@pytest.mark.parametrize("place", [1, 2])
def test_a_fold_never_learns_from_what_it_tests(load, courses, corpora, known, tmp_path, place, part):
    """In phase 2 or in recognition, to learn from or to choose by: one clip of the fold's test part among others."""
    tested = inputs.tested_clips(corpora, 1).iloc[[4]]
    [lesson] = inputs.face_lessons(tested, known, seed=0)
    mixed = list(courses[1])
    mixed[place] = mixed[place]._replace(**{part: [*getattr(mixed[place], part), lesson]})
    with pytest.raises(InputError, match=rf"Phase {place + 1}: 1 of its {part} .* that fold 1 of MAFW tests"):
        tuning.recognise(load, {1: mixed}, corpora, known, tmp_path, seeds=[0], max_new_tokens=3)
    assert not [*tmp_path.iterdir()], "nothing was trained"


def test_test_clips_are_no_lessons_of_an_ablation(load, phases, tmp_path):
    with pytest.raises(InputError, match=r"Phase 2: 1 of its lessons \(such as number 3\) .* the test part tests"):
        tuning.ablate(load, phases, [phases[1].lessons[3]], tmp_path, **OPTIONS)
    heard = Lesson("?", "x", None, Sound(phases[0].held_out[0].audio.heard.clone(), 9))
    with pytest.raises(InputError, match="Phase 1: 1 of its held_out"):
        tuning.ablate(load, phases, [heard], tmp_path, **OPTIONS)


def test_clips_without_sound_are_asked_apart(load, phases, asked, tmp_path, monkeypatch):
    heard = []
    said = OmniEmotion.generate

    def listening(self, questions, frames, audio, **options):
        heard.append((len(questions), audio is None))
        return said(self, questions, frames, audio, **options)

    monkeypatch.setattr(OmniEmotion, "generate", listening)
    options = {"seeds": [0], "max_new_tokens": 2, "rows": {"v+a+f": {}}}
    mixed = [lesson._replace(audio=audio) for lesson, audio in zip(asked, (sound(4), None, sound(9)), strict=True)]
    tuning.ablate(load, phases[:1], mixed, tmp_path, **options)
    assert sorted(heard[-2:]) == [(1, True), (2, False)]
