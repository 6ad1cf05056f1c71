"""The supervised systems' rows, on features that are planted: what can be learned is, shuffled labels are at chance."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from reaffect import paths, supervised
from reaffect.errors import InputError


class Planted:
    """Features that show the label, or nothing; a video's number is in its file."""

    name, width, batch_size = "planted", 4, 8
    asked: ClassVar[list[str]] = []

    def __init__(self, shows: bool):
        self.recipe = {"shows": shows}

    def prepare(self, clip: str) -> int:
        self.asked.append(clip)
        return int(Path(clip).read_text())

    def __call__(self, numbers: list[int]) -> list[np.ndarray]:
        made = []
        for number in numbers:
            vector = np.random.default_rng(number).normal(size=(1, self.width))
            vector[0, 0] = (6.0 if number % 2 else -6.0) if self.recipe["shows"] else vector[0, 0]
            made.append(vector.astype(np.float32))
        return made


@pytest.fixture
def split(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "STORE", tmp_path / "store")
    rows = []
    for number in range(64):
        (tmp_path / f"{number}.mp4").write_text(str(number))
        rows.append((str(number), f"P{number // 2}", bool(number % 2), str(tmp_path / f"{number}.mp4")))
    table = pd.DataFrame(rows, columns=["clip", "subject", "positive", "media"])
    return {"train": table.iloc[:32], "test": table.iloc[32:]}


def accuracy(rows, name):
    [found] = [row for row in rows if (row["row"], row["column"]) == (name, "Accuracy")]
    return found


def test_what_features_show_is_learned_and_what_they_hide_is_not(split):
    systems = {"TSM": Planted(True), "BEATs": Planted(False)}
    rows = supervised.rows(supervised.fit_all(systems, split, seeds=[0, 1, 2]), split["test"])
    assert accuracy(rows, "TSM")["value"] > 90
    assert len(accuracy(rows, "TSM")["seeds"]) == 3
    assert 25 < accuracy(rows, "BEATs")["value"] < 75


def test_shuffled_labels_land_at_chance(split):
    found = supervised.shuffled_accuracy({"TSM": Planted(True)}, split, seeds=range(12))
    assert found["TSM"] == pytest.approx(50, abs=15)


def test_features_are_computed_once(split):
    Planted.asked.clear()
    systems = {"TSM": Planted(True)}
    supervised.fit_all(systems, split, seeds=[0])
    supervised.shuffled_accuracy(systems, split, seeds=[0])
    assert len(Planted.asked) == 64


def test_an_unknown_system_is_named():
    with pytest.raises(InputError, match=r"C3D.*SlowFast"):
        supervised.load({"C3D": "checkpoints/c3d.pth"}, {})
    with pytest.raises(InputError, match="no file"):
        supervised.load({"TSM": "checkpoints/nowhere.pth"}, {"TSM": {"side": 64}})
