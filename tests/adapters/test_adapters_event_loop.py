"""No async method keeps the event loop waiting while the model runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

import langchain_hybrid
import llamaindex_hybrid
from hybrid_core import BgeM3Encoder, HybridIndex, LateInteractionReranker, Passage

CALLS = 20


@pytest.fixture(scope="module")
def index(encoder: BgeM3Encoder, corpus: list[Passage]) -> HybridIndex:
    index = HybridIndex.open(None, encoder=encoder, reranker=LateInteractionReranker(encoder))
    index.add(corpus)
    return index


async def stalls(
    work: Callable[[], Awaitable[Any]], clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float]:
    """Return the longest time between two turns of the loop, and the time that the work took, in seconds."""
    gaps: list[float] = []

    async def tick() -> None:
        last = clock()
        while True:
            await asyncio.sleep(0.001)
            now = clock()
            gaps.append(now - last)
            last = now

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0.01)  # the ticker is at work before the work begins
    start = clock()
    await work()
    await asyncio.sleep(0.01)
    total = clock() - start
    ticker.cancel()
    return max(gaps), total


async def longest_stall(work: Callable[[], Awaitable[Any]]) -> float:
    """Return the longest time between two turns of the loop, as a share of what the work took; both in computing."""
    longest, total = await stalls(work, time.process_time)
    return longest / total


def calls(index: HybridIndex, name: str) -> Awaitable[Any]:
    """CALLS calls of a method at once, none of which the encoder remembers."""
    asked = [f"{name}: what does option {n} do to a worker?" for n in range(CALLS)]
    texts = [passage.text for passage in index.get(index.ids()[:16]) if passage]
    langchain = langchain_hybrid.HybridRetriever(index=index, candidates=16)
    llamaindex = llamaindex_hybrid.HybridRetriever(index, candidates=16)
    reranker = langchain_hybrid.BgeReranker(reranker=index.reranker)
    postprocessor = llamaindex_hybrid.BgeReranker(reranker=index.reranker)
    documents = [Document(text) for text in texts]
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in texts]
    methods: dict[str, Callable[[str], Awaitable[Any]]] = {
        "ainvoke": langchain.ainvoke,
        "aretrieve": llamaindex.aretrieve,
        "acompress_documents": lambda question: reranker.acompress_documents(documents, question),
        "apostprocess_nodes": lambda question: postprocessor.apostprocess_nodes(nodes, query_str=question),
        "aembed_documents": lambda question: langchain_hybrid.BgeM3Embeddings(index.encoder).aembed_documents(
            [question + text for text in texts]
        ),
        "aget_text_embedding_batch": lambda question: llamaindex_hybrid.BgeM3Embedding(
            index.encoder
        ).aget_text_embedding_batch([question + text for text in texts]),
        "sparse aget_text_embedding_batch": lambda question: llamaindex_hybrid.BgeM3SparseEmbedding(
            index.encoder
        ).aget_text_embedding_batch([question + text for text in texts]),
        "async_add": lambda question: llamaindex_hybrid.HybridVectorStore(
            HybridIndex.open(None, encoder=index.encoder)
        ).async_add([TextNode(text=question + text) for text in texts]),
        "aquery": lambda question: llamaindex_hybrid.HybridVectorStore(index, candidates=16).aquery(
            VectorStoreQuery(query_str=question, mode=VectorStoreQueryMode.SEMANTIC_HYBRID)
        ),
    }
    if name == "abatch":
        return langchain.abatch(asked)
    return asyncio.gather(*(methods[name](question) for question in asked))


@pytest.mark.parametrize(
    "name",
    [
        "ainvoke",
        "abatch",
        "aretrieve",
        "acompress_documents",
        "apostprocess_nodes",
        "aembed_documents",
        "aget_text_embedding_batch",
        "sparse aget_text_embedding_batch",
        "async_add",
        "aquery",
    ],
)
async def test_the_loop_keeps_turning_while_twenty_calls_run(index: HybridIndex, name: str) -> None:
    assert await longest_stall(lambda: calls(index, name)) < 1 / 3


@pytest.mark.parametrize("mode", ["default", "sparse", "hybrid", "semantic_hybrid", "mmr"])
async def test_fifty_retrievals_through_llamaindexs_own_index_stall_the_loop_for_less_than_50_ms(
    index: HybridIndex, mode: str
) -> None:
    store = llamaindex_hybrid.HybridVectorStore(index, candidates=8)
    made = VectorStoreIndex.from_vector_store(store, embed_model=store.embed_model)
    retriever = made.as_retriever(similarity_top_k=5, vector_store_query_mode=mode)
    longest = []
    for attempt in range(8):
        asked = [f"{mode} {attempt}: what does option {n} do to a worker?" for n in range(50)]

        async def work(asked: list[str] = asked) -> None:
            found = await asyncio.gather(*map(retriever.aretrieve, asked))
            assert all(found) or mode == "sparse"

        # computing of this whole process, so that waiting for a thread of ours counts, and another program does not
        longest.append((await stalls(work, time.process_time))[0])
        if longest[-1] < 0.05:
            return
    raise AssertionError(f"the loop stalled for {[round(1000 * gap) for gap in longest]} ms")


@pytest.mark.parametrize("reranked", [False, True])
async def test_fifty_retrievals_at_once_stall_the_loop_for_less_than_50_ms(index: HybridIndex, reranked: bool) -> None:
    retriever = llamaindex_hybrid.HybridRetriever(index, candidates=8, rerank=reranked)
    longest = []
    for attempt in range(8):
        asked = [f"{reranked} {attempt}: what does option {n} do to a worker?" for n in range(50)]
        found: list[Any] = []

        async def work(asked: list[str] = asked, found: list[Any] = found) -> None:
            found += await asyncio.gather(*map(retriever.aretrieve, asked))

        longest.append((await stalls(work, time.process_time))[0])
        assert len(found) == 50
        assert all(found)
        if longest[-1] < 0.05:
            return
    raise AssertionError(f"the loop stalled for {[round(1000 * gap) for gap in longest]} ms")


async def test_the_measure_sees_calls_that_do_block(index: HybridIndex) -> None:
    retriever = langchain_hybrid.HybridRetriever(index=index, candidates=16)

    async def blocking(question: str) -> None:
        retriever.invoke(question)

    asked = [f"blocking: what does option {n} do to a worker?" for n in range(CALLS)]
    assert await longest_stall(lambda: asyncio.gather(*map(blocking, asked))) > 2 / 3


async def test_a_cancelled_call_leaves_the_retrievers_usable(index: HybridIndex) -> None:
    langchain = langchain_hybrid.HybridRetriever(index=index, candidates=16)
    llamaindex = llamaindex_hybrid.HybridRetriever(index, candidates=16)
    for call in (langchain.ainvoke, llamaindex.aretrieve):
        task = asyncio.ensure_future(call("a question that is taken back"))
        await asyncio.sleep(0)  # the call begins
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    question = "what does a worker do?"
    expected = [hit.passage.id for hit in index.search(question, candidates=16)]
    assert [document.id for document in await langchain.ainvoke(question)] == expected
    assert [item.node.node_id for item in await llamaindex.aretrieve(question)] == expected
