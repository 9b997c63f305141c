"""The SQLite connection: durable settings, transactions, and SQLite's errors as ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import IndexCorruptError, IndexLockedError, StorageError, StorageFullError


class Database:
    """One connection to one file; the caller sees to it that one thread at a time uses it.

    Args:
        path: the file; it and its folder are made if missing.
        schema: SQL that makes the tables that are not there.

    Raises:
        IndexCorruptError, StorageError: the file cannot be used.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        with self.errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=5, check_same_thread=False, isolation_level=None)
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut too
                self._connection.executescript(schema)
            except BaseException:
                self._connection.close()
                raise

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement; call it inside `errors` or `transaction`."""
        return self._connection.execute(sql, parameters)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row."""
        self._connection.executemany(sql, rows)

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
    def errors(self) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
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
            raise StorageError(f"{self._path.parent}: {error}") from error

    def _translated(self, error: sqlite3.Error) -> StorageError:
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_FULL:
                return StorageFullError(f"no space left for {self._path}; nothing of this call was written")
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return IndexLockedError(f"{self._path} is locked by another process: {error}")
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                return IndexCorruptError(
                    f"{self._path} is damaged ({error}); restore it from a backup, or delete the folder and index again"
                )
            case _:
                return StorageError(f"{self._path}: {error}")
