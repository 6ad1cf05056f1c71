"""`make rehearse`: memory and operations against closed forms, real runs of small networks, and what the table says."""

from __future__ import annotations

import math
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
import transformers as t
import yaml
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, VideoLlavaConfig, VideoLlavaForConditionalGeneration

import tiny_mllms
from reaffect import paths, results, runner
from reaffect.corpora import afew_va, caer, dfew, ferv39k, mafw, ravdess
from reaffect.errors import InputError
from reaffect.models.imagebind import AudioConfig
from reaffect.models.microemo import MicroEmo, MicroEmoConfig
from reaffect.models.omni_emotion import OmniEmotion
from reaffect.models.pandagpt import PandaGPT
from reaffect.models.timestamps import bert
from reaffect.models.viper import Viper
from reaffect.preflight import models
from reaffect.rehearsal import __main__ as command
from reaffect.rehearsal import batches, kept, networks, params, qwen, record, steps
from reaffect.rehearsal.estimate import LiveBytes, counted, without_values
from reaffect.rehearsal.params import Card
from reaffect.rehearsal.readings import LeftOut, Reading, Step, read
from reaffect.rehearsal.record import Found
from test_models_omni_emotion import SMALL as OMNI
from test_models_pandagpt import SMALL as PANDA

pytestmark = pytest.mark.usefixtures("on_one_thread")

FLOAT = 4
"""Bytes."""

TEXT = {**tiny_mllms.TEXT, "vocab_size": 31_000}


def step(build, prepare, at_once: int = 2) -> Step:
    """One that does not care for numbers."""
    return Step("a step", lambda _number: build(), prepare, at_once, 100, "batch_size", "checkpoint")


def reported(of: Step, reading: Reading, on: Card) -> str:
    """What is printed of one step."""
    return command.report(record.table([Found("02", of, reading)], on), on)


# ---- memory and operations, by closed forms


def test_memory_that_is_live_is_each_layers_output_and_no_more():
    """Tanh and the layer behind it need its output for the backward pass; what stands before a Tanh is gone."""
    width, rows, depth = 32, 50, 5
    layers = [part for _ in range(depth) for part in (nn.Linear(width, width, bias=False), nn.Tanh())]
    network, one = nn.Sequential(*layers), rows * width * FLOAT
    held = depth * width * width * FLOAT
    with LiveBytes(network) as live:
        assert live.now == held
        given = torch.ones(rows, width)
        made = network(given)
        assert live.now == held + (1 + depth) * one
        assert live.peak == held + (1 + depth + 1) * one
        view = made.T
        assert live.now == held + (1 + depth) * one, "a view takes no memory"
        del made, view
        assert live.now == held + one


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_step_of_adamw_holds_weights_gradients_and_two_moments(device):
    """With a row so small that only weights count; without a fused kernel three more matrices are made."""
    widths = (300, 400, 200)
    sizes = [FLOAT * one * other for one, other in pairwise(widths)]

    def prepare(network: nn.Module, at_once: int) -> batches.Batch:
        rows = torch.ones(at_once, widths[0], device=device)
        return batches.optimised(network, lambda: network(rows).sum(), keep=True)

    def build() -> nn.Module:
        return nn.Sequential(*(nn.Linear(one, other, bias=False) for one, other in pairwise(widths)))

    found = read(step(build, prepare, at_once=1), device)
    assert found.held == sum(sizes) and found.parameters == sum(sizes) / FLOAT
    assert 4 * sum(sizes) <= found.peak <= 4 * sum(sizes) + 3 * max(sizes)


def test_operations_of_a_matrix_product_and_of_learning_it():
    """2 n k m forwards; as many backwards for the weights, none for the input, which is not learned."""
    n, k, m = 7, 30, 11

    def product(network: nn.Module, at_once: int) -> batches.Batch:
        return partial(network, torch.ones(at_once, k, device="meta"))

    def learning(network: nn.Module, at_once: int) -> batches.Batch:
        return batches.optimised(network, lambda: product(network, at_once)().sum())

    assert read(step(lambda: nn.Linear(k, m), product, n), "meta").operations == 2 * n * k * m
    assert read(step(lambda: nn.Linear(k, m), learning, n), "meta").operations == 4 * n * k * m


