"""What notebook 10 takes over from notebook 09: real files of both, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from torch import nn

from reaffect import paths, results
from reaffect.curation import review, review_queue
from reaffect.curation.figures import Passed
from reaffect.errors import InputError
from reaffect.models.whisper_audio import WhisperAudioConfig
from reaffect.omni import records
from reaffect.tuning import Recipe


def emer_like() -> pd.DataFrame:
    """Five clips, two of them tested."""
    labels = [["happy"], ["sad"], ["angry"], ["happy"], ["sad"]]
    made = pd.DataFrame({"clip": [*"abcde"], "labels": labels, "text": [f"true {clip}" for clip in "abcde"]})
    return made.assign(media="x.mp4", split=["train", "train", "devel", "test", "test"])


@pytest.fixture
def sets(tmp_path, monkeypatch) -> Path:
    """A folder as notebook 09 leaves it: five clips in SRE, two in HRE, of which a reviewer has kept one."""
    monkeypatch.setattr(paths, "DATA", tmp_path)
    names = {"sre": [*"defgh"], "hre": [*"xy"]}
    for name, clips in names.items():
        made = pd.DataFrame({"corpus": "MER24", "clip": [f"MER24/{clip}" for clip in clips], "intensity": "low"})
        made["media"] = [str(tmp_path / f"{clip}.mp4") for clip in clips]
        made = made.assign(labels=[["sad", "calm"]] * len(made), coarse="sad", score=7.0)
        made["reason"] = [f"because {clip}" for clip in clips]
        for file in made.media:
            Path(file).touch()
        review_queue.write_queue(made, tmp_path / "sets" / f"{name}.jsonl", tmp_path)
    review.append(tmp_path / "sets" / "verdicts.jsonl", review.verdict(made.iloc[0], "somebody", "accept"))
    return tmp_path / "sets"


def test_annotated_clips_are_learned_from_unless_they_are_tested(sets):
    found = records.with_annotated(emer_like(), sets, held_out=1)
    assert found["clip"].tolist() == [*"abcde", *(f"MER24/{clip}" for clip in "fghx")]  # d and e are tested
    assert found.split.value_counts().to_dict() == {"train": 5, "devel": 2, "test": 2}
    last = found.iloc[-1]
    assert (last.text, last.labels, last.media) == ("because x", ["sad", "calm"], str(paths.DATA / "x.mp4"))


def test_without_annotated_clips_the_table_is_as_it_was():
    pd.testing.assert_frame_equal(records.with_annotated(emer_like(), None, held_out=1), emer_like())


def test_too_few_annotated_clips_and_a_missing_file_are_refused(sets):
    with pytest.raises(InputError, match="4 clips, of which 4 are to be held out"):
        records.with_annotated(emer_like(), sets, held_out=4)
    (sets / "hre.jsonl").unlink()
    with pytest.raises(InputError, match="no such file"):
        records.with_annotated(emer_like(), sets, held_out=1)


def test_figures_1_and_2_come_from_what_notebook_09_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REPORTS", tmp_path)
    with pytest.raises(InputError, match="Run notebook 09"):
        records.curated("MAFW", profile="tiny")
    passed = Passed(9, {"scene": 9}, 8, 20, 2, 9, 9, 9, 5, {"below": 4}, 3, False)
    examples = pd.DataFrame(
        {"corpus": ["DFEW", "MAFW", "MAFW"], "clip": ["DFEW/1", "MAFW/2", "MAFW/3"], "labels": [["sad"]] * 3}
    )
    made = {"curation": pd.DataFrame([passed._asdict()]), "examples": examples}
    results.record("09", made, profile="tiny", card={})
    counts, example = records.curated("MAFW", profile="tiny")
    assert counts == passed and (example["clip"], example["labels"]) == ("2", ["sad"])
    with pytest.raises(InputError, match="no example of CAER"):
        records.curated("CAER", profile="tiny")


def test_settings_of_the_paper_match_what_is_published():
    projector = nn.Sequential(nn.Linear(2, 2), nn.GELU(), nn.Linear(2, 2))
    ears = SimpleNamespace(config=WhisperAudioConfig())
    network = SimpleNamespace(ears=ears, audio_projector=projector, face_projector=projector)
    recipes = {"1": Recipe(0, 1, 8, 1e-3, accumulate=32), "2": Recipe(0, 1, 8, 1e-3, accumulate=32)}
    recipes["3"] = Recipe(0, 3, 8, 1e-5, accumulate=16)
    lessons = {"1": 1_500_000, "2": 130_000, "3": 100_000}
    rows = records.settings(network, recipes, lessons, frames=8, datasets=7)
    table = results.compare("omni_emotion2025", "Section 4", rows, profile="paper")
    assert set(table.verdict) == {"match"}
    rows = records.settings(network, recipes | {"3": recipes["1"]}, lessons, frames=4, datasets=7)
    table = results.compare("omni_emotion2025", "Section 4", rows, profile="paper")
    wrong = table[(table.row == "phase 3") & (table.verdict != "match")]
    assert wrong.column.tolist() == ["learning rate", "batch size", "epochs", "frames"]
