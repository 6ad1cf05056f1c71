"""`make bench-gpu` at a small size on the processor, really measured, and the page that shows it."""

from __future__ import annotations

import io
import json
import math
import mmap
import re
from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from bench import card, gpu
from matplotlib.figure import Figure
from transformers import LlamaConfig, LlamaForCausalLM, VideoLlavaConfig, VideoLlavaForConditionalGeneration

import tiny_mllms
from reaffect import gpu_speed, media
from reaffect.errors import InputError
from reaffect.gpu_speed import Measurement, Speed
from reaffect.models.microemo import MicroEmo
from reaffect.models.omni_emotion import OmniEmotion
from reaffect.models.timestamps import bert
from reaffect.models.viper import Viper
from reaffect.rehearsal import batches
from reaffect.rehearsal.readings import Step
from test_models_microemo import SMALL as MICROEMO
from test_models_omni_emotion import SMALL as OMNI

pytestmark = pytest.mark.usefixtures("on_one_thread")

TEXT = {**tiny_mllms.TEXT, "vocab_size": 31_000}
"""More words than BERT has, as Vicuna does."""

FRAMES, NEW_TOKENS = 8, 5


def video_llava(number: torch.dtype) -> VideoLlavaForConditionalGeneration:
    config = VideoLlavaConfig(vision_config=dict(tiny_mllms.CLIP), text_config=LlamaConfig(**TEXT).to_dict())
    return VideoLlavaForConditionalGeneration(config).to(number).eval()


def viper(_number: torch.dtype) -> Viper:
    return Viper({"visual": 6, "audio": 4}, latents=4, latent_width=16, layers=2, heads=2)


def microemo(_number: torch.dtype) -> MicroEmo:
    network = MicroEmo(MICROEMO, LlamaForCausalLM(LlamaConfig(**TEXT)), bert())
    return network.freeze(*network.published).eval()


def omni_emotion(_number: torch.dtype) -> OmniEmotion:
    return OmniEmotion(OMNI, LlamaForCausalLM(LlamaConfig(**TEXT)), bert()).begin(3).eval()


def learning(build, at_once: int, shown) -> Step:
    learn = partial(batches.learned, shown=shown, question="How?", answer_tokens=6)
    return Step("learn", build, learn, at_once, 10, "batch_size", "weights")


@pytest.fixture(scope="module")
def sizes(tmp_path_factory) -> gpu.Sizes:
    noise = np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), np.uint8)
    dialogues = partial(batches.dialogues, frames=2, duration_s=2.0, utterances=1)
    expressions = partial(batches.expressions, frames=2, duration_s=1.0)
    return gpu.Sizes(
        device="cpu",
        number=torch.float32,
        plain_number=torch.float32,
        ask=Step("ask", video_llava, batches.answered, 2, 10, "batch_size", "checkpoint"),
        fit=Step("fit", viper, partial(batches.fitted, frames=3), 2, 10, "batch_size", "layers"),
        fit_frames=3,
        tune={"Omni": learning(omni_emotion, 2, expressions), "Micro": learning(microemo, 1, dialogues)},
        film=media.write_video(tmp_path_factory.mktemp("films") / "noise.mp4", noise, 12),
        clips=2 * gpu.FEW + 2,
        plain_clips=1,
        frames=FRAMES,
        new_tokens=NEW_TOKENS,
        matrices=(64, 128),
        copied=2**20,
        repeats=1,
    )


@pytest.fixture(scope="module")
def speed(sizes) -> Speed:
    return gpu.measured(sizes)


