"""What happens in a post-match interview before anybody films it: mood, words, voice, face, and body language.

Won or lost is the cause of all. It sets the player's mood; each answer has a mood of its own around it, for a loser
may smile through one answer (EALD-MLLM 2024, Section 1); and the answer's mood sets what is said, how it is said, the
face, and how often which non-facial body language (NFBL) occurs. Every draw is kept in `planted.json`.
"""

from __future__ import annotations

from typing import NamedTuple

import librosa
import numpy as np
from scipy.special import expit

from reaffect.corpora.eald import FAMILIES
from reaffect.synthetic import speech

SAMPLE_RATE = 16_000

MOOD = 0.9
"""Mean mood after a win; after a defeat its negative. Players vary around it by `PLAYER`, answers by `ANSWER`."""
PLAYER, ANSWER = 0.45, 0.8

WIN_SHARE = 0.7
"""Of the interviews; EALD has 201 of 275, which would leave too few defeats of 40."""

NFBL_A_SECOND = 0.2
"""At mood 0; EALD has 16,180 in 32.15 hours, 0.14 a second."""

QUESTIONS = (
    "How did you prepare for the match today?",
    "What was the plan in the second set?",
    "How do you see the next weeks?",
    "Can you tell us about the last game?",
    "How was the weather on the court?",
    "What did your coach say to you?",
    "How long have you known your opponent?",
)
PLEASED = (
    "I am very happy with the way I played today.",
    "It was a great win and I enjoyed every minute.",
    "The crowd was wonderful and gave me good energy.",
    "I feel strong and confident for the next round.",
    "My serve was excellent and I am proud of the team.",
)
DISPLEASED = (
    "I am very disappointed with the way I played today.",
    "It was a terrible day and nothing worked for me.",
    "The mistakes hurt me and I lost my confidence.",
    "I feel tired and sad about the result.",
    "My serve was bad and I failed in the important points.",
)
PLAIN = (
    "We started with the long rallies and changed the side.",
    "The first set took about forty minutes in the end.",
    "I will talk to my coach about it this evening.",
    "We practised on this court in the morning.",
    "The next match is on Thursday in the afternoon.",
)

SHARES = {"N5": 5.0, "N9": 5.0}
"""How much more often than another class: 'significantly higher' (Section 2.3, Figure 4)."""

LEANING = {"self-manipulation": -0.7, "object": -0.1, "self-protection": -1.0}
"""Log rate of a family a unit of mood: who lost protects and touches himself more. Ours; the paper prints none."""

PAUSE_S = 0.25


class Turn(NamedTuple):
    """One question or answer."""

    start_s: float
    end_s: float
    speaker: str
    """interviewer or player."""

    text: str
    mood: float
    """Of the answer; of a question 0."""


class Interval(NamedTuple):
    """One non-facial body language."""

    start_s: float
    end_s: float
    nfbl: str
    """N1 to N16, see `corpora.eald.NFBL`."""


class Interview(NamedTuple):
    """All that is planted in one interview."""

    won: bool
    mood: float
    turns: list[Turn]
    nfbl: list[Interval]
    waveform: np.ndarray
    """float32 (samples,) at `SAMPLE_RATE`."""


class Voice(NamedTuple):
    """A speaker: one of eSpeak NG's voices, with a vocal tract shortened or lengthened by a factor."""

    name: str
    tract: float


def interview(won: bool, duration_s: float, voice: Voice, rng: np.random.Generator) -> Interview:
    """Draws an interview of `duration_s` seconds with a player who won or lost."""
    mood = (MOOD if won else -MOOD) + PLAYER * rng.standard_normal()
    waveform = rng.normal(0, 10 ** (-60 / 20), round(duration_s * SAMPLE_RATE)).astype(np.float32)
    host = Voice("m1" if voice.name.startswith("f") else "f1", 1.0)
    turns = _talk(mood, duration_s, voice, host, waveform, rng)
    return Interview(won, mood, turns, _body_language(turns, duration_s, rng), np.clip(waveform, -1, 1))


def mood_at(turns: list[Turn], times_s: np.ndarray) -> np.ndarray:
    """Mood (n,) at times (n,): that of the answer in which, or after the question to which, a time lies."""
    answers = [turn for turn in turns if turn.speaker == "player"]
    which = np.searchsorted([turn.end_s for turn in answers], times_s)
    return np.array([turn.mood for turn in answers])[np.minimum(which, len(answers) - 1)]


