"""What notebook 07 calls: parts of interviews, notes on body language, judged answers as rows, and trivial rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from reaffect import linear
from reaffect.audiovisual import Asked
from reaffect.corpora.eald import NFBL
from reaffect.metrics import binary_scores
from reaffect.models.imagebind import SEGMENT_S
from reaffect.models.soft_prompt import SoftPromptLM
from reaffect.results import measured
from reaffect.stats import bootstrap_groups, percentile_interval

COLUMNS = {"Accuracy": "accuracy", "F-score": "f1", "Precision": "precision"}
"""The papers' names -> those of `metrics.BinaryScores`."""


def whole(table: pd.DataFrame) -> list[Asked]:
    """Every interview from its beginning to its end."""
    return [Asked(media) for media in table.media]


def windows(table: pd.DataFrame, share: float, *, seed: int) -> list[Asked]:
    """A part of each interview, `share` of its length, that begins at random (EALD-MLLM, supplement, Section 1).

    The paper draws "sequences of varying lengths" and says no more; here a sequence is one uninterrupted part.
    """
    starts = np.random.default_rng(seed).uniform(0, 1 - share, len(table))
    return [Asked(media, start=start, end=start + share) for media, start in zip(table.media, starts, strict=True)]


def with_notes(
    asked: Sequence[Asked], table: pd.DataFrame, nfbl: pd.DataFrame, durations_s: Sequence[float]
) -> list[Asked]:
    """The same parts with the body language that occurs in them as a note.

    Args:
        asked: parts of the table's interviews, in its order.
        table: from `corpora.eald.load`.
        nfbl: from `corpora.eald.load_nfbl`.
        durations_s: of the interviews.
    """
    noted = []
    for item, clip, length in zip(asked, table["clip"], durations_s, strict=True):
        inside = (nfbl["clip"] == clip) & (nfbl.end_s > item.start * length) & (nfbl.start_s < item.end * length)
        noted.append(item._replace(note=body_language(nfbl[inside].nfbl)))
    return noted


def body_language(codes: Sequence[str]) -> str:
    """Annotated behaviours as a sentence, the most frequent first; the paper prints no wording.

    >>> body_language(["N9", "N5", "N9"])
    'Non-facial body language: biting nails (2 times), covering the face (once).'
    >>> body_language([])
    'Non-facial body language: none.'
    """
    counts = pd.Series(list(codes), dtype=object).value_counts(sort=True)
    told = [f"{NFBL[code]} ({'once' if count == 1 else f'{count} times'})" for code, count in counts.items()]
    return f"Non-facial body language: {', '.join(told) or 'none'}."


def rows(name: str, truth: Sequence[bool], judged: pd.DataFrame, videos: Sequence[str]) -> list[dict[str, Any]]:
    """A table's row: accuracy, F-score, precision in per cent and the mean confidence, with intervals over videos.

    Args:
        name: of the row.
        truth: whether each interview is positive.
        judged: what `judge.emotion` returned for them; a missing emotion is wrong, a missing score is left out.
        videos: what is drawn anew for an interval, one name an interview.
    """
    prediction = judged.emotion.map({"positive": 1.0, "negative": 0.0}).to_numpy(float)
    made = scores(name, truth, prediction, videos)
    confidence = judged.score.to_numpy(float)
    told = ~np.isnan(confidence)
    drawn = bootstrap_groups(lambda w: (w[:, told] @ confidence[told]) / np.maximum(w[:, told].sum(1), 1), videos)
    mean = float(confidence[told].mean()) if told.any() else float("nan")
    return [*made, measured(name, "Confidence score", mean, interval=percentile_interval(drawn))]


def scores(
    name: str, truth: Sequence[bool], prediction: np.ndarray, videos: Sequence[str], seeds: Sequence[np.ndarray] = ()
) -> list[dict[str, Any]]:
    """Accuracy, F-score and precision in per cent; of several seeds their mean, each seed, and the first's interval.

    Args:
        name: of the row.
        truth: whether each interview is positive.
        prediction: 1, 0 or NaN for each.
        videos: what is drawn anew for an interval.
        seeds: the predictions of every seed, if there are several.
    """
    truth = np.asarray(truth, float)

    def statistic(weights: np.ndarray) -> np.ndarray:
        found = binary_scores(truth, prediction, weights=weights)
        return 100 * np.stack([getattr(found, field) for field in COLUMNS.values()], -1)

    drawn = bootstrap_groups(statistic, videos)
    each = [binary_scores(truth, one) for one in (seeds or [prediction])]
    made = []
    for place, (column, field) in enumerate(COLUMNS.items()):
        values = [100 * getattr(one, field) for one in each]
        interval = percentile_interval(drawn[:, place])
        made.append(measured(name, column, float(np.mean(values)), interval=interval, seeds=values if seeds else ()))
    return made