def test_attention_keeps_no_matrix_of_all_pairs():
    """Memory grows with the length, operations with its square: 2 for scores and 2 for values, a pair and unit."""
    heads, width, peaks = 4, 8, []
    for length in (1000, 2000):
        with without_values(), LiveBytes(nn.Module()) as live, FlopCounterMode(display=False) as operations:
            query = torch.empty(1, heads, length, width, device="meta", requires_grad=True)
            key = torch.empty(1, heads // 2, length, width, device="meta")
            attended = functional.scaled_dot_product_attention(query, key, key, enable_gqa=True)
        assert attended.shape == query.shape
        assert operations.get_total_flops() == 4 * heads * width * length**2
        peaks.append(live.peak)
    assert peaks[1] == pytest.approx(2 * peaks[0], rel=0.01)


def test_what_stands_for_generation_does_what_generation_does():
    torch.manual_seed(0)
    prompt = {"input_ids": torch.ones(2, 40, dtype=torch.long), "attention_mask": torch.ones(2, 40, dtype=torch.long)}
    real = LlamaForCausalLM(LlamaConfig(**TEXT)).eval()
    with FlopCounterMode(display=False) as run:
        real.generate(**prompt, max_new_tokens=30, min_new_tokens=30, do_sample=False)
    with torch.device("meta"):
        planned = LlamaForCausalLM(LlamaConfig(**TEXT)).eval()
    with without_values(), FlopCounterMode(display=False) as plan:
        given = {name: value.to("meta") for name, value in prompt.items()}
        tokens = planned.generate(**given, max_new_tokens=30, min_new_tokens=30, do_sample=False)
    assert tokens.shape == (2, 30) and not tokens.is_meta
    assert run.get_total_flops() <= plan.get_total_flops() <= 1.1 * run.get_total_flops()


def test_a_count_of_values_is_what_the_caller_knows():
    with counted(12):
        assert int(torch.zeros((), device="meta")) == 12
    assert int(torch.tensor(3)) == 3


# ---- real runs


def viper() -> Step:
    return step(
        partial(Viper, {"visual": 12, "fau": 4}, latents=16, latent_width=32, layers=3, heads=4),
        partial(batches.fitted, frames=6),
        5,
    )


def video_llava(prepare) -> Step:
    def build() -> nn.Module:
        config = VideoLlavaConfig(
            vision_config={"model_type": "clip_vision_model", **tiny_mllms.CLIP},
            text_config={"model_type": "llama", **TEXT},
            image_token_index=30_998,
            video_token_index=30_999,
        )
        return VideoLlavaForConditionalGeneration(config).eval()

    return step(build, prepare)


EARS = AudioConfig(width=24, layers=1, heads=4, output=24)


def microemo(prepare) -> Step:
    sizes = {
        "tower_width": 24,
        "tower_mlp": 32,
        "tower_layers": 1,
        "tower_heads": 4,
        "width": 24,
        "mlp": 32,
        "heads": 4,
    }

    def build() -> MicroEmo:
        config = MicroEmoConfig(**sizes, image_size=42, image_layers=2, local_heads=4, lora_rank=4, audio=EARS)
        return MicroEmo(config, LlamaForCausalLM(LlamaConfig(**TEXT)), bert()).freeze("tower", "ears")

    return step(build, prepare)


def omni_emotion(prepare) -> Step:
    def build() -> OmniEmotion:
        return OmniEmotion(OMNI, LlamaForCausalLM(LlamaConfig(**TEXT)), bert()).begin(3)

    return step(build, prepare)


def pandagpt(prepare) -> Step:
    return step(lambda: PandaGPT(PANDA, LlamaForCausalLM(LlamaConfig(**TEXT)), bert()).eval(), prepare)


QWEN_TEXT = {**TEXT, "rope_scaling": {"rope_type": "default", "mrope_section": [2, 1, 1]}}
QWEN_TEXT |= dict.fromkeys(("bos_token_id", "eos_token_id"))
MARKS = {"image_token_id": 30_990, "video_token_id": 30_991}
MARKS |= {"vision_start_token_id": 30_992, "vision_end_token_id": 30_993}


def qwen2_vl(prepare) -> Step:
    def build() -> nn.Module:
        tower = {"depth": 2, "embed_dim": 16, "num_heads": 2, "hidden_size": 32}
        config = t.Qwen2VLConfig(text_config=QWEN_TEXT, vision_config=tower, **MARKS)
        return t.Qwen2VLForConditionalGeneration(config).eval()

    return step(build, prepare)


def qwen2_5_omni(prepare) -> Step:
    def build() -> nn.Module:
        tower = {"depth": 2, "hidden_size": 16, "num_heads": 2, "intermediate_size": 24, "out_hidden_size": 32}
        ears = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 24}
        config = t.Qwen2_5OmniThinkerConfig(
            text_config=QWEN_TEXT,
            vision_config={**tower, "fullatt_block_indexes": [1]},
            audio_config={**ears, "output_dim": 32},
            audio_token_index=30_994,
            audio_start_token_id=30_995,
            audio_end_token_id=30_996,
            image_token_index=MARKS["image_token_id"],
            video_token_index=MARKS["video_token_id"],
            **{name: place for name, place in MARKS.items() if name.startswith("vision")},
        )
        return t.Qwen2_5OmniThinkerForConditionalGeneration(config).eval()

    return step(build, prepare)


