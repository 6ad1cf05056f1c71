"""Whether a voice is still recognised, and how it sounds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import librosa
import numpy as np
import resemblyzer
from threadpoolctl import threadpool_limits

from reaffect import media
from reaffect.audit.estimates import Row, verification
from reaffect.audit.measuring import measured, told_of_both
from reaffect.fingerprint import fingerprint
from reaffect.store import Store

SAMPLE_RATE = 16_000
"""In Hz, of Resemblyzer."""

WEIGHTS = Path(resemblyzer.__file__).with_name("pretrained.pt")
SHORTEST_S = 0.5
"""Of speech that is embedded at all."""

Turns = Sequence[Sequence[tuple[float, float]]]
"""For each clip, when the speaker speaks: (start, end) in seconds."""


class Spoken:
    """What extractors of a voice share: the waveform of somebody's turns, one after the other.

    Args:
        turns: by clip, (start, end) in seconds; None for the whole sound.
    """

    batch_size = 4

    def __init__(self, turns: dict[str, list | None]):
        self.told = turns

    def prepare(self, clip: str) -> np.ndarray:
        waveform = media.read_waveform(clip, SAMPLE_RATE)
        turns = self.told[clip]
        if turns is None:
            return waveform
        parts = [waveform[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] for start, end in turns]
        return np.concatenate([np.zeros(0, np.float32), *parts])


class SpeakerEmbeddings(Spoken):
    """Resemblyzer's d-vector of all that somebody says (256); NaN for less than `SHORTEST_S` of speech.

    A generalised end-to-end model (Wan et al. 2018) of English read speech and interviews; it takes out the pauses.
    """

    name = "speaker embeddings"
    width = 256

    def __init__(self, turns: dict[str, list | None]):
        super().__init__(turns)
        self.recipe = {"weights": fingerprint(WEIGHTS)}

    # the network is so small that two threads wait for each other: 15 times the processor's time
    @threadpool_limits.wrap(limits=1)
    def __call__(self, prepared: list[np.ndarray]) -> list[np.ndarray]:
        return [self._embed(waveform) for waveform in prepared]

    def _embed(self, waveform: np.ndarray) -> np.ndarray:
        speech = resemblyzer.preprocess_wav(waveform) if np.any(waveform) else waveform
        if len(speech) < SHORTEST_S * SAMPLE_RATE or not np.any(speech):
            return np.full(self.width, np.nan)
        return _encoder().embed_utterance(speech)


class Prosody(Spoken):
    """How somebody sounds (33): pitch (mean, spread and range in octaves), loudness (dB), and 14 spectral means
    and spreads (centroid in octaves, 13 mel cepstra), over the frames within `QUIET_DB` of the loudest; NaN without.
    """

    name = "prosody"
    width = 33

    QUIET_DB = 30.0
    PITCH_HZ = (60.0, 400.0)

    def __init__(self, turns: dict[str, list | None]):
        super().__init__(turns)
        self.recipe = {"quiet_db": self.QUIET_DB, "pitch_hz": list(self.PITCH_HZ)}

    def __call__(self, prepared: list[np.ndarray]) -> list[np.ndarray]:
        return [self._statistics(waveform) for waveform in prepared]

    def _statistics(self, waveform: np.ndarray) -> np.ndarray:
        if len(waveform) < SHORTEST_S * SAMPLE_RATE or not np.any(waveform):
            return np.full(self.width, np.nan)
        length, step = 1024, 512
        low, high = self.PITCH_HZ
        hertz = librosa.yin(waveform, fmin=low, fmax=high, sr=SAMPLE_RATE, frame_length=length, hop_length=step)
        power = np.abs(librosa.stft(waveform, n_fft=length, hop_length=step)) ** 2
        loudness = 10 * np.log10(power.sum(0) + 1e-12)
        centroid = np.log2(librosa.feature.spectral_centroid(S=power, sr=SAMPLE_RATE)[0] + 1)
        mels = librosa.feature.melspectrogram(S=power, sr=SAMPLE_RATE, n_mels=40)
        cepstra = librosa.feature.mfcc(S=librosa.power_to_db(mels), n_mfcc=13)
        loud = loudness > loudness.max() - self.QUIET_DB
        tracks = np.vstack([np.log2(hertz), loudness, centroid, cepstra])[:, loud]
        reach = np.subtract(*np.quantile(tracks[0], [0.9, 0.1]))
        return np.concatenate([tracks.mean(1), tracks.std(1), [reach]])


def voices_verified(
    originals: Sequence[str],
    deidentified: Sequence[str],
    subjects: Sequence,
    *,
    turns: Turns | None = None,
    store: Store | None = None,
) -> list[Row]:
    """Equal error rate of speaker verification, for two attackers in the VoicePrivacy challenge's terms.

    Every clip enrols a speaker, every other clip is a trial. The ignorant attacker enrols original recordings, the
    lazy-informed one anonymises them in the same way; neither retrains his model. 0.5 is a voice that is hidden.

    Args:
        originals: media files, one subject at least with two clips or more.
        deidentified: of the same clips.
        subjects: who speaks in them.
        turns: when; None for the whole sound.
        store: by default the one under `paths.STORE`.

    Returns:
        A row an attacker.

    Raises:
        InputError: a file that cannot be read, lists of different lengths, no subject with two clips that speak.
    """
    extractor = SpeakerEmbeddings(_told(originals, deidentified, turns))
    before, after = (np.stack(measured(extractor, clips, store=store)) for clips in (originals, deidentified))
    heard = ~np.isnan(before[:, 0] + after[:, 0])
    before, after, names = before[heard], after[heard], np.asarray(subjects)[heard]
    plain = verification(before, before, names)
    ignorant, informed = verification(before, after, names), verification(after, after, names)
    return [
        Row("voice verified, ignorant attacker (equal error rate)", plain, ignorant, 0.5, len(names)),
        Row("voice verified, lazy-informed attacker (equal error rate)", plain, informed, 0.5, len(names)),
    ]


def prosody(
    originals: Sequence[str], deidentified: Sequence[str], turns: Turns | None, store: Store | None
) -> tuple[np.ndarray, np.ndarray]:
    """`Prosody` before and after: (clips, 33) each."""
    extractor = Prosody(_told(originals, deidentified, turns))
    return tuple(np.stack(measured(extractor, clips, store=store)) for clips in (originals, deidentified))


def _told(originals: Sequence[str], deidentified: Sequence[str], turns: Turns | None) -> dict[str, list | None]:
    known = [None] * len(originals) if turns is None else [[list(turn) for turn in clip] for clip in turns]
    return told_of_both(originals, deidentified, known)


@cache
def _encoder() -> resemblyzer.VoiceEncoder:
    # its torch.load takes weights only: the default since torch 2.6
    return resemblyzer.VoiceEncoder("cpu", verbose=False, weights_fpath=WEIGHTS)
