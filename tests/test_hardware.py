"""Device and numbers follow what the hardware can do, which the tests pretend."""

import pytest
import torch

from reaffect import hardware

NATIVE = {"avx512_bf16": True, "amx_bf16": False}


@pytest.mark.parametrize(
    ("can", "expected"),
    [
        (NATIVE, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"architecture": "aarch64"}, torch.float32),
    ],
)
def test_a_processor_computes_in_bfloat16_only_where_it_multiplies_it(monkeypatch, can, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    assert hardware.precision("cpu") == expected


def test_a_gpu_computes_in_bfloat16_unless_it_would_emulate_it(monkeypatch):
    asked = {}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **how: asked.update(how) or True)
    assert hardware.precision("cuda:1") == torch.bfloat16
    assert asked == {"including_emulation": False}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert hardware.precision("cuda") == torch.float32


def test_a_gpu_is_taken_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert hardware.best_device() == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert hardware.best_device() == "cpu"