def test_all_of_it_is_measured(speed):
    a = {one.name: one for one in speed.measurements}
    assert list(a) == [
        "Video-LLaVA, answers",
        "Video-LLaVA, compiled with a static cache",
        "Video-LLaVA, prefill",
        "Video-LLaVA, whole answers",
        "Video-LLaVA, decoding",
        "Video-LLaVA, the host's memory",
        "ViPER, training step",
        "Omni, batches of 2",
        "Micro, batches of 1",
    ]
    for name in ("Video-LLaVA, answers", "ViPER, training step"):
        assert a[name].value == pytest.approx(a[name].seconds["plain"] / a[name].seconds["ours"])
    of_static = a["Video-LLaVA, compiled with a static cache"]
    assert of_static.value == pytest.approx(of_static.seconds["ours"] / of_static.seconds["static"])
    assert of_static.seconds["ours"] == a["Video-LLaVA, answers"].seconds["ours"]
    of_decoding = a["Video-LLaVA, decoding"].seconds
    assert a["Video-LLaVA, decoding"].value == pytest.approx(of_decoding["network"] / of_decoding["decoding"])
    limited = ["Video-LLaVA, prefill", "Video-LLaVA, whole answers", "Omni, batches of 2", "Micro, batches of 1"]
    assert [one.name for one in speed.measurements if one.operations] == limited
    for name in limited:
        [seconds] = a[name].seconds.values()
        assert a[name].value == pytest.approx(a[name].operations / seconds / speed.peak)
    assert {one.goal for one in speed.measurements} == {10, 0.5, 1, 0.9, 5, 0.4}
    assert torch.__version__.startswith(speed.versions["torch"]) and set(speed.card.values()) == {None}