WATCHED = partial(qwen.watched, height=90, width=120, prompt="Who is it?", max_new_tokens=4)
EXPRESSIONS = partial(batches.expressions, frames=3, duration_s=0.5)
INTERVIEWS = partial(batches.interviews, frames=3, sound_s=5.0)
DIALOGUES = partial(batches.dialogues, frames=4, duration_s=4.0, utterances=2)
RUN = {
    "fit": viper(),
    "ask": video_llava(partial(batches.answered, frames=8, prompt="Who is it?", max_new_tokens=4)),
    "embed": video_llava(partial(batches.embedded, frames=8, prompt="Who is it?")),
    "tune": microemo(partial(batches.learned, shown=DIALOGUES, question="How?", answer_tokens=9, accumulate=2)),
    "tell": microemo(partial(batches.told, shown=DIALOGUES, question="How?", max_new_tokens=4)),
    "learn": omni_emotion(partial(batches.learned, shown=EXPRESSIONS, question="How?", answer_tokens=9)),
    "perceive": omni_emotion(partial(batches.perceived, frames=3)),
    "interview": pandagpt(partial(batches.told, shown=INTERVIEWS, question="How?", max_new_tokens=4)),
    "see": microemo(partial(batches.patches_seen, frames=4)),
    "watch": qwen2_vl(partial(WATCHED, frames=5)),
    "listen": qwen2_5_omni(partial(WATCHED, frames=3, sound_s=3.3)),
}


@pytest.mark.parametrize("name", RUN)
def test_a_real_run_measures_what_the_estimate_tells_of(name):
    """Small networks, on the processor as on a GPU; attention is another kernel there, so memory may differ."""
    measured, estimated = read(RUN[name], "cpu"), read(RUN[name], "meta")
    assert measured.seconds > 0 and math.isfinite(measured.seconds) and measured.operations is None
    assert estimated.operations > 0 and estimated.seconds is None
    assert measured.parameters == estimated.parameters and measured.held == estimated.held
    assert measured.held < measured.peak
    assert estimated.peak == pytest.approx(measured.peak, rel=0.15)


FUSED = torch.ops.aten._scaled_dot_product_efficient_attention
"""Attention, as the estimate has it; on the processor PyTorch counts none."""

SEGMENTS = {
    "watch": 2 * [3 * [48]],
    "listen": [2 * [20 * 28], 2 * (6 * [64] + 3 * [32] + 2 * [32] + [16]), [100, 65]],
}
"""By layer of the towers, how many patches or moments of a clip attend to each other: those of two frames (6 x 8 and
20 x 28), in windows of 8 x 8, and of at most two seconds of sound, halved."""


@pytest.mark.parametrize("name", SEGMENTS)
def test_operations_of_qwens_models_are_those_of_a_run(name):
    """But for a token: a run does not read the last one of an answer. And attention by its closed form."""
    one, words = RUN[name], 4
    network = one.build(torch.float32)
    batch = one.prepare(network, one.at_once)
    with FlopCounterMode(display=False) as run:
        batch()
    with torch.device("meta"):
        planned = one.build(torch.float32)
    with without_values(), FlopCounterMode(display=False) as plan:
        one.prepare(planned, one.at_once)()
    counts = dict(plan.get_flop_counts()["Global"])
    attended = counts.pop(FUSED) / one.at_once
    a_token = [part.weight.numel() for part in network.model.language_model.modules() if isinstance(part, nn.Linear)]
    read_once = 2 * one.at_once * (sum(a_token) + network.lm_head.weight.numel())
    assert sum(counts.values()) - run.get_total_flops() == read_once
    length = batch.keywords["input_ids"].shape[1]
    layers, hidden, tower = QWEN_TEXT["num_hidden_layers"], QWEN_TEXT["hidden_size"], 16
    seen = sum(4 * tower * size**2 for layer in SEGMENTS[name] for size in layer)
    assert attended == seen + layers * 4 * hidden * (length**2 + words * (length + words))


