"""BGE-M3's sparse vectors for LangChain's Qdrant and Milvus stores."""

from __future__ import annotations

from typing import Any

from hybrid_core.encoders.base import Encoder
from hybrid_core.encoders.sparse_weights import SparseWeights, Weights
from hybrid_core.errors import require
from hybrid_core.searching import check_part


class BgeM3SparseEmbeddings:
    """Sparse vectors of BGE-M3 beside BgeM3Embeddings: hybrid search in the stores of langchain-qdrant and -milvus.

    Over one encoder both run the model once a question; over one `OnePass(encoder)`, once a document, too.

    Args:
        encoder: a loaded encoder.

    Raises:
        InvalidInputError: it is none, or only HybridVectorStore can finish its sparse weights.

    Example:
        >>> encoder = OnePass(BgeM3Encoder.tiny())
        >>> dense, sparse = BgeM3Embeddings(encoder), BgeM3SparseEmbeddings(encoder).for_qdrant()
    """

    def __init__(self, encoder: Encoder) -> None:
        check_part(encoder, Encoder, "encoder")
        self.encoder, self._weights = encoder, SparseWeights(encoder)

    def embed_documents(self, texts: list[str]) -> list[Any]:
        """Return {token id: weight} of each text, in the order given; `for_qdrant` has a class of Qdrant's instead."""
        return [self._form(weights) for weights in self._weights.encode_documents(texts)]

    def embed_query(self, text: str) -> Any:
        """Return the same of a query."""
        return self._form(self._weights.encode_queries([text])[0])

    async def aembed_documents(self, texts: list[str]) -> list[Any]:
        """As `embed_documents`, in a thread."""
        return [self._form(weights) for weights in await self._weights.async_encode_documents(texts)]

    async def aembed_query(self, text: str) -> Any:
        """As `embed_query`; tasks that ask at once share forward passes."""
        return self._form((await self._weights.async_encode_queries([text]))[0])

    def for_milvus(self) -> Any:
        """Return these as langchain-milvus's class, for `Milvus(embedding_function=[dense, this], ...)`.

        Milvus takes no empty vector: the id after the vocabulary's last stands for a text without weights.
        """
        theirs = require("langchain_milvus.utils.sparse", "langchain-milvus").BaseSparseEmbedding
        methods = {"_form": lambda self, weights: weights or {self.encoder.fingerprint.vocabulary: 1.0}}
        return type("ForMilvus", (BgeM3SparseEmbeddings, theirs), methods)(self.encoder)

    def for_qdrant(self) -> Any:
        """Return these as langchain-qdrant's class, for `QdrantVectorStore(sparse_embedding=this, ...)`."""
        theirs = require("langchain_qdrant", "langchain-qdrant")
        methods = {"_form": lambda self, weights: theirs.SparseVector(indices=[*weights], values=[*weights.values()])}
        return type("ForQdrant", (BgeM3SparseEmbeddings, theirs.SparseEmbeddings), methods)(self.encoder)

    def _form(self, weights: Weights) -> Any:
        return weights
