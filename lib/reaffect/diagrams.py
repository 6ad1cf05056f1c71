"""Omni-Emotion's Figures 2, 5 and 6, drawn from what ran: counts of a curation, shapes and tokens of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Patch, Rectangle
from torch import Tensor

from reaffect.curation.figures import Passed
from reaffect.errors import InputError
from reaffect.models.omni_emotion import PHASES, OmniClip, OmniEmotion
from reaffect.models.whisper_audio import Sound
from reaffect.plots import PALETTE

GREY = (0.6, 0.6, 0.6)

WIDTH = 0.8
"""Of a box, in columns."""

TITLE, TEXT = 8, 7
"""Sizes of letters, in points."""


class Box(NamedTuple):
    """A box of a diagram: a column, from where to where it is high, its lines of text, and its colour."""

    column: float
    low: float
    high: float
    title: str
    text: str
    colour: tuple[float, float, float] = GREY


def boxes_and_arrows(boxes: Mapping[str, Box], arrows: Sequence[tuple[str, str]], axis: Axes) -> Axes:
    """Boxes in columns; an arrow leaves a box on its right and is level where one of the two is high enough."""
    for box in boxes.values():
        corner, height = (box.column, box.low), box.high - box.low
        style = {"boxstyle": "round,pad=0,rounding_size=0.04", "fc": (*box.colour, 0.25), "ec": "0.3"}
        axis.add_patch(FancyBboxPatch(corner, WIDTH, height, **style))
        middle = box.column + WIDTH / 2, (box.low + box.high) / 2
        rise = 0.6 * (TEXT * len(box.text.splitlines()) - TITLE * len(box.title.splitlines()))
        options = {"textcoords": "offset points", "ha": "center", "linespacing": 1.15}
        axis.annotate(box.title, middle, (0, rise + 1), va="bottom", fontsize=TITLE, **options)
        axis.annotate(box.text, middle, (0, rise - 1), va="top", fontsize=TEXT, **options)
    for start, end in arrows:
        first, second = boxes[start], boxes[end]
        lower, higher = sorted((first, second), key=lambda box: box.high - box.low)
        level = (lower.low + lower.high) / 2
        ends = {id(lower): level, id(higher): min(max(level, higher.low), higher.high)}
        style = {"arrowstyle": "->", "color": "0.3", "shrinkA": 1, "shrinkB": 1}
        axis.annotate("", (second.column, ends[id(second)]), (first.column + WIDTH, ends[id(first)]), arrowprops=style)
    last = max(box.column for box in boxes.values())
    lowest, highest = min(box.low for box in boxes.values()), max(box.high for box in boxes.values())
    axis.set(xlim=(-0.05, last + WIDTH + 0.05), ylim=(lowest - 0.03, highest + 0.03))
    axis.axis("off")
    return axis


# ---- Figure 2


def curation(counts: Passed, axis: Axes) -> Axes:
    """Figure 2: the steps of a curation, with what went through each.

    Args:
        counts: from `curation.figures.passed`.
        axis: a wide one, ten inches by three.
    """
    told = {name: f"{count:,} of {counts.clips:,} clips" for name, count in counts.described.items()}
    causes = "\n".join(f"{cause}: {count:,}" for cause, count in counts.left_out.items()) or "none"
    describers, judge = PALETTE[0], PALETTE[4]
    boxes = {
        "clips": Box(0, 0, 1, "clips", f"{counts.clips:,}"),
        "scene": Box(1, 0.72, 1, "scene", told["scene"], describers),
        "face": Box(1, 0.36, 0.64, "faces", f"{told['face']}\n{counts.people:,} people", describers),
        "audio": Box(1, 0, 0.28, "sound", told["audio"], describers),
        "consistency": Box(
            2,
            0,
            1,
            "consistency",
            f"{counts.dropped:,} of\n{counts.descriptions:,} descriptions\ndropped\n\n"
            f"checked:\n{counts.checked:,} clips",
            judge,
        ),
        "annotation": Box(3, 0, 1, "reason, labels,\nintensity", f"{counts.annotated:,} clips", judge),
        "score": Box(4, 0, 1, "agreement\nwith the label", f"scored:\n{counts.scored:,} clips", judge),
        "SRE": Box(5, 0.72, 1, "SRE", f"{counts.selected:,} clips", PALETTE[1]),
        "rest": Box(5, 0, 0.28, "not selected", causes),
    }
    arrows = [("clips", name) for name in counts.described] + [(name, "consistency") for name in counts.described]
    arrows += [("consistency", "annotation"), ("annotation", "score"), ("score", "SRE"), ("score", "rest")]
    if counts.drawn is not None:
        place = (6, 0.72, 1) if counts.from_selected else (5, 0.36, 0.64)
        boxes["HRE"] = Box(*place, "HRE", f"{counts.drawn:,} clips\nfor people", PALETTE[2])
        arrows.append(("SRE" if counts.from_selected else "score", "HRE"))
    return boxes_and_arrows(boxes, arrows, axis)


# ---- Figure 5

TITLES = {
    "tower": "SigLIP",
    "face_encoder": "FaceXFormer",
    "ears": "Whisper",
    "visual_projector": "visual\nprojector",
    "face_projector": "face\nprojector",
    "audio_projector": "audio\nprojector",
    "frame_positions": "frame\nembedding",
    "face_attention": "cross-\nattention",
    "newline": "concatenation,\nend of frames",
    "visual_marks": "<vi_start>\n<vi_end>",
    "audio_marks": "<au_start>\n<au_end>",
    "language_model": "language\nmodel",
}
"""Parts of a network, as the paper names them; what joins frames and faces has LLaVA-OneVision's last token alone."""

