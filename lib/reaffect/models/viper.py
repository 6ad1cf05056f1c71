"""ViPER's fusion: every frame's features, all modalities side by side, are one token of a Perceiver.

Vaiani et al. 2024, section 4.3 and Figures 3 and 4. The network is Hugging Face's Perceiver with the library's
defaults and a classification decoder that asks one learned query. There is no positional encoding, so the order of the
frames does not matter, and no sigmoid, so an intensity may leave [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PerceiverConfig, PerceiverModel
from transformers.models.perceiver.modeling_perceiver import PerceiverClassificationDecoder

from reaffect.models.sequence import check_mask


class Viper(nn.Module):
    """Frames of any modalities -> intensities.

    The fused width is zero-padded to the next multiple of `heads`, because the cross-attention splits it into heads.
    The released code pads the action units only (27 -> 32); with those last and the others divisible, it is the same.

    Args:
        widths: features per frame of each modality, in the order of fusion; any non-empty subset, any width.
        outputs: emotions.
        latents: number of latent vectors.
        latent_width: of each of them.
        layers: of self-attention among the latents.
        heads: of self-attention and of the encoder's cross-attention; must divide `latent_width`.
        seed: of the initial weights (the library's defaults).

    Raises:
        ValueError: no modality, a width or `layers` below 1, or heads that do not divide `latent_width`.

    Example:
        >>> with torch.device("meta"):
        ...     network = Viper({"visual": 768, "audio": 512, "text": 768, "fau": 27})
        >>> sum(p.numel() for p in network.parameters())
        283380647
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        outputs: int = 7,
        *,
        latents: int = 256,
        latent_width: int = 1280,
        layers: int = 26,
        heads: int = 8,
        seed: int = 0,
    ):
        super().__init__()
        if not widths or min(widths.values()) < 1:
            raise ValueError(f"widths are {dict(widths)}; name at least one modality, each at least 1 wide")
        if layers < 1:
            raise ValueError(f"{layers} layers; the latents need at least one")
        if latent_width % heads:
            raise ValueError(f"{heads} heads do not divide latents {latent_width} wide; change either")
        self.widths = dict(widths)
        self.width = sum(widths.values())
        self.padding = -self.width % heads
        config = PerceiverConfig(
            num_latents=latents,
            d_latents=latent_width,
            d_model=self.width + self.padding,
            num_self_attends_per_block=layers,
            num_self_attention_heads=heads,
            num_cross_attention_heads=heads,
            num_labels=outputs,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.perceiver = PerceiverModel(config, decoder=_one_query_decoder(config))

    def forward(
        self, features: Float[Tensor, "batch frames width"], mask: Bool[Tensor, "batch frames"] | None = None
    ) -> Float[Tensor, "batch outputs"]:
        """Intensities, not squashed.

        Args:
            features: what `fuse` returns; at least one frame.
            mask: true where a frame is real; without it all are. What stands in the others is never read.

        Raises:
            ValueError: another width than the sum of `widths`, no frame, or what `check_mask` refuses.
        """
        if features.shape[-1] != self.width or not features.shape[1]:
            raise ValueError(
                f"features are {tuple(features.shape)}; expected at least one frame, {self.width} wide: "
                + " + ".join(f"{name} {width}" for name, width in self.widths.items())
            )
        if mask is not None:
            check_mask(mask, features)
            # Attention gives padding no weight, yet 0 x NaN would still be NaN.
            features = features.masked_fill(~mask[..., None], 0)
        return self.perceiver(F.pad(features, (0, self.padding)), attention_mask=mask).logits

    def fuse(self, features: Mapping[str, Float[Tensor, "*clips frames _"]]) -> Float[Tensor, "*clips frames width"]:
        """Every frame's features side by side, in the order of `widths`.

        Args:
            features: by modality; others than those in `widths` are left out.

        Raises:
            ValueError: a modality is missing, has another width, or has other clips or frames than the first.
        """
        for name, width in self.widths.items():
            if name not in features:
                raise ValueError(f"{name} is missing among {', '.join(features)}; extract it or drop it from widths")
            if features[name].shape[-1] != width:
                raise ValueError(
                    f"{name} has {features[name].shape[-1]} numbers a frame, the network expects {width}; "
                    f"extract it anew or build the network for its width"
                )
        first = next(iter(self.widths))
        for name in self.widths:
            counts, expected = features[name].shape[:-1], features[first].shape[:-1]
            if counts != expected:
                raise ValueError(
                    f"{name} has {_counts(counts)} where {first} has {_counts(expected)}; take both from the same "
                    f"frames, and repeat what describes a whole clip on each of them"
                )
        return torch.cat([features[name] for name in self.widths], dim=-1)

    def stages(self, frames: int) -> list[tuple[str, tuple[int, ...]]]:
        """Names and shapes of what flows through the network for one clip, read from its modules (Figures 3 and 4)."""
        encoder, decoder = self.perceiver.encoder, self.perceiver.decoder.decoder
        first, rest = encoder.cross_attention, encoder.self_attends
        latents, latent_width = self.perceiver.embeddings.latents.shape
        return [
            *((name, (frames, width)) for name, width in self.widths.items()),
            ("fused", (frames, first.attention.self.key.in_features)),
            ("latents", (latents, latent_width)),
            ("cross-attention", (latents, first.mlp.dense2.out_features)),
            (f"self-attention x {len(rest)}", (latents, rest[-1].mlp.dense2.out_features)),
            ("query", tuple(decoder.output_position_encodings.position_embeddings.shape)),
            ("intensities", (decoder.final_layer.out_features,)),
        ]


def _one_query_decoder(config: PerceiverConfig) -> PerceiverClassificationDecoder:
    query = {"num_channels": config.d_latents, "index_dims": 1}
    return PerceiverClassificationDecoder(
        config, num_channels=config.d_latents, trainable_position_encoding_kwargs=query, use_query_residual=True
    )


def _counts(shape: torch.Size) -> str:
    """(2, 32) -> '2 clips x 32 frames', (32,) -> '32 frames', () -> 'no frames'."""
    return "".join(f"{n} clips x " for n in shape[:-1]) + (f"{shape[-1]} frames" if shape else "no frames")
