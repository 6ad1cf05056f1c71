"""Steps of notebook 09: what describes clips for Omni-Emotion's data sets."""

from __future__ import annotations

from functools import partial

from reaffect import paths
from reaffect.curation.people import CLOSE_UP
from reaffect.curation.pipeline import Prompts
from reaffect.mllm import DEFAULT_FRAMES
from reaffect.rehearsal import qwen
from reaffect.rehearsal.networks import BY_NAME
from reaffect.rehearsal.params import Values
from reaffect.rehearsal.readings import LeftOut, Step


def curating(values: Values, real: Values) -> list[Step | LeftOut]:
    """Notebook 09: all corpora as videos with sound, and in each clip as many faces as are described at most."""
    clips, lasts_s = sum(real["clips"][name] for name in values["corpora"]), real["duration_s"]
    prompts = Prompts(**values["prompts"])
    frame = {"height": real["height"], "width": real["width"]}
    scene = {"frames": max(1, round(lasts_s * values["fps"])), "prompt": prompts.scene} | frame
    face = {"frames": values["close_up_frames"], "prompt": prompts.expression}
    face |= dict.fromkeys(("height", "width"), CLOSE_UP.side)
    sound = {"frames": DEFAULT_FRAMES, "sound_s": lasts_s, "prompt": prompts.caption} | frame

    def step(name: str, parameter: str, model: str, times: int, shown: dict[str, object]) -> Step | LeftOut:
        if model not in BY_NAME:
            where = "on a server" if paths.is_address(model) else "whose sizes are not known here"
            return LeftOut(name, f"{model}, {where}")
        asked = partial(qwen.watched, max_new_tokens=values["max_new_tokens"], **shown)
        return Step(name, BY_NAME[model], asked, values["batch_size"], times * clips, "batch_size", parameter)

    return [
        step("describe scenes", "seer", values["seer"], 1, scene),
        step("describe faces", "seer", values["seer"], CLOSE_UP.most, face),
        step("describe sounds", "listener", values["listener"][0], 2, sound),  # a caption, and the emotion
    ]
