"""Several questions for one look at a clip, and batches that do not fit in memory."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import StaticCache

from reaffect import media, mllm
from reaffect.errors import InputError
from reaffect.prompts import VAIANI_PROMPTS, VAIANI_QUESTION
from reaffect.served import ServedMLLM
from reaffect.store import Store
from test_mllm import checkpoint, fresh, video_llava  # noqa: F401
from tiny_mllms import template
from tiny_newer_mllms import BUILDERS, HEARING

THREE = {"general": VAIANI_PROMPTS[0], "specific": VAIANI_PROMPTS[1], "scores": VAIANI_QUESTION}
SHORT = {"max_new_tokens": 8}


PADDED = ("Qwen3-VL", "Qwen2.5-Omni", "Qwen3-Omni", "VideoLLaMA3", "Gemma 4")
"""Models to which clips of different shapes are different numbers of tokens."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[str]:
    """Four short films of moving colour, of different shapes."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(1)
    files = []
    for index, (height, width) in enumerate([(48, 64), (28, 140), (64, 48), (56, 56)]):
        ramp = np.linspace(0, 120, 9)[:, None, None, None]
        film = (rng.integers(0, 128, (1, height, width, 3)) + ramp).astype(np.uint8)
        files.append(str(folder / f"{index}.mp4"))
        media.write_video(files[-1], film, 8)
    return files


class Watched:
    """A model's calls of `_generate`: what went in, and the logits of the first new token."""

    def __init__(self, model: mllm.VideoMLLM, monkeypatch) -> None:
        self.inputs: list[dict] = []
        self.logits: list[torch.Tensor] = []
        generate = model._generate

        def watched(inputs, max_new_tokens, **options):
            output = generate(inputs, max_new_tokens, output_logits=True, **options)
            self.inputs.append(inputs)
            self.logits.append(output.logits[0])
            return output

        monkeypatch.setattr(model, "_generate", watched)

    def looks(self) -> int:
        """How often clips were shown."""
        return sum(any("pixel" in name for name in inputs) for inputs in self.inputs)

    def questions(self) -> list[int]:
        """How many clips each question was asked about, without the looks."""
        return [len(inputs["input_ids"]) for inputs in self.inputs if "past_key_values" in inputs]


def alone(model: mllm.VideoMLLM, clips: list[str], **options) -> pd.DataFrame:
    return pd.concat([model.describe(clips, text, **options).text.rename(name) for name, text in THREE.items()], axis=1)


def test_questions_that_share_a_look_are_answered_as_if_asked_alone(checkpoint, clips, tmp_path, monkeypatch):  # noqa: F811
    apart, together = fresh(checkpoint, tmp_path / "apart"), fresh(checkpoint, tmp_path / "together")
    one, each = Watched(apart, monkeypatch), Watched(together, monkeypatch)
    expected = alone(apart, clips, **SHORT)
    pd.testing.assert_frame_equal(together.describe_each(clips, THREE, **SHORT), expected)
    assert one.looks() == 3 and each.looks() == 1 and each.questions() == [4, 4, 4]
    for asked, continued in zip(one.logits, each.logits[1:], strict=True):
        np.testing.assert_allclose(continued, asked, atol=1e-5)
    for asked, continued in zip(one.inputs, each.inputs[1:], strict=True):
        assert torch.equal(continued["input_ids"], asked["input_ids"])
        assert torch.equal(continued["attention_mask"], asked["attention_mask"])
    assert each.inputs[0]["attention_mask"].all() == (checkpoint.name not in PADDED)
    assert not torch.allclose(one.logits[0], one.logits[2], atol=1e-2), "the questions differ, or nothing was tested"
    assert not torch.allclose(one.logits[0][0], one.logits[0][1], atol=1e-3), "the clips differ"


@pytest.mark.parametrize("tokens", ["sequence", "answer"])
def test_prompts_that_share_a_look_embed_as_if_alone(checkpoint, clips, tmp_path, monkeypatch, tokens):  # noqa: F811
    apart, together = fresh(checkpoint, tmp_path / "apart"), fresh(checkpoint, tmp_path / "together")
    expected = {name: apart.embed(clips, text, tokens=tokens, **SHORT) for name, text in THREE.items()}
    watched = Watched(together, monkeypatch)
    found = together.embed_each(clips, THREE, tokens=tokens, **SHORT)
    assert watched.looks() == 1 and watched.questions() == [4, 4, 4]
    assert list(found) == list(THREE)
    for name, alone_with_it in expected.items():
        pd.testing.assert_frame_equal(found[name], alone_with_it, rtol=0, atol=1e-5)
    assert not np.allclose(expected["general"], expected["scores"], atol=1e-2), "the prompts differ"
    assert not np.allclose(*expected["general"].to_numpy()[:2], atol=1e-3), "the clips differ"
    pd.testing.assert_frame_equal(together.embed(clips, THREE["scores"], tokens=tokens, **SHORT), found["scores"])
    assert len(watched.inputs) == 4, "what is stored is not computed again"


