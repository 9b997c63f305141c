"""HybridRetriever inside LlamaIndex: query engines, events, callbacks and async."""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent, RetrievalStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine

from hybrid_core import InvalidInputError
from llamaindex_hybrid import HybridRetriever

QUESTION = "how does a worker get its tasks?"


@pytest.fixture
def engine(retriever: HybridRetriever) -> RetrieverQueryEngine:
    """The mock model answers with its prompt, so the answer shows what a real one would have read."""
    retriever.k = 2
    return RetrieverQueryEngine.from_args(retriever, llm=MockLLM())


def test_a_query_engine_answers_from_the_nodes_found(engine: RetrieverQueryEngine, retriever: HybridRetriever) -> None:
    response = engine.query(QUESTION)
    assert response.source_nodes == retriever.retrieve(QUESTION)
    assert response.source_nodes[0].node.node_id == "queue"
    assert all(item.text in str(response) for item in response.source_nodes)


async def test_an_async_query_gives_the_same_answer(engine: RetrieverQueryEngine) -> None:
    response = await engine.aquery(QUESTION)
    again = engine.query(QUESTION)
    assert str(response) == str(again)
    assert response.source_nodes == again.source_nodes


def test_the_language_model_sees_the_metadata_but_not_the_reasons(engine: RetrieverQueryEngine) -> None:
    response = engine.query(QUESTION)
    assert "lang: en" in str(response)
    assert "relevance_score" not in str(response)
    assert "stage_scores" not in str(response)
    assert "_bge_hybrid" not in str(response)
    assert all("stage_scores" in item.node.metadata for item in response.source_nodes)


async def test_aretrieve_returns_what_retrieve_returns(retriever: HybridRetriever) -> None:
    questions = [QUESTION, "网关限流", "图例"]
    found = await asyncio.gather(*(retriever.aretrieve(question) for question in questions))
    assert found == [retriever.retrieve(question) for question in questions]


async def test_retrieval_fires_a_start_and_an_end_event_with_the_nodes(
    retriever: HybridRetriever, events: list[BaseEvent]
) -> None:
    expected = [retriever.retrieve(QUESTION), await retriever.aretrieve(QUESTION)]
    seen = [event for event in events if isinstance(event, RetrievalStartEvent | RetrievalEndEvent)]
    assert [type(event) for event in seen] == [RetrievalStartEvent, RetrievalEndEvent] * 2
    assert [event.str_or_query_bundle for event in seen] == [QUESTION] * 4
    assert [event.nodes for event in seen if isinstance(event, RetrievalEndEvent)] == expected
    assert expected[0]


async def test_the_callback_manager_given_sees_each_retrieval(retriever: HybridRetriever) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    watched = HybridRetriever(retriever.index, k=2, callback_manager=CallbackManager([debug]))
    expected = [watched.retrieve(QUESTION), await watched.aretrieve(QUESTION)]
    pairs = debug.get_event_pairs(CBEventType.RETRIEVE)
    assert [start.payload[EventPayload.QUERY_STR] for start, _ in pairs] == [QUESTION, QUESTION]
    assert [end.payload[EventPayload.NODES] for _, end in pairs] == expected


async def test_an_error_in_a_query_engine_is_the_error_of_the_core(retriever: HybridRetriever) -> None:
    retriever.k = -1
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    with pytest.raises(InvalidInputError, match="k=-1"):
        engine.query(QUESTION)
    with pytest.raises(InvalidInputError, match="k=-1"):
        await engine.aquery(QUESTION)
