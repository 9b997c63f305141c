"""HybridVectorStore: what it stores, finds and gives back, over a store in memory and one in a folder."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStoreRetriever

from hybrid_core import (
    BgeM3Encoder,
    Bm25,
    CrossEncoderReranker,
    DuplicateIdError,
    Eq,
    HybridIndex,
    InvalidInputError,
    MetadataError,
    ModelMismatchError,
    QdrantStore,
    WeightedSum,
)
from langchain_hybrid import BgeM3Embeddings, HybridRetriever, HybridVectorStore
from langchain_hybrid.embeddings import to_encoder

QUESTION = "how does a worker get its tasks?"


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


@pytest.fixture
def store(index: HybridIndex, documents: list[Document]) -> HybridVectorStore:
    """The six documents."""
    made = HybridVectorStore(index)
    made.add_documents(documents)
    return made


def test_a_search_is_that_of_the_index_and_documents_come_back_as_stored(
    store: HybridVectorStore, documents: list[Document]
) -> None:
    found = store.similarity_search(QUESTION, k=6)
    assert ids(found) == [hit.passage.id for hit in store.index.search(QUESTION, 6)]
    assert sorted(found, key=lambda d: str(d.id)) == sorted(documents, key=lambda d: str(d.id))
    assert len(store.similarity_search(QUESTION)) == 4  # LangChain's own default


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "dense"},
        {"mode": "sparse"},
        {"filter": {"lang": "zh"}},
        {"filter": Eq("lang", "en"), "candidates": 5},
        {"fusion": WeightedSum.from_alpha(0.9)},
    ],
    ids=repr,
)
async def test_a_search_takes_what_the_indexs_takes(store: HybridVectorStore, settings: dict[str, Any]) -> None:
    expected = [(hit.passage.id, hit.score) for hit in store.index.search(QUESTION, 3, **settings)]
    assert [(d.id, score) for d, score in store.similarity_search_with_score(QUESTION, 3, **settings)] == expected
    found = await store.asimilarity_search_with_score(QUESTION, 3, **settings)
    assert [(d.id, score) for d, score in found] == expected
    assert ids(await store.asimilarity_search(QUESTION, 3, **settings)) == [id_ for id_, _ in expected]


def test_scores_are_the_rerankers_where_the_index_has_one(encoder: BgeM3Encoder, documents: list[Document]) -> None:
    store = HybridVectorStore.from_documents(documents, encoder, reranker=CrossEncoderReranker.tiny())
    texts = {d.id: d.page_content for d in documents}
    for document, score in store.similarity_search_with_score(QUESTION, 3):
        [expected] = store.index.reranker.score(QUESTION, [texts[document.id]])  # type: ignore[union-attr]
        assert score == pytest.approx(expected, abs=1e-6)
    assert store.similarity_search_with_score(QUESTION, 1, rerank=False)[0][1] < 1 / 30  # reciprocal ranks


async def test_relevance_scores_lie_between_0_and_1_and_a_threshold_holds(store: HybridVectorStore) -> None:
    scored = store.similarity_search_with_relevance_scores(QUESTION, k=6)
    dense = store.index.encoder.encode_queries([QUESTION]).dense[0]
    for document, score in scored:
        cosine = store.index.encoder.encode_documents([document.page_content]).dense[0] @ dense
        assert score == pytest.approx(max(0.0, float(cosine)), abs=1e-5)
    assert [d.id for d, _ in scored] == ids(store.similarity_search(QUESTION, k=6))
    kept = [pair for pair in scored if pair[1] >= 0.25]
    assert 0 < len(kept) < 6
    assert store.similarity_search_with_relevance_scores(QUESTION, k=6, score_threshold=0.25) == kept
    assert await store.asimilarity_search_with_relevance_scores(QUESTION, k=6, score_threshold=0.25) == kept


async def test_by_vector_finds_what_the_dense_side_finds(store: HybridVectorStore) -> None:
    vector = store.embeddings.embed_query(QUESTION)
    expected = ids(store.similarity_search(QUESTION, 3, mode="dense", filter={"lang": "zh"}))
    assert ids(store.similarity_search_by_vector(vector, 3, filter={"lang": "zh"})) == expected
    assert ids(await store.asimilarity_search_by_vector(vector, 3, filter={"lang": "zh"})) == expected
    with pytest.raises(InvalidInputError, match="256"):
        store.similarity_search_by_vector([1.0, 0.0])


async def test_marginal_relevance_by_vector_chooses_among_the_nearest(store: HybridVectorStore) -> None:
    vector = store.embeddings.embed_query(QUESTION)
    near = store.max_marginal_relevance_search_by_vector(vector, k=3, fetch_k=5, lambda_mult=1.0)
    assert near == store.similarity_search_by_vector(vector, 3)
    diverse = store.max_marginal_relevance_search_by_vector(vector, k=3, fetch_k=5, lambda_mult=0.0)
    assert ids(diverse)[0] == ids(near)[0]
    assert set(ids(diverse)) <= set(ids(store.similarity_search_by_vector(vector, 5)))
    assert await store.amax_marginal_relevance_search_by_vector(vector, k=3, fetch_k=5, lambda_mult=0.0) == diverse
    with pytest.raises(InvalidInputError, match="diversity"):
        store.max_marginal_relevance_search_by_vector(vector, lambda_mult=2.0)


async def test_marginal_relevance_puts_a_twin_after_what_differs(store: HybridVectorStore) -> None:
    store.add_texts(["A worker pulls tasks from the queue!"], ids=["twin"])
    near = store.max_marginal_relevance_search(QUESTION, k=2, fetch_k=7, lambda_mult=1.0)
    assert set(ids(near)) == {"queue", "twin"}
    diverse = store.max_marginal_relevance_search(QUESTION, k=2, fetch_k=7, lambda_mult=0.3)
    assert len({"queue", "twin"} & set(ids(diverse))) == 1
    assert await store.amax_marginal_relevance_search(QUESTION, k=2, fetch_k=7, lambda_mult=0.3) == diverse
    only = store.max_marginal_relevance_search(QUESTION, k=7, filter={"lang": "zh"})
    assert set(ids(only)) == {"zh-worker", "zh-limit", "zh-chart"}
    few = store.max_marginal_relevance_search(QUESTION, k=7, fetch_k=2)
    assert set(ids(few)) == set(ids(store.similarity_search(QUESTION, 2)))


@pytest.mark.parametrize("search_type", ["similarity", "hybrid", "dense", "sparse", "mmr"])
async def test_as_retriever_knows_every_way_of_searching(store: HybridVectorStore, search_type: str) -> None:
    retriever = store.as_retriever(search_type=search_type, search_kwargs={"k": 3}, tags=["mine"])
    assert isinstance(retriever, VectorStoreRetriever)
    assert retriever.tags == ["mine"]
    found = retriever.invoke(QUESTION)
    if search_type == "mmr":
        assert found == store.max_marginal_relevance_search(QUESTION, k=3)
    else:
        mode = "hybrid" if search_type == "similarity" else search_type
        assert ids(found) == [hit.passage.id for hit in store.index.search(QUESTION, 3, mode=mode)]  # type: ignore[arg-type]
    assert await retriever.ainvoke(QUESTION) == found
    assert ids(retriever.invoke(QUESTION, k=1)) == ids(found)[:1]
    assert retriever.batch([QUESTION]) == [found]


def test_as_retriever_with_a_threshold_and_with_what_is_not_known(store: HybridVectorStore) -> None:
    settings = {"score_threshold": 0.25, "k": 6}
    retriever = store.as_retriever(search_type="similarity_score_threshold", search_kwargs=settings)
    expected = store.similarity_search_with_relevance_scores(QUESTION, k=6, score_threshold=0.25)
    assert retriever.invoke(QUESTION) == [document for document, _ in expected]
    assert settings == {"score_threshold": 0.25, "k": 6}
    with pytest.raises(ValueError, match="not allowed"):
        store.as_retriever(search_type="keyword")
    assert retriever._get_ls_params()["ls_vector_store_provider"] == "HybridVectorStore"
    assert retriever._get_ls_params()["ls_embedding_provider"] == "BgeM3Embeddings"


async def test_adding_deleting_and_getting_by_id(store: HybridVectorStore, documents: list[Document]) -> None:
    assert store.add_documents([Document("new", id="x"), Document("unnamed")], ids=["given", None]) is not None
    assert store.get_by_ids(["given", "x"])[0].page_content == "new"
    assert len(store.get_by_ids(["given", "x"])) == 1  # LangChain's rule: ids given to the call go first
    assert store.delete(["given", "never there"]) is True
    assert await store.aget_by_ids(["given", "retry", "queue", "nobody"]) == [documents[1], documents[0]]
    assert await store.adelete(["retry"])
    assert store.delete(filter={"lang": "zh"})
    left = store.index.get(store.index.ids())
    assert {passage.id for passage in left if passage} >= {"queue", "limit"}
    assert store.delete([])
    with pytest.raises(InvalidInputError, match="ids or a filter"):
        store.delete()
    store.delete(filter={"$and": []})
    assert len(store.index) == 0


def test_the_same_id_replaces_and_derived_ids_are_the_same_again(index: HybridIndex) -> None:
    store = HybridVectorStore(index)
    first = store.add_texts(["one", "two"], [{"n": 1}, {"n": 2}])
    assert store.add_texts(["one", "two"], [{"n": 1}, {"n": 2}]) == first
    assert len(index) == 2
    store.add_texts(["another one"], [{"n": 3}], ids=[first[0]])
    assert store.get_by_ids(first[:1]) == [Document("another one", metadata={"n": 3}, id=first[0])]
    assert store.add_texts(text for text in ("three", "four")) != []
    assert len(index) == 4


def test_nothing_is_written_where_one_is_bad(index: HybridIndex) -> None:
    store = HybridVectorStore(index)
    with pytest.raises(MetadataError, match="when"):
        store.add_documents([Document("fine"), Document("bad", metadata={"when": object()})])
    with pytest.raises(DuplicateIdError):
        store.add_texts(["one", "two"], ids=["a", "a"])
    with pytest.raises(ValueError, match="metadatas"):
        store.add_texts(["one", "two"], [{}])
    with pytest.raises(TypeError, match="namespace"):
        store.add_texts(["one"], namespace="other")  # type: ignore[call-arg]
    assert len(index) == 0


def test_documents_given_and_returned_are_the_callers_own(store: HybridVectorStore, documents: list[Document]) -> None:
    before = copy.deepcopy(documents)
    for document in [*store.similarity_search(QUESTION, 6), *store.get_by_ids(["queue"])]:
        document.metadata.setdefault("tags", []).append("changed")
    assert documents == before
    assert store.get_by_ids(["queue"]) == [before[0]]


async def test_a_cancelled_write_has_ended_before_its_task_learns_of_it(store: HybridVectorStore) -> None:
    """Fault 7: finished before CancelledError is seen."""
    begun, go = threading.Event(), threading.Event()

    def texts() -> Iterator[str]:
        begun.set()
        assert go.wait(30)
        yield "a text that arrives late"

    task = asyncio.ensure_future(store.aadd_texts(texts(), ids=["late"]))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.sleep(0.02)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ids(store.get_by_ids(["late"])) == ["late"]
    assert await store.adelete(["late"])


def test_an_empty_store_finds_nothing(index: HybridIndex) -> None:
    store = HybridVectorStore(index)
    assert store.similarity_search(QUESTION) == []
    assert store.similarity_search_with_relevance_scores(QUESTION) == []
    assert store.max_marginal_relevance_search(QUESTION) == []
    assert store.get_by_ids(["a"]) == []


async def test_from_texts_and_from_documents_in_all_their_forms(
    encoder: BgeM3Encoder, documents: list[Document], tmp_path: Path
) -> None:
    texts = [document.page_content for document in documents]
    embeddings = BgeM3Embeddings(encoder)
    made: list[Callable[[Path], Any]] = [
        lambda path: HybridVectorStore.from_documents(documents, embeddings, path=path),
        lambda path: HybridVectorStore.afrom_documents(documents, embeddings, path=path),
        lambda path: HybridVectorStore.from_texts(
            texts, embeddings, [d.metadata for d in documents], ids=[str(d.id) for d in documents], path=path
        ),
        lambda path: HybridVectorStore.afrom_texts(
            texts, encoder, [d.metadata for d in documents], ids=[str(d.id) for d in documents], path=path
        ),
    ]
    for number, make in enumerate(made):
        store = make(tmp_path / str(number))
        store = store if isinstance(store, HybridVectorStore) else await store
        with store.index:
            assert store.get_by_ids([str(d.id) for d in documents]) == documents
            assert isinstance(store.embeddings, BgeM3Embeddings)
        opened = HybridVectorStore.from_texts([], embeddings, path=tmp_path / str(number))
        with opened.index:
            assert opened.similarity_search(QUESTION, 1)[0].id == "queue"


def test_what_from_texts_does_not_know_is_an_error(encoder: BgeM3Encoder) -> None:
    with pytest.raises(TypeError, match="persist_directory"):
        HybridVectorStore.from_texts(["a"], encoder, persist_directory="here")


class Named(DeterministicFakeEmbedding):
    """Embeddings that know their model's name."""

    model: str = "fake-1"


