"""Executed notebooks in the form that is committed: `python -m reaffect.normalise FILE...`.

Outputs and execution counts stay, so that a reader on a code host sees every table and picture; what differs
from run to run without meaning anything (times, cell ids, progress bars on stderr) goes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbstripout import strip_output

VOLATILE_KEYS = [
    "metadata.papermill",
    "metadata.language_info",
    "metadata.widgets",
    "cell.metadata.papermill",
    "cell.metadata.execution",
]


def normalise(file: Path) -> None:
    """Rewrites `file` in place, written aside and renamed."""
    notebook = nbformat.read(file, as_version=4)
    notebook = strip_output(notebook, keep_output=True, keep_count=True, keep_id=True, extra_keys=VOLATILE_KEYS)
    for position, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{position:02d}"
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    aside = file.with_suffix(".ipynb.part")
    nbformat.write(notebook, aside)
    aside.replace(file)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        normalise(Path(argument))
