"""BgeM3SparseEmbeddings beside BgeM3Embeddings in the stores of langchain-qdrant and langchain-milvus."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoints import forward_passes
from langchain_core.documents import Document
from langchain_qdrant import QdrantVectorStore, RetrievalMode, SparseEmbeddings
from langchain_qdrant import SparseVector as QdrantVector

from hybrid_core import BgeM3Encoder, Bm25, HybridIndex, InvalidInputError, InvalidTextError, MissingDependencyError
from hybrid_core.encoders.functions import FunctionEncoder
from hybrid_core.encoders.one_pass import OnePass
from langchain_hybrid import BgeM3Embeddings, BgeM3SparseEmbeddings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of pymilvus
    from langchain_milvus import Milvus
    from langchain_milvus.utils.sparse import BaseSparseEmbedding

TEXTS = ["A worker pulls tasks.", "", "网关限流。", "A worker pulls tasks."]
QUESTION = "how does a worker get its tasks?"


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
    for made, nothing in ((sparse, {}), (sparse.for_milvus(), {encoder.fingerprint.vocabulary: 1.0})):
        expected[1] = nothing
        assert made.embed_documents(TEXTS) == await made.aembed_documents(TEXTS) == expected
        assert made.embed_query(QUESTION) == await made.aembed_query(QUESTION) == query
    assert sparse.embed_documents([]) == []


async def test_for_qdrant_the_same_in_its_class(encoder: BgeM3Encoder) -> None:
    sparse, theirs = BgeM3SparseEmbeddings(encoder), BgeM3SparseEmbeddings(encoder).for_qdrant()
    assert isinstance(theirs, SparseEmbeddings)
    assert isinstance(BgeM3SparseEmbeddings(encoder).for_milvus(), BaseSparseEmbedding)

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


@pytest.fixture(params=["qdrant", "milvus"])
def theirs(
    request: pytest.FixtureRequest, alone: BgeM3Encoder, documents: list[Document], tmp_path: Path
) -> Iterator[tuple[Any, list[int]]]:
    """Their hybrid store with six documents in it, and the forward passes that it took."""
    shared = OnePass(alone)
    dense, sparse = BgeM3Embeddings(shared), BgeM3SparseEmbeddings(shared)
    with forward_passes(alone) as passes:
        if request.param == "qdrant":
            store: Any = QdrantVectorStore.from_documents(
                [Document(d.page_content, metadata={"name": d.id}) for d in documents],
                dense,
                sparse_embedding=sparse.for_qdrant(),
                retrieval_mode=RetrievalMode.HYBRID,
                location=":memory:",
            )
            yield store, passes
            store.client.close()
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of pymilvus
                documents = [*documents, Document("", id="blank")]
                ids = [str(document.id) for document in documents]
                store = Milvus.from_documents(
                    [Document(d.page_content, metadata={"name": d.id}) for d in documents],
                    [dense, sparse.for_milvus()],
                    ids=ids,
                    vector_field=["dense", "sparse"],
                    connection_args={"uri": str(tmp_path / "milvus.db")},
                    index_params=[
                        {"metric_type": "IP", "index_type": "FLAT"},
                        {"metric_type": "IP", "index_type": "SPARSE_INVERTED_INDEX", "params": {"drop_ratio_build": 0}},
                    ],
                    search_params=[{"metric_type": "IP"}, {"metric_type": "IP"}],
                    consistency_level="Strong",
                )
                yield store, passes
                store.client.close()


@pytest.mark.filterwarnings("ignore")  # of pymilvus and qdrant-client
def test_their_hybrid_search_takes_one_pass_a_document_and_one_a_question(
    theirs: tuple[Any, list[int]], alone: BgeM3Encoder, documents: list[Document]
) -> None:
    store, passes = theirs
    of_documents = [count for count in passes if count > 1]
    assert of_documents in ([len(documents)], [len(documents) + 1])  # Milvus has a blank one besides
    assert len(passes) <= 2  # one text of their own, to learn the dimension
    passes.clear()
    found = store.similarity_search(QUESTION, k=3)
    assert passes == [1]
    index = HybridIndex.open(None, encoder=alone)
    index.add([d.page_content for d in documents], ids=[str(d.id) for d in documents])
    best = {hit.passage.id for mode in ("dense", "sparse") for hit in index.search(QUESTION, 3, mode=mode)}  # type: ignore[arg-type]
    assert found[0].metadata["name"] == "queue"
    assert {document.metadata["name"] for document in found} <= best


@pytest.mark.filterwarnings("ignore")
async def test_their_hybrid_search_is_async_too(alone: BgeM3Encoder, documents: list[Document]) -> None:
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
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)  # Python's own way of saying that it is not there
    assert sparse.embed_query("a task")
    extra = package.replace("_", "-")
    with pytest.raises(MissingDependencyError, match=rf'^{package} is not installed.*"bge-hybrid\[{extra}\]"'):
        getattr(sparse, method)()
