"""Small SlowFast, TSM, TimeSformer, Video-Swin and BEATs, trained here and saved as the large ones are released.

The small siblings of Kinetics-400 and AudioSet: see `video_lessons`. Every network learns through its own
classification layer, which reads each moment before moments are averaged, since averaging comes last in all but
TimeSformer. The transformers learn by one more layer, thrown away afterwards, that reads all tokens by their place: it
gets them off their plateau, as in `video_llava_training`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.video.swin_transformer import SwinTransformer3d
from transformers import TimesformerConfig, TimesformerForVideoClassification, VideoMAEImageProcessor

from reaffect.fingerprint import fingerprint
from reaffect.models import beats, checkpoints, slowfast, tsm
from reaffect.synthetic import faces, interviews, scene, speech, studio, video_lessons
from reaffect.synthetic import video_llava_training as training
from reaffect.synthetic.checkpoints import ensure
from reaffect.synthetic.video_lessons import FRAMES, HEARD, LABELS, MOMENTS, SIDE, Films

SLOWFAST, TSM, SWIN, BEATS, TIMESFORMER = "slowfast.pyth", "tsm.pth", "swin3d.pth", "beats.pt", "timesformer"
"""Files in the folder that is built; TimeSformer's is a folder."""

ALPHA = FRAMES // MOMENTS
"""Fast frames a slow frame of the small SlowFast: it sees each moment once."""

CHANGE_WEIGHT = 3.0
"""Of units relative to the film's own mean: how a face changes tells more than how it is built."""

SOURCES = [Path(__file__)]
SOURCES += [
    Path(module.__file__)
    for module in (beats, checkpoints, faces, interviews, scene, slowfast, speech, studio, training, tsm, video_lessons)
]


@dataclass(frozen=True)
class Recipe:
    """Films, recordings and optimiser steps."""

    people: int = 48
    takes: int = 16
    recordings: int = 270
    slowfast_steps: int = 200
    tsm_steps: int = 150
    swin_steps: int = 400
    timesformer_steps: int = 500
    beats_steps: int = 120
    batch: int = 8
    seed: int = 20240610


class Lesson(NamedTuple):
    """A network, and how it is taught."""

    network: nn.Module
    read: Callable[[Tensor], list[Tensor]]
    """Normalised films (films, frames, 3, side, side) -> labels as each layer reads them, of every moment or of all."""

    spare: nn.Module
    """What is thrown away."""

    rate: float
    """Of AdamW."""

    inner: str
    """Part of the names of matrices that learn by Muon; empty: none."""


def build(folder: str | Path, *, recipe: Recipe | None = None, workers: int = 2) -> Path:
    """Trains all five, unless the folder holds what the recipe gives.

    Args:
        folder: of the checkpoints, by the names above.
        recipe: how much of everything.
        workers: threads that render.

    Returns:
        The folder.
    """
    recipe = recipe or Recipe()

    def make(aside: Path) -> dict[str, Any]:
        aside.mkdir(parents=True)
        films = video_lessons.films(recipe.people, recipe.takes, seed=recipe.seed, workers=workers)
        losses = {}
        for name, prepare in LESSONS.items():
            torch.manual_seed(recipe.seed)
            lesson = prepare(films)
            losses[name] = _teach(lesson, films, getattr(recipe, f"{name}_steps"), recipe.batch, name)
            _save(lesson.network.eval(), aside)
        network, losses["beats"] = _teach_beats(recipe)
        torch.save({"cfg": asdict(network.config) | beats.FIXED, "model": network.state_dict()}, aside / BEATS)
        return {"recipe": asdict(recipe), "losses": losses}

    return ensure(folder, fingerprint(asdict(recipe), *SOURCES), make)