def test_no_memory_left_is_a_line_and_no_crash():
    def prepare(_network: nn.Module, _at_once: int) -> batches.Batch:
        raise torch.OutOfMemoryError("a card too small")

    found = read(step(partial(nn.Linear, 3, 3), prepare), "cpu")
    assert found == Reading(parameters=12, held=48, peak=None)
    line = reported(step(None, None), found, Card("a card", 1000))
    assert "no " in line and "lower batch_size (batches of 2 now)" in line

    def build() -> nn.Module:
        raise torch.OutOfMemoryError("a card far too small")

    found = read(step(build, prepare), "cpu")
    assert "another network in checkpoint" in reported(step(None, None), found, Card("a card", 1000))


# ---- the notebooks' steps


@pytest.fixture(scope="module")
def querying() -> tuple[Step, Reading]:
    [asked] = steps.of("02")
    return asked, read(asked, "meta")


def test_querying_at_paper_size(querying):
    """Video-LLaVA-7B's file is 14.74 GB; operations are two a weight and token, and four a pair of tokens and unit.

    It has two towers, one for images and one for videos; embeddings and the vocabulary's matrix are left out.
    """
    asked, found = querying
    assert found.held / 1e9 == pytest.approx(models.read_models().size_gb["LanguageBind/Video-LLaVA-7B-hf"], rel=0.002)
    layers, hidden, length, tower_weights = 32, 4096, 2056 + 60 + 128, 303e6
    weights = found.parameters - 2 * tower_weights - 2 * 32_064 * hidden
    expected = 2 * weights * length + 4 * layers * hidden * length**2 + 2 * tower_weights * 8 * 257
    assert found.operations / asked.at_once == pytest.approx(expected, rel=0.02)
    keys_and_values = asked.at_once * 2 * layers * hidden * length * 2
    assert found.held + keys_and_values < found.peak < found.held + 1.5 * keys_and_values


def test_sizes_are_those_of_the_released_files():
    known = models.read_models().size_gb
    for number, name, checkpoint in (
        ("05", "describe frames by LLaVA", "llava-hf/llava-1.5-7b-hf"),
        ("05", "sound by WavLM", "microsoft/wavlm-base-plus-sv"),
    ):
        [one] = [one for one in steps.of(number) if one.name == name]
        with torch.device("meta"):
            network = one.build(torch.bfloat16)
        size = sum(weight.nbytes for weight in network.parameters()) / 1e9
        assert size == pytest.approx(known[checkpoint], rel=0.01)


def qwen2_weights(text: dict[str, int]) -> int:
    """Of a language model, all matrices."""
    width, heads = text["hidden_size"], text["num_attention_heads"]
    attention = 2 * width**2 * (1 + text["num_key_value_heads"] / heads)
    layers = text["num_hidden_layers"] * (attention + 3 * width * text["intermediate_size"])
    return 2 * text["vocab_size"] * width + layers


def tower_weights(mlp: int, words: int) -> int:
    """Of Qwen's 32 layers on patches of 14 x 14 x 2, 1280 wide, and of what makes tokens of four patches."""
    return 32 * (4 * 1280**2 + mlp) + 3 * 2 * 14**2 * 1280 + (4 * 1280) ** 2 + 4 * 1280 * words


EARS_WEIGHTS = 32 * (4 * 1280**2 + 2 * 1280 * 5120) + 3 * (128 + 1280) * 1280 + 1280 * 3584
"""Whisper-large's encoder and a projection."""


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("Qwen/Qwen2-VL-72B-Instruct", qwen2_weights(networks.QWEN2_72B) + tower_weights(8 * 1280**2, 8192)),
        ("Qwen/Qwen2-VL-7B-Instruct", qwen2_weights(networks.QWEN2_7B) + tower_weights(8 * 1280**2, 3584)),
        (
            "Qwen/Qwen2.5-Omni-7B",
            qwen2_weights(networks.QWEN2_7B) + tower_weights(3 * 1280 * 3420, 3584) + EARS_WEIGHTS,
        ),
    ],
)
def test_qwens_networks_have_the_releases_sizes(name, weights):
    """73.4, 8.29 and 8.93 billion; of the last one without the parts that speak."""
    with torch.device("meta"):
        network = networks.BY_NAME[name](torch.bfloat16)
    assert sum(weight.numel() for weight in network.parameters()) == pytest.approx(weights, rel=1e-3)


