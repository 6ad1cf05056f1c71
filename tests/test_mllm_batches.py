"""Clips that are many tokens and few: how they are counted, and the batches that they are asked about in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as t

from reaffect import describing, media, mllm
from reaffect.describing import Extent
from reaffect.models.multimodal import token_bytes
from test_mllm import PROMPT, checkpoint, fresh, video_llava  # noqa: F401
from test_mllm_each import PADDED, SHORT, THREE, Watched
from tiny_newer_mllms import BUILDERS, HEARING

SIDES = [(48, 64), (96, 128), (112, 56), (56, 112), (64, 64)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[str]:
    """Films of noise, of different shapes."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    films = (rng.integers(0, 256, (8, *side, 3), dtype=np.uint8) for side in SIDES)
    return [str(media.write_video(folder / f"{number}.mp4", film, 8)) for number, film in enumerate(films)]


def asked(model: mllm.VideoMLLM, prompt: str = PROMPT, **more) -> dict:
    """As a question's recipe says what is shown."""
    return {"prompt": prompt, "frames": model.frames, **model._timed, **more}


def spoken(folder, seconds: float) -> str:
    film = np.random.default_rng(0).integers(0, 256, (6, 48, 64, 3), dtype=np.uint8)
    sound = np.random.default_rng(1).uniform(-0.5, 0.5, int(16_000 * seconds)).astype(np.float32)
    return str(media.write_video(folder / f"{seconds}.mp4", film, 6 / seconds, sound, 16_000))


def test_tokens_are_counted_as_the_network_gets_them(checkpoint, clips, tmp_path):  # noqa: F811
    model = fresh(checkpoint, tmp_path)
    recipe = asked(model, max_new_tokens=7)
    extents = describing.extents(clips, audio=False)
    assert [extent[:2] for extent in extents] == SIDES
    counted = [model._tokens(extent, recipe) - 7 for extent in extents]
    given = [model._shown([model._read(clip, **recipe)], PROMPT)["input_ids"].shape[1] for clip in clips]
    spelled = 2 * model.frames if model.takes_times else 0  # times have other digits, of which each is a token here
    np.testing.assert_allclose(counted, given, rtol=0, atol=spelled)
    assert (len(set(given)) > 1) == (checkpoint.name in (*PADDED, "Qwen2.5-VL"))


@pytest.mark.parametrize("name", HEARING)
def test_the_longer_a_sound_the_more_tokens(name, tmp_path):
    torch.manual_seed(0)
    BUILDERS[name](tmp_path / "omni")
    model = fresh(tmp_path / "omni", tmp_path / "store")
    files = [spoken(tmp_path, seconds) for seconds in (1, 4)]
    recipe = asked(model, audio=True)
    extents = describing.extents(files, audio=True)
    counted = [model._tokens(extent, recipe) for extent in extents]
    given = [model._shown([model._read(file, **recipe)], PROMPT)["input_ids"].shape[1] for file in files]
    # a container may hold a packet more, which is heard for a second more
    second = (counted[1] - counted[0]) / (extents[1].sound_s - extents[0].sound_s)
    assert second > 1 and np.abs(np.subtract(counted, given)).max() <= second + 2 * model.frames
    silent = media.write_video(tmp_path / "silent.mp4", np.zeros((6, 48, 64, 3), np.uint8), 6)
    assert describing.extents([str(silent)], audio=True) == [Extent(48, 64, 1)], "a second of silence is played"


@pytest.mark.parametrize("name", ["Qwen3-VL", "Gemma 4"])
def test_what_is_many_tokens_goes_first_and_no_batch_takes_more_than_is_free(name, clips, tmp_path, monkeypatch):
    torch.manual_seed(0)
    BUILDERS[name](tmp_path / "model")
    roomy, narrow = (fresh(tmp_path / "model", tmp_path / store) for store in ("roomy", "narrow"))
    expected = roomy.describe_each(clips, THREE, **SHORT)
    each = token_bytes(narrow.network.config.get_text_config(), torch.float32, caches=2)
    longest = asked(narrow, max(THREE.values(), key=len), **SHORT)
    most = 2 * max(narrow._tokens(Extent(*side, 0), longest) for side in SIDES)
    monkeypatch.setattr(mllm, "free_bytes", lambda device: int(most * each / mllm.SHARE) + each)
    watched = Watched(narrow, monkeypatch)
    pd.testing.assert_frame_equal(narrow.describe_each(clips, THREE, **SHORT), expected)
    looks = [inputs["attention_mask"] for inputs in watched.inputs if "past_key_values" not in inputs]
    assert len(looks[0]) == 2 and 1 < len(looks) < len(clips)
    tokens = [mask.sum(1).max().item() for mask in looks]
    assert tokens == sorted(tokens, reverse=True) and len(set(tokens)) > 1
    for inputs in watched.inputs:
        if "past_key_values" in inputs:
            rows, columns = inputs["input_ids"].shape
            assert rows == 1 or rows * (columns + SHORT["max_new_tokens"]) <= most


