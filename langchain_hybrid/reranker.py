"""A reranker as a LangChain document compressor."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, PrivateAttr

from hybrid_core.choosing import Selection
from hybrid_core.encoders.base import Encoder
from hybrid_core.given_passages import RERANK_OPTIONS, note_window, rank_given
from hybrid_core.rerankers.base import Reranker
from hybrid_core.rerankers.budget import Budget
from hybrid_core.rerankers.stage import Ranked, RerankStage
from hybrid_core.searching import stage_of


class BgeReranker(BaseDocumentCompressor):
    """Keeps the documents that a reranker scores highest; drops into ContextualCompressionRetriever.

    Returned documents are copies with `relevance_score` in their metadata, and `best_window`, the characters
    [start, end) that earned it, where the text was read in windows; the ones passed in are left as they are. What a
    budget left out comes last, in the order it came in and with the metadata that it had.

    Attributes:
        reranker: a loaded reranker.
        top_n: how many documents to keep.
        budget: how long a call may take; None scores all documents.
        min_score: leaves out documents that score less, or were not scored.
        instruction: in words, what makes a document relevant, for a reranker that takes one.
        selection: chooses the top_n from all ranked documents; None takes the best.
        encoder: gives the vectors for a selection that compares them.

    Example:
        >>> reranker = BgeReranker(reranker=LateInteractionReranker(BgeM3Encoder.tiny()), top_n=1)
        >>> documents = [Document("网关限流。"), Document("Workers pull tasks.")]
        >>> reranker.compress_documents(documents, "what do workers do?")[0].page_content
        'Workers pull tasks.'
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    reranker: Reranker
    top_n: int = 5
    budget: Budget | None = None
    min_score: float | None = None
    instruction: str | None = None
    selection: Selection | None = None
    encoder: Encoder | None = None
    _stage: RerankStage | None = PrivateAttr(default=None)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return the best top_n documents, best first."""
        self._stage = stage_of(self.reranker, self._stage)
        given = [(document.page_content, document.metadata) for document in documents]
        ranked = rank_given(self._stage, query, given, **{name: getattr(self, name) for name in RERANK_OPTIONS})
        return [_scored(documents[item.position], item) for item in ranked]

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """As `compress_documents`, in a thread."""
        return await asyncio.to_thread(self.compress_documents, documents, query, callbacks)


def _scored(document: Document, item: Ranked) -> Document:
    metadata = copy.deepcopy(document.metadata)
    if item.score is not None:
        metadata["relevance_score"] = item.score
    note_window(metadata, item)
    return document.model_copy(update={"metadata": metadata})
