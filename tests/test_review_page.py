"""The review page, served for real on loopback: what it gives, what it stores and what it refuses."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from html.parser import HTMLParser

import httpx
import pandas as pd
import psutil
import pytest
import uvicorn

from reaffect.curation import review, review_page
from reaffect.curation.review_queue import QUEUE, read_queue, write_queue

TOKEN = "secret-of-the-test"
VIDEO = bytes(range(256)) * 40
NASTY = "</script><img src=x onerror=alert(1)> & \u2028 笑"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "corpora" / "mafw").mkdir(parents=True)
    rows = []
    for clip in ("00001", "00002", "00003"):
        path = tmp_path / "corpora" / "mafw" / f"{clip}.mp4"
        path.write_bytes(VIDEO + clip.encode())
        rows.append(("mafw", clip, str(path), f"{clip}: {NASTY}", ["happy", NASTY], "high", "happiness", None))
    write_queue(pd.DataFrame(rows, columns=list(QUEUE)), tmp_path / "queue.jsonl", tmp_path / "corpora")
    (tmp_path / "corpora" / "notes.mp4").write_bytes(b"not in the queue")
    return tmp_path


@pytest.fixture
def verdicts(root):
    return root / "verdicts.jsonl"


@pytest.fixture
def page(root, verdicts):
    """A client of a running server, at the page's address."""
    app = review_page.application(read_queue(root / "queue.jsonl", root / "corpora"), verdicts, TOKEN)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    base = f"http://127.0.0.1:{listener.getsockname()[1]}/{TOKEN}/"
    try:
        with httpx.Client(base_url=base, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def post(page, place=0, verdict="accept", reviewer="Ana", **edits):
    return page.post("verdicts", json={"place": place, "verdict": verdict, "reviewer": reviewer, **edits})


def stored(verdicts):
    return [json.loads(line) for line in verdicts.read_text().splitlines()]


def test_clips_come_with_all_that_is_reviewed_and_no_path(page, root):
    clips = page.get("clips").json()
    assert [clip["clip"] for clip in clips] == ["00001", "00002", "00003"]
    assert set(clips[0]) == set(QUEUE) - {"media"}
    assert (clips[0]["labels"], clips[0]["intensity"], clips[0]["score"]) == (["happy", NASTY], "high", None)
    assert str(root) not in page.get("clips").text


def test_each_verdict_is_in_the_file_when_the_answer_comes(page, verdicts):
    edits = {"reason": NASTY, "labels": ["glad"], "intensity": "low"}
    assert post(page, 0).json() == {"verdict": "accept"}
    assert [line["clip"] for line in stored(verdicts)] == ["00001"]
    assert post(page, 1, "edit", **edits).json() == {"verdict": "edit", **edits}
    assert {name: stored(verdicts)[1][name] for name in edits} == edits
    assert post(page, 2, "reject", reviewer="Bo").status_code == 200
    assert post(page, 0, "undo").json() == {"verdict": "undo"}
    found = review.verdicts(verdicts)
    assert list(zip(found["reviewer"], found["clip"], found["verdict"], strict=True)) == [
        ("Ana", "00002", "edit"),
        ("Bo", "00003", "reject"),
    ]


def test_a_review_resumes_with_ones_own_verdicts_in_their_order(page):
    for place, verdict, reviewer in ((2, "accept", "Ana"), (0, "reject", "Ana"), (1, "accept", "Bo")):
        post(page, place, verdict, reviewer)
    answer = page.get("verdicts", params={"reviewer": " Ana "}).json()
    assert answer["verdicts"] == [{"place": 2, "verdict": "accept"}, {"place": 0, "verdict": "reject"}]
    assert answer["reviewers"] == {"Ana": 2, "Bo": 1} and answer["problems"] == []
    assert page.get("verdicts").json()["verdicts"] == []


def test_a_changed_annotation_is_to_be_reviewed_again(page, root, verdicts):
    post(page, 0)
    post(page, 1)
    lines = verdicts.read_text().splitlines()
    verdicts.write_text(lines[0].replace('"shown": "', '"shown": "0') + "\n" + lines[1])
    assert page.get("verdicts?reviewer=Ana").json()["verdicts"] == [{"place": 1, "verdict": "accept"}]


def test_lines_that_cannot_be_read_are_told_and_kept(page, verdicts):
    post(page, 0)
    with verdicts.open("a") as file:
        file.write('{"time": "2026-01-01", "revie')
    post(page, 1)
    [problem] = page.get("verdicts?reviewer=Ana").json()["problems"]
    assert problem.startswith("line 2: it is cut off or damaged")
    assert '"revie\n' in verdicts.read_text() and len(review.verdicts(verdicts)) == 2


@pytest.mark.parametrize("path", ["", "clips", "verdicts", "videos/0"])
def test_without_the_secret_there_is_nothing(page, path):
    assert page.get(path).status_code == 200
    for other in ("", "wrong/", f"{TOKEN}x/", f"{TOKEN[:-1]}/", "%C3%A9/"):
        address = page.base_url.copy_with(path="/").join(f"/{other}{path}")
        assert page.get(address).status_code == 404


def test_another_site_cannot_post(page, verdicts):
    values = {"place": 0, "verdict": "accept", "reviewer": "Mallory"}
    wrong = page.base_url.join("/wrong/verdicts")
    assert page.post(wrong, json=values).status_code == 404
    # what a form of another site may send without being asked first
    assert page.post("verdicts", content=json.dumps(values), headers={"Content-Type": "text/plain"}).status_code == 422
    assert page.post("verdicts", data=values).status_code == 422
    assert page.post("verdicts", json=values, headers={"Host": "evil.example"}).status_code == 400
    assert page.get("", headers={"Host": f"localhost:{page.base_url.port}"}).status_code == 200
    assert "access-control-allow-origin" not in page.get("clips", headers={"Origin": "http://evil.example"}).headers
    assert verdicts.read_text() == ""


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"verdict": "maybe"}, 422, "'verdict' is 'maybe'"),
        ({"verdict": None}, 422, "'verdict' is None"),
        ({"reviewer": " "}, 422, "'reviewer' must be text"),
        ({"reviewer": 7}, 422, "'reviewer' must be text"),
        ({"reviewer": "\ud800"}, 422, "half a character"),
        ({"verdict": "edit"}, 422, "'reason' must be text"),
        ({"verdict": "edit", "reason": "x", "labels": []}, 422, "at least one label"),
        ({"verdict": "edit", "reason": "x", "labels": ["a"], "intensity": float("nan")}, 422, "'intensity' must be"),
        ({"place": 3}, 404, "no clip 3"),
        ({"place": -1}, 404, "no clip -1"),
        ({"place": True}, 404, "no clip True"),
        ({"place": "../0"}, 404, "no clip '../0'"),
        ({"place": None}, 404, "no clip None"),
    ],
)
def test_what_is_no_verdict_is_refused_and_not_stored(page, verdicts, changes, status, message):
    body = json.dumps({"place": 0, "verdict": "accept", "reviewer": "Ana"} | changes)
    answer = page.post("verdicts", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status and message in answer.json()["detail"]
    assert verdicts.read_text() == ""


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"accept"', b"\xff\xfe{}"])
def test_a_body_that_is_no_object_is_refused(page, verdicts, body):
    answer = page.post("verdicts", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422) and verdicts.read_text() == ""


def test_the_page_is_told_when_a_verdict_could_not_be_stored(page, verdicts):
    post(page, 0)
    kept = verdicts.rename(verdicts.with_name("kept"))
    verdicts.mkdir()
    answer = post(page, 1)
    assert answer.status_code == 507 and "cannot be stored (Is a directory)" in answer.json()["detail"]
    verdicts.rmdir()
    kept.rename(verdicts)
    assert post(page, 1).status_code == 200
    assert [line["clip"] for line in stored(verdicts)] == ["00001", "00002"]


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        (None, 200, 0, None),
        ("bytes=0-", 206, 0, None),
        ("bytes=300-309", 206, 300, 310),
        ("bytes=-5", 206, -5, None),
        ("bytes=10000-99999999", 206, 10_000, None),
    ],
)
def test_a_player_may_seek(page, asked, status, start, end):
    answer = page.get("videos/1", headers={"Range": asked} if asked else {})
    assert answer.status_code == status and answer.headers["content-type"] == "video/mp4"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.content == (VIDEO + b"00002")[start:end]


