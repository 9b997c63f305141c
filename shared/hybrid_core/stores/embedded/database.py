"""SQLite connections: durable settings, transactions, and SQLite's errors as ours."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import IndexCorruptError, IndexLockedError, StorageError, StorageFullError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PATIENCE = 5.0  # seconds for other connections to end what they are at
_PAGE = 8_192  # a row of sparse weights has some 800 bytes: of 4,096 an eighth would stay empty


class Database:
    """One connection to one file; the caller sees to it that one thread at a time uses it.

    Args:
        path: the file; it and its folder are made if missing. Where they cannot be written to it is only read.
        schema: SQL that makes the tables that are not there; None leaves the file as it is.

    Raises:
        IndexCorruptError, StorageError: the file cannot be used.
    """

    def __init__(self, path: Path, schema: str | None) -> None:
        self._path = path
        with self.errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self.read_only = _only_readable(path)
            self._unchanging = _look(path) if self.read_only else None
            self._opened = 1
            self._connection = connect(path, read=schema is None)
            try:
                if not self.read_only and schema is not None:
                    self._prepare(schema)
            except BaseException:
                self._connection.close()
                raise

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement; call it inside `errors`, `reading` or `transaction`."""
        return self._connection.execute(sql, parameters)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row."""
        self._connection.executemany(sql, rows)

    def select(self, sql: str, keys: Sequence[object]) -> list[tuple[Any, ...]]:
        """Run a query with `IN ({})` over any number of keys."""
        rows = []
        for start in range(0, len(keys), 500):  # every SQLite build allows 999 parameters
            part = keys[start : start + 500]
            rows += self._connection.execute(sql.format(",".join("?" * len(part))), part).fetchall()
        return rows

    def copy_to(self, path: Path) -> None:
        """Write the whole database, as of now, to a new file, and have it on disk."""
        with self.errors():
            target = sqlite3.connect(path)
            try:
                self._connection.backup(target)
                target.execute("PRAGMA journal_mode = DELETE")  # one file, whatever opens it next
            finally:
                target.close()
            with path.open("rb") as file:
                os.fsync(file.fileno())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is done inside, or on an error none of it."""
        with self.errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk has ended it already
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Show what is read inside as it was at one moment; may be nested."""
        with self.errors():
            if self._connection.in_transaction:
                yield
                return
            self._follow()
            self._connection.execute("BEGIN")
            try:
                yield
            except IndexCorruptError:
                self._check_unchanged()
                raise
            finally:
                if self._connection.in_transaction:  # an error may have ended it
                    self._connection.execute("ROLLBACK")
            self._check_unchanged()

    def version(self) -> tuple[int, int]:
        """Return what changes when another connection has committed; call it as `execute`."""
        return self._opened, int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn SQLite's errors, and the system's, into ours."""
        try:
            yield
        except sqlite3.ProgrammingError as error:
            if "closed" not in str(error):
                raise
            raise StorageError(f"{self._path.parent} has been closed; open it again") from error
        except sqlite3.Error as error:
            raise self._translated(error) from error
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            if error.errno in _FULL:
                raise self._full() from error
            raise StorageError(f"{self._path.parent}: {error}") from error

    def _prepare(self, schema: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self._connection.execute(f"PRAGMA page_size = {_PAGE}")  # of a new file
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut too
                self._connection.executescript(schema)
                return
            except sqlite3.OperationalError as error:  # two that make a file at once are refused without a wait
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def _follow(self) -> None:
        """Open the file anew if it is read as one that nobody writes to, and somebody does; see `connect`."""
        if self._unchanging is not None and (unchanging := _look(self._path)) != self._unchanging:
            before, self._connection, self._unchanging = self._connection, connect(self._path), unchanging
            before.close()
            self._opened += 1

    def _check_unchanged(self) -> None:
        """Raise if what was read may be of two moments: locks need files that only who may write can make."""
        if self._unchanging is not None and _look(self._path) != self._unchanging:
            raise IndexLockedError(f"{self._path} was written to while it was read without leave to write; try again")

    def _full(self) -> StorageFullError:
        return StorageFullError(f"no space left in {self._path.parent}; nothing of this call was written")

    def _translated(self, error: sqlite3.Error) -> StorageError:
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_FULL:
                return self._full()
            case sqlite3.SQLITE_IOERR if self._cannot_grow():
                return self._full()
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return IndexLockedError(f"{self._path} is locked by another process: {error}")
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                return IndexCorruptError(
                    f"{self._path} is damaged ({error}); restore it from a backup, or delete the folder and index again"
                )
            case sqlite3.SQLITE_READONLY:
                return StorageError(f"{self._path.parent} cannot be written to: {error}")
            case _:
                return StorageError(f"{self._path}: {error}")

    def _cannot_grow(self) -> bool:
        """Ask the system itself: where a quota or a limit to files is reached, SQLite says no more than "I/O error"."""
        files = [self._path, self._path.with_name(self._path.name + "-wal")]
        try:
            largest = max((file.stat().st_size for file in files if file.exists()), default=0)
            with tempfile.TemporaryFile(dir=self._path.parent, buffering=0) as probe:
                probe.seek(largest)
                return probe.write(bytes(2 * _PAGE)) < 2 * _PAGE
        except OSError as error:
            return error.errno in _FULL


def connect(path: Path, *, read: bool = False) -> sqlite3.Connection:
    """Open a file; in a place that cannot be written to without the files that SQLite shares its log by.

    Args:
        path: the file.
        read: nothing is written to it, nor taken into it from its log.
    """
    target = path.absolute().as_uri()
    if _only_readable(path):
        # a log with something in it belongs to a process that may write, and that made those files
        target += "?mode=ro" if _look(path) is None else "?immutable=1"
    elif read:
        target += "?mode=ro"
    return sqlite3.connect(target, uri=True, timeout=_PATIENCE, check_same_thread=False, isolation_level=None)


def sync_folder(folder: Path) -> None:
    """Have the names of files on disk too; Windows has no call for it."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _look(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file does, None if it has a log with something in it."""
    file, log = path.stat(), path.with_name(path.name + "-wal")
    try:
        if log.stat().st_size:
            return None
    except FileNotFoundError:
        pass
    return file.st_ino, file.st_size, file.st_mtime_ns


def _only_readable(path: Path) -> bool:
    return path.exists() and not (os.access(path.parent, os.W_OK) and os.access(path, os.W_OK))
