"""The probing network: two linear layers with an activation between them, and a sigmoid (Vaiani et al. 2024, 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS = {
    "Linear": lambda x: x,
    "ReLU": F.relu,
    "Leaky ReLU": F.leaky_relu,
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
    "GELU": F.gelu,
    "ELU": F.elu,
}
"""The seven of Table 4, by the names that it prints."""


class Probe(nn.Module):
    """Embedding -> hidden -> activation -> seven intensities.

    Args:
        width: of the embedding.
        hidden: of the first layer; the paper does not say.
        outputs: emotions.
        activation: a key of `ACTIVATIONS`.
        seed: of the initial weights (torch's default for linear layers).
    """

    def __init__(self, width: int, hidden: int, outputs: int = 7, *, activation: str = "ReLU", seed: int = 0):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}; known are {', '.join(ACTIVATIONS)}")
        self.activation = activation
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = nn.Linear(width, hidden)
            self.second = nn.Linear(hidden, outputs)

    def forward(self, embeddings: Float[Tensor, "batch width"]) -> Float[Tensor, "batch outputs"]:
        """Intensities in (0, 1)."""
        return torch.sigmoid(self.second(ACTIVATIONS[self.activation](self.first(embeddings))))


class ProbeBank(nn.Module):
    """Many probes side by side: one batched matrix product does the work of all.

    Put members with the same activation side by side: each run of them is one call. A member's weights are those of the
    `Probe` it was made from, and since members share no parameter, training their summed loss trains each as if it
    were alone.

    Args:
        probes: of one shape; any activations.
    """

    def __init__(self, probes: Sequence[Probe]):
        super().__init__()
        self.runs = [(name, len(list(run))) for name, run in groupby(probe.activation for probe in probes)]
        self.first_weight = nn.Parameter(torch.stack([probe.first.weight.detach().T for probe in probes]))
        self.first_bias = nn.Parameter(torch.stack([probe.first.bias.detach()[None] for probe in probes]))
        self.second_weight = nn.Parameter(torch.stack([probe.second.weight.detach().T for probe in probes]))
        self.second_bias = nn.Parameter(torch.stack([probe.second.bias.detach()[None] for probe in probes]))

    def __len__(self) -> int:
        return len(self.first_weight)

    def forward(self, embeddings: Float[Tensor, "members batch width"]) -> Float[Tensor, "members batch outputs"]:
        """Each member's intensities for its own batch."""
        hidden = torch.baddbmm(self.first_bias, embeddings, self.first_weight)
        parts = hidden.split([length for _, length in self.runs])
        active = torch.cat([ACTIVATIONS[name](part) for (name, _), part in zip(self.runs, parts, strict=True)])
        return torch.sigmoid(torch.baddbmm(self.second_bias, active, self.second_weight))
