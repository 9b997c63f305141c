"""Blocking work awaited from an event loop, so that who is told "cancelled" knows that nothing goes on behind."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def finish(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run a function in a thread of the loop's default pool, and never leave it running unattended.

    A thread cannot be stopped. So a task that is cancelled while the function waits for a free thread takes it back,
    and it is never called; once it runs, the task stays until it has ended, and only then is CancelledError raised.
    Deadlines (`asyncio.timeout`) are late by as much.

    Args:
        function: what blocks; context variables are those of the task.
        *args: its arguments.
        **kwargs: its keyword arguments.

    Returns:
        What the function returns.

    Raises:
        asyncio.CancelledError: the task was cancelled; an error that the function then ended with is its cause.
        Exception: what the function raises.
    """
    claim = threading.Lock()  # taken once: by the thread when it begins, or by the task that takes the work back

    def run() -> _T | None:
        return function(*args, **kwargs) if claim.acquire(blocking=False) else None

    # a future, not a task: the end of asyncio.run cancels every task there is
    running = asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, run)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            if claim.acquire(blocking=False):
                raise
            cancelled = error  # and again, if it is cancelled again
    if cancelled is not None:
        raise cancelled from running.exception()
    return running.result()  # type: ignore[return-value]  # None stands for work taken back, which raised above
