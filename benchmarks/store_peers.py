"""Chroma, Qdrant and Milvus without a server, each through its own client, as its documentation shows it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .store_exact import CANDIDATES, K
from .vectors import DIMENSION, GROUP, Block, SparseRow

_NAME = "passages"


class Chroma:
    """Chroma's embedded client with default settings; it has no sparse side."""

    blocks: ClassVar[int] = 5  # it takes 5,461 rows at most
    sparse_side: ClassVar[bool] = False

    def __init__(self, folder: Path) -> None:
        import chromadb
        from chromadb.config import Settings

        self._client: Any = chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))
        self._collection = self._client.get_or_create_collection(_NAME, embedding_function=None)

    def write(self, blocks: Sequence[Block]) -> None:
        """Add documents with metadata and vectors."""
        self._collection.add(
            ids=[str(number) for block in blocks for number in block.numbers],
            embeddings=np.concatenate([block.vectors.dense for block in blocks]),
            metadatas=[metadata for block in blocks for metadata in block.metadatas],
            documents=[text for block in blocks for text in block.texts],
        )

    def dense(self, vector: NDArray[np.float32], *, filtered: bool = False) -> list[int]:
        """Query by its default distance, which orders unit vectors as the inner product does."""
        where: Any = {"group": GROUP} if filtered else None
        found = self._collection.query(query_embeddings=vector[None], n_results=K, include=[], where=where)
        return [int(id_) for id_ in found["ids"][0]]

    def sparse(self, row: SparseRow) -> list[int]:
        """Refuse: there is none."""
        raise NotImplementedError

    def hybrid(self, vector: NDArray[np.float32], row: SparseRow) -> list[int]:
        """Refuse as well."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the client."""
        self._client.close()


class Qdrant:
    """qdrant-client's local mode: the client without a server, in a folder."""

    blocks: ClassVar[int] = 1
    sparse_side: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        from qdrant_client import QdrantClient, models

        self._models = models
        self._client = QdrantClient(path=str(folder))
        match = models.MatchValue(value=GROUP)
        self._filter = models.Filter(must=[models.FieldCondition(key="group", match=match)])
        if not self._client.collection_exists(_NAME):
            self._client.create_collection(
                _NAME,
                vectors_config={"dense": models.VectorParams(size=DIMENSION, distance=models.Distance.DOT)},
                sparse_vectors_config={"sparse": models.SparseVectorParams()},
            )

    def write(self, blocks: Sequence[Block]) -> None:
        """Upsert points with text and metadata as their payload."""
        for block in blocks:
            points = [
                self._models.PointStruct(
                    id=number,
                    vector={
                        "dense": block.vectors.dense[i].tolist(),
                        "sparse": self._sparse_vector(block.vectors.sparse(i)),
                    },
                    payload={"text": block.texts[i], **block.metadatas[i]},
                )
                for i, number in enumerate(block.numbers)
            ]
            self._client.upsert(_NAME, points)

    def dense(self, vector: NDArray[np.float32], *, filtered: bool = False) -> list[int]:
        """Query the dense vectors."""
        return self._ask(vector.tolist(), using="dense", query_filter=self._filter if filtered else None)

    def sparse(self, row: SparseRow) -> list[int]:
        """Query the sparse vectors."""
        return self._ask(self._sparse_vector(row), using="sparse")

    def hybrid(self, vector: NDArray[np.float32], row: SparseRow) -> list[int]:
        """Prefetch either side and let Qdrant fuse."""
        sides = {"dense": vector.tolist(), "sparse": self._sparse_vector(row)}
        prefetch = [
            self._models.Prefetch(query=query, using=name, limit=CANDIDATES, filter=self._filter)
            for name, query in sides.items()
        ]
        fusion = self._models.RrfQuery(rrf=self._models.Rrf(k=60))
        return self._ask(fusion, prefetch=prefetch, with_payload=True)

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def _ask(self, query: Any, *, with_payload: bool = False, **options: Any) -> list[int]:
        found = self._client.query_points(_NAME, query=query, limit=K, with_payload=with_payload, **options)
        return [int(point.id) for point in found.points]

    def _sparse_vector(self, row: SparseRow) -> Any:
        return self._models.SparseVector(indices=row[0].tolist(), values=row[1].tolist())


class Milvus:
    """Milvus Lite through MilvusClient and a file."""

    blocks: ClassVar[int] = 1
    sparse_side: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        import pymilvus

        folder.mkdir(exist_ok=True)
        self._milvus: Any = pymilvus
        self._client: Any = pymilvus.MilvusClient(str(folder / "milvus.db"))
        self._filter = f"group == {GROUP}"
        if self._client.has_collection(_NAME):
            self._client.load_collection(_NAME)
            return
        kinds = pymilvus.DataType
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("number", kinds.INT64, is_primary=True)
        for name in ("text", "source"):
            schema.add_field(name, kinds.VARCHAR, max_length=4_000)
        for name in ("group", "year"):
            schema.add_field(name, kinds.INT64)
        schema.add_field("dense", kinds.FLOAT_VECTOR, dim=DIMENSION)
        schema.add_field("sparse", kinds.SPARSE_FLOAT_VECTOR)
        indexes = self._client.prepare_index_params()
        indexes.add_index("dense", index_type="AUTOINDEX", metric_type="IP")
        indexes.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
        self._client.create_collection(_NAME, schema=schema, index_params=indexes, consistency_level="Strong")

    def write(self, blocks: Sequence[Block]) -> None:
        """Insert entities with text and metadata."""
        for block in blocks:
            entities = [
                {
                    "number": number,
                    "text": block.texts[i],
                    **block.metadatas[i],
                    "dense": block.vectors.dense[i],
                    "sparse": _by_token(block.vectors.sparse(i)),
                }
                for i, number in enumerate(block.numbers)
            ]
            self._client.insert(_NAME, entities)

    def dense(self, vector: NDArray[np.float32], *, filtered: bool = False) -> list[int]:
        """Search the dense vectors."""
        return self._ask(vector, "dense", self._filter if filtered else "")

    def sparse(self, row: SparseRow) -> list[int]:
        """Search the sparse vectors."""
        return self._ask(_by_token(row), "sparse", "")

    def hybrid(self, vector: NDArray[np.float32], row: SparseRow) -> list[int]:
        """Let Milvus search either side and fuse."""
        options = {"param": {"metric_type": "IP"}, "limit": CANDIDATES, "expr": self._filter}
        request = self._milvus.AnnSearchRequest
        requests = [
            request(data=[vector], anns_field="dense", **options),
            request(data=[_by_token(row)], anns_field="sparse", **options),
        ]
        ranker = self._milvus.RRFRanker(60)
        found = self._client.hybrid_search(_NAME, requests, ranker=ranker, limit=K, output_fields=["text"])
        return [int(hit["number"]) for hit in found[0]]

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def _ask(self, query: Any, field: str, filter: str) -> list[int]:
        params = {"metric_type": "IP"}
        found = self._client.search(_NAME, [query], filter=filter, limit=K, anns_field=field, search_params=params)
        return [int(hit["number"]) for hit in found[0]]


def _by_token(row: SparseRow) -> dict[int, float]:
    return dict(zip(row[0].tolist(), row[1].tolist(), strict=True))
