"""HybridRetriever inside the classes of LlamaIndex that take a retriever."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from llama_index.core import StorageContext
from llama_index.core.base.llms.types import CompletionResponse
from llama_index.core.chat_engine import CondensePlusContextChatEngine, CondenseQuestionChatEngine, ContextChatEngine
from llama_index.core.llms import MockLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.node_parser import HierarchicalNodeParser, get_leaf_nodes
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import AutoMergingRetriever, QueryFusionRetriever, RouterRetriever
from llama_index.core.schema import Document, NodeWithScore, QueryBundle, TextNode
from llama_index.core.selectors import LLMMultiSelector, LLMSingleSelector
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.tools import RetrieverTool
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step

from hybrid_core import (
    BgeM3Encoder,
    Budget,
    CrossEncoderReranker,
    HybridIndex,
    InvalidInputError,
    LateInteractionReranker,
    WeightedSum,
)
from llamaindex_hybrid import BgeReranker, HybridRetriever

QUESTION = "how does a worker get its tasks?"


class Says(MockLLM):
    """A mock model that answers every prompt with the same text, and keeps the prompts."""

    says: str = ""
    asked: list[str] = []  # noqa: RUF012  # pydantic copies it

    def __init__(self, says: str) -> None:
        super().__init__()
        self.says = says

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self.asked.append(prompt)
        return CompletionResponse(text=self.says)


def ids(found: list[NodeWithScore]) -> list[str]:
    return [item.node.node_id for item in found]


# query fusion


def test_query_fusion_takes_a_node_found_by_two_queries_for_one(retriever: HybridRetriever) -> None:
    llm = Says("how are tasks pulled from the queue?\nwhat does the gateway reject?")
    fused = QueryFusionRetriever([retriever], llm=llm, num_queries=3, mode="reciprocal_rerank", use_async=False, similarity_top_k=6)  # fmt: skip
    found = fused.retrieve(QUESTION)
    assert len(set(ids(found))) == len(found) == 6
    expected: dict[str, float] = {}
    for question in (QUESTION, *llm.says.split("\n")):
        for rank, item in enumerate(retriever.retrieve(question)):
            expected[item.node.node_id] = expected.get(item.node.node_id, 0) + 1 / (60 + rank)
    assert {item.node.node_id: item.score for item in found} == pytest.approx(expected)


@pytest.mark.parametrize("mode", ["reciprocal_rerank", "relative_score", "dist_based_score", "simple"])
async def test_query_fusion_joins_two_retrievers_in_every_mode(retriever: HybridRetriever, mode: str) -> None:
    sides = [HybridRetriever(retriever.index, k=6, mode=side) for side in ("dense", "sparse")]
    fused = QueryFusionRetriever(sides, llm=MockLLM(), num_queries=1, mode=mode, use_async=False, similarity_top_k=6)
    found = fused.retrieve(QUESTION)
    assert ids(found)[0] == "queue"
    assert len(set(ids(found))) == len(found) == 6
    assert ids(await fused.aretrieve(QUESTION)) == ids(found)


def test_the_reasons_do_not_change_the_hash_of_a_node(retriever: HybridRetriever, nodes: list[TextNode]) -> None:
    hashes = {node.node_id: node.hash for node in nodes}
    for question in (QUESTION, "网关限流"):
        for item in retriever.retrieve(question):
            assert item.node.hash == hashes[item.node.node_id]
            assert "stage_scores" in item.node.metadata
            assert copy.deepcopy(item.node).hash == item.node.hash == item.node.model_copy().hash
            assert item.node.model_dump()["metadata"] == dict(item.node.metadata)


# routing and merging


async def test_a_router_asks_the_retriever_that_the_model_chooses(retriever: HybridRetriever) -> None:
    tools = [
        RetrieverTool.from_defaults(HybridRetriever(retriever.index, filter={"lang": lang}), description=lang)
        for lang in ("en", "zh")
    ]
    choice = '[{"choice": 2, "reason": "it is in Chinese"}]'
    router = RouterRetriever(LLMSingleSelector.from_defaults(Says(choice)), tools, llm=MockLLM())
    expected = HybridRetriever(retriever.index, filter={"lang": "zh"}).retrieve("网关限流")
    assert router.retrieve("网关限流") == expected
    assert await router.aretrieve("网关限流") == expected
    both = '[{"choice": 1, "reason": "a"}, {"choice": 2, "reason": "b"}]'
    router = RouterRetriever(LLMMultiSelector.from_defaults(Says(both)), tools, llm=MockLLM())
    assert set(ids(router.retrieve("网关限流"))) == {"queue", "retry", "limit", "zh-worker", "zh-limit", "zh-chart"}


async def test_auto_merging_puts_a_parent_in_the_place_of_its_children(encoder: BgeM3Encoder) -> None:
    text = " ".join(f"Worker {n} pulls task {n} from queue {n} and works on it." for n in range(40))
    parser = HierarchicalNodeParser.from_defaults(chunk_sizes=[256, 64], chunk_overlap=0)
    parts = parser.get_nodes_from_documents([Document(id_="doc", text=text)])
    docstore = SimpleDocumentStore()
    docstore.add_documents(parts)
    leaves = HybridRetriever.from_nodes(get_leaf_nodes(parts), encoder=encoder, k=20)
    merging = AutoMergingRetriever(leaves, StorageContext.from_defaults(docstore=docstore), simple_ratio_thresh=0.3)
    found = merging.retrieve("what does worker 3 do with task 3?")
    parents = {part.node_id for part in parts} - {leaf.node_id for leaf in get_leaf_nodes(parts)}
    assert set(ids(found)) & parents
    assert len(found) < 20
    assert ids(await merging.aretrieve("what does worker 3 do with task 3?")) == ids(found)


# chat


@pytest.fixture
def memory() -> ChatMemoryBuffer:
    """LlamaIndex's default is a database that it does not close."""
    return ChatMemoryBuffer.from_defaults(token_limit=3000)