LEARNING = [PALETTE[k] for k in (0, 1, 2, 4, 8, 9)]
"""Colours of parts that learn in the same phases."""


@torch.no_grad()
def shapes(network: OmniEmotion, clip: OmniClip, sound: Sound | None) -> dict[str, tuple[int, ...]]:
    """Shape of what leaves each part of a network that runs for one clip; all run but the language model.

    Args:
        network: any size; one on the meta device costs nothing.
        clip: pixels, or what the encoders made of them.
        sound: None for a clip without.

    Returns:
        By the part's name; of the language model, the soft tokens that enter it.

    Raises:
        ValueError: sound for a network without an audio branch.
    """
    found: dict[str, tuple[int, ...]] = {}

    def told(name: str, output: Tensor | tuple[Tensor, ...]) -> None:
        found[name] = tuple((output if isinstance(output, Tensor) else output[0]).shape)

    sounds = None if sound is None else [sound]
    with ExitStack() as hooks:
        for name, part in network.named_children():
            hooks.enter_context(
                part.register_forward_hook(lambda _part, _inputs, output, name=name: told(name, output))
            )
        [seen] = network.see([clip])
        [joined] = network.encode_video([seen])
        soft = network.encode([seen], sounds)
    found |= {"tower": tuple(seen.frames.shape), "newline": tuple(joined.shape)}
    if seen.faces is not None:
        found["face_encoder"] = tuple(seen.faces.shape)
    slots = {"visual_marks": "<vision_feature>", "audio_marks": "<audio_feature>"}
    found |= {name: tuple(soft[slot][0].shape) for name, slot in slots.items() if slot in soft}
    return found | {"language_model": (sum(len(tokens) for [tokens] in soft.values()), joined.shape[-1])}


def learns(part: str) -> str:
    """In which phases a part of the network is trained (`PHASES`), in words."""
    phases = [str(phase) for phase, parts in PHASES.items() if part in parts]
    return f"phase {', '.join(phases)}" if phases else "frozen"


def architecture(network: OmniEmotion, clip: OmniClip, sound: Sound | None, axis: Axes) -> Axes:
    """Figure 5: a network's parts, what leaves each for one clip, and in which phases it learns.

    Args:
        network, clip, sound: as for `shapes`.
        axis: a wide one, ten inches by four and a half.

    Raises:
        ValueError: as for `shapes`.
    """
    found = shapes(network, clip, sound)
    parts = {name for name, _ in network.named_children()}
    colours = dict(zip(sorted({learns(name) for name in TITLES}), LEARNING, strict=False))
    face, audio, cross = "face_encoder" in parts, "ears" in parts, "face_attention" in parts
    join = 5 if cross else 4
    places = {
        "tower": (1, 0.79, 1),
        "visual_projector": (2, 0.79, 1),
        "face_encoder": (1, 0.51, 0.72),
        "face_projector": (2, 0.51, 0.72),
        "ears": (1, 0.23, 0.44),
        "audio_projector": (2, 0.23, 0.44),
        "frame_positions": (3, 0.51 if face else 0.79, 1),
        "face_attention": (4, 0.51, 0.72),
        "newline": (join, 0.51 if face else 0.79, 1),
        "visual_marks": (join + 1, 0.51 if face else 0.79, 1),
        "audio_marks": (join + 1, 0.23, 0.44),
        "language_model": (join + 2, 0, 1),
    }
    boxes = {
        "frames": Box(0, 0.79, 1, "frames", _size(clip.frames)),
        "faces": Box(0, 0.51, 0.72, "faces", "none" if clip.faces is None else _size(clip.faces)),
        "sound": Box(0, 0.23, 0.44, "sound", "none" if sound is None else _size(sound.heard)),
        "question": Box(0, 0, 0.16, "question", ""),
    }
    boxes = {name: box for name, box in boxes.items() if (name != "faces" or face) and (name != "sound" or audio)}
    for name in places.keys() & parts:
        shape = " × ".join(map(str, found[name])) if name in found else "not run"
        text = f"{shape}\n{learns(name)}" + "\n(soft tokens)" * (name == "language_model")
        boxes[name] = Box(*places[name], TITLES[name], text, colours[learns(name)])
    arrows = [
        ("frames", "tower"),
        ("tower", "visual_projector"),
        ("visual_projector", "frame_positions"),
        ("faces", "face_encoder"),
        ("face_encoder", "face_projector"),
        ("face_projector", "frame_positions"),
        ("frame_positions", "face_attention"),
        ("frame_positions", "newline"),
        ("face_attention", "newline"),
        ("newline", "visual_marks"),
        ("visual_marks", "language_model"),
        ("sound", "ears"),
        ("ears", "audio_projector"),
        ("audio_projector", "audio_marks"),
        ("audio_marks", "language_model"),
        ("question", "language_model"),
    ]
    return boxes_and_arrows(boxes, [(a, b) for a, b in arrows if a in boxes and b in boxes], axis)


