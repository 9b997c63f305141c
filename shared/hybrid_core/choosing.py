"""What is taken of a ranked list: passages that differ from one another, and not too many of one document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import check_count, check_text
from .encoders.base import Encoder
from .errors import InvalidInputError
from .rerankers.stage import LAST
from .stores.base import Store
from .types import FloatArray, Hit


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which of the ranked passages a search returns; one without arguments takes the best, as a search without one.

    From the best down, a passage is left out that is nearly the same as one taken before, or of a document of which
    enough are taken. Of those that remain `diversity` chooses.

    Attributes:
        diversity: 0 keeps the order; up to 1, the next to be taken is the one with the highest

                (1 - diversity) * relevance - diversity * (its highest cosine with any passage taken before)

            (maximal marginal relevance: Carbonell and Goldstein, SIGIR 1998, whose lambda is 1 - diversity). The
            relevance is the reranker's score, and without a reranker the cosine with the query. So the most relevant
            comes first, and then scores need not descend. What a reranker did not score comes after what it did.
        near_duplicates: the cosine, from 0 to below 1, above which a passage counts as nearly the same, such as 0.95;
            None takes them all. Cosines are those of the dense vectors.
        per_parent: the most passages of one document, >= 1; None sets no limit.
        parent: the metadata key that names a passage's document. A passage that has none, or None there, is a document
            of its own.

    Raises:
        InvalidInputError: an attribute is out of range.

    Example:
        >>> with HybridIndex.open(None, encoder=BgeM3Encoder.tiny()) as index:
        ...     texts = ["A worker pulls tasks.", "A worker pulls tasks!", "网关在这里配置限流。"]
        ...     ids = index.add(texts, metadatas=[{"source": "en.md"}, {"source": "en.md"}, {"source": "zh.md"}])
        ...     hits = index.search("worker", selection=Selection(per_parent=1))
        >>> [hit.passage.metadata["source"] for hit in hits]
        ['en.md', 'zh.md']
    """

    diversity: float = 0.0
    near_duplicates: float | None = None
    per_parent: int | None = None
    parent: str = "source"

    def __post_init__(self) -> None:
        if not _is_share(self.diversity):
            raise InvalidInputError(f"diversity={self.diversity!r} must be a number from 0, as ranked, to 1")
        if self.near_duplicates is not None and not (_is_share(self.near_duplicates) and self.near_duplicates < 1):
            raise InvalidInputError(
                f"near_duplicates={self.near_duplicates!r} must be a cosine from 0 to below 1; None takes them all"
            )
        if self.per_parent is not None:
            check_count(self.per_parent, "per_parent", least=1)
        check_text(self.parent, "parent")

    @property
    def by_vector(self) -> bool:
        """Whether it looks at dense vectors."""
        return self.diversity > 0 or self.near_duplicates is not None


def choose(
    hits: Sequence[Hit],
    k: int,
    selection: Selection,
    *,
    vectors: ArrayLike | None = None,
    query: ArrayLike | None = None,
) -> list[Hit]:
    """Take at most k hits of a ranked list.

    Args:
        hits: best first.
        k: how many to take.
        selection: which.
        vectors: (n, d), the dense vectors of the hits, for a selection by vector; of any length, compared by cosine.
        query: (d,), the query's, for diversity among hits that no reranker scored.

    Returns:
        The hits as they are, in the order in which they are taken; equal values keep the order given.

    Raises:
        InvalidInputError: k is negative, or vectors are missing or do not fit.
    """
    check_count(k, "k")
    if not hits or k == 0:
        return []
    rows = _unit_rows(vectors, len(hits)) if selection.by_vector else None
    if rows is None or selection.diversity == 0:
        return [hits[i] for i in _distinct(hits, rows, selection, most=k)]
    kept = _distinct(hits, rows, selection, most=len(hits))
    scored = [i for i in kept if LAST in hits[i].stages]
    some = scored or kept
    if scored:
        relevance = np.array([hits[i].stages[LAST].score for i in scored], dtype=np.float64)
    else:
        relevance = rows[kept] @ _unit_query(query, rows)
    order = [some[j] for j in marginal(relevance, rows[some], k, selection.diversity)]
    order += [i for i in kept if i not in order]  # what the reranker left out; the cut takes the others away
    return [hits[i] for i in order[:k]]


