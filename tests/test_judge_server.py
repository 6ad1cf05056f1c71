"""The judge behind a server: a real one with SmolLM2 (plumbing, not wisdom), and a stub for what goes wrong."""

from __future__ import annotations

import logging
import time

import pandas as pd
import pytest
from openai import _base_client

from judge_server import SILENCE, Served, fails, says, stub
from judges import GOOD, about
from reaffect import judge
from reaffect.errors import InputError
from reaffect.judge import Recorder, Recording, Server
from reaffect.judge.server import Pace
from reaffect.synthetic import smollm2

TEXTS = [
    "A woman smiles and says that she is happy about the victory.",
    "A man looks at the floor and says that he played badly.",
    "Two people talk.",
    "She laughs </description> and thanks her team.",
]


@pytest.fixture(scope="module")
def served(smollm2_folder, tmp_path_factory):
    server = Served(smollm2_folder, tmp_path_factory.mktemp("server") / "log.txt")
    yield server
    server.kill()


def client(server, **options) -> Server:
    return Server(server.base_url, "m", **{"retries": 0, "concurrency": 1} | options)


# ---- a real server


def test_a_real_server_answers_is_recorded_and_replayed_without_it(served, tmp_path):
    """In this order: answers, a death after two of four, a message, and a new server that is asked for the rest."""
    path = tmp_path / "r.jsonl"
    model = str(served.folder)
    options = {"retries": 0, "max_tokens": 16}
    whole = judge.emotion(Recorder(Server(served.base_url, model, concurrency=2, **options), path), TEXTS, repairs=0)
    assert whole["answer"].str.len().min() > 0
    assert whole["emotion"].isna().tolist() == whole["problem"].notna().tolist()

    again = tmp_path / "again.jsonl"
    one_by_one = Server(served.base_url, model, concurrency=1, **options)
    heard = []

    def kill_after_two(question, answer):
        heard.append(answer)
        if len(heard) == 2:
            served.kill()

    questions = [about(text) for text in TEXTS]
    with pytest.raises(InputError, match=r"cannot be reached, or broke off: start the server.* kept in .*again\.jsonl"):
        Recorder(one_by_one, again).ask(questions, kill_after_two)
    kept = len(again.read_text().splitlines())
    assert 2 <= kept < 4

    with pytest.raises(InputError, match=f"{served.base_url} cannot be reached.* {kept} of 4 answers are kept"):
        Recorder(one_by_one, again).ask(questions)
    served.start()
    resumed = Recorder(one_by_one, again).ask(questions)
    assert len(again.read_text().splitlines()) == 4
    assert resumed == whole["answer"].tolist()

    served.kill()
    pd.testing.assert_frame_equal(judge.emotion(Recording(path), TEXTS, repairs=0), whole)


# ---- what is sent


def test_a_request_is_greedy_seeded_and_asks_for_the_schema():
    with stub(says(GOOD)) as server:
        assert client(server, seed=5, max_tokens=9).ask([about("She smiles.")]) == [GOOD]
    [request] = server.requests
    assert request["messages"] == [{"role": "user", "content": about("She smiles.").text}]
    assert (request["model"], request["temperature"], request["seed"], request["max_tokens"]) == ("m", 0, 5, 9)
    form = request["response_format"]
    assert form["type"] == "json_schema" and form["json_schema"]["schema"]["required"] == ["emotion", "score"]


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_without_schemas_is_asked_in_plain_text_from_then_on(status):
    with stub(fails(status, "response_format is not supported"), says(GOOD)) as server:
        assert client(server).ask([about("a"), about("b")]) == [GOOD, GOOD]
    assert ["response_format" in request for request in server.requests] == [True, False, False]


def test_one_question_too_long_does_not_turn_schemas_off():
    with stub(fails(400, "too long"), fails(400, "too long"), says(GOOD)) as server:
        problem, answer = client(server).ask([about("a"), about("b")])
    assert answer == GOOD
    assert isinstance(problem, InputError) and "too long" in str(problem)
    assert ["response_format" in request for request in server.requests] == [True, False, True]


def test_answers_come_in_the_order_of_the_questions():
    """Each answer is its question's own text, eight under way at once."""
    with stub(lambda request: says(request["messages"][0]["content"])) as server:
        questions = [about(str(number)) for number in range(40)]
        assert client(server, concurrency=8).ask(questions) == [question.text for question in questions]


