"""Vectors that are a function of the text alone, to fill stores without a model."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from hybrid_core import Encoding, Fingerprint, Passage, SparseVector
from hybrid_core.stores.scoring import sparse_matrix

DIMENSION, VOCABULARY = 8, 64
FINGERPRINT = Fingerprint("by hand", "0123", DIMENSION, VOCABULARY, "cls", 512)


def dense_of(text: str, dimension: int = DIMENSION) -> np.ndarray:
    """A unit vector."""
    vector = np.random.default_rng(zlib.crc32(text.encode())).normal(size=dimension)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def sparse_of(text: str, vocabulary: int = VOCABULARY) -> SparseVector:
    """Up to eight weighted tokens; none for blank text."""
    if not text.strip():
        return SparseVector.from_dict({})
    random = np.random.default_rng(zlib.crc32(text.encode()) + 1)
    tokens = random.choice(vocabulary, size=random.integers(1, 9), replace=False)
    weights = random.random(len(tokens)) + 0.1
    return SparseVector.from_dict(dict(zip(tokens.tolist(), weights.tolist(), strict=True)))


def encoding_of(texts: Sequence[str], dimension: int = DIMENSION) -> Encoding:
    """One row a text."""
    dense = np.stack([dense_of(text, dimension) for text in texts])
    return Encoding(dense, sparse_matrix([sparse_of(text) for text in texts], VOCABULARY))


def passages(n: int, start: int = 0) -> list[Passage]:
    """Passages p0000, p0001, ... with metadata to filter by."""
    return [
        Passage(f"p{i:04d}", f"text number {i}", {"n": i, "even": i % 2 == 0, "tags": [f"t{i % 3}", f"u{i % 5}"]})
        for i in range(start, start + n)
    ]