def _size(states: Tensor) -> str:
    return " × ".join(map(str, states.shape))


# ---- Figure 6

KINDS = {
    "visual": PALETTE[0],
    "facial": PALETTE[1],
    "facial, after visual": PALETTE[8],
    "end of frames": PALETTE[7],
    "zeros": (1.0, 1.0, 1.0),
}
"""What a soft token depends on: its frame, its face, both, neither; zeros stand for a face that is not there."""


class Run(NamedTuple):
    """Soft tokens beside each other that depend on the same."""

    kind: str
    """Of `KINDS`."""
    frame: int | None
    """Whose, from 0; None for what depends on no frame and no face."""
    tokens: int


@torch.no_grad()
def token_order(network: OmniEmotion, clip: OmniClip) -> list[Run]:
    """In which order a network joins the tokens of frames and faces, told from what changes with which of them.

    Each frame and each face is changed in turn, and the soft tokens are compared; encoders run once.

    Args:
        network: on a device that holds values.
        clip: frames, and faces for those frames that have one.

    Raises:
        InputError: the network is on the meta device, or a token depends on more than one frame.
    """
    if network.newline.weight.is_meta:
        raise InputError("A network on the meta device has no values to compare. Build it on the processor.")
    [seen] = network.see([clip])
    [base] = network.encode_video([seen])

    def moved(changed: OmniClip) -> list[bool]:
        [tokens] = network.encode_video([changed])
        return ((tokens - base).abs().amax(1) > 1e-6 * base.abs().max()).tolist()

    by_frame = [moved(replace(seen, frames=_changed(seen.frames, k))) for k in range(len(seen))]
    with_face = dict(enumerate(seen.places()))
    by_face = {with_face[k]: moved(replace(seen, faces=_changed(seen.faces, k))) for k in with_face}
    rows = [
        _told(
            [frame for frame, own in enumerate(by_frame) if own[place]],
            [frame for frame, own in by_face.items() if own[place]],
            bool(base[place].any()),
        )
        for place in range(len(base))
    ]
    return [Run(*told, len(list(own))) for told, own in groupby(rows)]


def token_rows(orders: Mapping[str, Sequence[Run]], axis: Axes) -> Axes:
    """Figure 6: the sequence of tokens under each fusion, a row each; numbers are tokens, and under them frames.

    Args:
        orders: by title, from `token_order`.
        axis: a wide one, ten inches by three.

    Raises:
        InputError: there is no order to draw.
    """
    if not any(orders.values()):
        raise InputError("There is no order of tokens to draw. Pass what `token_order` returns, by the fusion's title.")
    for row, (title, order) in enumerate(orders.items()):
        axis.text(0, -row, title, ha="left", va="bottom", fontsize=9)
        for place, run in enumerate(order):
            hatch = "////" if run.kind == "facial, after visual" else None
            face = (*KINDS[run.kind], 0.45)
            axis.add_patch(Rectangle((place, -row - 0.38), 0.94, 0.34, fc=face, ec="0.3", lw=0.8, hatch=hatch))
            box = {"fc": "white", "ec": "none", "pad": 1, "alpha": 0.85}
            axis.text(place + 0.47, -row - 0.21, f"{run.tokens:,}", ha="center", va="center", fontsize=8, bbox=box)
            if run.frame is not None:
                axis.text(place + 0.47, -row - 0.42, f"frame {run.frame + 1}", ha="center", va="top", fontsize=6.5)
    shown = {run.kind for order in orders.values() for run in order}
    marks = [
        Patch(fc=(*colour, 0.45), ec="0.3", hatch="////" if kind == "facial, after visual" else None, label=kind)
        for kind, colour in KINDS.items()
        if kind in shown
    ]
    axis.legend(handles=marks, frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, 0), ncols=5)
    axis.set(xlim=(-0.1, max(map(len, orders.values())) + 0.1), ylim=(0.4 - len(orders), 0.3))
    axis.axis("off")
    return axis


def _changed(states: Tensor, row: int) -> Tensor:
    """With one row of another sign and size, zeros too."""
    states = states.clone()
    states[row] = 1 - 2 * states[row]
    return states


def _told(frames: list[int], faces: list[int], any_value: bool) -> tuple[str, int | None]:
    """A token's kind and frame, from which frames and faces change it."""
    if len({*frames, *faces}) > 1:
        raise InputError(f"A token depends on the frames {sorted({*frames, *faces})} at once: no fusion of Figure 6.")
    if faces:
        return "facial, after visual" if frames else "facial", faces[0]
    if frames:
        return "visual", frames[0]
    return "end of frames" if any_value else "zeros", None
