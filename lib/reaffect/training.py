"""The regression loop: AdamW on the mean squared error, the best epoch chosen on data that is not reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import trange

from reaffect.errors import InputError
from reaffect.metrics import pearson
from reaffect.models.probe import Probe, ProbeBank

SELECTION_SHARE = 0.2
"""Of train's subjects, held out to choose the epoch."""


class Part(NamedTuple):
    """Embeddings (n, width) with labels (n, k) and the n subjects they come from."""

    embeddings: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray


class Fitted(NamedTuple):
    """One member of a bank after training."""

    activation: str
    seed: int
    curves: dict[str, np.ndarray]
    """Mean Pearson by epoch on each reported part, and on `selection`."""

    predictions: dict[str, np.ndarray]
    """Of each reported part (n, k), at the epoch chosen on the selection part."""

    epoch: int
    """The chosen one, from 1."""


def selection_split(subjects: Sequence, *, seed: int, share: float = SELECTION_SHARE) -> np.ndarray:
    """Marks the clips of some subjects of train for selection: bool (n,), True where held out.

    Raises:
        InputError: fewer than two subjects.
    """
    names = np.unique(np.asarray(subjects))
    if len(names) < 2:
        raise InputError("A subject-disjoint selection part needs at least two subjects in train; there is one.")
    count = min(max(1, round(share * len(names))), len(names) - 1)
    held = np.random.default_rng([seed, 1]).permutation(names)[:count]
    return np.isin(subjects, held)


def shuffle_labels(part: Part, *, seed: int) -> Part:
    """The same part with each clip's labels given to another: nothing is left to learn."""
    order = np.random.default_rng([seed, 2]).permutation(len(part.labels))
    return part._replace(labels=part.labels[order])


def fit_probes(
    train: Part,
    reported: dict[str, Part],
    *,
    activations: Sequence[str],
    seeds: Sequence[int],
    hidden: int,
    learning_rate: float = 1e-4,
    epochs: int = 50,
    batch_size: int = 16,
) -> list[Fitted]:
    """Trains a probe for each activation and seed, all at once.

    A seed decides a probe's initial weights, its batch order, and which subjects of train choose its epoch; none
    of that depends on its neighbours. The epoch is the one with the highest mean Pearson on the selection part. The
    curves on the reported parts are kept so that the optimism of choosing on them can be shown.

    Args:
        train: what is learned from, the selection part included.
        reported: parts to predict, by name; never looked at for any choice.
        activations: keys of `models.probe.ACTIVATIONS`.
        seeds: one probe each, for every activation.
        hidden: width of the hidden layer.
        learning_rate: of AdamW (Section 5.1: 1e-4).
        epochs: at most (Section 5.1: 50).
        batch_size: clips a step, to within one or two: every seed takes the same number of steps.

    Returns:
        Activation by activation, seed by seed.

    Raises:
        InputError: a value of an embedding or a label is missing.
    """
    for name, part in {"train": train, **reported}.items():
        bad = np.isnan(part.embeddings).any(1) | np.isnan(part.labels).any(1)
        if bad.any():
            raise InputError(f"{name}: {bad.sum()} of {len(bad)} clips lack an embedding or a label; leave them out.")
    members = [(activation, seed) for activation in activations for seed in seeds]
    held = {seed: selection_split(train.subjects, seed=seed) for seed in seeds}
    width, outputs = train.embeddings.shape[1], train.labels.shape[1]
    bank = ProbeBank([Probe(width, hidden, outputs, activation=a, seed=s) for a, s in members])
    optimizer = torch.optim.AdamW(bank.parameters(), lr=learning_rate, fused=True)  # one pass over the weights
    x, y = _tensor(train.embeddings), _tensor(train.labels)
    chosen_on = _stacked([np.flatnonzero(held[seed]) for _, seed in members])
    seen = {"selection": x[chosen_on]}
    seen |= {name: _tensor(part.embeddings).expand(len(bank), -1, -1) for name, part in reported.items()}
    history: dict[str, list[np.ndarray]] = {name: [] for name in seen}
    for epoch in trange(epochs, desc="epochs", leave=False):
        for rows, weights in _batches(held, [seed for _, seed in members], epoch, batch_size):
            error = (bank(x[rows]) - y[rows]).square().mean(2)
            # Each member's own mean over its own batch, summed: gradients do not mix.
            loss = (error * weights).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            for name, embeddings in seen.items():
                history[name].append(bank(embeddings).numpy())
    labels = {name: part.labels for name, part in reported.items()}
    return [
        _choose(index, member, history, {**labels, "selection": train.labels[held[member[1]]]})
        for index, member in enumerate(members)
    ]


def summary(fitted: Sequence[Fitted], part: str) -> pd.DataFrame:
    """One row a probe: mean Pearson on a reported part by our protocol and by the paper's kind.

    `ours` takes the epoch chosen on the selection part, `devel-selected` the best epoch on the part itself, as
    the peers' released code does: the difference is that protocol's optimism.
    """
    rows = [
        {
            "activation": one.activation,
            "seed": one.seed,
            "epoch": one.epoch,
            "ours": one.curves[part][one.epoch - 1],
            "devel-selected": one.curves[part].max(),
        }
        for one in fitted
    ]
    return pd.DataFrame(rows)


def _choose(index: int, member: tuple[str, int], history: dict, labels: dict[str, np.ndarray]) -> Fitted:
    films = {name: np.stack([epoch[index][: len(labels[name])] for epoch in run]) for name, run in history.items()}
    curves = {name: _curve(labels[name], film) for name, film in films.items()}
    best = int(curves["selection"].argmax())
    predictions = {name: film[best] for name, film in films.items() if name != "selection"}
    return Fitted(*member, curves, predictions, best + 1)


def _curve(truth: np.ndarray, film: np.ndarray) -> np.ndarray:
    """Mean Pearson by epoch of predictions (epochs, n, k); all columns of all epochs at once."""
    epochs, clips, columns = film.shape
    each = pearson(np.tile(truth, epochs), film.transpose(1, 0, 2).reshape(clips, -1))
    return each.reshape(epochs, columns).mean(1)


def _batches(held: dict[int, np.ndarray], seeds: Sequence[int], epoch: int, batch_size: int):
    """Row numbers (members, batch) and weights of an epoch: each seed's own shuffle of its own training part.

    Selection parts differ in size by a few clips. Every seed takes the same number of steps all the same, which only
    train's size decides: nobody's optimiser idles while a neighbour's learns. Short batches end in rows of weight zero.
    """
    total = len(next(iter(held.values())))
    steps = max(1, round((1 - SELECTION_SHARE) * total / batch_size))
    shuffles = [np.random.default_rng([seed, 3, epoch]).permutation(np.flatnonzero(~held[seed])) for seed in held]
    place = [list(held).index(seed) for seed in seeds]
    for own in zip(*(np.array_split(rows, steps) for rows in shuffles), strict=True):
        counts = np.array([[len(rows)] for rows in own])
        rows = _stacked(own)
        weights = torch.from_numpy((np.arange(rows.shape[1]) < counts) / np.maximum(counts, 1)).float()
        yield rows[place], weights[place]


def _stacked(rows: Sequence[np.ndarray]) -> Tensor:
    """Row numbers as one table (members, longest); short ones end in zeros."""
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(each) for each in rows], batch_first=True)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
