"""Settings of one call: as arguments of invoke, and as configurable fields of RunnableConfig."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import ConfigurableField, Runnable, RunnableConfig
from langchain_core.tracers.context import collect_runs
from pydantic import ValidationError

from hybrid_core import (
    BgeM3Encoder,
    Budget,
    CrossEncoderReranker,
    Eq,
    HybridIndex,
    InvalidInputError,
    Selection,
    WeightedSum,
)
from langchain_hybrid import HybridRetriever

QUESTION = "how does a worker get its tasks?"
DENSE = WeightedSum(dense=1.0, sparse=0.0)


@pytest.fixture
def retriever(encoder: BgeM3Encoder, documents: list[Document]) -> HybridRetriever:
    """The six documents, and a reranker."""
    return HybridRetriever.from_documents(documents, encoder=encoder, reranker=CrossEncoderReranker.tiny(), k=4)


CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"k": 2}, {"k": 2}),
    ({"filter": {"lang": "zh"}}, {"filter": {"lang": "zh"}}),
    ({"filter": Eq("lang", "en")}, {"filter": Eq("lang", "en")}),
    ({"mode": "sparse"}, {"mode": "sparse"}),
    ({"rerank": False}, {"rerank": False}),
    ({"rerank": False, "fusion": DENSE}, {"rerank": False, "fusion": DENSE}),
    (
        {"budget": Budget(milliseconds=60_000, max_candidates=3)},
        {"budget": Budget(milliseconds=60_000, max_candidates=3)},
    ),
    ({"min_score": 0.5}, {"min_score": 0.5}),
    ({"selection": Selection(per_parent=1, parent="lang")}, {"selection": Selection(per_parent=1, parent="lang")}),
    ({"candidates": 2, "k": 1}, {"candidates": 2, "k": 1}),
]


def found(documents: list[Document]) -> list[tuple[str | None, float]]:
    return [(document.id, document.metadata["relevance_score"]) for document in documents]


def configured(retriever: HybridRetriever) -> Runnable[str, list[Document]]:
    names = ("k", "candidates", "filter", "mode", "rerank", "fusion", "budget", "min_score", "selection")
    return retriever.configurable_fields(**{name: ConfigurableField(id=f"search_{name}") for name in names})


def config(settings: dict[str, Any]) -> RunnableConfig:
    return {"configurable": {f"search_{name}": value for name, value in settings.items()}}


@pytest.mark.parametrize(("given", "core"), CASES, ids=lambda value: repr(value)[:60])
async def test_a_call_searches_as_the_index_does_with_these_settings(
    retriever: HybridRetriever, given: dict[str, Any], core: dict[str, Any]
) -> None:
    expected = [(hit.passage.id, hit.score) for hit in retriever.index.search(QUESTION, **{"k": 4, **core})]
    assert found(retriever.invoke(QUESTION, **given)) == expected
    assert found(await retriever.ainvoke(QUESTION, **given)) == expected
    either = configured(retriever)
    assert found(either.invoke(QUESTION, config(given))) == expected
    assert found(await either.ainvoke(QUESTION, config(given))) == expected
    own = HybridRetriever(index=retriever.index, **{"k": 4, **given})
    assert found(own.invoke(QUESTION)) == expected
    assert found(retriever.invoke(QUESTION)) == found(either.invoke(QUESTION))  # nothing sticks


def test_plain_forms_from_a_request_do_as_well(retriever: HybridRetriever) -> None:
    either = configured(retriever)
    plain = {"rerank": False, "fusion": {"name": "WeightedSum", "dense": 1.0, "sparse": 0.0}, "k": 3}
    assert found(either.invoke(QUESTION, config(plain))) == found(
        retriever.invoke(QUESTION, rerank=False, fusion=DENSE, k=3)
    )
    plain = {"budget": {"milliseconds": 60_000, "max_candidates": 3}}
    assert len(either.invoke(QUESTION, config(plain))) == 4
    plain = {"selection": {"per_parent": 1, "parent": "lang"}}
    assert [document.metadata["lang"] for document in either.invoke(QUESTION, config(plain))] == ["en", "zh"]
    for wrong in (
        {"fusion": {"name": "open"}},
        {"mode": "both"},
        {"budget": "soon"},
        {"k": "many"},
        {"selection": {"diversity": 2}},
    ):
        with pytest.raises(ValidationError):
            either.invoke(QUESTION, config(wrong))


def test_batches_have_a_configuration_each(retriever: HybridRetriever) -> None:
    either = configured(retriever)
    counts = [len(documents) for documents in either.batch([QUESTION] * 3, [config({"k": k}) for k in (1, 3, 2)])]
    assert counts == [1, 3, 2]


def test_none_in_a_call_takes_a_setting_back(retriever: HybridRetriever) -> None:
    only = HybridRetriever(index=retriever.index, filter={"lang": "zh"}, min_score=0.9, k=6)
    assert len(only.invoke(QUESTION)) < len(only.invoke(QUESTION, min_score=None)) == 3
    assert len(only.invoke(QUESTION, filter=None, min_score=None)) == 6


def test_settings_for_a_reranker_need_one(retriever: HybridRetriever) -> None:
    with pytest.raises(InvalidInputError, match="reranker"):
        retriever.invoke(QUESTION, rerank=False, min_score=0.5)
    with pytest.raises(InvalidInputError, match="instruction"):
        retriever.invoke(QUESTION, instruction="answers the question")


@pytest.fixture(params=["memory", "folder"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, encoder: BgeM3Encoder) -> Iterator[HybridIndex]:
    with HybridIndex.open(None if request.param == "memory" else tmp_path, encoder=encoder) as index:
        yield index


def test_a_trace_names_store_and_model(opened: HybridIndex) -> None:
    retriever = HybridRetriever(index=opened, tags=["docs"], metadata={"team": "search"})
    with collect_runs() as runs:
        retriever.invoke(QUESTION, k=1)
    [run] = runs.traced_runs
    metadata = run.extra["metadata"]
    assert metadata["ls_retriever_name"] == "hybrid"
    assert metadata["ls_vector_store_provider"] == type(opened.store).__name__
    assert metadata["ls_embedding_provider"] == "BgeM3Encoder"
    assert metadata["ls_embedding_model"] == "tiny"
    assert metadata["team"] == "search"
    assert "docs" in run.tags