def chosen(
    store: Store, encoder: Encoder, query: FloatArray, hits: Sequence[Hit], k: int, selection: Selection
) -> list[Hit]:
    """Take at most k hits of a search as `choose` does, by the dense vectors that the store keeps of them.

    Args:
        store: where the hits were found; not asked where vectors do not matter.
        encoder: makes those vectors again that the store does not find by their text: of a passage deleted meanwhile,
            or written by another program (`QdrantStore(adopt=True)`).
        query: (d,), the query's dense vector.
        hits: best first.
        k: how many to take.
        selection: which.
    """
    if not selection.by_vector or not hits or k == 0:
        return choose(hits, k, selection)
    texts = [hit.passage.text for hit in hits]
    places, found = store.encodings(texts)
    rows = {} if found is None else dict(zip(places, found.dense, strict=True))
    missing = [i for i in range(len(texts)) if i not in rows]
    if missing:
        made = encoder.encode_documents([texts[i] for i in missing]).dense
        rows |= zip(missing, made, strict=True)
    return choose(hits, k, selection, vectors=[rows[i] for i in range(len(texts))], query=query)


def marginal(relevance: NDArray[np.float64], rows: NDArray[np.float64], k: int, diversity: float) -> list[int]:
    """Choose rows by maximal marginal relevance, see `Selection.diversity`.

    Args:
        relevance: (n,), what each row is worth alone.
        rows: (n, d), of unit length.
        k: how many to choose.
        diversity: from 0 to 1.

    Returns:
        At most k positions, in the order of choice; of equal values the first comes first.
    """
    nearest = np.full(len(rows), -np.inf)  # of each row, its highest cosine with those chosen
    gain = relevance.copy()
    order: list[int] = []
    while len(order) < min(k, len(rows)):
        best = int(np.argmax(gain))
        order.append(best)
        nearest = np.maximum(nearest, rows @ rows[best])
        gain = (1 - diversity) * relevance - diversity * nearest
        gain[order] = -np.inf
    return order


def _distinct(hits: Sequence[Hit], rows: NDArray[np.float64] | None, selection: Selection, *, most: int) -> list[int]:
    """Return the positions of at most so many hits, none near to one before it or beyond the cap of its parent."""
    threshold = selection.near_duplicates
    nearest = np.full(len(hits), -np.inf)  # of each hit, its highest cosine with those taken
    of_parent: dict[str, int] = {}
    taken: list[int] = []
    for i, hit in enumerate(hits):
        if len(taken) == most:
            break
        parent = None if selection.per_parent is None else _parent(hit, selection.parent)
        full = parent is not None and of_parent.get(parent, 0) == selection.per_parent
        if full or (threshold is not None and nearest[i] > threshold):
            continue
        taken.append(i)
        if parent is not None:
            of_parent[parent] = of_parent.get(parent, 0) + 1
        if threshold is not None and rows is not None:
            nearest = np.maximum(nearest, rows @ rows[i])
    return taken


def _parent(hit: Hit, key: str) -> str | None:
    value = hit.passage.metadata.get(key)
    return None if value is None else json.dumps(value, sort_keys=True)  # any JSON value may name a document


def _unit_rows(vectors: ArrayLike | None, count: int) -> NDArray[np.float64]:
    rows = np.empty((0, 0)) if vectors is None else np.asarray(vectors, dtype=np.float64)
    if rows.ndim != 2 or len(rows) != count:
        raise InvalidInputError(f"vectors of shape {rows.shape} do not fit {count} hits; one dense row a hit is needed")
    return _unit(rows)


def _unit_query(query: ArrayLike | None, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    target = np.empty(0) if query is None else np.asarray(query, dtype=np.float64)
    if target.shape != rows.shape[1:]:
        raise InvalidInputError(f"query of shape {target.shape} does not fit vectors of shape {rows.shape}")
    return _unit(target)


def _unit(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows of length 1; in float64, where no square of a float32 overflows or vanishes."""
    lengths = np.linalg.norm(array, axis=-1, keepdims=True)
    unit: NDArray[np.float64] = array / np.where(lengths > 0, lengths, 1.0)
    return unit


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
