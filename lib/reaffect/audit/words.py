"""Whether words are still understood."""

from __future__ import annotations

from collections.abc import Sequence

import jiwer
import numpy as np

from reaffect.audit.estimates import Row, ratio
from reaffect.errors import InputError
from reaffect.speech import Recogniser, normalised


def words_missed(
    originals: Sequence[str],
    deidentified: Sequence[str],
    subjects: Sequence,
    *,
    references: Sequence[str] | None,
    recogniser: Recogniser,
) -> list[Row]:
    """Word error rate of a recogniser: substituted, lost and added words by words said, after `speech.normalised`.

    Args:
        originals: media files.
        deidentified: of the same clips.
        subjects: who speaks in them.
        references: all that is said in each clip; None for the recogniser's transcripts of the originals, whose own
            rate is then 0.
        recogniser: hears both.

    Returns:
        One row; clips without a word in the reference do not count.

    Raises:
        InputError: a file that cannot be read, lists of different lengths, fewer than two subjects.
    """
    heard = recogniser([*originals, *deidentified])
    before, after = ([heard[str(clip)] for clip in clips] for clips in (originals, deidentified))
    said = before if references is None else references
    words = np.array([len(normalised(text).split()) for text in said])
    rates = [ratio(word_errors(said, texts), words, subjects) for texts in (before, after)]
    return [Row("words missed (word error rate)", *rates, np.nan, int((words > 0).sum()))]


def word_errors(references: Sequence[str], heard: Sequence[str]) -> list[int]:
    """Fewest words to substitute, leave out or add in each text, after `speech.normalised`; 0 where nothing was said.

    >>> word_errors(["We won, six to four."], ["we WON 6 to 5 today"])
    [2]
    """
    if len(references) != len(heard):
        raise InputError(f"{len(references)} references for {len(heard)} transcripts: give one a clip.")
    pairs = [(normalised(said), normalised(text)) for said, text in zip(references, heard, strict=True)]
    counted = [jiwer.process_words(said, text) if said else None for said, text in pairs]
    return [c.substitutions + c.deletions + c.insertions if c else 0 for c in counted]
