"""BgeM3SparseEmbedding, alone, under LlamaIndex's Qdrant store, and as its Milvus store asks for it."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from checkpoints import forward_passes
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base_sparse import BaseSparseEmbedding
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.embedding import SparseEmbeddingEndEvent, SparseEmbeddingStartEvent
from llama_index.core.schema import Document, TextNode
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient

from hybrid_core import BgeM3Encoder, Bm25, InvalidInputError, InvalidTextError, MissingDependencyError
from hybrid_core.encoders.functions import FunctionEncoder
from hybrid_core.encoders.one_pass import OnePass
from llamaindex_hybrid import BgeM3Embedding, BgeM3SparseEmbedding

QUESTION = "how does a worker get its tasks?"
TEXTS = ["A worker pulls tasks.", "网关限流。", "", "A worker pulls tasks."]


@pytest.fixture
def sparse(encoder: BgeM3Encoder) -> BgeM3SparseEmbedding:
    return BgeM3SparseEmbedding(encoder)


async def test_weights_are_the_sparse_vectors_of_the_encoder(
    sparse: BgeM3SparseEmbedding, encoder: BgeM3Encoder
) -> None:
    query = encoder.encode_queries([QUESTION]).sparse_row(0).as_dict()
    assert sparse.get_query_embedding(QUESTION) == query
    assert await sparse.aget_query_embedding(QUESTION) == query
    encoding = encoder.encode_documents(TEXTS)
    batch = [encoding.sparse_row(i).as_dict() for i in range(len(TEXTS))]
    assert sparse.get_text_embedding_batch(TEXTS) == batch
    assert await sparse.aget_text_embedding_batch(TEXTS) == batch
    alone = encoder.encode_documents(TEXTS[:1]).sparse_row(0).as_dict()
    assert sparse.get_text_embedding(TEXTS[0]) == alone
    assert await sparse.aget_text_embedding(TEXTS[0]) == alone
    assert batch[2] == {}
    assert all(type(token) is int and type(weight) is float for row in batch for token, weight in row.items())


async def test_no_texts_give_no_weights(sparse: BgeM3SparseEmbedding) -> None:
    assert sparse.get_text_embedding_batch([]) == []
    assert await sparse.aget_text_embedding_batch([]) == []
    assert sparse.sparse_doc_fn([]) == ([], [])


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [({1: 2.0, 3: 0.5}, {3: 4.0, 5: 1.0}, 2.0), ({1: 2.0, 3: 0.5}, {1: 3.0, 3: 2.0}, 7.0), ({1: 2.0}, {2: 2.0}, 0.0), ({}, {1: 1.0}, 0.0)],
)  # fmt: skip
def test_similarity_is_the_dot_product(
    sparse: BgeM3SparseEmbedding, left: dict[int, float], right: dict[int, float], expected: float
) -> None:
    assert sparse.similarity(left, right) == sparse.similarity(right, left) == expected


def test_similarity_is_the_score_of_the_index(sparse: BgeM3SparseEmbedding, encoder: BgeM3Encoder) -> None:
    encoding = encoder.encode_documents(TEXTS)
    query = encoder.encode_queries([QUESTION]).sparse
    expected = (query @ encoding.sparse.T).toarray()[0]
    question = sparse.get_query_embedding(QUESTION)
    scores = [sparse.similarity(question, row) for row in sparse.get_text_embedding_batch(TEXTS)]
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert scores[0] > 0


def test_embedding_fires_llamaindexs_events(sparse: BgeM3SparseEmbedding, events: list[BaseEvent]) -> None:
    expected = sparse.get_text_embedding_batch(TEXTS)
    [start, end] = [e for e in events if isinstance(e, SparseEmbeddingStartEvent | SparseEmbeddingEndEvent)]
    assert isinstance(start, SparseEmbeddingStartEvent)
    assert start.model_dict["model_name"] == "tiny"
    assert isinstance(end, SparseEmbeddingEndEvent)
    assert end.embeddings == expected


def test_a_bad_text_is_an_error_naming_its_position(sparse: BgeM3SparseEmbedding) -> None:
    with pytest.raises(InvalidTextError, match="text 1"):
        sparse.get_text_embedding_batch(["fine", "\ud800"])
    with pytest.raises(InvalidTextError, match="query 0"):
        sparse.get_query_embedding("\ud800")


def test_weights_that_a_store_would_have_to_finish_are_refused() -> None:
    encoder = FunctionEncoder("ones", lambda texts: [[1.0]] * len(texts), lambda text: [1.0], sparse=Bm25())
    with pytest.raises(InvalidInputError, match="HybridVectorStore"):
        BgeM3SparseEmbedding(encoder)


def test_it_is_a_sparse_embedding_of_llamaindex_with_its_batch_size(encoder: BgeM3Encoder) -> None:
    assert isinstance(BgeM3SparseEmbedding(encoder), BaseSparseEmbedding)
    with forward_passes(encoder) as passes:
        BgeM3SparseEmbedding(encoder, embed_batch_size=3).get_text_embedding_batch([f"worker {n}" for n in range(5)])
    assert passes == [3, 2]


# one pass for both sides


def test_a_text_costs_one_pass_for_both_sides_whichever_is_asked_first(encoder: BgeM3Encoder) -> None:
    shared = OnePass(encoder)
    dense, sparse = BgeM3Embedding(shared), BgeM3SparseEmbedding(shared)
    with forward_passes(encoder) as passes:
        dense.get_text_embedding_batch(TEXTS[:2])
        sparse.get_text_embedding_batch(TEXTS[:2])
        sparse.sparse_doc_fn(["another text"])
        dense.get_text_embedding("another text")
    assert passes == [2, 1]


async def test_a_question_costs_one_pass_for_both_sides_without_more(encoder: BgeM3Encoder) -> None:
    dense, sparse = BgeM3Embedding(encoder), BgeM3SparseEmbedding(encoder)
    with forward_passes(encoder) as passes:
        await dense.aget_query_embedding("a question for both sides")
        sparse.get_query_embedding("a question for both sides")
        sparse.sparse_query_fn(["a question for both sides"])
    assert passes == [1]


# Qdrant's store


@pytest.fixture
def documents(nodes: list[TextNode]) -> list[Document]:
    return [Document(id_=node.node_id, text=node.text, metadata={"lang": node.metadata["lang"]}) for node in nodes]


@pytest.fixture
def qdrant() -> Iterator[QdrantClient]:
    client = QdrantClient(":memory:")
    yield client
    client.close()


def test_qdrants_hybrid_store_runs_on_both_sides_in_one_pass(
    encoder: BgeM3Encoder, documents: list[Document], qdrant: QdrantClient
) -> None:
    shared = OnePass(encoder)
    dense, sparse = BgeM3Embedding(shared), BgeM3SparseEmbedding(shared)
    store = QdrantVectorStore(
        "docs",
        client=qdrant,
        enable_hybrid=True,
        index_doc_id=False,  # which Qdrant in memory would warn of
        sparse_doc_fn=sparse.sparse_doc_fn,
        sparse_query_fn=sparse.sparse_query_fn,
    )
    with forward_passes(encoder) as passes:
        index = VectorStoreIndex.from_documents(
            documents, storage_context=StorageContext.from_defaults(vector_store=store), embed_model=dense
        )
        assert sum(passes) == len(documents)
        passes.clear()
        question = "how does a worker get its tasks from Qdrant?"
        found = index.as_retriever(vector_store_query_mode="hybrid", similarity_top_k=3).retrieve(question)
        assert passes == [1]
    assert found[0].node.ref_doc_id == "queue"
    matched = index.as_retriever(vector_store_query_mode="sparse", similarity_top_k=6).retrieve(question)
    texts = [f"lang: {document.metadata['lang']}\n\n{document.text}" for document in documents]
    query = sparse.get_query_embedding(question)
    scores = {
        document.id_: sparse.similarity(query, row)
        for document, row in zip(documents, sparse.get_text_embedding_batch(texts), strict=True)
    }
    assert {item.node.ref_doc_id: item.score for item in matched} == {
        id_: pytest.approx(score, abs=1e-4) for id_, score in scores.items() if score > 0
    }


# Milvus's store, whose package wants an older pymilvus than this project: its base class as it is documented


class BaseSparseEmbeddingFunction(ABC):
    """As in llama_index.vector_stores.milvus.utils 1.2.0: MilvusVectorStore takes nothing but its subclasses."""

    @abstractmethod
    def encode_queries(self, queries: list[str]) -> list[dict[int, float]]: ...

    async def async_encode_queries(self, queries: list[str]) -> list[dict[int, float]]:
        raise AssertionError("blocks the event loop")

    @abstractmethod
    def encode_documents(self, documents: list[str]) -> list[dict[int, float]]: ...

    async def async_encode_documents(self, documents: list[str]) -> list[dict[int, float]]:
        raise AssertionError("blocks the event loop")


@pytest.fixture
def milvus(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("llama_index.vector_stores.milvus", "llama_index.vector_stores.milvus.utils"):
        module = ModuleType(name)
        module.BaseSparseEmbeddingFunction = BaseSparseEmbeddingFunction  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("milvus")
async def test_milvus_gets_a_function_of_its_own_class(sparse: BgeM3SparseEmbedding) -> None:
    function = sparse.for_milvus()
    assert isinstance(function, BaseSparseEmbeddingFunction)
    documents, query = sparse.get_text_embedding_batch(TEXTS), sparse.get_query_embedding(QUESTION)
    assert function.encode_documents(documents=TEXTS) == documents
    assert function.encode_queries(queries=[QUESTION]) == [query]
    assert await function.async_encode_documents(documents=TEXTS) == documents
    assert await function.async_encode_queries(queries=[QUESTION]) == [query]


def test_without_milvuss_package_the_error_names_it(sparse: BgeM3SparseEmbedding) -> None:
    with pytest.raises(MissingDependencyError, match="pip install llama-index-vector-stores-milvus"):
        sparse.for_milvus()


# what is written down


def test_what_is_written_down_is_read_with_the_encoder(sparse: BgeM3SparseEmbedding, encoder: BgeM3Encoder) -> None:
    written = json.loads(json.dumps(BgeM3SparseEmbedding(encoder, embed_batch_size=7).to_dict()))
    assert (written["class_name"], written["model_name"]) == ("BgeM3SparseEmbedding", "tiny")
    again = BgeM3SparseEmbedding.from_dict(written, encoder=encoder)
    assert again.embed_batch_size == 7
    assert again.get_query_embedding(QUESTION) == sparse.get_query_embedding(QUESTION)