def face_units(planted: Interview, frames: int, fps: float, rng: np.random.Generator) -> np.ndarray:
    """Facial units (frames, 5) of `faces.UNITS` in [0, 1]: the answer's mood in slow waves, the jaw moved by speech."""
    times = (np.arange(frames) + 0.5) / fps
    mood = mood_at(planted.turns, times)
    smile, frown, brow_lower = expit(3 * (mood - 0.5)), expit(3 * (-mood - 0.5)), expit(3 * (-mood - 0.8))
    wave = 0.65 + 0.35 * np.sin(2 * np.pi * (times * rng.uniform(0.15, 0.3) + rng.random()))
    units = np.stack([smile * wave, 0.8 * frown * wave, 0.15 * wave, 0.8 * brow_lower * wave, 0 * wave], 1)
    units[:, 4] = 0.5 * _loudness(planted, times)
    ramp = np.hanning(2 * (round(0.3 * fps) | 1) + 1)  # expressions come and go in a third of a second
    smooth = np.stack([np.convolve(np.pad(u, len(ramp) // 2, "edge"), ramp / ramp.sum(), "valid") for u in units.T], 1)
    smooth[:, 4] = units[:, 4]
    return np.clip(smooth, 0, 1)


def _loudness(planted: Interview, times_s: np.ndarray) -> np.ndarray:
    """Of the player's speech, in [0, 1]."""
    rate = SAMPLE_RATE
    window = np.arange(-800, 800)
    where = np.clip((times_s * rate).astype(int)[:, None] + window, 0, len(planted.waveform) - 1)
    level = np.sqrt((planted.waveform[where] ** 2).mean(1))
    speaking = np.zeros(len(times_s), bool)
    for turn in planted.turns:
        if turn.speaker == "player":
            speaking |= (turn.start_s <= times_s) & (times_s <= turn.end_s)
    return np.where(speaking, np.clip(level / max(level.max(), 1e-6), 0, 1), 0)


def _talk(
    mood: float, duration_s: float, voice: Voice, host: Voice, waveform: np.ndarray, rng: np.random.Generator
) -> list[Turn]:
    """Questions and answers until the time is over, spoken into `waveform`; what does not fit is left out."""
    turns, clock = [], 0.3
    while True:
        question = _spoken(str(rng.choice(QUESTIONS)), host, 0.0)
        felt = mood + ANSWER * rng.standard_normal()
        answer = [_spoken(_sentence(felt, rng), voice, felt) for _ in range(rng.integers(1, 3))]
        for speaker, sentences, value in (("interviewer", [question], 0.0), ("player", answer, felt)):
            for text, wave in sentences:
                end = clock + len(wave) / SAMPLE_RATE
                if end > duration_s:
                    return turns
                first = round(clock * SAMPLE_RATE)
                waveform[first : first + len(wave)] += wave[: len(waveform) - first]
                turns.append(Turn(round(clock, 3), round(end, 3), speaker, text, round(value, 4)))
                clock = end + PAUSE_S


def _sentence(mood: float, rng: np.random.Generator) -> str:
    if rng.random() < 0.35:
        return str(rng.choice(PLAIN))
    return str(rng.choice(PLEASED if rng.random() < expit(1.5 * mood) else DISPLEASED))


def _spoken(text: str, voice: Voice, mood: float) -> tuple[str, np.ndarray]:
    """Words and how they sound: a better mood is faster, higher, livelier and louder."""
    wave = speech.say(text, speech.prosody(float(expit(1.2 * mood))), voice=voice.name, sample_rate=SAMPLE_RATE)
    return text, librosa.resample(wave, orig_sr=SAMPLE_RATE, target_sr=round(SAMPLE_RATE * voice.tract))


def _body_language(turns: list[Turn], duration_s: float, rng: np.random.Generator) -> list[Interval]:
    """A point process whose rates follow the mood of the moment; one thing at a time."""
    codes = [code for family in FAMILIES.values() for code in family]
    shares = np.array([SHARES.get(code, 1.0) for code in codes])
    leaning = np.array([LEANING[family] for family, members in FAMILIES.items() for _ in members])
    base = NFBL_A_SECOND * shares / shares.sum()
    intervals, clock = [], 0.0
    while True:
        rates = base * np.exp(leaning * mood_at(turns, np.array([clock]))[0])
        clock += rng.exponential(1 / rates.sum())
        length = 0.6 + rng.exponential(0.9)
        if clock + 0.7 > duration_s:
            return intervals
        code = str(rng.choice(codes, p=rates / rates.sum()))
        end = min(clock + length, duration_s - 0.1)
        intervals.append(Interval(round(clock, 2), round(end, 2), code))
        clock = end + 0.2
