"""The CNN in a process of its own: it holds Python's lock while it works, and frames wait for nobody.

A plain child with pipes, not `multiprocessing`: that would import the caller's script again, which a notebook has not
and which a script without a main guard does not survive.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
from jaxtyping import UInt8

from reaffect.deid import detection
from reaffect.deid.detection import Sighting

SHAPE = struct.Struct("<II")  # height and width, before the pixels


class Scanner:
    """Runs `detection.find` on one picture after another, in the order asked; its process begins with the first."""

    def __init__(self) -> None:
        self._thread, self._child = ThreadPoolExecutor(1), None

    def scan(self, luma: UInt8[np.ndarray, "height width"], smallest_face: float) -> Future[list[Sighting]]:
        """Sightings in the picture's own pixels, later.

        Args:
            luma: of a frame.
            smallest_face: see `detection.shrunk`.
        """
        small = detection.shrunk(luma, smallest_face)
        return self._thread.submit(self._ask, small, luma.shape)

    def _ask(self, small: np.ndarray, full: tuple[int, ...]) -> list[Sighting]:
        if self._child is None:
            call = [sys.executable, "-c", "from reaffect.deid.scanning import serve; serve()"]
            self._child = subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self._child.stdin.write(SHAPE.pack(*small.shape) + small.tobytes())
            self._child.stdin.flush()
            answer = self._child.stdout.readline()
        except BrokenPipeError:
            answer = b""
        if not answer:
            raise RuntimeError("The face detector's process has ended: is there enough memory? Nothing was written.")
        found = [Sighting(np.array(box), confidence) for box, confidence in json.loads(answer)]
        return detection.scaled_back(found, small.shape, full)

    def close(self) -> None:
        """Ends the process, whatever it is at."""
        if self._child:
            self._child.kill()  # frees the thread, which may wait for an answer
        self._thread.shutdown(cancel_futures=True)
        if self._child:  # perhaps begun only now
            with self._child as child:
                child.kill()


def serve() -> None:
    """The child: pictures on stdin until it ends, a line of JSON for each on stdout."""
    cv2.setNumThreads(1)
    while len(head := sys.stdin.buffer.read(SHAPE.size)) == SHAPE.size:
        height, width = SHAPE.unpack(head)
        luma = np.frombuffer(sys.stdin.buffer.read(height * width), np.uint8).reshape(height, width)
        found = [(sighting.box.tolist(), sighting.confidence) for sighting in detection.find(luma)]
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
