"""What tests of the judge share: a question, and a judge that answers by rote."""

from __future__ import annotations

from reaffect.errors import InputError
from reaffect.judge import Question, template

GOOD = '{"emotion": "negative", "score": 8}'


def about(text: str) -> Question:
    return Question(template("emotion_v1"), {"description": text})


class Scripted:
    """A judge that answers from a table by description, and counts; what stands for an error is raised."""

    name = "scripted"

    def __init__(self, answers: dict[str, str | InputError], repaired: str = GOOD) -> None:
        self.answers, self.repaired, self.asked = answers, repaired, []

    def ask(self, questions, heard=None):
        given = []
        for question in questions:
            self.asked.append(question)
            description = question.fields["description"]
            answer = self.repaired if question.complaint else self.answers[description]
            if answer == "die":
                raise InputError("the server is gone.")
            if heard and isinstance(answer, str):
                heard(question, answer)
            given.append(answer)
        return given
