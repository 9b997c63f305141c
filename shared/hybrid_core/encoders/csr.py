"""Token weights to sparse rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..types import FloatArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def to_csr(entries: list[NDArray[np.int64]], weights: list[FloatArray], shape: tuple[int, int]) -> csr_array:
    """Build the sparse side from (row * vocabulary + token) keys, the maximum over repeats."""
    from scipy.sparse import csr_array

    keys = np.concatenate(entries) if entries else np.empty(0, dtype=np.int64)
    values = np.concatenate(weights) if weights else np.empty(0, dtype=np.float32)
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    if len(starts):
        keys, values = keys[starts], np.maximum.reduceat(values, starts)
    counts = np.bincount(keys // shape[1], minlength=shape[0]) if shape[0] else np.empty(0, dtype=np.int64)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return csr_array((values, (keys % shape[1]).astype(np.int32), indptr), shape=shape)
