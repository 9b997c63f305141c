"""Exact scores and top-k, shared so that every store gives the same numbers to the last bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..types import FloatArray, Scored, SparseVector

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_SLACK = 1e-5  # a float32 matrix product may differ by this much with the shape of the matrix


def text_hash(text: str) -> bytes:
    """Return the content hash by which an unchanged text is recognised."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()


def exact_dense_scores(rows: FloatArray, vector: FloatArray) -> NDArray[np.float64]:
    """Return the inner products of rows (n, d) with a vector (d,), each row's independent of the others.

    A BLAS product is faster, but rounds by the shape of the matrix; it chooses candidates, this scores them.
    """
    scores: NDArray[np.float64] = np.einsum("ij,j->i", rows.astype(np.float64), vector.astype(np.float64))
    return scores


def dense_candidates(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the positions that may be among the k best once scored exactly; -inf marks what is left out."""
    if k <= 0:
        return np.empty(0, dtype=np.int64)
    if k >= len(scores):
        return np.flatnonzero(scores > -np.inf)
    kth = np.partition(scores, len(scores) - k)[len(scores) - k]
    return np.flatnonzero((scores >= kth - _SLACK) & (scores > -np.inf))


def best(
    scores: NDArray[np.float64], k: int, id_of: Callable[[int], str], positions: NDArray[np.integer[Any]] | None = None
) -> list[Scored]:
    """Return the k highest scores, best first, ties in order of id.

    Args:
        scores: one a position.
        k: how many at most.
        id_of: id of a position.
        positions: what `id_of` is asked with for each score; the score's own place if None.
    """
    if k <= 0 or not len(scores):
        return []
    if k < len(scores):
        kth = np.partition(scores, len(scores) - k)[len(scores) - k]
        chosen = np.flatnonzero(scores >= kth)  # every tie at the edge: the ids decide which stay
    else:
        chosen = np.arange(len(scores))
    items = [Scored(id_of(int(i if positions is None else positions[i])), float(scores[i])) for i in chosen]
    return sorted(items, key=lambda item: (-item.score, item.id))[:k]


def inverse_document_frequency(n: int, df: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return ln(1 + (N - df + 0.5) / (df + 0.5)) of tokens that df of N passages have, as Lucene's BM25Similarity."""
    factors: NDArray[np.float64] = np.log1p((n - df + 0.5) / (df + 0.5))
    return factors


def weighed(query: SparseVector, factors: NDArray[np.float64]) -> SparseVector:
    """Return a query with each weight multiplied by its factor, rounded to float32 once: a plain vector from then on.

    So scores are added as those of any other query are, and `explain` shows the very weights.
    """
    return SparseVector(query.indices, (query.values * factors).astype(np.float32), raw=query.values)


def sparse_matrix(rows: Sequence[SparseVector], vocabulary: int) -> csr_array:
    """Stack sparse vectors into CSR (n, vocabulary)."""
    from scipy.sparse import csr_array

    indptr = np.concatenate([[0], np.cumsum([len(row.indices) for row in rows])]).astype(np.int32)
    indices = np.concatenate([row.indices for row in rows]) if rows else np.empty(0, dtype=np.int32)
    values = np.concatenate([row.values for row in rows]) if rows else np.empty(0, dtype=np.float32)
    return csr_array((values, indices, indptr), shape=(len(rows), vocabulary))
