"""What one search looks at: the index as of one commit, in memory and in maps, which needs no lock."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from ...types import FloatArray, Scored, SparseVector
from ..scoring import best, dense_candidates, exact_dense_scores, inverse_document_frequency, weighed
from .dense_view import DenseView
from .postings import Postings
from .vectors_file import scan, scan_some

_EXACT = 20_000  # up to this many passages a look at every vector is as fast as HNSW, and misses none
_DEEPEST = 2_000  # more than this many are not asked of HNSW
_SHARE = 3  # where less than one in so many is allowed, only those are looked at


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The index as of one commit.

    Attributes:
        ids: of every place.
        alive: which places have a passage (rows,),
        allowed: and which of these the filter allows; `alive` itself where there is none.
        vectors: dense vectors (rows, d).
        postings: the sparse view.
        dense: the dense view,
        token: by which it is known whether it is still the same,
        tail: and the first place that is not in it.
    """

    ids: list[str]
    alive: NDArray[np.bool_]
    allowed: NDArray[np.bool_]
    vectors: NDArray[np.floating]
    postings: Postings
    dense: DenseView
    token: str | None
    tail: int

    def search_dense(self, vector: FloatArray, k: int) -> list[Scored]:
        """Return the k best by inner product: the folded passages by HNSW, the others exactly."""
        tail = self.tail + _candidates(self.vectors[self.tail :], self.allowed[self.tail :], vector, k)
        places = np.concatenate([self._folded(vector, k), tail])
        if not len(places):
            return []
        rows = self.vectors[places].astype(np.float32, copy=False)
        return best(exact_dense_scores(rows, vector), k, self.ids.__getitem__, places)

    def search_sparse(self, vector: SparseVector, k: int) -> list[Scored]:
        """Return the k best by inner product among those that share a token."""
        places, scores = self.postings.search(vector, k, self.allowed)
        return best(scores, k, self.ids.__getitem__, places)

    def weighed(self, vector: SparseVector) -> SparseVector:
        """Return a query with its weights multiplied by inverse document frequencies."""
        n, df = self.postings.frequencies(vector.indices, self.alive)
        return weighed(vector, inverse_document_frequency(n, df))

    def _folded(self, vector: FloatArray, k: int) -> NDArray[np.int64]:
        """Return places before the tail that may be among the k best: from HNSW, or where that is no use, exactly.

        HNSW knows no filter: it is asked for as many more as the filter leaves out, and then for more again.
        """
        allowed = self.allowed[: self.tail]
        left = int(np.count_nonzero(allowed))
        if left > _EXACT:
            wanted = ceil(k * len(allowed) / left)
            while wanted <= _DEEPEST:
                found = self.dense.search(vector, min(2 * wanted, len(allowed)), self.token)
                if found is None:
                    break
                found = found[found < self.tail]
                found = found[allowed[found]]
                if len(found) >= k:
                    return found
                wanted *= 4
        return _candidates(self.vectors[: self.tail], allowed, vector, k)


def _candidates(
    vectors: NDArray[np.floating], allowed: NDArray[np.bool_], vector: FloatArray, k: int
) -> NDArray[np.int64]:
    """Return the places that may be among the k best, by a look at every one that is allowed."""
    left = np.count_nonzero(allowed)
    if left * _SHARE < len(allowed):
        places = np.flatnonzero(allowed)
        return places[dense_candidates(scan_some(vectors, places, vector), k)]
    scores = scan(vectors, vector)
    scores[~allowed] = -np.inf
    return dense_candidates(scores, k)
