"""The notebooks' house rules (design.md, 'A notebook'), and the rules of the tree around them."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
import tomllib

import pytest
import yaml

from notebook_files import CHECKED, NOTEBOOKS, code_cells, has_tag, prose_cells, read
from reaffect import paths, runner

SECTIONS = ["Claim", "Parameters", "Run card", "Data", "Method", "Run", "Sanity", "Result", "Deviations", "References"]
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == [
        "01_data_analysis",
        "02_querying",
        "03_probing",
        "04_activation_ablation",
        "05_viper_fusion",
        "06_deidentification",
        "07_eald_zero_shot",
        "08_microemo_finetuning",
        "09_omni_emotion_curation",
        "10_omni_emotion_finetuning",
        "11_qualitative_confusion",
        "12_scoreboard",
    ]


@each_notebook
def test_cells_are_few_and_short(path):
    notebook = read(path)
    lines = [len(cell.source.splitlines()) for cell in code_cells(notebook)]
    assert 8 <= len(lines) <= 25
    assert statistics.median(lines) <= 8
    assert max(lines) <= 30
    assert len(prose_cells(notebook)) >= 0.6 * len(lines)


@each_notebook
def test_sections_stand_in_the_templates_order(path):
    titles = [
        line.removeprefix("## ").split(":")[0].strip()
        for cell in prose_cells(read(path))
        for line in cell.source.splitlines()
        if line.startswith("## ")
    ]
    assert [title for title in titles if title in SECTIONS] == [title for title in SECTIONS if title in titles]
    missing = {"Claim", "Parameters", "Run card", "Result", "Deviations", "References"} - set(titles)
    assert not missing, f"{path.name} lacks {missing}"


@each_notebook
def test_parameters_are_typed_literals_with_a_meaning(path):
    [cell] = [cell for cell in code_cells(read(path)) if has_tag(cell, "parameters")]
    for line in cell.source.splitlines():
        assert re.fullmatch(r"\w+: [\w\[\], ]+ = .+  # \S.+", line), line
        node = ast.parse(line).body[0]
        value = ast.literal_eval(node.value)
        assert isinstance(value, runner.TYPES[ast.unparse(node.annotation).split("[")[0]])


@each_notebook
def test_notebooks_narrate_and_the_library_computes(path):
    for cell in code_cells(read(path)):
        tree = ast.parse("\n".join(line for line in cell.source.splitlines() if not line.startswith("%")))
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.Lambda)]
        assert not re.search(r"['\"](/|\.\./|~/)", cell.source), f"a path of its own: {cell.source}"


@each_notebook
def test_prose_states_no_result(path):
    """Fixed text beside numbers that depend on the profile would be wrong in one of them."""
    after = False
    for cell in read(path).cells:
        after = after or (cell.cell_type == "markdown" and cell.source.startswith("## Result"))
        if after and cell.cell_type == "markdown":
            assert not re.search(r"\b0\.\d{3,}", cell.source), cell.source


@each_notebook
def test_outputs_are_committed_clean_and_in_order(path):
    cells = code_cells(read(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error", output
            assert output.get("name") != "stderr", output.text
            assert str(paths.ROOT) not in str(output), "a path of this machine in an output"


@each_notebook
def test_checked_cells_have_something_to_compare(path):
    checked = [cell for cell in code_cells(read(path)) if has_tag(cell, CHECKED)]
    assert len(checked) >= 2
    assert all(cell.outputs and cell.execution_count for cell in checked)


def test_committed_form_is_normalised(tmp_path):
    copies = [tmp_path / path.name for path in NOTEBOOKS]
    for path, copy in zip(NOTEBOOKS, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    subprocess.run([sys.executable, "-m", "reaffect.normalise", *copies], check=True)
    changed = [path.name for path, copy in zip(NOTEBOOKS, copies, strict=True) if copy.read_text() != path.read_text()]
    assert not changed, "run `make notebooks` and commit what it writes"


def test_every_params_file_fits_its_notebook():
    others = {"slurm", "rehearsal"}  # they say nothing to notebooks
    for folder in [path for path in paths.PARAMS.iterdir() if path.is_dir() and path.name not in others]:
        known = {name: kind for path in NOTEBOOKS for name, kind in runner.schema(path).items()}
        for file in sorted(folder.glob("*.yaml")):
            expected = known if file.stem == "common" else runner.schema(runner.notebook_path(file.stem[:2]))
            runner.check_params(runner.read_params(file), expected, str(file))


def test_conda_shim_adds_no_python_package():
    """environment.yml brings the interpreter and tools; every Python package comes from the lock."""
    shim = yaml.safe_load((paths.ROOT / "environment.yml").read_text())
    assert all(isinstance(item, str) for item in shim["dependencies"]), "a pip section would be a second list"
    names = {re.split(r"[=<> ]", item)[0] for item in shim["dependencies"]}
    assert names <= {"python", "uv", "make"}
    wanted = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert "python=" + wanted.removeprefix("==").removesuffix(".*") in shim["dependencies"]


def test_lock_is_hashes_without_addresses():
    text = (paths.ROOT / "requirements.lock").read_text()
    assert "://" not in text
    pins = re.findall(r"^[a-z0-9].*==\S+", text, re.M)
    assert len(pins) > 100
    assert text.count("--hash=sha256:") >= len(pins)


def test_lock_holds_every_direct_dependency():
    text = (paths.ROOT / "requirements.lock").read_text()
    direct = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for item in direct:
        name = re.split(r"[=<>\[ ]", item)[0].lower().replace("_", "-")
        assert re.search(rf"^{re.escape(name)}==", text, re.M), f"{name} is not in the lock: run `make lock`"


def test_modules_stay_under_400_lines():
    for path in (paths.ROOT / "lib").rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, f"{path}: look for the second idea in it"


LAYERS = [
    {"errors", "paths"},
    {"prompts", "runs", "stats", "fingerprint", "hardware", "memory", "chat", "metrics", "models"},
    {"corpora", "media", "store", "extremes", "face_regions"},
    {"describing", "deid", "faces", "speech", "synthetic", "training", "tuning", "linear"},
    {"features", "mllm", "served", "audiovisual", "judge", "audit", "curation", "instructions"},
    {
        "results",
        "plots",
        "gpu_speed",
        "diagrams",
        "scoreboard",
        "study",
        "fusion",
        "zero_shot",
        "supervised",
        "finetuning",
    },
    {"openset", "recognition", "omni"},
    {"runner", "normalise", "preflight", "rehearsal"},
]


def test_arrows_point_down_only():
    """design.md: nothing imports upward; models and metrics import nothing of ours but each other's parts."""
    level = {name: depth for depth, names in enumerate(LAYERS) for name in names}
    package = paths.ROOT / "lib" / "reaffect"
    for path in package.rglob("*.py"):
        own = path.relative_to(package).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for other in imported(path):
            assert level[other] <= level[own], f"{path.relative_to(package)} imports upward: {other}"
            if own in {"models", "metrics"}:
                assert other in {"models", "metrics", "errors"}, f"{own} must be readable alone, imports {other}"


def imported(path) -> set[str]:
    """The modules of ours (first component under reaffect) that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "reaffect":
            parts = node.module.split(".")[1:]
            found |= {parts[0]} if parts else {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("reaffect.")}
    return found