def test_a_range_past_the_end_is_refused(page):
    answer = page.get("videos/1", headers={"Range": "bytes=99999999-"})
    assert answer.status_code == 416 and answer.headers["content-range"] == f"bytes */{len(VIDEO) + 5}"


@pytest.mark.parametrize(
    "path",
    [
        "3",
        "-1",
        "notes.mp4",
        "0/../../notes.mp4",
        "..%2F..%2Fverdicts.jsonl",
        "%2Fetc%2Fpasswd",
        "00001.mp4",
        "0%00",
        "",
    ],
)
def test_no_path_of_a_request_reaches_a_file(page, path):
    with socket.create_connection((page.base_url.host, page.base_url.port)) as raw:  # httpx would tidy the path
        raw.sendall(f"GET /{TOKEN}/videos/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert int(answer.split()[1]) in (307, 404, 422)
    assert b"not in the queue" not in answer and b"root:" not in answer and VIDEO[:64] not in answer


def test_a_video_that_is_gone_is_told(page, root):
    (root / "corpora" / "mafw" / "00002.mp4").unlink()
    answer = page.get("videos/1")
    assert answer.status_code == 404 and "the video is gone" in answer.json()["detail"]
    assert page.get("videos/0").status_code == 200


def test_text_of_a_corpus_never_becomes_markup(page):
    """The page holds no data, its script writes none as markup, and the data come as what no browser renders."""
    assert page.get("").text == review_page.PAGE.read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", page.get("").text
    )
    for path in ("clips", "verdicts"):
        answer = page.get(path)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"


