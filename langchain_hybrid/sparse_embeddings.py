"""BGE-M3's sparse vectors for LangChain's Qdrant and Milvus stores."""

from __future__ import annotations

import asyncio
from typing import Any

from hybrid_core.encoders.base import Encoder, aencode_queries
from hybrid_core.errors import InvalidInputError, require
from hybrid_core.types import SparseVector


class BgeM3SparseEmbeddings:
    """Sparse vectors of BGE-M3 beside BgeM3Embeddings: hybrid search in the stores of langchain-qdrant and -milvus.

    Over one encoder both run the model once a question; over one `OnePass(encoder)`, once a document, too.

    Args:
        encoder: a loaded encoder.

    Raises:
        InvalidInputError: its sparse weights are to be multiplied by the store, as only HybridVectorStore does.

    Example:
        >>> encoder = OnePass(BgeM3Encoder.tiny())
        >>> dense, sparse = BgeM3Embeddings(encoder), BgeM3SparseEmbeddings(encoder).for_qdrant()
    """

    def __init__(self, encoder: Encoder) -> None:
        if encoder.fingerprint.sparse_weighting != "plain":
            raise InvalidInputError(f"{encoder!r} leaves part of the sparse score to the store; use HybridVectorStore")
        self.encoder = encoder

    def embed_documents(self, texts: list[str]) -> list[Any]:
        """Return {token id: weight} of each text, in the order given; `for_qdrant` has a class of Qdrant's instead."""
        encoding = self.encoder.encode_documents(texts)
        return [self._form(encoding.sparse_row(i)) for i in range(len(encoding))]

    def embed_query(self, text: str) -> Any:
        """Return the same of a query."""
        return self._form(self.encoder.encode_queries([text]).sparse_row(0))

    async def aembed_documents(self, texts: list[str]) -> list[Any]:
        """As `embed_documents`, in a thread."""
        return await asyncio.to_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> Any:
        """As `embed_query`; tasks that ask at once share forward passes."""
        return self._form((await aencode_queries(self.encoder, [text])).sparse_row(0))

    def for_milvus(self) -> Any:
        """Return these as langchain-milvus's class, for `Milvus(embedding_function=[dense, this], ...)`.

        Milvus takes no empty vector: the id after the vocabulary's last stands for a text without weights.
        """
        theirs = require("langchain_milvus.utils.sparse", "langchain-milvus").BaseSparseEmbedding
        methods = {"_form": lambda self, row: row.as_dict() or {self.encoder.fingerprint.vocabulary: 1.0}}
        return type("ForMilvus", (BgeM3SparseEmbeddings, theirs), methods)(self.encoder)

    def for_qdrant(self) -> Any:
        """Return these as langchain-qdrant's class, for `QdrantVectorStore(sparse_embedding=this, ...)`."""
        theirs = require("langchain_qdrant", "langchain-qdrant")

        def form(self: BgeM3SparseEmbeddings, row: SparseVector) -> Any:
            return theirs.SparseVector(indices=row.indices.tolist(), values=row.values.tolist())

        bases = (BgeM3SparseEmbeddings, theirs.SparseEmbeddings)
        return type("ForQdrant", bases, {"_form": form})(self.encoder)

    def _form(self, row: SparseVector) -> Any:
        return row.as_dict()
