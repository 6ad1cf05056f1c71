"""params/models.csv and params/paper name the same checkpoints."""

from __future__ import annotations

import pytest

from reaffect import paths
from reaffect.errors import InputError
from reaffect.preflight import models, needs

NUMBERS = [file.stem[:2] for file in sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))]


def test_each_checkpoint_of_the_paper_profile_has_a_row_and_each_row_is_used():
    named = {need.name for number in NUMBERS for need in needs.of_notebook(number) if need.kind == "checkpoint"}
    packaged = {name for name in named if name.startswith("package:")}  # installed from the lock
    assert set(models.read_models().index) == named - packaged
    assert not [name for name in named if "-tiny" in name], "a small checkpoint in the paper profile"


def test_what_the_table_tells_is_in_form():
    table = models.read_models()
    assert not table.source.str.contains("://").any(), "the repository names no host"
    assert (table.index.str.startswith("checkpoints/") <= (table.source != "")).all(), (
        "files need a place to fetch from"
    )
    assert table.revision.str.fullmatch("[0-9a-f]{40}|").all()


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("a/b,,,,\na/b,,,,\n", "'a/b' stands there twice"),
        ("a/b,,,13 GB,\n", "size_gb of 'a/b' is '13 GB'"),
        ("a/b,,,-1,\n", "size_gb of 'a/b' is '-1'"),
    ],
)
def test_a_broken_table_is_named(tmp_path, rows, says):
    file = tmp_path / "models.csv"
    file.write_text("checkpoint,revision,licence,size_gb,source\n" + rows)
    with pytest.raises(InputError, match=says):
        models.read_models(file)


def test_a_table_without_a_column_or_none_is_named(tmp_path):
    file = tmp_path / "models.csv"
    with pytest.raises(InputError, match=r"models\.csv: no such file"):
        models.read_models(file)
    file.write_text("checkpoint,licence\n")
    with pytest.raises(InputError, match="column 'revision' is missing"):
        models.read_models(file)
