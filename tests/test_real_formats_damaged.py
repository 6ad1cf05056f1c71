"""Checkpoints that are not whole, or that would execute code: one clear line, and nothing is loaded."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from reaffect import mllm, speech
from reaffect.audiovisual import network_of
from reaffect.errors import InputError
from reaffect.features.audio import XVectors
from reaffect.features.clips import load_swin
from reaffect.features.text import NearestTemplates, Sentences
from reaffect.features.visual import FaceViT
from reaffect.models.beats import BEATs
from reaffect.models.checkpoints import damaged, read_checkpoint
from reaffect.models.facexformer import FaceXFormerEncoder
from reaffect.models.imagebind import ImageBind
from reaffect.models.pandagpt import PandaGPT
from reaffect.models.slowfast import SlowFast
from reaffect.models.tsm import TSM
from reaffect.models.video_llama import VideoLLaMA, VideoLLaMAConfig
from reaffect.models.whisper_audio import released_ears
from real_formats import llama2, make, vicuna
from real_formats_encoders import clip, faster_whisper, roberta, vit, wavlm, whisper
from real_formats_multimodal import llava, llava_onevision, qwen2_5_omni, video_llava
from test_models_facexformer import SMALL as FACE
from test_models_imagebind import SMALL as SENSES
from test_models_pandagpt import SMALL as PANDA_GPT
from test_models_video_llama import SMALL as VIDEO_LLAMA
from test_models_video_llama import llama, words

pytestmark = pytest.mark.usefixtures("on_the_processor")


class Trap:
    """Makes a folder when it is unpickled with execution allowed."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.mkdir, (str(self.folder),)


# --- folders in Hugging Face's format ------------------------------------------------------------------------------


def around(folder: Path) -> Any:
    """What is built around a language model; its own weights are read after that model's."""
    (folder / "weights.pth").touch()
    return network_of(VideoLLaMA, VideoLLaMAConfig, [str(folder / "weights.pth")], str(folder))


