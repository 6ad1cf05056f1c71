"""A GPU that is not there: its tensors lie on the processor, and refuse to meet those that are there as well.

Inputs that were never moved to a network, an index made on the wrong side, an array of what was never fetched: what
ends a run on a GPU by an error does so here, on any machine. Numbers are those of the processor. What only a GPU has
(its kernels, memory, streams, compilers and rounding) is not pretended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.amp.autocast_mode import autocast
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter, tree_map_only
from transformers import masking_utils

from reaffect.hardware import precision

HERE, GPU = torch.device("cpu"), torch.device("cuda", 0)

CARD = SimpleNamespace(name="a pretended GPU", total_memory=80 * 10**9, uuid="0", major=9, minor=0)

SILENT = (
    *("empty_cache", "ipc_collect", "manual_seed", "manual_seed_all", "reset_peak_memory_stats"),
    *("set_device", "set_rng_state", "synchronize", "_lazy_init"),
)

ASKED = dict.fromkeys(SILENT) | {
    "is_available": True,
    "is_initialized": True,
    "device_count": 1,
    "current_device": 0,
    "get_device_properties": CARD,
    "get_device_name": CARD.name,
    "get_device_capability": (CARD.major, CARD.minor),
    "get_rng_state": torch.zeros(16, dtype=torch.uint8),
    "max_memory_allocated": 0,
    "mem_get_info": (CARD.total_memory, CARD.total_memory),
    "memory_allocated": 0,
    "memory_reserved": 0,
}
"""Functions of `torch.cuda`, and what they answer."""

OF_ITSELF: dict[Callable, object] = {
    Tensor.device.__get__: GPU,
    Tensor.is_cuda.__get__: True,
    Tensor.is_cpu.__get__: False,
    Tensor.get_device: 0,
}
"""What a tensor on the GPU says where it is."""

MADE = {
    *(torch.arange, torch.empty, torch.full, torch.linspace, torch.ones),
    *(torch.rand, torch.randn, torch.randperm, torch.tensor, torch.zeros),
}
"""Whose results are on the processor unless they are told a device, whatever they are made of."""

SHAPED = {Tensor.expand, Tensor.repeat, Tensor.reshape, Tensor.view}
"""Whose other arguments are sizes."""

ACROSS = {
    *(Tensor.copy_, Tensor.data.__set__, Tensor.grad.__set__, Tensor.type_as),
    *(torch._has_compatible_shallow_copy_type, torch.is_same_size, torch._VF._pack_padded_sequence),
}
"""Where tensors of both sides meet."""

TO_NUMPY = {Tensor.numpy, Tensor.__array__}


class OnGPU(Tensor):
    """A tensor that says that it is on the GPU."""

    @classmethod
    def __torch_function__(cls, function: Callable, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        return _called(function, args, kwargs or {})


class _Everywhere(TorchFunctionMode):
    """Sees what is done with tensors of the processor alone, too."""

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        return _called(function, args, kwargs or {})


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """While it is entered, this thread has a GPU, `cuda`, which computes in the numbers that the processor does."""
    answers = ASKED | {"is_bf16_supported": precision("cpu") == torch.bfloat16}
    replaced = [(torch.cuda, name, lambda *_, answer=answer, **__: answer) for name, answer in answers.items()]
    replaced += [
        (torch, "is_autocast_enabled", lambda *_, real=torch.is_autocast_enabled: real("cpu")),
        (torch, "get_autocast_dtype", lambda *_, real=torch.get_autocast_dtype: real("cpu")),
        (autocast, "__init__", _cast_here(autocast.__init__)),
        (masking_utils, "_vmap_expansion_sdpa", _mapped(masking_utils._vmap_expansion_sdpa)),
        (torch.accelerator, "current_stream", lambda *_: SimpleNamespace(is_capturing=lambda: False)),
        (torch.backends.cudnn, "is_acceptable", lambda _: False),
    ]
    with ExitStack() as stack:
        for owner, name, function in replaced:
            stack.enter_context(mock.patch.object(owner, name, function))
        stack.enter_context(_Everywhere())
        yield


def _called(function: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    """What a function of torch's gives for tensors of either side."""
    if function in OF_ITSELF and _there(args[0]):
        return OF_ITSELF[function]
    if function in OTHERWISE:
        return OTHERWISE[function](*args, **kwargs)
    args, kwargs, to = _destination(function, args, kwargs)
    given = [one for one in tree_iter((args, kwargs)) if isinstance(one, Tensor)]
    if to is None:
        _refuse(function, args, given)
        decides = [] if function in MADE else given[:1] if function in SHAPED else given
        to = GPU if any(map(_there, decides)) else HERE
        known = given  # what is changed in place stays where it is
    else:
        known = []
    with torch._C.DisableTorchFunctionSubclass():
        made = function(*args, **kwargs)
        if function == Tensor.data.__set__:  # another object each time
            _moved(*args)
        if isinstance(made, torch.Size):
            return made
        return tree_map_only(Tensor, lambda one: one if _among(known, one) else _on(to, one, given), made)


