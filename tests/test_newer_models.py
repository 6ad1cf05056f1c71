"""Newer model classes: when frames are shown, released names of weights, and what cannot be loaded here."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import transformers as t
from safetensors.torch import load_file, save_file

from reaffect import media, mllm
from reaffect.errors import InputError
from reaffect.models.multimodal import CONTINUING
from reaffect.prompts import VAIANI_PROMPTS
from test_mllm import PROMPT, fresh
from test_mllm_each import SHORT, THREE, Watched, alone
from tiny_newer_mllms import BUILDERS, HEARING, gemma_words

TOLD = {
    "Qwen3-VL": lambda times: [f"<{(a + b) / 2:.1f} seconds>" for a, b in list(pairwise(times))[::2]],
    "VideoLLaMA3": lambda times: [f"Time {time:.1f}s:" for time in times],
    "Gemma 4": lambda times: [f"{int(time) // 60:02d}:{int(time) % 60:02d} <|image>" for time in times],
}
"""Models that read when frames are shown, and in which words; Qwen's pairs of frames have their mean."""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A model class's name -> its checkpoint."""
    root = tmp_path_factory.mktemp("checkpoints")

    def one(name: str) -> Path:
        if not (root / name).exists():
            torch.manual_seed(0)
            BUILDERS[name](root / name)
        return root / name

    return one


@pytest.fixture(scope="module")
def slow(tmp_path_factory) -> dict[str, list[float]]:
    """Clips with a second or four from frame to frame, and when four equidistant frames of each are shown."""
    folder, made = tmp_path_factory.mktemp("slow"), {}
    rng = np.random.default_rng(0)
    for name, count, fps in (("short", 10, 1.0), ("long", 22, 0.25)):
        film = rng.integers(0, 256, (count, 48, 64, 3), dtype=np.uint8)
        file = media.write_video(folder / f"{name}.mp4", film, fps)
        made[str(file)] = [step * (count - 1) / 3 / fps for step in range(4)]
    return made


def caught(model: mllm.VideoMLLM, monkeypatch) -> list[dict]:
    """What the network is given from now on."""
    given, generate = [], model._generate
    monkeypatch.setattr(model, "_generate", lambda inputs, *a, **o: given.append(inputs) or generate(inputs, *a, **o))
    return given


def spelled(ids: list[int]) -> str:
    """Token ids as a text in which a part of them can be looked for."""
    return "".join(f" {token}," for token in ids)


@pytest.mark.parametrize("name", TOLD)
def test_who_reads_times_reads_the_true_ones(name, built, slow, tmp_path, monkeypatch):
    model = fresh(built(name), tmp_path)
    given = caught(model, monkeypatch)
    model.describe(list(slow), PROMPT, frames=4, max_new_tokens=1, strict=True)
    [inputs] = given
    words = model.processor.tokenizer
    for read, times in zip(inputs["input_ids"].tolist(), slow.values(), strict=True):
        said = [spelled(words(text, add_special_tokens=False).input_ids) for text in TOLD[name](times)]
        places = [spelled(read).find(one) for one in said]
        assert -1 not in places and places == sorted(places), f"{times} are not read in {words.decode(read)}"


def test_times_are_asked_of_those_alone_who_take_them(built, slow, tmp_path, monkeypatch):
    takes = {name for name in BUILDERS if fresh(built(name), tmp_path).takes_times}
    assert takes == set(TOLD)
    monkeypatch.setattr(media, "probe", lambda clip: pytest.fail(f"{clip} was probed for nothing"))
    fresh(built("Video-LLaVA"), tmp_path).describe(list(slow), PROMPT, max_new_tokens=1, strict=True)


@pytest.mark.parametrize("name", TOLD)
def test_a_folder_of_frames_does_not_tell_times_and_is_seen(name, built, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, picture in enumerate(np.random.default_rng(0).integers(0, 256, (5, 48, 64, 3), dtype=np.uint8)):
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    model = fresh(built(name), tmp_path / "store")
    assert model.describe([folder], PROMPT, frames=4, max_new_tokens=2, strict=True).text.notna().all()


@pytest.mark.parametrize("name", HEARING)
def test_sounds_of_different_lengths_are_heard_in_a_batch_as_alone(name, built, tmp_path):
    rng = np.random.default_rng(0)
    files = []
    for index, seconds in enumerate((1.0, 2.3, 0.7)):
        sound = rng.uniform(-0.5, 0.5, int(16_000 * seconds)).astype(np.float32)
        film = rng.integers(0, 256, (6, 48, 64, 3), dtype=np.uint8)
        files.append(str(media.write_video(tmp_path / f"{index}.mp4", film, 6, sound, 16_000)))
    model = fresh(built(name), tmp_path / "store")
    seen = [model._read(file, 4, audio=True, timed=model.takes_times) for file in files]
    states, mask = model._states(model._shown(seen, PROMPT))
    assert len({len(one.sound) for one in seen}) == 3 and not mask.all()
    for row, one in enumerate(seen):
        [single], _ = model._states(model._shown([one], PROMPT))
        torch.testing.assert_close(states[row, mask[row].bool()], single, atol=1e-4, rtol=0)


def test_what_hardly_moves_is_fewer_tokens_to_video_llama_3_and_a_batch_changes_nothing(built, tmp_path):
    rng = np.random.default_rng(0)
    moving = rng.integers(0, 256, (8, 56, 56, 3), dtype=np.uint8)
    clips = []
    for name, film in (("moving", moving), ("still", np.repeat(moving[:1], 8, 0))):
        clips.append(str(media.write_video(tmp_path / f"{name}.mp4", film, 8)))
    one, both = fresh(built("VideoLLaMA3"), tmp_path / "one"), fresh(built("VideoLLaMA3"), tmp_path / "both")
    pad = one.network.config.video_token_id
    ids = one._shown([one._read(clip, 8, timed=True) for clip in clips], PROMPT)["input_ids"]
    assert (ids == pad).sum(1).tolist()[0] == 8 * 4 > (ids == pad).sum(1).tolist()[1]
    single = one.embed(clips, PROMPT, batch_size=1)
    np.testing.assert_allclose(single, both.embed(clips, PROMPT, batch_size=2), atol=1e-4)


@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "LLaVA"])  # it has no template
def test_a_template_with_the_clip_last_leaves_nothing_to_share(name, built, tmp_path):
    model = fresh(built(name), tmp_path)
    assert model.network.config.model_type in CONTINUING
    assert model._endings(list(VAIANI_PROMPTS), heard=False) is not None
    forwards = "{% for part in message['content'] %}"
    turned = model.processor.chat_template.replace(forwards, forwards.replace("'] %}", "'][::-1] %}"))
    assert turned != model.processor.chat_template
    model.processor.chat_template = turned
    assert model._endings(list(VAIANI_PROMPTS), heard=False) is None


@pytest.mark.parametrize("name", ["Gemma 3", "Gemma 4"])
def test_a_text_begins_once_though_template_and_tokenizer_begin_it(name, built, tmp_path):
    model = fresh(built(name), tmp_path)
    words = model.processor.tokenizer
    twice = words(model.processor.chat_template.split("}}")[0].split("'")[1]).input_ids
    assert twice == [words.bos_token_id] * 2, "left alone, both begin it"
    [ids] = model._inputs([np.zeros((3, 48, 64, 3), np.uint8)], PROMPT)["input_ids"]
    assert (ids == words.bos_token_id).nonzero().flatten().tolist() == [0]


@pytest.fixture
def large(built, tmp_path) -> Path:
    """A Gemma 4 as the large ones are: without ears, and a frame's tokens look at each other both ways."""
    folder = shutil.copytree(built("Gemma 4"), tmp_path / "large")
    config = json.loads((folder / "config.json").read_text()) | {"audio_config": None}
    config["text_config"]["use_bidirectional_attention"] = "vision"
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_gemma_without_ears_is_deaf_whatever_its_processor_has(large, slow, tmp_path):
    model = fresh(large, tmp_path / "store")
    assert model.processor.feature_extractor is not None and not model.takes_audio
    with pytest.raises(InputError, match="cannot hear"):
        model.describe(list(slow), PROMPT, audio=True)


