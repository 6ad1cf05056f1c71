"""A GPU: what nvidia-smi tells of it, and the most that it does of matrix products and copies."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable, Sequence
from functools import partial

import torch

from bench.timing import median_seconds

ASKED_OF_CARD = ("name", "clocks.sm", "clocks.mem", "power.limit", "driver_version")


def card(device: str) -> dict[str, str | None]:
    """Name, clocks, power limit and driver, as nvidia-smi tells them; None where it does not."""
    told: dict[str, str | None] = dict.fromkeys(ASKED_OF_CARD)
    if device.startswith("cuda"):
        found = torch.cuda.get_device_properties(device)
        told |= {"name": found.name} | asked_of_card(f"GPU-{found.uuid}")
    return told


def asked_of_card(identity: str) -> dict[str, str]:
    """What nvidia-smi answers, without what it does not know; nothing where there is none."""
    query = ["nvidia-smi", f"--id={identity}", f"--query-gpu={','.join(ASKED_OF_CARD)}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    [values] = csv.reader(answer.splitlines(), skipinitialspace=True)
    known = zip(ASKED_OF_CARD, values, strict=True)
    return {name: value for name, value in known if not value.startswith("[")}  # such as [N/A]


def best_product(sides: Sequence[int], device: str, repeats: int) -> float:
    """Operations a second of the fastest product of square matrices, of these sides, in bfloat16."""
    speeds = []
    for side in sides:
        one, other, product = (torch.randn(side, side, device=device).bfloat16() for _ in range(3))
        multiply = settled(partial(torch.mm, one, other, out=product), device)
        speeds.append(2 * side**3 / median_seconds(multiply, repeats))
    return max(speeds)


def copying(size: int, device: str, repeats: int) -> float:
    """Bytes a second, read and written, of a copy of so many bytes in the device's memory."""
    one, other = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
    return 2 * size / median_seconds(settled(partial(other.copy_, one), device), repeats)


def settled(call: Callable[[], object], device: str) -> Callable[[], None]:
    """The call, and the wait until the device has done it."""

    def wait() -> None:
        call()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    return wait
