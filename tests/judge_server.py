"""Servers that tests of the judge start on loopback: a real one with SmolLM2, and one that says what it is told."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Answer = tuple[int, Any, dict[str, str]]
"""Status, body (bytes as they are, else JSON) and headers."""

NO_WAIT = {"retry-after-ms": "1"}
"""Sent with an error, it makes the client library retry at once."""


class Served:
    """`transformers serve` with one model, on a port that it keeps over restarts."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder, self.log = folder, log
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self.start()

    def start(self) -> None:
        """Returns when the server says that it is healthy."""
        command = [Path(sys.executable).with_name("transformers"), "serve", self.folder, "--device", "cpu"]
        command += ["--dtype", "bfloat16", "--host", "127.0.0.1", "--port", str(self.port)]
        with self.log.open("ab") as log:
            environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        while not self._healthy():
            try:
                self.process.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                continue
            raise RuntimeError(f"the server did not start:\n{self.log.read_text()}")

    def kill(self) -> None:
        """As a crash or a batch system's time limit would."""
        self.process.kill()
        self.process.wait()

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as response:
                return response.status == 200
        except OSError:
            return False


class Stub(ThreadingHTTPServer):
    """Gives the answers that it was made with, one a request, the last one again and again; keeps the requests.

    An answer may be a function of the request.
    """

    def __init__(self, *answers: Answer | Callable[[Any], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.requests, self.headers = list(answers), [], []
        self.lock = threading.Lock()
        self.stopped = threading.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(body)
            self.server.headers.append(self.headers)
            answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        status, said, headers = answer(body) if callable(answer) else answer
        if status == 0:  # says nothing until the test is over
            self.server.stopped.wait()
            return
        raw = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(raw))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


SILENCE = (0, None, {})


def says(content: str | None) -> Answer:
    """A completion."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return 200, {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}, {}


def fails(status: int, message: str = "no") -> Answer:
    """An error in OpenAI's form."""
    return status, {"error": {"message": message, "type": "x", "param": None, "code": None}}, NO_WAIT


@contextmanager
def stub(*answers: Answer | Callable[[Any], Answer]) -> Iterator[Stub]:
    """A running `Stub`."""
    with Stub(*answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.stopped.set()
            server.shutdown()
            thread.join()
