"""A queue whose passes are held until the test opens the gate, and threads that call it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gates import Callers, Gate

from hybrid_core.encoders.queue import BatchingQueue


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def queue(gate: Gate) -> Iterator[BatchingQueue[int, int]]:
    """Jobs are numbers; each weighs itself, at least one."""
    queue = BatchingQueue(gate, weight=lambda job: job, most_weight=10, most_waiting=1_000, name="numbers")
    yield queue
    gate.open()
    queue.close()


@pytest.fixture
def callers(queue: BatchingQueue[int, int], gate: Gate) -> Iterator[Callers]:
    callers = Callers(queue, gate)
    yield callers
    callers.end()
