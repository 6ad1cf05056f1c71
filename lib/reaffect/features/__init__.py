"""Extractors: each turns a clip into a matrix (frames, width), and `extract` fills the store with them."""

from reaffect.features.extraction import Extracted, Extractor, extract

__all__ = ["Extracted", "Extractor", "extract"]