def test_operations_of_the_prefill_are_those_of_its_layers(speed):
    """2 for each weight of a layer and token, and attention: 4 for each pair of tokens and unit."""
    words = len(bert()(gpu.FALLBACK_TEMPLATE.format(medium="", prompt=gpu.PROMPT)).input_ids)
    patches = (tiny_mllms.CLIP["image_size"] // tiny_mllms.CLIP["patch_size"]) ** 2 + 1
    tokens, network = FRAMES * patches + words, video_llava(torch.float32)
    layers, tower = network.model.language_model.layers, network.model.video_tower.encoder.layers

    def weights(part: torch.nn.Module) -> int:
        return sum(weight.numel() for weight in part.parameters() if weight.ndim == 2)

    expected = 2 * tokens * weights(layers) + len(layers) * 4 * tokens**2 * TEXT["hidden_size"]
    seen, width = FRAMES * patches, tiny_mllms.CLIP["hidden_size"]
    expected += 2 * seen * weights(tower) + len(tower) * 4 * FRAMES * patches**2 * width
    expected += 2 * seen * weights(network.model.multi_modal_projector)
    expected += 2 * TEXT["vocab_size"] * TEXT["hidden_size"]  # of the last token alone
    expected += 2 * FRAMES * (patches - 1) * width * 3 * tiny_mllms.CLIP["patch_size"] ** 2
    [prefill] = [one for one in speed.measurements if one.name == "Video-LLaVA, prefill"]
    assert prefill.operations == pytest.approx(expected, rel=0.02)


def test_no_answer_ends_early_and_both_loops_answer_every_clip(sizes, tmp_path, monkeypatch):
    model = gpu.asker(video_llava(torch.float32))
    real, made = model.network.generate, []

    def generate(**asked):
        answer = real(**asked)
        sequences = getattr(answer, "sequences", answer)
        made.append((len(sequences), sequences.shape[1] - asked["input_ids"].shape[1], asked["input_ids"].shape[1]))
        return answer

    monkeypatch.setattr(model.network, "generate", generate)
    clips = gpu.copies(sizes.film, tmp_path, 3)
    gpu.described(model, clips, sizes)
    gpu.one_by_one(model, clips, sizes)
    [length] = {length for *_, length in made}
    assert made == [(2, NEW_TOKENS, length), (1, NEW_TOKENS, length), *[(1, NEW_TOKENS, length)] * 3]


def test_the_roofline_is_the_fastest_product_and_what_a_copy_moves(monkeypatch):
    """With times that are told: the larger product takes twice as long, for eight times the operations."""
    told = iter([0.5, 1.0, 0.25])
    monkeypatch.setattr(card, "median_seconds", lambda call, _repeats: next(told))
    assert card.best_product((64, 128), "cpu", 1) == 2 * 128**3 / 1.0
    assert card.copying(2**20, "cpu", 1) == 2 * 2**20 / 0.25


def test_memory_that_grows_with_the_clips_is_seen():
    size, clips = 40_000_000, list(range(10))
    kept = gpu.given_back(lambda part: [mapped(size) for _ in part], clips, 2, size)
    freed = gpu.given_back(lambda part: [mapped(size).sum() for _ in part], clips, 2, size)
    assert kept == pytest.approx(0, abs=0.1) and freed > 0.8


def mapped(size: int) -> np.ndarray:
    """Bytes from the system itself, which gets them back at once; an allocator might have some left from before."""
    array = np.frombuffer(mmap.mmap(-1, size), np.uint8)
    array[:] = 1
    return array


def test_a_machine_without_a_compiler_measures_the_rest(capsys):
    def compile_it():
        raise torch._dynamo.exc.InternalTorchDynamoError("Failed to find C compiler.\nMore.")

    assert not gpu.compiles(compile_it)
    assert capsys.readouterr().err == "no compiled network is measured: Failed to find C compiler.\n"
    assert gpu.compiles(lambda: None)
    with pytest.raises(torch.OutOfMemoryError):
        gpu.compiles(partial(raised, torch.OutOfMemoryError()))


def raised(error: Exception) -> None:
    raise error


def test_a_step_that_does_not_fit_takes_fewer_lessons(sizes, caplog):
    """What is counted and named is what was run."""

    def prepare(network, at_once):
        if at_once > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return partial(network, torch.ones(at_once, 30, device=network.weight.device))

    step = Step("learn", lambda _number: torch.nn.Linear(30, 11), prepare, 5, 10, "at_once", "weights")
    most = 2
    [found] = gpu.tuning(sizes, 1e12, name="Omni", step=step)
    assert (found.name, found.operations) == ("Omni, batches of 2", 2 * 2 * 30 * 11)
    assert "A batch of 5 does not fit in memory" in caplog.text
    most = 0
    with pytest.raises(InputError, match="Not even a batch of one"):
        gpu.tuning(sizes, 1e12, name="Omni", step=step)


def test_what_the_card_says(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "$@" > "$0.asked"\necho "NVIDIA H200, 1980 MHz, [N/A], 700.00 W, 570.1"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    told = card.asked_of_card("GPU-1")
    assert told == {
        "name": "NVIDIA H200",
        "clocks.sm": "1980 MHz",
        "power.limit": "700.00 W",
        "driver_version": "570.1",
    }
    assert "--id=GPU-1 --query-gpu=name,clocks.sm,clocks.mem" in (tmp_path / "nvidia-smi.asked").read_text()
    program.write_text("#!/bin/sh\nexit 9\n")
    assert card.asked_of_card("GPU-1") == {}
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert card.asked_of_card("GPU-1") == {}


# ---- the command


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Where the command writes instead."""
    path = tmp_path / "bench" / "gpu.json"
    monkeypatch.setattr(gpu_speed, "write", partial(gpu_speed.write, path=path))
    return path


def test_without_a_gpu_nothing_is_measured(file, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main() == 2
    assert capsys.readouterr().err == "no GPU here: nothing is measured\n"
    assert not file.exists()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 14 GiB.\nMore."),
            "this GPU is too small, nothing is written: CUDA out of memory. Tried to allocate 14 GiB.\n",
        ),
        (InputError("Not even one fits: show less."), "Not even one fits: show less. Nothing is written.\n"),
    ],
)
def test_a_gpu_that_is_too_small_leaves_no_file(file, monkeypatch, capsys, error, words):
    def fail(_sizes):
        raise error

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "paper_size", lambda: None)
    monkeypatch.setattr(gpu, "measured", fail)
    assert gpu.main() == 2
    assert capsys.readouterr().err == words
    assert not file.exists()


def test_what_is_measured_is_written_and_told(file, speed, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "paper_size", lambda: None)
    monkeypatch.setattr(gpu, "measured", lambda _sizes: speed)
    assert gpu.main() == 0
    assert gpu_speed.read(file) == speed
    assert [path.name for path in file.parent.iterdir()] == ["gpu.json"]
    assert all(one.name in capsys.readouterr().out for one in speed.measurements[:1])


def test_sizes_of_the_papers():
    paper = gpu.paper_size()
    assert (paper.frames, paper.new_tokens) == (8, 60)
    assert paper.film.exists() and paper.clips > gpu.FEW * paper.ask.at_once
    parameters = []
    for step in (paper.ask, paper.fit, *paper.tune.values()):
        with torch.device("meta"):
            parameters.append(sum(weight.numel() for weight in step.build(torch.bfloat16).parameters()) / 1e9)
    assert [round(count) for count in parameters[:1]] == [7] and round(parameters[1], 2) == 0.28
    assert all(7 < count < 11 for count in parameters[2:])


# ---- the page


MEASURED = Speed(
    date="2026-01-02 03:04",
    card={"name": "A <b>card</b> of $5", "clocks.sm": None},
    versions={"torch": "9"},
    peak=2e14,
    bandwidth=3e12,
    measurements=(
        Measurement("one <script>", "times as fast as $x$", 20.0, 10.0, {"ours": 0.5, "plain": 10.0}),
        Measurement("two $\\frac$", "share", 0.1, 0.4, {"ours": 1.0}, 2e13),
        Measurement("three", "share", -0.5, 0.9, {}),
    ),
)


def test_without_a_file_there_is_nothing_to_show(tmp_path):
    assert gpu_speed.read(tmp_path / "gpu.json") is None
    assert gpu_speed.NOT_MEASURED.startswith("not measured: no GPU was at hand; `make bench-gpu`")


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "new" / "gpu.json"
    for speed in (MEASURED, replace(MEASURED, date="later")):
        gpu_speed.write(speed, path)
        assert gpu_speed.read(path) == speed


def told(**changes) -> str:
    return json.dumps(json.loads(json.dumps(vars(MEASURED), default=vars)) | changes)


ROW = {"name": "a", "meaning": "b", "value": 1.0, "goal": 2.0, "seconds": {"ours": 1.0}, "operations": None}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"null",
        told()[:-20],
        b"[" * 100_000,
        told(more=1),
        told(peak=0),
        told(peak=True),
        told(peak=10**400),
        told(measurements=[ROW | {"value": True}]),
        told(bandwidth="1"),
        told(card=[]),
        told(card={"name": 5}),
        told(versions={"torch": None}),
        told(measurements=[]),
        told(measurements=[ROW | {"value": math.nan}]),
        told(measurements=[ROW | {"value": "1"}]),
        told(measurements=[ROW | {"goal": -1}]),
        told(measurements=[ROW | {"seconds": {"ours": math.inf}}]),
        told(measurements=[ROW | {"seconds": 5}]),
        told(measurements=[ROW | {"name": None}]),
        told(measurements=[{"name": "a"}]),
        told(measurements=[7]),
        told(measurements=5),
    ],
    ids=range(26),
)
def test_a_damaged_or_foreign_file_is_refused(tmp_path, text):
    path = tmp_path / "gpu.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=r"(?s)gpu\.json: no figures of `make bench-gpu`.*Delete it") as caught:
        gpu_speed.read(path)
    assert len(str(caught.value)) < 1000


def test_a_row_that_is_right_is_taken(tmp_path):
    """Beside the wrong ones above."""
    path = tmp_path / "gpu.json"
    path.write_text(told(measurements=[ROW]))
    assert gpu_speed.read(path).measurements[0].goal == 2


def test_tables_say_what_was_measured():
    table = MEASURED.table()
    assert table.reached.tolist() == ["yes", "no", "no"]
    assert table.loc["one <script>"].tolist() == ["times as fast as $x$", "20", "10", "yes", "ours 0.5, plain 10"]
    about = MEASURED.about().value
    assert about["clocks.sm"] == "not told" and about["best matrix product"] == "200 TFLOP/s in bfloat16"
    assert about["memory, by a copy"] == "3000 GB/s"
    assert "<script>" not in table.to_html() and "<b>" not in MEASURED.about().to_html()


def test_bars_are_as_long_as_the_goals_that_are_reached():
    axis = gpu_speed.chart(MEASURED, Figure().subplots())
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([2, 0.25, 0])
    assert [text.get_text() for text in axis.texts] == ["20 of 10", "0.1 of 0.4", "-0.5 of 0.9"]
    figure = gpu_speed.figure(MEASURED)
    figure.savefig(picture := io.BytesIO(), format="svg")
    plt.close(figure)
    shown = picture.getvalue().decode()
    assert re.search(r"two \$\\frac\$", shown), "text of the file is no formula"
