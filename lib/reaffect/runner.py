"""Runs one notebook with a profile's parameters: `python -m reaffect.runner 02 --profile paper`.

papermill executes; this module adds what papermill leaves out: an unknown parameter or one of a wrong type
is an error before anything runs (papermill only warns), and a user's mistake ends in one line instead of a
traceback of the traceback.
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from papermill.exceptions import PapermillExecutionError

from reaffect import paths
from reaffect.errors import InputError

TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict, "tuple": list}


def notebook_path(number: str) -> Path:
    """The notebook whose file name begins with `number`, such as '02'."""
    found = sorted(paths.NOTEBOOKS.glob(f"{number}_*.ipynb"))
    if len(found) != 1:
        known = ", ".join(path.stem[:2] for path in sorted(paths.NOTEBOOKS.glob("*.ipynb")))
        raise InputError(f"There is no notebook {number!r} in {paths.NOTEBOOKS}; there are {known}.")
    return found[0]


def numbers() -> list[str]:
    """Of all notebooks, in their order."""
    return [path.stem[:2] for path in sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))]


def schema(notebook: Path) -> dict[str, type]:
    """Name -> type of each parameter, read from the annotations of the cell tagged `parameters`."""
    return {
        ast.unparse(line.target): TYPES[ast.unparse(line.annotation).split("[")[0]] for line in _parameters(notebook)
    }


def defaults(notebook: Path) -> dict[str, Any]:
    """Name -> value of each parameter, as the tiny profile has it."""
    return {ast.unparse(line.target): ast.literal_eval(line.value) for line in _parameters(notebook)}


def _parameters(notebook: Path) -> list[ast.AnnAssign]:
    """The cell is the schema: each of its lines reads `name: type = literal  # meaning`."""
    cells = nbformat.read(notebook, as_version=4).cells
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise InputError(f"{notebook.name} has {len(tagged)} cells tagged 'parameters'; it needs exactly one.")
    return [node for node in ast.parse(tagged[0].source).body if isinstance(node, ast.AnnAssign)]


def read_params(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file; InputError if it is no YAML or no mapping."""
    try:
        values = yaml.safe_load(file.read_text()) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{file}: this is no valid YAML ({str(error).splitlines()[0]}). Mend the file.") from error
    if not isinstance(values, dict):
        raise InputError(f"{file}: expected lines 'name: value', found a {type(values).__name__}.")
    return values


def check_params(values: dict[str, Any], expected: dict[str, type], source: str) -> None:
    """Raises InputError if a parameter is unknown or has a wrong type (an int may stand for a float)."""
    for name, value in values.items():
        if name not in expected:
            raise InputError(f"{source}: unknown parameter {name!r}; the notebook knows {', '.join(expected)}.")
        wanted = expected[name]
        right = type(value) is wanted or (wanted is float and type(value) is int)
        if not right:
            hint = " YAML reads 1e-4 as text: write 1.0e-4." if wanted is float and isinstance(value, str) else ""
            raise InputError(
                f"{source}: parameter {name!r} is {value!r}, a {type(value).__name__}; "
                f"it must be a {wanted.__name__}.{hint}"
            )


def profile_params(number: str, profile: str) -> dict[str, Any]:
    """The parameters of one notebook in a profile: common.yaml (the keys that it knows), then its own file.

    The tiny profile has no files: it is the notebooks' own defaults.
    """
    expected = schema(notebook_path(number))
    folder = paths.PARAMS / profile
    if profile != "tiny" and not folder.is_dir():
        raise InputError(f"There is no profile {profile!r}: {folder} does not exist.")
    merged: dict[str, Any] = {}
    for file in [folder / "common.yaml", *sorted(folder.glob(f"{number}*.yaml"))]:
        if not file.exists():
            continue
        values = read_params(file)
        if file.stem == "common":
            values = {name: value for name, value in values.items() if name in expected}
        check_params(values, expected, str(file.relative_to(paths.ROOT)))
        merged |= values
    return merged


def run(number: str, profile: str, output: Path, overrides: dict[str, Any] | None = None) -> None:
    """Executes a notebook and writes the executed copy to `output`.

    Args:
        number: the notebook's two digits.
        profile: `tiny`, or a folder of `params/`.
        output: where the executed notebook goes; its folder is made.
        overrides: parameters that win over the files.

    Raises:
        InputError: a wrong parameter, or the notebook stopped at a user's mistake.
        PapermillExecutionError: the notebook stopped at a fault of ours.
    """
    notebook = notebook_path(number)
    check_params(overrides or {}, schema(notebook), "command line")
    parameters = profile_params(number, profile) | (overrides or {})
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            notebook,
            output,
            parameters,
            cwd=notebook.parent,
            kernel_name="python3",
            language="python",
            stderr_file=sys.stderr,  # the cells' progress bars, live
        )
    except PapermillExecutionError as error:
        if error.ename == "InputError":
            raise InputError(f"Notebook {number} stopped: {error.evalue}") from error
        raise


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status: 0, or 2 after a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m reaffect.runner", description=__doc__.splitlines()[0])
    parser.add_argument("number", help="the notebook's two digits, such as 02")
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--output", type=Path, help="the executed notebook (default: reports/PROFILE/notebooks)")
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    options = parser.parse_args(arguments)
    output = options.output or paths.REPORTS / options.profile / "notebooks" / f"{options.number}.ipynb"
    overrides = {name: yaml.safe_load(value) for name, value in options.parameter}
    try:
        run(options.number, options.profile, output, overrides)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