def test_other_embeddings_get_bm25_beside_them(tmp_path: Path, documents: list[Document]) -> None:
    fake = Named(size=8)
    store = HybridVectorStore.from_documents(documents, fake, path=tmp_path)
    with store.index:
        assert store.embeddings is fake
        assert store.index.encoder.fingerprint.model == "Named fake-1"
        assert store.index.encoder.fingerprint.sparse == Bm25().name
        [best] = store.similarity_search("rejects requests", k=1, mode="sparse")
        assert best.id == "limit"
        [best] = store.similarity_search(documents[3].page_content, k=1, mode="dense")
        assert best.id == "zh-worker"
        [(_, score)] = store.similarity_search_with_relevance_scores(documents[3].page_content, k=1, mode="dense")
        assert score == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(ModelMismatchError, match="fake-2"):
        HybridVectorStore.from_documents([], Named(size=8, model="fake-2"), path=tmp_path)


def test_to_encoder_gives_back_an_encoder_and_refuses_what_is_none(encoder: BgeM3Encoder) -> None:
    assert to_encoder(encoder) is encoder
    assert to_encoder(BgeM3Embeddings(encoder)) is encoder
    made = to_encoder(DeterministicFakeEmbedding(size=3), Bm25(language="german"))
    assert made.fingerprint.sparse == Bm25(language="german").name
    assert np.allclose(np.linalg.norm(made.encode_queries(["a"]).dense, axis=1), 1)
    with pytest.raises(InvalidInputError, match="sparse side of its own"):
        to_encoder(encoder, Bm25())
    with pytest.raises(InvalidInputError, match="neither"):
        to_encoder("BAAI/bge-m3")  # type: ignore[arg-type]


