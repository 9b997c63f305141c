"""Sixty-four callers of one model get what one gets, in far fewer passes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from gates import LIMIT, until

from hybrid_core import BgeM3Encoder, Encoding
from hybrid_core.encoders.queue import BatchingQueue

CALLERS = 64
TEXTS = [f"how does worker {i} retry task {i % 7}? " + "队列 queue " * (i % 11) for i in range(CALLERS)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Shared:
    """A queue before the encoder, whose first pass is held until all others have come."""

    def __init__(self, encoder: BgeM3Encoder) -> None:
        self.encoder = encoder
        self.passes: list[int] = []
        self._all_here = threading.Event()
        self.queue = BatchingQueue(self.run, weight=encoder.token_count, most_weight=2_048, most_waiting=100_000)

    def run(self, texts: list[str]) -> list[Encoding]:
        self.passes.append(len(texts))
        assert self._all_here.wait(LIMIT)
        encoding = self.encoder.encode_documents(texts, multi=True)
        return [encoding.rows([i]) for i in range(len(texts))]

    def go(self) -> None:
        until(lambda: sum(self.passes) + self.queue.load().waiting == CALLERS)
        self._all_here.set()


def by_threads(shared: Shared) -> list[Encoding]:
    with ThreadPoolExecutor(CALLERS) as pool:
        answers = pool.map(shared.queue.call, TEXTS)
        shared.go()
        return list(answers)


def by_tasks(shared: Shared) -> list[Encoding]:
    async def ask() -> list[Encoding]:
        answers = asyncio.gather(*map(shared.queue.acall, TEXTS))
        await asyncio.to_thread(shared.go)
        return await answers

    return asyncio.run(ask())


@pytest.mark.parametrize("ask", [by_threads, by_tasks])
def test_concurrent_callers_get_what_serial_ones_get(
    ask: Callable[[Shared], list[Encoding]], encoder: BgeM3Encoder
) -> None:
    serial = [encoder.encode_documents([text], multi=True) for text in TEXTS]
    shared = Shared(encoder)
    answers = ask(shared)
    shared.queue.close()
    assert sum(shared.passes) == CALLERS
    assert len(shared.passes) <= 4
    for answer, expected in zip(answers, serial, strict=True):
        np.testing.assert_allclose(answer.dense, expected.dense, atol=1e-6)
        np.testing.assert_allclose(answer.sparse.toarray(), expected.sparse.toarray(), atol=1e-6)
        np.testing.assert_allclose((answer.multi or ())[0], (expected.multi or ())[0], atol=1e-6)
