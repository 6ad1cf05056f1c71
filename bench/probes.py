"""Seven activations times all seeds: trained at once as one bank, against one after another.

Run: python -m bench.probes
"""

from __future__ import annotations

import numpy as np
import torch

from bench.timing import median_seconds_by_turns, report
from reaffect.models.probe import ACTIVATIONS
from reaffect.training import Fitted, Part, fit_probes

SEEDS = [0, 1, 2]
OPTIONS = {"hidden": 256, "epochs": 50, "batch_size": 16}


def main() -> None:
    rng = np.random.default_rng(0)
    # The embedded corpus's sizes: 240 train and 96 devel clips, three a subject, 128 numbers each.
    train, devel = (Part(rng.normal(size=(n, 128)), rng.random((n, 7)), np.arange(n) // 3) for n in (240, 96))
    print(f"{len(ACTIVATIONS)} activations x {len(SEEDS)} seeds, 50 epochs, {torch.get_num_threads()} threads")

    def at_once() -> list[Fitted]:
        return fit_probes(train, {"devel": devel}, activations=list(ACTIVATIONS), seeds=SEEDS, **OPTIONS)

    def one_after_another() -> list[Fitted]:
        runs = [(activation, seed) for activation in ACTIVATIONS for seed in SEEDS]
        return [fit_probes(train, {"devel": devel}, activations=[a], seeds=[s], **OPTIONS)[0] for a, s in runs]

    for one, other in zip(at_once(), one_after_another(), strict=True):
        if np.abs(one.predictions["devel"] - other.predictions["devel"]).max() > 1e-4:
            raise SystemExit(f"{one.name}, seed {one.seed}: the two ways differ by more than 1e-4")
    contenders = {"at once": at_once, "one after another": one_after_another}
    report("21 probes", median_seconds_by_turns(contenders, repeats=3), reference="at once")


if __name__ == "__main__":
    main()
