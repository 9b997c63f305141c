"""A process that holds an encoder of its own, and the handle by which a `WorkerPool` asks it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

from .. import errors
from ..errors import HybridError, ModelError
from .base import Encoder

_SPAWN = multiprocessing.get_context("spawn")  # a forked process could not use CUDA, nor locks that threads held
_PATIENCE = 5.0  # seconds that a process has to end before it is made to


class Spec(Protocol):
    """Builds an encoder in another process: plain data that pickles, of a class which that process can import."""

    def build(self, device: str) -> Encoder:
        """Load the encoder on a torch device."""
        ...


class _Done(NamedTuple):
    value: Any


class _Failed(NamedTuple):
    """An exception as text: not every class of exception survives pickling."""

    kind: str
    message: str
    trace: str


class Worker:
    """One process and its pipe; used by one thread at a time.

    Args:
        number: its place in the pool.
        spec: what it builds.
        device: where.
        threads: CPU threads that its libraries may use; None leaves that to them.
    """

    def __init__(self, number: int, spec: Spec, device: str, threads: int | None) -> None:
        self.name = f"worker {number} ({device})"
        self.busy = True  # until it is loaded
        self._plan = spec, device, threads
        self._process: Any = None
        self._connection: Connection | None = None

    @property
    def pid(self) -> int | None:
        """The process id, None before the start."""
        return None if self._process is None else self._process.pid

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and bool(self._process.is_alive())

    def start(self) -> None:
        """Start the process, which begins to load; `first_word` waits for it.

        Raises:
            ModelError: the process cannot be started from here.
        """
        ours, theirs = _SPAWN.Pipe()
        # daemon: ended by the interpreter at the latest, also where nobody closes the pool
        self._process = _SPAWN.Process(target=_serve, args=(theirs, *self._plan), name=self.name, daemon=True)
        try:
            self._process.start()
        except Exception as error:  # spawning and pickling raise their own
            self._process = None
            ours.close()
            if "bootstrapping" in str(error):
                raise ModelError(
                    "a WorkerPool is made while one of its own processes imports this script: put what makes it "
                    'under `if __name__ == "__main__":`'
                ) from None
            raise ModelError(f"{self.name} cannot be started: {type(error).__name__}: {error}") from error
        finally:
            theirs.close()  # the process has a copy: when it dies, our end reads the end of the file
        if self._connection is not None:
            self._connection.close()  # of the process before
        self._connection = ours

    def first_word(self) -> Any:
        """Wait until the encoder is loaded and return its fingerprint.

        Raises:
            HybridError: what went wrong in loading it.
            ModelError: the process died.
        """
        fingerprint = self._receive(
            "while it started; what it printed says why. A script that makes a WorkerPool does so under "
            '`if __name__ == "__main__":`, because each process imports the script'
        )
        self.busy = False
        return fingerprint

    def ask(self, method: str, argument: list[Any], options: dict[str, Any]) -> Any:
        """Call a method of the encoder with one argument and options, and return what it returns.

        Raises:
            HybridError: raised by the method, as the same class.
            ModelError: the method raised something else, or the process died.
        """
        with suppress(OSError):  # a process that died says so when it is read from
            if self._connection is not None:
                self._connection.send((method, argument, options))
        return self._receive("during this call, whose texts are not encoded; the next call starts it again")

    def end(self) -> None:
        """Tell the process to end: an idle one ends by itself, a busy one is stopped."""
        if self.busy:
            if self._process is not None:
                self._process.terminate()
        elif self._connection is not None:
            self._connection.close()

    def join(self) -> None:
        """Wait for the end of a process that was told to, and insist."""
        if self._process is None:
            return
        for insist in (self._process.terminate, self._process.kill):
            self._process.join(_PATIENCE)
            if self._process.is_alive():
                insist()
        self._process.join(_PATIENCE)

    def _receive(self, when: str) -> Any:
        try:
            if self._connection is None:
                raise EOFError
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise ModelError(f"{self.name}, process {self.pid}, {self._death()} {when}") from None
        except BaseException:  # half an answer is read: nothing that follows could be understood
            self._process.kill()
            self._process.join()
            raise
        if isinstance(answer, _Failed):
            raise self._error(answer)
        return answer.value

    def _death(self) -> str:
        self._process.join(_PATIENCE)
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"ended with exit code {code}"
        memory = ", as the system does when memory runs out," if code == -9 else ""
        return f"was killed by {_signal_name(-code)}{memory}"

    def _error(self, failed: _Failed) -> HybridError:
        kind = getattr(errors, failed.kind, None)
        if isinstance(kind, type) and issubclass(kind, HybridError):
            error = kind(failed.message)
        else:
            error = ModelError(f"{self.name} raised {failed.kind}: {failed.message}")
        error.add_note(f"in {self.name}:\n{failed.trace}")
        return error


def _serve(connection: Connection, spec: Spec, device: str, threads: int | None) -> None:
    """Build the encoder and answer until the other end of the pipe is closed, be it by the parent's death."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; what follows from it the parent says
    if threads is not None:  # before the libraries are loaded
        os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(threads)
    with suppress(EOFError, OSError):
        try:
            encoder = spec.build(device)
            if threads is not None and "torch" in sys.modules:  # a script may have loaded it before
                sys.modules["torch"].set_num_threads(threads)
            answer: _Done | _Failed = _Done(encoder.fingerprint)
        except Exception as error:  # whatever it is, the parent raises it
            connection.send(_failed(error))
            return
        connection.send(answer)
        while True:
            method, argument, options = connection.recv()
            try:
                answer = _Done(getattr(encoder, method)(argument, **options))
            except Exception as error:  # the same: the process lives on
                answer = _failed(error)
            connection.send(answer)


def _failed(error: Exception) -> _Failed:
    return _Failed(type(error).__name__, str(error), "".join(traceback.format_exception(error)))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
