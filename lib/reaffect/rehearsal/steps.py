"""The steps of each notebook: which network, on what, how often.

Sizes of batches, frames and answers are the notebook's parameters in the paper profile, or the defaults of the function
that it calls, so that they cannot differ from what is run. Answers are as long as they may be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reaffect.rehearsal import audiovisual, curation, omni, vaiani
from reaffect.rehearsal.params import Values, of_notebook, own
from reaffect.rehearsal.readings import LeftOut, Step

STEPS: dict[str, Callable[[Values, Values], Sequence[Step | LeftOut]]] = {
    "02": vaiani.querying,
    "03": vaiani.probing,
    "05": vaiani.fusing,
    "07": audiovisual.interviews,
    "08": audiovisual.dialogues,
    "09": curation.curating,
    "10": omni.finetuning,
}
"""By notebook: its parameters and those of the rehearsal -> its steps."""

NO_TORCH = "no network of PyTorch's"
FURTHER = LeftOut("further models", "beyond the paper, and none larger than Qwen2.5-Omni, rehearsed in 07 and 09")
JUDGE = LeftOut("judgements", "gpt-3.5-turbo, on a server")
PROBES = LeftOut("probes", "learn on the processor")

NOT_REHEARSED = {
    "01": [LeftOut("tables and pictures", "no network")],
    "02": [FURTHER],
    "03": [PROBES, FURTHER],
    "04": [LeftOut("embeddings", "those of 03, from the store"), PROBES],
    "05": [LeftOut("landmarks", "on the processor"), LeftOut("the baselines", "a small LSTM")],
    "06": [LeftOut("faces, landmarks, transcripts", f"dlib, MediaPipe and CTranslate2, {NO_TORCH}")],
    "07": [LeftOut("supervised systems", "five networks, each on 146 videos"), JUDGE],
    "08": [LeftOut("utterances, faces", f"CTranslate2 and MediaPipe, {NO_TORCH}"), FURTHER, JUDGE],
    "09": [
        LeftOut("find faces", f"dlib's CNN and optical flow, {NO_TORCH}"),
        LeftOut("transcripts", f"Whisper-large-v3 in CTranslate2, {NO_TORCH}"),
        LeftOut("ages and genders", "MiVOLO is in no package: not estimated"),
        JUDGE,
    ],
    "10": [LeftOut("faces", f"MediaPipe, {NO_TORCH}"), LeftOut("validation", "on 64 lessons an epoch"), FURTHER, JUDGE],
    "11": [LeftOut("fits", "those of 05, from the store")],
    "12": [LeftOut("tables", "read, not computed")],
}
"""What no step of `STEPS` stands for."""


def every(number: str) -> list[Step | LeftOut]:
    """What a notebook does: its steps, and then what is left out.

    Args:
        number: its two digits.

    Raises:
        InputError: no such notebook, or a parameter that is wrong or missing.
    """
    values = of_notebook(number)
    told = STEPS[number](values, own(number)) if number in STEPS else []
    return [*told, *NOT_REHEARSED.get(number, [])]


def of(number: str) -> list[Step]:
    """The steps of a notebook, none if it runs no network of PyTorch's on a GPU; as for `every`."""
    return [step for step in every(number) if isinstance(step, Step)]
