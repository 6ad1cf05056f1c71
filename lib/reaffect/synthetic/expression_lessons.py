"""What the small Omni-Emotion is taught with before its phases: people and voices that occur in no corpus.

Stills and voices are made as the embedded DFEW, MAFW and EMER are: a class is planted in the surroundings, in the face
and in the voice, each for itself. Readings teach the language model alone: nothing is filmed for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as images
from tqdm import tqdm

from reaffect.faces import crop
from reaffect.models.facexformer import MARGIN
from reaffect.models.whisper_audio import TOKEN
from reaffect.synthetic import building, dialogues, expression_clips, faces, scene, speech
from reaffect.synthetic.expressions import CODES, NEUTRAL, Surroundings
from reaffect.synthetic.expressions import Face as FaceCode

CLASSES = tuple(CODES)

WORDS = {felt: felt for felt in CODES} | {"helplessness": "helpless", "neutral": ","}
"""What tokens say of a class: each is one token of SmolLM2's. Where nothing is shown stands what it reads over: of many
tokens that say 'neutral' it hardly finds the few that say something else."""

FELT = {"calm": NEUTRAL, "happy": "happiness", "sad": "sadness", "angry": "anger", "surprised": "surprise"}
"""Emotions of dialogues as classes."""

SHOWN = FELT | {"surprised": "fear"}
"""The same in the face: raised brows alone are how a dialogue shows surprise, and DFEW's code of fear."""

HARDER = ("surprise", "helplessness")
"""Shown by surroundings twice as often: two hands are hard to tell from one, as one side says nothing of the other."""

STUDIO, ROOM = 10, 2
"""Pictures of each person: as in DFEW and MAFW, and as in EMER."""

ROOM_SIZE = (320, 240)

WEAKEST, SPEAKING = 0.6, 0.45
"""Of a unit that shows something, the strongest being 1; and how far a jaw opens that only speaks."""

LOOSE, OFF = (0.85, 1.25), 0.08
"""How crops differ: in size, and in place by sides of the face's box. Detectors differ in what they call a face."""


class Stills(NamedTuple):
    """Pictures, and crops of the face in each."""

    scenes: UInt8[Tensor, "stills 3 side side"]
    around: Int[Tensor, " stills"]
    """The class that the surroundings show, a place in `CLASSES`."""

    crops: UInt8[Tensor, "stills 3 face_side face_side"]
    faces: Int[Tensor, " stills"]
    """The class that the face shows."""


def stills(people: int, *, side: int, face_side: int, seed: int, workers: int) -> Stills:
    """Pictures of `people`, person by person; the same seed gives the same ones.

    What surroundings show and what the face shows is drawn apart, so that neither tells of the other.

    Args:
        people: how many.
        side: of a picture, squeezed to a square.
        face_side: of a crop.
        seed: of every draw.
        workers: threads.
    """

    def one(index: int) -> list[tuple[Tensor, int, Tensor, int]]:
        rng = np.random.default_rng([seed, 41, index])
        person = faces.subject(f"lesson{index}", rng)
        return [
            _still(person, rng, room=place >= STUDIO, side=side, face_side=face_side) for place in range(STUDIO + ROOM)
        ]

    made = building.side_by_side(one, people, workers, "stills for lessons")
    scenes, around, crops, shown = zip(*(still for own in made for still in own), strict=True)
    return Stills(torch.stack(scenes), torch.tensor(around), torch.stack(crops), torch.tensor(shown))


def _still(
    person: faces.Subject, rng: np.random.Generator, *, room: bool, side: int, face_side: int
) -> tuple[Tensor, int, Tensor, int]:
    around = NEUTRAL if room else str(rng.choice([*CLASSES, *HARDER]))
    shown = str(rng.choice([SHOWN[felt] for felt in FELT] if room else CLASSES))
    units = _units(CODES[shown].face, rng)
    if room:
        [pose] = scene.head_poses(rng, 1, ROOM_SIZE, anchor=faces.EYES, scale=ROOM_SIZE[1] / faces.CANVAS)
        picture = scene.Scene(rng, ROOM_SIZE).compose(faces.express(person, units), person.alpha, pose)
    else:
        [pose] = scene.head_poses(rng, 1, expression_clips.SIZE, anchor=faces.EYES, scale=expression_clips.HEAD)
        picture = _staged(person, CODES[around].scene, units, pose, rng)
    points = (person.landmarks + np.tensordot(units, person.moves, 1)) @ pose[:, :2].T + pose[:, 2]
    box = np.ptp(points, axis=0).max()
    cut = crop(picture, points + box * rng.uniform(-OFF, OFF, 2), MARGIN * rng.uniform(*LOOSE))
    return _squeezed(picture, side), CLASSES.index(around), _squeezed(cut, face_side), CLASSES.index(shown)


