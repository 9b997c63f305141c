"""A HybridIndex as a LangChain retriever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict

from hybrid_core.cancellation import finish
from hybrid_core.checks import make_passage
from hybrid_core.encoders.base import Encoder
from hybrid_core.fusion import Fusion
from hybrid_core.pipeline import HybridIndex
from hybrid_core.rerankers.base import Reranker
from hybrid_core.types import Hit, Metadata, Mode


class HybridRetriever(BaseRetriever):
    """Two-stage hybrid retrieval: dense and sparse recall, fusion, and reranking where the index has a reranker.

    Returned documents carry `relevance_score` and `stage_scores` (score and rank in each stage) in their metadata.

    Attributes:
        index: an open HybridIndex.
        k: how many documents to return; `invoke(query, k=...)` overrides it, as it does the others.
        candidates: how many passages each side recalls.
        filter: only passages whose metadata satisfies it; a filter object or its dict form.
        mode: "hybrid", "dense" or "sparse".

    Example:
        >>> texts = ["Workers pull tasks.", "网关限流。"]
        >>> retriever = HybridRetriever.from_texts(texts, encoder=BgeM3Encoder.tiny(), k=1)
        >>> retriever.invoke("what do workers do?")[0].page_content
        'Workers pull tasks.'
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    index: HybridIndex
    k: int = 5
    candidates: int = 50
    filter: Any = None
    mode: Mode = "hybrid"

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        *,
        encoder: Encoder,
        path: str | Path | None = None,
        reranker: Reranker | None = None,
        fusion: Fusion | None = None,
        **settings: Any,
    ) -> HybridRetriever:
        """Index documents and return a retriever over them.

        Args:
            documents: already split; a document without an id gets one derived from its content.
            encoder: the model.
            path: the index folder; None keeps everything in memory.
            reranker: scores the candidates again; None leaves the fused order.
            fusion: how dense and sparse are joined; None is reciprocal rank fusion.
            **settings: the attributes of the class.
        """
        index = HybridIndex.open(path, encoder=encoder, reranker=reranker, fusion=fusion)
        retriever = cls(index=index, **settings)
        retriever.add_documents(documents)
        return retriever

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        metadatas: Sequence[Metadata] | None = None,
        ids: Sequence[str] | None = None,
        *,
        encoder: Encoder,
        path: str | Path | None = None,
        reranker: Reranker | None = None,
        fusion: Fusion | None = None,
        **settings: Any,
    ) -> HybridRetriever:
        """Index texts and return a retriever over them; arguments as in `from_documents` and HybridIndex.add."""
        index = HybridIndex.open(path, encoder=encoder, reranker=reranker, fusion=fusion)
        retriever = cls(index=index, **settings)
        index.add(texts, ids=ids, metadatas=metadatas)
        return retriever

    def add_documents(self, documents: Iterable[Document]) -> list[str]:
        """Store documents, replacing those with the same id; return their ids."""
        return self.index.upsert(
            [
                make_passage(document.page_content, document.id, document.metadata, f"document {i}")
                for i, document in enumerate(documents)
            ]
        )

    async def aadd_documents(self, documents: Iterable[Document]) -> list[str]:
        """As `add_documents`, in a thread; a task that is cancelled learns of it once that has ended."""
        return await finish(self.add_documents, documents)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        candidates: int | None = None,
        filter: Any = None,
        mode: Mode | None = None,
    ) -> list[Document]:
        hits = self.index.search(
            query,
            self.k if k is None else k,
            self.candidates if candidates is None else candidates,
            self.filter if filter is None else filter,
            mode or self.mode,
        )
        return [_to_document(hit) for hit in hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **overrides: Any
    ) -> list[Document]:
        return await asyncio.to_thread(
            self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **overrides
        )


def _to_document(hit: Hit) -> Document:
    return Document(page_content=hit.passage.text, metadata=hit.annotated_metadata(), id=hit.passage.id)
