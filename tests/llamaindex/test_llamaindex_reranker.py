"""BgeReranker, alone and as a node postprocessor of a query engine."""

from __future__ import annotations

import copy
import json

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode
from pydantic import ValidationError

from hybrid_core import BgeM3Encoder, InvalidInputError, LateInteractionReranker
from llamaindex_hybrid import BgeReranker, HybridRetriever

QUESTION = "how does a worker get its tasks?"


@pytest.fixture
def core(encoder: BgeM3Encoder) -> LateInteractionReranker:
    return LateInteractionReranker(encoder)


@pytest.fixture
def reranker(core: LateInteractionReranker) -> BgeReranker:
    return BgeReranker(reranker=core, top_n=3)


@pytest.fixture
def scored(nodes: list[TextNode]) -> list[NodeWithScore]:
    """What a retriever hands over: the first two without a score."""
    return [NodeWithScore(node=node, score=0.1 * i if i > 1 else None) for i, node in enumerate(nodes)]


def rerank_events(events: list[BaseEvent]) -> list[BaseEvent]:
    return [event for event in events if isinstance(event, ReRankStartEvent | ReRankEndEvent)]


def test_nodes_come_in_the_order_of_the_core_scores(
    reranker: BgeReranker, core: LateInteractionReranker, scored: list[NodeWithScore]
) -> None:
    texts = [item.node.get_content(metadata_mode=MetadataMode.NONE) for item in scored]
    expected = sorted(zip(scored, core.score(QUESTION, texts).tolist(), strict=True), key=lambda pair: -pair[1])[:3]
    found = reranker.postprocess_nodes(scored, query_str=QUESTION)
    assert [(item.node, item.score) for item in found] == [(item.node, score) for item, score in expected]
    assert found[0].node.node_id == "queue"
    assert reranker.postprocess_nodes(scored, QueryBundle(QUESTION)) == found


async def test_the_async_twin_returns_the_same(reranker: BgeReranker, scored: list[NodeWithScore]) -> None:
    found = await reranker.apostprocess_nodes(scored, query_str=QUESTION)
    assert found == reranker.postprocess_nodes(scored, query_str=QUESTION)
    assert len(found) == 3


def test_the_nodes_passed_in_stay_as_they_are(reranker: BgeReranker, scored: list[NodeWithScore]) -> None:
    before = copy.deepcopy(scored)
    for item in reranker.postprocess_nodes(scored, query_str=QUESTION):
        item.score = 99.0
    assert scored == before


def test_a_node_changed_in_the_result_is_not_the_node_passed_in(
    reranker: BgeReranker, scored: list[NodeWithScore]
) -> None:
    before = copy.deepcopy(scored)
    for item in reranker.postprocess_nodes(scored, query_str=QUESTION):
        item.node.metadata["lang"] = "changed"
        item.node.metadata["tags"].append("changed")
    assert scored == before


@pytest.mark.parametrize(("top_n", "count"), [(0, 0), (1, 1), (6, 6), (100, 6)])
def test_top_n_says_how_many_nodes_stay(
    core: LateInteractionReranker, scored: list[NodeWithScore], top_n: int, count: int
) -> None:
    found = BgeReranker(reranker=core, top_n=top_n).postprocess_nodes(scored, query_str=QUESTION)
    assert len(found) == count


async def test_a_negative_top_n_is_an_error_naming_it(
    core: LateInteractionReranker, scored: list[NodeWithScore]
) -> None:
    reranker = BgeReranker(reranker=core, top_n=-2)
    with pytest.raises(InvalidInputError, match="top_n=-2"):
        reranker.postprocess_nodes(scored, query_str=QUESTION)
    with pytest.raises(InvalidInputError, match="top_n=-2"):
        await reranker.apostprocess_nodes(scored, query_str=QUESTION)


async def test_without_a_query_there_is_an_error_that_says_how_to_pass_it(
    reranker: BgeReranker, scored: list[NodeWithScore]
) -> None:
    for nodes in (scored, []):
        with pytest.raises(InvalidInputError, match="query_str"):
            reranker.postprocess_nodes(nodes)
        with pytest.raises(InvalidInputError, match="query_str"):
            await reranker.apostprocess_nodes(nodes)


@pytest.mark.parametrize("empty", [False, True])
async def test_start_and_end_events_are_fired_for_empty_input_too(
    reranker: BgeReranker, scored: list[NodeWithScore], events: list[BaseEvent], empty: bool
) -> None:
    nodes = [] if empty else scored
    for found in (
        reranker.postprocess_nodes(nodes, query_str=QUESTION),
        await reranker.apostprocess_nodes(nodes, query_str=QUESTION),
    ):
        start, end = rerank_events(events)[:2]
        assert isinstance(start, ReRankStartEvent)
        assert isinstance(end, ReRankEndEvent)
        assert start.query == QueryBundle(QUESTION)
        assert (start.nodes, start.top_n, start.model_name) == (nodes, 3, "tiny (late interaction)")
        assert end.nodes == found
        del events[: events.index(end) + 1]
    assert rerank_events(events) == []
    assert bool(found) is not empty


def test_the_callback_manager_sees_the_reranking(core: LateInteractionReranker, scored: list[NodeWithScore]) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    reranker = BgeReranker(reranker=core, top_n=2, callback_manager=CallbackManager([debug]))
    found = reranker.postprocess_nodes(scored, query_str=QUESTION)
    [(start, end)] = debug.get_event_pairs(CBEventType.RERANKING)
    assert start.payload[EventPayload.QUERY_STR] == QUESTION
    assert start.payload[EventPayload.TOP_K] == 2
    assert start.payload[EventPayload.NODES] == scored
    assert end.payload[EventPayload.NODES] == found


async def test_it_drops_into_a_query_engine(
    reranker: BgeReranker, retriever: HybridRetriever, events: list[BaseEvent]
) -> None:
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM(), node_postprocessors=[reranker])
    response = engine.query(QUESTION)
    assert [type(event) for event in rerank_events(events)] == [ReRankStartEvent, ReRankEndEvent]
    expected = reranker.postprocess_nodes(retriever.retrieve(QUESTION), query_str=QUESTION)
    assert response.source_nodes == expected
    assert len(expected) == 3
    assert (await engine.aquery(QUESTION)).source_nodes == expected


def test_a_model_name_in_place_of_a_reranker_is_an_error() -> None:
    with pytest.raises(ValidationError, match="reranker"):
        BgeReranker(reranker="BAAI/bge-reranker-base")


def test_what_is_written_down_names_the_class_and_holds_no_weights(reranker: BgeReranker) -> None:
    assert BgeReranker.class_name() == "BgeReranker"
    unset = dict.fromkeys(("budget", "min_score", "instruction", "selection"))
    assert json.loads(json.dumps(reranker.to_dict())) == {"class_name": "BgeReranker", "top_n": 3, **unset}