def test_a_chat_that_condenses_the_question_retrieves_with_the_condensed_one(
    retriever: HybridRetriever, memory: ChatMemoryBuffer
) -> None:
    engine = RetrieverQueryEngine.from_args(HybridRetriever(retriever.index, k=1), llm=MockLLM())
    chat = CondenseQuestionChatEngine.from_defaults(engine, memory=memory, llm=Says("网关怎样限流？"))
    chat.chat("hello")  # the first question is taken as it is
    response = chat.chat("and the gateway?")
    assert ids(response.source_nodes) == ["zh-limit"]
    assert "网关在这里配置限流。" in str(response)


async def test_a_chat_with_context_shows_the_model_what_was_found(
    retriever: HybridRetriever, memory: ChatMemoryBuffer
) -> None:
    narrow = HybridRetriever(retriever.index, k=1)
    reranker = BgeReranker(reranker=LateInteractionReranker(retriever.index.encoder), top_n=1)
    for llm in (MockLLM(), MockLLM(is_chat_model=True)):
        chat = ContextChatEngine.from_defaults(narrow, llm=llm, memory=memory, node_postprocessors=[reranker])
        for response in (chat.chat(QUESTION), await chat.achat(QUESTION)):
            assert ids(response.source_nodes) == ["queue"]
            assert "A worker pulls tasks from the queue." in str(response)
            assert "stage_scores" not in str(response)


async def test_a_chat_that_condenses_and_has_context_does_both(
    retriever: HybridRetriever, memory: ChatMemoryBuffer
) -> None:
    llm = Says("网关怎样限流？")
    chat = CondensePlusContextChatEngine.from_defaults(HybridRetriever(retriever.index, k=1), llm=llm, memory=memory)
    chat.chat("hello")
    for response in (chat.chat("and the gateway?"), await chat.achat("and the gateway?")):
        assert ids(response.source_nodes) == ["zh-limit"]
    assert any("网关在这里配置限流。" in prompt for prompt in llm.asked)


# a workflow


class Retrieved(Event):
    nodes: list[NodeWithScore]


class Flow(Workflow):
    """Retrieve, then rerank, as two steps."""

    def __init__(self, retriever: HybridRetriever, reranker: BgeReranker) -> None:
        super().__init__(timeout=60)
        self.retriever, self.reranker = retriever, reranker

    @step
    async def retrieve(self, context: Context, event: StartEvent) -> Retrieved:
        await context.store.set("question", event.question)
        return Retrieved(nodes=await self.retriever.aretrieve(event.question))

    @step
    async def rerank(self, context: Context, event: Retrieved) -> StopEvent:
        question = await context.store.get("question")
        return StopEvent(result=await self.reranker.apostprocess_nodes(event.nodes, QueryBundle(question)))


async def test_a_workflow_retrieves_and_reranks(retriever: HybridRetriever) -> None:
    reranker = BgeReranker(reranker=LateInteractionReranker(retriever.index.encoder), top_n=2)
    result = await Flow(retriever, reranker).run(question=QUESTION)
    assert result == reranker.postprocess_nodes(retriever.retrieve(QUESTION), query_str=QUESTION)
    assert ids(result)[0] == "queue"


# options of a retriever


@pytest.fixture
def index(encoder: BgeM3Encoder, nodes: list[TextNode]) -> HybridIndex:
    made = HybridRetriever.from_nodes(nodes, encoder=encoder, reranker=CrossEncoderReranker.tiny())
    return made.index


@pytest.mark.parametrize(
    "options",
    [
        {"rerank": False},
        {"fusion": WeightedSum(0.0, 1.0), "rerank": False},
        {"budget": Budget(milliseconds=60_000, max_candidates=3)},
        {"min_score": 0.5},
    ],
)
async def test_each_retriever_has_options_of_its_own(index: HybridIndex, options: dict[str, Any]) -> None:
    plain, own = HybridRetriever(index), HybridRetriever(index, **options)
    expected = [(hit.passage.id, hit.score) for hit in index.search(QUESTION, **options)]
    found = own.retrieve(QUESTION)
    assert [(item.node.node_id, item.score) for item in found] == expected
    assert found != plain.retrieve(QUESTION)
    assert await own.aretrieve(QUESTION) == found
    assert [i.node.node_id for i in plain.retrieve(QUESTION)] == [hit.passage.id for hit in index.search(QUESTION)]


@pytest.mark.parametrize("options", [{"instruction": "be kind"}, {"min_score": 2.0}, {"budget": 3}])
def test_an_option_that_the_reranker_does_not_take_is_an_error(index: HybridIndex, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        HybridRetriever(index, **options).retrieve(QUESTION)
