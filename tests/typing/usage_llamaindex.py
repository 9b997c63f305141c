"""Every public class of `llamaindex_hybrid` in use, for type checkers: nothing here is run."""

from __future__ import annotations

from typing import Any, assert_type

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.embeddings.base_sparse import BaseSparseEmbedding
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, Document, NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores import (
    ExactMatchFilter,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.types import BasePydanticVectorStore, VectorStoreQueryMode

from hybrid_core import (
    BgeM3Encoder,
    Budget,
    CrossEncoderReranker,
    HybridIndex,
    OnePass,
    Reranker,
    Selection,
    Store,
    WeightedSum,
)
from llamaindex_hybrid import BgeM3Embedding, BgeM3SparseEmbedding, BgeReranker, HybridRetriever, HybridVectorStore


async def embeddings(encoder: BgeM3Encoder) -> tuple[BaseEmbedding, BaseSparseEmbedding]:
    """Dense and sparse vectors, of one pass."""
    shared = OnePass(encoder)
    dense, sparse = BgeM3Embedding(shared, embed_batch_size=64), BgeM3SparseEmbedding(shared)
    assert_type(dense.get_query_embedding("a question"), list[float])
    assert_type(await dense.aget_text_embedding_batch(["a text"]), list[list[float]])
    assert_type(BgeM3Embedding.from_dict(dense.to_dict(), encoder=encoder), BgeM3Embedding)
    assert_type(sparse.get_query_embedding("a question"), dict[int, float])
    assert_type(sparse.sparse_query_fn(["a question"]), tuple[list[list[int]], list[list[float]]])
    return dense, sparse


FILTERS = MetadataFilters(
    filters=[
        MetadataFilter(key="page", value=3, operator=FilterOperator.GTE),
        ExactMatchFilter(key="lang", value="en"),
    ],
    condition=FilterCondition.OR,
)


async def retriever(index: HybridIndex, encoder: BgeM3Encoder, reranker: Reranker) -> BaseRetriever:
    """A retriever over an index."""
    made = HybridRetriever(
        index,
        k=5,
        candidates=None,
        filter=FILTERS,
        mode="hybrid",
        rerank=None,
        fusion=WeightedSum.from_alpha(0.7),
        budget=Budget(milliseconds=100),
        min_score=0.2,
        instruction=None,
        selection=Selection(per_parent=2),
    )
    assert_type(made.retrieve("a question"), list[NodeWithScore])
    assert_type(await made.aretrieve(QueryBundle("a question")), list[NodeWithScore])
    assert_type(made.index, HybridIndex)
    assert_type(
        HybridRetriever.from_documents([Document(text="a text")], encoder=encoder, path=None, reranker=reranker, k=3),
        HybridRetriever,
    )
    assert_type(HybridRetriever.from_nodes([TextNode(text="a text")], encoder=encoder), HybridRetriever)
    assert_type(made.add_nodes([TextNode(text="a text")], show_progress=True), list[str])
    assert_type(await made.aadd_nodes([TextNode(text="a text")]), list[str])
    return made


def reranker(encoder: BgeM3Encoder) -> BaseNodePostprocessor:
    """A reranker as a postprocessor."""
    made = BgeReranker(
        reranker=CrossEncoderReranker.tiny(),
        top_n=5,
        budget=Budget(milliseconds=100),
        min_score=0.2,
        selection=Selection(near_duplicates=0.95),
        encoder=encoder,
    )
    nodes = [NodeWithScore(node=TextNode(text="a text"))]
    assert_type(made.postprocess_nodes(nodes, query_str="a question"), list[NodeWithScore])
    return made


async def vector_store(index: HybridIndex) -> BasePydanticVectorStore:
    """A vector store in all its ways."""
    made = HybridVectorStore(index, candidates=20)
    assert_type(made.client, Store)
    assert_type(made.embed_model, BgeM3Embedding)
    assert_type(made.add([TextNode(text="a text")]), list[str])
    assert_type(await made.async_add([TextNode(text="a text")]), list[str])
    query = VectorStoreQuery(
        query_str="a question",
        similarity_top_k=5,
        mode=VectorStoreQueryMode.HYBRID,
        alpha=0.5,
        filters=FILTERS,
        node_ids=["a"],
        doc_ids=["b"],
    )
    assert_type(made.query(query), VectorStoreQueryResult)
    assert_type(await made.aquery(query), VectorStoreQueryResult)
    nodes: list[BaseNode] = made.get_nodes(["a"], FILTERS)
    made.delete("b")
    made.delete_nodes([node.node_id for node in nodes])
    await made.aclear()
    written: dict[str, Any] = made.to_dict()
    written.clear()
    return made