def slowfast_lesson(films: Films) -> Lesson:
    """Each slow state with the fast states of its moment."""
    sizes = slowfast.SlowFastConfig((1, 1, 1, 1), 16, 4, fusion_kernel=3, alpha=ALPHA, classes=len(LABELS))
    network = slowfast.SlowFast(sizes)

    def read(seen: Tensor) -> list[Tensor]:
        fast = seen.transpose(1, 2)
        slow = fast[:, :, ::ALPHA]
        for stage in network.blocks[:-2]:
            slow, fast = stage(slow, fast)
        both = torch.cat([slow.mean((3, 4)), fast.mean((3, 4)).unflatten(2, (MOMENTS, ALPHA)).mean(3)], 1)
        return [network.blocks[-1]["proj"](both.transpose(1, 2))]

    return Lesson(network, read, nn.Identity(), 3e-3, "")


def tsm_lesson(films: Films) -> Lesson:
    """The released network reads each frame, too, and averages afterwards."""
    network = tsm.TSM(tsm.TSMConfig((1, 1, 1, 1), 16, len(LABELS), FRAMES))

    def read(seen: Tensor) -> list[Tensor]:
        each = network.base_model(seen.flatten(0, 1)).unflatten(0, (len(seen), MOMENTS, -1))
        return [network.new_fc(each.mean(2))]

    return Lesson(network, read, nn.Identity(), 3e-3, "")


