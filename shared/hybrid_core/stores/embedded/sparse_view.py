"""The sparse view: an inverted index in memory, a few runs of postings.

Each batch of rows becomes a run; runs of similar size are merged, so there are never more than about log2(n) of them
and a row is moved log2(n) times in all. A run knows the tokens that occur in it and no others, so that ids may be as
sparse as hashes. Scores are added in float64 in ascending order of token, in every run: the sum a passage gets is the
same wherever it lies, and the one `explain` shows. The best are then found by block maxima, which passes over most of
the scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...types import FloatArray, IntArray, SparseVector
from ..scoring import sparse_matrix

_BLOCK = 256
_TABLE = 1 << 22  # up to this many ids, sorting by counting beats sorting by comparing


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """Postings by token: those of tokens[i] are slots and weights [starts[i] : starts[i + 1]]; all ascending."""

    tokens: IntArray
    starts: NDArray[np.int64]
    slots: IntArray
    weights: FloatArray

    def find(self, tokens: IntArray) -> Iterator[tuple[int, slice]]:
        """Yield (place among the tokens asked for, where its postings are) of those that occur here."""
        places = np.searchsorted(self.tokens, tokens)
        known = np.flatnonzero(places < len(self.tokens))
        known = known[self.tokens[places[known]] == tokens[known]]
        for place, at in zip(known.tolist(), places[known].tolist(), strict=True):
            yield place, slice(int(self.starts[at]), int(self.starts[at + 1]))


class SparseView:
    """Finds the rows whose sparse vectors have the highest inner product with a query's.

    Rows are named by slot, an ascending number from 0.
    """

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._blank: list[int] = []  # slots of rows without any token

    def append(self, first_slot: int, rows: Sequence[SparseVector]) -> None:
        """Add rows at slots first_slot, first_slot + 1, ..."""
        self._blank += [slot for slot, row in enumerate(rows, start=first_slot) if not len(row.indices)]
        run = _sort(first_slot, rows)
        if not len(run.slots):
            return
        self._runs.append(run)
        while len(self._runs) > 1 and len(self._runs[-2].slots) < 2 * len(self._runs[-1].slots):
            last = self._runs.pop()
            self._runs[-1] = _merge(self._runs[-1], last)

    def search(self, query: SparseVector, k: int, allowed: NDArray[np.bool_]) -> tuple[IntArray, NDArray[np.float64]]:
        """Return the slots, and their scores, that hold the k best; those that tie with the last of them included.

        Args:
            query: tokens that no row has match nothing.
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

    def frequencies(self, tokens: IntArray, alive: NDArray[np.bool_]) -> tuple[int, NDArray[np.int64]]:
        """Return how many rows have any token, and how many have each of these.

        Args:
            tokens: ascending.
            alive: which slots count (slots,).
        """
        df = np.zeros(len(tokens), dtype=np.int64)
        for run in self._runs:
            for place, part in run.find(tokens):
                df[place] += np.count_nonzero(alive[run.slots[part]])
        return int(np.count_nonzero(alive) - np.count_nonzero(alive[self._blank])), df

    def _totals(self, query: SparseVector, slots: int) -> NDArray[np.float64]:
        """Return the inner product with every slot, padded with zeros to whole blocks."""
        totals = np.zeros(-(-slots // _BLOCK) * _BLOCK, dtype=np.float64)
        weights = query.values.tolist()
        for run in self._runs:
            for place, part in run.find(query.indices):
                totals[run.slots[part]] += weights[place] * run.weights[part].astype(np.float64)
        return totals


def _sort(first_slot: int, rows: Sequence[SparseVector]) -> _Run:
    """Turn rows into postings."""
    from scipy.sparse import csr_array

    width = 1 + max((int(row.indices[-1]) for row in rows if len(row.indices)), default=0)
    matrix = sparse_matrix(rows, width)
    tokens = None
    if width > _TABLE:  # a table of all ids would be mostly empty: number those that occur
        tokens, numbers = np.unique(matrix.indices, return_inverse=True)
        matrix = csr_array((matrix.data, numbers.astype(np.int32), matrix.indptr), shape=(len(rows), len(tokens)))
    columns = matrix.tocsc()
    starts = columns.indptr.astype(np.int64)
    if tokens is None:
        tokens = np.flatnonzero(np.diff(starts)).astype(np.int32)
        starts = np.append(starts[tokens], starts[-1])
    return _Run(tokens, starts, columns.indices.astype(np.int32) + np.int32(first_slot), columns.data)


def _merge(a: _Run, b: _Run) -> _Run:
    """Join two runs; every slot of b is greater than every slot of a."""
    tokens = np.union1d(a.tokens, b.tokens)
    in_a, in_b = np.searchsorted(tokens, a.tokens), np.searchsorted(tokens, b.tokens)
    of_a, of_b = np.zeros((2, len(tokens)), dtype=np.int64)
    of_a[in_a], of_b[in_b] = np.diff(a.starts), np.diff(b.starts)
    starts = np.concatenate([[0], np.cumsum(of_a + of_b)])
    # of each token a's entries come first, then b's
    at_a = np.arange(len(a.slots)) + np.repeat(starts[in_a] - a.starts[:-1], np.diff(a.starts))
    at_b = np.arange(len(b.slots)) + np.repeat(starts[in_b] + of_a[in_b] - b.starts[:-1], np.diff(b.starts))
    slots = np.empty(len(at_a) + len(at_b), dtype=np.int32)
    weights = np.empty(len(slots), dtype=np.float32)
    slots[at_a], slots[at_b] = a.slots, b.slots
    weights[at_a], weights[at_b] = a.weights, b.weights
    return _Run(tokens, starts, slots, weights)
