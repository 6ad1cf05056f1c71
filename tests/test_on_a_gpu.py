"""What runs on a GPU, on one that is pretended: nothing stays behind, and results are those of the processor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from bench import gpu
from torch import Tensor, nn

from pretended_gpu import GPU, pretended_gpu
from reaffect import faces, finetuning, mllm
from reaffect.audiovisual import Asked, AudioVisualLLM
from reaffect.features.extraction import Extractor, extract
from reaffect.hardware import best_device
from reaffect.models.dialogue_clip import DialogueClip
from reaffect.models.microemo import MicroEmo
from reaffect.models.pandagpt import PandaGPT
from reaffect.models.sequence import SequenceRegressor
from reaffect.models.soft_prompt import SoftPromptLM
from reaffect.models.video_llama import VideoLLaMA
from reaffect.omni import inputs
from reaffect.preflight import __main__ as preflight
from reaffect.rehearsal.readings import read
from reaffect.store import Store
from reaffect.training import fit_sequences
from reaffect.tuning import Lesson, Recipe, asking, tune
from test_bench_gpu import sizes  # noqa: F401
from test_features_clips import WIDTHS, extractor, films, folder  # noqa: F401
from test_fusion import OPTIONS, planted, viper
from test_mllm import PROMPT, checkpoint, clips  # noqa: F401
from test_models_microemo import PATCHES, noise
from test_models_microemo import SMALL as MICROEMO
from test_models_omni_emotion import build as omni_emotion
from test_models_omni_emotion import clip, sound
from test_models_pandagpt import SMALL as PANDA
from test_models_video_llama import SMALL as LLAMA
from test_models_video_llama import llama, loud, words
from test_rehearsal import RUN

pytestmark = pytest.mark.usefixtures("on_one_thread")

TWO = torch.ones(2, 2)

FACE = np.random.default_rng(0).uniform(10, 40, (2, 2 * faces.POINTS)).astype(np.float32)
"""Of two frames."""


@pytest.fixture
def on_gpu():
    with pretended_gpu():
        yield


def on_both(call: Callable[[str], object]) -> list[object]:
    """What a call gives on the processor, and on the GPU; it is called with what it may call its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        there = [call("cpu")]
    with pretended_gpu():
        assert best_device() == "cuda"
        return [*there, call("cuda")]


# ---- the pretended GPU


@pytest.mark.parametrize(
    "meet",
    [
        lambda one: one @ TWO,
        lambda one: TWO + one,
        lambda one: torch.cat([one, TWO]),
        lambda one: nn.Linear(2, 2)(one),
        lambda one: nn.Linear(2, 2).to("cuda")(TWO),
        lambda one: nn.functional.mse_loss(one, TWO),
        lambda one: one.masked_fill(TWO > 0, 0.0),
        lambda one: TWO[one.long()],
        lambda one: one.add_(TWO),
    ],
)
def test_what_is_on_two_sides_does_not_meet(meet, on_gpu):
    with pytest.raises(RuntimeError, match="same device"):
        meet(torch.ones(2, 2, device="cuda"))


def test_what_was_not_fetched_is_no_array(on_gpu):
    one = TWO.to("cuda")
    for convert in (Tensor.numpy, np.asarray):
        with pytest.raises(TypeError, match="can't convert cuda:0"):
            convert(one)
    assert one.cpu().numpy().tolist() == one.tolist() == TWO.tolist()


def test_results_are_where_their_parts_are(on_gpu):
    one = torch.randn(2, 2, device="cuda", requires_grad=True)
    made = [one @ one, one * 2, one * torch.tensor(2.0), one[torch.tensor([0])], torch.zeros_like(one), one.new_ones(3)]
    made += [torch.ones(3, device=GPU), TWO.to(one), one.expand(2, 2, 2), torch.stack([one, one])]
    assert {each.device for each in made} == {GPU}
    there = [torch.arange(one.sum().long().abs() + 1), one.detach().cpu(), one.to("cpu", torch.long), torch.zeros(2)]
    assert {each.device.type for each in there} == {"cpu"}
    one.prod().backward()
    assert one.grad.is_cuda and torch.equal(one.grad.cpu(), one.detach().cpu().prod() / one.detach().cpu())


