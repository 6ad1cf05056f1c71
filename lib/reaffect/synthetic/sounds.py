"""The embedded Common Voice and WavCaps: voices that nobody has, sentences and captions, in the official layouts.

`sounds/common_voice/en/` has sentences and what is said. `sounds/wavcaps/` has voices whose pitch, rate and loudness
are coded, and captions that tell what is heard: in the part FreeSound the voices of `expressions.CODES`, in the part
AudioSet_SL the lively, the slow and the even voice of `dialogues`. What is said there tells nothing. `planted.json` has
of each sound its words, and of each of WavCaps its emotion and prosody.

Sentences and draws are those of no other corpus. eSpeak NG's speakers are the same everywhere: there are nine.
WavCaps's entries have their ids and captions alone, without title, author and duration.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pandas as pd
from jaxtyping import Float32

from reaffect.errors import InputError
from reaffect.fingerprint import fingerprint
from reaffect.media import writing
from reaffect.synthetic import building, dialogues, expression_clips, expressions, speech
from reaffect.synthetic.expressions import CODES

SAMPLE_RATE = 16_000

CORPUS = 61
"""Sets its draws apart from those of the other corpora."""

SHARES = {"train": 0.75, "dev": 0.125, "test": 0.125}
"""Of Common Voice's sentences."""

SPEAKERS = {"train": speech.VOICES[:7], "dev": speech.VOICES[7:8], "test": speech.VOICES[8:]}
"""Nobody speaks in two of its parts, as in the release."""

CODECS = {".mp3": "libmp3lame", ".flac": "flac"}

WHO = ("the teacher", "my neighbour", "a young doctor", "the old farmer", "our driver", "the baker", "a student")
DOES = ("opened", "carried", "painted", "found", "cleaned", "sold", "forgot")
WHAT = ("the wooden box", "a blue bicycle", "the garden gate", "three small lamps", "an old map", "the kitchen table")
WHERE = ("near the station", "after lunch", "behind the school", "on Monday", "by the lake", "before the rain")
"""Of which a sentence is made."""

FEELS = {
    "anger": "angry",
    "disgust": "disgusted",
    "fear": "fearful",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprise": "surprised",
    "contempt": "contemptuous",
    "anxiety": "anxious",
    "helplessness": "helpless",
    "disappointment": "disappointed",
}
"""Classes of `expressions.CODES`, as one says it of a person."""

TALKS = {"happiness": dialogues.AROUSAL["happy"], "sadness": dialogues.AROUSAL["sad"], "neutral": 0.5}
"""The voices of dialogues: class -> arousal."""

PITCH = {-1: ("low", "deep"), 1: ("high", "shrill")}
RATE = {-1: ("slow", "drawling"), 1: ("hurried", "fast")}
LOUDNESS = {-1: ("soft", "quiet"), 1: ("loud", "strong")}
EVEN = ("even", "ordinary")
"""Of a voice, by its code; what is ordinary is not named."""

CAPTIONS = (
    "Someone speaks in {voice} voice and sounds {feels}.",
    "A person is talking, and the voice is {bare}: it sounds {feels}.",
    "{one} person says something in {voice} voice.",
    "Speech in {voice} voice, by somebody who sounds {feels}.",
)

SOURCES = [Path(__file__)]
SOURCES += [Path(module.__file__) for module in (dialogues, expression_clips, expressions, speech, writing)]
"""Modules that decide what is built: a change in them makes another corpus."""


@dataclass(frozen=True)
class Recipe:
    """What is built: sounds, and the seed of every draw."""

    count: int = 48
    seed: int = 2024


class Sound(NamedTuple):
    """One sound to make, and what is told of it."""

    file: Path
    said: str
    speaker: str
    """One of `speech.VOICES`."""

    how: speech.Prosody
    entropy: tuple[int, int, int]
    split: str = "train"
    """Of Common Voice: train, dev or test."""

    feels: str = ""
    """A key of `FEELS`; empty in Common Voice."""

    caption: str = ""


def build(root: str | Path, *, count: int = Recipe.count, seed: int = Recipe.seed, workers: int = 2) -> Path:
    """Builds `sounds/` under `root`, or returns at once if it is there and unchanged; a killed build goes on.

    Args:
        root: the folder of corpora.
        count: sounds, a multiple of 16: half are Common Voice's.
        seed: of every draw; the same recipe gives the same bytes.
        workers: processes.

    Returns:
        The corpus's folder.

    Raises:
        InputError: a count that is no multiple of 16.
    """
    if count < 16 or count % 16:
        raise InputError(f"count is {count}: it must be a multiple of 16.")
    recipe = Recipe(count, seed)
    folder = Path(root) / "sounds"
    mark = fingerprint({"recipe": asdict(recipe), "code": SOURCES})
    if building.is_built(folder, mark):
        return folder
    with suppress(FileNotFoundError):
        (folder / "mp4").rmdir()  # there are no videos here
    sounds = plan(folder, recipe)
    missing = [sound for sound in sounds if not sound.file.exists()]
    building.film_all(record, missing, workers, folder.name, together=8)
    _write_tables(folder, sounds)
    building.finish(folder, {"fingerprint": mark, "recipe": asdict(recipe), "sounds": _truth(sounds)})
    return folder


