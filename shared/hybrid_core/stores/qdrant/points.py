"""Rows as Qdrant's points and back."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

import numpy as np

from ...errors import InvalidInputError, require
from ...types import SparseVector
from ..remote.rows import Parts, Row

OWN = "bge_hybrid"  # the entry of the payload that is ours
_DEEPEST = 32  # nesting of metadata that every JSON reader takes


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


def to_point(row: Row, names: QdrantNames) -> Any:
    """Return a row as a point.

    The metadata is there twice: as text, which comes back exactly, and as far as a server's JSON can hold it, for
    people and other programs to read and ask for.
    """
    models: Any = require("qdrant_client.models", "qdrant")
    vector: dict[str, Any] = {} if row.dense is None else {names.dense: row.dense.tolist()}
    if row.sparse is not None and len(row.sparse.indices):
        vector[names.sparse] = sparse_vector(row.sparse)
    own = {
        "id": row.id,
        "seq": row.seq,
        "text_hash": row.text_hash,
        "metadata": row.metadata,
        "facts": list(row.facts),
        "orders": row.orders,
    }
    plain = {key: entry for key, entry in json.loads(row.metadata).items() if _is_plain(entry)}
    return models.PointStruct(
        id=row.key, vector=vector, payload={names.text: row.text, names.metadata: plain, OWN: own}
    )


def to_row(point: Any, names: QdrantNames, score: float = 0.0) -> Row:
    """Return a point as a row; one of another program has its point id for an id."""
    payload = point.payload or {}
    own = payload.get(OWN) or {}
    vectors = point.vector or {}
    if not isinstance(vectors, dict):
        vectors = {"": vectors}
    dense, sparse = vectors.get(names.dense), vectors.get(names.sparse)
    metadata = own.get("metadata")
    weights = {} if sparse is None else dict(zip(sparse.indices, sparse.values, strict=True))
    return Row(
        key=str(point.id),
        id=own.get("id", str(point.id)),
        seq=own.get("seq", 0),
        text_hash=own.get("text_hash", ""),
        text=payload.get(names.text) or "",
        metadata=json.dumps(payload.get(names.metadata) or {}) if metadata is None else metadata,
        dense=None if dense is None else np.array(dense, dtype=np.float32),
        sparse=SparseVector.from_dict(weights),
        score=float(score),
    )


def sparse_vector(vector: SparseVector) -> Any:
    """Return a sparse vector as Qdrant's own; of a weighed query the raw weights, for Qdrant will weigh them itself."""
    models: Any = require("qdrant_client.models", "qdrant")
    values = vector.values if vector.raw is None else vector.raw
    return models.SparseVector(indices=vector.indices.tolist(), values=values.tolist())


def payload_of(parts: Parts, names: QdrantNames, *, adopted: bool) -> list[str]:
    """Return which entries of the payload to ask for."""
    wanted = [f"{OWN}.id", f"{OWN}.seq", f"{OWN}.text_hash"]
    if Parts.TEXT in parts:
        wanted.append(names.text)
    if Parts.METADATA in parts:
        wanted += [f"{OWN}.metadata", names.metadata] if adopted else [f"{OWN}.metadata"]
    return wanted


def vectors_of(parts: Parts, names: QdrantNames) -> list[str] | bool:
    """Return which vectors to ask for; the unnamed one can only be had with all others."""
    wanted = [names.dense] * (Parts.DENSE in parts) + [names.sparse] * (Parts.SPARSE in parts)
    return True if "" in wanted else wanted or False


def size_of(row: Row) -> int:
    """Return about how many bytes a row takes in a request: texts in UTF-8, numbers as decimals."""
    texts = len(row.id.encode()) + len(row.text.encode()) + 2 * len(row.metadata.encode())
    dense = 0 if row.dense is None else 24 * len(row.dense)
    sparse = 0 if row.sparse is None else 32 * len(row.sparse.indices)
    return 500 + texts + dense + sparse + 32 * len(row.facts) + 64 * len(row.orders)


def point_id(key: str) -> str | int:
    """Return a key as Qdrant wants it: numbers as numbers."""
    return int(key) if key.isdecimal() else key


def is_point_id(id: str) -> bool:
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
        return depth < _DEEPEST and all(_is_plain(item, depth + 1) for item in entry.values())
    if isinstance(entry, list):
        return depth < _DEEPEST and all(_is_plain(item, depth + 1) for item in entry)
    return not isinstance(entry, int) or -(2**63) <= entry < 2**63
