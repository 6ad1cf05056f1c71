"""What can be said of a face: templates picked by CLIP, or an MLLM's descriptions, as sentence embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from transformers import AutoModel, AutoProcessor, AutoTokenizer

from reaffect import media
from reaffect.features.extraction import preparing, pretrained
from reaffect.fingerprint import fingerprint
from reaffect.prompts import TEMPLATES
from reaffect.store import Store


class Sentences:
    """CLS token of a text encoder: one vector a sentence.

    Paper: `roberta-base` (768). Tiny: all-MiniLM-L6-v2 (384), from a package.

    Args:
        model: for `features.pretrained`.
        max_length: tokens after which a sentence is cut (ViPER's templates: 16).
        store: by default the one under `paths.STORE`.
    """

    def __init__(self, model: str, *, max_length: int, store: Store | None = None):
        self.model, weights = pretrained(AutoModel, model)
        self.tokenizer = preparing(AutoTokenizer, model)
        self.width = self.model.config.hidden_size
        self.recipe = {"model": weights, "max_length": max_length}
        self._store = store or Store()

    def __call__(self, sentences: Sequence[str]) -> np.ndarray:
        """Embeddings (n, width), float32; each different sentence is embedded once."""
        computed = self._store.compute(
            "sentences", self.recipe, sentences, self._embed, batch_size=64, key=fingerprint, strict=True
        )
        rows = [computed.values[sentence] for sentence in sentences]
        return np.array(rows, np.float32).reshape(len(rows), self.width)  # no sentences are no rows

    @torch.inference_mode()
    def _embed(self, sentences: list[str]) -> list[np.ndarray]:
        length = self.recipe["max_length"]
        read = self.tokenizer(sentences, padding=True, truncation=True, max_length=length, return_tensors="pt")
        tokens = self.model(**read.to(self.model.device)).last_hidden_state
        return list(tokens[:, 0].float().cpu().numpy())


class NearestTemplates:
    """Each frame's nearest template by CLIP, as a sentence embedding: (frames, width).

    Paper: `openai/clip-vit-base-patch32`, as ViPER's released code. Tiny: a small CLIP trained here.

    Args:
        model: for `features.pretrained`.
        sentences: embeds the templates.
        frames: equidistant, first and last included.
    """

    name = "templates"
    batch_size = 8

    def __init__(self, model: str, sentences: Sentences, *, frames: int = 32):
        self.model, weights = pretrained(AutoModel, model)
        self.processor = preparing(AutoProcessor, model)
        self.width = sentences.width
        self.recipe = {"model": weights, "sentences": sentences.recipe, "templates": list(TEMPLATES), "frames": frames}
        self._embeddings = sentences(TEMPLATES)
        with torch.inference_mode():
            read = self.processor(text=list(TEMPLATES), padding=True, return_tensors="pt").to(self.model.device)
            self._templates = _unit(_pooled(self.model.get_text_features(**read)))

    def prepare(self, clip: str) -> torch.Tensor:
        frames = media.read_frames(clip, self.recipe["frames"])
        return self.processor(images=list(frames), return_tensors="pt")["pixel_values"]

    def __call__(self, prepared: list[torch.Tensor]) -> list[np.ndarray]:
        nearest = self.nearest(torch.cat(prepared)).split([len(clip) for clip in prepared])
        return [self._embeddings[chosen.numpy()] for chosen in nearest]

    @torch.inference_mode()
    def nearest(self, pixels: torch.Tensor) -> torch.Tensor:
        """Prepared frames (n, 3, side, side) -> index of the template with the largest cosine similarity (n,)."""
        images = _unit(_pooled(self.model.get_image_features(pixel_values=pixels.to(self.model.device))))
        return (images @ self._templates.T).argmax(1).cpu()


def replicated(descriptions: pd.DataFrame, sentences: Sentences, *, frames: int) -> dict[str, np.ndarray]:
    """One description a clip, on every frame (Vaiani et al. 2024, Section 4.3): clip -> (frames, width).

    Args:
        descriptions: what `VideoMLLM.describe` returned; clips without a text are left out.
        sentences: the text encoder.
        frames: how often a row is repeated.
    """
    known = descriptions.text.dropna()
    return {clip: np.repeat(row[None], frames, 0) for clip, row in zip(known.index, sentences(known), strict=True)}


def by_frame(descriptions: pd.DataFrame, sentences: Sentences) -> Mapping[str, np.ndarray]:
    """One description a frame, as from `VideoMLLM.describe_frames`: clip -> (frames, width)."""
    known = descriptions.dropna()
    rows = sentences(known.to_numpy().ravel().tolist())
    return dict(zip(known.index, rows.reshape(*known.shape, sentences.width), strict=True))


def _pooled(output: torch.Tensor | tuple) -> torch.Tensor:
    return output if torch.is_tensor(output) else output.pooler_output


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)
