"""Judges of free text: one interface, three makes.

A `Server` is any OpenAI-compatible one, a `Recording` repeats what a server once said, and the `Lexicon` needs neither.
`Recorder` keeps what any of them answers. Whatever is judged is data: a `Question` holds it apart from the
instructions, and renders it so that it cannot leave its place in the prompt.
"""

from reaffect.judge.answers import parse_emotion
from reaffect.judge.base import Judge
from reaffect.judge.emotions import emotion
from reaffect.judge.lexicon import Lexicon
from reaffect.judge.makes import load
from reaffect.judge.question import Question, Template, template
from reaffect.judge.recording import Recorder, Recording
from reaffect.judge.server import Server

__all__ = [
    "Judge",
    "Lexicon",
    "Question",
    "Recorder",
    "Recording",
    "Server",
    "Template",
    "emotion",
    "load",
    "parse_emotion",
    "template",
]
