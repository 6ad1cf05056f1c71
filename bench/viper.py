"""A training step of ViPER at paper width: fused AdamW, and bf16 where there is a GPU, against the plain float32 loop.

Run: python -m bench.viper
"""

from __future__ import annotations

import torch
from torch.nn.functional import mse_loss

from bench.timing import median_seconds_by_turns, report
from reaffect.hardware import best_device
from reaffect.models.viper import Viper

WIDTHS = {"visual": 768, "audio": 512, "text": 768, "fau": 32}
BATCH, FRAMES = 16, 32
LEARNING_RATE = 1e-5
DEVICE = best_device()
# A step costs the same in each layer; all 26 would take minutes and 15 GB on two cores.
LAYERS = 26 if DEVICE == "cuda" else 4


class PlainLoop:
    """What Hugging Face's examples do."""

    def __init__(self) -> None:
        self.network = Viper(WIDTHS, layers=LAYERS).to(DEVICE)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=LEARNING_RATE)

    def step(self, features: torch.Tensor, truth: torch.Tensor) -> float:
        loss = mse_loss(self.network.perceiver(features).logits, truth)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


class OurLoop:
    """One kernel updates all weights; on a GPU, matrix products in bf16."""

    def __init__(self) -> None:
        self.network = Viper(WIDTHS, layers=LAYERS).to(DEVICE)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=LEARNING_RATE, fused=True)

    def step(self, features: torch.Tensor, truth: torch.Tensor, bf16: bool = DEVICE == "cuda") -> float:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=bf16):
            predicted = self.network(features)
        loss = mse_loss(predicted.float(), truth)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(BATCH, FRAMES, sum(WIDTHS.values()), generator=generator).to(DEVICE)
    truth = torch.rand(BATCH, 7, generator=generator).to(DEVICE)
    threads = f"{torch.get_num_threads()} threads" if DEVICE == "cpu" else torch.cuda.get_device_name()
    print(f"batch {BATCH}, {FRAMES} x {features.shape[-1]}, {LAYERS} of 26 self-attention layers, {DEVICE}, {threads}")
    plain, ours = PlainLoop(), OurLoop()

    # The same dropout in both: only then are their results one.
    torch.manual_seed(1)
    plain_loss = plain.step(features, truth)
    torch.manual_seed(1)
    our_loss = ours.step(features, truth, bf16=False)
    apart = max(abs(plain_loss - our_loss), _output_difference(plain.network, ours.network, features))
    if apart > 1e-5:
        raise SystemExit(f"in float32 the two ways differ by {apart:.1e} after one step, more than 1e-5")
    print(f"after one step in float32, loss and outputs differ by at most {apart:.1e}")

    contenders = {"ours": lambda: ours.step(features, truth), "plain": lambda: plain.step(features, truth)}
    report("training step", median_seconds_by_turns(contenders, repeats=3 if DEVICE == "cpu" else 20), reference="ours")


@torch.no_grad()
def _output_difference(one: Viper, other: Viper, features: torch.Tensor) -> float:
    difference = (one.eval()(features) - other.eval()(features)).abs().max().item()
    for network in (one, other):
        network.train()
    return difference


if __name__ == "__main__":
    main()
