"""BgeCrossEncoder: LangChain's cross-encoder interface over a reranker of ours."""

from __future__ import annotations

import warnings

import pytest
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_classic.retrievers.document_compressors.cross_encoder import BaseCrossEncoder
from langchain_core import cross_encoders
from langchain_core.documents import Document

from hybrid_core import CrossEncoderReranker as Core
from hybrid_core import InvalidInputError, InvalidTextError
from langchain_hybrid import BgeCrossEncoder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # LangChain no longer keeps that package up
    from langchain_community.cross_encoders.base import BaseCrossEncoder as CommunityCrossEncoder

QUESTION = "how does a worker get its tasks?"


@pytest.fixture(scope="module")
def core() -> Core:
    return Core.tiny()


def test_it_is_the_class_that_all_of_langchain_asks_for(core: Core) -> None:
    made = BgeCrossEncoder(core)
    assert isinstance(made, BaseCrossEncoder)
    assert isinstance(made, cross_encoders.BaseCrossEncoder)


def test_it_is_the_class_that_langchain_community_asks_for(core: Core) -> None:
    assert isinstance(BgeCrossEncoder(core), CommunityCrossEncoder)


def test_scores_are_the_rerankers_whatever_the_order_and_mixture_of_questions(core: Core) -> None:
    texts = ["A worker pulls tasks from the queue.", "网关在这里配置限流。", "A worker pulls tasks from the queue."]
    pairs = [(QUESTION, texts[0]), ("网关限流", texts[1]), (QUESTION, texts[1]), ("网关限流", texts[2])]
    scores = BgeCrossEncoder(core).score(pairs)
    assert scores == pytest.approx([float(core.score(query, [text])[0]) for query, text in pairs], abs=1e-6)
    assert all(isinstance(score, float) and 0 <= score <= 1 for score in scores)
    assert BgeCrossEncoder(core).score([]) == []


def test_langchains_reranker_orders_by_it(core: Core, documents: list[Document]) -> None:
    found = CrossEncoderReranker(model=BgeCrossEncoder(core), top_n=2).compress_documents(documents, QUESTION)
    expected = core.score(QUESTION, [document.page_content for document in documents]).argsort()[::-1][:2]
    assert [document.id for document in found] == [documents[i].id for i in expected]


def test_what_is_no_reranker_or_no_text_is_an_error(core: Core) -> None:
    with pytest.raises(InvalidInputError, match="BAAI"):
        BgeCrossEncoder("BAAI/bge-reranker-base")  # type: ignore[arg-type]
    with pytest.raises(InvalidTextError):
        BgeCrossEncoder(core).score([(QUESTION, "\ud800")])