def test_over_a_database_it_is_the_same(encoder: BgeM3Encoder, documents: list[Document]) -> None:
    with HybridIndex(QdrantStore(":memory:", encoder.fingerprint), encoder=encoder) as index:
        there, here = HybridVectorStore(index), HybridVectorStore.from_documents(documents, encoder)
        there.add_documents(documents)
        for search in ("similarity_search", "max_marginal_relevance_search", "similarity_search_with_relevance_scores"):
            left, right = getattr(there, search)(QUESTION, k=3), getattr(here, search)(QUESTION, k=3)
            assert [getattr(x, "id", x) for x in left if isinstance(x, Document)] == [
                x.id for x in right if isinstance(x, Document)
            ]
            assert len(left) == len(right) == 3


def test_the_retriever_over_the_same_index_finds_the_same(store: HybridVectorStore) -> None:
    ours: list[BaseRetriever] = [HybridRetriever(index=store.index, k=4), store.as_retriever()]
    first, second = (retriever.invoke(QUESTION) for retriever in ours)
    assert ids(first) == ids(second)


def test_it_is_langchains_kind(store: HybridVectorStore) -> None:
    assert isinstance(store.embeddings, Embeddings)
    assert store.embeddings.embed_query("a") == store.index.encoder.encode_queries(["a"]).dense[0].tolist()
