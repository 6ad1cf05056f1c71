"""What is said in a clip, and when: transcripts, word times, utterances, and words in a form to compare."""

from __future__ import annotations

from reaffect.speech.recogniser import PACKAGED, SAMPLE_RATE, Heard, Recogniser, normalised, on_gpu, voiced_stretches
from reaffect.speech.utterances import PAUSE_S, SHORTEST_S, Utterance, Word, segment

__all__ = [
    "PACKAGED",
    "PAUSE_S",
    "SAMPLE_RATE",
    "SHORTEST_S",
    "Heard",
    "Recogniser",
    "Utterance",
    "Word",
    "normalised",
    "on_gpu",
    "segment",
    "voiced_stretches",
]