def plan(folder: Path, recipe: Recipe) -> list[Sound]:
    """The sounds to make: Common Voice's, then WavCaps's, of which each voice has as many as every other, or one more.

    Args:
        folder: of the corpus.
        recipe: what is built.
    """
    each = recipe.count // 2
    parts = [part for part, share in SHARES.items() for _ in range(round(share * each))]
    order = np.random.default_rng([recipe.seed, CORPUS]).permutation(_sentences())
    clips = folder / "common_voice" / "en" / "clips"
    read = [_read_out(clips, index, str(order[index % len(order)]), parts[index], recipe.seed) for index in range(each)]
    return read + [_felt(folder / "wavcaps" / "audio", index, recipe.seed) for index in range(each)]


def record(sound: Sound) -> None:
    """Speaks and writes one sound."""
    rng = np.random.default_rng(sound.entropy)
    said = speech.say(sound.said, sound.how, voice=sound.speaker, sample_rate=SAMPLE_RATE)
    before, after = (np.zeros(round(rng.uniform(0.1, 0.4) * SAMPLE_RATE), np.float32) for _ in range(2))
    wave = np.concatenate([before, said, after])
    wave += rng.normal(0, 10 ** (-60 / 20), len(wave)).astype(np.float32)
    write_sound(sound.file, np.clip(wave, -1, 1))


def write_sound(file: Path, waveform: Float32[np.ndarray, " samples"]) -> None:
    """Writes mono sound at `SAMPLE_RATE`, an mp3 or a flac by the suffix; the file appears whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.part")
    # bitexact: no version strings in the file
    with av.open(str(aside), "w", format=file.suffix[1:], options={"fflags": "+bitexact"}) as container:
        track = container.add_stream(CODECS[file.suffix], rate=SAMPLE_RATE, layout="mono")
        track.time_base = Fraction(1, SAMPLE_RATE)
        for packet in writing.encoded(track, writing.audio_frames([waveform], SAMPLE_RATE)):
            container.mux(packet)
    aside.replace(file)


def caption(feels: str, rng: np.random.Generator) -> str:
    """How the voice of a class sounds, in words that vary."""
    code = CODES[feels].voice
    pairs = zip((LOUDNESS, PITCH, RATE), (code.loudness, code.pitch, code.rate), strict=True)
    heard = [str(rng.choice(names[level])) for names, level in pairs if level] or [str(rng.choice(EVEN))]
    bare = " and ".join([", ".join(heard[:-1]), heard[-1]] if heard[:-1] else heard)
    template = CAPTIONS[rng.integers(len(CAPTIONS))]
    one = _with_article(FEELS[feels]).capitalize()
    return template.format(voice=_with_article(bare), bare=bare, feels=FEELS[feels], one=one)


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _sentences() -> list[str]:
    """Every combination."""
    made = [f"{who} {does} {what} {where}." for who in WHO for does in DOES for what in WHAT for where in WHERE]
    return [sentence[0].upper() + sentence[1:] for sentence in made]


def _read_out(clips: Path, index: int, sentence: str, part: str, seed: int) -> Sound:
    entropy = (seed, CORPUS + 1, index)
    rng = np.random.default_rng(entropy)
    how = speech.prosody(rng.uniform(0.3, 0.7))
    speaker = str(rng.choice(SPEAKERS[part]))
    return Sound(clips / f"common_voice_en_{index + 1:08d}.mp3", sentence, speaker, how, entropy, part)


def _felt(audio: Path, index: int, seed: int) -> Sound:
    entropy = (seed, CORPUS + 2, index)
    rng = np.random.default_rng(entropy)
    voices = [("FreeSound", feels) for feels in CODES] + [("AudioSet_SL", feels) for feels in TALKS]
    part, feels = voices[index % len(voices)]
    if part == "FreeSound":
        name, how = f"{100_001 + index}", expression_clips.prosody(CODES[feels].voice)
    else:
        name, how = f"Yreaffect{index:03d}", speech.prosody(TALKS[feels])
    said, speaker = str(rng.choice(_sentences())), str(rng.choice(speech.VOICES))
    file = audio / part / f"{name}.flac"
    return Sound(file, said, speaker, how, entropy, feels=feels, caption=caption(feels, rng))


def _write_tables(folder: Path, sounds: list[Sound]) -> None:
    read = [sound for sound in sounds if not sound.feels]
    for part in SHARES:
        own = [sound for sound in read if sound.split == part]
        columns = {
            "client_id": [sound.speaker for sound in own],
            "path": [sound.file.name for sound in own],
            "sentence": [sound.said for sound in own],
            "up_votes": 2,
            "down_votes": 0,
            "locale": "en",
        }
        table = pd.DataFrame(columns).to_csv(sep="\t", index=False)
        building.write_aside(folder / "common_voice" / "en" / f"{part}.tsv", table)
    for part, name in {"FreeSound": "fsd_final.json", "AudioSet_SL": "as_final.json"}.items():
        own = [sound for sound in sounds if sound.file.parent.name == part]
        file = folder / "wavcaps" / "json_files" / part / name
        file.parent.mkdir(parents=True, exist_ok=True)
        suffix = ".wav" if part == "AudioSet_SL" else ""
        data = [{"id": sound.file.stem + suffix, "caption": sound.caption} for sound in own]
        building.write_aside(file, json.dumps({"num_captions_per_audio": 1, "data": data}, indent=1))


def _truth(sounds: list[Sound]) -> dict[str, dict[str, Any]]:
    """Everything that was planted in each sound, by the name of its file."""
    return {
        sound.file.name: {"said": sound.said, "speaker": sound.speaker, "prosody": sound.how._asdict()}
        | ({"feels": sound.feels, "voice": CODES[sound.feels].voice._asdict()} if sound.feels else {})
        for sound in sounds
    }
