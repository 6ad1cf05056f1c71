"""Seeds repeat, and the run card tells what ran."""

from __future__ import annotations

import random

import numpy as np
import torch

from reaffect import runs


def draws() -> tuple:
    return random.random(), np.random.rand(), torch.rand(3).tolist()


def test_same_seed_same_draws_and_another_seed_others():
    runs.seed_everything(3)
    first = draws()
    runs.seed_everything(3)
    assert draws() == first
    runs.seed_everything(4)
    assert draws() != first


def test_fingerprint_sees_edits_of_tables_and_sizes_of_media(tmp_path):
    (tmp_path / "labels.csv").write_text("a,0.1")
    (tmp_path / "clip.mp4").write_bytes(b"1234")
    first = runs.data_fingerprint(tmp_path)
    assert runs.data_fingerprint(tmp_path) == first
    (tmp_path / "labels.csv").write_text("a,0.2")
    second = runs.data_fingerprint(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"12345")
    assert len({first, second, runs.data_fingerprint(tmp_path)}) == 3


def test_card_tells_versions_hardware_data_and_cost(tmp_path):
    (tmp_path / "labels.csv").write_text("a,0.1")
    run = runs.Run("02", profile="tiny", seeds=range(3), data=[tmp_path])
    held = np.ones(30_000_000)  # 240 MB
    card = run.card()
    assert card["seeds"] == [0, 1, 2]
    assert card["data"] == {tmp_path.name: runs.data_fingerprint(tmp_path)}
    assert card["packages"]["torch"] == torch.__version__.split("+")[0]
    assert card["peak_memory_gb"] > held.nbytes / 1e9
    assert card["seconds"] >= 0
    assert len(card["commit"].rstrip("+")) == 12 or card["commit"] == "unknown"


def test_card_outside_of_git(monkeypatch, tmp_path):
    monkeypatch.setattr(runs.paths, "ROOT", tmp_path)
    assert runs.Run("02", profile="tiny", seeds=[0]).card()["commit"] == "unknown"


def test_table_is_for_readers():
    table = runs.Run("02", profile="tiny", seeds=[1, 2]).table()
    assert table.loc["seeds", "value"] == "[1, 2]"
    assert "torch" in table.loc["packages", "value"]
