"""A reranker as a LangChain document compressor."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict

from hybrid_core.rerankers.base import Reranker, rank


class BgeReranker(BaseDocumentCompressor):
    """Keeps the documents that a reranker scores highest; drops into ContextualCompressionRetriever.

    Returned documents are copies with `relevance_score` in their metadata; the ones passed in are left as they are.

    Attributes:
        reranker: a loaded reranker.
        top_n: how many documents to keep.

    Example:
        >>> reranker = BgeReranker(reranker=LateInteractionReranker(BgeM3Encoder.tiny()), top_n=1)
        >>> documents = [Document("网关限流。"), Document("Workers pull tasks.")]
        >>> reranker.compress_documents(documents, "what do workers do?")[0].page_content
        'Workers pull tasks.'
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    reranker: Reranker
    top_n: int = 5

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return the best top_n documents, best first."""
        order = rank(self.reranker, query, [document.page_content for document in documents], self.top_n)
        return [_scored(documents[i], score) for i, score in order]

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """As `compress_documents`, in a thread."""
        return await asyncio.to_thread(self.compress_documents, documents, query, callbacks)


def _scored(document: Document, score: float) -> Document:
    metadata = {**copy.deepcopy(document.metadata), "relevance_score": score}
    return document.model_copy(update={"metadata": metadata})
