"""asyncio tasks share passes too, and the event loop is never blocked."""

from __future__ import annotations

import asyncio

import pytest
from gates import Callers, Gate, until

from hybrid_core import ModelError
from hybrid_core.encoders.queue import BatchingQueue, Load

Numbers = BatchingQueue[int, int]


async def in_line(queue: Numbers, gate: Gate, *jobs: int) -> list[asyncio.Task[int]]:
    """Hold job 0 in its pass, and put jobs in line behind it."""
    tasks = [asyncio.create_task(queue.acall(0))]
    await asyncio.sleep(0)
    gate.entered()
    tasks += [asyncio.create_task(queue.acall(job)) for job in jobs]
    await asyncio.sleep(0)
    return tasks


async def test_tasks_share_a_pass_in_another_thread(queue: Numbers, gate: Gate) -> None:
    tasks = await in_line(queue, gate, 1, 2, 3)
    gate.open()
    assert await asyncio.gather(*tasks) == [0, 10, 20, 30]
    assert gate.passes == [[0], [1, 2, 3]]


async def test_the_loop_turns_while_a_pass_is_held(queue: Numbers, gate: Gate) -> None:
    tasks = await in_line(queue, gate, 1)
    for _ in range(1_000):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    gate.open()
    await asyncio.gather(*tasks)


async def test_tasks_and_threads_share_a_pass(callers: Callers, queue: Numbers, gate: Gate) -> None:
    callers.occupy()
    [thread] = callers.call(1)
    task = asyncio.create_task(queue.acall(2))
    await asyncio.sleep(0)
    future = asyncio.wrap_future(queue.submit(3))
    gate.open()
    assert [await asyncio.wrap_future(thread), await task, await future] == [10, 20, 30]
    assert gate.passes == [[0], [1, 2, 3]]


async def test_tasks_wait_for_room_without_blocking_the_loop(gate: Gate) -> None:
    queue = BatchingQueue(gate, weight=lambda job: 1, most_weight=2, most_waiting=3)
    tasks = await in_line(queue, gate, *range(1, 9))
    assert queue.load() == Load(waiting=3, weight=3, outside=5)
    with pytest.raises(ModelError, match="full"):
        queue.submit(9)
    gate.open()
    assert await asyncio.gather(*tasks) == [10 * job for job in range(9)]
    assert gate.passes == [[0], [1, 2], [3, 4], [5, 6], [7, 8]]


async def test_a_task_cancelled_while_it_waits_is_not_run_and_frees_its_room(gate: Gate) -> None:
    queue = BatchingQueue(gate, weight=lambda job: 1, most_weight=2, most_waiting=2)
    tasks = await in_line(queue, gate, 1, 2, 3, 4)
    assert queue.load() == Load(waiting=2, weight=2, outside=2)
    tasks[1].cancel()  # inside: its room goes to the first outside
    tasks[4].cancel()  # outside
    await asyncio.gather(tasks[1], tasks[4], return_exceptions=True)
    assert tasks[1].cancelled()
    assert tasks[4].cancelled()
    assert queue.load() == Load(waiting=2, weight=2, outside=0)
    gate.open()
    assert await asyncio.gather(tasks[0], tasks[2], tasks[3]) == [0, 20, 30]
    assert gate.passes == [[0], [2, 3]]


async def test_a_task_cancelled_while_it_runs_leaves_the_others_in_its_pass_alone(queue: Numbers, gate: Gate) -> None:
    tasks = await in_line(queue, gate, 1, 2)
    gate.let()
    await asyncio.to_thread(gate.entered)
    tasks[1].cancel()
    gate.open()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[0] == 0
    assert isinstance(results[1], asyncio.CancelledError)
    assert results[2] == 20
    assert gate.passes == [[0], [1, 2]]
    assert await queue.acall(3) == 30


async def test_a_time_limit_on_a_task_takes_its_job_back(queue: Numbers, gate: Gate) -> None:
    tasks = await in_line(queue, gate)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.acall(1), timeout=0.01)
    assert queue.load().waiting == 0
    gate.open()
    await asyncio.gather(*tasks)
    assert gate.passes == [[0]]


async def test_a_thousand_tasks_cancelled_at_once_leave_nothing(queue: Numbers, gate: Gate) -> None:
    tasks = await in_line(queue, gate, *([5] * 1_000))
    for task in tasks[1:]:
        task.cancel()
    await asyncio.gather(*tasks[1:], return_exceptions=True)
    assert queue.load() == Load(0, 0, 0)
    gate.open()
    assert await tasks[0] == 0
    assert gate.passes == [[0]]


def test_a_loop_that_ended_does_not_disturb_the_next_one(queue: Numbers, gate: Gate) -> None:
    async def leave() -> None:
        asyncio.create_task(queue.acall(0))  # noqa: RUF006  # dropped when the loop ends
        await asyncio.sleep(0)

    asyncio.run(leave())
    gate.open()
    assert asyncio.run(queue.acall(1)) == 10
    until(lambda: queue.load() == Load(0, 0, 0))
