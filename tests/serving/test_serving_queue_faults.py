"""What goes wrong with one job stays with it."""

from __future__ import annotations

import concurrent.futures
import signal
import sys
import threading
from collections.abc import Callable

import pytest
from gates import Callers, Gate, until

from hybrid_core import ModelError
from hybrid_core.encoders.queue import BatchingQueue, Load

Numbers = BatchingQueue[int, int]


class Failing(Gate):
    """A gate whose passes fail where a job is negative, with the given exception."""

    def __init__(self, error: Callable[[int], BaseException]) -> None:
        super().__init__()
        self.error = error

    def __call__(self, jobs: list[int]) -> list[int]:
        results = super().__call__(jobs)
        for job in jobs:
            if job < 0:
                raise self.error(job)
        return results


def answers(gate: Gate, *jobs: int) -> list[object]:
    """What callers get whose jobs share a pass: results or exceptions."""
    callers = Callers(BatchingQueue(gate, weight=lambda job: 1, most_weight=100, most_waiting=100), gate)
    callers.occupy()
    futures = callers.call(*jobs)
    callers.end()
    return [future.exception() or future.result() for future in futures]


def test_one_bad_job_fails_alone_and_the_others_are_run_once_more_each() -> None:
    gate = Failing(lambda job: ValueError(f"job {job}"))
    [first, bad, last] = answers(gate, 1, -2, 3)
    assert (first, last) == (10, 30)
    assert isinstance(bad, ValueError)
    assert str(bad) == "job -2"
    assert gate.passes == [[0], [1, -2, 3], [1], [-2], [3]]


def test_a_bad_job_alone_is_run_once() -> None:
    gate = Failing(lambda job: ValueError(f"job {job}"))
    [bad] = answers(gate, -2)
    assert isinstance(bad, ValueError)
    assert gate.passes == [[0], [-2]]


@pytest.mark.parametrize("error", [MemoryError, SystemExit, KeyboardInterrupt])
def test_memory_and_exits_are_not_tried_again(error: type[BaseException]) -> None:
    gate = Failing(lambda job: error())
    results = answers(gate, 1, -2)
    assert [type(result) for result in results] == [error, error]
    assert gate.passes == [[0], [1, -2]]


def test_the_worker_outlives_whatever_is_raised() -> None:
    gate = Failing(lambda job: SystemExit(job))
    gate.open()
    queue = BatchingQueue(gate, weight=lambda job: 1, most_weight=100, most_waiting=100)
    with pytest.raises(SystemExit):
        queue.submit(-1).result()
    assert queue.submit(2).result() == 20


def test_a_call_that_runs_by_itself_raises_what_run_raised_and_frees_the_queue() -> None:
    gate = Failing(lambda job: KeyboardInterrupt() if job == -2 else KeyError(job))
    gate.open()
    queue = BatchingQueue(gate, weight=lambda job: 1, most_weight=100, most_waiting=100)
    for job, error in ((-1, KeyError), (-2, KeyboardInterrupt)):
        with pytest.raises(error):
            queue.call(job)
        assert queue.call(3) == 30
    assert set(gate.threads) == {threading.get_ident()}


def test_who_waits_behind_a_call_that_fails_is_served() -> None:
    gate = Failing(lambda job: KeyboardInterrupt())
    queue = BatchingQueue(gate, weight=lambda job: 1, most_weight=100, most_waiting=100)
    callers = Callers(queue, gate)
    failing = callers._pool.submit(queue.call, -1)
    gate.entered()
    [other] = callers.call(2)
    gate.open()
    assert isinstance(failing.exception(), KeyboardInterrupt)
    assert other.result() == 20
    callers.end()


def test_results_that_do_not_match_the_jobs_are_an_error() -> None:
    queue = BatchingQueue(lambda jobs: [1, 2], weight=lambda job: 1, most_weight=9, most_waiting=9, name="odd")
    for ask in (queue.call, lambda job: queue.submit(job).result()):
        with pytest.raises(ModelError, match="'odd' got 2 results for 1 jobs"):
            ask(0)


def test_a_future_cancelled_before_its_job_runs_is_done_for_all_who_wait(callers: Callers, gate: Gate) -> None:
    callers.occupy()
    future = callers.queue.submit(1)
    kept = callers.queue.submit(2)
    assert future.cancel()
    assert future.cancel()
    done, _ = concurrent.futures.wait([future], timeout=5)
    assert done == {future}
    assert callers.queue.load() == Load(waiting=1, weight=2, outside=0)
    gate.open()
    assert kept.result() == 20
    assert not kept.cancel()
    assert gate.passes == [[0], [2]]


def test_a_future_whose_job_runs_cannot_be_cancelled(queue: Numbers, gate: Gate) -> None:
    future = queue.submit(1)
    gate.entered()
    assert not future.cancel()
    gate.open()
    assert future.result() == 10


def test_a_future_that_its_owner_filled_does_not_cost_the_others_theirs(callers: Callers, gate: Gate) -> None:
    callers.occupy()
    spoilt, other = callers.queue.submit(1), callers.queue.submit(2)
    gate.let()
    gate.entered()
    spoilt.set_result(7)
    gate.open()
    assert (spoilt.result(), other.result()) == (7, 20)


def test_ctrl_c_while_waiting_takes_the_job_back(callers: Callers, queue: Numbers, gate: Gate) -> None:
    callers.occupy()
    main = threading.get_ident()

    def interrupt() -> None:
        until(lambda: queue.load().waiting == 1 and sys._current_frames()[main].f_code.co_name == "wait")
        signal.pthread_kill(main, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        queue.call(1)
    interrupter.join()
    assert queue.load() == Load(0, 0, 0)
    callers.end()
    assert gate.passes == [[0]]


def test_a_weight_or_key_that_raises_is_the_callers_own_trouble(gate: Gate) -> None:
    queue = BatchingQueue(gate, weight=lambda job: 1 // job, most_weight=9, most_waiting=9, key=lambda job: [job])
    gate.open()
    with pytest.raises(ZeroDivisionError):
        queue.submit(0)
    with pytest.raises(TypeError, match="unhashable"):
        queue.submit(1)
    assert queue.call(2) == 20