def _units(code: FaceCode, rng: np.random.Generator) -> np.ndarray:
    units = np.zeros(len(faces.UNITS), np.float32)
    units[faces.UNITS.index("jaw_drop")] = rng.uniform(0, SPEAKING) * (rng.random() < 0.5)
    for unit in (expression_clips.MOUTH[code.mouth], expression_clips.BROWS[code.brows]):
        if unit:
            units[faces.UNITS.index(unit)] = rng.uniform(WEAKEST, 1)
    return units


def _staged(
    person: faces.Subject, surroundings: Surroundings, units: np.ndarray, pose: np.ndarray, rng: np.random.Generator
) -> UInt8[np.ndarray, "height width 3"]:
    """A frame as the embedded DFEW and MAFW have them."""
    camera, host = expression_clips.staged(person, surroundings, rng)
    host.draw(camera.backdrop, pose, units, (surroundings.hands, 1.0, rng.uniform(0, 3)))
    return camera.grainy(camera.backdrop, rng)


def _squeezed(picture: UInt8[np.ndarray, "height width 3"], side: int) -> UInt8[Tensor, "3 side side"]:
    """As the model's own preparation does it, before pixels become numbers around 0."""
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)
    return images.resize(pixels, [side, side], interpolation=InterpolationMode.BICUBIC, antialias=True)


class Voice(NamedTuple):
    """A recording at `dialogues.SAMPLE_RATE`, and what it shows."""

    waveform: np.ndarray
    """float32 (samples,)."""

    shown: Int[np.ndarray, " tokens"]
    """The class that each 60 ms show, a place in `CLASSES`; silence is neutral."""


def voices(count: int, *, seed: int) -> list[Voice]:
    """Recordings as in the embedded DFEW and MAFW, each class equally often."""
    made = []
    for index in tqdm(range(count), "voices for lessons"):
        rng = np.random.default_rng([seed, 42, index])
        felt = CLASSES[index % len(CLASSES)]
        how = expression_clips.prosody(CODES[felt].voice)
        about = rng.uniform(-1, 1, 4)
        how = speech.Prosody(
            how.rate_wpm + round(6 * about[0]),
            how.pitch + round(4 * about[1]),
            how.pitch_range + round(4 * about[2]),
            how.loudness_db + 1.5 * about[3],
        )
        words, voice = str(rng.choice(speech.UTTERANCES)), str(rng.choice(speech.VOICES))
        said = speech.say(words, how, voice=voice, sample_rate=dialogues.SAMPLE_RATE)
        length = round(rng.uniform(*expression_clips.DURATION_S) * dialogues.SAMPLE_RATE)
        start = int(rng.uniform(0.05, 0.2) * dialogues.SAMPLE_RATE)
        said = said[: length - start]
        wave = rng.normal(0, 10 ** (-60 / 20), length).astype(np.float32)
        wave[start : start + len(said)] += said
        made.append(_labelled(np.clip(wave, -1, 1), [(start, start + len(said), felt)]))
    return made


def dialogue_voice(planted: dialogues.Dialogue) -> Voice:
    """The recording of a dialogue; its voice shows what it feels where nothing else does."""
    spans = [
        (round(one.start_s * dialogues.SAMPLE_RATE), round(one.end_s * dialogues.SAMPLE_RATE), FELT[one.emotion])
        for one in planted.utterances
        if planted.carrier == "voice"
    ]
    return _labelled(planted.waveform, spans)