@pytest.mark.parametrize(
    ("model", "size", "grid"),
    [
        ("qwen2_vl", (720, 1280), (3, 52, 92)),
        ("qwen2_vl", (224, 224), (3, 16, 16)),
        ("qwen2_5_omni_thinker", (720, 1280), (3, 40, 72)),
        ("qwen2_5_omni_thinker", (224, 224), (3, 24, 24)),
    ],
)
def test_frames_are_cut_as_the_processors_cut_them(model, size, grid):
    """By the processor itself, on five frames; Qwen2.5-Omni's is told other limits by its class."""
    least, most = qwen.PIXELS[model]
    limits = t.Qwen2_5OmniProcessor.videos_kwargs["size"] if "omni" in model else None
    assert limits is None or limits == {"shortest_edge": least, "longest_edge": most}
    processor = t.Qwen2VLVideoProcessor(size={"shortest_edge": least, "longest_edge": most})
    shown = processor(torch.zeros(5, 3, *size, dtype=torch.uint8), return_tensors="pt")
    tower = t.Qwen2VLConfig().vision_config
    cut = qwen.grid_of(SimpleNamespace(config=SimpleNamespace(model_type=model, vision_config=tower)), 5, *size)
    assert tuple(shown["video_grid_thw"][0].tolist()) == cut == grid


def test_a_sound_takes_a_token_in_forty_ms():
    assert [qwen.heard(round(100 * lasts_s)) for lasts_s in (0, 1.5, 5.0, 30.0)] == [0, 37, 125, 750]


def test_a_card_too_small_names_what_to_lower(querying):
    asked, found = querying
    large, small, tiny = (Card(name, int(gb * 1e9), 1e14) for name, gb in (("A", 141), ("B", 24), ("C", 12)))
    assert "lower batch_size" not in reported(asked, found, large)
    assert "lower batch_size (batches of 16 now)" in reported(asked, found, small)
    assert "another network in checkpoint, or a larger card" in reported(asked, found, tiny)


def test_hours_are_operations_at_the_peak_or_time_that_was_measured():
    one = step(None, None)  # 100 clips, two at once
    estimated, measured = Reading(1, 4, 8, operations=36 * 10**12), Reading(1, 4, 8, seconds=72.0)
    assert record.hours_of(one, estimated, Card("A", 10, 1e12)) == pytest.approx(0.5)
    assert record.hours_of(one, measured, Card("A", 10)) == pytest.approx(1.0)
    said = reported(one, measured, Card("A", 10))
    assert said.startswith("Measured on A") and "In all 1.0 hours" in said and "36 " in said


def test_a_step_follows_the_notebooks_parameters(monkeypatch):
    assert steps.of("02")[0].at_once == params.of_notebook("02")["batch_size"] == 16
    monkeypatch.setattr(runner, "profile_params", lambda number, profile: {"batch_size": 3})
    assert steps.of("02")[0].at_once == 3


def test_phases_of_a_course_share_the_runs_that_tables_share():
    """Five models in Tables 1 and 3, three seeds, three epochs; a batch of 128 is thirty-two of four."""
    phases = {one.name: one for one in steps.of("10")}
    own = params.own("10")["clips"]
    assert phases["phase 1"].clips == 3 * own["sounds"]
    assert phases["phase 3"].clips == 5 * 3 * 3 * own["annotated"]
    assert phases["phase 3"].at_once == 4 and phases["phase 3"].prepare.keywords["accumulate"] == 32


