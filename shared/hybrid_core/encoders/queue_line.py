"""The line before a `BatchingQueue`: who is next, and who waits for room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Generic, NamedTuple, TypeAlias, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")
Run: TypeAlias = Callable[[list[Job]], Sequence[Result]]


class Failure(NamedTuple):
    """What became of a job that raised."""

    error: BaseException


class Success(NamedTuple, Generic[Result]):
    """What became of a job that was done."""

    result: Result


Outcome: TypeAlias = Success[Result] | Failure


class Ticket(Future[Result], Generic[Job, Result]):
    """A job in line, which is its own future.

    Args:
        run: what does it.
        job: what is to be done.
        weight: >= 1.
        key: tickets with equal keys share one job; None is equal to no other.
        withdraw: returns the function that takes a cancelled ticket out of its line, or None where there is none.
        inside: set when the ticket has room.
    """

    def __init__(
        self,
        run: Run[Job, Result],
        job: Job,
        *,
        weight: int,
        key: Hashable | None,
        withdraw: Callable[[], Callable[[Ticket[Job, Result]], None] | None],
        inside: threading.Event | None,
    ) -> None:
        super().__init__()
        self.work: tuple[Run[Job, Result], Job] | None = (run, job)  # let go when done: a caller may keep the future
        self.weight = weight
        self.key = key
        self.inside = inside
        self._withdraw = withdraw

    def cancel(self) -> bool:
        """Take the job back; False where it runs or is done."""
        cancelled = super().cancel()
        withdraw = self._withdraw() if cancelled else None
        if withdraw is not None:
            withdraw(self)
        return cancelled

    def begin(self) -> bool:
        """Mark the job as running; False where it was cancelled."""
        begun = self.set_running_or_notify_cancel()
        if not begun:
            self._let_go()
        return begun

    def settle(self, outcome: Outcome[Result]) -> None:
        """Give a job that ran its outcome."""
        self._let_go()
        with suppress(InvalidStateError):  # its owner gave it a result himself: the others still get theirs
            if isinstance(outcome, Failure):
                self.set_exception(outcome.error)
            else:
                self.set_result(outcome.result)

    def abandon(self, error: BaseException) -> None:
        """Fail in a forked child, where the lock of this future may be held by a thread that is not there."""
        Future.__init__(self)
        self.inside = None  # it has a lock too
        self.settle(Failure(error))

    def _let_go(self) -> None:
        self.work = self.key = None
        if self.inside is not None:
            self.inside.set()


Pass: TypeAlias = list[list[Ticket[Job, Result]]]


class Line(Generic[Job, Result]):
    """First come, first served; bounded, with those beyond the bound waiting outside in order. Not for two threads.

    Args:
        most_waiting: the most weight inside; one ticket is let in whatever it weighs.
    """

    def __init__(self, most_waiting: int) -> None:
        self.most_waiting = most_waiting
        self.weight = 0  # of those inside
        # linked lists: a ticket that is cancelled leaves from the middle at once
        self.inside: OrderedDict[Ticket[Job, Result], None] = OrderedDict()
        self.outside: OrderedDict[Ticket[Job, Result], None] = OrderedDict()

    def has_room(self, weight: int) -> bool:
        """Whether a ticket that comes now is let in at once."""
        return not self.outside and self._fits(weight)

    def add(self, ticket: Ticket[Job, Result]) -> None:
        """Put a ticket at the end."""
        self.outside[ticket] = None
        self._let_in()

    def remove(self, ticket: Ticket[Job, Result]) -> bool:
        """Take a ticket out; False where it had left."""
        if ticket in self.inside:
            del self.inside[ticket]
            self.weight -= ticket.weight
        elif ticket in self.outside:
            del self.outside[ticket]
        else:
            return False
        self._let_in()
        return True

    def take(self, most_weight: int) -> Pass[Job, Result]:
        """Take out the tickets of the next pass, begun, those of equal key together; [] when none is left."""
        groups: dict[Hashable, list[Ticket[Job, Result]]] = {}
        weight = 0
        while self.inside:
            ticket = next(iter(self.inside))
            key = ticket if ticket.key is None else ticket.key
            if key not in groups and groups and weight + ticket.weight > most_weight:
                break
            self.remove(ticket)
            if ticket.begin():
                weight += 0 if key in groups else ticket.weight
                groups.setdefault(key, []).append(ticket)
        return list(groups.values())

    def clear(self) -> list[Ticket[Job, Result]]:
        """Take out all tickets."""
        left = [*self.inside, *self.outside]
        self.inside.clear()
        self.outside.clear()
        self.weight = 0
        return left

    def _fits(self, weight: int) -> bool:
        return not self.inside or self.weight + weight <= self.most_waiting

    def _let_in(self) -> None:
        while self.outside:
            ticket = next(iter(self.outside))
            if not self._fits(ticket.weight):
                return
            del self.outside[ticket]
            self.inside[ticket] = None
            self.weight += ticket.weight
            if ticket.inside is not None:
                ticket.inside.set()
