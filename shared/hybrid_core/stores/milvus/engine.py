"""Milvus in the words of `remote.rows.Engine`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...types import FloatArray, SparseVector
from ..remote.conditions import Condition
from ..remote.rows import Parts, Row, batches, key_of
from .entities import check_row, fields_of, size_of, to_entity, to_row
from .errors import MilvusGuard
from .expressions import Template, inline

_BATCH, _BATCH_BYTES = 500, 8_000_000  # entities and bytes in one request
_MOST = 16_384  # the most entities in one answer
_PAGE, _LITE_PAGE = 500, 4_096  # those with vectors or texts; Lite filters every entity again for every page
_SPACE = 2**32  # the first 8 hexadecimal digits of a key


class MilvusEngine:
    """A collection; `Engine` describes the methods.

    Args:
        client: a MilvusClient.
        collection: its name, checked.
        guard: turns the client's errors into ours.
        vocabulary: size of the sparse side.
        timeout: seconds, for each request.
        lite: it is Milvus Lite, whose filters know no templates.
        stop: ends what was started for this store.
    """

    deepest = _MOST

    def __init__(
        self,
        client: Any,
        collection: str,
        guard: MilvusGuard,
        *,
        vocabulary: int,
        timeout: float,
        lite: bool,
        stop: Callable[[], object] | None,
    ) -> None:
        self.exact = lite  # its index is FLAT
        self._client = client
        self._collection = collection
        self._guard = guard
        self._vocabulary = vocabulary
        self._timeout = timeout
        self._lite = lite
        self._page = _LITE_PAGE if lite else _PAGE
        self._stop = stop

    def check(self, rows: Sequence[Row]) -> None:
        """Raise InvalidInputError for a passage that exceeds what Milvus can hold."""
        for row in rows:
            check_row(row)

    def write(self, rows: Sequence[Row]) -> None:
        """Upsert in batches."""
        for batch in batches(rows, _BATCH, _BATCH_BYTES, size_of):
            self._call("upsert", data=[to_entity(row, self._vocabulary) for row in batch])

    def remove(self, keys: Sequence[str]) -> None:
        """Delete entities by key."""
        for start in range(0, len(keys), _MOST):
            self._call("delete", ids=list(keys[start : start + _MOST]))

    def keys(self, id: str) -> list[str]:
        """Return the UUID of an id."""
        return [key_of(id)]

    def fetch(self, keys: Sequence[str], parts: Parts) -> list[Row]:
        """Query entities by key."""
        size = _PAGE if parts else _MOST
        found: list[Row] = []
        for start in range(0, len(keys), size):
            template = Template()
            template.add(f"pk in {template.value(list(keys[start : start + size]))}")
            found += self._query(template, parts, size)
        return found

    def scan(self, condition: Condition, parts: Parts) -> Iterator[Row]:
        """Query range after range of keys: they are UUIDs, so ranges of equal width hold about as many."""
        limit = self._page if parts else _MOST
        pieces = 2 * self._count(Template(condition)) // limit + 1
        ranges = [(i * _SPACE // pieces, (i + 1) * _SPACE // pieces) for i in reversed(range(pieces))]
        while ranges:
            low, high = ranges.pop()
            template = Template(condition)
            if low:
                template.add(f"pk >= {template.value(f'{low:08x}')}")
            if high < _SPACE:
                template.add(f"pk < {template.value(f'{high:08x}')}")
            rows = self._query(template, parts, limit)
            if len(rows) == limit and high - low > 1:  # there may be more
                middle = (low + high) // 2
                ranges += [(middle, high), (low, middle)]
            else:
                yield from rows

    def nearest(self, query: FloatArray | SparseVector, n: int, condition: Condition, parts: Parts) -> list[Row]:
        """Search; of more than a page, keys first and the rest in pages."""
        whole = n <= self._page
        sparse = isinstance(query, SparseVector)
        found = self._call(
            "search",
            Template(condition),
            data=[query.as_dict() if isinstance(query, SparseVector) else query],
            anns_field="sparse" if sparse else "dense",
            limit=n,
            search_params={"metric_type": "IP"},
            output_fields=fields_of(parts) if whole else ["pk"],
        )[0]
        scores = {str(hit["pk"]): float(hit["distance"]) for hit in found}
        if whole:
            return [to_row(hit["entity"] | {"pk": hit["pk"]}, self._vocabulary, scores[hit["pk"]]) for hit in found]
        rows = {row.key: row for row in self.fetch(list(scores), parts)}
        return [replace(rows[key], score=score) for key, score in scores.items() if key in rows]

    def inverse_frequencies(self, tokens: Sequence[int]) -> NDArray[np.float64]:
        """Milvus tells no document frequencies of sparse vectors; `MilvusStore` does not open for who needs them."""
        raise NotImplementedError

    def count(self) -> int:
        """Count the entities."""
        return self._count(Template())

    def close(self) -> None:
        """Close the client, and stop Lite."""
        if self._guard.end():
            self._client.close()
            if self._stop is not None:
                self._stop()

    def _count(self, template: Template) -> int:
        return int(self._call("query", template, output_fields=["count(*)"])[0]["count(*)"])

    def _query(self, template: Template, parts: Parts, limit: int) -> list[Row]:
        found = self._call("query", template, output_fields=fields_of(parts), limit=limit)
        return [to_row(entity, self._vocabulary) for entity in found]

    def _call(self, method: str, template: Template | None = None, **options: Any) -> Any:
        """Call the client by the name of its method: the one place where a request leaves."""
        if template is not None and self._lite:
            options["filter"] = inline(template)
        elif template is not None:
            options |= {"filter": template.text, "filter_params": template.values}
        with self._guard:
            return getattr(self._client, method)(self._collection, timeout=self._timeout, **options)
