"""Folders of format 1, which kept the dense vectors in SQLite: read once, written again in today's format.

The new database is made beside the old one and put in its place by one rename, so that a kill on the way leaves the old
index as it was. Nothing is embedded. The dense view is not taken over: it names rows by numbers of its own.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from ...errors import IndexLockedError, StorageError
from ...types import Fingerprint
from .database import Database, connect, sync_folder
from .schema import FILE, FORMAT, SET, TABLES, pack_tokens
from .vectors_file import VectorsFile, new_name

logger = logging.getLogger(__name__)

_CHUNK = 2_000
_PATIENCE = 5.0  # seconds for others to close it, as for any other lock of the database


def migrate(folder: Path, lock: FileLock) -> None:
    """Bring a folder of format 1 to today's; leave any other alone.

    Raises:
        IndexLockedError: another process has it open and writes to it, or did not close it in time.
        IndexCorruptError, StorageError: it cannot be read or written.
    """
    path = folder / FILE
    if not _is_first_format(path):
        return
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise _in_use(folder) from None
    try:
        if _is_first_format(path):  # still, now that nobody else is at it
            logger.info("%s is brought to format %d", folder, FORMAT)
            _rewrite(folder, path)
    finally:
        lock.release()


def _is_first_format(path: Path) -> bool:
    if not path.is_file() or not path.stat().st_size:
        return False
    if path.with_name(f"{path.name}-journal").exists():  # a kill may have left it; it is rolled back by a look that may
        with suppress(sqlite3.Error), closing(connect(path)) as made:  # write, and what is damaged is found below
            made.execute("SELECT 1 FROM sqlite_master").fetchone()
    db = Database(path, None)
    try:
        with db.errors():
            there = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'info'").fetchone()
            first = there and db.execute("SELECT 1 FROM info WHERE key = 'format' AND value = '1'").fetchone()
    finally:
        db.close()
    if first and db.read_only:
        raise StorageError(
            f"{path.parent} has the format of an earlier release; open it once where it can be written to"
        )
    return bool(first)


def _rewrite(folder: Path, path: Path) -> None:
    fresh = path.with_name(f"{FILE}.new")
    _sweep(folder)
    name = new_name("float32")
    old = Database(path, "")
    try:
        new = Database(fresh, TABLES)
        try:
            with old.reading(), new.transaction():
                _copy(old, new, folder, name)
            with new.errors():  # a log beside it would be left behind under a name that nobody looks for
                new.execute("PRAGMA journal_mode = DELETE")
        finally:
            new.close()
        _be_alone(old, folder)
    except BaseException:
        old.close()
        _sweep(folder)
        raise
    old.close()
    fresh.replace(path)
    sync_folder(folder)


def _be_alone(old: Database, folder: Path) -> None:
    """Take the old log into the old file: whoever had both open would go on with the log of the new one."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with old.errors():
                old.execute("PRAGMA journal_mode = DELETE")
                return
        except IndexLockedError:
            if time.monotonic() > deadline:
                raise _in_use(folder) from None
        time.sleep(0.05)


def _in_use(folder: Path) -> IndexLockedError:
    return IndexLockedError(f"{folder} has the format of an earlier release and is in use; close it there first")


def _sweep(folder: Path) -> None:
    """Delete what a migration that did not end has left: format 1 had neither."""
    for leftover in [*folder.glob(f"{FILE}.new*"), *folder.glob("vectors-*")]:
        leftover.unlink(missing_ok=True)


def _copy(old: Database, new: Database, folder: Path, name: str) -> None:
    info = dict(old.execute("SELECT key, value FROM info").fetchall())
    dimension = Fingerprint(**json.loads(info["fingerprint"])).dimension
    vectors = VectorsFile(folder / name, dimension)
    rows = old.execute(
        "SELECT id, text_hash, metadata, text, dense, tokens, weights "
        "FROM passages JOIN vectors USING (seq) ORDER BY seq"
    )
    place = 0
    while chunk := rows.fetchmany(_CHUNK):
        numbered = list(enumerate(chunk, start=place))
        new.executemany(
            "INSERT INTO passages (place, id, text_hash, metadata, text) VALUES (?,?,?,?,?)",
            [(at, *row[:4]) for at, row in numbered],
        )
        new.executemany(
            "INSERT INTO sparse (place, tokens, weights) VALUES (?,?,?)",
            [(at, pack_tokens(np.frombuffer(row[5], dtype="<i4")), row[6]) for at, row in numbered],
        )
        checksum = vectors.append(place, np.stack([np.frombuffer(row[4], dtype="<f4") for row in chunk]))
        new.execute("INSERT INTO blocks (place, count, checksum) VALUES (?,?,?)", (place, len(chunk), checksum))
        place += len(chunk)
    values = {"format": str(FORMAT), "fingerprint": info["fingerprint"]}
    new.executemany(SET, {**values, "rows": str(place), "vectors": name}.items())
