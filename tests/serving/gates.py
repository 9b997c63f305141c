"""Functions that hold still until a test lets them go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from hybrid_core.encoders.queue import BatchingQueue

LIMIT = 30.0  # seconds after which a test that hangs fails


class Gate:
    """A `run` that multiplies by ten, notes its passes, and waits in each until it is opened."""

    def __init__(self) -> None:
        self.passes: list[list[int]] = []
        self.threads: list[int] = []
        self._entered = threading.Semaphore(0)
        self._open = threading.Event()
        self._permits = threading.Semaphore(0)

    def __call__(self, jobs: list[int]) -> list[int]:
        self.passes.append(jobs)
        self.threads.append(threading.get_ident())
        self._entered.release()
        if not self._open.is_set():
            assert self._permits.acquire(timeout=LIMIT)
        return [10 * job for job in jobs]

    def entered(self) -> None:
        """Wait until one more pass has begun."""
        assert self._entered.acquire(timeout=LIMIT)

    def let(self) -> None:
        """Let one pass end."""
        self._permits.release()

    def open(self) -> None:
        """Let all passes end."""
        self._open.set()
        self._permits.release(100)


class Callers:
    """Threads that call a queue, each in line before the next one comes."""

    def __init__(self, queue: BatchingQueue[Any, Any], gate: Gate) -> None:
        self.queue, self.gate = queue, gate
        self._pool = ThreadPoolExecutor(100)

    def occupy(self) -> Future[int]:
        """Have job 0 run, and held."""
        future = self._pool.submit(self.queue.call, 0)
        self.gate.entered()
        return future

    def call(self, *jobs: Any) -> list[Future[Any]]:
        """Put jobs in line, each by a thread of its own."""
        return [self.line_up(job) for job in jobs]

    def line_up(self, job: Any, ask: Callable[[Any], Any] | None = None) -> Future[Any]:
        """Put one job in line."""
        before = sum(self.queue.load()[::2])
        future = self._pool.submit(ask or self.queue.call, job)
        until(lambda: sum(self.queue.load()[::2]) == before + 1)
        return future

    def end(self) -> None:
        """Let everything go on, and wait for the threads."""
        self.gate.open()
        self._pool.shutdown()


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.0005)
