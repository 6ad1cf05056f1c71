"""A served model in the place of a local one: by a server that looks at what it is sent, and by a real one."""

from __future__ import annotations

import base64
import io
import json
import logging
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from openai import _base_client
from PIL import Image

from conftest import built
from judge_server import NO_WAIT, Served
from reaffect import media, mllm, paths, served
from reaffect.errors import InputError
from reaffect.store import Store

PROMPT = "What is to be seen?"
NAME = "org/sees"
STEP = 20
"""Frame k of a planted clip is grey, of brightness STEP k."""


class Seer(ThreadingHTTPServer):
    """A vision model's server: it decodes pictures and sounds, and tells the planted numbers of what it was sent.

    `sees` and `hears` decide what its model takes: the rest is passed over in silence, as some servers do.
    `before` may answer in its place, with a status and a body, or None; the status 0 breaks off the connection.
    """

    def __init__(self, *, sees: bool = True, hears: bool = False, counts: bool = True, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.sees, self.hears, self.counts = sees, hears, counts
        self.listed: Any = [{"id": NAME, "object": "model", "created": 1, "root": "/models/a", "owned_by": "vllm"}]
        self.before: Callable[[dict], tuple[int, Any] | None] = lambda request: None
        self.requests: list[dict] = []
        self.keys: list[str] = []
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    @property
    def name(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/{NAME}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()

    def asked(self) -> list[dict]:
        """Requests for answers, without the looks at what the model takes."""
        return [request for request in self.requests if request["max_tokens"] > 1]

    def answer(self, request: dict) -> tuple[int, Any]:
        if instead := self.before(request):
            return instead
        [message] = request["messages"]
        kinds = Counter(part["type"] for part in message["content"])
        tokens = 5 + 100 * self.sees * kinds["image_url"] + 50 * self.hears * kinds["input_audio"]
        return completion(said(message["content"]), {"prompt_tokens": tokens} if self.counts else None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        models = self.server.listed
        self._send(404, {}) if models is None else self._send(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(request)
            self.server.keys.append(self.headers["Authorization"])
        self._send(*self.server.answer(request))

    def _send(self, status: int, body: Any) -> None:
        if not status:
            self.close_connection = True
            return
        raw = json.dumps(body).encode()
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(raw)), **NO_WAIT}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


def completion(text: str | None, usage: dict | None = None) -> tuple[int, dict]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return 200, {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]} | (
        {"usage": usage} if usage else {}
    )


def fails(status: int, message: str) -> tuple[int, dict]:
    return status, {"error": {"message": message}}


def pictures(content: list[dict]) -> list[np.ndarray]:
    """Those of a message, decoded."""
    found = []
    for part in content:
        if part["type"] == "image_url":
            head, data = part["image_url"]["url"].split(",")
            assert head == "data:image/jpeg;base64"
            picture = Image.open(io.BytesIO(base64.b64decode(data)))
            assert picture.format == "JPEG"
            found.append(np.asarray(picture.convert("RGB")))
    return found


def sounds(content: list[dict]) -> list[tuple[np.ndarray, int]]:
    parts = [part["input_audio"] for part in content if part["type"] == "input_audio"]
    assert all(part["format"] == "wav" for part in parts)
    return [soundfile.read(io.BytesIO(base64.b64decode(part["data"]))) for part in parts]


def said(content: list[dict]) -> str:
    """The planted numbers of the pictures, in the order sent."""
    return " ".join(str(round(picture.mean() / STEP)) for picture in pictures(content))


@pytest.fixture
def server():
    seer = Seer()
    yield seer
    seer.stop()


@pytest.fixture
def hearing():
    seer = Seer(hears=True)
    yield seer
    seer.stop()


@pytest.fixture(autouse=True)
def quick_and_without_key(monkeypatch):
    """The client library does not wait before it tries again."""
    monkeypatch.setattr(_base_client.time, "sleep", lambda seconds: None)
    monkeypatch.delenv(served.KEY, raising=False)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[str]:
    """Clips of 12, 7, 4 and 9 frames; each begins with the brightness of its place."""
    folder = tmp_path_factory.mktemp("clips")
    return [film(folder / f"{start}.mp4", range(start, start + length)) for start, length in enumerate((12, 7, 4, 9))]


def film(file, numbers, **sound) -> str:
    frames = np.stack([np.full((32, 48, 3), STEP * number, np.uint8) for number in numbers])
    return str(media.write_video(file, frames, 8, **sound))


def connected(seer: Seer, store) -> served.ServedMLLM:
    model = served.connect(seer.name)
    model.store = Store(store)
    return model


# ---- what is sent


def test_frames_come_in_time_s_order_before_the_question(server, clips, tmp_path):
    told = connected(server, tmp_path).describe(clips, PROMPT, frames=4, max_new_tokens=9)
    assert told.index.tolist() == clips
    # of 12 frames 0, 11/3, 22/3 and 11, rounded; of 7: 0, 2, 4 and 6; of 4: all; of 9: 0, 8/3, 16/3 and 8
    assert told.text.tolist() == ["0 4 7 11", "1 3 5 7", "2 3 4 5", "3 6 8 11"]
    assert len(server.asked()) == 4
    for request in server.asked():
        [message] = request["messages"]
        assert message["role"] == "user"
        assert [part["type"] for part in message["content"]] == ["image_url"] * 4 + ["text"]
        assert message["content"][-1]["text"] == PROMPT
        assert (request["model"], request["temperature"], request["max_tokens"]) == (NAME, 0, 9)


def test_a_single_frame_is_the_middle_one_and_8_are_shown_by_default(server, clips, tmp_path):
    model = connected(server, tmp_path)
    assert model.describe(clips[1:2], PROMPT, frames=1).text.tolist() == ["4"]
    assert model.describe(clips[2:3], PROMPT).text.tolist() == ["2 2 3 3 4 4 5 5"]


def test_pictures_keep_size_colour_and_detail(server, tmp_path):
    """A folder of PNG files is a clip without a codec of its own: what is lost, the JPEG lost."""
    height, width = 48, 64
    rows, columns = np.mgrid[:height, :width]
    shades = np.stack([rows * 5, columns * 3, 200 - rows * 2], -1).astype(np.uint8)
    Image.fromarray(shades).save(tmp_path / "1.png")
    connected(server, tmp_path / "store").describe([tmp_path], PROMPT, frames=1)
    [request] = server.asked()
    [picture] = pictures(request["messages"][0]["content"])
    assert picture.shape == (height, width, 3)
    assert np.abs(picture.astype(int) - shades).mean() < 2


def test_each_frame_is_asked_about_alone(server, clips, tmp_path):
    model = connected(server, tmp_path)
    told = model.describe_frames(clips[:2], PROMPT, frames=3)
    assert told.columns.tolist() == ["0", "1", "2"]
    assert told.to_numpy().tolist() == [["0", "6", "11"], ["1", "4", "7"]]
    assert all(len(request["messages"][0]["content"]) == 2 for request in server.asked())


def test_several_questions_are_stored_each_by_itself(server, clips, tmp_path, monkeypatch):
    model = connected(server, tmp_path)
    server.before = lambda request: completion(request["messages"][0]["content"][-1]["text"].upper())
    assert model.describe(clips[:1], "b?", frames=2).text.tolist() == ["B?"]
    read = []
    read_frames = media.read_frames
    monkeypatch.setattr(media, "read_frames", lambda clip, count: read.append(clip) or read_frames(clip, count))
    told = model.describe_each(clips[:2], {"one": "a?", "two": "b?"}, frames=2)
    assert told.to_numpy().tolist() == [["A?", "B?"]] * 2 and told.columns.tolist() == ["one", "two"]
    assert len(server.asked()) == 1 + 3 and sorted(read) == clips[:2]


def test_clips_are_asked_about_together(server, clips, tmp_path):
    """No request is answered before all four are there."""
    together = threading.Barrier(4, timeout=20)
    model = connected(server, tmp_path)
    server.before = lambda request: together.wait() and None
    assert model.describe(clips, PROMPT, frames=1, batch_size=4).text.notna().all()


def test_scores_are_read(server, clips, tmp_path):
    model = connected(server, tmp_path)
    server.before = lambda request: completion("Fear: 0.25, surprise is 70%.")
    scores = model.score(clips[:1], PROMPT, ["fear", "surprise", "disgust"])
    assert scores.columns.tolist() == ["fear", "surprise", "disgust", "text"]
    assert scores.iloc[0, :2].tolist() == [0.25, 0.7] and np.isnan(scores.disgust.iloc[0])


def test_sound_is_played_and_silence_where_there_is_none(hearing, clips, tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000).astype(np.float32)
    spoken = film(tmp_path / "spoken.mp4", range(12), waveform=tone, sample_rate=16_000)
    model = connected(hearing, tmp_path / "store")
    assert model.takes_audio
    both = [spoken, clips[0]]
    assert model.describe(both, PROMPT, frames=2, audio=True, batch_size=1).text.tolist() == ["0 11", "0 11"]
    contents = [request["messages"][0]["content"] for request in hearing.asked()]
    assert [part["type"] for part in contents[0]] == ["image_url", "image_url", "input_audio", "text"]
    [(wave, rate)], [(silence, _)] = map(sounds, contents)
    assert rate == 16_000 and wave.ndim == 1 and abs(len(wave) - 32_000) < 200
    assert np.argmax(np.abs(np.fft.rfft(wave))) * rate / len(wave) == pytest.approx(440, abs=2)
    assert np.sqrt(np.mean(wave**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
    assert len(silence) == 16_000 and not silence.any()
    model.describe(both, PROMPT, frames=2)
    assert len(hearing.asked()) == 4, "what is not heard is another question"


def test_what_a_model_cannot_take_is_known_beforehand(server, clips, tmp_path):
    model = connected(server, tmp_path)
    assert not model.takes_audio, "it is passed over in silence"
    with pytest.raises(InputError, match=f"{NAME}: this model cannot hear"):
        model.describe(clips, PROMPT, audio=True)
    server.sees = False
    with pytest.raises(InputError, match="takes text only"):
        served.connect(server.name)
    server.before = lambda request: fails(400, "it is not a multimodal model")
    with pytest.raises(InputError, match="takes text only"):
        served.connect(server.name)
    assert not server.asked()


def test_a_server_that_counts_no_tokens_is_taken_to_see_and_not_to_hear(hearing, clips, tmp_path):
    hearing.counts = False
    model = connected(hearing, tmp_path)
    assert not model.takes_audio
    assert model.describe(clips[:1], PROMPT, frames=2).text.tolist() == ["0 11"]


def test_there_are_no_hidden_states(server):
    with pytest.raises(InputError, match=f"{NAME}: a server gives answers, and no hidden states"):
        served.connect(server.name).embed(["a.mp4"], PROMPT)


# ---- names and identity


def test_a_parameter_names_it_as_any_checkpoint(server, clips, tmp_path):
    model = mllm.load(paths.checkpoint(server.name))
    model.store = Store(tmp_path)
    assert model.describe(clips[:1], PROMPT, frames=2).text.tolist() == ["0 11"]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("https://openrouter.ai/api/v1/qwen/qwen3-vl", ("https://openrouter.ai/api/v1", "qwen/qwen3-vl")),
        ("http://host:1/v1/a/v1/b", ("http://host:1/v1", "a/v1/b")),
        ("http://host:1/v1//models/mine", ("http://host:1/v1", "/models/mine")),
    ],
)
def test_an_address_has_two_parts(name, parts):
    assert served.address(name) == parts


@pytest.mark.parametrize(
    "name", ["http://host/model", "http://host/v1", "http://host/v1/", "ftp://host/v1/m", "https://me:key@host/v1/m"]
)
def test_what_names_no_served_model(name):
    with pytest.raises(InputError, match=r"names no served model: write http\(s\)://host\[:port\]/v1/.*" + served.KEY):
        served.connect(name)


def test_answers_belong_to_the_model_wherever_it_is_served(server, clips, tmp_path):
    connected(server, tmp_path).describe(clips, PROMPT, frames=2)
    moved = Seer()
    moved.listed = [server.listed[0] | {"created": 2, "permission": [{"id": "another"}]}]
    connected(moved, tmp_path).describe(clips, PROMPT, frames=2)
    assert len(server.asked()) == 4 and not moved.asked()
    moved.listed = [server.listed[0] | {"root": "/models/b"}]
    connected(moved, tmp_path).describe(clips, PROMPT, frames=2)
    assert len(moved.asked()) == 4, "another model under the same name"
    moved.listed = None
    connected(moved, tmp_path).describe(clips, PROMPT, frames=2)
    assert len(moved.asked()) == 8, "nobody knows what it is"
    moved.stop()


@pytest.mark.parametrize("listed", [5, {}, ["x"], [{"id": ["x"]}], [{"id": NAME, "root": None}]])
def test_a_list_of_models_is_data(server, clips, tmp_path, listed):
    server.listed = listed
    assert connected(server, tmp_path).describe(clips[:1], PROMPT, frames=2).text.tolist() == ["0 11"]


# ---- what goes wrong


def test_a_server_that_is_not_there():
    gone = Seer()
    gone.stop()
    with pytest.raises(InputError, match="cannot be reached, or broke off: start the server, or check its address"):
        served.connect(gone.name)


def test_a_server_that_is_silent(server, monkeypatch):
    monkeypatch.setattr(served, "TIMEOUT_S", 0.05)
    over = threading.Event()

    def silence(request):
        over.wait(20)
        return 0, None

    server.before = silence
    with pytest.raises(InputError, match=r"did not answer within 0\.05 s, 6 times: .*lower batch_size"):
        served.connect(server.name)
    over.set()


def test_the_key_is_sent_asked_for_and_shown_nowhere(server, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    server.before = lambda request: fails(401, "Incorrect API key provided: sk-secret")
    with pytest.raises(InputError, match=r"status 401 .*set the environment variable REAFFECT_SERVER_KEY"):
        served.connect(server.name)
    monkeypatch.setenv(served.KEY, "sk-secret\n")
    with pytest.raises(InputError, match=r"\*\*\*") as refused:
        served.connect(server.name)
    assert server.keys[-1] == "Bearer sk-secret"
    assert "sk-secret" not in f"{refused.value} {caplog.text}"


def test_a_model_that_the_server_does_not_have_is_told_with_those_that_it_has(server):
    server.listed = [{"id": name} for name in ("org/sees-2", "other/thing")]
    server.before = lambda request: fails(404, "The model does not exist.")
    with pytest.raises(InputError, match=r"status 404 .*2 models, among them org/sees-2, other/thing\."):
        served.connect(server.name)


@pytest.mark.parametrize(
    ("status", "message"),
    [(400, "At most 4 image(s) may be provided in one prompt."), (413, "too large"), (422, "context length exceeded")],
)
def test_too_many_frames_are_a_problem_of_the_clip(server, clips, tmp_path, status, message):
    model = connected(server, tmp_path)
    server.before = lambda request: (
        fails(status, message) if said(request["messages"][0]["content"])[0] == "1" else None
    )
    told = model.describe(clips, PROMPT, frames=5, batch_size=2)
    assert told.text.notna().tolist() == [True, False, True, True]
    assert list(model.problems) == clips[1:2]
    assert "1.mp4" in model.problems[clips[1]] and "lower `frames`" in model.problems[clips[1]]
    assert message in model.problems[clips[1]]
    with pytest.raises(InputError, match=r"1\.mp4.*lower `frames`"):
        model.describe(clips, PROMPT, frames=5, strict=True)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_fails_again_and_again_is_a_problem_and_the_others_finish(server, clips, tmp_path, status):
    model = connected(server, tmp_path)
    server.before = lambda request: fails(status, "busy") if said(request["messages"][0]["content"])[0] == "2" else None
    told = model.describe(clips, PROMPT, frames=2)
    assert told.text.notna().tolist() == [True, True, False, True]
    assert f"status {status}" in model.problems[clips[2]]
    assert len(server.asked()) == 3 + 6, "tried five times more"
    server.before = lambda request: None
    assert model.describe(clips, PROMPT, frames=2).text.notna().all()
    assert len(server.asked()) == 10, "only what was missing"


def test_what_passes_is_tried_again(server, clips, tmp_path):
    model = connected(server, tmp_path)
    answers = [fails(503, "busy"), fails(429, "slow down")]
    server.before = lambda request: answers.pop() if answers else None
    assert model.describe(clips[:1], PROMPT, frames=2).text.tolist() == ["0 11"] and not model.problems


@pytest.mark.parametrize("nothing", ["", None, " \n"])
def test_an_empty_answer_is_a_problem(server, clips, tmp_path, nothing):
    model = connected(server, tmp_path)
    server.before = lambda request: completion(nothing)
    assert model.describe(clips[:1], PROMPT).text.isna().all()
    assert "0.mp4" in model.problems[clips[0]] and "answered nothing (it ended by 'stop')" in model.problems[clips[0]]


def test_a_frame_without_an_answer_leaves_its_clip_without(server, clips, tmp_path):
    model = connected(server, tmp_path)
    server.before = lambda request: completion("") if said(request["messages"][0]["content"]) == "6" else None
    told = model.describe_frames(clips[:2], PROMPT, frames=3)
    assert told.isna().all(axis=1).tolist() == [True, False] and list(model.problems) == clips[:1]


def test_a_clip_that_cannot_be_read_is_listed_and_the_others_finish(server, clips, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    model = connected(server, tmp_path / "store")
    told = model.describe([str(broken), clips[0]], PROMPT, frames=2)
    assert told.text.notna().tolist() == [False, True] and "broken.mp4" in model.problems[str(broken)]
    with pytest.raises(InputError, match=r"broken\.mp4"):
        model.describe([broken], PROMPT, strict=True)


@pytest.mark.parametrize("end", [(0, None), fails(401, "no key"), fails(404, "no model")])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_what_was_answered_before_the_server_broke_down_is_kept(server, clips, tmp_path, end, batch_size):
    """Clip 2 meets the end, in a batch of its own or with the two before it, of which the store keeps the answers."""
    model = connected(server, tmp_path)
    both, before = threading.Event(), set()

    def breaks_at_clip_2(request):
        clip = said(request["messages"][0]["content"])[0]
        if clip == "2":
            assert both.wait(timeout=20)
            return end
        before.add(clip)
        if len(before) == 2:
            both.set()
        return None

    server.before = breaks_at_clip_2
    with pytest.raises(InputError, match="What was answered is kept: run again to ask the rest"):
        model.describe(clips, PROMPT, frames=2, batch_size=batch_size)
    answered = len(list(model.store.root.rglob("*.arrow")))
    assert answered == (2 if batch_size == 1 else 1), "shards"
    server.before = lambda request: None
    server.requests.clear()
    told = model.describe(clips, PROMPT, frames=2, batch_size=batch_size)
    assert told.text.tolist() == ["0 11", "1 7", "2 5", "3 11"]
    assert len(server.asked()) == 2, "clips 2 and 3"
    assert model.describe(clips, PROMPT, frames=2).equals(told) and len(server.asked()) == 2


def test_what_is_no_such_server_is_named(server, clips, tmp_path):
    server.before = lambda request: (200, {"choices": [{}]})
    with pytest.raises(InputError, match="answers, but not as OpenAI's"):
        served.connect(server.name)


# ---- a real server


def test_a_real_server_says_what_the_same_model_says_here(hume_full, tmp_path, monkeypatch):
    """`transformers serve` computes in bfloat16 and sees JPEGs: one answer of twelve may differ."""
    monkeypatch.undo()  # it has to wait
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder = built(paths.CHECKPOINTS / "llava-tiny" / "config.json").parent
    clips = sorted(str(file) for file in (hume_full / "hume" / "mp4").iterdir())[3:6]
    here = mllm.load(folder, device="cpu", dtype="float32")
    server = Served(folder, tmp_path / "log.txt")
    try:
        there = mllm.load(f"{server.base_url}/{folder}")
        tables = []
        for model in (here, there):
            model.store = Store(tmp_path / "store" / type(model).__name__)
            tables.append(model.describe_frames(clips, PROMPT, frames=4, max_new_tokens=40))
    finally:
        server.kill()
    assert len(pd.unique(tables[0].to_numpy().ravel())) > 2, "nothing to tell apart"
    assert (tables[0] == tables[1]).to_numpy().sum() >= 11


def test_a_real_server_of_a_text_model_is_refused(smollm2_folder, tmp_path, monkeypatch):
    """It passes over pictures in silence, and would describe what it never saw."""
    monkeypatch.undo()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    server = Served(smollm2_folder, tmp_path / "log.txt")
    try:
        with pytest.raises(InputError, match="takes text only"):
            served.connect(f"{server.base_url}/{smollm2_folder}")
    finally:
        server.kill()
