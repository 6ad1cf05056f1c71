"""What several tests share: the embedded corpus, once small and once whole, and the small checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TQDM_DISABLE", "1")

import pytest
import torch
from hypothesis import settings

from reaffect import paths
from reaffect.runs import one_thread

# The same examples in every run, and no limit on time: a loaded machine is not a fault.
settings.register_profile("reaffect", deadline=None, derandomize=True)
settings.load_profile("reaffect")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For several workers: the notebooks, which take longest, begin."""
    items.sort(key=lambda item: not item.path.name.startswith("test_notebooks"))


@pytest.fixture(scope="session")
def hume_full() -> Path:
    """The whole embedded corpus, as `make embedded` builds it (`make test` calls that first)."""
    return built(paths.CORPORA / "hume" / "planted.json").parents[1]


@pytest.fixture(scope="session")
def eald_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small embedded EALD, built for this session: four interviews of two players."""
    from reaffect.synthetic import eald

    return eald.build(tmp_path_factory.mktemp("corpora"), count=4, longest_s=10, long_s=0, workers=2)


@pytest.fixture(scope="session")
def eald_full() -> Path:
    """The whole embedded EALD, as `make embedded` builds it."""
    return built(paths.CORPORA / "eald" / "planted.json").parent


@pytest.fixture(scope="session")
def emer_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small embedded EMER, built for this session: eleven clips of each carrier of emotion."""
    from reaffect.synthetic import emer

    return emer.build(tmp_path_factory.mktemp("corpora"), count=44, workers=2)


@pytest.fixture(scope="session")
def emer_full() -> Path:
    """The whole embedded EMER, as `make embedded` builds it; its first clips are those of `emer_root`."""
    return built(paths.CORPORA / "emer" / "planted.json").parent


@pytest.fixture(scope="session")
def tiny_checkpoint() -> Path:
    """The small Video-LLaVA that `make embedded` trains."""
    return built(paths.CHECKPOINTS / "video-llava-tiny" / "config.json").parent


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """SmolLM2-135M-Instruct, as `make embedded` unpacks it."""
    return built(paths.CHECKPOINTS / "smollm2" / "config.json").parent


@pytest.fixture(scope="session")
def microemo_folder() -> Path:
    """The small MicroEmo as it is before EMER, as `make embedded` trains it."""
    return built(paths.CHECKPOINTS / "microemo-tiny" / "config.json").parent


@pytest.fixture(scope="session")
def omni_emotion_folder() -> Path:
    """The small Omni-Emotion as it is before its three phases, as `make embedded` trains it."""
    return built(paths.CHECKPOINTS / "omni-emotion-tiny" / "config.json").parent


@pytest.fixture(scope="session")
def small_video_llama(smollm2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Video-LLaMA on SmolLM2, hardly taught: what it is given matters here, not what it says."""
    from reaffect.synthetic import video_llama

    recipe = video_llama.Recipe(count=12, pictures=16, tower_steps=3, steps=6, panda_steps=3, batch=4, panda_batch=2)
    return video_llama.build(tmp_path_factory.mktemp("models"), smollm2=smollm2_folder, recipe=recipe)[0]


@pytest.fixture(scope="module")
def on_one_thread() -> Iterator[None]:
    """Threads that wait for each other make networks this small slower, many times so on a busy machine."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def on_the_processor(on_one_thread: None) -> Iterator[None]:
    """A GPU rounds convolutions otherwise; what is checked here by hand is checked on the processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield


def built(file: Path) -> Path:
    """`file`, or a failure that says how to make it: skipping would hide an untested half."""
    assert file.exists(), f"{file} is not built: run `make embedded`, or `make test`, which does."
    return file
