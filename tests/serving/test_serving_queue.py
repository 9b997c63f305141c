"""Jobs of many threads share passes: in order, within bounds, and none waits for company."""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from gates import Callers, Gate, until

from hybrid_core import InvalidInputError, ModelError
from hybrid_core.encoders.queue import BatchingQueue, Load

Numbers = BatchingQueue[int, int]


def test_a_lone_call_runs_in_the_calling_thread_and_starts_no_other(queue: Numbers, gate: Gate) -> None:
    gate.open()
    threads = threading.active_count()
    assert [queue.call(job) for job in (1, 2)] == [10, 20]
    assert gate.passes == [[1], [2]]
    assert gate.threads == [threading.get_ident()] * 2
    assert threading.active_count() == threads


def test_a_lone_call_costs_less_than_a_tenth_of_a_millisecond() -> None:
    queue: Numbers = BatchingQueue(lambda jobs: jobs, weight=lambda job: 1, most_weight=8, most_waiting=8)
    times = []
    for _ in range(500):
        start = time.perf_counter()
        queue.call(1)
        times.append(time.perf_counter() - start)
    assert statistics.median(times) < 1e-4


def test_what_arrives_during_a_pass_shares_the_next_one_in_order(callers: Callers, gate: Gate) -> None:
    first = callers.occupy()
    futures = callers.call(1, 2, 3, 1)
    gate.open()
    assert [future.result() for future in (first, *futures)] == [0, 10, 20, 30, 10]
    assert gate.passes == [[0], [1, 2, 3, 1]]


def test_a_pass_keeps_its_weight_and_a_heavy_job_its_place(callers: Callers, gate: Gate) -> None:
    """By hand, at most 10: the 12 runs alone, and the small ones behind it do not overtake."""
    callers.occupy()
    callers.call(4, 5, 3, 12, 1, 2)
    callers.end()
    assert gate.passes == [[0], [4, 5], [3], [12], [1, 2]]


def test_who_comes_while_the_worker_runs_is_served_by_it_in_turn(callers: Callers, gate: Gate) -> None:
    callers.occupy()
    callers.call(1)
    gate.let()
    gate.entered()  # the worker holds job 1
    callers.call(2, 3)
    callers.end()
    assert gate.passes == [[0], [1], [2, 3]]
    assert gate.threads[1] == gate.threads[2] != gate.threads[0]


def test_a_call_that_finds_the_worker_done_runs_by_itself_again(queue: Numbers, gate: Gate) -> None:
    gate.open()
    assert queue.submit(1).result() == 10
    until(lambda: queue.call(2) == 20 and gate.threads[-1] == threading.get_ident())


def test_equal_jobs_in_one_pass_are_run_once_and_weigh_once(gate: Gate) -> None:
    queue = BatchingQueue(
        gate, weight=lambda job: 4, most_weight=8, most_waiting=100, key=lambda job: None if job == 7 else job % 10
    )
    callers = Callers(queue, gate)
    callers.occupy()
    futures = callers.call(1, 11, 2, 1, 3, 7, 7)
    gate.open()
    assert [future.result() for future in futures] == [10, 10, 20, 10, 30, 70, 70]
    assert gate.passes == [[0], [1, 2], [3, 7], [7]]  # a key of None is equal to no other
    callers.end()


def test_no_more_waits_than_there_is_room_for(gate: Gate) -> None:
    queue = BatchingQueue(gate, weight=lambda job: job, most_weight=5, most_waiting=10)
    callers = Callers(queue, gate)
    callers.occupy()
    callers.call(4, 5)
    assert queue.load() == Load(waiting=2, weight=9, outside=0)
    callers.call(3, 1)  # the 1 would fit but comes behind the 3
    assert queue.load() == Load(waiting=2, weight=9, outside=2)
    with pytest.raises(ModelError, match="full: 9 of 10 wait, and this job weighs 1"):
        queue.submit(1)
    gate.let()
    gate.entered()  # the worker took the 4; the 3 and the 1 have come in
    assert queue.load() == Load(waiting=3, weight=9, outside=0)
    callers.end()
    assert gate.passes == [[0], [4], [5], [3, 1]]


def test_a_job_heavier_than_the_bound_is_let_in_alone(gate: Gate) -> None:
    queue = BatchingQueue(gate, weight=lambda job: job, most_weight=5, most_waiting=10)
    callers = Callers(queue, gate)
    callers.occupy()
    callers.call(50, 60)
    assert queue.load() == Load(waiting=1, weight=50, outside=1)
    callers.end()
    assert gate.passes == [[0], [50], [60]]


def test_submit_waits_for_room_when_told_to(gate: Gate) -> None:
    queue = BatchingQueue(gate, weight=lambda job: job, most_weight=5, most_waiting=5)
    callers = Callers(queue, gate)
    callers.occupy()
    waiting = queue.submit(5, wait=True)
    submitter = callers.line_up(4, lambda job: queue.submit(job, wait=True))
    assert not submitter.done()
    gate.let()
    assert not submitter.result().done()  # it has room, while the 5 is held
    gate.open()
    assert (waiting.result(), submitter.result().result()) == (50, 40)
    callers.end()


def test_run_is_never_entered_twice_at_once() -> None:
    inside = threading.Lock()

    def run(jobs: list[int]) -> list[int]:
        assert inside.acquire(blocking=False)
        time.sleep(0)  # lets others try
        inside.release()
        return [job + 1 for job in jobs]

    queue = BatchingQueue(run, weight=lambda job: 1, most_weight=4, most_waiting=8)
    start = threading.Barrier(16)

    def work(i: int) -> list[int]:
        start.wait()
        return [queue.call(100 * i + n) if n % 3 else queue.submit(100 * i + n, wait=True).result() for n in range(50)]

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(work, range(16)))
    assert results == [[100 * i + n + 1 for n in range(50)] for i in range(16)]


def test_a_run_that_calls_its_own_queue_is_told_so_instead_of_hanging() -> None:
    def run(jobs: list[int]) -> list[int]:
        return [queue.call(job - 1) + 1 if job else 0 for job in jobs]

    queue = BatchingQueue(run, weight=lambda job: 1, most_weight=4, most_waiting=8, name="loop")
    for ask in (queue.call, lambda job: queue.submit(job).result()):
        with pytest.raises(ModelError, match="'loop' is called by its own"):
            ask(1)
    assert queue.call(0) == 0


@pytest.mark.parametrize("name", ["most_weight", "most_waiting"])
def test_bounds_below_one_are_refused(name: str) -> None:
    bounds = {"most_weight": 1, "most_waiting": 1, name: 0}
    with pytest.raises(InvalidInputError, match=f"{name}=0"):
        BatchingQueue(lambda jobs: jobs, weight=lambda job: 1, **bounds)


def test_its_repr_says_what_waits(callers: Callers, queue: Numbers) -> None:
    callers.occupy()
    callers.call(3)
    assert repr(queue) == "BatchingQueue('numbers', Load(waiting=1, weight=3, outside=0))"
