"""Qdrant in the words of `remote.rows.Engine`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError, require
from ...types import FloatArray, SparseVector
from ..remote.conditions import ALWAYS, Condition, words
from ..remote.rows import Parts, Row, batches, key_of
from ..scoring import inverse_document_frequency
from .errors import QdrantGuard
from .filters import qdrant_filter
from .points import (
    QdrantNames,
    is_point_id,
    payload_of,
    point_id,
    size_of,
    sparse_vector,
    to_point,
    to_row,
    vectors_of,
)

_PAGE = 256  # points with vectors or texts in one request or answer
_BATCH_BYTES = 12_000_000  # in one request: a server takes 32 MB unless told otherwise
_LARGEST = 30_000_000  # bytes of one passage
# The local mode compares every point with every word of a filter, for every page: it gets one page, and a long filter
# is left to us.
_LOCAL_PAGE, _LOCAL_WORDS = 1_000_000, 32


class QdrantEngine:
    """A collection; `Engine` describes the methods.

    Args:
        client: a QdrantClient.
        collection: its name, checked.
        names: of vectors and payload entries.
        guard: turns the client's errors into ours.
        adopted: points of another program may be there, under their own ids.
        exact: scan instead of using HNSW.
        local: the client's own mode without a server.
    """

    deepest = 65_536

    def __init__(
        self,
        client: Any,
        collection: str,
        names: QdrantNames,
        guard: QdrantGuard,
        *,
        adopted: bool,
        exact: bool,
        local: bool,
    ) -> None:
        self.exact = exact or local
        self._client = client
        self._collection = collection
        self._names = names
        self._guard = guard
        self._adopted = adopted
        self._local = local
        self._models: Any = require("qdrant_client.models", "qdrant")

    def check(self, rows: Sequence[Row]) -> None:
        """Raise InvalidInputError for a passage that is larger than a request may be."""
        for row in rows:
            if not self._local and (size := size_of(row)) > _LARGEST:
                raise InvalidInputError(
                    f"id {row.id!r:.80} takes {size:,} bytes with its metadata and vectors; a Qdrant server takes "
                    f"requests of 32 MB, so {_LARGEST:,} are the most: split the text"
                )

    def write(self, rows: Sequence[Row]) -> None:
        """Upsert in batches, each acknowledged when it can be found."""
        for batch in batches(rows, _PAGE, _BATCH_BYTES, size_of):
            points = [to_point(row, self._names) for row in batch]
            with self._guard:
                self._client.upsert(self._collection, points=points, wait=True)

    def remove(self, keys: Sequence[str]) -> None:
        """Delete points by id."""
        for start in range(0, len(keys), 1_000):
            selector = self._models.PointIdsList(points=[point_id(key) for key in keys[start : start + 1_000]])
            with self._guard:
                self._client.delete(self._collection, points_selector=selector, wait=True)

    def keys(self, id: str) -> list[str]:
        """Return the UUID of an id and, in an adopted collection, the id itself where it can be a point's."""
        native = [id] if self._adopted and is_point_id(id) else []
        return [key_of(id), *native]

    def fetch(self, keys: Sequence[str], parts: Parts) -> list[Row]:
        """Retrieve points by id."""
        found: list[Any] = []
        for start in range(0, len(keys), _PAGE):
            with self._guard:
                found += self._client.retrieve(
                    self._collection,
                    ids=[point_id(key) for key in keys[start : start + _PAGE]],
                    with_payload=self._payload(parts),
                    with_vectors=vectors_of(parts, self._names),
                )
        return [to_row(point, self._names) for point in found]

    def scan(self, condition: Condition, parts: Parts) -> Iterator[Row]:
        """Scroll through the collection."""
        offset = None
        while True:
            with self._guard:
                points, offset = self._client.scroll(
                    self._collection,
                    scroll_filter=self._filter(condition),
                    limit=_LOCAL_PAGE if self._local else _PAGE if parts else 10_000,
                    offset=offset,
                    with_payload=self._payload(parts),
                    with_vectors=vectors_of(parts, self._names),
                )
            for point in points:
                yield to_row(point, self._names)
            if offset is None:
                return

    def nearest(self, query: FloatArray | SparseVector, n: int, condition: Condition, parts: Parts) -> list[Row]:
        """Search; of more than a page, ids first and the rest in pages."""
        sparse = isinstance(query, SparseVector)
        whole = self._local or n <= _PAGE
        with self._guard:
            points = self._client.query_points(
                self._collection,
                query=sparse_vector(query) if isinstance(query, SparseVector) else query.tolist(),
                using=self._names.sparse if sparse else self._names.dense or None,
                limit=n,
                query_filter=self._filter(condition),
                search_params=self._models.SearchParams(exact=True) if self.exact and not self._local else None,
                with_payload=self._payload(parts) if whole else False,
                with_vectors=vectors_of(parts, self._names) if whole else False,
            ).points
        if whole:
            return [to_row(point, self._names, point.score) for point in points]
        scores = {str(point.id): float(point.score) for point in points}
        rows = {row.key: row for row in self.fetch(list(scores), parts)}
        return [replace(rows[key], score=score) for key, score in scores.items() if key in rows]

    def inverse_frequencies(self, tokens: Sequence[int]) -> NDArray[np.float64]:
        """Ask how Qdrant scores, for each token alone, the best point that has it: that is the factor times a weight.

        Qdrant tells its document frequencies in no other way.
        """
        models, name = self._models, self._names.sparse
        requests = [
            models.QueryRequest(
                query=models.SparseVector(indices=[token], values=[1.0]), using=name, limit=1, with_vector=[name]
            )
            for token in tokens
        ]
        filled = models.Filter(must=[models.HasVectorCondition(has_vector=name)])
        answers: list[Any] = []
        with self._guard:
            n = int(self._client.count(self._collection, count_filter=filled, exact=True).count)
            for start in range(0, len(requests), _PAGE):
                answers += self._client.query_batch_points(self._collection, requests[start : start + _PAGE])
        factors = np.full(len(tokens), np.nan)
        for i, answer in enumerate(answers):
            for point in answer.points:
                vector = to_row(point, self._names).sparse
                factors[i] = point.score / (vector.as_dict()[tokens[i]] if vector else np.nan)
        return _exact(factors, n)

    def count(self) -> int:
        """Count the points."""
        with self._guard:
            return int(self._client.count(self._collection, exact=True).count)

    def close(self) -> None:
        """Close the client."""
        if self._guard.end():
            self._client.close()

    def _payload(self, parts: Parts) -> list[str]:
        return payload_of(parts, self._names, adopted=self._adopted)

    def _filter(self, condition: Condition) -> Any:
        return qdrant_filter(ALWAYS if self._local and words(condition) > _LOCAL_WORDS else condition)


def _exact(factors: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Undo the rounding to float32: of n points a whole number has the token, none where the factor is NaN.

    What fits no whole number stays: a server's statistics hold points that were deleted until it rebuilds the segment.
    """
    df = np.rint((n + 1) / np.exp(factors) - 0.5)
    df = np.clip(np.nan_to_num(df), 0, n).astype(np.int64)
    exact = inverse_document_frequency(n, df)
    kept: NDArray[np.float64] = np.where(np.abs(exact - factors) > 1e-6 * np.maximum(1.0, factors), factors, exact)
    return kept
