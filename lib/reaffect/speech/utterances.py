"""Utterances from word times and voice activity.

MicroEmo looks at each utterance through a window as long as the utterance (2024, Section 3.3) and does not say how a
clip is parted. Here a pause or the end of a sentence parts it. Whisper knows where sentences end, but its word times
are rough and it makes up words in silence; silero knows to some 30 ms where there is voice. So voice gives the
bounds, words give the text and the ends of sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from reaffect.errors import InputError

PAUSE_S = 0.5
"""A longer silence parts two utterances. Ours: speakers' pauses within a sentence are mostly shorter."""

SHORTEST_S = 0.4
"""Voice without words (a laugh, a sigh) is an utterance from here on, and no sentence is cut off shorter. Ours."""

_SENTENCE_END = re.compile(r"""([!?。！？]|(?<!\.)(?<!\.[a-z])\.)["'”’」』)\]]*$""")
"""Not "...", where a speaker hesitates, nor "a.m."."""

_TITLES = ("mr.", "mrs.", "ms.", "dr.", "prof.", "st.", "vs.")


class Word(NamedTuple):
    """A recognised word."""

    start_s: float
    end_s: float
    text: str
    """With its punctuation, and the space before it where the language has one: texts join without a separator."""


class Utterance(NamedTuple):
    """What one says in one go."""

    start_s: float
    end_s: float
    text: str
    """Empty where there is voice without words, or no speech in the whole clip."""


class _Piece(NamedTuple):
    start_s: float
    end_s: float
    words: list[Word]
    is_over: bool  # whatever follows is another utterance


def segment(
    words: Iterable[Word],
    voiced: Iterable[tuple[float, float]],
    duration_s: float,
    *,
    pause_s: float = PAUSE_S,
    shortest_s: float = SHORTEST_S,
) -> list[Utterance]:
    """Parts a clip into utterances, in order, without overlap, within the clip; what is silent belongs to none.

    A word belongs to the voiced stretch that it overlaps most, or that is nearest and not farther than `pause_s`; other
    words were made up in silence and are dropped. Where that leaves the edge of a sentence on the wrong side of a short
    silence, it is moved. Each word that is left stands in one utterance. Stretches less than
    `pause_s` apart are one utterance until a sentence ends; within a stretch the end of a sentence, or `pause_s`
    between two words, parts it midway between them.

    Args:
        words: in any order; they may overlap, end before they start, or lie past the end.
        voiced: start and end in seconds, in any order.
        duration_s: of the clip.
        pause_s: from this silence on two utterances are parted.
        shortest_s: shorter voice without words is a breath and dropped, longer is an utterance with an empty text
            unless it goes on from an unfinished sentence; and no part of a stretch is cut off that is shorter.

    Returns:
        At least one: where nothing is left, an utterance without text as long as the clip.

    Raises:
        InputError: a length that is not positive.

    >>> words = [Word(0.1, 0.5, " Who"), Word(0.5, 1.0, " won?"), Word(1.1, 1.4, " We"), Word(1.4, 1.9, " did.")]
    >>> segment([*words, Word(7.0, 7.5, " Thanks.")], [(0.2, 0.9), (1.2, 2.0), (4.0, 5.0)], 8.0)
    [Utterance(start_s=0.2, end_s=0.9, text='Who won?'), Utterance(start_s=1.2, end_s=2.0, text='We did.'), \
Utterance(start_s=4.0, end_s=5.0, text='')]
    """
    if not (duration_s > 0 and pause_s > 0 and shortest_s > 0):
        raise InputError(
            f"duration_s, pause_s and shortest_s are {duration_s}, {pause_s} and {shortest_s}: each must be above 0."
        )
    stretches = _within(voiced, duration_s)
    shares = _shared_out(words, stretches, duration_s, pause_s)
    _bring_strays_home(shares, stretches, pause_s, shortest_s)
    pieces = [
        piece
        for stretch, spoken in zip(stretches, shares, strict=True)
        for piece in _parted(*stretch, spoken, pause_s, shortest_s)
    ]
    utterances = [
        Utterance(piece.start_s, piece.end_s, "".join(word.text for word in piece.words).strip())
        for piece in _joined(pieces, pause_s, shortest_s)
        if piece.words or piece.end_s - piece.start_s >= shortest_s
    ]
    return utterances or [Utterance(0.0, duration_s, "")]


