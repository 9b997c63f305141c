"""BgeM3SparseEmbeddings, and beside BgeM3Embeddings in the store of langchain-qdrant."""

from __future__ import annotations

import sys

import pytest
from checkpoints import forward_passes
from langchain_core.documents import Document
from langchain_qdrant import QdrantVectorStore, RetrievalMode, SparseEmbeddings
from langchain_qdrant import SparseVector as QdrantVector
from their_hybrid import QUESTION, TEXTS, assert_one_pass_each, named

from hybrid_core import BgeM3Encoder, Bm25, InvalidInputError, InvalidTextError, MissingDependencyError
from hybrid_core.encoders.functions import FunctionEncoder
from hybrid_core.encoders.one_pass import OnePass
from langchain_hybrid import BgeM3Embeddings, BgeM3SparseEmbeddings


@pytest.fixture
def alone() -> BgeM3Encoder:
    """An encoder that no other test has asked anything."""
    return BgeM3Encoder.tiny()


async def test_weights_are_the_encoders(encoder: BgeM3Encoder) -> None:
    sparse = BgeM3SparseEmbeddings(encoder)
    encoding = encoder.encode_documents(TEXTS)
    expected = [encoding.sparse_row(i).as_dict() for i in range(4)]
    query = encoder.encode_queries([QUESTION]).sparse_row(0).as_dict()
    assert expected[1] == {}
    assert sparse.embed_documents(TEXTS) == await sparse.aembed_documents(TEXTS) == expected
    assert sparse.embed_query(QUESTION) == await sparse.aembed_query(QUESTION) == query
    assert sparse.embed_documents([]) == []


async def test_for_qdrant_the_same_in_its_class(encoder: BgeM3Encoder) -> None:
    sparse, theirs = BgeM3SparseEmbeddings(encoder), BgeM3SparseEmbeddings(encoder).for_qdrant()
    assert isinstance(theirs, SparseEmbeddings)

    def form(weights: dict[int, float]) -> QdrantVector:
        return QdrantVector(indices=list(weights), values=list(weights.values()))

    expected = [form(weights) for weights in sparse.embed_documents(TEXTS)]
    assert theirs.embed_documents(TEXTS) == await theirs.aembed_documents(TEXTS) == expected
    query = form(sparse.embed_query(QUESTION))
    assert theirs.embed_query(QUESTION) == await theirs.aembed_query(QUESTION) == query


def test_what_the_store_would_have_to_weigh_is_refused(encoder: BgeM3Encoder) -> None:
    other = FunctionEncoder("fixed", lambda texts: [[1.0]] * len(texts), lambda text: [1.0], sparse=Bm25())
    with pytest.raises(InvalidInputError, match="HybridVectorStore"):
        BgeM3SparseEmbeddings(other)
    with pytest.raises(InvalidTextError, match="text 1"):
        BgeM3SparseEmbeddings(encoder).embed_documents(["fine", "\ud800"])


@pytest.mark.filterwarnings("ignore")  # of qdrant-client
def test_its_hybrid_search_takes_one_pass_a_document_and_one_a_question(
    alone: BgeM3Encoder, documents: list[Document]
) -> None:
    shared = OnePass(alone)
    with forward_passes(alone) as passes:
        store = QdrantVectorStore.from_documents(
            named(documents),
            BgeM3Embeddings(shared),
            sparse_embedding=BgeM3SparseEmbeddings(shared).for_qdrant(),
            retrieval_mode=RetrievalMode.HYBRID,
            location=":memory:",
        )
        assert_one_pass_each(store, passes, alone, documents)
        store.client.close()


@pytest.mark.filterwarnings("ignore")
async def test_its_hybrid_search_is_async_too(alone: BgeM3Encoder, documents: list[Document]) -> None:
    shared = OnePass(alone)
    with forward_passes(alone) as passes:
        store = await QdrantVectorStore.afrom_texts(
            [d.page_content for d in documents],
            BgeM3Embeddings(shared),
            sparse_embedding=BgeM3SparseEmbeddings(shared).for_qdrant(),
            retrieval_mode=RetrievalMode.HYBRID,
            location=":memory:",
        )
        assert [count for count in passes if count > 1] == [6]
        passes.clear()
        [best] = await store.asimilarity_search(QUESTION, k=1)
        assert passes == [1]
    assert best.page_content == documents[0].page_content
    store.client.close()


@pytest.mark.parametrize(
    ("method", "package"), [("for_qdrant", "langchain_qdrant"), ("for_milvus", "langchain_milvus")]
)
def test_without_their_package_it_says_which(
    encoder: BgeM3Encoder, monkeypatch: pytest.MonkeyPatch, method: str, package: str
) -> None:
    sparse = BgeM3SparseEmbeddings(encoder)
    for name in [package, *(name for name in sys.modules if name.partition(".")[0] == package)]:
        monkeypatch.setitem(sys.modules, name, None)  # Python's own way of saying that it is not there
    assert sparse.embed_query("a task")
    extra = package.replace("_", "-")
    with pytest.raises(MissingDependencyError, match=rf'^{package} is not installed.*"bge-hybrid\[{extra}\]"'):
        getattr(sparse, method)()