def test_what_is_moved_is_a_copy(on_gpu):
    here, there = torch.zeros(2), torch.zeros(2).to("cuda")
    kept = there.cpu()
    there += 1
    here.copy_(there)
    assert kept.sum() == 0 and here.tolist() == there.tolist() == [1, 1]
    assert here.device.type == "cpu" and there.to("cuda") is there


def test_a_network_moves_with_its_optimiser_and_its_ties(on_gpu):
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight = network[0].weight
    network.to("cuda")
    assert len(list(network.parameters())) == 3 and all(isinstance(one, nn.Parameter) for one in network.parameters())
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    with torch.autocast("cuda", torch.bfloat16):
        assert network(TWO.to("cuda")).dtype == torch.bfloat16
    network(TWO.to("cuda")).sum().backward()
    optimizer.step()
    assert {one.device for state in optimizer.state.values() for one in state.values()} == {GPU}
    assert {one.device.type for one in network.to("cpu").parameters()} == {"cpu"}


def test_it_is_gone_afterwards():
    with pretended_gpu():
        left = torch.ones(2, device="cuda")
    assert torch.cuda.is_available.__name__ == "is_available" and left.is_cuda
    assert torch.ones(2).device.type == "cpu"


# ---- models that are asked


def test_every_class_describes_scores_and_embeds(checkpoint, clips, films, tmp_path):  # noqa: F811
    def ask(device: str) -> list[pd.DataFrame]:
        model = mllm.load(checkpoint, dtype="float32")
        model.store = Store(tmp_path / device)
        assert model.network.device.type == device
        return [
            model.describe(films[:1], PROMPT, max_new_tokens=4, audio=model.takes_audio),
            model.describe_each(clips, {"a": PROMPT, "b": "Who?"}, max_new_tokens=4, batch_size=2),
            model.score(clips[:2], PROMPT, ["fear", "surprise"], max_new_tokens=4),
            *(model.embed(clips, PROMPT, tokens=kind, max_new_tokens=3) for kind in ("sequence", "answer")),
        ]

    for here, there in zip(*on_both(ask), strict=True):
        pd.testing.assert_frame_equal(here, there)
        assert here.notna().any(axis=None)


MODELS: dict[str, Callable[[], SoftPromptLM]] = {
    "Video-LLaMA": lambda: loud(VideoLLaMA(LLAMA, llama(), words())),
    "PandaGPT": lambda: loud(PandaGPT(PANDA, llama(), words())),
}


@pytest.mark.parametrize("name", MODELS)
def test_recordings_are_described(name, films, tmp_path):  # noqa: F811
    def ask(device: str) -> pd.DataFrame:
        model = AudioVisualLLM(MODELS[name]().to(best_device()), "small", Store(tmp_path / device))
        return model.describe([Asked(film) for film in films], "How?", frames=3, max_new_tokens=4)

    here, there = on_both(ask)
    pd.testing.assert_frame_equal(here, there)
    assert here.text.str.len().gt(0).all()


# ---- encoders


@pytest.mark.parametrize("name", WIDTHS)
def test_clips_have_features(name, folder, films, tmp_path):  # noqa: F811
    same(lambda: extractor(folder, name), films, tmp_path)


def test_clips_are_seen_and_heard_by_the_models_that_learn(films, tmp_path):  # noqa: F811
    same(lambda: finetuning.Patches(microemo().to(best_device()), "small", frames=2), films, tmp_path)
    same(lambda: inputs.FrameStates(omni_emotion().to(best_device()), "small", 2), films, tmp_path)
    same(lambda: inputs.SoundStates(omni_emotion().to(best_device()), "small"), films, tmp_path)
    points = dict.fromkeys(films, FACE)
    same(lambda: inputs.FaceStates(omni_emotion().to(best_device()), "small", points, 2), films, tmp_path)


