"""A write that is cancelled has ended, or never began, before its task sees CancelledError: on every store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from hybrid_core import HybridIndex, Passage
from hybrid_core.cancellation import finish

ITEMS = [Passage(f"p{i:02d}", f"a worker pulls task {i}", {"n": i}) for i in range(12)]


async def test_a_write_that_has_begun_is_finished_before_the_cancellation_is_seen(index: HybridIndex) -> None:
    """Fault 7: all of it is there, and stays as it is."""
    begun, go = threading.Event(), threading.Event()

    def stream() -> Iterator[Passage]:
        begun.set()
        assert go.wait(30)
        yield from ITEMS

    task = asyncio.ensure_future(finish(index.upsert, stream()))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.sleep(0.02)
    assert not task.done()
    assert await asyncio.to_thread(len, index) == 0
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert index.get(index.ids()) == ITEMS


async def test_cancelled_at_any_moment_writes_and_deletions_are_whole_or_absent(index: HybridIndex) -> None:
    """Fault 7: and nothing more comes later."""
    for delay in (0, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064):
        count = len(index)
        call = finish(index.upsert, ITEMS) if not count else finish(index.delete, index.ids())
        task = asyncio.ensure_future(call)
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])
        seen = len(index)
        assert seen in (0, len(ITEMS))
        assert task.cancelled() or seen != count
        await asyncio.sleep(0.02)
        assert len(index) == seen