def test_answers_with_a_cache_of_fixed_size_are_those_with_one_that_grows(checkpoint, clips, tmp_path, monkeypatch):  # noqa: F811
    growing, static = fresh(checkpoint, tmp_path / "growing"), fresh(checkpoint, tmp_path / "static")
    static.static = True
    one, other = Watched(growing, monkeypatch), Watched(static, monkeypatch)
    kinds = []
    forward = static.network.get_decoder().register_forward_hook(lambda *_: kinds.append(type(_[2].past_key_values)))
    pd.testing.assert_frame_equal(
        static.describe(clips, THREE["general"], **SHORT), growing.describe(clips, THREE["general"], **SHORT)
    )
    np.testing.assert_allclose(*(watched.logits[0] for watched in (one, other)), atol=1e-5)
    assert set(kinds) == {StaticCache}
    forward.remove()
    pd.testing.assert_frame_equal(static.describe_each(clips, THREE, **SHORT), alone(growing, clips, **SHORT))


@pytest.mark.parametrize("name", HEARING)
def test_an_omni_modal_model_listens_once(name, clips, tmp_path, monkeypatch):
    torch.manual_seed(0)
    BUILDERS[name](tmp_path / "omni")
    spoken = tmp_path / "spoken.mp4"
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(24000) / 16000).astype(np.float32)
    media.write_video(spoken, media.read_frames(clips[0], 4), 4, waveform=tone, sample_rate=16000)
    heard = {"audio": True, **SHORT}
    apart, together = fresh(tmp_path / "omni", tmp_path / "apart"), fresh(tmp_path / "omni", tmp_path / "together")
    one, each = Watched(apart, monkeypatch), Watched(together, monkeypatch)
    both = [str(spoken), clips[0]]
    expected = alone(apart, both, **heard)
    pd.testing.assert_frame_equal(together.describe_each(both, THREE, **heard), expected)
    assert sum("input_features" in inputs for inputs in each.inputs) == 1
    for asked, continued in zip(one.logits, each.logits[1:], strict=True):
        np.testing.assert_allclose(continued, asked, atol=1e-5)


@pytest.mark.parametrize("method", ["describe_each", "embed_each"])
def test_a_clip_is_decoded_encoded_and_read_once(video_llava, clips, tmp_path, monkeypatch, method):  # noqa: F811
    model = fresh(video_llava, tmp_path)
    decoded, encoded, tokens = [], [], []
    read = media.read_frames
    monkeypatch.setattr(media, "read_frames", lambda clip, *rest: decoded.append(clip) or read(clip, *rest))
    model.network.base_model.video_tower.register_forward_hook(lambda *_: encoded.append(1))
    model.network.get_decoder().register_forward_pre_hook(
        lambda _m, _a, options: tokens.append(options["inputs_embeds"].shape[1]), with_kwargs=True
    )
    getattr(model, method)(clips, THREE, max_new_tokens=1)
    assert sorted(decoded) == sorted(clips) and encoded == [1]
    video = 8 * 5
    assert tokens[0] == len("user: ") + video, "every letter is a token, and the questions part at their first"
    assert tokens[1:] == [len(prompt + " assistant:") for prompt in THREE.values()]


def test_answers_are_stored_by_question_and_only_those_that_lack_are_asked(video_llava, clips, tmp_path, monkeypatch):  # noqa: F811
    expected = alone(fresh(video_llava, tmp_path / "expected"), clips, **SHORT)
    model = fresh(video_llava, tmp_path / "store")
    model.describe(clips[:3], THREE["scores"], **SHORT)
    watched = Watched(model, monkeypatch)
    found = model.describe_each(clips, THREE, **SHORT)
    pd.testing.assert_frame_equal(found, expected)
    assert watched.questions() == [3, 3, 1, 1, 1], "two questions about three clips, three about the fourth"
    asked = len(watched.inputs)
    pd.testing.assert_frame_equal(alone(model, clips, **SHORT), expected)
    model.score(clips, THREE["scores"], ["fear"], **SHORT)
    pd.testing.assert_frame_equal(model.describe_each(clips[::-1], THREE, **SHORT), expected[::-1])
    assert len(watched.inputs) == asked, "what is stored is not asked again"


@pytest.mark.parametrize("hinder", ["model type", "template"])
def test_a_model_that_cannot_share_a_look_is_asked_one_by_one(video_llava, clips, tmp_path, monkeypatch, hinder):  # noqa: F811
    def hindered(store: str) -> mllm.VideoMLLM:
        model = fresh(video_llava, tmp_path / store)
        if hinder == "template":
            forwards = "{% for part in message['content'] %}"
            text = template("<video>", "<image>")
            assert forwards in text
            model.processor.chat_template = text.replace(forwards, forwards.replace("'] %}", "'][::-1] %}"))
        return model

    if hinder == "model type":
        monkeypatch.setattr(mllm, "CONTINUING", set())
    model = hindered("together")
    watched = Watched(model, monkeypatch)
    found = model.describe_each(clips[:2], THREE, **SHORT)
    assert watched.looks() == 3 and watched.questions() == []
    apart = hindered("apart")
    pd.testing.assert_frame_equal(found, alone(apart, clips[:2], **SHORT))
    embedded = model.embed_each(clips[:2], THREE)
    assert watched.looks() == 6 and watched.questions() == []
    for name, prompt in THREE.items():
        pd.testing.assert_frame_equal(embedded[name], apart.embed(clips[:2], prompt))