def same(make: Callable[[], Extractor], clips: list[str], folder: Path) -> None:  # noqa: F811
    """Features are the same on both, and there."""
    here, there = on_both(lambda device: extract(make(), clips, store=Store(folder / device), strict=True).values)
    for one in clips:
        np.testing.assert_allclose(here[one], there[one], atol=1e-5)
    assert any(np.isfinite(one).any() and one.size for one in here.values())


# ---- training


@pytest.mark.parametrize("make", [viper, lambda seed: SequenceRegressor(6, hidden=8, seed=seed)])
def test_what_learns_from_features_does_so_in_bfloat16(make):
    """Its eight bits round what float32 learns on the processor."""
    train, devel = planted(0, clips=40), planted(1, clips=20)
    options = {**OPTIONS, "epochs": 1}
    here, there = on_both(lambda _: fit_sequences(make, train, {"devel": devel}, name="x", seeds=[0], **options)[0])
    np.testing.assert_allclose(there.predictions["devel"], here.predictions["devel"], atol=0.02)
    assert not np.array_equal(there.predictions["devel"], here.predictions["devel"])


LESSONS = {
    "MicroEmo": lambda seed: Lesson("Why?", "it is dark", dialogue(seed), noise(2, 1, 36, 56, seed=seed)),
    "Omni-Emotion": lambda seed: Lesson("Why?", "it is dark", clip(3, seed % 2, seed=seed), sound(7, seed=seed)),
}


def dialogue(seed: int) -> DialogueClip:
    frames = noise(2, 3, MICROEMO.image_size, MICROEMO.image_size, seed=seed)
    return DialogueClip(frames, [0, 1], torch.ones(2, 1, PATCHES, dtype=torch.bool), [(0, 2)])


def microemo() -> MicroEmo:
    model = loud(MicroEmo(MICROEMO, llama(), words()))
    return model.freeze(*model.published).eval()


@pytest.mark.parametrize("name", LESSONS)
def test_a_model_learns_and_answers_as_on_the_processor(name, tmp_path):
    lessons = [LESSONS[name](seed) for seed in range(6)]
    recipe = Recipe(3, epochs=2, batch_size=2, accumulate=2, learning_rate=1e-2, checkpointing=True, max_new_tokens=3)

    def learn(device: str) -> tuple[list[float], list[str]]:
        model, answers = microemo() if name == "MicroEmo" else omni_emotion().begin(3), tmp_path / f"{device}.json"
        tuned = tune(model, lessons[:4], lessons[4:], tmp_path / device, recipe, score=lambda told, _: len(told))
        assert model.language_model.device.type == device
        return tuned.history.loss.tolist(), asking.answers(model, lessons, answers, "mark", max_new_tokens=3)

    (losses, answers), (losses_there, answers_there) = on_both(learn)
    assert losses_there == pytest.approx(losses, rel=1e-4) and answers_there == answers


# ---- before a run


@pytest.mark.parametrize("name", RUN)
def test_steps_are_rehearsed(name, on_gpu):
    reading = read(RUN[name], "cuda")
    assert reading.seconds > 0 and reading.peak == 0  # as the pretended GPU says


def test_speed_is_measured(sizes, on_gpu, monkeypatch):  # noqa: F811
    monkeypatch.setattr(gpu, "compiles", lambda _: False)
    speed = gpu.measured(replace(sizes, device="cuda"))
    assert speed.card["name"] == torch.cuda.get_device_name()
    assert all(one.value > 0 for one in speed.measurements if one.name != "Video-LLaVA, the host's memory")


def test_the_card_is_told(on_gpu):
    found = {one.what: one.said for one in preflight._machine(pd.Series([1.0]))}
    assert found["GPU"].startswith("a pretended GPU, 80.0 GB")
