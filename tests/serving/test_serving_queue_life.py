"""A queue's thread ends with it, and neither it nor what it calls is kept alive, by anything."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import subprocess
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Iterator
from textwrap import dedent

import pytest
from gates import Gate, until

from hybrid_core import ModelError
from hybrid_core.encoders.queue import BatchingQueue, Load
from hybrid_core.encoders.queue_line import Ticket


class Owner:
    """An object with a queue that calls its method, as an encoder has."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.queue: BatchingQueue[int, int] = BatchingQueue(
            self.run, weight=self.weigh, most_weight=100, most_waiting=100, name="owned"
        )

    def run(self, jobs: list[int]) -> list[int]:
        return self.gate(jobs)

    def weigh(self, job: int) -> int:
        return 1


@pytest.fixture
def without_collector() -> Iterator[None]:
    """No cyclic garbage collection: what is freed here was in no cycle."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def owned_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "queue-owned"]


@pytest.mark.usefixtures("without_collector")
def test_an_owner_is_freed_at_once_and_the_thread_ends(gate: Gate) -> None:
    owner, freed = Owner(gate), threading.Event()
    gate.open()
    assert owner.queue.submit(1).result() == 10  # the thread is at work
    [thread] = owned_threads()
    assert thread.daemon
    weakref.finalize(owner, freed.set)
    del owner
    assert freed.wait(5)
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.usefixtures("without_collector")
def test_jobs_in_line_are_done_even_where_no_one_else_holds_owner_or_queue(gate: Gate) -> None:
    owner, freed = Owner(gate), threading.Event()
    weakref.finalize(owner, freed.set)
    futures = [owner.queue.submit(1)]
    gate.entered()
    futures += [owner.queue.submit(2), owner.queue.submit(3)]
    del owner
    gate.open()
    assert [future.result() for future in futures] == [10, 20, 30]
    assert freed.wait(5)  # while the futures are still held
    until(lambda: owned_threads() == [])


@pytest.mark.usefixtures("without_collector")
def test_a_call_that_failed_keeps_nothing_alive_once_its_exception_is_dropped() -> None:
    class Job:
        pass

    def run(jobs: list[Job]) -> list[Job]:
        raise ValueError("no")

    def fail(count: int) -> list[weakref.ref[Job]]:
        jobs = [Job() for _ in range(count)]
        for future in [queue.submit(job) for job in jobs]:
            with contextlib.suppress(ValueError):
                future.result()
        del future  # this frame is in the traceback
        return [weakref.ref(job) for job in jobs]

    queue = BatchingQueue(run, weight=lambda job: 1, most_weight=100, most_waiting=100)
    for count in (1, 5):
        gone = fail(count)
        until(lambda: not any(job() for job in gone))  # noqa: B023  # called at once


def test_a_queue_whose_methods_object_is_gone_says_so(gate: Gate) -> None:
    owner = Owner(gate)
    queue = owner.queue
    del owner
    for ask in (queue.call, queue.submit):
        with pytest.raises(ModelError, match="the object whose method the queue 'owned' calls is gone"):
            ask(1)


def test_closing_fails_who_waits_lets_the_pass_end_and_ends_the_thread(gate: Gate) -> None:
    queue = Owner(gate).queue
    owner = Owner(gate)
    queue = owner.queue
    running = queue.submit(1)
    gate.entered()
    waiting = queue.submit(2)
    [thread] = owned_threads()
    gate.let()
    queue.close()
    queue.close()
    assert running.result() == 10
    assert not thread.is_alive()
    with pytest.raises(ModelError, match="the queue 'owned' is closed"):
        waiting.result()
    for ask in (queue.call, queue.submit, lambda job: asyncio.run(queue.acall(job))):
        with pytest.raises(ModelError, match="closed"):
            ask(3)
    assert gate.passes == [[1]]
    assert repr(queue) == "BatchingQueue('owned', closed)"


def test_closing_wakes_who_waits_for_room(gate: Gate) -> None:
    queue = BatchingQueue(gate, weight=lambda job: 1, most_weight=1, most_waiting=1)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        queue.submit(0)
        gate.entered()
        queue.submit(1)
        call, submit = pool.submit(queue.call, 2), pool.submit(queue.submit, 3, wait=True)
        until(lambda: queue.load() == Load(1, 1, 2))
        gate.open()
        queue.close()
        assert isinstance(call.exception(), ModelError)
        assert isinstance(submit.result().exception(), ModelError)


def test_ten_thousand_jobs_leave_no_memory_behind() -> None:
    queue = BatchingQueue(lambda jobs: jobs, weight=len, most_weight=1_000, most_waiting=10_000)

    async def tasks(count: int) -> None:
        for start in range(0, count, 100):
            await asyncio.gather(*(queue.acall(f"task {start + i}") for i in range(100)))

    def work(count: int) -> None:
        for i in range(count):
            assert queue.call(f"call {i}") == f"call {i}"
            queue.submit(f"submitted {i}").result()
        asyncio.run(tasks(count))

    work(200)
    gc.collect()
    tracemalloc.start()
    try:
        work(100)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        work(3_400)  # thrice: call, submit, acall
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 50_000  # bytes: less than 5 a job
    finally:
        tracemalloc.stop()
    until(lambda: not any(type(item) is Ticket for item in gc.get_objects()))


def run_script(script: str) -> None:
    """Run a program that must end by itself, with nothing to say."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


SETUP = """
import os, sys, threading, time
from hybrid_core import ModelError
from hybrid_core.encoders.queue import BatchingQueue

entered, go = threading.Semaphore(0), threading.Event()

def run(jobs):
    entered.release()
    assert go.wait(30)
    return [10 * job for job in jobs]

queue = BatchingQueue(run, weight=lambda job: 1, most_weight=1, most_waiting=2)
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork on this system")
def test_a_forked_child_gets_a_working_queue_and_a_clear_error_for_what_it_took_over() -> None:
    run_script(
        SETUP
        + """
running = queue.submit(1)
entered.acquire()
waiting = queue.submit(2)
queue._lock.acquire()  # as another thread may do at that moment
if (child := os.fork()) == 0:
    go.set()
    try:
        for future in (running, waiting):
            error = future.exception(timeout=10)
            assert isinstance(error, ModelError) and "before a fork" in str(error), error
        assert queue.call(3) == 30 and queue.submit(4).result(timeout=10) == 40
        os._exit(0)
    except BaseException:
        import traceback; traceback.print_exc()
        os._exit(1)
queue._lock.release()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
go.set()
assert (running.result(), waiting.result(), queue.call(5)) == (10, 20, 50)
"""
    )


def test_a_program_ends_while_jobs_run_and_wait() -> None:
    run_script(
        SETUP
        + """
futures = [queue.submit(job) for job in (1, 2)]
entered.acquire()
threading.Timer(0.2, go.set).start()
"""
    )


def test_a_program_ends_where_a_pass_does_not() -> None:
    run_script(
        SETUP
        + """
import hybrid_core.encoders.queue as module
module._PATIENCE = 0.1
queue.submit(1)
entered.acquire()
"""
    )
