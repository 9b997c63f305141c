"""The sparse view: an inverted index in memory, a few sorted runs of postings.

Each batch of rows becomes a run; runs of similar size are merged, so there are never more than about log2(n) of them
and a row is moved log2(n) times in all. Scores are added in float64 in ascending order of token, in every run: the sum
a passage gets is the same wherever it lies, and the one `explain` shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...types import FloatArray, IntArray, SparseVector


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """Postings sorted by token: those of tokens[i] are slots and weights [starts[i] : starts[i + 1]]."""

    tokens: IntArray
    starts: NDArray[np.int64]
    slots: IntArray
    weights: FloatArray


class SparseView:
    """Finds which rows share tokens with a query. Rows are named by slot, an ascending number from 0."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    def append(self, first_slot: int, rows: Sequence[SparseVector]) -> None:
        """Add rows at slots first_slot, first_slot + 1, ..."""
        counts = [len(row.indices) for row in rows]
        if not sum(counts):
            return
        slots = np.repeat(np.arange(first_slot, first_slot + len(rows), dtype=np.int32), counts)
        tokens = np.concatenate([row.indices for row in rows])
        self._runs.append(_sorted_run(tokens, slots, np.concatenate([row.values for row in rows])))
        while len(self._runs) > 1 and len(self._runs[-2].slots) < 2 * len(self._runs[-1].slots):
            last = self._runs.pop()
            self._runs[-1] = _merge(self._runs[-1], last)

    def scores(self, query: SparseVector, slots: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Score every slot.

        Returns:
            The inner products (slots,) in float64, and which slots share a token with the query.
        """
        totals = np.zeros(slots, dtype=np.float64)
        shared = np.zeros(slots, dtype=np.bool_)
        for run in self._runs:
            at = np.searchsorted(run.tokens, query.indices)
            for i, token, weight in zip(at.tolist(), query.indices.tolist(), query.values.tolist(), strict=True):
                if i < len(run.tokens) and run.tokens[i] == token:
                    part = slice(run.starts[i], run.starts[i + 1])
                    totals[run.slots[part]] += weight * run.weights[part].astype(np.float64)
                    shared[run.slots[part]] = True
        return totals, shared


def _sorted_run(tokens: IntArray, slots: IntArray, weights: FloatArray) -> _Run:
    order = np.argsort(tokens, kind="stable")
    ordered = tokens[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    return _Run(ordered[first], np.append(first, len(ordered)), slots[order], weights[order])


def _merge(a: _Run, b: _Run) -> _Run:
    tokens = [np.repeat(run.tokens, np.diff(run.starts)) for run in (a, b)]
    return _sorted_run(
        np.concatenate(tokens), np.concatenate([a.slots, b.slots]), np.concatenate([a.weights, b.weights])
    )
