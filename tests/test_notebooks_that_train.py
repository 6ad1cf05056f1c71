"""The notebooks that train language models, run with few clips and one seed: all of each takes `make reproduce`.

Their numbers are therefore not compared with the committed ones, only their exhibits, row by row.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from notebook_files import code_cells, read
from reaffect import paths
from test_notebooks import THAT_TRAIN, checkout, numbers

__all__ = ["checkout"]

LESS = {
    "08": {"seeds": [0], "at_most": {"train": 4, "devel": 2, "test": 12}},
    "10": {
        "seeds": [0],
        "folds": [1],
        "at_most": {"train": 4, "devel": 2, "test": 8},
        "lessons": {"sounds": 4, "clips": 4},
        "held_out": 2,
        "max_new_tokens": {"account": 12, "class": 4},
    },
}


@pytest.mark.parametrize("path", THAT_TRAIN, ids=lambda path: path.stem)
def test_notebook_executes_and_records_the_exhibits_that_are_committed(path, checkout, tmp_path):
    number, output = path.stem[:2], tmp_path / path.name
    command = [sys.executable, "-m", "reaffect.runner", number, "--output", output]
    for name, value in LESS[number].items():
        command += ["--parameter", name, json.dumps(value)]
    environment = os.environ | {"PYTHONPATH": str(checkout / "lib"), "REAFFECT_DATA": str(paths.DATA)}
    run = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-8000:]
    assert all(cell.execution_count for cell in code_cells(read(output)))
    committed, fresh = (recorded(root / "tiny" / f"{number}.json") for root in (paths.REPORTS, checkout / "reports"))
    assert fresh == committed
    assert fresh


def recorded(file) -> set[str]:
    """Where numbers stand in a record."""
    return numbers(json.loads(file.read_text())["exhibits"]).keys()
