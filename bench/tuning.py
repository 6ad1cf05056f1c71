"""Instruction tuning: batches of like length, padded to their own longest, against padding to the longest of all.

The same batches, so that losses can be compared step by step; LoRA's dropout is off, as it draws by shape.
Run: python -m bench.tuning
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.microemo import WIDTH, small_config
from bench.timing import median_seconds_by_turns, report
from reaffect import paths
from reaffect.models.dialogue_clip import DialogueClip
from reaffect.models.microemo import MicroEmo
from reaffect.models.soft_prompt import SoftPromptLM
from reaffect.tuning import Lesson, Recipe, bucketed, tune
from reaffect.tuning.lessons import cut

LESSONS, SAMPLE, FRAMES, PATCHES = 128, 32, 6, 36
RECIPE = Recipe(seed=0, epochs=1, batch_size=4, learning_rate=1e-4, max_new_tokens=1)
ENOUGH, APART = 1.5, 1e-4
MAXIMUM = "padded to the maximum"
WORDS = "she said that nobody ever asked him why this happened again and I felt so tired of it all today"


def main() -> None:
    model, (*learned, held) = small_microemo(), lessons(LESSONS + 1)
    compare(model, learned, [held])


def compare(model: SoftPromptLM, learned: list[Lesson], held: list[Lesson], recipe: Recipe = RECIPE) -> None:
    """An epoch of `tune` on a sample both ways, padded to the longest of all lessons; the validation is one token."""
    lengths = np.array([model.lengths(*inputs(lesson))[0][0] for lesson in learned])
    describe(lengths, recipe)
    padded = copy.deepcopy(model)
    padded._inputs = to_length(padded._inputs, int(lengths.max()))
    start = {name: value.clone() for name, value in model.state_dict().items()}
    losses: dict[str, pd.Series] = {}

    def epoch(name: str, which: SoftPromptLM) -> None:
        which.load_state_dict(start)
        with tempfile.TemporaryDirectory() as folder:
            losses[name] = tune(which, learned[:SAMPLE], held, folder, recipe, score=lambda *_: 0.0).history.loss

    contenders = {name: partial(epoch, name, which) for name, which in (("bucketed", model), (MAXIMUM, padded))}
    seconds = median_seconds_by_turns(contenders, repeats=2)
    apart = (losses["bucketed"] - losses[MAXIMUM]).abs().max()
    if apart > APART:
        raise SystemExit(f"losses differ by {apart:.1e}, more than {APART:.0e}: the comparison means nothing")
    print(f"losses of {len(losses[MAXIMUM])} steps differ by at most {apart:.1e}")
    report(f"an epoch of {SAMPLE} of them", seconds, reference="bucketed")
    ratio = seconds[MAXIMUM] / seconds["bucketed"]
    if ratio < ENOUGH:
        raise SystemExit(f"bucketed is {ratio:.2f} times as fast, less than {ENOUGH}")


def describe(lengths: np.ndarray, recipe: Recipe) -> None:
    """How much of each way's work is padding: the most that can be gained."""
    order = np.random.default_rng(0).permutation(len(lengths))
    batches = {
        "bucketed": bucketed(lengths, recipe.batch_size, seed=recipe.seed, epoch=0),
        "shuffled, padded to each batch's longest": cut(order, recipe.batch_size),
        MAXIMUM: [order],
    }
    print(f"{len(lengths)} lessons of {lengths.min()} to {lengths.max()} tokens, mean {lengths.mean():.0f}")
    for name, rows in batches.items():
        count = sum(len(own) * lengths[own].max() for own in rows)
        print(f"{name}: {count} positions, {1 - lengths.sum() / count:.0%} of them padding")


def to_length(inputs_of: Callable, length: int) -> Callable:
    """The model's inputs for training, padded on the left to a length."""

    def longer(*arguments) -> tuple[Tensor, Tensor, Tensor | None]:
        batch, mask, labels = inputs_of(*arguments)
        if labels is None:
            return batch, mask, labels
        more = length - batch.shape[1]
        return pad(batch, (0, 0, more, 0)), pad(mask, (more, 0)), pad(labels, (more, 0), value=-100)

    return longer


def inputs(lesson: Lesson) -> tuple:
    frames, audio = ([each] if each is not None else None for each in (lesson.frames, lesson.audio))
    return [lesson.question], frames, audio, [lesson.answer]


def small_microemo() -> MicroEmo:
    """SmolLM2-135M with LoRA behind small Q-Formers that read the kept tokens of a frozen tower."""
    folder = paths.CHECKPOINTS / "smollm2"
    voice = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(0)
    config = small_config(
        image_size=96, patch_size=16, image_queries=8, video_queries=8, frame_positions=FRAMES, lora_dropout=0.0
    )
    model = MicroEmo(config, voice, AutoTokenizer.from_pretrained(folder))
    return model.freeze(*model.published).eval()


def lessons(count: int) -> list[Lesson]:
    """Dialogue clips of one to four utterances; subtitles of 5 to 60 words and answers of 5 to 40, most of them short,
    as what people say is: log-normal with a median of 15."""
    rng = np.random.default_rng(0)
    vocabulary = WORDS.split()

    def text(most: int) -> str:
        return " ".join(rng.choice(vocabulary, int(np.clip(rng.lognormal(np.log(15), 0.6), 5, most))))

    made = []
    for _ in range(count):
        cuts = np.linspace(0, FRAMES, int(rng.integers(2, 6)))
        frames = torch.from_numpy(rng.standard_normal((FRAMES, 1 + PATCHES, WIDTH), np.float32))
        regions = torch.from_numpy(rng.random((FRAMES, 6, PATCHES)) < 0.1)
        clip = DialogueClip(frames, range(FRAMES), regions, list(pairwise(cuts)))
        question = f'The subtitle of this video is: "{text(60)}". How does the speaker feel, and what shows it?'
        made.append(Lesson(question, f"{text(40)}.", clip))
    return made


if __name__ == "__main__":
    main()