MAKERS = {
    "Video-LLaVA": video_llava,
    "LLaVA": llava,
    "LLaVA-OneVision": llava_onevision,
    "Qwen2.5-Omni": qwen2_5_omni,
    "Vicuna": vicuna,
    "LLaMA 2": llama2,
    "WavLM": wavlm,
    "CLIP": clip,
    "RoBERTa": roberta,
    "ViT": vit,
    "Whisper": whisper,
    "faster-whisper": faster_whisper,
}
LOADERS: dict[str, Callable[[Path], Any]] = {
    **dict.fromkeys(("Video-LLaVA", "LLaVA", "LLaVA-OneVision", "Qwen2.5-Omni"), lambda f: mllm.load(f, device="cpu")),
    "Vicuna": around,
    "LLaMA 2": around,
    "WavLM": lambda folder: XVectors(str(folder)),
    "CLIP": lambda folder: NearestTemplates(str(folder), lambda texts: np.zeros((len(texts), 2))),
    "RoBERTa": lambda folder: Sentences(str(folder), max_length=16),
    "ViT": lambda folder: FaceViT(str(folder), {}),
    "Whisper": lambda folder: released_ears(folder, torch.float32),
    "faster-whisper": lambda folder: speech.Recogniser(str(folder), language="zh"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def one(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("whole") / name
            make(MAKERS[name], made[name])
        return made[name]

    return one


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(
        (folder / name).read_bytes()[: (folder / name).stat().st_size // 2]
    )


def gone(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def empty(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(b"")


def pointer(name: str) -> Callable[[Path], None]:
    """What a clone without Git LFS has in the place of a large file."""
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 4976706864\n"
    return lambda folder: (folder / name).write_text(text)


def trapped(name: str) -> Callable[[Path], None]:
    return lambda folder: torch.save({"weight": Trap(folder / "sprung")}, folder / name)


def astray(folder: Path) -> None:
    """The index names a shard that no release has."""
    file = folder / "model.safetensors.index.json"
    file.write_text(file.read_text().replace("model-00003-of-00003", "model-00004-of-00004"))


def without(name: str) -> Callable[[Path], None]:
    """One tensor is neither in the index nor in its shard."""

    def leave_out(folder: Path) -> None:
        indices = list(folder.glob("*.index.json"))
        file = folder / "model.safetensors"
        if indices:
            index = json.loads(indices[0].read_text())
            file = folder / index["weight_map"].pop(name)
            indices[0].write_text(json.dumps(index))
        if file.suffix == ".bin":
            weights = torch.load(file, weights_only=True)
            torch.save({key: value for key, value in weights.items() if key != name}, file)
        else:
            weights = load_file(file)
            save_file({key: value for key, value in weights.items() if key != name}, file, {"format": "pt"})

    return leave_out


SHARD, BIN = "model-00002-of-00003.safetensors", "pytorch_model-00002-of-00002.bin"
CASES: list[tuple[str, Callable[[Path], None], str]] = [
    ("Video-LLaVA", gone(SHARD), f"{SHARD} is missing"),
    ("Video-LLaVA", astray, r"model-00004-of-00004\.safetensors is missing"),
    ("Video-LLaVA", cut(SHARD), f"{SHARD} cannot be read: .*incomplete"),
    ("Video-LLaVA", empty(SHARD), f"{SHARD} cannot be read: .*too small"),
    ("Video-LLaVA", pointer(SHARD), f"{SHARD} cannot be read"),
    ("Video-LLaVA", cut("model.safetensors.index.json"), r"model\.safetensors\.index\.json cannot be read"),
    ("Video-LLaVA", gone("model.safetensors.index.json"), r"no file named model\.safetensors"),
    ("Video-LLaVA", without("language_model.lm_head.weight"), "missing keys: lm_head.weight, 1 in all"),
    ("Video-LLaVA", cut("config.json"), r"config\.json' is not a valid JSON"),
    ("Video-LLaVA", gone("preprocessor_config.json"), "AutoProcessor: .*image processor"),
    ("Video-LLaVA", gone("tokenizer.json", "tokenizer.model"), "the tokenizer's files are missing"),
    ("LLaVA", cut("tokenizer.json"), "AutoProcessor: .*"),
    ("LLaVA-OneVision", gone("tokenizer.json", "vocab.json", "merges.txt"), "the tokenizer's files are missing"),
    (
        "Qwen2.5-Omni",
        without("thinker.visual.merger.ln_q.weight"),
        r"missing keys: model\.visual\.merger\.ln_q\.weight",
    ),
    ("Vicuna", gone(BIN), f"{BIN} is missing"),
    ("Vicuna", cut(BIN), f"{BIN} cannot be read"),
    ("Vicuna", empty(BIN), f"{BIN} cannot be read: it ends too early"),
    ("Vicuna", pointer(BIN), f"{BIN} cannot be read: no pickle of tensors"),
    ("Vicuna", trapped(BIN), rf"{BIN} cannot be read: it would execute \w+\.mkdir"),
    ("Vicuna", without("model.norm.weight"), r"missing keys: model\.norm\.weight"),
    ("Vicuna", gone("tokenizer.model"), "the tokenizer's files are missing"),
    ("LLaMA 2", cut("model-00002-of-00002.safetensors"), r"model-00002-of-00002\.safetensors cannot be read"),
    ("WavLM", cut("pytorch_model.bin"), r"pytorch_model\.bin cannot be read"),
    ("WavLM", trapped("pytorch_model.bin"), r"pytorch_model\.bin cannot be read: it would execute \w+\.mkdir"),
    ("WavLM", gone("preprocessor_config.json"), "its input cannot be prepared"),
    ("CLIP", gone("vocab.json", "merges.txt"), "its input cannot be prepared"),
    ("RoBERTa", cut("tokenizer.json"), "its input cannot be prepared"),
    ("RoBERTa", gone("tokenizer.json", "vocab.json", "merges.txt"), "the tokenizer's files are missing"),
    ("RoBERTa", without("roberta.encoder.layer.1.output.dense.bias"), r"missing keys: encoder\.layer\.1\.output"),
    ("ViT", gone("preprocessor_config.json"), "its input cannot be prepared"),
    ("Whisper", cut("model.safetensors"), r"model\.safetensors cannot be read"),
    ("faster-whisper", cut("model.bin"), "no Whisper could be loaded"),
    ("faster-whisper", cut("tokenizer.json"), "no Whisper could be loaded"),
    ("faster-whisper", gone("vocabulary.json"), "no Whisper could be loaded .*vocabulary"),
    ("faster-whisper", gone("preprocessor_config.json"), r"preprocessor_config\.json is missing or cut off"),
]


@pytest.mark.parametrize(("name", "damage", "said"), CASES, ids=[f"{name}: {said}" for name, _, said in CASES])
def test_a_folder_that_is_not_whole_is_refused_in_one_line(name, damage, said, whole, tmp_path):
    folder = shutil.copytree(whole(name), tmp_path / "cut off")
    damage(folder)
    with pytest.raises(ValueError, match=said) as caught:
        LOADERS[name](folder)
    message = str(caught.value)
    assert str(folder) in message and len(message.splitlines()) == 1 and "\x1b" not in message
    assert isinstance(caught.value, InputError) or name == "Whisper"  # a model's own loader knows no users
    assert not (folder / "sprung").exists()


@pytest.mark.parametrize("name", MAKERS)
def test_a_whole_folder_has_no_damage(name, whole):
    assert damaged(whole(name)) == ""


def test_files_of_voices_are_never_opened(whole, tmp_path):
    """Qwen2.5-Omni's are a pickle, and of no use to who only reads its answers."""
    folder = shutil.copytree(whole("Qwen2.5-Omni"), tmp_path / "omni")
    trapped("spk_dict.pt")(folder)
    assert LOADERS["Qwen2.5-Omni"](folder).takes_audio
    assert not (folder / "sprung").exists()


# --- torch files ---------------------------------------------------------------------------------------------------

FILES: dict[str, Callable[[Path], Any]] = {
    "SlowFast": SlowFast.load_original,
    "TSM": TSM.load_original,
    "Video-Swin": load_swin,
    "BEATs": BEATs.load_original,
    "FaceXFormer": lambda path: FaceXFormerEncoder(FACE).load_original(path),
    "ImageBind": lambda path: ImageBind(SENSES).load_original(path),
    "Video-LLaMA": lambda path: VideoLLaMA(VIDEO_LLAMA, llama(), words()).load_original([path]),
    "PandaGPT": lambda path: PandaGPT(PANDA_GPT, llama(), words()).load_original([path]),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_would_execute_code_is_refused(name, zipped, tmp_path):
    file = tmp_path / "released.pth"
    torch.save({"model": {}, "cfg": Trap(tmp_path / "sprung")}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=rf"{re.escape(str(file))}: .*it would execute \w+\.mkdir\)$"):
        FILES[name](file)
    assert not (tmp_path / "sprung").exists()
    torch.load(file, weights_only=False)
    assert (tmp_path / "sprung").exists(), "the trap works"


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_a_file_that_ends_anywhere_too_early_is_refused(zipped, tmp_path):
    file = tmp_path / "released.pth"
    torch.save({"model": {"weight": torch.arange(50.0)}}, file, _use_new_zipfile_serialization=zipped)
    content = file.read_bytes()
    assert read_checkpoint(file).weights["weight"].sum() == 49 * 25
    for length in [*range(0, len(content), 7), len(content) - 1]:
        file.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"released\.pth: no torch checkpoint of plain tensors \(.+\)$"):
            read_checkpoint(file)
