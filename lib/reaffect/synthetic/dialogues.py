"""What happens in a clip of a dialogue before anybody films it: utterances, what carries their emotion, an account.

A clip has two to four utterances of one speaker. Emotion changes within it: most utterances are calm, one or two are
not, and one thing alone carries what they feel (`CARRIERS`). All else stays calm, so that whoever does not look there,
or then, cannot know. The account is what an annotator of EMER would write: clues and what they suggest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reaffect.synthetic import speech
from reaffect.synthetic.faces import UNITS

SAMPLE_RATE = 16_000

CARRIERS = ("local", "utterance", "voice", "words")
"""`local`: brows or corners of the mouth move for less than a second within one utterance. `utterance`: the face holds
one emotion through one utterance and another one through another. `voice` and `words`: nothing is to be seen."""

SEEN = CARRIERS[:2]
"""Those that show in the face."""

LABELS = {
    "happy": ("happy", "glad", "cheerful"),
    "sad": ("sad", "unhappy", "sorrowful"),
    "angry": ("angry", "furious", "mad"),
    "surprised": ("surprised", "astonished", "amazed"),
}
"""Emotions, and the words for each: one group of the emotion wheel."""

FACE = {"happy": "smile", "sad": "frown", "angry": "brow_lower", "surprised": "brow_raise"}
"""The facial unit of each; the first two move the corners of the mouth, the others the brows."""

AROUSAL = {"happy": 1.0, "sad": 0.0}
"""Of the voice, which tells no more than these two apart; calm is 0.5."""

SENTENCES = {
    "calm": (
        "The bus comes at ten in the morning.",
        "We put the boxes next to the door.",
        "He told me about the plan for the week.",
        "The meeting is in the large room.",
        "I read the second part of the report.",
        "They moved to the house by the river.",
    ),
    "happy": ("This is the best day of my life.", "I love it, what a wonderful present!"),
    "sad": ("I lost my best friend and I cry every night.", "It hurts, and I miss her so much."),
    "angry": ("I hate this, get out of my house!", "How dare you lie to me again!"),
    "surprised": ("What, is that really you?", "No way, I never expected this!"),
}
"""What is said. What is said calmly tells nothing."""

CLUES = {
    "local": {
        "happy": ("the corners of the mouth rise for a moment", "嘴角短暂上扬"),
        "sad": ("the corners of the mouth drop for a moment", "嘴角短暂下垂"),
        "angry": ("the brows draw together for a moment", "眉头短暂紧锁"),
        "surprised": ("the brows rise for a moment", "眉毛短暂扬起"),
    },
    "utterance": {
        "happy": ("the person smiles while speaking", "说话时面带微笑"),
        "sad": ("the corners of the mouth hang while speaking", "说话时嘴角下垂"),
        "angry": ("the person frowns while speaking", "说话时皱着眉头"),
        "surprised": ("the brows stay up while speaking", "说话时眉毛高扬"),
    },
    "voice": {
        "happy": ("the voice is lively and high", "声音轻快高昂"),
        "sad": ("the voice is slow and low", "声音缓慢低沉"),
    },
    "words": {
        "happy": ("the words tell of something wonderful", "话语诉说美好的事"),
        "sad": ("the words tell of a loss", "话语诉说失去"),
        "angry": ("the words are an attack", "话语带有攻击性"),
        "surprised": ("the words tell of something unexpected", "话语透露意外"),
    },
}
"""By carrier and emotion: what is to be noticed, in English and in Chinese."""

ENDINGS = (
    ("so the person seems {}", "表明此人{}"),
    ("which suggests that the person is {}", "可见此人{}"),
    ("a sign that the person feels {}", "说明此人感到{}"),
)

CHINESE = {"happy": "高兴", "sad": "难过", "angry": "生气", "surprised": "惊讶"}

FLASH_S = (0.7, 0.95)
"""How long a local clue lasts, in seconds."""


class Utterance(NamedTuple):
    """One sentence, when it is said, and what is felt."""

    start_s: float
    end_s: float
    text: str
    emotion: str
    """A key of `LABELS`, or calm."""

    words: list[speech.Word]
    """At their times in the clip."""


class Motion(NamedTuple):
    """A facial unit that moves."""

    start_s: float
    end_s: float
    unit: str


class Dialogue(NamedTuple):
    """All that is planted in one clip."""

    carrier: str
    utterances: list[Utterance]
    motions: list[Motion]
    waveform: np.ndarray
    """float32 (samples,) at `SAMPLE_RATE`."""

    labels: list[str]
    english: str
    chinese: str

    @property
    def duration_s(self) -> float:
        return len(self.waveform) / SAMPLE_RATE


def dialogue(carrier: str, voice: str, rng: np.random.Generator) -> Dialogue:
    """Draws a clip of 6 to 15 s whose emotion is carried by one of `CARRIERS`; voice is one of `speech.VOICES`."""
    choices = list(AROUSAL) if carrier == "voice" else list(LABELS)
    felt = [str(emotion) for emotion in rng.permutation(choices)[: 2 if carrier == "utterance" else 1]]
    emotions = rng.permutation(felt + ["calm"] * int(rng.integers(1, 3)))
    utterances, waveform = _spoken([str(emotion) for emotion in emotions], carrier, voice, rng)
    motions = [_motion(one, carrier, rng) for one in utterances if one.emotion != "calm" and carrier in SEEN]
    words = {
        emotion: [str(word) for word in rng.permutation(LABELS[emotion])[: rng.integers(1, 3)]] for emotion in felt
    }
    english, chinese = _account(utterances, carrier, words, rng)
    labels = [word for one in utterances for word in words.get(one.emotion, [])]
    return Dialogue(carrier, utterances, motions, waveform, labels, english, chinese)


def face_units(planted: Dialogue, frames: int, fps: float) -> np.ndarray:
    """Facial units (frames, 5) of `faces.UNITS` in [0, 1]: what moves, eased in and out, and a jaw that speaks."""
    times = (np.arange(frames) + 0.5) / fps
    units = np.zeros((frames, len(UNITS)))
    for start, end, unit in planted.motions:
        inside = np.minimum(times - start, end - times) / 0.2  # eased within a fifth of a second
        units[:, UNITS.index(unit)] += np.clip(inside, 0, 1)
    window = np.arange(-800, 800)
    where = np.clip((times * SAMPLE_RATE).astype(int)[:, None] + window, 0, len(planted.waveform) - 1)
    level = np.sqrt((planted.waveform[where] ** 2).mean(1))
    units[:, UNITS.index("jaw_drop")] = 0.4 * level / max(level.max(), 1e-6)
    return units


def _spoken(
    emotions: list[str], carrier: str, voice: str, rng: np.random.Generator
) -> tuple[list[Utterance], np.ndarray]:
    """Says a sentence for each emotion, with pauses, for 6 s at least."""
    calm = iter(rng.permutation(SENTENCES["calm"]))
    pieces, utterances, clock = [], [], 0.0
    for emotion in emotions:
        text = str(rng.choice(SENTENCES[emotion]) if carrier == "words" and emotion != "calm" else next(calm))
        arousal = AROUSAL.get(emotion, 0.5) if carrier == "voice" else 0.5
        said = speech.spoken(text, speech.prosody(arousal), voice=voice, sample_rate=SAMPLE_RATE)
        pause = np.zeros(round(rng.uniform(0.5, 0.9) * SAMPLE_RATE), np.float32)
        clock += len(pause) / SAMPLE_RATE
        end = clock + len(said.waveform) / SAMPLE_RATE
        words = [
            speech.Word(word, round(clock + start, 3), round(clock + until, 3)) for word, start, until in said.words
        ]
        utterances.append(Utterance(round(clock, 3), round(end, 3), text, emotion, words))
        pieces += [pause, said.waveform]
        clock = end
    rest = max(0.5, 6.0 - clock) + rng.uniform(0, 0.5)
    wave = np.concatenate([*pieces, np.zeros(round(rest * SAMPLE_RATE), np.float32)])
    wave += rng.normal(0, 10 ** (-60 / 20), len(wave)).astype(np.float32)
    return utterances, np.clip(wave, -1, 1)


def _motion(utterance: Utterance, carrier: str, rng: np.random.Generator) -> Motion:
    """Of the face: through all of an utterance, or for a moment within it."""
    start, end = utterance.start_s, utterance.end_s
    if carrier == "local":
        length = min(rng.uniform(*FLASH_S), end - start)
        start = rng.uniform(start, end - length)
        end = start + length
    return Motion(round(float(start), 3), round(float(end), 3), FACE[utterance.emotion])


def _account(
    utterances: list[Utterance], carrier: str, words: dict[str, list[str]], rng: np.random.Generator
) -> tuple[str, str]:
    """A description in English and in Chinese: of each emotion the clue, and what it suggests."""
    english, chinese = [], []
    for one in utterances:
        if one.emotion == "calm":
            continue
        clue, zh_clue = CLUES[carrier][one.emotion]
        ending, zh_ending = ENDINGS[rng.integers(len(ENDINGS))]
        english.append(f"{clue[0].upper()}{clue[1:]}, {ending.format(' and '.join(words[one.emotion]))}.")
        chinese.append(f"{zh_clue}，{zh_ending.format(CHINESE[one.emotion])}。")
    return " ".join(english), "".join(chinese)
