"""The page on which people review annotations: `python -m reaffect.curation.review_page --queue Q --verdicts V`.

A page on loopback and no notebook widget: the browser's own player seeks, keys need no focused cell, and a kernel that
stops takes nothing with it. The page is one static file without any data, so that text of a corpus never becomes
markup; it loads nothing from elsewhere, and the browser is told to refuse that. Its address holds a secret, without
which no other page can read or post; a video is named by its place in the queue, never by a path.

Each verdict is on the disk before the page goes on (`review.append`), so that a review may stop at any time and several
people, on pages of their own, may write into one file. On another machine, `ssh -L PORT:127.0.0.1:PORT` brings the page
here.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import math
import re
import secrets
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import uvicorn
from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from reaffect import paths
from reaffect.curation import review
from reaffect.curation.review_queue import ANNOTATION, QUEUE, read_queue, shown
from reaffect.errors import InputError

HOST = "127.0.0.1"

PAGE = Path(__file__).with_suffix(".html")

CLOSED = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # the address holds the secret
    "X-Content-Type-Options": "nosniff",
}
"""Headers of all that is served."""


def application(queue: pd.DataFrame, verdicts: str | Path, token: str) -> FastAPI:
    """The page, the clips and videos of a queue, and the place where verdicts are posted, all below `/TOKEN/`.

    Args:
        queue: from `review_queue.read_queue`.
        verdicts: the file for them, see `review.append`.
        token: the secret in the address.

    Raises:
        InputError: no verdict could be stored in the file.
    """
    review.prepare(verdicts)
    clips = queue.to_dict("records")
    places = {(clip["corpus"], clip["clip"], shown(clip)): place for place, clip in enumerate(clips)}
    page = PAGE.read_text(encoding="utf-8")

    def known(token_given: str) -> None:
        if not secrets.compare_digest(token_given.encode(), token.encode()):
            raise HTTPException(404)

    routes = APIRouter(prefix="/{token_given}", dependencies=[Depends(known)])

    @routes.get("/")
    def show() -> HTMLResponse:
        return HTMLResponse(page, headers=CLOSED | {"Content-Security-Policy": _policy(page)})

    @routes.get("/clips")
    def all_clips() -> JSONResponse:
        return JSONResponse([_shown_values(clip) for clip in clips], headers=CLOSED)

    @routes.get("/verdicts")
    def given(reviewer: str = "") -> JSONResponse:
        """Of one reviewer only: who sees what others said agrees with them."""
        table = review.verdicts(verdicts)
        problems = [f"line {line}: {problem}" for line, problem in table.attrs["problems"].items()]
        mine = table[table["reviewer"] == reviewer.strip()].to_dict("records")
        found = [(places.get((row["corpus"], row["clip"], row["shown"])), row) for row in mine]
        answer = {
            "reviewers": table["reviewer"].value_counts().to_dict(),
            "verdicts": [{"place": place, **_said(row)} for place, row in found if place is not None],
            "problems": problems,
        }
        return JSONResponse(answer, headers=CLOSED)

    @routes.post("/verdicts")
    def store(posted: Annotated[dict[str, Any], Body()]) -> JSONResponse:
        clip = _at(clips, posted.get("place"))
        try:
            verdict = review.verdict(clip, posted.get("reviewer"), posted.get("verdict"), posted)
        except InputError as error:
            raise HTTPException(422, str(error)) from None
        try:
            review.append(verdicts, verdict)
        except InputError as error:
            raise HTTPException(507, str(error)) from None
        return JSONResponse(_said(verdict), headers=CLOSED)

    @routes.get("/videos/{place}")
    def video(place: int) -> FileResponse:
        path = Path(_at(clips, place)["media"])
        if not path.is_file():
            raise HTTPException(404, f"{path}: the video is gone. Bring it back, and reload the page.")
        return FileResponse(path, headers=CLOSED)

    # no pages of documentation: theirs load scripts from elsewhere
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.include_router(routes)
    # a foreign name that was made to lead here is refused
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    return app


def serve(queue: str | Path, verdicts: str | Path, *, root: str | Path, port: int = 0) -> None:
    """Serves the page on loopback and prints its address; returns when it is stopped.

    Args:
        queue: from `review_queue.write_queue`.
        verdicts: the file for them.
        root: folder of the corpora.
        port: 0 for any that is free.

    Raises:
        InputError: a file is no good, or the port is taken.
    """
    token = secrets.token_urlsafe(24)
    app = application(read_queue(queue, root), verdicts, token)
    for line, problem in review.verdicts(verdicts).attrs["problems"].items():
        print(f"{verdicts}, line {line}: {problem}. It stays in the file and counts as no verdict.", file=sys.stderr)
    with _listen(port) as listener:
        print(f"Review at http://{HOST}:{listener.getsockname()[1]}/{token}/  (Ctrl+C stops it)", flush=True)
        # no log of requests: their addresses hold the secret
        config = uvicorn.Config(app, access_log=False, log_level="warning", timeout_graceful_shutdown=2)
        uvicorn.Server(config).run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except (OSError, OverflowError) as error:
        raise InputError(
            f"Port {port} on {HOST} cannot be had ({error}). Name another, or none for a free one."
        ) from None


def _policy(page: str) -> str:
    """What the page may do: run its own script, wear its own style, ask its own server; nothing else."""
    hashes = {}
    for tag in ("script", "style"):
        [inline] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashes[tag] = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'; "
        "img-src data:; media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def _shown_values(clip: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of a clip: no path."""
    return {name: _or_null(clip[name]) for name in QUEUE if name != "media"}


def _said(verdict: dict[str, Any]) -> dict[str, Any]:
    names = ("verdict", *ANNOTATION) if verdict["verdict"] == "edit" else ("verdict",)
    return {name: _or_null(verdict[name]) for name in names}


def _or_null(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _at(clips: list[dict[str, Any]], place: Any) -> dict[str, Any]:
    if type(place) is not int or not 0 <= place < len(clips):
        raise HTTPException(404, f"There is no clip {place!r} in the queue.")
    return clips[place]


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status: 0, or 2 after a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m reaffect.curation.review_page", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--queue", type=Path, required=True, help="JSON lines, from review_queue.write_queue")
    parser.add_argument("--verdicts", type=Path, required=True, help="JSON lines, made if they are not there")
    parser.add_argument("--root", type=Path, default=paths.CORPORA, help="the folder that all videos lie in")
    parser.add_argument("--port", type=int, default=0, help="on loopback; any that is free if not named")
    options = parser.parse_args(arguments)
    try:
        serve(options.queue, options.verdicts, root=options.root, port=options.port)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
