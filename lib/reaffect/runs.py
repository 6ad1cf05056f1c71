"""Seeds, determinism, and the run card: what a number needs beside it to be believed."""

from __future__ import annotations

import hashlib
import os
import platform
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from reaffect import paths

PACKAGES = ("torch", "transformers", "numpy", "pandas", "scipy", "librosa", "mediapipe")
"""Whose versions a run card names: those whose change could move a number."""


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch, and asks torch for deterministic kernels where it has them.

    Two runs on one machine then agree bit for bit on the CPU. Across machines they agree to rounding
    only, because the order of sums in a matrix product depends on the processor, and whether language
    models run in bfloat16 or float32 (`hardware.precision`) does, too.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: where matrices are small, a second one costs up to seventy times the time on a busy
    machine, and sums come out in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def data_fingerprint(folder: Path) -> str:
    """Twelve hexadecimal digits that change when a file under `folder` is added, removed, resized, or,
    for the tables (csv, json), edited. Media are taken by name and size: hashing 70 hours of video at every
    run would cost more than the run."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(folder)}:{file.stat().st_size}\n".encode())
        if file.suffix in {".csv", ".json"}:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _commit() -> str:
    """The checkout's commit, with '+' if files differ from it, or 'unknown' outside of git."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(paths.ROOT), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


class Run:
    """One execution of a notebook, from its first cell to its record.

    Args:
        notebook: two digits, such as "02".
        profile: `tiny`, `paper` or `rehearsal`.
        seeds: every seed that the run uses.
        data: folders whose contents the numbers depend on.

    Example:
        >>> run = Run("02", profile="tiny", seeds=[0])
        >>> run.card()["seeds"]
        [0]
    """

    def __init__(self, notebook: str, *, profile: str, seeds: Iterable[int], data: Iterable[Path] = ()):
        self.notebook = notebook
        self.profile = profile
        self.seeds = [int(seed) for seed in seeds]
        self._data = {Path(folder).name: data_fingerprint(Path(folder)) for folder in data}
        self._started = time.monotonic()
        seed_everything(self.seeds[0] if self.seeds else 0)

    def card(self, **counted: int) -> dict[str, Any]:
        """What ran, on what: versions, hardware, commit, data, seeds, seconds so far and peak memory (GB).

        Args:
            counted: what a reader of the numbers should know happened so often, such as clips left out.
        """
        card = {
            **({"counted": counted} if counted else {}),
            "notebook": self.notebook,
            "profile": self.profile,
            "seeds": self.seeds,
            "data": self._data,
            "commit": _commit(),
            "python": platform.python_version(),
            "packages": {name: version(name) for name in PACKAGES},
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "seconds": round(time.monotonic() - self._started, 1),
            "peak_memory_gb": round(_peak_bytes() / 1e9, 2),
        }
        if torch.cuda.is_available():
            card["gpu"] = torch.cuda.get_device_name()
            card["gpu_peak_memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        return card

    def table(self) -> pd.DataFrame:
        """The run card as a table for a reader."""
        rows = {
            name: ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
            for name, value in self.card().items()
        }
        return pd.DataFrame({"value": rows})


def _peak_bytes() -> int:
    """This process's largest resident memory. Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
