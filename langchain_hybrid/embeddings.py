"""BGE-M3's dense vectors as LangChain Embeddings."""

from __future__ import annotations

import asyncio

from langchain_core.embeddings import Embeddings

from hybrid_core.encoders.base import Encoder, aencode_queries


class BgeM3Embeddings(Embeddings):
    """Dense vectors of BGE-M3 for any LangChain vector store.

    Args:
        encoder: a loaded encoder; share one between all classes that use the model.

    Example:
        >>> embeddings = BgeM3Embeddings(BgeM3Encoder.tiny())
        >>> len(embeddings.embed_query("how do I add a route?"))
        256
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one unit vector a text, in the order given."""
        vectors: list[list[float]] = self.encoder.encode_documents(texts).dense.tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return the unit vector of a query."""
        vector: list[float] = self.encoder.encode_queries([text]).dense[0].tolist()
        return vector

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """As `embed_documents`, in a thread."""
        return await asyncio.to_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """As `embed_query`; tasks that ask at once share forward passes."""
        vector: list[float] = (await aencode_queries(self.encoder, [text])).dense[0].tolist()
        return vector
