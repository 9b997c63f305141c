"""A fact that is asked for once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """Asks at first use, in one thread; those that come meanwhile share its answer or its error.

    After an error the next caller asks again. Sharing it matters: threads that each waited for their own turn at a
    server that is away would fail one timeout after the other.
    """

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._asked: Future[T] | None = None

    def get(self) -> T:
        """Return the fact, or raise what asking for it raised."""
        with self._lock:
            asked, first = self._asked, self._asked is None
            if asked is None:
                asked = self._asked = Future()
        if first:
            try:
                asked.set_result(self._ask())
            except BaseException as error:
                with self._lock:
                    self._asked = None
                if isinstance(error, Exception):
                    asked.set_exception(error)
                else:  # an interrupt is meant for this thread alone
                    asked.cancel()
                raise
        return asked.result()