@pytest.mark.parametrize(("free", "rows"), [(3, [9, 6]), (2, [6, 6, 3]), (0, [3] * 5)])
def test_of_a_clip_all_pictures_count(video_llava, clips, tmp_path, monkeypatch, free, rows):  # noqa: F811
    """Each frame is a question of its own; clips of any shape are as many tokens, and none is probed."""
    model = fresh(video_llava, tmp_path)
    config = model.network.config.get_text_config()
    a_clip = model._tokens(Extent(64, 64, 0), asked(model, **SHORT) | {"frames": 3, "each frame": True})
    assert a_clip == 3 * (len(f"user: {PROMPT} assistant:") + 5 + SHORT["max_new_tokens"])
    room = (free + 0.5) * a_clip * token_bytes(config, torch.float32, caches=1) / mllm.SHARE
    monkeypatch.setattr(mllm, "free_bytes", lambda device: int(room))
    monkeypatch.setattr(media, "probe", lambda clip: pytest.fail(f"{clip} was probed for nothing"))
    watched = Watched(model, monkeypatch)
    assert model.describe_frames(clips, PROMPT, frames=3, batch_size=4, **SHORT).notna().all(axis=None)
    assert [len(inputs["input_ids"]) for inputs in watched.inputs] == rows


def test_a_clip_that_cannot_be_counted_is_listed_and_the_others_finish(clips, tmp_path):
    torch.manual_seed(0)
    BUILDERS["Qwen3-VL"](tmp_path / "model")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    model = fresh(tmp_path / "model", tmp_path / "store")
    texts = model.describe([str(broken), *clips], PROMPT, **SHORT)
    assert texts.index.tolist() == [str(broken), *clips]
    assert texts.text.isna().tolist() == [True] + [False] * len(clips)
    assert list(model.problems) == [str(broken)]


# ---- bytes of a token


def test_bytes_of_a_token_are_those_of_its_keys_values_and_widest_layer():
    """LLaMA-7B: 32 layers of 32 heads of 128; states of 4096, and 11008 between a layer's products."""
    room = 8 * (4096 + 11008)
    assert token_bytes(t.LlamaConfig(), torch.bfloat16, caches=1) == 2 * (2 * 32 * 32 * 128 + room)
    assert token_bytes(t.LlamaConfig(), torch.float32, caches=2) == 4 * (4 * 32 * 32 * 128 + room)
    experts = t.Qwen3MoeConfig(
        hidden_size=8, intermediate_size=4, moe_intermediate_size=3, num_experts_per_tok=2, num_hidden_layers=1,
        num_key_value_heads=1, head_dim=16,
    )  # fmt: skip
    assert token_bytes(experts, torch.float32, caches=1) == 4 * (2 * 16 + 8 * (8 + 2 * 3))


def test_a_cache_is_not_larger_than_is_told(checkpoint, clips, tmp_path):  # noqa: F811
    model = fresh(checkpoint, tmp_path)
    inputs = model._shown([model._read(clips[0], **asked(model))], PROMPT)
    cache, _ = model._begin(inputs, whole=False)
    held = (
        sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers if layer.keys is not None)
        / inputs["input_ids"].shape[1]
    )
    config = model.network.config.get_text_config()
    two, one = (token_bytes(config, torch.float32, caches=caches) for caches in (2, 1))
    assert held <= two - one
    if "Gemma" not in checkpoint.name:  # whose layers slide over their tokens, or share what they keep
        assert held == two - one
