"""BGE-M3's sparse vectors as a LlamaIndex sparse embedding, and for the hybrid search of Qdrant and Milvus."""

from __future__ import annotations

import importlib
from typing import Any, TypeAlias

from llama_index.core.base.embeddings.base_sparse import BaseSparseEmbedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr

from hybrid_core.encoders.base import Encoder
from hybrid_core.encoders.sparse_weights import SparseWeights, Weights
from hybrid_core.encoders.written import named_after, with_encoder
from hybrid_core.errors import MissingDependencyError
from hybrid_core.searching import check_part

Columns: TypeAlias = tuple[list[list[int]], list[list[float]]]  # ids and weights of each text


class BgeM3SparseEmbedding(BaseSparseEmbedding):
    """Sparse vectors of BGE-M3, {token id: weight}, for vector stores that are there already.

    Such stores ask one object for dense and another for sparse vectors. Both classes over one encoder run the model
    once a question; so that they run it once a document too, give both a `OnePass` around the encoder.

    Args:
        encoder: a loaded encoder; its sparse weights must not need inverse document frequencies.
        embed_batch_size, settings: as in `BgeM3Embedding`, with the fields of BaseSparseEmbedding.

    Example:
        >>> sparse = BgeM3SparseEmbedding(OnePass(BgeM3Encoder.tiny()))
        >>> functions = {"sparse_doc_fn": sparse.sparse_doc_fn, "sparse_query_fn": sparse.sparse_query_fn}
        >>> store = QdrantVectorStore("docs", client=QdrantClient(":memory:"), enable_hybrid=True, **functions)
    """

    fingerprint: dict[str, Any] = Field(default_factory=dict, description="What decides which vector a text gets.")
    _weights: SparseWeights = PrivateAttr()

    def __init__(self, encoder: Encoder, *, embed_batch_size: int = 2048, **settings: Any) -> None:
        check_part(encoder, Encoder, "encoder")
        super().__init__(**named_after(encoder), embed_batch_size=embed_batch_size, **settings)
        self._weights = SparseWeights(encoder)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex writes this class down."""
        return "BgeM3SparseEmbedding"

    @classmethod
    def from_dict(cls, data: dict[str, Any], *, encoder: Encoder | None = None) -> BgeM3SparseEmbedding:
        """As `BgeM3Embedding.from_dict`."""
        return cls(**with_encoder({key: value for key, value in data.items() if key != "class_name"}, encoder))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings and the model's name, no weights."""
        return self.model_dump()

    def similarity(self, embedding1: Weights, embedding2: Weights) -> float:
        """Return the dot product, which BGE-M3 is trained for; LlamaIndex's own is the cosine."""
        return float(sum(weight * embedding2[token] for token, weight in embedding1.items() if token in embedding2))

    def sparse_doc_fn(self, texts: list[str]) -> Columns:
        """Encode passages for `QdrantVectorStore(sparse_doc_fn=...)`."""
        return _columns(self._weights.encode_documents(texts))

    def sparse_query_fn(self, texts: list[str]) -> Columns:
        """Encode queries for `QdrantVectorStore(sparse_query_fn=...)`."""
        return _columns(self._weights.encode_queries(texts))

    def for_milvus(self) -> Any:
        """Return the same for `MilvusVectorStore(sparse_embedding_function=...)`, which takes only its own class."""
        try:
            milvus = importlib.import_module("llama_index.vector_stores.milvus.utils")
        except ModuleNotFoundError as error:
            raise MissingDependencyError(f"{error}. Run: pip install llama-index-vector-stores-milvus") from error
        bases = (SparseWeights, milvus.BaseSparseEmbeddingFunction)
        return type("BgeM3SparseFunction", bases, {})(self._weights.encoder)

    def _get_query_embedding(self, query: str) -> Weights:
        return self._weights.encode_queries([query])[0]

    async def _aget_query_embedding(self, query: str) -> Weights:
        return (await self._weights.async_encode_queries([query]))[0]

    def _get_text_embedding(self, text: str) -> Weights:
        return self._weights.encode_documents([text])[0]

    async def _aget_text_embedding(self, text: str) -> Weights:
        return (await self._weights.async_encode_documents([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Weights]:
        return self._weights.encode_documents(texts)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Weights]:
        return await self._weights.async_encode_documents(texts)


def _columns(rows: list[Weights]) -> Columns:
    return [list(row) for row in rows], [list(row.values()) for row in rows]
