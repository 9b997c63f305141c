"""A cancelled write has ended, or never began, before its task sees CancelledError; in both frameworks."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import TextNode

import langchain_hybrid
import llamaindex_hybrid
from hybrid_core import BgeM3Encoder, HybridIndex, InvalidTextError
from hybrid_core.cancellation import finish

TEXTS = [f"a worker pulls task {i}" for i in range(12)]
Add = Callable[[Iterable[str]], Awaitable[list[str]]]


@pytest.fixture
def index(encoder: BgeM3Encoder) -> Iterator[HybridIndex]:
    with HybridIndex.open(None, encoder=encoder) as opened:
        yield opened


@pytest.fixture(params=["langchain", "llamaindex", "langchain vector store", "llamaindex vector store"])
def add(request: pytest.FixtureRequest, index: HybridIndex) -> Add:
    """The framework's asynchronous write, of texts as they are asked for."""
    match request.param:
        case "langchain":
            langchain = langchain_hybrid.HybridRetriever(index=index)
            return lambda texts: langchain.aadd_documents(Document(text) for text in texts)
        case "llamaindex":
            llamaindex = llamaindex_hybrid.HybridRetriever(index)
            return lambda texts: llamaindex.aadd_nodes(TextNode(text=text) for text in texts)
        case "langchain vector store":
            left = langchain_hybrid.HybridVectorStore(index)
            return lambda texts: left.aadd_texts(text for text in texts)
        case _:
            right = llamaindex_hybrid.HybridVectorStore(index)
            return lambda texts: right.async_add(TextNode(text=text) for text in texts)  # type: ignore[arg-type]


class Held:
    """Texts that are handed out once the test says so."""

    def __init__(self, texts: Iterable[str] = TEXTS) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self._texts = texts

    def __iter__(self) -> Iterator[str]:
        self.begun.set()
        assert self.go.wait(30)
        yield from self._texts

    async def asked_for(self) -> None:
        while not self.begun.is_set():
            await asyncio.sleep(0.001)


@pytest.fixture
async def one_thread() -> ThreadPoolExecutor:
    """The loop's pool, with a single thread."""
    pool = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(pool)
    return pool


async def test_a_write_that_has_begun_is_finished_before_the_cancellation_is_seen(add: Add, index: HybridIndex) -> None:
    """Fault 7: finished before CancelledError is seen."""
    texts = Held()
    task = asyncio.ensure_future(add(texts))
    await texts.asked_for()
    for _ in range(3):  # impatience does not help
        task.cancel()
        await asyncio.sleep(0.02)
        assert not task.done()
    assert len(index) == 0
    texts.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(index) == len(TEXTS)


async def test_a_write_that_waits_for_a_thread_is_taken_back(
    add: Add, index: HybridIndex, one_thread: ThreadPoolExecutor
) -> None:
    """Fault 7: never begun, and never to begin."""
    release = threading.Event()
    busy = one_thread.submit(release.wait, 30)
    task = asyncio.ensure_future(add(TEXTS))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    assert busy.result()
    await asyncio.to_thread(len, index)  # behind the write in the one thread's queue
    assert len(index) == 0


async def test_a_write_cancelled_before_its_first_step_never_begins(add: Add, index: HybridIndex) -> None:
    """Fault 7: cancelled at once."""
    task = asyncio.ensure_future(add(TEXTS))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.05)
    assert len(index) == 0


async def test_cancelled_at_any_moment_what_is_seen_then_stays(add: Add, index: HybridIndex) -> None:
    """Fault 7: all of it or nothing, and nothing more comes later."""
    seen = []
    for delay in (0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016):
        index.delete(index.ids())
        task = asyncio.ensure_future(add([f"{text} after {delay}" for text in TEXTS]))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or len(task.result()) == len(TEXTS)
        seen.append(len(index))
        await asyncio.sleep(0.05)
        assert len(index) == seen[-1] in (0, len(TEXTS))


async def test_a_deadline_waits_for_the_write_and_says_that_it_has_passed(add: Add, index: HybridIndex) -> None:
    """Fault 7: asyncio.timeout and wait_for."""
    texts = Held()
    asyncio.get_running_loop().call_later(0.1, texts.go.set)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await add(texts)
    assert len(index) == len(TEXTS)
    index.delete(index.ids())
    texts = Held()
    asyncio.get_running_loop().call_later(0.1, texts.go.set)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(add(texts), 0.02)
    assert len(index) == len(TEXTS)


async def test_one_of_a_group_fails_and_the_other_has_ended(add: Add, index: HybridIndex) -> None:
    """Fault 7: a task group cancels what is left of it."""
    texts = Held()

    async def fail() -> None:
        await texts.asked_for()
        asyncio.get_running_loop().call_later(0.05, texts.go.set)
        raise RuntimeError("another of the group failed")

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            group.create_task(add(texts))  # type: ignore[arg-type]

    with pytest.raises(ExceptionGroup):
        await both()
    assert len(index) == len(TEXTS)


def test_the_end_of_the_loop_waits_for_a_write_nobody_waits_for(add: Add, index: HybridIndex) -> None:
    """Fault 7: asyncio.run cancels every task that is left."""
    texts = Held()
    seen: list[int] = []

    async def write() -> None:
        try:
            await add(texts)
        except asyncio.CancelledError:
            seen.append(len(index))
            raise

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(write())
        await texts.asked_for()
        threading.Timer(0.1, texts.go.set).start()
        return task

    assert asyncio.run(main()).cancelled()
    assert seen == [len(index)] == [len(TEXTS)]


async def test_an_error_of_a_cancelled_write_is_the_cause(add: Add, index: HybridIndex) -> None:
    """Fault 7: rolled back, and the reason kept."""
    texts = Held([*TEXTS, "\ud800"])
    task = asyncio.ensure_future(add(texts))
    await texts.asked_for()
    task.cancel()
    texts.go.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert isinstance(caught.value.__cause__, InvalidTextError)
    assert len(index) == 0


async def test_what_is_not_cancelled_returns_and_raises_as_it_should(add: Add, index: HybridIndex) -> None:
    assert await add(TEXTS) == index.ids()
    with pytest.raises(InvalidTextError):
        await add(["\ud800"])
    done = await asyncio.gather(*(add([f"text {n}"]) for n in range(8)))
    assert len(index) == len(TEXTS) + len(done) == 20


async def test_the_work_has_the_arguments_and_the_context_of_its_task() -> None:
    variable = contextvars.ContextVar("variable", default="none")
    variable.set("the task's")

    def work(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        variable.set("the thread's")
        return args, kwargs, threading.current_thread() is not threading.main_thread()

    assert await finish(work, 1, two=2) == ((1,), {"two": 2}, True)
    assert variable.get() == "the task's"
    assert await finish(lambda: None) is None
