"""Searching the runs of an inverted index.

Scores are added in float64 in ascending order of token: the sum a passage gets is the same wherever it lies, and the
one `explain` shows. The best are then found by block maxima, which pass over most of the scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...types import IntArray, SparseVector
from .sparse_run import SPAN, Run

_BLOCK = 256
_PIECE = 16_384  # postings added at a time, by way of memory that stays in the processor's cache


@dataclass(frozen=True, slots=True, eq=False)
class Postings:
    """The runs at one moment, stretch by stretch; searched without a lock while others write."""

    stretches: tuple[tuple[Run, ...], ...]
    rows: int

    def search(
        self, query: SparseVector, k: int, allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the places, and their scores, that hold the k best; those that tie with the last of them included.

        Args:
            query: tokens that no passage has match nothing.
            k: at least 1.
            allowed: which places may be returned (rows,).
        """
        totals = self._totals(query)
        if not allowed.all():
            totals[: self.rows] *= allowed
        blocks = totals.reshape(-1, _BLOCK)
        highest = blocks.max(axis=1)
        # the k-th best block has a row of that score, and so have the k - 1 before it: no lower row is among the k best
        least = np.partition(highest, len(highest) - k)[len(highest) - k] if k < len(highest) else 0.0
        chosen = np.flatnonzero((highest >= least) & (highest > 0))
        block, row = np.nonzero((blocks[chosen] >= least) & (blocks[chosen] > 0))
        places = chosen[block] * _BLOCK + row
        return places, totals[places]

    def frequencies(self, tokens: IntArray, alive: NDArray[np.bool_]) -> tuple[int, NDArray[np.int64]]:
        """Return how many passages have any token, and how many have each of these.

        Args:
            tokens: ascending.
            alive: which places count (rows,).
        """
        df, n = np.zeros(len(tokens), dtype=np.int64), np.count_nonzero(alive)
        for stretch, runs in enumerate(self.stretches):
            here = alive[stretch * SPAN :]
            for run in runs:
                n -= np.count_nonzero(here[run.blank])
                for position, begin, end in run.find(tokens):
                    df[position] += np.count_nonzero(here[run.rows[begin:end]])
        return int(n), df

    def _totals(self, query: SparseVector) -> NDArray[np.float64]:
        """Return the inner product with every place, padded with zeros to whole blocks."""
        totals = np.zeros(-(-self.rows // _BLOCK) * _BLOCK, dtype=np.float64)
        weights = query.values.astype(np.float64)
        places, products, held = np.empty(_PIECE, dtype=np.intp), np.empty(_PIECE), 0
        for stretch, runs in enumerate(self.stretches):
            part = totals[stretch * SPAN : (stretch + 1) * SPAN]
            for run in runs:  # a passage is in one run, so the tokens of each come in their order
                for position, begin, end in _pieces(run, query.indices):
                    if held + end - begin > _PIECE:
                        np.add.at(part, places[:held], products[:held])
                        held = 0
                    upto = held + end - begin
                    places[held:upto] = run.rows[begin:end]
                    np.multiply(run.weights[begin:end], weights[position], out=products[held:upto])
                    held = upto
            np.add.at(part, places[:held], products[:held])
            held = 0
        return totals


def _pieces(run: Run, tokens: IntArray) -> Iterator[tuple[int, int, int]]:
    """Yield (position of a token, begin and end of some of its postings), at most `_PIECE` of them at a time."""
    for position, begin, end in run.find(tokens):
        for at in range(begin, end, _PIECE):
            yield position, at, min(at + _PIECE, end)
