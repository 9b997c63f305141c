"""One queue before a model: small jobs of many threads and tasks share its passes."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from queue import SimpleQueue
from types import MethodType
from typing import Any, Generic, NamedTuple

from ..checks import check_count
from ..errors import ModelError
from .queue_line import Failure, Job, Line, Pass, Result, Run, Ticket
from .queue_pass import run_jobs, run_pass

_PATIENCE = 10.0  # seconds that the end of the interpreter waits for a pass that is running


class Load(NamedTuple):
    """What a queue holds at a moment; what runs is not counted.

    Attributes:
        waiting: jobs that wait, within the bound.
        weight: what they weigh together: at most `most_waiting`, or one job.
        outside: jobs whose callers wait for room.
    """

    waiting: int
    weight: int
    outside: int


class BatchingQueue(Generic[Job, Result]):
    """Joins jobs that arrive while a pass runs into the next pass; a job that finds the queue idle waits for no one.

    There is no time window. A `call` that finds the queue idle runs in the calling thread; whatever arrives meanwhile
    is taken, first come first served, by one worker thread, as many jobs a pass as `most_weight` allows. The thread is
    started when it is first needed and ends with the queue. `run` is never entered twice at once.

    A job that raises fails alone: when `run` raises for several jobs, each is run once by itself, so that only the one
    at fault gets the exception. MemoryError and what is no Exception (KeyboardInterrupt, SystemExit) are not tried
    again but given to every job of the pass; running out of a device's memory is for `run` itself to handle.

    In a forked child the queue begins empty and works; futures taken over from the parent fail with ModelError.

    Args:
        run: does the jobs of one pass and returns one result a job, in order. A method is held weakly, so that an
            object may own the queue that calls it and still be freed at once; waiting jobs keep the object alive.
        weight: the cost of a job, >= 1 (tokens, say); called in the caller's thread.
        most_weight: the most weight in a pass; a heavier job gets a pass of its own.
        most_waiting: the most weight that waits; beyond it `call` and `acall` wait for room and `submit` refuses. One
            job is always let in.
        key: jobs with equal keys in one pass are run once and share the result object. A key of None is equal to no
            other; without the function nothing is shared.
        name: names the thread, and the queue in errors.

    Raises:
        InvalidInputError: a bound is below 1.
    """

    def __init__(
        self,
        run: Run[Job, Result],
        *,
        weight: Callable[[Job], int],
        most_weight: int,
        most_waiting: int,
        key: Callable[[Job], Hashable | None] | None = None,
        name: str = "model",
    ) -> None:
        self.name = name
        self._run = _held(run)
        self._weight = _held(weight)
        self._key = _held(_no_key if key is None else key)
        self._most_weight = check_count(most_weight, "most_weight", least=1)
        self._most_waiting = check_count(most_waiting, "most_waiting", least=1)
        self._withdrawal = weakref.WeakMethod(self._withdraw)
        self._closed = False
        self._begin()
        _QUEUES.add(self)

    def _begin(self) -> None:
        """Set the state of a queue in which nothing waits and no thread runs."""
        self._lock = threading.Lock()
        self._line: Line[Job, Result] = Line(self._most_waiting)
        self._running: list[Ticket[Job, Result]] = []
        self._leader: int | None = None  # the thread that may enter `run`
        self._thread: threading.Thread | None = None
        self._worker: int | None = None  # its ident
        self._wake: SimpleQueue[BatchingQueue[Job, Result] | None] = SimpleQueue()

    def __repr__(self) -> str:
        return f"BatchingQueue({self.name!r}, {'closed' if self._closed else self.load()})"

    def load(self) -> Load:
        """Return what waits now."""
        with self._lock:
            return Load(len(self._line.inside), self._line.weight, len(self._line.outside))

    def call(self, job: Job) -> Result:
        """Do a job and return its result, waiting for room where there is none. It blocks: see `acall`.

        Raises:
            ModelError: the queue is closed, or called by its own `run`.
            Exception: what `run` raised for this job.
        """
        thread = self._outsider()
        try:
            with self._lock:
                if self._leader is None and not self._closed:
                    self._leader = thread
            if self._leader == thread:
                run: Run[Job, Result] = self._find(self._run)
                return run_jobs(run, [job], self.name)[0]
        finally:
            if self._leader == thread:  # so that Ctrl-C between any two steps above leaves the queue in order
                self._hand_over()
        ticket = self._enter(job)
        try:
            return ticket.result()
        except BaseException:
            ticket.cancel()  # Ctrl-C while waiting; to a job that is done it does nothing
            raise

    async def acall(self, job: Job) -> Result:
        """Do a job without blocking the event loop; otherwise as `call`. A task that is cancelled frees its room."""
        return await asyncio.wrap_future(self._enter(job))

    def submit(self, job: Job, *, wait: bool = False) -> Future[Result]:
        """Hand a job to the worker thread and return its future; cancelling that takes the job back until it runs.

        Args:
            job: what is to be done.
            wait: where there is no room, block until there is; not for an event loop.

        Raises:
            ModelError: the queue is closed or, without `wait`, full; with `wait`, it is called by its own `run`.
        """
        inside = threading.Event() if wait and self._outsider() else None
        ticket = self._enter(job, inside=inside, refuse=not wait)
        if inside is not None:
            try:
                inside.wait()
            except BaseException:  # Ctrl-C while waiting
                ticket.cancel()
                raise
        return ticket

    def close(self, timeout: float | None = None) -> None:
        """Fail the jobs that wait, let the worker's pass end, and end its thread; may be called twice.

        Args:
            timeout: seconds to wait for the pass; None waits until it ends.
        """
        with self._lock:
            self._closed = True
            left = self._line.clear()
        self._wake.put(None)
        for ticket in left:
            if ticket.begin():
                ticket.settle(Failure(self._refusal()))
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def drain(self) -> None:
        """Run passes until nothing waits: the worker's part, not for callers."""
        while groups := self._take():
            run_pass(groups, self.name)

    def begin_in_child(self) -> None:
        """Begin anew after a fork: of the threads only the forking one is here, and the others may have held locks."""
        left = [*self._running, *self._line.clear()]
        self._begin()
        error = ModelError(f"a job was given to the queue {self.name!r} before a fork; its result goes to the parent")
        for ticket in left:
            ticket.abandon(error)

    def _enter(self, job: Job, *, inside: threading.Event | None = None, refuse: bool = False) -> Ticket[Job, Result]:
        """Put a job in line, and see that someone will run it."""
        weight = max(1, self._find(self._weight)(job))
        key = self._find(self._key)(job)
        hash(key)  # what raises does so here, in the caller's thread
        ticket: Ticket[Job, Result] = Ticket(
            self._find(self._run),
            job,
            weight=weight,
            key=key,
            withdraw=self._withdrawal,
            inside=inside,
        )
        with self._lock:
            if self._closed:
                raise self._refusal()
            if refuse and not self._line.has_room(weight):
                raise ModelError(
                    f"the queue {self.name!r} is full: {self._line.weight} of {self._most_waiting} wait, and this job "
                    f"weighs {weight}. Ask again later, or wait for room with call, acall or submit(wait=True)"
                )
            if self._thread is None:
                self._start()  # first: where no thread can be had, nothing waits for it
            self._line.add(ticket)
            if self._leader is None:
                self._wake_worker()
        return ticket

    def _withdraw(self, ticket: Ticket[Job, Result]) -> None:
        """Take a cancelled ticket out of line."""
        with self._lock:
            removed = self._line.remove(ticket)
        if removed:
            ticket.begin()  # it does not, and tells those who wait for it

    def _take(self) -> Pass[Job, Result]:
        with self._lock:
            groups = self._line.take(self._most_weight)
            self._running = [ticket for group in groups for ticket in group]
            if not groups:
                self._leader = None
        return groups

    def _hand_over(self) -> None:
        with self._lock:
            if self._line.inside:
                self._wake_worker()
            else:
                self._leader = None

    def _wake_worker(self) -> None:
        self._leader = self._worker
        self._wake.put(self)  # holds the queue: what waits is done even where no one else holds it

    def _start(self) -> None:
        thread = threading.Thread(target=_serve, args=(self._wake,), name=f"queue-{self.name}", daemon=True)
        thread.start()
        self._thread, self._worker = thread, thread.ident
        weakref.finalize(self, self._wake.put, None).atexit = False

    def _outsider(self) -> int:
        """Return this thread's ident, or raise where waiting would be for ever."""
        thread = threading.get_ident()
        if self._leader == thread:
            raise ModelError(f"the queue {self.name!r} is called by its own `run`, or by what its results call back")
        return thread

    def _find(self, held: Callable[[], Any]) -> Any:
        function = held()
        if function is None:
            raise ModelError(f"the object whose method the queue {self.name!r} calls is gone; keep it with the queue")
        return function

    def _refusal(self) -> ModelError:
        return ModelError(f"the queue {self.name!r} is closed and does no more jobs")


def _serve(wake: SimpleQueue[BatchingQueue[Any, Any] | None]) -> None:
    """Drain a queue whenever it asks; hold no reference to it while idle, so that it can be collected."""
    while (queue := wake.get()) is not None:
        queue.drain()
        queue = None


def _held(function: Any) -> Callable[[], Any]:
    """Return what gives the function back: a method for as long as its object lives, anything else always."""
    return weakref.WeakMethod(function) if isinstance(function, MethodType) else lambda: function


def _no_key(job: object) -> None:
    return None


_QUEUES: weakref.WeakSet[BatchingQueue[Any, Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for queue in list(_QUEUES):
        queue.close(_PATIENCE)  # a daemon thread inside a native library while the interpreter goes can crash


def _after_fork() -> None:
    for queue in list(_QUEUES):
        queue.begin_in_child()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
