"""Fifty questions at once keep the event loop waiting for less than 50 ms at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hybrid_core import BgeM3Encoder, HybridIndex, LateInteractionReranker
from langchain_hybrid import HybridRetriever, HybridVectorStore

CALLS, LIMIT, ATTEMPTS = 50, 0.05, 5


@pytest.fixture(scope="module")
def index(encoder: BgeM3Encoder) -> HybridIndex:
    index = HybridIndex.open(None, encoder=encoder, reranker=LateInteractionReranker(encoder))
    index.add([f"Worker {n} pulls tasks from queue {n % 7} and waits {n} seconds." for n in range(200)])
    return index


async def longest_stall(work: Callable[[], Awaitable[Any]]) -> float:
    """Return the longest time between two turns of the loop, in seconds of this process's own computing.

    A machine that is busy with other programs stops the loop and the clock alike; where the loop waits for a thread of
    ours, that one computes. What would go unseen is waiting for a disk, which an index in memory does not have.
    """
    gaps: list[float] = []

    async def tick() -> None:
        last = time.process_time()
        while True:
            await asyncio.sleep(0.001)
            now = time.process_time()
            gaps.append(now - last)
            last = now

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0.01)
    await work()
    await asyncio.sleep(0.01)
    ticker.cancel()
    return max(gaps)


@pytest.mark.parametrize(
    "kind", ["ainvoke", "ainvoke, reranked", "as_retriever", "asimilarity_search", "amax_marginal_relevance_search"]
)
async def test_fifty_calls_at_once_stall_the_loop_for_less_than_50_ms(index: HybridIndex, kind: str) -> None:
    store = HybridVectorStore(index)
    methods: dict[str, Callable[[str], Awaitable[Any]]] = {
        "ainvoke": HybridRetriever(index=index, rerank=False).ainvoke,
        "ainvoke, reranked": HybridRetriever(index=index, candidates=8).ainvoke,
        "as_retriever": store.as_retriever(search_kwargs={"rerank": False}).ainvoke,
        "asimilarity_search": lambda question: store.asimilarity_search(question, rerank=False),
        "amax_marginal_relevance_search": store.amax_marginal_relevance_search,
    }
    stalls = []
    for attempt in range(ATTEMPTS):  # the best of a few: what the scheduler does is not ours
        asked = [f"{kind} {attempt}: how long does worker {n} wait?" for n in range(CALLS)]

        async def work(asked: list[str] = asked) -> None:
            found = await asyncio.gather(*map(methods[kind], asked))
            assert all(found)

        stalls.append(await longest_stall(work))
        if stalls[-1] < LIMIT:
            return
    pytest.fail(f"the loop stood still for {min(stalls):.3f} s at best")


async def test_the_measure_sees_calls_that_block(index: HybridIndex) -> None:
    retriever = HybridRetriever(index=index)

    async def work() -> None:
        for n in range(CALLS):
            retriever.invoke(f"blocking: how long does worker {n} wait?")

    assert await longest_stall(work) > LIMIT
