"""The small Omni-Emotion before its phases: its ears, its lessons, and what it reads in people it never met."""

from __future__ import annotations

import struct
from typing import NamedTuple

import ctranslate2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoTokenizer

from reaffect import paths, recognition
from reaffect.errors import InputError
from reaffect.models.omni_emotion import ABLATIONS, OmniClip, OmniEmotion
from reaffect.models.whisper_audio import Sound, hear
from reaffect.synthetic import dfew, dialogues, expression_lessons, mafw, packaged_whisper, soft_words
from reaffect.synthetic import omni_emotion as builder
from reaffect.synthetic.expression_lessons import ANALYSE, CALM, CLASSES, WORDS
from reaffect.synthetic.expressions import CARRIERS, NEUTRAL

pytestmark = pytest.mark.usefixtures("on_the_processor")

NOTHING = CLASSES.index(NEUTRAL)
FRAMES = 6


# --- ears ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whisper():
    return paths.checkpoint(builder.WHISPER)


@pytest.fixture(scope="module")
def wave():
    return np.random.default_rng(0).normal(0, 0.1, 40_000).astype(np.float32)


@pytest.mark.parametrize("positions", [300, 1500])
@torch.inference_mode()
def test_ears_are_the_encoder_that_ctranslate2_runs(whisper, wave, positions):
    ears = packaged_whisper.ears(whisper, positions=positions)
    heard = hear(wave, config=ears.config).heard
    assert heard.shape == (1, 80, 2 * positions)
    theirs = ctranslate2.models.Whisper(str(whisper), compute_type="float32").encode(
        ctranslate2.StorageView.from_array(heard.numpy())
    )
    theirs = torch.from_numpy(np.array(theirs))
    torch.testing.assert_close(ears.encoder(heard).last_hidden_state, theirs, atol=2e-3, rtol=0)
    assert theirs.std() > 0.5


def packed(version: int = 6, spec: str = "WhisperSpec", kind: int = 4) -> bytes:
    """A file with one matrix of one zero byte."""
    name = b"encoder/conv1/weight\0"
    text = struct.pack("<IH", version, len(spec) + 1) + spec.encode() + b"\0"
    return text + struct.pack("<IIH", 3, 1, len(name)) + name + struct.pack("<BIIBI", 2, 1, 1, kind, 1) + b"\0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "requires a buffer"),
        (packed()[:-4], "requires a buffer"),
        (packed(version=5), r"begins with \(5, 'WhisperSpec'\)"),
        (packed(spec="TransformerSpec"), "TransformerSpec"),
        (packed(kind=1), "encoder/conv1/weight is quantised"),
        (packed(kind=5), "has the type 5"),
    ],
)
def test_files_that_are_no_packaged_whisper_are_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(InputError, match=rf"model\.bin: no Whisper .*{message}.*name another folder"):
        packaged_whisper.ears(tmp_path)


def test_a_whisper_that_lacks_weights_is_refused(whisper, tmp_path):
    raw = (whisper / "model.bin").read_bytes()
    (tmp_path / "model.bin").write_bytes(raw.replace(b"encoder/layer_norm/beta", b"encoder/layer_norm/zeta"))
    with pytest.raises(InputError, match=r"layer_norm\.bias is/are missing"):
        packaged_whisper.ears(tmp_path)


# --- lessons -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stills():
    """Of people whom the checkpoint was not taught with: another seed."""
    return expression_lessons.stills(24, side=64, face_side=64, seed=99, workers=2)


@pytest.fixture(scope="module")
def voices():
    return expression_lessons.voices(66, seed=99)


def test_stills_repeat_and_show_all_classes(stills):
    again = expression_lessons.stills(2, side=64, face_side=64, seed=99, workers=1)
    each = expression_lessons.STUDIO + expression_lessons.ROOM
    for one, other in zip(again, stills, strict=True):
        torch.testing.assert_close(one, other[: 2 * each], rtol=0, atol=0)
    assert stills.scenes.shape == stills.crops.shape == (24 * each, 3, 64, 64)
    assert set(stills.around.tolist()) == set(stills.faces.tolist()) == set(range(len(CLASSES)))
    rooms = torch.arange(len(stills.around)) % each >= expression_lessons.STUDIO
    assert (stills.around[rooms] == NOTHING).all()
    table = np.histogram2d(stills.around[~rooms], stills.faces[~rooms], bins=len(CLASSES))[0]
    assert (table > 0).sum() > 60, "what surroundings show does not tell what the face shows"


def test_curtains_are_in_the_picture_and_not_in_the_crop(stills):
    """Red minus blue at the left edge: anger's curtains are red, fear's blue."""
    pixels = {"scenes": stills.scenes, "crops": stills.crops}
    tint = {name: (of[:, 0] - of[:, 2].float())[:, 8:56, :6].mean((1, 2)) for name, of in pixels.items()}
    anger, fear = (stills.around == CLASSES.index(felt) for felt in ("anger", "fear"))
    assert tint["scenes"][anger].min() > 60 > -60 > tint["scenes"][fear].max()
    assert tint["crops"][anger | fear].abs().median() < 30


