"""Regression loops: AdamW on the mean squared error, the best epoch chosen on data that is not reported.

`fit_probes` trains many small probes at once on one vector a clip; `fit_sequences` any network on frames of a clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import trange

from reaffect.errors import InputError
from reaffect.hardware import best_device
from reaffect.metrics import pearson
from reaffect.models.probe import Probe, ProbeBank

SELECTION = "selection"
"""Name of the part of train that is not learned from."""

SELECTION_SHARE = 0.2
"""Of train's subjects, held out to choose the epoch."""


class Part(NamedTuple):
    """What is known of n clips: features, labels (n, k), and the subjects that they come from."""

    embeddings: np.ndarray | Sequence[np.ndarray]
    """(n, width) for probes, (n, frames, width) for networks on frames, or n arrays (frames, width) of any length."""

    labels: np.ndarray
    subjects: np.ndarray


class Fitted(NamedTuple):
    """One network after training."""

    name: str
    """The activation of a probe, or what the caller named the network."""

    seed: int
    curves: dict[str, np.ndarray]
    """Mean Pearson by epoch on each reported part, and on `selection`."""

    predictions: dict[str, np.ndarray]
    """Of each reported part (n, k), at the chosen epoch."""

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
    select_on: str = SELECTION,
) -> list[Fitted]:
    """Trains a probe for each activation and seed, all at once.

    A seed decides a probe's initial weights, its batch order, and which subjects of train choose its epoch; none
    of that depends on its neighbours. The epoch is the one with the highest mean Pearson on `select_on`. The curves on
    the reported parts are kept so that the optimism of choosing on them can be shown.

    Args:
        train: what is learned from, the selection part included.
        reported: parts to predict, by name; never looked at for any choice.
        activations: keys of `models.probe.ACTIVATIONS`.
        seeds: one probe each, for every activation.
        hidden: width of the hidden layer.
        learning_rate: of AdamW (Section 5.1: 1e-4).
        epochs: at most (Section 5.1: 50).
        batch_size: clips a step, to within one or two: every seed takes the same number of steps.
        select_on: what chooses the epoch: a part of train that is not learned from, or a reported part, as the
            peers' code does, whose score is then too good.

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
    seen = {SELECTION: x[chosen_on]}
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
    fitted = []
    for index, (activation, seed) in enumerate(members):
        own = {**labels, SELECTION: train.labels[held[seed]]}
        films = {name: np.stack([epoch[index][: len(own[name])] for epoch in run]) for name, run in history.items()}
        fitted.append(_choose(activation, seed, films, own, select_on))
    return fitted


def fit_sequences(
    make: Callable[..., nn.Module],
    train: Part,
    reported: dict[str, Part],
    *,
    name: str,
    seeds: Sequence[int],
    learning_rate: float,
    epochs: int,
    batch_size: int,
    weight_decay: float = 0.01,
    halve_every: int | None = None,
    select_on: str = SELECTION,
) -> list[Fitted]:
    """Trains a network on frames, once for each seed.

    On a GPU the forward pass runs in bfloat16; the loss is always float32.

    Args:
        make: called with `seed`, gives a network that takes features (batch, frames, width) and a boolean mask (batch,
            frames).
        train: what is learned from, the selection part included.
        reported: parts to predict, by name; never looked at for any choice, unless `select_on` says so.
        name: of the network, for readers.
        seeds: each decides initial weights, dropout, batch order and selection part.
        learning_rate: of AdamW.
        epochs: at most.
        batch_size: clips a step.
        weight_decay: of AdamW; 0 makes it Adam.
        halve_every: epochs after which the learning rate is halved, again and again.
        select_on: as for `fit_probes`.

    Returns:
        Seed by seed.

    Raises:
        InputError: a value of a feature or a label is missing.
    """
    for part, content in {"train": train, **reported}.items():
        bad = sum(bool(np.isnan(clip).any()) for clip in content.embeddings) + int(
            np.isnan(content.labels).any(1).sum()
        )
        if bad:
            raise InputError(f"{part}: {bad} of {len(content.labels)} clips lack a feature or a label; leave them out.")
    rate = {"learning_rate": learning_rate, "weight_decay": weight_decay, "halve_every": halve_every}
    fitted = []
    for seed in seeds:
        held = selection_split(train.subjects, seed=seed)
        parts = {**reported, SELECTION: _rows(train, np.flatnonzero(held))}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            films = _learn(
                make(seed=seed), _rows(train, np.flatnonzero(~held)), parts, seed, epochs, batch_size, **rate
            )
        labels = {part: content.labels for part, content in parts.items()}
        fitted.append(_choose(name, seed, films, labels, select_on))
    return fitted


@contextmanager
def in_processes(workers: int) -> Iterator[Callable[..., list[Fitted]]]:
    """`fit_sequences` in processes of its own, for small networks, one of which leaves a GPU idle between its kernels.

    What is yielded takes the arguments of `fit_sequences` and waits for what it gives: call it from several threads. On
    the processor, a worker has an even share of this process's threads; the same number gives the same bits anywhere.
    Each worker holds the data of one call and its network; on a GPU, all of them on the first.

    Args:
        workers: processes; none is started before the first call.

    Raises:
        InputError: by the call: what `fit_sequences` raises, too little memory, or a process that died.
    """
    settings = max(1, torch.get_num_threads() // workers), torch.are_deterministic_algorithms_enabled()
    spawned = get_context("spawn")  # forking a process that runs torch's threads, or has a GPU, can hang
    with ProcessPoolExecutor(workers, mp_context=spawned, initializer=_settle, initargs=settings) as pool:

        def fit(*arguments: object, **options: object) -> list[Fitted]:
            try:
                return pool.submit(fit_sequences, *arguments, **options).result()
            except (BrokenProcessPool, torch.OutOfMemoryError) as error:
                raise InputError(
                    f"A fit did not end with {workers} workers ({error}), most likely for want of memory; take fewer. "
                    "Finished fits are kept."
                ) from error

        yield fit


def _settle(threads: int, deterministic: bool) -> None:
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic, warn_only=True)


def summary(fitted: Sequence[Fitted], part: str) -> pd.DataFrame:
    """One row a probe: mean Pearson on a reported part by our protocol and by the paper's kind.

    `ours` takes the epoch chosen on the selection part, `devel-selected` the best epoch on the part itself, as
    the peers' released code does: the difference is that protocol's optimism.
    """
    rows = [
        {
            "name": one.name,
            "seed": one.seed,
            "epoch": one.epoch,
            "ours": one.curves[part][one.epoch - 1],
            "devel-selected": one.curves[part].max(),
        }
        for one in fitted
    ]
    return pd.DataFrame(rows)


def _choose(
    name: str, seed: int, films: dict[str, np.ndarray], labels: dict[str, np.ndarray], select_on: str
) -> Fitted:
    """Predictions (epochs, n, k) of every part, and its labels -> the network at its best epoch on `select_on`."""
    if select_on not in films:
        raise InputError(f"select_on is {select_on!r}; it must be one of {', '.join(films)}.")
    curves = {part: _curve(labels[part], film) for part, film in films.items()}
    best = int(curves[select_on].argmax())
    predictions = {part: film[best] for part, film in films.items() if part != SELECTION}
    return Fitted(name, seed, curves, predictions, best + 1)


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
    return nn.utils.rnn.pad_sequence([torch.from_numpy(each) for each in rows], batch_first=True)


def _rows(part: Part, rows: np.ndarray) -> Part:
    return Part([part.embeddings[row] for row in rows], part.labels[rows], np.asarray(part.subjects)[rows])


def _learn(
    network: nn.Module,
    train: Part,
    parts: dict[str, Part],
    seed: int,
    epochs: int,
    batch_size: int,
    *,
    learning_rate: float,
    weight_decay: float,
    halve_every: int | None,
) -> dict[str, np.ndarray]:
    """Trains in place; returns predictions (epochs, n, k) of every part."""
    device = best_device()
    network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, halve_every or epochs, gamma=0.5)
    labels = _tensor(train.labels).to(device)
    history: dict[str, list[np.ndarray]] = {name: [] for name in parts}
    for epoch in range(epochs):
        order = np.random.default_rng([seed, 3, epoch]).permutation(len(train.labels))
        network.train()
        for rows in np.split(order, range(batch_size, len(order), batch_size)):
            predicted = _forward(network, [train.embeddings[row] for row in rows], device)
            loss = (predicted - labels[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        network.eval()
        with torch.inference_mode():
            for name, part in parts.items():
                starts = range(0, len(part.labels), batch_size)
                clips = (list(part.embeddings[start : start + batch_size]) for start in starts)
                history[name].append(torch.cat([_forward(network, batch, device) for batch in clips]).cpu().numpy())
    return {name: np.stack(run) for name, run in history.items()}


def _forward(network: nn.Module, clips: list[np.ndarray], device: str) -> Tensor:
    """Clips of any lengths -> float32 predictions; short ones are padded and masked."""
    features = nn.utils.rnn.pad_sequence([_tensor(clip) for clip in clips], batch_first=True).to(device)
    lengths = torch.tensor([len(clip) for clip in clips], device=device)
    mask = torch.arange(features.shape[1], device=device) < lengths[:, None]
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        return network(features, None if mask.all() else mask).float()


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