def test_clips_are_as_published():
    def published(paper: str, exhibit: str, row: str, column: str) -> float:
        table = results.published(paper, exhibit).set_index(["row", "column"]).value
        return table[row, column]

    for number in ("02", "03", "05"):
        for split, count in params.own(number)["clips"].items():
            assert count == published("vaiani2024", "Section 3", split, "clips")
    hours, clips = (published("vaiani2024", "Section 3", "train", name) for name in ("hours", "clips"))
    assert params.own("05")["duration_s"] == pytest.approx(hours * 3600 / clips, abs=0.05)
    assert params.own("07")["clips"]["EALD"] == published("eald2024", "Table 2", "videos", "EALD")
    assert params.own("07")["duration_s"] == 60 * published("eald2024", "Table 2", "average duration", "EALD")
    omni = params.own("10")["clips"]
    assert (
        params.own("08")["clips"]
        == {"EMER": omni["EMER"]}
        == {"EMER": published("omni_emotion2025", "Section 3", "EMER", "samples")}
    )
    sets = (("Figure 4", "SRE"), ("Section 3", "HRE"))
    assert omni["annotated"] == sum(published("omni_emotion2025", *one, "samples") for one in sets)
    assert omni["sounds"] == published("omni_emotion2025", "Section 4", "phase 1", "instructions")


def test_interviews_are_shown_to_an_omni_modal_model_too():
    """Once each, with all the sound that it hears: five minutes of seven."""
    [omni] = [one for one in steps.of("07") if one.weights == "further"]
    assert omni.name == "ask Qwen2.5-Omni" and omni.clips == params.own("07")["clips"]["EALD"]
    assert omni.prepare.keywords["sound_s"] > qwen.MOST_HEARD_S
    network = RUN["listen"].build(torch.float32)
    batch = omni.prepare.func(network, 1, **{**omni.prepare.keywords, "frames": 2, "height": 28, "width": 28})
    assert (batch.keywords["input_ids"] == network.config.audio_token_id).sum() == 300 * 25


def test_curation_asks_of_each_clip_what_the_notebook_asks():
    """A scene, three faces at most, and two questions about its sound, of all seven corpora."""
    [scene, face, sound] = steps.of("09")
    clips = sum(params.own("09")["clips"].values())
    assert [one.clips for one in (scene, face, sound)] == [clips, 3 * clips, 2 * clips]
    assert {one.at_once for one in (scene, face, sound)} == {8}
    assert scene.prepare.keywords["frames"] == 5 and face.prepare.keywords["frames"] == 16
    assert scene.build is networks.BY_NAME["Qwen/Qwen2-VL-72B-Instruct"] and scene.weights == "seer"


def test_of_curation_only_the_corpora_and_models_that_the_notebook_names(monkeypatch):
    named = {"corpora": {"DFEW": "dfew"}, "prompts": {}, "seer": "http://localhost:8000/v1/seer", "language_model": ""}
    monkeypatch.setattr(runner, "profile_params", lambda number, profile: named | {"listener": ["somebody/else"]})
    scene, face, sound, *_ = steps.every("09")
    assert scene == LeftOut("describe scenes", "http://localhost:8000/v1/seer, on a server")
    assert isinstance(face, LeftOut) and sound.why == "somebody/else, whose sizes are not known here"
    monkeypatch.setattr(runner, "profile_params", lambda number, profile: named | {"seer": "Qwen/Qwen2-VL-7B-Instruct"})
    scene, *_ = steps.every("09")
    assert scene.clips == params.own("09")["clips"]["DFEW"]
    assert scene.build is networks.BY_NAME["Qwen/Qwen2-VL-7B-Instruct"]


def test_training_clips_are_as_published():
    known = {
        "DFEW": dfew.PUBLISHED["fold 1 train"],
        "MAFW": mafw.PUBLISHED["single fold 1 train"],
        "CAER": round(0.7 * caer.PUBLISHED["clips"]),
        "AFEW-VA": afew_va.PUBLISHED["clips"],
        "RAVDESS": ravdess.PUBLISHED["speech"] + ravdess.PUBLISHED["song"],
        "FERV39K": ferv39k.PUBLISHED["train"],
    }
    told = params.own("09")["clips"]
    assert {name: told[name] for name in known} == known
    assert told.keys() == params.of_notebook("09")["corpora"].keys()


