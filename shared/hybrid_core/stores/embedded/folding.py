"""Folding new passages into the dense view at leisure: a thread waits for quiet, a process of its own does the work.

`main` is that process. It writes the view as JSON to its output, and ends when its input does: with whoever started it.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from ...errors import HybridError, StorageError
from .dense_build import build
from .dense_files import ViewState
from .ledger import read_fingerprint

logger = logging.getLogger(__name__)

_QUIET = 2.0  # seconds without a write before the work begins: a bulk load is not to share the processor with it


class BackgroundFold:
    """Calls a method once writes have ceased, again after later writes, and never beyond `stop`.

    Args:
        fold: does the work, and gives up when the event given is set. Held weakly: a store that is forgotten goes.
    """

    def __init__(self, fold: Callable[[threading.Event], object]) -> None:
        self._fold: weakref.WeakMethod[Any] = weakref.WeakMethod(fold)
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._finalizer = weakref.finalize(self, _let_go, self._stop, self._wake)  # at exit, too

    def wake(self) -> None:
        """Say that there is something to fold, or that the wait for quiet begins anew."""
        self._wake.set()
        if self._thread is None and not self._stop.is_set():
            thread = threading.Thread(
                target=_work, args=(self._fold, self._wake, self._stop), name="bge-hybrid fold", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:  # the interpreter is ending, or there are too many; what was written is there
                logger.warning("new passages are not folded into the dense view: %s", error)
            else:
                self._thread = thread

    def stop(self) -> None:
        """End the work, and wait until it has ended; what was not finished is begun anew another time."""
        self._finalizer()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()


def build_apart(folder: Path, stop: threading.Event) -> tuple[ViewState, int] | None:
    """Build a view as `dense_build.build` does, in another process; None if there is nothing new, or at a stop.

    Raises:
        OSError: the process cannot be started.
        StorageError: it failed.
    """
    command = [sys.executable, "-c", f"from {__name__} import main; main()", str(folder)]  # -m warns of a second import
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # files, since a pipe has no end for as long as a process that was forked meanwhile has it too
    with (
        tempfile.TemporaryFile() as said,
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(  # noqa: S603  # our own module
            command, stdin=subprocess.PIPE, stdout=said, stderr=errors, env=environment
        ) as child,
    ):
        while child.poll() is None:
            if stop.wait(0.05):
                child.kill()
                return None
        answer, error = (_content(file) for file in (said, errors))
    if child.returncode:
        raise StorageError(error[-500:] or f"the process ended with {child.returncode}")
    if not answer:
        return None
    state, added = json.loads(answer)
    return ViewState(**state), int(added)


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace").strip()


def _let_go(stop: threading.Event, wake: threading.Event) -> None:
    stop.set()
    wake.set()


def _work(fold: weakref.WeakMethod[Any], wake: threading.Event, stop: threading.Event) -> None:
    while True:
        wake.wait()
        while not stop.is_set() and wake.is_set():
            wake.clear()
            stop.wait(_QUIET)
        method = None if stop.is_set() else fold()
        if method is None:
            return
        try:
            method(stop)
        except (HybridError, OSError) as error:  # searches stay right without it; `optimize` says what is wrong
            logger.warning("new passages could not be folded into the dense view: %s", error)
        del method


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Build the view of the folder named, and say what it is."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    folder = Path(sys.argv[1])
    fingerprint = read_fingerprint(folder)
    made = build(folder, fingerprint) if fingerprint else None
    sys.stdout.write(json.dumps([asdict(made[0]), made[1]]) if made else "")
    sys.stdout.flush()
    os._exit(0)  # the other thread waits for input still