def _destination(function: Callable, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any], Any]:
    """The arguments for the processor, and the device that they name, if they do."""
    to = kwargs.get("device")
    if function is Tensor.cpu:
        to = HERE
    elif function is Tensor.to and len(args) > 1 and isinstance(args[1], str | int | torch.device | Tensor):
        to = args[1].device if isinstance(args[1], Tensor) else args[1]
        kind = (args[1].dtype,) if isinstance(args[1], Tensor) else ()
        args = (args[0], "meta" if torch.device(to).type == "meta" else HERE, *kind, *args[2:])
    if to is None:
        return args, kwargs, None
    to = torch.device(to)
    return args, (kwargs | {"device": HERE} if "device" in kwargs and to.type == "cuda" else kwargs), to


def _refuse(function: Callable, args: tuple, given: Sequence[Tensor]) -> None:
    """As a GPU does, where both sides meet; single numbers of the processor may.

    Raises:
        RuntimeError, TypeError: with its words.
    """
    if function in TO_NUMPY and _there(args[0]):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
    if function in (Tensor.__getitem__, Tensor.__setitem__):
        given = [one for one in tree_iter(args[:2]) if isinstance(one, Tensor)]
        if not _there(args[0]) and any(_there(one) and one.dim() for one in given):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        return
    if function in ACROSS | MADE | SHAPED or not any(map(_there, given)):
        return
    if any(not _there(one) and one.dim() and not one.is_meta for one in given):
        raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu: {function}")


def _there(one: Any) -> bool:
    return isinstance(one, OnGPU)


def _among(known: Sequence[Tensor], one: Tensor) -> bool:
    return any(one is each for each in known)


def _on(to: torch.device, one: Tensor, given: Sequence[Tensor]) -> Tensor:
    """A result where it belongs; a copy, if it is what was given."""
    wanted = to.type == "cuda"
    if _there(one) != wanted:
        one = one.clone() if _among(given, one) else one
        one.__class__ = OnGPU if wanted else Tensor
    return one


def _moved(one: Tensor, data: Tensor) -> None:
    """A weight's data may come from the other side, and then it is there."""
    learns = isinstance(one, nn.Parameter)
    if _there(one) != _there(data):
        one.__class__ = OnGPU if _there(data) else nn.Parameter if learns else Tensor
        one._is_param = learns


def _copied(one: Tensor, memo: dict[int, Any]) -> Tensor:
    """`copy.deepcopy`, which knows no classes but its own."""
    if id(one) not in memo:
        with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
            made = Tensor._make_subclass(type(one), one.clone(), one.requires_grad)
        if isinstance(one, nn.Parameter):
            made._is_param = True
        memo[id(one)] = made
    return memo[id(one)]


def _backward(
    one: Tensor, gradient: Any = None, retain_graph: Any = None, create_graph: bool = False, inputs: Any = None
) -> None:
    """Layers that are computed once more on the way meet the GPU there, too."""
    with _Everywhere():
        torch.autograd.backward(one, gradient, retain_graph, create_graph, inputs=inputs)


def _histogram(one: Tensor, *how: Any, **more: Any) -> Tensor:
    """Of whole numbers, which the processor's cannot count."""
    with torch._C.DisableTorchFunctionSubclass():
        made = torch.histc(one.float(), *how, **more)
    return _on(GPU if _there(one) else HERE, made, [])


OTHERWISE: dict[Callable, Callable] = {
    Tensor.__deepcopy__: _copied,
    nn.Parameter.__deepcopy__: _copied,
    Tensor.backward: _backward,
    torch.histc: _histogram,
}
"""Functions that the processor, or a class of tensors, does otherwise than a GPU."""


def _cast_here(begin: Callable) -> Callable:
    def begun(self: autocast, device_type: str, *how: Any, **more: Any) -> None:
        begin(self, "cpu" if device_type == "cuda" else device_type, *how, **more)

    return begun


def _mapped(expansion: Callable) -> Callable:
    """`torch.vmap` loses the class of what it maps."""

    def expanded(mask: Callable) -> Callable:
        def call(*places: Tensor) -> Tensor:
            return _on(GPU if any(map(_there, places)) else HERE, expansion(mask)(*places), [])

        return call

    return expanded