def test_every_notebook_is_rehearsed_or_said_not_to_be():
    numbers = {file.stem[:2] for file in paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")}
    assert numbers == steps.STEPS.keys() | steps.NOT_REHEARSED.keys()
    assert steps.of("01") == []
    assert [one.name for one in steps.every("01")] == ["tables and pictures"]


# ---- the command


def test_the_command_says_what_its_numbers_are(monkeypatch, capsys, querying):
    monkeypatch.setattr(command, "read", lambda one, device: querying[1] if device == "meta" else None)
    monkeypatch.setattr(command, "best_device", lambda: "cpu")
    assert command.main(["02", "12", "--card", "RTX 4090"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("No GPU: ") and "RTX 4090 (24 GB, 165 dense" in told and "not measured" in told
    assert "ask Video-LLaVA" in told and "lower batch_size" in told
    assert told.endswith("  02  further models: " + steps.FURTHER.why + "\n  12  tables: read, not computed\n")
    assert command.main(["12"]) == 0
    assert "In all" not in capsys.readouterr().out, "of a notebook without a step no table is shown"


def test_all_notebooks_together_are_kept(monkeypatch, capsys, tmp_path, querying):
    """Some of them are not: the file would lose the others."""
    asked, found = querying
    monkeypatch.setattr(command, "FOLDER", tmp_path / "rehearsal")
    monkeypatch.setattr(command, "read", lambda one, device: found)
    monkeypatch.setattr(command, "best_device", lambda: "cpu")
    monkeypatch.setattr(runner, "numbers", lambda: ["02", "12"])
    assert command.main(["02"]) == 0 and not (tmp_path / "rehearsal").exists()
    assert command.main(["--card", "RTX 4090"]) == 0
    [file] = (tmp_path / "rehearsal").iterdir()
    assert file.name == "no-gpu-rtx-4090.csv" and f"Kept in {file}." in capsys.readouterr().out
    table = kept.read(file.parent)
    assert list(table.columns) == [*kept.FOUND, *kept.CONDITIONS]
    assert list(table.notebook) == ["02", "02", "12"] and set(table.how) == {"estimated"}
    assert set(table.card) == {"RTX 4090"} and set(table.torch) == {version("torch")}
    first, *others = table.to_dict("records")
    assert first["parameters"] == found.parameters and first["fits"] == "no"
    assert first["peak_gb"] == pytest.approx(found.peak / 1e9, rel=1e-5)
    assert first["hours"] == pytest.approx(asked.clips * first["tflop_a_clip"] / 165 / 3600, rel=1e-5)
    assert math.isnan(first["seconds_a_clip"])
    assert all(one["fits"] == kept.NOT_REHEARSED and math.isnan(one["hours"]) for one in others)


def test_what_was_measured_is_kept_by_the_cards_name(tmp_path):
    assert kept.read(tmp_path / "nowhere").empty
    gpu, found = Card("NVIDIA H200 (1g)", 100), Reading(parameters=1, held=4, peak=None)
    rows = record.table([Found("02", step(None, None), found)], gpu)
    assert record.write(rows, gpu, tmp_path).name == "nvidia-h200-1g.csv"
    [line] = kept.read(tmp_path).to_dict("records")
    assert line["how"] == "measured" and line["note"] == "lower batch_size (batches of 2 now)"
    assert math.isnan(line["peak_gb"]) and math.isnan(line["hours"]), "there was not enough memory to know"
    assert record.write(rows, gpu, tmp_path) and len(list(tmp_path.iterdir())) == 1


def test_a_gpu_is_measured(monkeypatch):
    monkeypatch.setattr(command, "best_device", lambda: "cuda")
    there = SimpleNamespace(name="A card", total_memory=2 * 10**10)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _number: there)
    assert command.present() == Card("A card", 2 * 10**10, None)
    assert command.title(command.present()).startswith("Measured on A card, 20 GB.")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["99"], "There is no notebook '99'"), (["12", "--card", "Abacus"], "no card 'Abacus'; there are H200, ")],
)
def test_a_mistake_is_one_line_and_status_2(capsys, monkeypatch, arguments, says):
    monkeypatch.setattr(command, "best_device", lambda: "cpu")
    assert command.main(arguments) == 2
    told = capsys.readouterr()
    assert says in told.err and not told.out


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"clips": {"train": 3}}, r"02\.yaml: 'devel' is missing"),
        ({}, r"02\.yaml: 'clips' is missing"),
        ({"clips": 7}, "parameter 'clips' is 7"),
        ({"clops": {}}, "unknown parameter 'clops'"),
    ],
)
def test_what_the_rehearsal_lacks_is_named(tmp_path, monkeypatch, values, says):
    (tmp_path / "02.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setattr(params, "FOLDER", tmp_path)
    with pytest.raises(InputError, match=says):
        steps.of("02")
