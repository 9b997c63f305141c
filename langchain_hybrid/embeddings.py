"""BGE-M3's dense vectors as LangChain Embeddings, and any Embeddings as an encoder."""

from __future__ import annotations

import asyncio

from langchain_core.embeddings import Embeddings

from hybrid_core.encoders.base import Encoder, aencode_queries
from hybrid_core.encoders.functions import FunctionEncoder
from hybrid_core.encoders.sparse_sides.base import SparseSide
from hybrid_core.encoders.sparse_sides.bm25 import Bm25
from hybrid_core.errors import InvalidInputError
from hybrid_core.searching import check_part


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
        check_part(encoder, Encoder, "encoder")
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


def to_encoder(embedding: Embeddings | Encoder, sparse: SparseSide | None = None) -> Encoder:
    """Return an encoder: of BgeM3Embeddings its own, of other Embeddings one with a sparse side, by default Bm25().

    An index is bound to such others by the name of their class and their `model`, `model_name`, `model_id` and
    `dimensions`: another model that has all of these the same is not noticed.

    Raises:
        InvalidInputError: it is neither Embeddings nor an encoder, or has a sparse side and another is given.
        MissingDependencyError: BM25's packages are not installed (the extra "bm25").
    """
    own = embedding.encoder if isinstance(embedding, BgeM3Embeddings) else embedding
    if isinstance(own, Encoder):
        if sparse is not None:
            raise InvalidInputError(f"{own!r} has a sparse side of its own; leave sparse out")
        return own
    if not isinstance(own, Embeddings):
        raise InvalidInputError(f"embedding={own!r:.80} is neither LangChain Embeddings nor an encoder")
    facts = (getattr(own, name, None) for name in ("model", "model_name", "model_id", "dimensions"))
    name = " ".join([type(own).__name__, *(str(fact) for fact in facts if isinstance(fact, str | int))])
    return FunctionEncoder(name, own.embed_documents, own.embed_query, sparse=Bm25() if sparse is None else sparse)
