"""A HybridIndex as a LangChain vector store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias, get_args

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from hybrid_core.cancellation import finish
from hybrid_core.encoders.base import Encoder
from hybrid_core.encoders.sparse_sides.base import SparseSide
from hybrid_core.pipeline import HybridIndex
from hybrid_core.searching import check_part
from hybrid_core.selection import diversified, relevances
from hybrid_core.types import Mode, Passage, public_metadata

from .embeddings import BgeM3Embeddings, to_encoder

ScoredDocuments: TypeAlias = list[tuple[Document, float]]


class HybridVectorStore(VectorStore):
    """Hybrid search wherever LangChain asks for a vector store.

    A search is that of the index: dense and sparse recall, fusion, and reranking where it has a reranker. As `**kwargs`
    it takes what `HybridIndex.search` takes, `filter` and `mode` first of all. Documents come back as they were stored.

    Adding replaces what has the same id and embeds only texts that are new, under `index()` and a record manager, too.
    Asynchronous methods work in threads; a write that is cancelled ends first.

    Args:
        index: an open HybridIndex, over any store.
        embedding: what `embeddings` gives; None is BgeM3Embeddings over the index's encoder.

    Example:
        >>> store = HybridVectorStore.from_texts(["Workers pull tasks.", "网关限流。"], BgeM3Encoder.tiny())
        >>> store.similarity_search("what do workers do?", k=1)[0].page_content
        'Workers pull tasks.'
    """

    def __init__(self, index: HybridIndex, *, embedding: Embeddings | None = None) -> None:
        check_part(index, HybridIndex, "index")
        self.index = index
        self._embedding = BgeM3Embeddings(index.encoder) if embedding is None else embedding

    @property
    def embeddings(self) -> Embeddings:
        """The dense side."""
        return self._embedding

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings | Encoder,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        path: str | Path | None = None,
        sparse: SparseSide | None = None,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Open an index, add texts, and return the store.

        Args:
            texts: strings; without any, the index is only opened.
            embedding: BgeM3Embeddings, other Embeddings of LangChain, or an encoder; see `to_encoder`.
            metadatas: one a text.
            ids: one a text; None derives each from text and metadata.
            path: the index folder; None keeps everything in memory.
            sparse: the sparse side beside other Embeddings; None is BM25.
            show_progress: draw a progress bar over the texts.
            **kwargs: of HybridIndex.open, such as `reranker`.
        """
        index = HybridIndex.open(path, encoder=to_encoder(embedding, sparse), **kwargs)
        store = cls(index, embedding=embedding if isinstance(embedding, Embeddings) else None)
        store.add_texts(texts, metadatas, ids=ids, show_progress=show_progress)
        return store

    @classmethod
    async def afrom_texts(cls, texts: Iterable[str], *args: Any, **kwargs: Any) -> Self:
        """As `from_texts`, in a thread."""
        return await finish(cls.from_texts, texts, *args, **kwargs)

    def add_texts(  # type: ignore[override]  # arguments that nobody knows are an error
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        batch_size: int | None = None,
        show_progress: bool = False,
    ) -> list[str]:
        """Store texts, replacing those with the same id; return their ids, an id of None derived from the content.

        `batch_size`, which `index()` sends, has no effect: the encoder makes batches by tokens.
        """
        return self.index.add(texts, ids=ids, metadatas=metadatas, show_progress=show_progress)

    async def aadd_texts(self, texts: Iterable[str], *args: Any, **kwargs: Any) -> list[str]:
        """As `add_texts`, in a thread; a task that is cancelled learns of it once that has ended."""
        return await finish(self.add_texts, texts, *args, **kwargs)

    def delete(self, ids: list[str] | None = None, *, filter: Any = None) -> bool:  # type: ignore[override]
        """Delete documents by id, or all that satisfy a filter; return True, whether or not they were there.

        Raises:
            InvalidInputError: neither is given; `filter={"$and": []}` deletes everything.
        """
        self.index.delete(ids, filter=filter)
        return True

    async def adelete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """As `delete`, in a thread; a task that is cancelled learns of it once that has ended."""
        return await finish(self.delete, ids, **kwargs)

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents that are there, in the order of the ids."""
        return [_to_document(passage) for passage in self.index.get(ids) if passage]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the best k documents, best first."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> ScoredDocuments:
        """Return the best k documents, best first, with scores that compare within this search only."""
        return [(_to_document(hit.passage), hit.score) for hit in self.index.search(query, k, **kwargs)]

    def _similarity_search_with_relevance_scores(self, query: str, k: int = 4, **kwargs: Any) -> ScoredDocuments:
        """Return the same with scores from 0 to 1 that compare between searches, too: see `selection.relevances`."""
        hits = self.index.search(query, k, **kwargs)
        vector = self.index.encoder.encode_queries([query]).dense[0]  # remembered from the search
        scores = relevances(self.index.store, vector, hits)
        return [(_to_document(hit.passage), score) for hit, score in zip(hits, scores, strict=True)]

    async def _asimilarity_search_with_relevance_scores(self, *args: Any, **kwargs: Any) -> ScoredDocuments:
        return await asyncio.to_thread(self._similarity_search_with_relevance_scores, *args, **kwargs)

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the k documents nearest to a dense vector; takes what `HybridIndex.search_vectors` takes."""
        return [_to_document(hit.passage) for hit in self.index.search_vectors(embedding, k=k, **kwargs)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Return k of the best fetch_k documents that differ from one another, by their dense vectors.

        They are hybrid search's, reranked if `rerank=True` is given. A lambda_mult of 1 takes the nearest to the query,
        0 the most different; see `selection.maximal_marginal_relevance`.
        """
        hits = self.index.search(query, fetch_k, **{"rerank": False, **kwargs})
        vector = self.index.encoder.encode_queries([query]).dense[0]
        return [_to_document(hit.passage) for hit in diversified(self.index.store, vector, hits, k, 1 - lambda_mult)]

    def max_marginal_relevance_search_by_vector(
        self, embedding: list[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """As `max_marginal_relevance_search`, of the fetch_k documents nearest to a dense vector."""
        hits = self.index.search_vectors(embedding, k=fetch_k, **kwargs)
        return [_to_document(hit.passage) for hit in diversified(self.index.store, embedding, hits, k, 1 - lambda_mult)]

    def as_retriever(
        self, *, search_type: str = "similarity", search_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> VectorStoreRetriever:
        """Return LangChain's own retriever over this store.

        Args:
            search_type: "similarity" or "hybrid", which are the same; "dense" or "sparse", one side alone; "mmr"; or
                "similarity_score_threshold", with `score_threshold` in search_kwargs.
            search_kwargs: for each search, such as `k` and `filter`; "mmr" takes `fetch_k` and `lambda_mult`, too.
            **kwargs: the retriever's tags and metadata.
        """
        search = dict(search_kwargs or {})
        if search_type in get_args(Mode):
            search_type, search["mode"] = "similarity", search_type
        return super().as_retriever(search_type=search_type, search_kwargs=search, **kwargs)


def _to_document(passage: Passage) -> Document:
    return Document(page_content=passage.text, metadata=public_metadata(passage.metadata), id=passage.id)
