"""Batches by a budget of tokens, so that long texts never share a batch that memory cannot hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..types import IntArray


def token_batches(lengths: Sequence[int], budget: int) -> list[IntArray]:
    """Group texts of similar length.

    Args:
        lengths: tokens of each text, special tokens counted.
        budget: the most tokens a batch may hold once padded; a text longer than that gets a batch of its own.

    Returns:
        Batches of positions, longest texts first: each position once.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").astype(np.int32)
    batches: list[IntArray] = []
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


def pad(rows: Sequence[Sequence[int]], value: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return token ids (n, longest) padded on the right, and the mask: 1 for tokens, 0 for padding."""
    lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, value, dtype=np.int64)
    ids[mask] = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    return ids, mask.astype(np.int64)
