"""Looking at hits again by their dense vectors: how relevant each is, and a choice of them that differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import check_count
from .choosing import marginal
from .errors import InvalidInputError
from .rerankers.stage import LAST
from .stores.base import Store
from .types import FloatArray, Hit


def maximal_marginal_relevance(query: ArrayLike, vectors: ArrayLike, k: int, diversity: float) -> list[int]:
    """Choose vectors that are near to a query and far from one another.

    Carbonell and Goldstein: The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing Summaries
    (SIGIR 1998). The nearest to the query comes first; then, time after time, the one with the highest

        (1 - diversity) * cosine(query, vector) - diversity * (its highest cosine with any chosen before)

    Args:
        query: (d,); of any length, as the vectors are: they are compared by cosine. The zero vector is like none.
        vectors: (n, d).
        k: how many to choose; all of them where there are not as many.
        diversity: from 0, the nearest alone, to 1, as different as can be. The paper's lambda is 1 - diversity.

    Returns:
        Positions in `vectors`, in the order of choice; equal values keep the order given.

    Raises:
        InvalidInputError: k is negative, diversity not in [0, 1], or the shapes do not fit.
    """
    check_count(k, "k")
    if isinstance(diversity, bool) or not isinstance(diversity, (int, float)) or not 0 <= diversity <= 1:
        raise InvalidInputError(f"diversity={diversity!r} must be a number from 0, the nearest alone, to 1")
    rows, target = _unit(np.atleast_2d(vectors)), _unit(np.atleast_2d(query))
    if not len(rows) or rows.shape[1:] == (0,):
        return []
    if target.shape != (1, rows.shape[1]):
        raise InvalidInputError(f"a query of shape {np.shape(query)} does not fit vectors of shape {rows.shape}")
    return marginal(rows @ target[0], rows, k, diversity)


def diversified(store: Store, query: ArrayLike, hits: Sequence[Hit], k: int, diversity: float) -> list[Hit]:
    """Choose hits by `maximal_marginal_relevance` over the dense vectors that the store keeps of them.

    Args:
        store: where the hits were found.
        query: the dense vector (d,) of the query.
        hits: the candidates.
        k: how many to choose.
        diversity: from 0 to 1, as there.

    Returns:
        At most k hits, as they are. One that was deleted meanwhile is left out.
    """
    places, vectors = _stored(store, hits)
    return [hits[places[i]] for i in maximal_marginal_relevance(query, vectors, k, diversity)]


def relevances(store: Store, query: FloatArray, hits: Sequence[Hit]) -> list[float]:
    """Return how relevant each hit is, from 0 to 1, comparable between queries, which fused scores are not.

    That is the reranker's score where one had its say, and 0 for a hit that it left out. Else it is the cosine of the
    dense vectors of query and passage, 0 if that is negative: for a hit that only the sparse side found, too. So these
    values need not descend as the hits do.

    Args:
        store: where the hits were found.
        query: the dense vector (d,) of the query, of unit length.
        hits: of one search.
    """
    if any(LAST in hit.stages for hit in hits):
        return [hit.stages[LAST].score if LAST in hit.stages else 0.0 for hit in hits]
    places, vectors = _stored(store, hits)
    values = [0.0] * len(hits)
    for place, cosine in zip(places, (vectors @ query).tolist() if places else (), strict=True):
        values[place] = min(1.0, max(0.0, cosine))
    return values


def _stored(store: Store, hits: Sequence[Hit]) -> tuple[list[int], FloatArray]:
    """Return the positions of hits whose texts the store still has, and these texts' dense vectors."""
    places, found = store.encodings([hit.passage.text for hit in hits]) if hits else ([], None)
    return places, np.empty((0, 0), dtype=np.float32) if found is None else found.dense


def _unit(rows: ArrayLike) -> NDArray[np.float64]:
    """Return rows of length 1; in float64, where no square of a float32 overflows or vanishes."""
    array = np.asarray(rows, dtype=np.float64)
    lengths = np.linalg.norm(array, axis=-1, keepdims=True)
    unit: NDArray[np.float64] = array / np.where(lengths > 0, lengths, 1.0)
    return unit
