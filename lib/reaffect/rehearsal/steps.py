"""The steps of each notebook: which network, on what, how often.

Sizes of batches, frames and answers are the notebook's parameters in the paper profile, or the defaults of the function
that it calls, so that they cannot differ from what is run. Answers are as long as they may be.
"""

from __future__ import annotations

from collections.abc import Callable

from reaffect.rehearsal import audiovisual, omni, vaiani
from reaffect.rehearsal.params import Values, of_notebook, own
from reaffect.rehearsal.readings import Step

STEPS: dict[str, Callable[[Values, Values], list[Step]]] = {
    "02": vaiani.querying,
    "03": vaiani.probing,
    "05": vaiani.fusing,
    "07": audiovisual.interviews,
    "08": audiovisual.dialogues,
    "10": omni.finetuning,
}
"""By notebook: its parameters and those of the rehearsal -> its steps."""

NOT_REHEARSED = {
    "01": "reads tables and pictures",
    "03": "probes, which learn on the processor",
    "04": "embeds as 03 did, from the store; probes learn on the processor",
    "05": "landmarks, on the processor; the baselines' small LSTM",
    "06": "dlib, MediaPipe and CTranslate2: no network of PyTorch's",
    "07": "Qwen2.5-Omni, the five supervised networks on 146 videos, the judge's server",
    "08": "CTranslate2, MediaPipe, other models on the test clips, the judge's server",
    "09": "Qwen2-VL-72B, 147 GB in bfloat16 (see `seer`), Qwen2.5-Omni, CTranslate2, MediaPipe, the judge's server",
    "10": "MediaPipe, validation, other models on the test clips, the judge's server",
    "11": "the fits of 05, from the store",
    "12": "reads tables",
}
"""What of a notebook is left out."""


def of(number: str) -> list[Step]:
    """The steps of a notebook, none if it runs no network of PyTorch's on a GPU.

    Args:
        number: its two digits.

    Raises:
        InputError: no such notebook, or a parameter that is wrong or missing.
    """
    values = of_notebook(number)
    return STEPS[number](values, own(number)) if number in STEPS else []
