"""What the builders of corpora share: staleness, workers, and files that are whole or absent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
from threadpoolctl import threadpool_limits
from tqdm import tqdm


def is_built(folder: Path, mark: str) -> bool:
    """Whether `folder` holds what the recipe with this fingerprint makes; if not, it is ready to be filled.

    What a killed build of the same recipe left stays, the remains of another recipe go.
    """
    planted = folder / "planted.json"
    if planted.exists() and json.loads(planted.read_text()).get("fingerprint") == mark:
        return True
    begun = folder / "building"
    if not begun.exists() or begun.read_text() != mark:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "mp4").mkdir(parents=True)
        begun.write_text(mark)
    return False


def finish(folder: Path, planted: dict[str, Any]) -> None:
    """Writes `planted.json`, with which a corpus counts as built."""
    write_aside(folder / "planted.json", json.dumps(planted, indent=1))
    (folder / "building").unlink()


def write_aside(file: Path, text: str) -> None:
    """Writes a text file under another name and renames it."""
    aside = file.with_suffix(file.suffix + ".part")
    aside.write_text(text)
    aside.replace(file)


def film_all(film: Callable[[Any], None], clips: Sequence[Any], workers: int, label: str, together: int = 1) -> None:
    """Calls `film` on every clip, in worker processes if there are several; neighbours go to a worker `together`."""
    if not clips:
        return
    bar = partial(tqdm, total=len(clips), desc=label, unit="clip")
    if workers == 1:  # one more interpreter would only take its seconds to start
        with _one_thread_here():
            list(bar(map(film, clips)))
        return
    # A fresh interpreter a worker: forking a process that runs torch's or numba's threads can hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        list(bar(pool.map(film, clips, chunksize=together)))


def side_by_side(make: Callable[[int], Any], count: int, workers: int, label: str) -> list:
    """What `make` gives for 0 to `count` - 1, in order, made by threads: for pictures that stay in memory."""
    # OpenCV and NumPy, which do the work, release the interpreter: threads are enough
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        return list(tqdm(pool.map(make, range(count)), label, count))


def _one_thread() -> None:
    """Processes share the cores already: threads of OpenCV and BLAS on small arrays only get in each other's way."""
    cv2.setNumThreads(1)
    threadpool_limits(1)


@contextmanager
def _one_thread_here() -> Iterator[None]:
    """The same for a while: this process has other things to do afterwards."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        cv2.setNumThreads(threads)