def test_a_voice_shows_its_class_where_it_is_heard(voices):
    assert [set(one.shown) - {NOTHING} for one in voices[:11]] == [
        set() if felt == NEUTRAL else {CLASSES.index(felt)} for felt in CLASSES
    ]
    loud, soft = [], []
    for one in voices:
        assert len(one.shown) == -(-len(one.waveform) // 960)
        parts = np.array_split(one.waveform, range(960, len(one.waveform), 960))
        levels = [20 * np.log10(np.sqrt(np.mean(part**2))) for part in parts]
        for level, shown in zip(levels, one.shown, strict=True):
            (loud if shown != NOTHING else soft).append(level)
    assert np.median(loud) > -45
    [neutral] = [one for one in voices[:11] if set(one.shown) == {NOTHING}]
    assert np.abs(neutral.waveform).max() > 0.05, "a neutral voice is heard, too"
    assert min(soft) < -55


def test_a_dialogues_voice_tells_something_only_where_it_carries_the_emotion():
    for one in expression_lessons.talks(6, seed=99):
        shown = expression_lessons.dialogue_voice(one).shown
        felt = [each for each in one.utterances if each.emotion != "calm"]
        assert (set(shown) == {NOTHING}) == (one.carrier != "voice")
        for each in felt if one.carrier == "voice" else []:
            middle = int((each.start_s + each.end_s) / 2 / 0.06)
            assert CLASSES[shown[middle]] == expression_lessons.FELT[each.emotion]


def test_questions_and_options_are_those_of_the_recognition_and_of_the_paper():
    assert expression_lessons.QUESTION == recognition.QUESTION
    assert expression_lessons.OPTIONS == (dfew.CLASSES, mafw.CLASSES)


def test_every_class_has_a_token_of_its_own(smollm2_folder):
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder)
    tokens = [tokenizer(f" {word}", add_special_tokens=False).input_ids for word in WORDS.values()]
    assert all(len(each) == 1 for each in tokens) and len({each[0] for each in tokens}) == len(CLASSES)


@pytest.mark.parametrize(("voice", "face"), [(False, False), (True, False), (True, True)])
def test_a_reading_asks_for_what_is_shown_and_no_more(voice, face):
    rng, carriers = np.random.default_rng(0), set()
    for _ in range(100):
        one = expression_lessons.recognition(rng, voice=voice, face=face)
        shown = [set(tokens) - {NEUTRAL} for tokens in (one.scene, one.voice, one.face)]
        assert bool(one.voice) == voice and bool(one.face) == face
        assert {one.answer} == {f"{felt}." for felt in set().union(*shown) or {NEUTRAL}}
        assert one.answer[:-1] in one.question.split("? ")[1][:-1].split(", ")
        carriers |= {carrier for carrier, found in zip(CARRIERS, shown, strict=True) if found}
        assert sum(map(bool, shown)) <= 1
    assert carriers == {"scene", *["voice"] * voice, *["face"] * face}


def test_an_account_tells_what_is_given():
    rng = np.random.default_rng(0)
    for planted in expression_lessons.talks(6, seed=99):
        for voice, face in ((False, False), (True, False), (True, True)):
            one = expression_lessons.account(planted, rng, voice=voice, face=face)
            shown = {*one.voice, *one.face} - {NEUTRAL}
            felt = {each.emotion for each in planted.utterances} - {"calm"}
            names = expression_lessons.FELT if planted.carrier == "voice" else expression_lessons.SHOWN
            given = voice if planted.carrier == "voice" else face
            assert shown == ({names[emotion] for emotion in felt} if given else set())
            assert one.answer == (planted.english if given else CALM)
            assert set(one.scene) == {NEUTRAL} and one.question in ANALYSE
            assert not dialogues.LABELS.keys() & set(one.question.split())


# --- the checkpoint ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def begun(omni_emotion_folder, smollm2_folder):
    """Parts -> the model with these parts, from the one checkpoint."""

    def load(**parts: bool) -> OmniEmotion:
        return OmniEmotion.from_pretrained(omni_emotion_folder, soft_words.voice(smollm2_folder)[0], **parts)

    return load


@pytest.fixture(scope="module")
def model(begun):
    return begun()


def nearest(model: OmniEmotion, soft: torch.Tensor) -> torch.Tensor:
    """The class to whose word each soft token (..., hidden) points."""
    table = functional.normalize(soft_words.word_vectors(model), dim=-1)
    ids = [model.tokenizer(f" {WORDS[felt]}", add_special_tokens=False).input_ids[0] for felt in CLASSES]
    return (functional.normalize(soft, dim=-1) @ table[ids].T).argmax(-1)


class Shown(NamedTuple):
    """A clip of one who was never met, as the encoders take it, and what it shows."""

    clip: OmniClip
    sound: Sound
    felt: str
    carrier: str


