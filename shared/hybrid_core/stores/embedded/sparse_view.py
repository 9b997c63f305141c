"""The sparse view: an inverted index in memory, a few runs of postings.

Each batch of rows becomes a run; runs of similar size are merged, so there are never more than about log2(n) of them
and a row is moved log2(n) times in all. Scores are added in float64 in ascending order of token, in every run: the sum
a passage gets is the same wherever it lies, and the one `explain` shows. The best are then found by block maxima, which
passes over most of the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...types import FloatArray, IntArray, SparseVector
from ..scoring import sparse_matrix

_BLOCK = 256


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """Postings by token: those of token t are slots and weights [starts[t] : starts[t + 1]], slots ascending."""

    starts: NDArray[np.int64]
    slots: IntArray
    weights: FloatArray


class SparseView:
    """Finds the rows whose sparse vectors have the highest inner product with a query's.

    Rows are named by slot, an ascending number from 0.

    Args:
        vocabulary: the number of token ids.
    """

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._runs: list[_Run] = []

    def append(self, first_slot: int, rows: Sequence[SparseVector]) -> None:
        """Add rows at slots first_slot, first_slot + 1, ..."""
        columns = sparse_matrix(rows, self._vocabulary).tocsc()
        if not columns.nnz:
            return
        slots = columns.indices.astype(np.int32) + np.int32(first_slot)
        self._runs.append(_Run(columns.indptr.astype(np.int64), slots, columns.data))
        while len(self._runs) > 1 and len(self._runs[-2].slots) < 2 * len(self._runs[-1].slots):
            last = self._runs.pop()
            self._runs[-1] = _merge(self._runs[-1], last)

    def search(self, query: SparseVector, k: int, allowed: NDArray[np.bool_]) -> tuple[IntArray, NDArray[np.float64]]:
        """Return the slots, and their scores, that hold the k best; those that tie with the last of them included.

        Args:
            query: token ids beyond the vocabulary match nothing.
            k: at least 1.
            allowed: which slots may be returned (slots,).
        """
        totals = self._totals(query, len(allowed))
        totals[: len(allowed)] *= allowed
        blocks = totals.reshape(-1, _BLOCK)
        highest = blocks.max(axis=1)
        # the k-th best block has a row of that score, and so have the k - 1 before it: no lower row is among the k best
        least = np.partition(highest, len(highest) - k)[len(highest) - k] if k < len(highest) else 0.0
        chosen = np.flatnonzero((highest >= least) & (highest > 0))
        block, row = np.nonzero((blocks[chosen] >= least) & (blocks[chosen] > 0))
        slots = (chosen[block] * _BLOCK + row).astype(np.int32)
        return slots, totals[slots]

    def _totals(self, query: SparseVector, slots: int) -> NDArray[np.float64]:
        """Return the inner product with every slot, padded with zeros to whole blocks."""
        totals = np.zeros(-(-slots // _BLOCK) * _BLOCK, dtype=np.float64)
        tokens, weights = query.indices.tolist(), query.values.tolist()
        for run in self._runs:
            for token, weight in zip(tokens, weights, strict=True):
                if token < self._vocabulary:
                    part = slice(run.starts[token], run.starts[token + 1])
                    totals[run.slots[part]] += weight * run.weights[part].astype(np.float64)
        return totals


def _merge(a: _Run, b: _Run) -> _Run:
    """Join two runs; every slot of b is greater than every slot of a."""
    # an entry moves back by the other run's entries of smaller tokens, and b's by a's of the same token too
    at_a = np.arange(len(a.slots)) + np.repeat(b.starts[:-1], np.diff(a.starts))
    at_b = np.arange(len(b.slots)) + np.repeat(a.starts[1:], np.diff(b.starts))
    slots = np.empty(len(at_a) + len(at_b), dtype=np.int32)
    weights = np.empty(len(slots), dtype=np.float32)
    slots[at_a], slots[at_b] = a.slots, b.slots
    weights[at_a], weights[at_b] = a.weights, b.weights
    return _Run(a.starts + b.starts, slots, weights)