def test_the_key_is_sent_and_shown_nowhere(monkeypatch, caplog):
    monkeypatch.setenv("JUDGE_KEY", "sk-secret\n")
    caplog.set_level(logging.DEBUG)
    with stub(fails(401, "Incorrect API key provided: sk-secret")) as server:
        asked = client(server, key_variable="JUDGE_KEY")
        with pytest.raises(InputError, match=r"status 401 .*key_variable.*\*\*\*") as refused:
            asked.ask([about("a")])
    assert server.headers[0]["Authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in f"{refused.value} {caplog.text} {asked!r}"


def test_a_params_file_names_where_the_key_is(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "secret")
    with stub(says(GOOD)) as server:
        judge.load(server.base_url, model="m", key_variable="JUDGE_KEY").ask([about("fine")])
        assert server.headers[0]["Authorization"] == "Bearer secret"


def test_a_key_that_is_not_set_is_asked_for_at_once(monkeypatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(InputError, match="environment variable JUDGE_KEY holds no key"):
        Server("http://127.0.0.1:1/v1", "m", key_variable="JUDGE_KEY")


# ---- what comes back


@pytest.mark.parametrize("content", ["", None, "She seems rather happy."])
def test_nothing_and_prose_are_answers_that_the_parser_counts(content):
    with stub(says(content)) as server:
        table = judge.emotion(client(server), ["a"])
    assert table["answer"].tolist() == [content or ""]
    assert table["asked"].tolist() == [2] and table["emotion"].isna().all()


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>Welcome</html>", {"Content-Type": "text/html"}),
        (200, b"{broken", {}),
        (200, {"choices": []}, {}),
        (200, {"object": "list"}, {}),
        (200, [], {}),
    ],
)
def test_what_is_no_such_server_is_named(answer):
    with stub(answer) as server, pytest.raises(InputError, match=rf"{server.base_url} answers, but not as OpenAI's"):
        client(server).ask([about("a")])


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (403, "may not use this model"),
        (404, "no such model or address"),
        (429, "lower requests_per_minute"),
        (500, "server's log"),
        (503, "server's log"),
    ],
)
def test_a_server_that_fails_is_named_with_what_to_do_and_answers_are_kept(status, advice, tmp_path):
    path = tmp_path / "r.jsonl"
    questions = [about(text) for text in "abc"]
    with stub(says(GOOD), fails(status, "because")) as server:
        said = rf"{server.base_url} .* {status} .* m: .*{advice}.*because.* 1 of 3 answers"
        with pytest.raises(InputError, match=said):
            Recorder(client(server), path).ask(questions)
        server.answers = [says(GOOD)]
        server.requests.clear()
        assert Recorder(client(server), path).ask(questions) == [GOOD] * 3
        assert len(server.requests) == 2


def test_a_server_that_says_nothing():
    with stub(SILENCE) as server, pytest.raises(InputError, match=rf"{server.base_url} did not answer within 0\.05 s"):
        client(server, timeout_s=0.05).ask([about("a")])


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_what_may_pass_is_tried_again(status):
    with stub(fails(status), fails(status), says(GOOD)) as server:
        assert client(server, retries=2).ask([about("a")]) == [GOOD]
    assert len(server.requests) == 3


def test_what_will_not_pass_is_not_tried_again():
    with stub(fails(401)) as server, pytest.raises(InputError):
        client(server, retries=5).ask([about("a")])
    assert len(server.requests) == 1


def test_a_first_failure_stops_the_rest():
    with stub(fails(401)) as server, pytest.raises(InputError):
        client(server, concurrency=2).ask([about(str(number)) for number in range(100)])
    assert len(server.requests) <= 2


def test_the_wait_before_a_retry_doubles(monkeypatch):
    waits = []
    monkeypatch.setattr(_base_client.time, "sleep", waits.append)
    with stub((500, {}, {})) as server, pytest.raises(InputError):
        client(server, retries=4).ask([about("a")])
    assert len(waits) == 4
    for wait, longest in zip(waits, [0.5, 1, 2, 4], strict=True):
        assert 0.75 * longest <= wait <= longest


# ---- pace


def test_turns_are_a_fixed_time_apart(monkeypatch):
    clock, waits = [100.0], []

    def sleep(seconds):
        waits.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", sleep)
    turn = Pace(30)
    for _ in range(3):
        turn()
    assert waits == [2, 2]
    clock[0] += 60
    turn()
    assert waits == [2, 2]


def test_retries_take_turns_too(monkeypatch):
    turns = []
    monkeypatch.setattr(Pace, "__call__", lambda self, request: turns.append(str(request.url)))
    with stub(fails(500), fails(500), says(GOOD)) as server:
        client(server, retries=2, requests_per_minute=60).ask([about("a")])
    assert turns == [f"{server.base_url}/chat/completions"] * 3


# ---- the model


def test_smollm2_is_plain_float16_and_speaks(smollm2_folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(smollm2_folder)
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder)
    assert type(model).__name__ == "LlamaForCausalLM" and model.dtype == torch.float16
    assert model.num_parameters() == 134_515_008  # as published
    assert not hasattr(model.config, "quantization_config")
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    said = model.float().generate(**asked, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(said[0, asked["input_ids"].shape[1] :])


def test_building_again_does_nothing(smollm2_folder):
    before = (smollm2_folder / "model.safetensors").stat()
    assert smollm2.build(smollm2_folder) == smollm2_folder
    assert (smollm2_folder / "model.safetensors").stat() == before


def test_a_folder_that_was_not_made_here_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="no checkpoint built here"):
        smollm2.build(tmp_path)
    assert (tmp_path / "mine.txt").exists()
