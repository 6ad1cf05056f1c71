"""The runner: wrong parameters stop before anything runs, and a user's mistake is one line."""

from __future__ import annotations

import nbformat
import pytest
from nbformat import v4

from reaffect import paths, runner
from reaffect.errors import InputError

PARAMETERS = "rate: float = 1.0e-4  # learning rate\nseeds: list[int] = [0]  # seeds\nname: str = 'a'  # a name"


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A tree with one notebook and one profile."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params")
    monkeypatch.setattr(paths, "REPORTS", tmp_path / "reports")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params" / "paper").mkdir(parents=True)
    write_notebook(tmp_path, "print(rate, seeds, name)")
    return tmp_path


def write_notebook(root, source: str) -> None:
    cell = v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    nbformat.write(v4.new_notebook(cells=[cell, v4.new_code_cell(source)]), root / "notebooks" / "07_example.ipynb")


def params(root, name: str, text: str) -> None:
    (root / "params" / "paper" / name).write_text(text)


def test_schema_is_the_parameters_cell(house):
    assert runner.schema(runner.notebook_path("07")) == {"rate": float, "seeds": list, "name": str}


def test_tiny_profile_is_the_defaults(house):
    assert runner.profile_params("07", "tiny") == {}


def test_files_merge_in_order_and_common_keys_of_others_are_left_out(house):
    params(house, "common.yaml", "name: common\nelsewhere: 1\n")
    params(house, "07.yaml", "name: own\nrate: 1\n")
    assert runner.profile_params("07", "paper") == {"name": "own", "rate": 1}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ratio: 1.0", "unknown parameter 'ratio'"),
        ("rate: 1e-4", "write 1.0e-4"),
        ("seeds: 3", "must be a list"),
        ("name: 3", "must be a str"),
        ("- a\n- b", "expected lines 'name: value'"),
        ("name: [", "no valid YAML"),
    ],
)
def test_wrong_parameters_name_file_fault_and_mend(house, text, says):
    params(house, "07.yaml", text)
    with pytest.raises(InputError, match=says) as caught:
        runner.profile_params("07", "paper")
    assert "07.yaml" in str(caught.value)


def test_unknown_notebook_and_profile(house):
    with pytest.raises(InputError, match="no notebook '99'"):
        runner.notebook_path("99")
    with pytest.raises(InputError, match="no profile 'papre'"):
        runner.profile_params("07", "papre")


def test_command_line_executes_with_overrides(house):
    output = house / "out" / "07.ipynb"
    assert runner.main(["07", "--output", str(output), "-p", "rate", "0.5"]) == 0
    assert "0.5 [0] a" in str(nbformat.read(output, as_version=4).cells[-1].outputs)


def test_command_line_refuses_an_unknown_override(house, capsys):
    assert runner.main(["07", "-p", "ratee", "0.5"]) == 2
    assert "unknown parameter 'ratee'" in capsys.readouterr().err


def test_a_users_mistake_in_a_notebook_is_one_line(house, capsys):
    write_notebook(
        house, "from reaffect.errors import InputError\nraise InputError('clip.mp4: cut off. Fetch it again.')"
    )
    assert runner.main(["07"]) == 2
    error = capsys.readouterr().err
    assert "Notebook 07 stopped: clip.mp4: cut off. Fetch it again." in error
    assert "Traceback" not in error


def test_a_fault_of_ours_keeps_its_traceback(house):
    write_notebook(house, "1 / 0")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        runner.main(["07"])


def test_input_errors_show_no_traceback_in_a_notebook():
    assert InputError("labels.csv: no such file.")._render_traceback_() == ["InputError: labels.csv: no such file."]