class Markup(HTMLParser):
    """What a page refers to, within and without, its ids, and what a policy of content would forbid."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.ids, self.references, self.handlers = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "href", "action", "poster", "srcset"):
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)
            if name in ("for", "list", "aria-labelledby"):
                self.references.append(value)
            if name.startswith("on") or name == "style":
                self.handlers.append((tag, name))


def test_the_page_is_one_file_that_loads_nothing_from_elsewhere(page):
    text = page.get("").text
    markup = Markup(text)
    assert markup.addresses == ["data:,"] and not markup.handlers
    assert not re.search(r"https?://|@import|url\(", text)
    policy = page.get("").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert page.get("").headers["referrer-policy"] == "no-referrer"


def test_every_part_that_the_script_asks_for_is_there_once():
    text = review_page.PAGE.read_text(encoding="utf-8")
    markup = Markup(text)
    asked = re.findall(r'\$\("([\w-]+)"\)', text)
    assert len(asked) > 50 and {*asked, *markup.references} <= set(markup.ids)
    assert len(markup.ids) == len(set(markup.ids))


def command(root, *more):
    files = ["--queue", root / "queue.jsonl", "--verdicts", root / "verdicts.jsonl", "--root", root / "corpora"]
    return [sys.executable, "-m", "reaffect.curation.review_page", *map(str, files), *more]


def test_a_killed_server_lost_nothing_and_the_next_resumes(root, verdicts):
    for place, signal_sent, status in ((0, signal.SIGKILL, -signal.SIGKILL), (1, signal.SIGINT, 0)):
        with subprocess.Popen(command(root), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            address = re.search(r"http://127\.0\.0\.1:\d+/\S{32,}/", process.stdout.readline()).group()
            with httpx.Client(base_url=address, trust_env=False) as page:
                assert len(page.get("verdicts?reviewer=Ana").json()["verdicts"]) == place
                assert post(page, place).status_code == 200
            listening = [link for link in psutil.Process(process.pid).net_connections() if link.status == "LISTEN"]
            assert {link.laddr.ip for link in listening} == {"127.0.0.1"}
            process.send_signal(signal_sent)
            assert process.wait() == status
            assert process.stderr.read() == ""
    assert list(review.verdicts(verdicts)["clip"]) == ["00001", "00002"]


def test_a_users_mistake_ends_in_one_line(root, capsys):
    files = ["--verdicts", str(root / "verdicts.jsonl"), "--root", str(root / "corpora")]
    assert review_page.main(["--queue", str(root / "none.jsonl"), *files]) == 2
    assert "none.jsonl: no such file" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert review_page.main(["--queue", str(root / "queue.jsonl"), *files, "--port", port]) == 2
    assert f"Port {port} on 127.0.0.1 cannot be had" in capsys.readouterr().err
    assert review_page.main(["--queue", str(root / "queue.jsonl"), *files, "--port", "99999"]) == 2
    assert review_page.main(["--queue", str(root / "queue.jsonl"), "--verdicts", str(root), *files[2:]]) == 2
    assert "cannot be stored (Is a directory)" in capsys.readouterr().err.splitlines()[-1]