def trivial(truth: Sequence[bool], videos: Sequence[str], *, seed: int = 0) -> list[dict[str, Any]]:
    """What needs no model: always positive, always negative, and a fair coin."""
    count = len(truth)
    coin = np.random.default_rng(seed).integers(0, 2, count).astype(float)
    constant: Mapping[str, np.ndarray] = {
        "always positive": np.ones(count),
        "always negative": np.zeros(count),
        "coin": coin,
    }
    return [row for name, prediction in constant.items() for row in scores(name, truth, prediction, videos)]


def rows_of_parts(
    name: str, truth: Sequence[bool], draws: Sequence[pd.DataFrame], videos: Sequence[str]
) -> list[dict[str, Any]]:
    """As `rows`, for several draws of parts: the mean over draws, each draw, and the interval of the first one."""
    each = [rows(name, truth, judged, videos) for judged in draws]
    made = []
    for same in zip(*each, strict=True):
        values = [row["value"] for row in same]
        made.append({**same[0], "value": float(np.nanmean(values)), "seeds": values})
    return made


def stages(
    network: SoftPromptLM, frames: int, longest_s: float
) -> tuple[list[tuple[str, list[int | str]]], dict[str, str]]:
    """Figure 5 with this model's own shapes: what leaves each stage, and what goes in, for `plots.fusion`."""
    config = network.config
    side, ears = config.image_size, config.audio
    segments = math.ceil(longest_s / SEGMENT_S)
    inputs = {
        "video Q-Former": f"faces hidden\n{frames} × {side} × {side} × 3",
        "audio Q-Former": f"voice anonymised\n{segments} × {ears.mel_bins} × {ears.mel_frames}",
        "sentence": "annotated\nbody language",
    }
    made: list[tuple[str, list[int | str]]] = [
        ("video Q-Former", [config.video_queries, network.video_projection.out_features]),
        ("audio Q-Former", [config.audio_queries, network.audio_projection.out_features]),
        ("sentence", ["words"]),
        ("LLM", ["description"]),
        ("judge", ["emotion", "score"]),
    ]
    return made, inputs


def settings(
    table: pd.DataFrame, network: SoftPromptLM, *, frames: int, sample_rate: int, draws: int
) -> list[dict[str, Any]]:
    """What this run was set to, as rows of the paper's Section 4.

    Args:
        table: from `corpora.eald.load`.
        network: that is asked.
        frames: of each interview that it is shown.
        sample_rate: that BEATs hears, in Hz.
        draws: of parts of the sequence.
    """
    values = {
        ("part of EALD", "train videos"): int((table.split == "train").sum()),
        ("part of EALD", "test videos"): int((table.split == "test").sum()),
        ("probes", "epochs"): linear.VIDEO.epochs,
        ("probes", "warm-up epochs"): linear.VIDEO.warmup_epochs,
        ("BEATs", "sample rate"): sample_rate,
        ("Video-LLaMA", "frames"): frames,
        ("Video-LLaMA", "audio clip"): SEGMENT_S,
        ("Video-LLaMA", "mel bins"): network.config.audio.mel_bins,
        ("sequence lengths", "seeds"): draws,
    }
    return [measured(row, column, float(value)) for (row, column), value in values.items()]


def examples(
    table: pd.DataFrame, told: Mapping[str, pd.DataFrame], judged: Mapping[str, pd.DataFrame], noted: Sequence[Asked]
) -> pd.DataFrame:
    """Figures 6 to 8 by a rule: the first interview that body language set right, the first that it set wrong, and
    the first whose description told the judge nothing; a rule that no interview fits has no row."""
    wanted = table.positive.map({True: "positive", False: "negative"})
    without, with_it = judged["V+A"].emotion, judged["V+A+NFBL"].emotion
    rules = {
        "set right by body language": (without != wanted) & (with_it == wanted),
        "set wrong by body language": (without == wanted) & with_it.notna() & (with_it != wanted),
        "told the judge nothing": with_it.isna(),
    }
    found = []
    for rule, fits in rules.items():
        for place in np.flatnonzero(fits)[:1]:
            found.append(
                {
                    "rule": rule,
                    "clip": table["clip"].iloc[place],
                    "truth": wanted.iloc[place],
                    "body language": noted[place].note,
                    "description without it": told["V+A"].text.iloc[place],
                    "judged": without.iloc[place],
                    "description with it": told["V+A+NFBL"].text.iloc[place],
                    "judged with it": with_it.iloc[place],
                }
            )
    return pd.DataFrame(found)