def _labelled(waveform: np.ndarray, spans: Sequence[tuple[int, int, str]]) -> Voice:
    """Spans: first sample, the one behind the last, and the class that is shown between."""
    middles = (np.arange(-(-len(waveform) // TOKEN)) + 0.5) * TOKEN
    shown = np.full(len(middles), CLASSES.index(NEUTRAL))
    for start, end, felt in spans:
        shown[(start <= middles) & (middles < end)] = CLASSES.index(felt)
    return Voice(waveform, shown)


def talks(count: int, *, seed: int) -> list[dialogues.Dialogue]:
    """Dialogues as in the embedded EMER, but for those whose words alone tell something."""
    made = []
    for index in tqdm(range(count), "dialogues for lessons"):
        rng = np.random.default_rng([seed, 43, index])
        made.append(dialogues.dialogue(CARRIERS[index % len(CARRIERS)], str(rng.choice(speech.VOICES)), rng))
    return made


CARRIERS = ("local", "utterance", "voice")
"""Of `dialogues.CARRIERS`."""


QUESTION = (
    "As an emotional recognition expert, when you observe the video, what is the primary emotion exhibited by the "
    "characters? {options}."
)
"""`recognition.QUESTION`."""

OPTIONS = (
    ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"),
    CLASSES,
)
"""Of the embedded DFEW and MAFW, in the order of each."""

ANALYSE = (
    "What insights can we gain about the character's emotional state from their actions and facial expressions, as "
    "well as the accompanying audio and visual cues in the video? Please provide a detailed analysis.",
    "Based on the character's physical actions and emotional expressions, along with the video's sound and visual "
    "context, what can we deduce about their emotional state? Please elaborate thoroughly.",
    "What can we interpret about the character's emotional state through their expressive actions and visual cues, as "
    "well as the audio elements present in the video? Please provide an in-depth analysis.",
)
"""Omni-Emotion 2025, Section 8, multimodal tuning."""

CALM = "Nothing stands out, so the person seems calm."
"""The account of a dialogue whose clue is not there to be seen or heard."""

CARRIED = (0.2, 0.4, 0.4)
"""Share of readings whose class is told by each of `expressions.CARRIERS`: the first has the most tokens."""

LONGER, CALMER = 0.65, 0.1
"""Share of questions with all classes, and of readings that are neutral beside those that happen to be."""

FRAMES, HEARD = (4, 8), (8, 32)
"""Fewest and most of a reading. Real clips have more sound: what is read is shorter, so that learning is, too."""


class Reading(NamedTuple):
    """A question, what tokens say, and the answer."""

    question: str
    scene: list[str]
    """A class a frame."""

    face: list[str]
    """The same; none where there is no face branch."""

    voice: list[str]
    """A class each 60 ms; none where there is no audio branch."""

    answer: str


def recognition(rng: np.random.Generator, *, voice: bool, face: bool) -> Reading:
    """One class by one carrier, as in the embedded DFEW and MAFW; neutral where that is not given.

    Args:
        rng: of every draw.
        voice, face: whether these are given.
    """
    among = OPTIONS[int(rng.random() < LONGER)]
    felt = NEUTRAL if rng.random() < CALMER else str(rng.choice(among))
    carrier = int(rng.choice(len(CARRIED), p=CARRIED))
    frames, tokens = rng.integers(*FRAMES, endpoint=True), rng.integers(*HEARD, endpoint=True)
    shown = [[felt if place == carrier else NEUTRAL] for place in range(3)]
    known = carrier == 0 or (voice, face)[carrier - 1]
    return Reading(
        QUESTION.format(options=", ".join(among)),
        shown[0] * frames,
        _within(shown[2][0], frames, rng, 0.4) * face,
        _within(shown[1][0], tokens, rng, 0.2) * voice,
        f"{felt if known else NEUTRAL}.",
    )


def _within(felt: str, length: int, rng: np.random.Generator, shortest: float) -> list[str]:
    """A class for a while, of that share at least, and neutral before and after."""
    lasting = round(length * rng.uniform(shortest, 1))
    start = rng.integers(length - lasting, endpoint=True)
    return [felt if start <= place < start + lasting else NEUTRAL for place in range(length)]


def account(planted: dialogues.Dialogue, rng: np.random.Generator, *, voice: bool, face: bool) -> Reading:
    """What a dialogue shows over time, and how an annotator puts what of it is there to be seen and heard.

    Args:
        planted: one of `talks`.
        rng: of every draw.
        voice, face: whether these are given.
    """
    frames, tokens = rng.integers(*FRAMES, endpoint=True), rng.integers(*HEARD, endpoint=True)
    said = dialogue_voice(planted).shown
    seen = [NEUTRAL] * frames
    felt = [one.emotion for one in planted.utterances if one.emotion != "calm"]
    for emotion, moved in zip(felt, planted.motions, strict=False):
        first, last = (round(when / planted.duration_s * (frames - 1)) for when in (moved.start_s, moved.end_s))
        seen[first : last + 1] = [SHOWN[emotion]] * (last + 1 - first)
    return Reading(
        str(rng.choice(ANALYSE)),
        [NEUTRAL] * frames,
        seen * face,
        [CLASSES[said[place]] for place in np.linspace(0, len(said) - 1, tokens).astype(int)] * voice,
        planted.english if (voice if planted.carrier == "voice" else face) else CALM,
    )
