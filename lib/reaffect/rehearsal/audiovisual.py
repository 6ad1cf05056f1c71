"""Steps of notebooks 07 and 08: Video-LLaMA, PandaGPT and Qwen2.5-Omni asked, MicroEmo tuned."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from reaffect import finetuning
from reaffect.models.microemo import ABLATIONS
from reaffect.rehearsal import batches, networks, qwen
from reaffect.rehearsal.networks import BY_NAME
from reaffect.rehearsal.params import Values
from reaffect.rehearsal.readings import Step
from reaffect.tuning import asking


def interviews(values: Values, real: Values) -> list[Step]:
    """Notebook 07; parts of interviews are taken to be as long as the whole."""
    clips, draws = sum(real["clips"].values()), len(values["shares"]) * len(values["window_seeds"])

    def step(name: str, build: Callable, times: int, sound_s: float) -> Step:
        shown = partial(batches.interviews, frames=values["frames"], sound_s=sound_s)
        asked = {"question": values["question"], "max_new_tokens": values["max_new_tokens"]}
        batch = partial(batches.told, shown=shown, **asked)
        return Step(name, build, batch, values["batch_size"], times * clips, "batch_size", "language_model")

    heard_s = real["duration_s"]
    shown = {"frames": values["frames"], "height": real["height"], "width": real["width"], "sound_s": heard_s}
    watched = partial(qwen.watched, prompt=values["question"], max_new_tokens=values["max_new_tokens"], **shown)
    further = [
        Step(f"ask {name}", BY_NAME[place], watched, values["batch_size"], clips, "batch_size", "further")
        for name, place in values["further"].items()
        if place in BY_NAME
    ]
    return [
        step("ask Video-LLaMA, V", networks.video_llama, 1, 0),
        # with and without notes of body language, and then parts with notes
        step("ask Video-LLaMA, V+A", networks.video_llama, 2 + draws, heard_s),
        step("ask PandaGPT", networks.pandagpt, 1, heard_s),
        *further,
    ]


def dialogues(values: Values, real: Values) -> list[Step]:
    """Notebook 08."""
    clips, frames, drawn = sum(real["clips"].values()), values["frames"], values["drawn"]
    runs = len(ABLATIONS) * len(values["seeds"])
    passes = runs * values["epochs"]
    clip = {"frames": frames, "duration_s": real["duration_s"], "utterances": real["utterances"]}
    shown = partial(batches.dialogues, **clip)
    see = partial(batches.patches_seen, frames=frames)
    length = values["max_new_tokens"]
    learn = partial(batches.learned, shown=shown, question=values["question"], answer_tokens=length)
    ask = partial(batches.told, shown=shown, question=values["question"], max_new_tokens=length)

    def step(name: str, batch: Callable, at_once: int, times: int, size: str) -> Step:
        build = partial(networks.microemo, lora=values["lora"])
        return Step(name, build, batch, at_once, times, size, "language_model")

    return [
        step("frames by MicroEmo's tower", see, finetuning.Patches.batch_size, clips, "finetuning.Patches"),
        step("tune MicroEmo", learn, values["batch_size"], passes * (drawn["train"] - drawn["devel"]), "frames"),
        step("validate MicroEmo", ask, values["batch_size"], passes * drawn["devel"], "frames"),
        step("ask MicroEmo", ask, asking.ASKED, (runs + 1) * (clips - drawn["train"]), "tuning.asking.ASKED"),
    ]
