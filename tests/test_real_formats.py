"""Every checkpoint that `params/paper` names, in its released format with small weights, through the real loading code.

Files of Video-LLaMA, PandaGPT, MicroEmo, FaceXFormer, SlowFast, TSM, Video-Swin and BEATs are tried beside their
modules, one by one; here they meet the language models that they need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as t

from reaffect import audiovisual, media, mllm, speech
from reaffect.audiovisual import Asked, network_of
from reaffect.features import extract
from reaffect.features.audio import XVectors
from reaffect.features.clips import TimeSformer
from reaffect.features.extraction import pretrained
from reaffect.features.text import NearestTemplates, Sentences
from reaffect.features.visual import FaceViT
from reaffect.models.checkpoints import read_checkpoint, read_pretrained
from reaffect.models.dialogue_clip import DialogueClip
from reaffect.models.microemo import MicroEmo, MicroEmoConfig
from reaffect.models.omni_emotion import OmniClip, OmniEmotion
from reaffect.models.whisper_audio import SAMPLE_RATE, hear, released_ears
from reaffect.store import Store
from real_formats import LANGUAGE, make, pieces
from real_formats_encoders import ENCODERS, faster_whisper, whisper
from real_formats_multimodal import MULTIMODAL
from test_models_facexformer import KEY, Release, faces
from test_models_facexformer import SMALL as FACE
from test_models_microemo import SMALL as MICRO_EMO
from test_models_microemo import files
from test_models_pandagpt import SMALL as PANDA_GPT
from test_models_pandagpt import released as panda_files
from test_models_video_llama import SMALL as VIDEO_LLAMA
from test_models_video_llama import loud, released, segments

pytestmark = pytest.mark.usefixtures("on_the_processor")
__all__ = ["files", "panda_files", "released"]  # fixtures

PROMPT = "Describe the video."
TOKENS = {"Video-LLaVA": 8 * 5, "LLaVA": 4, "LLaVA-OneVision": 8 * 4 + 1, "Qwen2.5-Omni": 4 * 10 * 14}
"""That a clip of 8 frames takes: 4 patches and CLIP's class token a frame; the patches of one frame; a frame's 9
patches halved to 4, and the end of the last line; of each pair of frames, enlarged to 128 tokens at least, 10 x 14."""


@pytest.fixture(scope="module")
def spoken(tmp_path_factory) -> str:
    """A second and a half of changing colour with a tone."""
    rng = np.random.default_rng(0)
    film = rng.integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 16_000).astype(np.float32)
    return str(media.write_video(tmp_path_factory.mktemp("clips") / "spoken.mp4", film, 8, tone, 16_000))


def same(network: torch.nn.Module, expected: torch.nn.Module, spare: tuple[str, ...] = ()) -> None:
    """All weights are those of the release, bit for bit; names that begin with `spare` are not in the release."""
    ours = {name: value for name, value in network.state_dict().items() if not name.startswith(spare)}
    theirs = expected.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert torch.equal(ours[name].float(), value), name


# --- multimodal LLMs ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def multimodal(tmp_path_factory) -> Callable[[str], tuple[Path, t.PreTrainedModel]]:
    made: dict[str, Any] = {}

    def one(name: str) -> tuple[Path, t.PreTrainedModel]:
        if name not in made:
            folder = tmp_path_factory.mktemp("multimodal") / name
            made[name] = folder, make(MULTIMODAL[name], folder)
        return made[name]

    return one


def load(folder: Path, store: Path, dtype: str = "float32") -> mllm.VideoMLLM:
    model = mllm.load(folder, device="cpu", dtype=dtype)
    model.store = Store(store)
    return model


@pytest.mark.parametrize("name", MULTIMODAL)
def test_a_multimodal_llm_has_the_released_weights_and_answers(name, multimodal, spoken, tmp_path):
    folder, expected = multimodal(name)
    model = load(folder, tmp_path)
    same(model.network, expected)
    answers = model.describe([spoken], PROMPT, max_new_tokens=3, strict=True)
    assert isinstance(answers.text.iloc[0], str)
    assert np.isfinite(model.embed([spoken], PROMPT, tokens="answer", max_new_tokens=3).to_numpy()).all()


@pytest.mark.parametrize("name", MULTIMODAL)
def test_its_processor_is_the_released_one(name, multimodal, spoken, tmp_path):
    """Each release says in files of its own how a clip is shown and a question worded."""
    model = load(multimodal(name)[0], tmp_path)
    inputs = model._inputs([media.read_frames(spoken, 8)], PROMPT)
    config = model.network.config
    place = config.video_token_index if model.takes_videos else config.image_token_index
    assert (inputs["input_ids"] == place).sum() == TOKENS[name]
    text = model.processor.decode(inputs["input_ids"][0])
    chat = "USER: " if "LLaVA" in name and "One" not in name else "<|im_start|>user"
    assert chat in text and text.count(PROMPT) == 1
    assert text.rstrip().endswith("ASSISTANT:" if chat == "USER: " else "<|im_start|>assistant")


@pytest.mark.parametrize("name", MULTIMODAL)
def test_it_runs_in_half_precision(name, multimodal, spoken, tmp_path):
    model = load(multimodal(name)[0], tmp_path, "bfloat16")
    assert {weight.dtype for weight in model.network.parameters()} == {torch.bfloat16}
    assert np.isfinite(model.embed([spoken], PROMPT, strict=True).to_numpy()).all()


def test_of_an_omni_modal_model_what_speaks_is_left_out_and_the_rest_hears(multimodal, spoken, tmp_path):
    folder, expected = multimodal("Qwen2.5-Omni")
    model = load(folder, tmp_path)
    assert type(model.network) is type(expected) and not hasattr(model.network, "talker")
    assert model.describe([spoken], PROMPT, audio=True, max_new_tokens=3, strict=True).text.notna().all()
    sound = [media.read_waveform(spoken, 16_000)]
    inputs = model._inputs([media.read_frames(spoken, 8)], PROMPT, sound)
    heard = (inputs["input_ids"] == model.network.config.audio_token_index).sum()
    assert heard == 37, "150 mel frames, halved by a convolution and by a mean"


def test_answers_end_where_the_tokenizer_says_if_the_release_does_not(multimodal, tmp_path):
    folder, _ = multimodal("Qwen2.5-Omni")
    said = folder / "generation_config.json"
    aside = said.rename(folder / "aside")
    try:
        model = load(folder, tmp_path)
    finally:
        aside.rename(said)
    words = model.processor.tokenizer
    assert model.network.generation_config.eos_token_id == words.convert_tokens_to_ids("<|im_end|>")


# --- language models and what is built around them ---------------------------------------------------------------


@pytest.fixture(scope="module")
def language(tmp_path_factory) -> dict[str, tuple[Path, t.PreTrainedModel]]:
    root = tmp_path_factory.mktemp("language")
    return {name: (root / name, make(maker, root / name)) for name, maker in LANGUAGE.items()}


@pytest.mark.parametrize("name", LANGUAGE)
def test_a_language_model_has_the_released_weights_and_words(name, language):
    folder, expected = language[name]
    same(read_pretrained(t.AutoModelForCausalLM, folder, dtype=torch.float32), expected)
    words = t.AutoTokenizer.from_pretrained(folder)
    at = {piece: place for place, (piece, *_) in enumerate(pieces())}
    cut = ["<s>", "▁the", "▁v", "i", "d", "e", "o", ":", "▁", "<0xC3>", "<0xA4>"]
    assert words("the video: ä").input_ids == [at[piece] for piece in cut]
    assert words.decode(words("the video: ä").input_ids, skip_special_tokens=True).strip() == "the video: ä"


@pytest.mark.parametrize("kind", ["Video-LLaMA", "PandaGPT"])
def test_an_audio_visual_llm_meets_vicuna(kind, language, released, panda_files, spoken, tmp_path, monkeypatch):
    """As notebook 07 loads them; only the sizes are small."""
    small = {"Video-LLaMA": VIDEO_LLAMA, "PandaGPT": PANDA_GPT}[kind]
    weights = {"Video-LLaMA": released, "PandaGPT": panda_files}[kind][-1]
    monkeypatch.setitem(audiovisual.KINDS, kind, (audiovisual.KINDS[kind][0], lambda: small))
    folder, vicuna = language["Vicuna"]
    model = audiovisual.load(kind, [str(path) for path in weights], str(folder), device="cpu")
    model.store = Store(tmp_path / "store")
    words = model.network.language_model.get_input_embeddings().weight
    assert torch.equal(words.float(), vicuna.get_input_embeddings().weight.to(words.dtype).float())
    answers = model.describe([Asked(spoken)], PROMPT, frames=2, max_new_tokens=3)
    assert not model.problems and isinstance(answers.text[0], str)


def test_microemo_meets_llama_2(language, files):
    """As notebook 08 loads it."""
    small = {entry.name: getattr(MICRO_EMO, entry.name) for entry in fields(MICRO_EMO)} | {"image_size": 28}
    folder, llama = language["LLaMA 2"]
    network, _ = network_of(MicroEmo, MicroEmoConfig, [str(path) for path in files[-1]], str(folder), **small)
    own = {name.replace(".base_layer", ""): value for name, value in network.language_model.state_dict().items()}
    for name, value in llama.state_dict().items():
        assert torch.equal(own["base_model.model." + name], value), name
    generator = torch.Generator().manual_seed(0)
    regions = torch.ones(2, 3, 4, dtype=torch.bool)
    shown = DialogueClip(torch.randn(2, 3, 28, 28, generator=generator), [0.0, 0.5], regions, [(0.0, 1.0)])
    [answer] = network.eval().generate(["How?"], [shown], segments(2), max_new_tokens=3)
    assert isinstance(answer, str)


def test_omni_emotion_is_built_from_its_three_releases(multimodal, spoken, tmp_path):
    llava, source = multimodal("LLaVA-OneVision")
    face = loud(Release())
    torch.save({KEY: face.state_dict()}, tmp_path / "ckpts.pt")
    heard = make(whisper, tmp_path / "whisper")
    parts = {"face": FACE, "fusion_heads": 4}
    model = OmniEmotion.from_released(llava, tmp_path / "whisper", tmp_path / "ckpts.pt", dtype=torch.float32, **parts)
    same(model.tower, source.model.vision_tower)
    same(model.language_model.get_decoder(), source.model.language_model)
    same(model.ears.encoder, heard.model.encoder)
    assert torch.equal(model.newline.weight[0], source.model.image_newline)
    assert "<|im_start|>system\nYou are a helpful assistant." in model.prompt("Why?", video=True, audio=True)
    half = model.bfloat16()
    frames = torch.from_numpy(media.read_frames(spoken, 2))
    shown = OmniClip(half.pixels(frames).bfloat16(), faces(2).bfloat16())
    sound = half.hear(media.read_waveform(spoken, 16_000), 16_000)
    assert isinstance(half.generate(["Why?"], [shown], [sound], max_new_tokens=3)[0], str)


# --- encoders ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoders(tmp_path_factory) -> dict[str, tuple[str, t.PreTrainedModel]]:
    root = tmp_path_factory.mktemp("encoders")
    return {name: (str(root / name), make(maker, root / name)) for name, maker in ENCODERS.items()}


AUTO = {"WavLM": t.AutoModelForAudioXVector, "TimeSformer": t.TimesformerForVideoClassification}


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_has_the_released_weights(name, encoders):
    place, expected = encoders[name]
    network, _ = pretrained(AUTO.get(name, t.AutoModel), place)
    if name == "RoBERTa":
        same(network, expected.roberta, spare=("pooler.",))
    else:
        same(network, expected)


@pytest.mark.parametrize("name", ["WavLM", "CLIP", "ViT", "TimeSformer"])
def test_its_extractor_runs(name, encoders, spoken, tmp_path):
    places = {kind: place for kind, (place, _) in encoders.items()}
    faceless = {spoken: np.full((4, 936), np.nan, np.float32)}
    match name:
        case "WavLM":
            extractor, shape = XVectors(places[name], windows=4), (4, 20)
        case "CLIP":
            sentences = Sentences(places["RoBERTa"], max_length=16, store=Store(tmp_path))
            extractor, shape = NearestTemplates(places[name], sentences, frames=4), (4, 24)
        case "ViT":
            extractor, shape = FaceViT(places[name], faceless, frames=4), (4, 24)
        case "TimeSformer":
            extractor, shape = TimeSformer(places[name]), (1, 24)
    found = extract(extractor, [spoken], store=Store(tmp_path), strict=True).values[spoken]
    assert found.shape == shape and np.isfinite(found).all() and found.std() > 0


def test_pictures_are_prepared_as_the_releases_say(encoders, spoken):
    """Old files call classes and sizes otherwise; expected by arithmetic on a grey picture."""
    grey = np.full((1, 40, 40, 3), 128, np.uint8)
    vit = FaceViT(encoders["ViT"][0], {}, frames=1).processor(images=list(grey), return_tensors="pt")
    assert vit["pixel_values"].shape == (1, 3, 32, 32)
    np.testing.assert_allclose(vit["pixel_values"], (128 / 255 - 0.5) / 0.5, atol=1e-5)
    video = TimeSformer(encoders["TimeSformer"][0]).processor(list(grey), return_tensors="pt")
    assert video["pixel_values"].shape == (1, 1, 3, 32, 32)
    np.testing.assert_allclose(video["pixel_values"], (128 / 255 - 0.45) / 0.225, atol=1e-5)
    clip = t.AutoProcessor.from_pretrained(encoders["CLIP"][0])(images=list(grey), return_tensors="pt")
    assert clip["pixel_values"].shape == (1, 3, 28, 28)
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    np.testing.assert_allclose(clip["pixel_values"][0, :, 0, 0], (128 / 255 - mean) / std, atol=1e-5)


# --- Whisper -----------------------------------------------------------------------------------------------------


def test_whispers_encoder_is_read_from_the_whole_model(tmp_path):
    expected = make(whisper, tmp_path / "whisper")
    ears = released_ears(tmp_path / "whisper", torch.float32)
    same(ears.encoder, expected.model.encoder)
    noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32)
    [tokens] = ears([hear(noise, SAMPLE_RATE, ears.config)])
    assert tokens.shape == (17, 16) and tokens.isfinite().all()  # of 60 ms, the last one begun


def test_faster_whisper_has_the_released_weights_and_hears_chinese(tmp_path, spoken):
    expected = make(faster_whisper, tmp_path / "whisper")
    recogniser = speech.Recogniser(str(tmp_path / "whisper"), language="zh", store=Store(tmp_path / "store"))
    noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE * 30).astype(np.float32) * 0.1
    mels = recogniser.model.feature_extractor(noise)[:, :3000]
    assert mels.shape == (128, 3000)
    ours = np.array(recogniser.model.encode(mels))[0].astype(np.float32)
    with torch.no_grad():
        theirs = expected.model.encoder(torch.from_numpy(mels[None]).float()).last_hidden_state[0].numpy()
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99  # in eight bits
    assert isinstance(recogniser([spoken])[spoken], str)


# --- torch files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_files_saved_on_a_gpu_and_long_ago_are_read_anywhere(zipped, tmp_path, monkeypatch):
    weights = {"module.base_model.conv1.weight": torch.arange(6.0).reshape(2, 3), "half": torch.ones(3).half()}
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    torch.save({"state_dict": weights}, tmp_path / "old.pth", _use_new_zipfile_serialization=zipped)
    monkeypatch.undo()
    found = read_checkpoint(tmp_path / "old.pth", "state_dict").weights
    assert {name: value.device.type for name, value in found.items()} == dict.fromkeys(weights, "cpu")
    assert all(torch.equal(found[name], value) for name, value in weights.items())
