"""A HybridIndex as a LlamaIndex vector store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias

from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.core.vector_stores import MetadataFilters, VectorStoreQuery, VectorStoreQueryResult
from llama_index.core.vector_stores.types import BasePydanticVectorStore, VectorStoreQueryMode

from hybrid_core.cancellation import finish
from hybrid_core.encoders.one_pass import OnePass
from hybrid_core.errors import InvalidInputError
from hybrid_core.filters import Eq, In
from hybrid_core.given_vectors import with_dense
from hybrid_core.pipeline import HybridIndex
from hybrid_core.stores.base import Store
from hybrid_core.vector_search import VectorQuery, Way, ids_among, refuse_unknown, search

from .embeddings import BgeM3Embedding
from .filters import to_filter
from .nodes import DOCUMENT, from_passage, to_passage

Ids: TypeAlias = list[str] | None
Filters: TypeAlias = MetadataFilters | None

_WAYS: dict[VectorStoreQueryMode, Way] = {
    VectorStoreQueryMode.DEFAULT: "dense",
    VectorStoreQueryMode.SPARSE: "sparse",
    VectorStoreQueryMode.TEXT_SEARCH: "sparse",
    VectorStoreQueryMode.HYBRID: "hybrid",
    VectorStoreQueryMode.SEMANTIC_HYBRID: "reranked",
    VectorStoreQueryMode.MMR: "diverse",
}


class HybridVectorStore(BasePydanticVectorStore):
    """Hybrid search wherever LlamaIndex takes a vector store.

    Modes: DEFAULT is dense, SPARSE and TEXT_SEARCH are sparse, HYBRID joins both by `alpha` (0 is sparse only, 1 dense
    only, None the index's fusion), SEMANTIC_HYBRID has the index's reranker at the end, MMR takes `mmr_threshold` (1 is
    the nearest alone) in `vector_store_kwargs`. Each side recalls `candidates`; if `sparse_top_k` or `hybrid_top_k` is
    given, the dense side recalls `similarity_top_k` and the sparse side `sparse_top_k` or as many.

    A node is embedded as LlamaIndex does it: its text with the metadata that `excluded_embed_metadata_keys` leaves.
    (`HybridRetriever.add_nodes` embeds the text alone, so fill an index in one of the two ways.) One pass of the model
    makes both sides if the nodes are embedded by this store's `embed_model`, or by any embedding on a `OnePass` that
    the index shares; otherwise `add` runs a second one for the sparse side. Dense vectors that come with nodes are
    kept, and refused if another model made them.

    Attributes:
        index: an open HybridIndex, over any store.
        candidates: how many passages each side recalls, and how many are reranked or chosen from.

    Example:
        >>> store = HybridVectorStore(HybridIndex.open("my-index", encoder=BgeM3Encoder.tiny()))
        >>> context = StorageContext.from_defaults(vector_store=store)
        >>> made = VectorStoreIndex.from_documents(documents, storage_context=context, embed_model=store.embed_model)
        >>> retriever = made.as_retriever(vector_store_query_mode="hybrid")
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    index: HybridIndex = Field(exclude=True)
    candidates: int = 50
    stores_text: bool = True
    _encoder: OnePass = PrivateAttr()

    def __init__(self, index: HybridIndex, **settings: Any) -> None:
        super().__init__(**{"index": index, **settings})
        self._encoder = index.encoder if isinstance(index.encoder, OnePass) else OnePass(index.encoder)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex writes this class down."""
        return "HybridVectorStore"

    @property
    def client(self) -> Store:
        """The store of the index."""
        return self.index.store

    @property
    def embed_model(self) -> BgeM3Embedding:
        """The embedding for VectorStoreIndex and IngestionPipeline, whose passes this store shares."""
        return BgeM3Embedding(self._encoder)

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Store nodes, replacing those with the same id; return their ids.

        Raises:
            ModelMismatchError: a node comes with a vector that the index's encoder did not make.
        """
        refuse_unknown(kwargs)
        nodes = list(nodes)
        passages = [to_passage(node) for node in nodes]
        texts = [node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
        encoding = with_dense(self._encoder, self._encoder.encode_documents(texts), [node.embedding for node in nodes])
        return self.index.upsert(passages, encoding=encoding)

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """As `add`, in a thread; a task that is cancelled learns of it once that has ended."""
        return await finish(self.add, nodes, **kwargs)

    def get_nodes(self, node_ids: Ids = None, filters: Filters = None) -> list[BaseNode]:
        """Return the nodes that are there, all of them if neither ids nor filters are given."""
        found = self.index.get(ids_among(self.index, node_ids, to_filter(filters)))
        return [from_passage(passage) for passage in found if passage]

    async def aget_nodes(self, node_ids: Ids = None, filters: Filters = None) -> list[BaseNode]:
        """As `get_nodes`, in a thread."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes that were split from a document, or are that document."""
        refuse_unknown(delete_kwargs)
        self.index.delete(filter=Eq(DOCUMENT, ref_doc_id))

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """As `delete`, in a thread; a task that is cancelled learns of it once that has ended."""
        await finish(self.delete, ref_doc_id, **delete_kwargs)

    def delete_nodes(self, node_ids: Ids = None, filters: Filters = None, **delete_kwargs: Any) -> None:
        """Delete those of some nodes that satisfy the filters.

        Raises:
            InvalidInputError: there are neither ids nor filters; `clear` deletes everything.
        """
        refuse_unknown(delete_kwargs)
        if node_ids is None and to_filter(filters) is None:
            raise InvalidInputError("delete_nodes needs node_ids, filters or both; clear() deletes everything")
        self.index.delete(ids_among(self.index, node_ids, to_filter(filters)))

    async def adelete_nodes(self, node_ids: Ids = None, filters: Filters = None, **delete_kwargs: Any) -> None:
        """As `delete_nodes`, in a thread; a task that is cancelled learns of it once that has ended."""
        await finish(self.delete_nodes, node_ids, filters, **delete_kwargs)

    def clear(self) -> None:
        """Delete everything."""
        self.index.delete(self.index.ids())

    async def aclear(self) -> None:
        """As `clear`, in a thread; a task that is cancelled learns of it once that has ended."""
        await finish(self.clear)

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Search in the mode that the query asks for.

        Raises:
            InvalidInputError: the mode is unknown, its text or a reranker is missing, or a number is out of range.
            FilterError: a filter cannot be read.
        """
        threshold = kwargs.pop("mmr_threshold", query.mmr_threshold)
        refuse_unknown(kwargs)
        way = next((way for mode, way in _WAYS.items() if mode == query.mode), None)
        if way is None:
            raise InvalidInputError(f"mode={query.mode!r} must be one of {', '.join(mode.value for mode in _WAYS)}")
        k, sparse_k, hybrid_k = query.similarity_top_k, query.sparse_top_k, query.hybrid_top_k
        number = {"sparse": sparse_k, "hybrid": hybrid_k}.get(way)
        asked = VectorQuery(
            text=query.query_str,
            dense=query.query_embedding,
            k=k if number is None else number,
            candidates=self.candidates,
            filters=(to_filter(query.filters), In(DOCUMENT, query.doc_ids) if query.doc_ids else None),
            ids=query.node_ids or (),
            alpha=query.alpha,
            recalled=None if sparse_k is None and hybrid_k is None else (k, k if sparse_k is None else sparse_k),
            diversity=0.5 if threshold is None else 1 - threshold,
        )
        hits = search(self.index, asked, way)
        nodes = [from_passage(hit.passage) for hit in hits]
        return VectorStoreQueryResult(nodes, [hit.score for hit in hits], [hit.passage.id for hit in hits])

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """As `query`, in a thread."""
        await asyncio.sleep(0)  # as in BgeM3Embedding
        return await asyncio.to_thread(self.query, query, **kwargs)
