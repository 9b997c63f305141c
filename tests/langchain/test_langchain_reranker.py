"""BgeReranker, alone and inside ContextualCompressionRetriever."""

from __future__ import annotations

import copy

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from pydantic import ValidationError

from hybrid_core import BgeM3Encoder, InvalidInputError, InvalidTextError, LateInteractionReranker
from langchain_hybrid import BgeReranker, HybridRetriever

QUESTION = "how does a worker get its tasks?"


@pytest.fixture
def core(encoder: BgeM3Encoder) -> LateInteractionReranker:
    return LateInteractionReranker(encoder)


@pytest.fixture
def reranker(core: LateInteractionReranker) -> BgeReranker:
    return BgeReranker(reranker=core, top_n=3)


def test_documents_come_in_the_order_of_the_core_scores(
    reranker: BgeReranker, core: LateInteractionReranker, documents: list[Document]
) -> None:
    scores = core.score(QUESTION, [document.page_content for document in documents]).tolist()
    expected = sorted(zip(documents, scores, strict=True), key=lambda pair: -pair[1])[:3]
    found = reranker.compress_documents(documents, QUESTION)
    assert [(d.id, d.metadata["relevance_score"]) for d in found] == [(d.id, score) for d, score in expected]
    assert [d.page_content for d in found] == [d.page_content for d, _ in expected]
    assert found[0].id == "queue"


async def test_the_async_twin_returns_the_same(reranker: BgeReranker, documents: list[Document]) -> None:
    found = await reranker.acompress_documents(documents, QUESTION)
    assert found == reranker.compress_documents(documents, QUESTION)
    assert len(found) == 3


def test_the_documents_passed_in_stay_as_they_are(reranker: BgeReranker, documents: list[Document]) -> None:
    before = copy.deepcopy(documents)
    for document in reranker.compress_documents(documents, QUESTION):
        document.page_content = "changed"
        document.metadata["lang"] = "changed"
    assert documents == before


def test_nested_metadata_of_results_is_a_copy_too(reranker: BgeReranker, documents: list[Document]) -> None:
    before = copy.deepcopy(documents)
    for document in reranker.compress_documents(documents, QUESTION):
        document.metadata["tags"].append("changed")
    assert documents == before


@pytest.mark.parametrize(("top_n", "count"), [(0, 0), (1, 1), (5, 5), (6, 6), (100, 6)])
def test_top_n_says_how_many_documents_stay(
    core: LateInteractionReranker, documents: list[Document], top_n: int, count: int
) -> None:
    assert len(BgeReranker(reranker=core, top_n=top_n).compress_documents(documents, QUESTION)) == count


async def test_a_negative_top_n_is_an_error_naming_it(core: LateInteractionReranker, documents: list[Document]) -> None:
    reranker = BgeReranker(reranker=core, top_n=-2)
    with pytest.raises(InvalidInputError, match="top_n=-2"):
        reranker.compress_documents(documents, QUESTION)
    with pytest.raises(InvalidInputError, match="top_n=-2"):
        await reranker.acompress_documents(documents, QUESTION)


async def test_no_documents_give_no_documents(reranker: BgeReranker) -> None:
    assert reranker.compress_documents([], QUESTION) == []
    assert await reranker.acompress_documents([], QUESTION) == []


def test_equal_scores_keep_the_order_given(reranker: BgeReranker) -> None:
    twins = [Document("A worker pulls tasks.", id=id_) for id_ in ("z", "a", "m")]
    assert [document.id for document in reranker.compress_documents(twins, QUESTION)] == ["z", "a", "m"]


def test_a_query_that_is_no_text_is_an_error(reranker: BgeReranker, documents: list[Document]) -> None:
    with pytest.raises(InvalidTextError):
        reranker.compress_documents(documents, "\ud800")


def test_a_model_name_in_place_of_a_reranker_is_an_error() -> None:
    with pytest.raises(ValidationError, match="reranker"):
        BgeReranker(reranker="BAAI/bge-reranker-base")


def test_a_misspelt_setting_is_an_error(core: LateInteractionReranker) -> None:
    with pytest.raises(ValidationError, match="top_k"):
        BgeReranker(reranker=core, top_k=3)


async def test_it_drops_into_the_contextual_compression_retriever(
    reranker: BgeReranker, retriever: HybridRetriever
) -> None:
    both = ContextualCompressionRetriever(base_compressor=reranker, base_retriever=retriever)
    found = both.invoke(QUESTION)
    assert found == reranker.compress_documents(retriever.invoke(QUESTION), QUESTION)
    assert len(found) == 3
    assert all({"dense", "fused"} <= set(document.metadata["stage_scores"]) for document in found)
    assert await both.ainvoke(QUESTION) == found


async def test_the_compression_retriever_survives_an_empty_index(reranker: BgeReranker, encoder: BgeM3Encoder) -> None:
    empty = HybridRetriever.from_documents([], encoder=encoder)
    both = ContextualCompressionRetriever(base_compressor=reranker, base_retriever=empty)
    assert both.invoke(QUESTION) == []
    assert await both.ainvoke(QUESTION) == []
