"""Qdrant in the words of `remote.rows.Engine`: points, payloads and filters."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

import numpy as np

from ...errors import InvalidInputError, require
from ...types import FloatArray, SparseVector
from ..remote.conditions import ALWAYS, Between, Condition, Every, Has, Plain, Some, TextIs, Unless
from ..remote.rows import Parts, Row, key_of
from .errors import Guard

OWN = "bge_hybrid"  # the entry of the payload that is ours
_PAGE = 256  # points in one request
_BATCH_BYTES = 4_000_000  # of text and metadata in one request; a server takes 32 MB, vectors included
_LARGEST = 16_000_000  # bytes of text and metadata of one passage
_MOST_DEEP = 32  # nesting of metadata that every JSON reader takes


@dataclass(frozen=True, slots=True)
class QdrantNames:
    """What a collection calls its vectors and the entries of its payload; letters, digits, "_" and "-".

    `QdrantNames.langchain()` are langchain-qdrant's.
    """

    dense: str = "dense"
    sparse: str = "sparse"
    text: str = "text"
    metadata: str = "metadata"

    def __post_init__(self) -> None:
        for field in fields(self):
            name = getattr(self, field.name)
            empty = name == "" and field.name == "dense"  # Qdrant's unnamed vector
            if not isinstance(name, str) or not (empty or re.fullmatch(r"[A-Za-z0-9_-]+", name)) or name == OWN:
                raise InvalidInputError(f"{field.name}={name!r:.80}: a name of letters, digits, '_' and '-' is needed")

    @classmethod
    def langchain(cls) -> QdrantNames:
        """Return the names of collections that langchain-qdrant makes."""
        return cls("", "langchain-sparse", "page_content", "metadata")


class QdrantEngine:
    """A collection; `Engine` describes the methods.

    Args:
        client: a QdrantClient.
        collection: its name, checked.
        names: of vectors and payload entries.
        guard: turns the client's errors into ours.
        adopted: points of another program may be there, under their own ids.
        exact: scan instead of using HNSW.
        local: no server is behind it that bounds the size of a request.
    """

    deepest = 65_536

    def __init__(
        self, client: Any, collection: str, names: QdrantNames, guard: Guard, *, adopted: bool, exact: bool, local: bool
    ) -> None:
        self.exact = exact
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
            if not self._local and _size(row) > _LARGEST:
                raise InvalidInputError(
                    f"id {row.id!r:.80} has {_size(row):,} bytes of text and metadata; a Qdrant server takes requests of "
                    f"32 MB, so {_LARGEST:,} are the most a passage may have: split it"
                )

    def write(self, rows: Sequence[Row]) -> None:
        """Upsert in batches, each acknowledged when it can be found."""
        batch: list[Any] = []
        size = 0
        for row in rows:
            if batch and (len(batch) == _PAGE or size + _size(row) > _BATCH_BYTES):
                self._upsert(batch)
                batch, size = [], 0
            batch.append(self._point(row))
            size += _size(row)
        if batch:
            self._upsert(batch)

    def remove(self, keys: Sequence[str]) -> None:
        """Delete points by id."""
        for part in _parts(keys, 1_000):
            with self._guard:
                selector = self._models.PointIdsList(points=[_point_id(key) for key in part])
                self._client.delete(self._collection, points_selector=selector, wait=True)

    def keys(self, id: str) -> list[str]:
        """Return the UUID of an id and, in an adopted collection, the id itself where it can be a point's."""
        native = [id] if self._adopted and _is_point_id(id) else []
        return [key_of(id), *native]

    def fetch(self, keys: Sequence[str], parts: Parts) -> list[Row]:
        """Retrieve points by id."""
        found = []
        for part in _parts(keys, _PAGE):
            with self._guard:
                found += self._client.retrieve(
                    self._collection,
                    ids=[_point_id(key) for key in part],
                    with_payload=self._payload(parts),
                    with_vectors=self._vectors(parts),
                )
        return [self._row(point) for point in found]

    def scan(self, condition: Condition, parts: Parts) -> Iterator[Row]:
        """Scroll through a collection."""
        offset = None
        while True:
            with self._guard:
                points, offset = self._client.scroll(
                    self._collection,
                    scroll_filter=self._filter(condition),
                    limit=_PAGE if parts else 10_000,
                    offset=offset,
                    with_payload=self._payload(parts),
                    with_vectors=self._vectors(parts),
                )
            yield from map(self._row, points)
            if offset is None:
                return

    def nearest(self, query: FloatArray | SparseVector, n: int, condition: Condition, parts: Parts) -> list[Row]:
        """Search; of more than a page, ids first and the rest in pages."""
        if isinstance(query, SparseVector):
            name: str | None = self._names.sparse
            vector: Any = self._models.SparseVector(indices=query.indices.tolist(), values=query.values.tolist())
        else:
            name, vector = self._names.dense or None, query.tolist()
        whole = n <= _PAGE
        with self._guard:
            points = self._client.query_points(
                self._collection,
                query=vector,
                using=name,
                limit=n,
                query_filter=self._filter(condition),
                search_params=self._models.SearchParams(exact=True) if self.exact and not self._local else None,
                with_payload=self._payload(parts) if whole else False,
                with_vectors=self._vectors(parts) if whole else False,
            ).points
        if whole:
            return [self._row(point, point.score) for point in points]
        scores = {str(point.id): float(point.score) for point in points}
        rows = {row.key: row for row in self.fetch(list(scores), parts)}
        return [_scored(rows[key], score) for key, score in scores.items() if key in rows]

    def count(self) -> int:
        """Count the points."""
        with self._guard:
            return int(self._client.count(self._collection, exact=True).count)

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def _upsert(self, points: list[Any]) -> None:
        with self._guard:
            self._client.upsert(self._collection, points=points, wait=True)

    def _point(self, row: Row) -> Any:
        metadata = json.loads(row.metadata)
        vector: dict[str, Any] = {} if row.dense is None else {self._names.dense: row.dense.tolist()}
        if row.sparse is not None and len(row.sparse.indices):
            vector[self._names.sparse] = self._models.SparseVector(
                indices=row.sparse.indices.tolist(), values=row.sparse.values.tolist()
            )
        own = {
            "id": row.id,
            "seq": row.seq,
            "text_hash": row.text_hash,
            "metadata": row.metadata,
            "facts": list(row.facts),
            "orders": row.orders,
        }
        payload = {
            self._names.text: row.text,
            self._names.metadata: {key: entry for key, entry in metadata.items() if _is_plain(entry)},
            OWN: own,
        }
        return self._models.PointStruct(id=row.key, vector=vector, payload=payload)

    def _row(self, point: Any, score: float = 0.0) -> Row:
        payload = point.payload or {}
        own = payload.get(OWN) or {}
        vectors = point.vector or {}
        if not isinstance(vectors, dict):
            vectors = {"": vectors}
        dense, sparse = vectors.get(self._names.dense), vectors.get(self._names.sparse)
        metadata = own.get("metadata")
        return Row(
            key=str(point.id),
            id=own.get("id", str(point.id)),
            seq=own.get("seq", 0),
            text_hash=own.get("text_hash", ""),
            text=payload.get(self._names.text) or "",
            metadata=json.dumps(payload.get(self._names.metadata) or {}) if metadata is None else metadata,
            dense=None if dense is None else np.array(dense, dtype=np.float32),
            sparse=None if sparse is None else SparseVector.from_dict(dict(zip(sparse.indices, sparse.values, strict=True))),
            score=float(score),
        )

    def _payload(self, parts: Parts) -> list[str]:
        names = [f"{OWN}.id", f"{OWN}.seq", f"{OWN}.text_hash"]
        if Parts.TEXT in parts:
            names.append(self._names.text)
        if Parts.METADATA in parts:
            names += [f"{OWN}.metadata", self._names.metadata] if self._adopted else [f"{OWN}.metadata"]
        return names

    def _vectors(self, parts: Parts) -> Any:
        """Return which vectors to send; the unnamed one can only be had with all others."""
        names = [self._names.dense] * (Parts.DENSE in parts) + [self._names.sparse] * (Parts.SPARSE in parts)
        return True if "" in names else names or False

    def _filter(self, condition: Condition) -> Any:
        return None if condition == ALWAYS else self._models.Filter(must=[self._condition(condition)])

    def _condition(self, condition: Condition) -> Any:
        models = self._models
        match condition:
            case Has(tokens, True):
                return models.Filter(must=[self._any("facts", [token]) for token in tokens])
            case Has(tokens):
                return self._any("facts", tokens)
            case TextIs(hashes):
                return self._any("text_hash", hashes)
            case Between(path, low, high):
                return models.FieldCondition(key=f"{OWN}.orders.{path}", range=models.Range(gte=low, lte=high))
            case Plain():
                return models.IsEmptyCondition(is_empty=models.PayloadField(key=f"{OWN}.facts"))
            case Every(parts):
                return models.Filter(must=[self._condition(part) for part in parts])
            case Some(parts):
                return models.Filter(should=[self._condition(part) for part in parts])
            case Unless(part):
                return models.Filter(must_not=[self._condition(part)])

    def _any(self, name: str, values: Sequence[str]) -> Any:
        return self._models.FieldCondition(key=f"{OWN}.{name}", match=self._models.MatchAny(any=list(values)))


def _scored(row: Row, score: float) -> Row:
    from dataclasses import replace

    return replace(row, score=score)


def _parts(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def _size(row: Row) -> int:
    return 4 * (len(row.text) + 2 * len(row.metadata))  # at most: UTF-8 takes up to 4 bytes a character


def _point_id(key: str) -> str | int:
    return int(key) if key.isdecimal() else key


def _is_point_id(id: str) -> bool:
    """Say whether an id is a point's id as text: a UUID in lower case, or a number of 64 bits."""
    if re.fullmatch(r"0|[1-9][0-9]{0,19}", id):
        return int(id) < 2**64
    try:
        return str(UUID(id)) == id
    except ValueError:
        return False


def _is_plain(entry: Any, depth: int = 0) -> bool:
    """Say whether a server's JSON can hold an entry: no integers beyond 64 bits, no deep nesting."""
    if isinstance(entry, dict):
        return depth < _MOST_DEEP and all(_is_plain(item, depth + 1) for item in entry.values())
    if isinstance(entry, list):
        return depth < _MOST_DEEP and all(_is_plain(item, depth + 1) for item in entry)
    return not isinstance(entry, int) or -(2**63) <= entry < 2**63