def test_a_bad_clip_lacks_every_answer(video_llava, clips, tmp_path):  # noqa: F811
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    model = fresh(video_llava, tmp_path / "store")
    found = model.describe_each([clips[0], str(broken)], THREE, **SHORT)
    assert list(found.columns) == list(THREE)
    assert found.notna().all(axis=1).tolist() == [True, False] and found.loc[str(broken)].isna().all()
    assert list(model.problems) == [str(broken)] and "broken.mp4" in model.problems[str(broken)]
    with pytest.raises(InputError, match=r"broken\.mp4"):
        model.describe_each([str(broken)], THREE, strict=True)
    for vectors in model.embed_each([clips[0], str(broken)], THREE).values():
        assert vectors.notna().all(axis=1).tolist() == [True, False] and vectors.loc[str(broken)].isna().all()


@pytest.mark.parametrize("method", ["embed", "embed_each"])
def test_a_served_model_says_that_it_cannot_embed(method):
    model = ServedMLLM(SimpleNamespace(model="far/away"), "its identity")
    with pytest.raises(InputError, match="far/away: a server gives answers, and no hidden states"):
        getattr(model, method)(["a.mp4"], THREE)


METHODS: dict[str, Callable[[mllm.VideoMLLM, list[str], int], pd.DataFrame]] = {
    "describe": lambda model, files, size: model.describe(files, THREE["general"], batch_size=size, **SHORT),
    "describe_each": lambda model, files, size: model.describe_each(files, THREE, batch_size=size, **SHORT),
    "describe_frames": lambda model, files, size: model.describe_frames(
        files, THREE["general"], frames=2, batch_size=size, **SHORT
    ),
    "embed": lambda model, files, size: model.embed(files, THREE["general"], batch_size=size),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(video_llava, clips, tmp_path, method, caplog):  # noqa: F811
    rows = 4 if method == "describe_frames" else 2
    model = crowded(fresh(video_llava, tmp_path / "crowded"), rows)
    found = METHODS[method](model, clips, 4)
    roomy = fresh(video_llava, tmp_path / "roomy")
    pd.testing.assert_frame_equal(found, METHODS[method](roomy, clips, 4), atol=1e-5)
    assert [record.getMessage().split(";")[0] for record in caplog.records] == ["A batch of 4 does not fit in memory"]
    again = crowded(fresh(video_llava, tmp_path / "crowded"), 0)
    pd.testing.assert_frame_equal(METHODS[method](again, clips, 4), found), "all of it was stored"


def test_a_clip_that_does_not_fit_alone_is_said(video_llava, clips, tmp_path):  # noqa: F811
    with pytest.raises(InputError, match="Not even a batch of one"):
        crowded(fresh(video_llava, tmp_path), 0).describe(clips, THREE["general"], **SHORT)


def crowded(model: mllm.VideoMLLM, most: int) -> mllm.VideoMLLM:
    """The model on a device that holds `most` rows."""

    def check(_module, _arguments, options):
        if len(options["input_ids"]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    model.network.register_forward_pre_hook(check, with_kwargs=True)
    return model


def test_the_store_computes_together_what_an_item_lacks(tmp_path):
    store = Store(tmp_path)
    recipes = {"loud": {"mark": "!"}, "asking": {"mark": "?"}}
    store.compute("say", recipes["asking"], ["b"], lambda items: [item + "?" for item in items], batch_size=2)
    calls = []

    def say(items, lacking):
        calls.append((items, lacking))
        return [[item + recipes[name]["mark"] for name in lacking] for item in items]

    found = store.compute_each("say", recipes, ["a", "b", "c"], say, batch_size=8)
    assert calls == [(["a", "c"], ("loud", "asking")), (["b"], ("loud",))]
    assert found["loud"].values == {"a": "a!", "b": "b!", "c": "c!"}
    assert found["asking"].values == {"a": "a?", "b": "b?", "c": "c?"}
    assert store.compute_each("say", recipes, "abc", None, batch_size=8) == found


def test_an_item_without_one_of_its_values_keeps_the_other(tmp_path):
    def halve(items, lacking):
        return [[item + "!", InputError(f"{item} asks nothing") if item == "a" else item + "?"] for item in items]

    recipes = {"loud": {"mark": "!"}, "asking": {"mark": "?"}}
    found = Store(tmp_path).compute_each("say", recipes, ["a", "b"], halve, batch_size=2)
    assert found["loud"] == ({"a": "a!", "b": "b!"}, {})
    assert found["asking"] == ({"b": "b?"}, {"a": "a asks nothing"})
    with pytest.raises(InputError, match="a asks nothing"):
        Store(tmp_path / "strict").compute_each("say", recipes, ["a", "b"], halve, batch_size=2, strict=True)
    with pytest.raises(ValueError, match="2 items went into the function, 0 values"):
        Store(tmp_path / "short").compute_each("say", recipes, ["a", "b"], lambda *_: [], batch_size=2)
