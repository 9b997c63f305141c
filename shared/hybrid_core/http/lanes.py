"""A few calls under way at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Lanes:
    """Threads that all callers of one client share; each caller has at most `width` calls waiting in them.

    So a query waits behind a few batches of a long indexing run, never behind all of it.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self._pool = ThreadPoolExecutor(width, thread_name_prefix="bge-hybrid-http")

    def each(self, call: Callable[[T, threading.Event], R], items: Sequence[T]) -> Generator[R, None, None]:
        """Yield the result of each item, in order; the first error ends all.

        Args:
            call: takes an item, and an event that is set once the result is no longer wanted.
            items: what to call it with.
        """
        unwanted = threading.Event()
        if len(items) < 2 or self.width == 1:
            for item in items:
                yield call(item, unwanted)
            return
        under_way: deque[Future[R]] = deque()
        failed: list[Exception] = []

        def run(item: T) -> R:
            try:
                return call(item, unwanted)
            except Exception as error:
                failed.append(error)  # the first in time: those that it calls off fail because of it
                unwanted.set()
                raise

        try:
            for item in items:
                if len(under_way) == self.width:
                    yield under_way.popleft().result()
                under_way.append(self._pool.submit(run, item))
            while under_way:
                yield under_way.popleft().result()
        except Exception as error:  # of the oldest call, which may have been called off by a younger one's failure
            if failed and error in failed:
                raise failed[0] from failed[0].__cause__
            raise
        finally:
            unwanted.set()
            for future in under_way:
                future.cancel()

    def close(self) -> None:
        """Take no more calls; those under way end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)
