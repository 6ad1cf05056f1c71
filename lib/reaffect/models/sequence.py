"""The organisers' baseline on precomputed features: an LSTM over the frames (Vaiani et al. 2024, Table 3)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence


class SequenceRegressor(nn.Module):
    """Frames -> linear -> LSTM -> its last state -> two linear layers -> intensities.

    The paper quotes the organisers' scores without their network; sizes are those of their released MuSe baseline.

    Args:
        width: of a frame's features.
        outputs: emotions.
        hidden: width of the projected frames, of the LSTM's state and of the first output layer.
        layers: of the LSTM.
        recurrent_dropout: between the LSTM's layers.
        dropout: before the last linear layer.
        seed: of the initial weights (torch's defaults).
    """

    def __init__(
        self,
        width: int,
        outputs: int = 7,
        *,
        hidden: int = 64,
        layers: int = 3,
        recurrent_dropout: float = 0.2,
        dropout: float = 0.5,
        seed: int = 0,
    ):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.project = nn.Linear(width, hidden)
            self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True, dropout=recurrent_dropout)
            self.head = nn.Sequential(
                nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs), nn.Sigmoid()
            )

    def forward(
        self, features: Float[Tensor, "batch frames width"], mask: Bool[Tensor, "batch frames"] | None = None
    ) -> Float[Tensor, "batch outputs"]:
        """Intensities in (0, 1), from the state at each clip's last real frame.

        Args:
            features: at least one frame.
            mask: true where a frame is real, which must be the first frames of a clip; without it all are.

        Raises:
            ValueError: another width, no frame, padding before a real frame, or what `check_mask` refuses.
        """
        if features.shape[-1] != self.project.in_features or not features.shape[1]:
            raise ValueError(
                f"features are {tuple(features.shape)}; expected at least one frame, {self.project.in_features} wide"
            )
        if mask is None:
            _, (state, _) = self.lstm(self.project(features))
        else:
            check_mask(mask, features)
            packed = pack_padded_sequence(features, _lengths(mask), batch_first=True, enforce_sorted=False)
            # Only real frames are projected, so that padding has no gradient either, whatever stands in it.
            _, (state, _) = self.lstm(PackedSequence(self.project(packed.data), *packed[1:]))
        return self.head(state[-1])


def check_mask(mask: Bool[Tensor, "batch frames"], features: Float[Tensor, "batch frames width"]) -> None:
    """Refuse a mask that does not say of each frame whether it is real.

    Raises:
        ValueError: not boolean, not one value a frame, or a clip without a real frame.
    """
    if mask.dtype != torch.bool or mask.shape != features.shape[:2]:
        raise ValueError(
            f"the mask is {mask.dtype} {tuple(mask.shape)} for features {tuple(features.shape)}; "
            f"give one boolean a frame: {tuple(features.shape[:2])}"
        )
    empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"the mask leaves no frame of clips {empty}; leave those clips out")


def _lengths(mask: Bool[Tensor, "batch frames"]) -> Int[Tensor, " batch"]:
    """Real frames of each clip, on the CPU, where packing wants them."""
    if (mask[:, 1:] & ~mask[:, :-1]).any():
        raise ValueError("the mask has padding before a real frame; put the real frames first")
    return mask.sum(dim=1).cpu()