def test_frames_that_look_both_ways_are_shared_by_questions(large, built, slow, tmp_path, monkeypatch):
    apart, together = fresh(large, tmp_path / "apart"), fresh(large, tmp_path / "together")
    one, each = Watched(apart, monkeypatch), Watched(together, monkeypatch)
    pd.testing.assert_frame_equal(together.describe_each(list(slow), THREE, **SHORT), alone(apart, list(slow), **SHORT))
    assert one.looks() == 3 and each.looks() == 1
    for asked, continued in zip(one.logits, each.logits[1:], strict=True):
        np.testing.assert_allclose(continued, asked, atol=1e-5)
    states = [model._states(one.inputs[0])[0] for model in (apart, fresh(built("Gemma 4"), tmp_path / "small"))]
    assert not torch.allclose(*states, atol=1e-4), "they look both ways, or nothing was tested"


def test_of_a_released_qwen3_omni_the_part_that_answers_is_read(built, slow, tmp_path):
    """Its weights are named `thinker.`, one an expert, beside those of the parts that speak."""
    thinker = fresh(built("Qwen3-Omni"), tmp_path / "alone")
    folder = shutil.copytree(built("Qwen3-Omni"), tmp_path / "whole")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3_omni_moe", "thinker_config": config}))
    weights = {
        "thinker." + name.removeprefix("thinker."): value
        for name, value in load_file(folder / "model.safetensors").items()
    }
    assert any(".experts.3.down_proj.weight" in name for name in weights)
    spoken = {"talker.model.norm.weight": torch.ones(4), "code2wav.pre_transformer.norm.weight": torch.ones(4)}
    save_file(weights | spoken, folder / "model.safetensors", metadata={"format": "pt"})
    model = fresh(folder, tmp_path / "store")
    assert type(model.network) is type(thinker.network)
    for name, value in thinker.network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], value), name
    options = {"audio": True, "max_new_tokens": 4, "strict": True}
    pd.testing.assert_frame_equal(
        model.describe(list(slow), PROMPT, **options), thinker.describe(list(slow), PROMPT, **options)
    )


def test_a_class_that_needs_a_package_says_which(tmp_path):
    """Gemma 3n's eyes are timm's, which is not installed here."""
    kinds = ("image", "boi", "eoi", "audio", "boa", "eoa")
    words = gemma_words({f"{kind}_token": f"<{kind}>" for kind in kinds})
    t.Gemma3nProcessor(t.Gemma3nAudioFeatureExtractor(), t.SiglipImageProcessor(), words).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3n"}))
    save_file({"weight": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"no video or image LLM could be loaded \(.*requires the timm library"):
        mllm.load(tmp_path)


def test_code_that_lies_beside_a_checkpoint_is_not_run_though_one_would_say_yes(tmp_path, monkeypatch):
    """As in the repositories of InternVL and VideoLLaMA3 that are not in transformers' own format."""
    monkeypatch.setattr("builtins.input", lambda _: "y")
    mark = tmp_path / "ran"
    auto = {"AutoConfig": "configuration.Config", "AutoModel": "configuration.Config"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "internvl_chat", "auto_map": auto}))
    (tmp_path / "configuration.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    with pytest.raises(InputError, match="contains custom code"):
        mllm.load(tmp_path)
    assert not mark.exists()
