"""What notebook 10 takes over from notebook 09, and how it ran beside what the paper says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from torch import nn

from reaffect import paths, results
from reaffect.curation import review, review_queue
from reaffect.curation.figures import Passed
from reaffect.errors import InputError
from reaffect.models.omni_emotion import OmniEmotion
from reaffect.models.whisper_audio import HOP, POOL, SAMPLE_RATE, SHORTEST, TOKEN
from reaffect.results import measured
from reaffect.tuning import Recipe


class Curated(NamedTuple):
    """What notebook 09 recorded of a curation, for Figures 1 and 2."""

    counts: Passed
    example: dict[str, Any]
    """The annotated clip of a corpus with the highest score: `clip` (its id there), `coarse`, `reason`,
    `labels`."""


def curated(corpus: str, *, profile: str) -> Curated:
    """What Figures 1 and 2 are drawn from.

    Args:
        corpus: of the example; the paper's is MAFW.
        profile: the folder under `reports/`.

    Raises:
        InputError: notebook 09 has recorded nothing, or no annotated clip of the corpus.
    """
    file = paths.REPORTS / profile / "09.json"
    found = [content["exhibits"] for content in results.records(profile) if content["notebook"] == "09"]
    if not found:
        raise InputError(f"{file}: no such record. Run notebook 09, from which Figures 1 and 2 come.")
    examples = [one for one in found[0]["examples"] if one["corpus"] == corpus]
    if not examples:
        raise InputError(f"{file} has no example of {corpus}. Let notebook 09 curate it, too.")
    example = examples[0] | {"clip": examples[0]["clip"].split("/")[-1]}
    return Curated(Passed(**found[0]["curation"][0]), example)


def with_annotated(table: pd.DataFrame, folder: Path | None, *, held_out: int, seed: int = 0) -> pd.DataFrame:
    """EMER's clips, and behind them those that were annotated for phase 3: SRE and HRE (Sections 3 and 4.4).

    Args:
        table: `clip`, `media`, `labels`, `text` and `split`, as from `corpora.emer.split`.
        folder: with `sre.jsonl`, `hre.jsonl` and `verdicts.jsonl` of notebook 09; None adds none. Of HRE, clips count
            that reviewers kept. Clips that the table tests are left out: EMER's are MER2024's, and the paper does not
            say whether it learned from them.
        held_out: how many of the annotated clips choose the epoch.
        seed: draws these.

    Raises:
        InputError: a file is missing or damaged, or too few clips are left.
    """
    if folder is None:
        return table
    sre, hre = (review_queue.read_queue(folder / f"{name}.jsonl", paths.DATA) for name in ("sre", "hre"))
    both = pd.concat([sre, review.reviewed(hre, review.verdicts(folder / "verdicts.jsonl"))])
    both = both.drop_duplicates(["corpus", "clip"], keep="last", ignore_index=True)
    tested = both["clip"].str.split("/").str[-1].isin(table["clip"][table.split == "test"])
    made = both[~tested]
    if len(made) <= held_out:
        raise InputError(f"{folder}: {len(made)} clips, of which {held_out} are to be held out. Annotate more clips.")
    drawn = np.random.default_rng(seed).permutation(len(made))
    own = made.assign(text=made.reason, split=np.where(drawn < held_out, "devel", "train"))
    return pd.concat([table, own[["clip", "media", "labels", "text", "split"]]], ignore_index=True)


def settings(
    network: OmniEmotion, recipes: Mapping[str, Recipe], lessons: Mapping[str, int], *, frames: int, datasets: int
) -> list[dict[str, Any]]:
    """The numbers of Section 4 as they were here, as rows for `results.compare`.

    Args:
        network: with all of its parts.
        recipes: by phase, '1' to '3'.
        lessons: the same, how many were learned.
        frames: of a clip.
        datasets: of phase 2.
    """
    audio = {
        "sample rate": SAMPLE_RATE / 1000,
        "mel bins": network.ears.config.mel_bins,
        "window": 1000 * SHORTEST / SAMPLE_RATE,
        "hop": 1000 * HOP / SAMPLE_RATE,
        "pooling stride": POOL,
        "token": 1000 * TOKEN / SAMPLE_RATE,
    }
    projectors = {"audio projector": network.audio_projector, "facial projector": network.face_projector}
    told: dict[str, dict[str, float]] = {"audio": audio}
    for name, part in projectors.items():
        told[name] = {"linear layers": sum(isinstance(layer, nn.Linear) for layer in part.modules())}
    for phase, count in lessons.items():
        recipe = recipes[phase]
        told[f"phase {phase}"] = {
            "learning rate": recipe.learning_rate,
            "batch size": recipe.batch_size * recipe.accumulate,
            "epochs": recipe.epochs,
            "instructions": count,
        }
    told["phase 2"] |= {"datasets": datasets}
    told["phase 3"] |= {"frames": frames}
    return [measured(row, column, value) for row, columns in told.items() for column, value in columns.items()]
