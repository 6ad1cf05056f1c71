"""The committed notebooks, executed by nbval in a copy of the tree, and their numbers compared.

nbval compares checked cells to the letter (schema, counts, shapes, published numbers: what no machine may
change). It knows no tolerance, so results are compared here, from the JSON that each notebook records.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch

from notebook_files import CHECKED, NOTEBOOKS, code_cells, has_tag, read
from reaffect import paths
from reaffect.hardware import precision

ON_INTERVIEWS = [path for path in NOTEBOOKS if path.stem[:2] in {"06", "07"}]
"""They run in `test_notebooks_interviews`, which another worker can take."""

THAT_TRAIN = [path for path in NOTEBOOKS if path.stem[:2] in {"08", "10"}]
"""They run in `test_notebooks_that_train`, with less."""

each_notebook = pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if path not in ON_INTERVIEWS + THAT_TRAIN], ids=lambda path: path.stem
)

# Trained numbers differ between processors: sums in another order, amplified by training. What this
# guards against is a broken notebook, not rounding.
TOLERANCE = 0.15

# Processors that do not multiply bfloat16 compute in float32: the small models come out as others, and of a part with
# eight videos no number may be the same. There, most of a notebook's numbers must agree; all of them are there.
AGREEING = 1.0 if precision("cpu") == torch.bfloat16 else 0.5


@pytest.fixture(scope="session")
def checkout(tmp_path_factory, hume_full, tiny_checkpoint) -> Path:
    """A copy of the tree, so that executing the notebooks leaves the committed reports alone."""
    copy = tmp_path_factory.mktemp("checkout") / "reaffect"
    for name in ("lib", "notebooks", "reports", "params"):
        shutil.copytree(paths.ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return copy


def nbval(checkout: Path, notebook: Path) -> subprocess.CompletedProcess:
    """Runs nbval on one notebook with the copy's library and the built data."""
    environment = os.environ | {
        "PYTHONPATH": str(checkout / "lib"),
        "REAFFECT_DATA": str(paths.DATA),
        "TQDM_DISABLE": "1",
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval-lax",
        "--nbval-cell-timeout=900",
        "-v",
        "-p",
        "no:cacheprovider",
    ]
    options = [f"--nbval-sanitize-with={paths.ROOT / 'tests' / 'nbval.cfg'}", "--rootdir", str(checkout)]
    return subprocess.run(
        [*command, *options, str(notebook)], env=environment, cwd=checkout, capture_output=True, text=True, check=False
    )


@each_notebook
def test_notebook_executes_and_checked_cells_agree(path, checkout):
    execute(path, checkout)


def execute(path: Path, checkout: Path) -> None:
    """Runs a notebook in the copy: every cell executes, and those that are checked say what is committed."""
    run = nbval(checkout, checkout / "notebooks" / path.name)
    assert run.returncode == 0, run.stdout[-8000:]
    executed = len(re.findall(r"::Cell \d+ PASSED", run.stdout))
    assert executed == len(code_cells(read(path))), "nbval passed over a cell"


def test_nbval_bites_when_a_checked_number_changes(checkout):
    """Changes one digit in every checked cell's committed output; each of these cells must fail."""
    notebook = read(NOTEBOOKS[0])
    changed = [cell for cell in code_cells(notebook) if has_tag(cell, CHECKED) and change_a_digit(cell)]
    assert changed
    forged = checkout / "notebooks" / "forged.ipynb"
    nbformat.write(notebook, forged)
    run = nbval(checkout, forged)
    assert run.returncode == 1
    assert len(re.findall(r"::Cell \d+ FAILED", run.stdout)) == len(changed), run.stdout[-4000:]


def change_a_digit(cell) -> bool:
    """Replaces the first digit of the cell's plain-text outputs; False if they show none."""
    for output in cell.outputs:
        holder, key = (output, "text") if output.output_type == "stream" else (output.get("data", {}), "text/plain")
        text = holder.get(key, "")
        found = re.search(r"\d", text)
        if found:
            digit = str((int(found.group()) + 1) % 10)
            holder[key] = text[: found.start()] + digit + text[found.end() :]
            return True
    return False


@each_notebook
def test_recorded_numbers_are_those_committed(path, checkout):
    compare(path, checkout)


def compare(path: Path, checkout: Path) -> None:
    """After `execute`: the same quantities as committed, with values that agree."""
    name = f"{path.stem[:2]}.json"
    committed = numbers(json.loads((paths.REPORTS / "tiny" / name).read_text())["exhibits"])
    fresh = numbers(json.loads((checkout / "reports" / "tiny" / name).read_text())["exhibits"])
    assert fresh.keys() == committed.keys()
    off = {key: (committed[key], fresh[key]) for key in fresh if not agree(committed[key], fresh[key])}
    assert len(off) <= (1 - AGREEING) * len(fresh), off


def agree(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return math.isclose(first, second, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def numbers(record, prefix: str = "") -> dict[str, float | None]:
    """Every leaf `ours` of a record by its place."""
    if isinstance(record, dict):
        return {key: leaf for name, item in record.items() for key, leaf in numbers(item, f"{prefix}/{name}").items()}
    if isinstance(record, list):
        return {
            key: leaf for index, item in enumerate(record) for key, leaf in numbers(item, f"{prefix}/{index}").items()
        }
    return {prefix: record} if prefix.endswith("/ours") else {}
