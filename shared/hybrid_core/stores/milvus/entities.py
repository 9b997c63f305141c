"""Rows as Milvus' entities and back, and the collection that holds them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from ...errors import InvalidInputError, require
from ...types import SparseVector
from ..remote.facts import range_paths
from ..remote.rows import Parts, Row

_CHUNK = 16_000  # characters, at most 64,000 bytes: VARCHAR takes 65,535
_CHUNKS = 4_096  # the most elements of an array
_LARGEST = 48_000_000  # bytes of one passage: a request takes 64 MB


def schema(dimension: int, description: str) -> Any:
    """Return the fields of a new collection."""
    pymilvus: Any = require("pymilvus", "milvus")
    kinds = pymilvus.DataType
    fields = pymilvus.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
    fields.add_field("pk", kinds.VARCHAR, is_primary=True, max_length=36)
    fields.add_field("seq", kinds.INT64)
    fields.add_field("text_hash", kinds.VARCHAR, max_length=32)
    for name in ("id", "text", "metadata"):
        fields.add_field(name, kinds.VARCHAR, max_length=65_535)
    for name in ("more_text", "more_metadata"):
        fields.add_field(name, kinds.ARRAY, element_type=kinds.VARCHAR, max_length=65_535, max_capacity=_CHUNKS)
    fields.add_field("facts", kinds.ARRAY, element_type=kinds.VARCHAR, max_length=24, max_capacity=4_096)
    fields.add_field("orders", kinds.JSON)
    fields.add_field("dense", kinds.FLOAT_VECTOR, dim=dimension)
    fields.add_field("sparse", kinds.SPARSE_FLOAT_VECTOR)
    return fields


def indexes(there: Collection[str], *, lite: bool, exact: bool) -> Any:
    """Return the indexes that every collection needs, without those whose names are there already.

    AUTOINDEX of sparse vectors is the inverted index on a Milvus server, and all that Zilliz Cloud takes.
    """
    wanted = {
        "dense": {"index_type": "FLAT" if exact else "AUTOINDEX", "metric_type": "IP"},
        "sparse": {"index_type": "SPARSE_INVERTED_INDEX" if lite else "AUTOINDEX", "metric_type": "IP"},
    }
    if not lite:  # Lite has no index of arrays
        wanted |= {"text_hash": {"index_type": "INVERTED"}, "facts": {"index_type": "INVERTED"}}
    params: Any = require("pymilvus", "milvus").MilvusClient.prepare_index_params()
    for name, options in wanted.items():
        if name not in there:
            params.add_index(name, index_name=name, **options)
    return params


def range_indexes(there: Collection[str], keys: Sequence[str]) -> Any:
    """Return indexes for ranges of metadata keys, without those whose names are there already."""
    params: Any = require("pymilvus", "milvus").MilvusClient.prepare_index_params()
    for path in dict.fromkeys(path for key in keys for path in range_paths(key)):
        if path not in there:
            cast = {"json_path": f'orders["{path}"]', "json_cast_type": "DOUBLE"}
            params.add_index("orders", index_name=path, index_type="INVERTED", params=cast)
    return params


def check_row(row: Row) -> None:
    """Raise InvalidInputError for a passage that exceeds what Milvus can hold."""
    if len(row.id) > _CHUNK:
        raise InvalidInputError(
            f"id {row.id!r:.80} has {len(row.id):,} characters; Milvus takes {_CHUNK:,}: shorten it"
        )
    if (size := size_of(row)) > _LARGEST:
        raise InvalidInputError(
            f"id {row.id!r:.80} takes {size:,} bytes with its metadata and vectors; Milvus takes requests of 64 MB, so "
            f"{_LARGEST:,} are the most: split the text"
        )


def to_entity(row: Row, vocabulary: int) -> dict[str, Any]:
    """Return a row as an entity.

    Milvus keeps no empty sparse vector: the index after the vocabulary's last, which no query has, stands for it.
    """
    text, *more_text = _chunks(row.text)
    metadata, *more_metadata = _chunks(row.metadata)
    return {
        "pk": row.key,
        "id": row.id,
        "seq": row.seq,
        "text_hash": row.text_hash,
        "text": text,
        "more_text": more_text,
        "metadata": metadata,
        "more_metadata": more_metadata,
        "facts": list(row.facts),
        "orders": row.orders,
        "dense": row.dense,
        "sparse": (row.sparse.as_dict() if row.sparse is not None else {}) or {vocabulary: 1.0},
    }


def to_row(entity: dict[str, Any], vocabulary: int, score: float = 0.0) -> Row:
    """Return an entity as a row."""
    dense, sparse = entity.get("dense"), entity.get("sparse") or {}
    return Row(
        key=entity["pk"],
        id=entity["id"],
        seq=int(entity["seq"]),
        text_hash=entity["text_hash"],
        text=entity.get("text", "") + "".join(entity.get("more_text") or ()),
        metadata=entity.get("metadata", "{}") + "".join(entity.get("more_metadata") or ()),
        dense=None if dense is None else np.array(dense, dtype=np.float32),
        sparse=SparseVector.from_dict({int(token): weight for token, weight in sparse.items() if token < vocabulary}),
        score=score,
    )


def fields_of(parts: Parts) -> list[str]:
    """Return which fields to ask for."""
    names = ["pk", "id", "seq", "text_hash"]
    names += ["text", "more_text"] * (Parts.TEXT in parts)
    names += ["metadata", "more_metadata"] * (Parts.METADATA in parts)
    return names + ["dense"] * (Parts.DENSE in parts) + ["sparse"] * (Parts.SPARSE in parts)


def size_of(row: Row) -> int:
    """Return about how many bytes a row takes in a request."""
    texts = len(row.id.encode()) + len(row.text.encode()) + len(row.metadata.encode())
    dense = 0 if row.dense is None else 4 * len(row.dense)
    sparse = 0 if row.sparse is None else 8 * len(row.sparse.indices)
    return 500 + texts + dense + sparse + 32 * len(row.facts) + 64 * len(row.orders)


def _chunks(text: str) -> list[str]:
    return [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)] or [""]
