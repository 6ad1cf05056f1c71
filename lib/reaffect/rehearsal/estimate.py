"""What a computation would take on a GPU, told by tensors of the meta device, which have shapes and hold nothing.

Code that looks at values cannot run there. Each of the few places that do is given an answer here, the larger one where
sizes depend on it.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.fx.experimental import _config as shapes
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.weak import WeakIdKeyDictionary
from transformers import GenerationMixin, PreTrainedModel, masking_utils
from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni as omni
from transformers.vision_utils import get_vision_position_ids

ASKED = {
    *("input_ids", "inputs_embeds", "attention_mask", "logits_to_keep"),
    *("pixel_values", "pixel_values_videos", "video_grid_thw", "input_features", "feature_attention_mask"),
}
"""Arguments of `generate` that the network itself takes."""


class LiveBytes(TorchDispatchMode):
    """Follows the memory of tensors, in bytes and on any device: of a network, and of what is made while it is entered.

    Blocks that an allocator rounds up and workspaces of kernels are not seen, so that it tells a little too little.

    Args:
        network: its parameters and buffers.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.now = self.peak = 0
        self._known = WeakIdKeyDictionary()
        for weight in (*network.parameters(), *network.buffers()):
            self._follow(weight.untyped_storage())

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, Tensor):
                self._follow(tensor.untyped_storage())
        return made

    def _follow(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known[storage] = True
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, storage.nbytes())

    def _freed(self, size: int) -> None:
        self.now -= size


@contextmanager
def without_values() -> Iterator[None]:
    """Lets networks run on the meta device as they would on a GPU.

    Masks are made in full, each patch counts as one of a face, attention is a fused kernel, and `generate` gives as
    many tokens as it may (`_answer`).
    """
    with (
        mock.patch.object(masking_utils, "is_tracing", return_value=True),
        mock.patch.dict(os.environ, TRANSFORMERS_DISABLE_TORCH_CHECK="1"),
        mock.patch.object(GenerationMixin, "generate", _answer),
        shapes.patch(meta_nonzero_assume_all_nonzero=True),
        mock.patch.object(functional, "scaled_dot_product_attention", _fused),
    ):
        yield


def counted(number: int) -> AbstractContextManager[object]:
    """Inside, a tensor that is made a Python integer is this number: a count of values, which only the caller knows."""
    return mock.patch.object(Tensor, "__int__", lambda _: number)


def _fused(
    query: Tensor, key: Tensor, value: Tensor, *_how: Any, **_more: Any
) -> Float[Tensor, "batch heads to width"]:
    """Attention that keeps no matrix of all pairs: on the meta device PyTorch would, which it does on no GPU.

    The mask is left out: it is as large for all heads as a matrix of one, and changes no operation.
    """
    groups = query.shape[1] // key.shape[1]
    key, value = (one.repeat_interleave(groups, 1) if groups > 1 else one for one in (key, value))
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    return kernel(query, key, value, None, torch.is_grad_enabled())[0]


@torch.no_grad()
def _answer(model: PreTrainedModel, *, max_new_tokens: int, **asked: Any) -> Int[Tensor, "batch tokens"]:
    """Stands for `generate`: the prompt, and then all tokens of the answer in one pass behind it.

    Layers do as many operations as in one pass a token; attention does up to twice as many, since the last token's keys
    are there from the first on; keys and values take what they take at the answer's end.
    """
    asked = {"logits_to_keep": 1} | {name: value for name, value in asked.items() if name in ASKED}
    mask = asked["attention_mask"]
    prompt = model(**asked, **_looked_up(model, asked), use_cache=True)
    answer = mask.new_zeros(len(mask), max_new_tokens)
    model(
        input_ids=answer,
        attention_mask=torch.cat([mask, torch.ones_like(answer)], 1),
        past_key_values=prompt.past_key_values,
        use_cache=True,
        **_positions(asked, answer),
    )
    return torch.zeros(answer.shape, dtype=torch.long, device="cpu")


def _looked_up(model: PreTrainedModel, asked: dict[str, Any]) -> dict[str, Tensor]:
    """What Qwen's models make of values, made beforehand: of grids and lengths, which are on the processor here.

    What only says how long parts are stays there; what meets states goes to where they are.
    """
    if "video_grid_thw" not in asked:
        return {}
    merged = model.config.vision_config.spatial_merge_size
    known = _positions(asked, asked["input_ids"])
    known["video_position_ids"] = get_vision_position_ids(asked["video_grid_thw"], merged).to("meta")
    if "feature_attention_mask" in asked:
        lengths, window = asked["feature_attention_mask"].sum(1), model.config.audio_config.n_window
        frames = asked["input_features"].transpose(0, 1).flatten(1)
        padded, parts = omni.chunk_and_pad_features(frames, lengths, window)
        known |= {"audio_padded_feature": padded, "audio_chunk_lengths": parts.to("meta")}
        known["audio_valid_indices"] = omni.get_valid_indices(parts).to("meta")
        known["audio_pool_indices"] = omni.get_pool_indices(lengths).to("meta")
        known["audio_cu_seqlens"] = omni.get_audio_cu_seqlens(parts)
    return known


def _positions(asked: dict[str, Any], tokens: Tensor) -> dict[str, Tensor]:
    """Of tokens, for models that would make them of a grid of patches."""
    return {"position_ids": torch.zeros_like(tokens)} if "video_grid_thw" in asked else {}
