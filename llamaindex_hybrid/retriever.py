"""A HybridIndex as a LlamaIndex retriever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.ingestion import run_transformations
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode, Document, NodeWithScore, QueryBundle, TransformComponent
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

from hybrid_core.cancellation import finish
from hybrid_core.choosing import Selection
from hybrid_core.encoders.base import Encoder
from hybrid_core.fusion import Fusion
from hybrid_core.pipeline import HybridIndex
from hybrid_core.rerankers.base import Reranker
from hybrid_core.rerankers.budget import Budget
from hybrid_core.searching import SEARCH_OPTIONS, check_part
from hybrid_core.types import Mode

from .filters import to_filter
from .nodes import to_node, to_passage


class HybridRetriever(BaseRetriever):
    """Two-stage hybrid retrieval: dense and sparse recall, fusion, and reranking where the index has a reranker.

    Returned nodes carry `relevance_score` and `stage_scores` (score and rank in each stage) in their metadata, and
    `best_window` where a reranker read the text in windows; out of the sight of prompts, and of `print`.

    Args:
        index: an open HybridIndex.
        k, candidates, mode, rerank, fusion, budget, min_score, instruction, selection: as in `HybridIndex.search`, so
            that None leaves them to the index's settings.
        filter: as there, or LlamaIndex's MetadataFilters (see `llamaindex_hybrid.filters.to_filter`).
        callback_manager: as in every LlamaIndex retriever.

    Example:
        >>> nodes = [TextNode(text="Workers pull tasks."), TextNode(text="网关限流。")]
        >>> retriever = HybridRetriever.from_nodes(nodes, encoder=BgeM3Encoder.tiny(), k=1)
        >>> retriever.retrieve("what do workers do?")[0].text
        'Workers pull tasks.'
    """

    def __init__(
        self,
        index: HybridIndex,
        k: int | None = None,
        candidates: int | None = None,
        filter: Any = None,
        mode: Mode = "hybrid",
        *,
        rerank: bool | None = None,
        fusion: Fusion | None = None,
        budget: Budget | None = None,
        min_score: float | None = None,
        instruction: str | None = None,
        selection: Selection | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        super().__init__(callback_manager=callback_manager)
        check_part(index, HybridIndex, "index")
        self.index = index
        self.k, self.candidates, self.filter, self.mode = k, candidates, filter, mode
        self.rerank, self.fusion, self.budget = rerank, fusion, budget
        self.min_score, self.instruction, self.selection = min_score, instruction, selection

    @classmethod
    def from_documents(
        cls,
        documents: Sequence[Document],
        *,
        encoder: Encoder,
        path: str | Path | None = None,
        reranker: Reranker | None = None,
        fusion: Fusion | None = None,
        show_progress: bool = False,
        transformations: Sequence[TransformComponent] | None = None,
        **settings: Any,
    ) -> HybridRetriever:
        """Split documents into nodes, index them, and return a retriever over them.

        `transformations` makes nodes of documents; None splits by sentences, as LlamaIndex does by default. `settings`
        are the other arguments of the class, and the rest are those of `HybridIndex.open` and `HybridIndex.add`.
        """
        nodes = run_transformations(documents, transformations or [SentenceSplitter()], show_progress=show_progress)
        settings["show_progress"] = show_progress
        return cls.from_nodes(nodes, encoder=encoder, path=path, reranker=reranker, fusion=fusion, **settings)

    @classmethod
    def from_nodes(
        cls,
        nodes: Iterable[BaseNode],
        *,
        encoder: Encoder,
        path: str | Path | None = None,
        reranker: Reranker | None = None,
        fusion: Fusion | None = None,
        show_progress: bool = False,
        **settings: Any,
    ) -> HybridRetriever:
        """Index nodes and return a retriever over them; arguments as in `from_documents`."""
        index = HybridIndex.open(path, encoder=encoder, reranker=reranker, fusion=fusion)
        retriever = cls(index, **settings)
        retriever.add_nodes(nodes, show_progress=show_progress)
        return retriever

    def add_nodes(self, nodes: Iterable[BaseNode], *, show_progress: bool = False) -> list[str]:
        """Store nodes, of which the text alone is embedded, replacing those with the same id; return their ids."""
        return self.index.upsert([to_passage(node) for node in nodes], show_progress=show_progress)

    async def aadd_nodes(self, nodes: Iterable[BaseNode], *, show_progress: bool = False) -> list[str]:
        """As `add_nodes`, in a thread; a task that is cancelled learns of it once that has ended."""
        return await finish(self.add_nodes, nodes, show_progress=show_progress)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        settings = {name: getattr(self, name) for name in SEARCH_OPTIONS}
        if isinstance(self.filter, (MetadataFilters, MetadataFilter)):
            settings["filter"] = to_filter(self.filter)
        return [to_node(hit) for hit in self.index.search(query_bundle.query_str, **settings)]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        await asyncio.sleep(0)  # as in BgeM3Embedding
        return await asyncio.to_thread(self._retrieve, query_bundle)