@pytest.fixture(scope="module")
def clips(model, stills, voices) -> list[Shown]:
    """Each class by each carrier; all else is neutral, as in the embedded DFEW and MAFW."""
    rng, made = np.random.default_rng(0), []
    studio = (
        torch.arange(len(stills.around)) % (expression_lessons.STUDIO + expression_lessons.ROOM)
        < expression_lessons.STUDIO
    )
    for felt in CLASSES:
        for place, carrier in enumerate(CARRIERS):
            around, heard, face = (
                CLASSES.index(felt if place == number else NEUTRAL) for number in range(len(CARRIERS))
            )
            scenes = rng.choice(np.flatnonzero(studio & (stills.around == around)), FRAMES)
            crops = rng.choice(np.flatnonzero(studio & (stills.faces == face)), FRAMES)
            recording = voices[heard + len(CLASSES) * int(rng.integers(6))].waveform
            clip = OmniClip(
                model.pixels(stills.scenes[scenes].permute(0, 2, 3, 1)),
                model.face_pixels(stills.crops[crops].permute(0, 2, 3, 1)),
            )
            made.append(Shown(clip, model.hear(recording, dialogues.SAMPLE_RATE), felt, carrier))
    return made


@torch.inference_mode()
def test_it_sees_surroundings_and_faces_of_others(model, stills):
    frames, crops = (of.permute(0, 2, 3, 1) for of in (stills.scenes, stills.crops))
    [tokens] = model.encode_video([OmniClip(model.pixels(frames), model.face_pixels(crops))])
    visual, _, facial = tokens.split([4 * len(frames), 1, len(frames)])
    assert (nearest(model, visual) == stills.around.repeat_interleave(4)).float().mean() > 0.8
    assert (nearest(model, facial) == stills.faces).float().mean() > 0.8


@torch.inference_mode()
def test_frames_do_not_tell_what_the_face_shows(model, stills):
    """So that faces have to be looked at: of the same surroundings the wide picture says the same."""
    [tokens] = model.encode_video([OmniClip(model.pixels(stills.scenes.permute(0, 2, 3, 1)))])
    said = nearest(model, tokens[: 4 * len(stills.scenes)]).view(-1, 4).mode().values
    calm = stills.around == NOTHING
    assert (
        said[calm & (stills.faces != NOTHING)] == stills.faces[calm & (stills.faces != NOTHING)]
    ).float().mean() < 0.1


@torch.inference_mode()
def test_it_hears_how_others_speak(model, voices):
    right, made_up = [], []
    for one in voices:
        [tokens] = model.encode_audio([model.hear(one.waveform, dialogues.SAMPLE_RATE)])
        said = nearest(model, tokens)
        felt = [place for place in set(one.shown) if place != NOTHING]
        made_up += (said[torch.from_numpy(one.shown == NOTHING)] != NOTHING).tolist()
        right += [said[torch.from_numpy(one.shown == place)].mode().values == place for place in felt]
    assert np.mean(right) > 0.7 and np.mean(made_up) < 0.1


def answers(model: OmniEmotion, clips: list[Shown]) -> list[str]:
    """To the question of the recognition among all classes."""
    question = recognition.QUESTION.format(options=", ".join(CLASSES))
    heard = [one.sound for one in clips] if model.config.audio_branch else None
    return model.generate([question] * len(clips), [one.clip for one in clips], heard, max_new_tokens=6)


@pytest.mark.parametrize(("row", "known"), [("v", 1), ("v+a", 2), ("v+a+f", 3)])
def test_it_names_a_class_by_what_it_is_given(begun, clips, row, known):
    said = answers(begun(**ABLATIONS[row]), clips)
    right = {carrier: [] for carrier in CARRIERS}
    for text, one in zip(said, clips, strict=True):
        if one.felt != NEUTRAL:
            right[one.carrier].append(text == f"{one.felt}.")
    assert all(np.mean(right[carrier]) >= 0.5 for carrier in CARRIERS[:known])
    assert all(np.mean(right[carrier]) <= 0.2 for carrier in CARRIERS[known:])
    assert "neutral." in [text for text, one in zip(said, clips, strict=True) if one.felt == NEUTRAL]


def test_a_small_recipe_is_built_once_and_always_the_same(tmp_path, smollm2_folder, monkeypatch):
    steps = {f"{part}_steps": 2 for part in ("scene", "face", "hearing", "reading")}
    recipe = builder.Recipe(people=12, voices=11, dialogues=3, reading_batch=2, batch=4, tokens_batch=8, **steps)
    first, second = (builder.build(tmp_path / name, smollm2=smollm2_folder, recipe=recipe) for name in ("one", "other"))
    kept, again = (load_file(folder / "model.safetensors") for folder in (first, second))
    assert kept.keys() == again.keys() and all(torch.equal(value, again[name]) for name, value in kept.items())
    assert any(value.any() for name, value in kept.items() if "lora_B" in name)  # it begins as nothing
    assert (first / "model.safetensors").stat().st_size < 60e6  # the language model's weights are not copied
    monkeypatch.setattr(builder, "assemble", lambda *_: pytest.fail("trained again"))
    assert builder.build(first, smollm2=smollm2_folder, recipe=recipe) == first
