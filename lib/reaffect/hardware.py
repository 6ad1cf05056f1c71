"""What networks run on, and in which numbers."""

from __future__ import annotations

import torch


def best_device() -> str:
    """A GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def precision(device: str) -> torch.dtype:
    """bfloat16 where it is multiplied by hardware, as on GPUs and recent server CPUs (several times as fast), else
    float32.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, ...
    """
    native = torch.cuda.is_bf16_supported(including_emulation=False) if device.startswith("cuda") else _on_cpu()
    return torch.bfloat16 if native else torch.float32


def _on_cpu() -> bool:
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))
