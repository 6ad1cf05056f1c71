"""Eleven model classes through one loader: real configurations and processors, small random weights, real clips."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForMultimodalLM

from reaffect import media, mllm
from reaffect.errors import InputError
from reaffect.store import Store
from tiny_newer_mllms import BUILDERS, HEARING

PROMPT = "Describe the video."


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[str]:
    """Four short films of moving colour, of different lengths and sizes."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    files = []
    for index, (frames, height, width) in enumerate([(12, 48, 64), (9, 64, 48), (20, 48, 64), (5, 56, 56)]):
        ramp = np.linspace(0, 255, frames)[:, None, None, None]
        film = np.clip(rng.integers(0, 256, (1, height, width, 3)) * 0.5 + ramp * 0.5, 0, 255).astype(np.uint8)
        file = folder / f"{index}.mp4"
        media.write_video(file, film, 8)
        files.append(str(file))
    return files


@pytest.fixture(scope="module", params=BUILDERS)
def checkpoint(request, tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoint") / request.param
    BUILDERS[request.param](folder)
    return folder


@pytest.fixture
def model(checkpoint, tmp_path):
    return fresh(checkpoint, tmp_path / "store")


def fresh(checkpoint, store) -> mllm.VideoMLLM:
    loaded = mllm.load(checkpoint, device="cpu", dtype="float32")
    loaded.store = Store(store)
    return loaded


def test_every_class_describes_scores_and_embeds(model, clips):
    texts = model.describe(clips[:2], PROMPT, max_new_tokens=5)
    scores = model.score(clips[:2], PROMPT, ["fear", "surprise"], max_new_tokens=5)
    states = model.embed(clips[:2], PROMPT)
    assert texts.index.tolist() == states.index.tolist() == clips[:2]
    assert all(isinstance(text, str) for text in texts.text)
    assert list(scores.columns) == ["fear", "surprise", "text"]
    assert states.shape == (2, 32) and np.isfinite(states.to_numpy()).all()
    assert not np.allclose(states.iloc[0], states.iloc[1])


def test_batched_and_single_results_agree(checkpoint, clips, tmp_path):
    one, many = fresh(checkpoint, tmp_path / "one"), fresh(checkpoint, tmp_path / "many")
    for tokens in ("sequence", "answer"):
        single = one.embed(clips, PROMPT, tokens=tokens, max_new_tokens=4, batch_size=1)
        batched = many.embed(clips, PROMPT, tokens=tokens, max_new_tokens=4, batch_size=4)
        np.testing.assert_allclose(single, batched, atol=1e-4)
    single = one.describe(clips, PROMPT, max_new_tokens=6, batch_size=1)
    pd.testing.assert_frame_equal(single, many.describe(clips, PROMPT, max_new_tokens=6, batch_size=4))


def test_the_order_of_frames_counts(model, clips):
    film = media.read_frames(clips[0], 5)
    states = [model._states(model._inputs([one], PROMPT))[0] for one in (film, film[::-1].copy())]
    assert torch.allclose(*states, atol=1e-4) == (not model.takes_videos), "an image model sees the middle one"


def test_embedding_is_the_mean_over_the_last_layers_states(model, checkpoint, clips):
    network = AutoModelForMultimodalLM.from_pretrained(checkpoint)
    seen = {}
    network.get_decoder().register_forward_hook(lambda _m, _i, out: seen.update(states=out.last_hidden_state))
    frames = media.read_frames(clips[0], model.frames) if model.frames > 1 else media.read_frames(clips[0], 3)[1:2]
    times = model._read(clips[0], model.frames, timed=True).times
    with torch.no_grad():
        network(**model._inputs([frames], PROMPT, times=[times] if model.takes_times else None))
    np.testing.assert_allclose(model.embed(clips[:1], PROMPT).iloc[0], seen["states"][0].mean(0), atol=1e-5)


@pytest.fixture(scope="module")
def video_llava(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("one") / "video-llava"
    BUILDERS["Video-LLaVA"](folder)
    return folder


@pytest.mark.parametrize("name", HEARING)
def test_an_omni_modal_model_hears_and_others_say_that_they_cannot(name, video_llava, clips, tmp_path):
    torch.manual_seed(0)
    BUILDERS[name](tmp_path / "omni")
    model = fresh(tmp_path / "omni", tmp_path / "store")
    film = media.read_frames(clips[0], 4)
    spoken = tmp_path / "spoken.mp4"
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    media.write_video(spoken, film, 4, waveform=tone.astype(np.float32), sample_rate=16000)
    both = [str(spoken), clips[0]]
    texts = model.describe(both, PROMPT, audio=True, max_new_tokens=8)
    alone = model.describe(both, PROMPT, max_new_tokens=8)
    assert texts.text.notna().all(), model.problems
    assert not texts.text.equals(alone.text), "what is heard is asked anew and counts"
    sound = model._read(str(spoken), 4, audio=True).sound
    inputs = model._inputs([film, film], PROMPT, [sound, 0 * sound])
    assert "input_features" in inputs and not torch.equal(*inputs["input_features"])
    [states, silent], _ = model._states(inputs)
    assert not torch.allclose(states, silent, atol=1e-4)
    with pytest.raises(InputError, match="cannot hear"):
        fresh(video_llava, tmp_path / "store").describe(clips, PROMPT, audio=True)


def test_a_run_that_was_cut_off_asks_only_for_the_rest(video_llava, clips, tmp_path, monkeypatch):
    first = fresh(video_llava, tmp_path)
    generate = first._generate
    calls = []

    def stop_at_the_third(inputs, *arguments, **options):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(inputs["input_ids"]))
        return generate(inputs, *arguments, **options)

    monkeypatch.setattr(first, "_generate", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        first.describe(clips, PROMPT, max_new_tokens=3, batch_size=1)
    second = fresh(video_llava, tmp_path)
    again = second._generate
    asked = []
    monkeypatch.setattr(second, "_generate", lambda inputs, *a, **o: asked.append(1) or again(inputs, *a, **o))
    assert second.describe(clips, PROMPT, max_new_tokens=3, batch_size=1).text.notna().all()
    assert len(asked) == 2
    second.describe(clips, PROMPT + " Now.", max_new_tokens=3, batch_size=4)
    assert len(asked) == 3, "another prompt is asked anew"


def test_a_bad_clip_is_listed_and_the_others_finish(video_llava, clips, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    model = fresh(video_llava, tmp_path / "store")
    order = [clips[1], str(broken), clips[0], str(tmp_path / "missing.mp4")]
    texts = model.describe(order, PROMPT, max_new_tokens=3)
    assert texts.index.tolist() == order
    assert texts.text.notna().tolist() == [True, False, True, False]
    assert model.embed(order, PROMPT).isna().all(axis=1).tolist() == [False, True, False, True]
    assert set(model.problems) == {str(broken), str(tmp_path / "missing.mp4")}
    assert "broken.mp4" in model.problems[str(broken)]
    with pytest.raises(InputError, match=r"broken\.mp4"):
        model.describe([str(broken)], PROMPT, strict=True)


def test_a_folder_that_is_no_checkpoint(tmp_path, video_llava):
    with pytest.raises(InputError, match=r"config\.json is missing"):
        mllm.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="no video or image LLM could be loaded"):
        mllm.load(tmp_path)
    with pytest.raises(InputError, match=r"no-such/model: .*offline"):
        mllm.load("no-such/model")
    (video_llava / "model.safetensors").rename(video_llava / "hidden")
    try:
        with pytest.raises(InputError, match=r"\*\.safetensors"):
            mllm.load(video_llava)
    finally:
        (video_llava / "hidden").rename(video_llava / "model.safetensors")


def test_an_unknown_pooling_is_refused(video_llava, clips, tmp_path):
    with pytest.raises(InputError, match="'sequence' or 'answer'"):
        fresh(video_llava, tmp_path).embed(clips, PROMPT, tokens="all")