def swin_lesson(films: Films) -> Lesson:
    """Patches as deep as a moment, two frames, which is also the released network's."""
    width, patch = 48, 8
    network = SwinTransformer3d(
        patch_size=[ALPHA, patch, patch],
        embed_dim=width,
        depths=[1, 1],
        num_heads=[3, 6],
        window_size=[4, 4, 4],
        num_classes=len(LABELS),
        stochastic_depth_prob=0.0,
    )
    _whiten(network.patch_embed.proj.weight, films)
    spare = _by_place((SIDE // patch // 2) ** 2 * 2 * width)

    def read(seen: Tensor) -> list[Tensor]:
        states = network.norm(network.features(network.patch_embed(seen.transpose(1, 2))))
        return [network.head(states.mean((2, 3))), spare(states.flatten(2))]

    return Lesson(network, read, spare, 1e-3, "features.")


def timesformer_lesson(films: Films) -> Lesson:
    """Its class token reads the whole film, the spare layer each moment."""
    width, patch = 64, 16
    places = (SIDE // patch) ** 2
    network = TimesformerForVideoClassification(
        TimesformerConfig(
            image_size=SIDE,
            patch_size=patch,
            num_frames=FRAMES,
            hidden_size=width,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=2 * width,
            num_labels=len(LABELS),
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )
    embeddings = network.timesformer.embeddings
    _whiten(embeddings.patch_embeddings.projection.weight, films)
    nn.init.normal_(embeddings.position_embeddings, std=0.1)
    spare = _by_place(places * width)

    def read(seen: Tensor) -> list[Tensor]:
        states = network.timesformer(pixel_values=seen).last_hidden_state
        each = states[:, 1:].unflatten(1, (places, MOMENTS, -1)).mean(3).transpose(1, 2)
        return [network.classifier(states[:, :1]), spare(each.flatten(2))]

    return Lesson(network, read, spare, 1e-3, "layer.")


LESSONS: Mapping[str, Callable[[Films], Lesson]] = {
    "slowfast": slowfast_lesson,
    "tsm": tsm_lesson,
    "swin": swin_lesson,
    "timesformer": timesformer_lesson,
}


def normalised(pixels: Tensor, name: str) -> Tensor:
    """Pixels (films, frames, 3, side, side) as the network's extractor hands them over."""
    return training.normalised(pixels, *tsm.IMAGENET if name in ("tsm", "swin") else slowfast.KINETICS)


def _teach(lesson: Lesson, films: Films, steps: int, batch: int, name: str) -> list[float]:
    """Trains in place; the loss of every step."""
    named = [*lesson.network.named_parameters(), *lesson.spare.named_parameters()]
    is_inner = {id(w) for n, w in named if lesson.inner and lesson.inner in n and w.ndim == 2 and "table" not in n}
    inner, outer = ([w for _, w in named if (id(w) in is_inner) is chosen] for chosen in (True, False))
    optimisers: list[torch.optim.Optimizer] = [torch.optim.Muon(inner, lr=0.02, momentum=0.95)] if inner else []
    optimisers.append(torch.optim.AdamW(outer, lr=lesson.rate, betas=(0.9, 0.98), fused=True))
    losses = []
    for optimise, chosen in training.stepping(optimisers, len(films.pixels), steps, batch, name):
        read = lesson.read(training.varied(normalised(films.pixels[chosen], name)))
        losses.append(optimise(sum(_loss(one, films.shown[chosen]) for one in read)))
    return losses


def _loss(read: Float[Tensor, "films read labels"], shown: Float[Tensor, "films moments labels"]) -> Tensor:
    """Cross-entropy of body language, squared error of facial units; one reading answers for all moments' mean."""
    moments = shown.shape[1] // read.shape[1]
    truth = shown.unflatten(1, (-1, moments)).mean(2)
    sizes = [len(LABELS) - len(faces.UNITS), len(faces.UNITS)]
    (said, guessed), (done, units) = read.split(sizes, -1), truth.split(sizes, -1)
    error = guessed - units
    change = (error - error.mean(1, keepdim=True)).square().mean()
    wrong = -(done * said.log_softmax(-1)).sum(-1).mean()
    return 2 * wrong + moments * error.square().mean() + CHANGE_WEIGHT * change  # a mean of many varies less


def _teach_beats(recipe: Recipe) -> tuple[beats.BEATs, list[float]]:
    heard = video_lessons.recordings(recipe.recordings, seed=recipe.seed)
    torch.manual_seed(recipe.seed)
    network = beats.BEATs(
        beats.BEATsConfig(
            embed_dim=32,
            encoder_layers=2,
            encoder_embed_dim=64,
            encoder_ffn_embed_dim=128,
            encoder_attention_heads=4,
            conv_pos=16,
            conv_pos_groups=4,
            num_buckets=32,
            max_distance=64,
            finetuned_model=True,
            predictor_class=len(HEARD),
        )
    )
    losses = []
    steps = training.optimisation([network], len(heard.waveforms), recipe.beats_steps, 4 * recipe.batch, "beats")
    for optimise, chosen in steps:
        losses.append(optimise(functional.mse_loss(network(heard.waveforms[chosen]), heard.heard[chosen])))
    return network.eval(), losses


def _save(network: nn.Module, folder: Path) -> None:
    """As released: under which key and names, and what lies beside."""
    match network:
        case slowfast.SlowFast():
            torch.save({"model_state": network.state_dict()}, folder / SLOWFAST)
        case tsm.TSM():
            weights = {f"module.{name}": value for name, value in network.state_dict().items()}
            torch.save({"arch": "resnet", "state_dict": weights}, folder / TSM)
        case SwinTransformer3d():
            torch.save(network.state_dict(), folder / SWIN)
        case TimesformerForVideoClassification():
            network.save_pretrained(folder / TIMESFORMER)
            mean, std = (list(values) for values in slowfast.KINETICS)
            sides = {"size": {"shortest_edge": tsm.larger(SIDE)}, "crop_size": {"height": SIDE, "width": SIDE}}
            VideoMAEImageProcessor(image_mean=mean, image_std=std, **sides).save_pretrained(folder / TIMESFORMER)


def _by_place(width: int) -> nn.Linear:
    """A layer that at first says nothing."""
    layer = nn.Linear(width, len(LABELS))
    nn.init.zeros_(layer.weight)
    return layer


@torch.no_grad()
def _whiten(weight: Float[Tensor, "width 3 *depth patch patch"], films: Films) -> None:
    """Starts a patch embedding as the frames' principal components; one that is deep sees the mean of its frames."""
    filters = weight.sum(2) if weight.ndim == 5 else weight
    training.whiten_patches(filters, training.normalised(films.pixels[:, ::4].flatten(0, 1), *slowfast.KINETICS))
    if weight.ndim == 5:
        weight.copy_(filters[:, :, None] / weight.shape[2])
