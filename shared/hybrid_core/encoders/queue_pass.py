"""One pass of a `BatchingQueue`: jobs run together and, where that fails, one by one."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ModelError
from .queue_line import Failure, Job, Outcome, Pass, Result, Run, Success


def run_pass(groups: Pass[Job, Result], name: str) -> None:
    """Run the job of each group of tickets, and give all tickets of the group its outcome."""
    work = [group[0].work for group in groups]
    run = next(item[0] for item in work if item is not None)
    outcomes: list[Outcome[Result]] = []
    _attempt(run, [item[1] for item in work if item is not None], name, outcomes)
    _settle(groups, outcomes)
    # the traceback of an exception reaches this frame: what it leads back from here to the exception would be a cycle
    outcomes.clear()
    del groups


def run_jobs(run: Run[Job, Result], jobs: list[Job], name: str) -> Sequence[Result]:
    """Run jobs together.

    Raises:
        ModelError: there are more or fewer results than jobs.
        Exception: what `run` raised.
    """
    results = run(jobs)
    if len(results) != len(jobs):
        raise ModelError(f"the queue {name!r} got {len(results)} results for {len(jobs)} jobs; `run` returns one a job")
    return results


def _attempt(run: Run[Job, Result], jobs: list[Job], name: str, outcomes: list[Outcome[Result]]) -> None:
    """Add what became of each job, in a list that is emptied at the end: see `run_pass`."""
    try:
        outcomes += [Success(result) for result in run_jobs(run, jobs, name)]
        return
    except BaseException as error:  # kept for the callers: this thread serves others
        hopeless = isinstance(error, MemoryError) or not isinstance(error, Exception)
        if len(jobs) == 1 or hopeless:
            outcomes += [Failure(error)] * len(jobs)
            return
    for job in jobs:
        _attempt(run, [job], name, outcomes)


def _settle(groups: Pass[Job, Result], outcomes: list[Outcome[Result]]) -> None:
    for group, outcome in zip(groups, outcomes, strict=True):
        for ticket in group:
            ticket.settle(outcome)
