"""What a face looks like: landmarks, action units, and a vision transformer's view of its crop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModel

from reaffect import faces, media
from reaffect.errors import InputError
from reaffect.features.extraction import preparing, pretrained
from reaffect.fingerprint import fingerprint


class Landmarks:
    """MediaPipe's mesh on equidistant frames: (frames, 936), x and y of 468 points in pixels; NaN without a face.

    Not fed to any model itself: crops and action units are made from it, so that faces are searched once.

    Args:
        frames: equidistant, first and last included (Vaiani et al. 2024, Section 5.1: 32).
    """

    name = "landmarks"
    width = 2 * faces.POINTS
    batch_size = 16

    def __init__(self, frames: int = 32):
        self.recipe = {"frames": frames}

    def prepare(self, clip: str) -> np.ndarray:
        found = [faces.landmarks(frame) for frame in media.read_frames(clip, self.recipe["frames"])]
        nowhere = np.full(self.width, np.nan, np.float32)
        return np.stack([nowhere if points is None else points.ravel() for points in found])

    def __call__(self, prepared: list[np.ndarray]) -> list[np.ndarray]:
        return prepared


class FaceViT:
    """CLS token of a vision transformer on each frame's face crop, or on the whole frame where there is no face.

    Paper: `google/vit-base-patch16-224-in21k` (768), as ViPER's released code. Tiny: the tower of the small
    Video-LLaVA, trained here to see facial units (128).

    Args:
        model: for `features.pretrained`; any model whose first token stands for the picture.
        landmarks: of each clip, from `Landmarks` with the same number of frames.
        frames: equidistant, first and last included.
        margin: side of the crop, see `faces.crop`; ViPER's is unstated.
    """

    name = "visual"
    batch_size = 8

    def __init__(self, model: str, landmarks: Mapping[str, np.ndarray], *, frames: int = 32, margin: float = 1.3):
        self.model, weights = pretrained(AutoModel, model)
        self.processor = preparing(AutoImageProcessor, model)
        self.landmarks = landmarks
        self.width = self.model.config.hidden_size
        self.recipe = {"model": weights, "landmarks": Landmarks(frames).recipe, "frames": frames, "margin": margin}

    def prepare(self, clip: str) -> torch.Tensor:
        frames = media.read_frames(clip, self.recipe["frames"])
        points = _points(self.landmarks, clip, len(frames))
        seen = [
            frame if np.isnan(found).any() else faces.crop(frame, found, self.recipe["margin"])
            for frame, found in zip(frames, points, strict=True)
        ]
        return self.processor(images=seen, return_tensors="pt")["pixel_values"]

    @torch.inference_mode()
    def __call__(self, prepared: list[torch.Tensor]) -> list[np.ndarray]:
        pixels = torch.cat(prepared).to(self.model.device)
        tokens = self.model(pixel_values=pixels).last_hidden_state[:, 0].float().cpu()
        return [part.numpy() for part in tokens.split([len(clip) for clip in prepared])]


class ActionUnits:
    """Twenty action units and seven expressions a frame (27), from the mesh; see `faces.action_units`.

    Stands for py-feat's 27 values in ViPER's fourth modality, whose models no package carries. With the licensed
    corpus, `corpora.hume_feats` reads the values that py-feat measured.

    Args:
        landmarks: of each clip, from `Landmarks`.
        frames: as there.
    """

    name = "action units"
    width = 27
    batch_size = 64

    def __init__(self, landmarks: Mapping[str, np.ndarray], *, frames: int = 32):
        self.landmarks = landmarks
        self.recipe = {"landmarks": Landmarks(frames).recipe, "at rest": fingerprint(faces.AT_REST)}

    def prepare(self, clip: str) -> np.ndarray:
        return _points(self.landmarks, clip, self.recipe["landmarks"]["frames"])

    def __call__(self, prepared: list[np.ndarray]) -> list[np.ndarray]:
        return [faces.action_units(points) for points in prepared]


def without_face(landmarks: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Clips in which some frame shows no face -> in how many."""
    counts: dict[str, Any] = {clip: int(np.isnan(points).any(1).sum()) for clip, points in landmarks.items()}
    return {clip: count for clip, count in counts.items() if count}


def _points(landmarks: Mapping[str, np.ndarray], clip: str, frames: int) -> np.ndarray:
    """A clip's landmarks (frames, 468, 2)."""
    if clip not in landmarks:
        raise InputError(
            f"{clip}: it has no landmarks; extract `Landmarks` of it first, their problems say what failed."
        )
    found = landmarks[clip]
    if len(found) != frames:
        raise InputError(
            f"{clip}: landmarks of {len(found)} frames, not {frames}; give both the same number of frames."
        )
    return found.reshape(frames, faces.POINTS, 2)
