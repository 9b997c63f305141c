"""A HybridIndex as a LangChain retriever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from pydantic import BeforeValidator, ConfigDict, Field

from hybrid_core.cancellation import finish
from hybrid_core.checks import make_passage
from hybrid_core.choosing import Selection
from hybrid_core.encoders.base import Encoder
from hybrid_core.errors import InvalidInputError
from hybrid_core.fusion import Fusion
from hybrid_core.index_spec import plain, read_plain
from hybrid_core.pipeline import HybridIndex
from hybrid_core.reasons import ReasonedMetadata
from hybrid_core.rerankers.base import Reranker
from hybrid_core.rerankers.budget import Budget
from hybrid_core.searching import SEARCH_OPTIONS
from hybrid_core.types import Hit, Metadata, Mode


class HybridRetriever(BaseRetriever):
    """Two-stage hybrid retrieval: dense and sparse recall, fusion, and reranking where the index has a reranker.

    Returned documents carry `relevance_score` and `stage_scores` (score and rank in each stage) in their metadata; two
    that differ in these alone are equal.

    Every attribute but the index can be set for one call, `invoke(query, k=...)`, or be made configurable, as in
    `retriever.configurable_fields(k=ConfigurableField(id="k"))`.

    Over an index that an `IndexSpec` opened, a retriever can be written by LangChain's `dumpd`: path and models' names,
    no weights, no secrets. `load` opens that path and loads those models, so load only what you wrote yourself, with
    `allowed_objects=[HybridRetriever], valid_namespaces=["langchain_hybrid"]`. Any other retriever, and one whose
    filter is an object rather than a dict or whose fusion is your own, is marked as not to be loaded.

    Attributes:
        index: an open HybridIndex.
        k, candidates, filter, mode, rerank, fusion, budget, min_score, instruction, selection: as in
            `HybridIndex.search`, so that None leaves them to the index's settings; fusion, budget and selection may be
            given in their plain form (`index_spec.plain`), as a configuration has them.

    Example:
        >>> texts = ["Workers pull tasks.", "网关限流。"]
        >>> retriever = HybridRetriever.from_texts(texts, encoder=BgeM3Encoder.tiny(), k=1)
        >>> retriever.invoke("what do workers do?")[0].page_content
        'Workers pull tasks.'
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    index: Annotated[HybridIndex, BeforeValidator(read_plain)] = Field(exclude=True)
    k: int | None = None
    candidates: int | None = None
    filter: Any = None
    mode: Mode = "hybrid"
    rerank: bool | None = None
    fusion: Annotated[Fusion | None, BeforeValidator(read_plain)] = None
    budget: Budget | None = None
    min_score: float | None = None
    instruction: str | None = None
    selection: Selection | None = None

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        *,
        encoder: Encoder,
        path: str | Path | None = None,
        reranker: Reranker | None = None,
        fusion: Fusion | None = None,
        show_progress: bool = False,
        **settings: Any,
    ) -> HybridRetriever:
        """Index documents and return a retriever over them.

        Args:
            documents: already split; a document without an id gets one derived from its content.
            encoder: the model.
            path: the index folder; None keeps everything in memory.
            reranker: scores the candidates again; None leaves the fused order.
            fusion: how dense and sparse are joined; None is reciprocal rank fusion.
            show_progress: draw a progress bar over the documents.
            **settings: the attributes of the class.
        """
        index = HybridIndex.open(path, encoder=encoder, reranker=reranker, fusion=fusion)
        retriever = cls(index=index, **settings)
        retriever.add_documents(documents, show_progress=show_progress)
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
        show_progress: bool = False,
        **settings: Any,
    ) -> HybridRetriever:
        """Index texts and return a retriever over them; arguments as in `from_documents` and HybridIndex.add."""
        index = HybridIndex.open(path, encoder=encoder, reranker=reranker, fusion=fusion)
        retriever = cls(index=index, **settings)
        index.add(texts, ids=ids, metadatas=metadatas, show_progress=show_progress)
        return retriever

    def add_documents(self, documents: Iterable[Document], *, show_progress: bool = False) -> list[str]:
        """Store documents, replacing those with the same id; return their ids."""
        passages = [
            make_passage(document.page_content, document.id, document.metadata, f"document {i}")
            for i, document in enumerate(documents)
        ]
        return self.index.upsert(passages, show_progress=show_progress)

    async def aadd_documents(self, documents: Iterable[Document], *, show_progress: bool = False) -> list[str]:
        """As `add_documents`, in a thread; a task that is cancelled learns of it once that has ended."""
        return await finish(self.add_documents, documents, show_progress=show_progress)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True; which retrievers that holds for is told above."""
        return True

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """The plain form of the attributes that are objects."""
        names = ("index", "fusion", "budget", "selection")
        return {name: form for name in names if (form := plain(getattr(self, name)))}

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """Return the index's spec and the settings, or that this retriever has no plain form."""
        try:
            return super().to_json() if isinstance(self.filter, Mapping | None) else self.to_json_not_implemented()
        except InvalidInputError:
            return self.to_json_not_implemented()

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        params = super()._get_ls_params(**kwargs)
        params["ls_vector_store_provider"] = type(self.index.store).__name__
        params["ls_embedding_provider"] = type(self.index.encoder).__name__
        params["ls_embedding_model"] = self.index.encoder.fingerprint.model
        return params

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **overrides: Any
    ) -> list[Document]:
        settings = {name: getattr(self, name) for name in SEARCH_OPTIONS}
        return [_to_document(hit) for hit in self.index.search(query, **{**settings, **overrides})]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **overrides: Any
    ) -> list[Document]:
        return await asyncio.to_thread(
            self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **overrides
        )


def _to_document(hit: Hit) -> Document:
    document = Document(page_content=hit.passage.text, id=hit.passage.id)
    document.metadata = ReasonedMetadata(hit.annotated_metadata())  # given to the class, it would become a plain dict
    return document