def _within(voiced: Iterable[tuple[float, float]], duration_s: float) -> list[tuple[float, float]]:
    """Stretches cut at the clip's ends, those that overlap joined, in order."""
    stretches: list[tuple[float, float]] = []
    for start, end in sorted((max(start, 0.0), min(end, duration_s)) for start, end in voiced):
        if stretches and start <= stretches[-1][1]:
            stretches[-1] = (stretches[-1][0], max(end, stretches[-1][1]))
        elif start < end:
            stretches.append((start, end))
    return stretches


def _shared_out(
    words: Iterable[Word], stretches: Sequence[tuple[float, float]], duration_s: float, reach_s: float
) -> list[list[Word]]:
    """Words of each stretch by their start, their times made possible."""
    shares: list[list[Word]] = [[] for _ in stretches]
    if not stretches:
        return shares
    starts, ends = np.array(stretches).T
    for word in sorted(words, key=lambda word: word.start_s):
        start = min(max(word.start_s, 0.0), duration_s)
        end = max(min(word.end_s, duration_s), start)
        shared = np.minimum(end, ends) - np.maximum(start, starts)  # negative: how far away
        if shared.max() >= -reach_s:
            shares[shared.argmax()].append(Word(start, end, word.text))
    return shares


def _bring_strays_home(
    shares: list[list[Word]], stretches: Sequence[tuple[float, float]], pause_s: float, shortest_s: float
) -> None:
    """Moves the few words at the edge of a stretch that belong to the sentence in the stretch beside it.

    Whisper's times are off by a word now and then: a sentence that seems to begin in the last moment of a stretch, or
    to end in its first, does so on the other side of the silence.
    """
    for k, ((_, end), (start, _)) in enumerate(pairwise(stretches)):
        if start - end > pause_s:
            continue
        before, after = shares[k], shares[k + 1]
        begun = [i for i, cut in _sentence_cuts(before) if end - cut < shortest_s]
        ended = [i for i, cut in _sentence_cuts(after) if cut - start < shortest_s]
        if begun:
            shares[k], shares[k + 1] = before[: begun[0]], before[begun[0] :] + after
        elif ended:
            shares[k], shares[k + 1] = before + after[: ended[-1]], after[ended[-1] :]


def _sentence_cuts(words: Sequence[Word]) -> list[tuple[int, float]]:
    """Each sentence's first word but for the first one's, and the time midway between it and the word before."""
    return [(k, _midway(words[k - 1], words[k])) for k in range(1, len(words)) if _ends_sentence(words[k - 1])]


def _midway(before: Word, after: Word) -> float:
    return (before.end_s + after.start_s) / 2


def _parted(start_s: float, end_s: float, words: list[Word], pause_s: float, shortest_s: float) -> list[_Piece]:
    """One voiced stretch, cut where a sentence ends or no word is heard for long."""
    pieces, first = [], 0
    for k, (before, after) in enumerate(pairwise(words), 1):
        cut = _midway(before, after)
        is_over = _ends_sentence(before) or after.start_s - before.end_s > pause_s
        if is_over and cut - start_s >= shortest_s and end_s - cut >= shortest_s:
            pieces.append(_Piece(start_s, cut, words[first:k], True))
            start_s, first = cut, k
    return [*pieces, _Piece(start_s, end_s, words[first:], bool(words) and _ends_sentence(words[-1]))]


def _joined(pieces: Iterable[_Piece], pause_s: float, shortest_s: float) -> list[_Piece]:
    joined: list[_Piece] = []
    for piece in pieces:
        if joined and not _apart(joined[-1], piece, pause_s, shortest_s):
            before = joined.pop()
            piece = _Piece(before.start_s, piece.end_s, before.words + piece.words, piece.is_over)
        joined.append(piece)
    return joined


def _apart(before: _Piece, after: _Piece, pause_s: float, shortest_s: float) -> bool:
    laughed_first = not before.words and after.words and before.end_s - before.start_s >= shortest_s
    return before.is_over or after.start_s - before.end_s > pause_s or bool(laughed_first)


def _ends_sentence(word: Word) -> bool:
    text = word.text.strip().lower()
    return bool(_SENTENCE_END.search(text)) and text not in _TITLES
