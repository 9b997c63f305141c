"""HybridRetriever: building, settings, and what the documents it returns hold."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from hybrid_core import (
    BgeM3Encoder,
    Contains,
    Eq,
    FilterError,
    HybridIndex,
    InvalidInputError,
    InvalidTextError,
    LateInteractionReranker,
    MetadataError,
    WeightedSum,
)
from langchain_hybrid import HybridRetriever

QUESTION = "how does a worker get its tasks?"


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


def test_from_documents_in_memory_finds_every_document(retriever: HybridRetriever, documents: list[Document]) -> None:
    found = retriever.invoke(QUESTION, k=10)
    assert found[0].id == "queue"
    assert sorted(ids(found)) == sorted(ids(documents))


def test_from_documents_into_a_folder_is_there_after_reopening(
    encoder: BgeM3Encoder, documents: list[Document], tmp_path: Path
) -> None:
    first = HybridRetriever.from_documents(documents, encoder=encoder, path=tmp_path / "index", k=2)
    expected = first.invoke(QUESTION)
    first.index.close()
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index:
        assert HybridRetriever(index=index, k=2).invoke(QUESTION) == expected


def test_from_documents_hands_reranker_and_fusion_to_the_index(
    encoder: BgeM3Encoder, documents: list[Document]
) -> None:
    reranker, fusion = LateInteractionReranker(encoder), WeightedSum()
    retriever = HybridRetriever.from_documents(documents, encoder=encoder, reranker=reranker, fusion=fusion, k=1)
    assert retriever.index.reranker is reranker
    assert retriever.index.fusion is fusion
    [document] = retriever.invoke(QUESTION)
    assert document.metadata["relevance_score"] == document.metadata["stage_scores"]["reranked"]["score"]


def test_from_texts_pairs_texts_with_metadata_and_ids(encoder: BgeM3Encoder) -> None:
    texts, metadatas = ["A worker pulls tasks.", "网关限流。"], [{"n": 1}, {"n": 2}]
    retriever = HybridRetriever.from_texts(texts, metadatas, ["a", "b"], encoder=encoder)
    found = {d.id: (d.page_content, d.metadata["n"]) for d in retriever.invoke(QUESTION)}
    assert found == {"a": (texts[0], 1), "b": (texts[1], 2)}


def test_from_texts_takes_a_generator_and_derives_ids(encoder: BgeM3Encoder) -> None:
    retriever = HybridRetriever.from_texts((text for text in ("one task", "two tasks")), encoder=encoder)
    again = HybridRetriever.from_texts(["one task", "two tasks"], encoder=encoder)
    assert len(set(retriever.index.ids())) == 2
    assert retriever.index.ids() == again.index.ids()


def test_documents_keep_their_ids_and_others_get_one_from_their_content(index: HybridIndex) -> None:
    retriever = HybridRetriever(index=index)
    given = [Document("kept", id="mine"), Document("derived", metadata={"n": 1}), Document("derived")]
    first = retriever.add_documents(given)
    assert first[0] == "mine"
    assert len(set(first)) == 3  # other metadata, other document
    assert retriever.add_documents(given) == first
    assert len(index) == 3
    assert [document.id for document in given] == ["mine", None, None]


def test_adding_a_document_under_the_same_id_replaces_it(index: HybridIndex) -> None:
    retriever = HybridRetriever(index=index)
    retriever.add_documents([Document("the old text", metadata={"v": 1}, id="a")])
    retriever.add_documents([Document("the new text", metadata={"v": 2}, id="a")])
    [document] = retriever.invoke("text")
    assert (document.page_content, document.metadata["v"]) == ("the new text", 2)


async def test_aadd_documents_from_several_tasks_stores_all(index: HybridIndex, documents: list[Document]) -> None:
    retriever = HybridRetriever(index=index)
    added = await asyncio.gather(*(retriever.aadd_documents([document]) for document in documents))
    assert [id_ for [id_] in added] == ids(documents)
    assert len(index) == len(documents)


def test_one_bad_document_keeps_the_others_out(index: HybridIndex, documents: list[Document]) -> None:
    bad = [*documents, Document("well", metadata={"when": object()}, id="bad")]
    with pytest.raises(MetadataError, match="when"):
        HybridRetriever(index=index).add_documents(bad)
    assert len(index) == 0


def test_k_of_the_call_goes_before_k_of_the_retriever(encoder: BgeM3Encoder, documents: list[Document]) -> None:
    retriever = HybridRetriever.from_documents(documents, encoder=encoder, k=3)
    everything = ids(retriever.invoke(QUESTION, k=10))
    assert len(everything) == len(documents)
    assert ids(retriever.invoke(QUESTION)) == everything[:3]
    assert ids(retriever.invoke(QUESTION, k=1)) == everything[:1]
    assert retriever.invoke(QUESTION, k=0) == []
    assert retriever.k == 3


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"lang": "zh"}, {"zh-worker", "zh-limit", "zh-chart"}),
        (Eq("lang", "zh"), {"zh-worker", "zh-limit", "zh-chart"}),
        (Contains("tags", "queue"), {"queue"}),
        ({"$and": [{"lang": "en"}, {"tags": {"$contains": "jobs"}}]}, {"queue", "retry"}),
        ({"lang": "fr"}, set()),
    ],
)
def test_filter_as_dict_or_object_in_the_constructor_or_the_call(
    retriever: HybridRetriever, filter: Any, expected: set[str]
) -> None:
    assert set(ids(retriever.invoke(QUESTION, filter=filter))) == expected
    always = HybridRetriever(index=retriever.index, filter=filter)
    assert set(ids(always.invoke(QUESTION))) == expected
    assert set(ids(always.invoke(QUESTION, filter={"lang": {"$in": ["en", "zh"]}}, k=10))) == set(retriever.index.ids())


def test_a_filter_dict_on_entries_named_key_and_value_stays_a_dict(encoder: BgeM3Encoder) -> None:
    entries = {"key": "lang", "value": "zh"}
    documents = [Document("a task", metadata=entries, id="named"), Document("a task", metadata={"lang": "zh"}, id="zh")]
    retriever = HybridRetriever.from_documents(documents, encoder=encoder, filter=entries)
    assert retriever.filter == entries
    assert type(retriever.filter) is dict
    assert ids(retriever.invoke("task")) == ["named"]


@pytest.mark.parametrize("mode", ["hybrid", "dense", "sparse"])
def test_mode_in_the_constructor_or_the_call_is_the_index_mode(retriever: HybridRetriever, mode: Any) -> None:
    expected = [hit.passage.id for hit in retriever.index.search(QUESTION, mode=mode)]
    assert ids(retriever.invoke(QUESTION, mode=mode)) == expected
    assert ids(HybridRetriever(index=retriever.index, mode=mode).invoke(QUESTION)) == expected


def test_candidates_limit_what_each_side_recalls(retriever: HybridRetriever) -> None:
    question = "how does a worker wait?"  # the best by both sides together is second by dense
    [wide] = retriever.invoke(question, k=1)
    [narrow] = retriever.invoke(question, k=1, candidates=1)
    assert wide.id == narrow.id == "queue"
    assert set(wide.metadata["stage_scores"]) == {"dense", "sparse", "fused"}
    assert set(narrow.metadata["stage_scores"]) == {"sparse", "fused"}
    assert HybridRetriever(index=retriever.index, k=1, candidates=1).invoke(question) == [narrow]


@pytest.mark.parametrize("reranker", [None, LateInteractionReranker])
def test_scores_in_the_metadata_are_the_scores_of_the_hits(
    encoder: BgeM3Encoder, documents: list[Document], reranker: Callable[[BgeM3Encoder], Any] | None
) -> None:
    made = reranker(encoder) if reranker else None
    retriever = HybridRetriever.from_documents(documents, encoder=encoder, reranker=made)
    hits = retriever.index.search(QUESTION)
    found = retriever.invoke(QUESTION)
    assert ids(found) == [hit.passage.id for hit in hits]
    for document, hit in zip(found, hits, strict=True):
        assert document.page_content == hit.passage.text
        assert document.metadata == {
            **hit.passage.metadata,
            "relevance_score": hit.score,
            "stage_scores": {name: {"score": s.score, "rank": s.rank} for name, s in hit.stages.items()},
        }
    assert {"dense", "sparse", "fused"} <= set(found[0].metadata["stage_scores"])
    assert ("reranked" in found[0].metadata["stage_scores"]) is (reranker is not None)


def test_indexing_leaves_the_documents_of_the_caller_as_they_are(index: HybridIndex, documents: list[Document]) -> None:
    before = copy.deepcopy(documents)
    retriever = HybridRetriever(index=index)
    retriever.add_documents(documents)
    retriever.invoke(QUESTION)
    assert documents == before


def test_what_a_caller_does_to_results_or_inputs_is_not_seen_by_the_index(
    index: HybridIndex, documents: list[Document]
) -> None:
    retriever = HybridRetriever(index=index)
    retriever.add_documents(documents)
    expected = copy.deepcopy(retriever.invoke(QUESTION))
    for document in [*retriever.invoke(QUESTION), *documents]:
        document.page_content = "changed"
        document.metadata.setdefault("tags", []).append("changed")
        document.metadata["lang"] = "changed"
    assert retriever.invoke(QUESTION) == expected


@pytest.mark.parametrize(
    ("question", "overrides", "error"),
    [
        (QUESTION, {"k": -1}, InvalidInputError),
        (QUESTION, {"candidates": -1}, InvalidInputError),
        (QUESTION, {"mode": "both"}, InvalidInputError),
        (QUESTION, {"filter": {"lang": {"$near": "zh"}}}, FilterError),
        ("\ud800", {}, InvalidTextError),
    ],
)
async def test_a_bad_question_or_setting_raises_the_error_of_the_core(
    retriever: HybridRetriever, question: str, overrides: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        retriever.invoke(question, **overrides)
    with pytest.raises(error):
        await retriever.ainvoke(question, **overrides)


def test_a_misspelt_setting_is_an_error(retriever: HybridRetriever) -> None:
    with pytest.raises(TypeError, match="top_k"):
        retriever.invoke(QUESTION, top_k=3)
    with pytest.raises((TypeError, ValueError), match="top_k"):
        HybridRetriever(index=retriever.index, top_k=3)


def test_an_empty_index_answers_with_nothing(index: HybridIndex) -> None:
    retriever = HybridRetriever(index=index)
    assert retriever.invoke(QUESTION) == []
    assert retriever.add_documents([]) == []
