"""Chroma's clients: opened and closed by one thread at a time, and none in a fork of a process that had any.

Chroma keeps what it has open for the whole process, without a lock, and works in threads that a forked process has not
got: there it would wait for them for ever, and let no other thread run meanwhile. (Measured on 1.5.9: what hangs is to
add vectors, as a query does whose index file lags behind its log, and to delete a client, as the exit of Python does.)
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  # its lock is then taken after ours at a fork, and not in between
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import StorageError

_PATIENCE = 60.0  # seconds that a fork waits for a client that is being opened
_lock = threading.RLock()
_forking = threading.local()
_open: dict[int, Any] = {}
_lost = False  # whether Chroma's threads are in the process that this one was forked from


def open_client(folder: Path) -> Any:
    """Open a folder of the dense view, known to be whole or new.

    Raises:
        StorageError: Chroma panicked; it may raise anything else, too.
    """
    with _lock, panics():
        import chromadb
        from chromadb.config import Settings

        client = chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))
        _open[id(client)] = client
        return client


def close_client(client: Any) -> None:
    """Close what `open_client` returned; may be called twice."""
    with _lock:
        client.close()
        _open.pop(id(client), None)


def usable() -> bool:
    """Whether Chroma works in this process, and not only in one that is started by it."""
    return not _lost


@contextmanager
def panics() -> Iterator[None]:
    """Raise a panic of Chroma's, which is no `Exception`, as StorageError."""
    try:
        yield
    except (Exception, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise StorageError(f"Chroma panicked: {error}") from error


def _before_fork() -> None:
    _forking.alone = _lock.acquire(timeout=_PATIENCE)


def _after_in_parent() -> None:
    if _forking.alone:
        _lock.release()


def _after_in_child() -> None:
    global _lock, _lost
    if _forking.alone:
        _lock.release()
    else:
        _lock = threading.RLock()
    for client in _open.values():  # never to be deleted, not even at exit, since that waits for its threads
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))
    _open.clear()
    # imported by the first client, whoever opened it
    _lost = _lost or not _forking.alone or "chromadb_rust_bindings" in sys.modules


if hasattr(os, "register_at_fork"):  # not on Windows
    # a fork in the middle of an import could never import the same again
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
