"""The truth: a SQLite file with passages, metadata and sparse vectors, and a file of dense vectors beside it.

A row of the one belongs to a row of the other by its place, a number that only grows. What a commit of SQLite names is
there; the file of vectors is on disk before the commit that names its rows.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import Timeout
from numpy.typing import NDArray

from ...checks import encode_metadata
from ...errors import IndexCorruptError, IndexLockedError, InvalidInputError, StorageError
from ...types import DenseType, Encoding, Fingerprint, Passage, SparseVector
from ..fingerprints import check_fingerprint
from ..scoring import text_hash
from .database import Database, connect
from .migration import migrate
from .schema import FILE, FORGET_VIEWS, FORMAT, SET, TABLES, pack_tokens, unpack_sparse
from .vectors_file import VectorsFile, dtype_of, new_name
from .writer_lock import WriterLock

logger = logging.getLogger(__name__)

_LOCK = "writer.lock"


@dataclass(frozen=True, slots=True)
class State:
    """How far the truth has come.

    Attributes:
        vectors: the name of the file of dense vectors; another one where places were given anew.
        rows: how many places were given; every passage's is below.
        deletions: how many passages were deleted or replaced.
    """

    vectors: str = ""
    rows: int = 0
    deletions: int = 0


class Ledger:
    """Reads and writes the truth. One thread at a time reads, and one writes; the two need not wait for each other.

    Args:
        folder: the index folder; made if missing.
        fingerprint: of the encoder in use.
        dtype: how dense vectors are kept; None takes what the index has, float32 of a new one.

    Raises:
        ModelMismatchError: the index holds vectors of another model.
        IndexCorruptError: a file cannot be read.
        InvalidInputError: the index keeps its vectors in another type.
    """

    def __init__(self, folder: Path, fingerprint: Fingerprint, dtype: DenseType | None = None) -> None:
        self.folder = folder
        self._path = folder / FILE
        self._lock = WriterLock(folder / _LOCK, thread_local=False)
        self._lock.process = os.getpid()
        self._fingerprint = fingerprint
        self._closed = False
        self._writer: Database | None = None
        if _is_emptied(self._path):
            raise IndexCorruptError(f"{self._path} is empty; restore it from a backup, or delete the folder")
        migrate(folder, self._lock)
        self._db = Database(self._path, TABLES)
        try:
            self._claim(dtype)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the files and let the next writer in."""
        self._closed = True
        self._db.close()
        if self._writer:
            self._writer.close()  # last: SQLite then takes its log into the file
        self._lock.release()

    def lock(self) -> Database:
        """Become the one writer, until `close`, and return the connection to write with.

        Raises:
            IndexLockedError: another process, or another object here, has written and is still open.
        """
        if self._closed:
            raise StorageError(f"{self.folder} has been closed; open it again")
        if self._writer is not None:
            return self._writer
        if self._db.read_only:
            raise StorageError(f"{self.folder} cannot be written to; it was opened to be searched only")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise IndexLockedError(
                f"{self.folder} is being written to by another process or another open index; close that first, "
                "or write through it (reading needs no lock)"
            ) from None
        except OSError as error:
            raise StorageError(f"{self.folder} cannot be written to: {error}") from error
        try:
            writer = Database(self._path, TABLES)
            try:
                self._check_fingerprint(writer)
                self._sweep(_info(writer)["vectors"])
            except BaseException:
                writer.close()
                raise
        except BaseException:
            self._lock.release()
            raise
        self._writer = writer
        return writer

    @property
    def writing(self) -> bool:
        """Whether this object is the writer."""
        return self._writer is not None

    def write(self, passages: Sequence[Passage], encoding: Encoding) -> None:
        """Write passages in one transaction, replacing those with the same id."""
        db = self.lock()
        with db.transaction():
            self._check_fingerprint(db)  # again: an index that was empty may have been claimed since
            info = _info(db)
            place = int(info["rows"])
            _remove(db, [passage.id for passage in passages])
            rows, vectors = [], []
            for i, passage in enumerate(passages):
                sparse = encoding.sparse_row(i)
                metadata = encode_metadata(passage.metadata, f"id {passage.id!r:.80}")
                rows.append((place + i, passage.id, text_hash(passage.text), metadata, passage.text))
                vectors.append((place + i, pack_tokens(sparse.indices), sparse.values.astype("<f4").tobytes()))
            db.executemany("INSERT INTO passages (place, id, text_hash, metadata, text) VALUES (?,?,?,?,?)", rows)
            db.executemany("INSERT INTO sparse (place, tokens, weights) VALUES (?,?,?)", vectors)
            checksum = self.vectors(info["vectors"]).append(place, encoding.dense)
            db.execute("INSERT INTO blocks (place, count, checksum) VALUES (?,?,?)", (place, len(rows), checksum))
            db.execute(SET, ("rows", str(place + len(rows))))

    def delete(self, ids: Sequence[str]) -> int:
        """Delete passages in one transaction; return how many were there."""
        db = self.lock()
        with db.transaction():
            return _remove(db, ids)

    def set_info(self, key: str, value: str) -> None:
        """Write down a note about the index."""
        db = self.lock()
        with db.transaction():
            db.execute(SET, (key, value))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Show what is read inside as it was at one moment."""
        with self._db.reading():
            yield

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the system's errors, of a view that is written say, into ours."""
        with self._db.errors():
            yield

    def version(self) -> tuple[int, int]:
        """Return what changes when anything was committed."""
        with self._db.errors():
            return self._db.version()

    def state(self) -> State:
        """Return how far the truth has come."""
        with self._db.reading():
            info = _info(self._db)
            deletions = int(self._db.execute("SELECT coalesce(max(number), 0) FROM deletions").fetchone()[0])
            return State(info["vectors"], int(info["rows"]), deletions)

    def info(self, key: str) -> str | None:
        """Return a note about the index, None if there is none of that name."""
        with self._db.reading():
            return _info(self._db).get(key)

    def check_model(self) -> None:
        """Raise ModelMismatchError if the index is another model's by now: it may be taken while it is empty."""
        self._check_fingerprint(self._db)

    def vectors(self, name: str) -> VectorsFile:
        """Return a file of dense vectors, by the name that a `State` gives it."""
        return VectorsFile(self.folder / name, self._fingerprint.dimension)

    def blocks(self, start: int = 0) -> list[tuple[int, int, int]]:
        """Return (place, count, checksum) of what each write appended to the file of vectors, from a place on."""
        with self._db.errors():
            sql = "SELECT place, count, checksum FROM blocks WHERE place + count > ?"
            return [(int(p), int(n), int(c)) for p, n, c in self._db.execute(sql, (start,))]

    def rows(self, start: int) -> tuple[NDArray[np.int64], list[str]]:
        """Return the places from `start` on that have a passage, ascending, and the passages' ids."""
        with self._db.errors():
            found = self._db.execute("SELECT place, id FROM passages WHERE place >= ? ORDER BY place", (start,))
            pairs = found.fetchall()
        return np.array([place for place, _ in pairs], dtype=np.int64), [id_ for _, id_ in pairs]

    def removed(self, after: int) -> NDArray[np.int64]:
        """Return the places of passages that went, by deletions after a number."""
        with self._db.errors():
            found = self._db.execute(
                "SELECT place FROM deletions WHERE number > ? ORDER BY number", (after,)
            ).fetchall()
        return np.array([place for (place,) in found], dtype=np.int64)

    def sparse_rows(self, start: int, end: int) -> list[tuple[int, SparseVector]]:
        """Return (place, sparse vector) of the passages from one place to before another."""
        sql = "SELECT place, tokens, weights FROM sparse WHERE place >= ? AND place < ? ORDER BY place"
        with self._db.errors():
            return [(place, unpack_sparse(t, w)) for place, t, w in self._db.execute(sql, (start, end))]

    def get(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Return the passages that are there, by id."""
        sql = "SELECT id, text, metadata FROM passages WHERE id IN ({})"
        with self._db.errors():
            rows = self._db.select(sql, ids)
        return {id_: Passage(id_, text, json.loads(metadata)) for id_, text, metadata in rows}

    def sparse_vectors(self, ids: Sequence[str]) -> dict[str, SparseVector]:
        """Return the sparse vectors of the passages that are there, by id."""
        sql = "SELECT id, tokens, weights FROM passages JOIN sparse USING (place) WHERE id IN ({})"
        with self._db.errors():
            return {id_: unpack_sparse(t, w) for id_, t, w in self._db.select(sql, ids)}

    def vectors_of_texts(self, hashes: Sequence[bytes]) -> dict[bytes, tuple[int, SparseVector]]:
        """Return place and sparse vector of texts that some passage has, by content hash."""
        sql = "SELECT text_hash, place, tokens, weights FROM passages JOIN sparse USING (place) WHERE text_hash IN ({})"
        with self._db.errors():
            return {hash_: (place, unpack_sparse(t, w)) for hash_, place, t, w in self._db.select(sql, hashes)}

    def metadata(self, start: int, end: int) -> Iterator[tuple[int, dict[str, object]]]:
        """Yield (place, metadata) of the passages from one place to before another, oldest write first."""
        with self._db.errors():
            sql = "SELECT place, metadata FROM passages WHERE place >= ? AND place < ? ORDER BY place"
            for place, metadata in self._db.execute(sql, (start, end)):
                yield place, json.loads(metadata)

    def count(self) -> int:
        """Return the number of passages."""
        with self._db.reading():
            return int(self._db.execute("SELECT count(*) FROM passages").fetchone()[0])

    def copy_to(self, folder: Path) -> State:
        """Write a copy of the truth, as of now, into a folder, and return its state.

        Raises:
            IndexCorruptError: it is damaged.
        """
        while True:
            self._db.copy_to(folder / FILE)
            copy, name = Database(folder / FILE, None), ""
            try:
                with self._db.errors():
                    name = _info(copy)["vectors"]
                    return self._copy_vectors(copy, folder)
            except IndexCorruptError:
                if name == self.info("vectors"):
                    raise
            finally:
                copy.close()
            (folder / FILE).unlink()  # another process has compacted the index in between

    def compact(self) -> int:
        """Give places anew, without gaps, and return how many gaps there were.

        The file of vectors is written again under another name, which one transaction puts in place of the old.
        """
        db = self.lock()
        info = _info(db)
        old = self.vectors(info["vectors"])
        with db.errors():
            for place, count, checksum in db.execute("SELECT place, count, checksum FROM blocks"):
                old.check(place, count, checksum)
        name = new_name(dtype_of(info["vectors"]))
        try:
            with db.transaction():
                places = np.array([row[0] for row in db.execute("SELECT place FROM passages ORDER BY place")], np.int64)
                gaps = int(info["rows"]) - len(places)
                if not gaps:
                    return 0
                new, old_rows = self.vectors(name), old.rows(int(info["rows"]))
                db.execute("DELETE FROM blocks")
                db.execute("DELETE FROM deletions")
                db.execute(FORGET_VIEWS)
                for start in range(0, len(places), 4_096):
                    rows = old_rows[places[start : start + 4_096]]
                    block = (start, len(rows), new.append(start, rows))
                    db.execute("INSERT INTO blocks (place, count, checksum) VALUES (?,?,?)", block)
                # ascending, and each to a place that is free by then: its own, or one before it
                moves = [(to, at) for to, at in enumerate(places.tolist()) if to != at]
                db.executemany("UPDATE sparse SET place = ? WHERE place = ?", moves)
                db.executemany("UPDATE passages SET place = ? WHERE place = ?", moves)
                db.execute(SET, ("rows", str(len(places))))
                db.execute(SET, ("vectors", name))
        except BaseException:
            (self.folder / name).unlink(missing_ok=True)
            raise
        self._sweep(name)
        try:
            with db.errors():
                db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # it was written to the log
        except StorageError as error:  # a reader in between, or no room for a second copy: the gaps are gone already
            logger.warning("%s keeps its free pages: %s", self._path, error)
        return gaps

    def _copy_vectors(self, copy: Database, folder: Path) -> State:
        """Check a copy of the database, and the vectors that belong to it, and put these beside it."""
        info = _info(copy)
        state = State(info["vectors"], int(info["rows"]))
        source = self.vectors(state.vectors)
        rows = source.rows(state.rows)  # there from now on, whatever becomes of the file's name
        if (said := copy.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise IndexCorruptError(f"{self._path} is damaged ({said}); restore it from a backup, or index again")
        for place, count, checksum in copy.execute("SELECT place, count, checksum FROM blocks"):
            source.check(place, count, checksum)
        if state.rows:
            with (folder / state.vectors).open("xb") as file:
                for start in range(0, len(rows), 65_536):
                    file.write(rows[start : start + 65_536].data)
                file.flush()
                os.fsync(file.fileno())
        return state

    def _claim(self, dtype: DenseType | None) -> None:
        """Check format, model and type, or write them where the index is still empty."""
        with self._db.errors():
            info = _info(self._db)
        if int(info.get("format", FORMAT)) > FORMAT:
            raise StorageError(
                f"{self._path} has format {info['format']}, this release reads {FORMAT}; upgrade bge-hybrid"
            )
        claim = {"format": str(FORMAT), "fingerprint": json.dumps(self._fingerprint.as_dict())}
        if self._matches(info, claim, dtype):
            return
        if self._db.read_only or self.count():
            self._check_claimed(self._db, dtype)
            return
        with self._db.transaction():
            if self.count():  # another process was faster
                self._check_claimed(self._db, dtype)
            elif not self._matches(_info(self._db), claim, dtype):
                self._db.execute("DELETE FROM blocks")
                self._db.execute("DELETE FROM deletions")
                self._db.execute(FORGET_VIEWS)
                claim |= {"rows": "0", "vectors": new_name(dtype or "float32")}
                self._db.executemany(SET, claim.items())

    def _matches(self, info: Mapping[str, str], claim: Mapping[str, str], dtype: DenseType | None) -> bool:
        """Whether an index is already what the encoder and the type make of an empty one."""
        same = all(info.get(key) == value for key, value in claim.items())
        return same and dtype in (None, dtype_of(info["vectors"]))

    def _check_claimed(self, db: Database, dtype: DenseType | None) -> None:
        self._check_fingerprint(db)
        there = dtype_of(_info(db)["vectors"])
        if dtype not in (None, there):
            raise InvalidInputError(f"dense_dtype={dtype!r}: the index in {self.folder} keeps {there}; leave it out")

    def _check_fingerprint(self, db: Database) -> None:
        """Raise ModelMismatchError if the index is another model's, perhaps since it was opened."""
        with db.errors():
            built = Fingerprint(**json.loads(_info(db).get("fingerprint", "{}")))
        check_fingerprint(f"the index in {self.folder}", built, self._fingerprint, "folder")

    def _sweep(self, keep: str) -> None:
        """Delete files of vectors that nothing names."""
        for path in self.folder.glob("vectors-*"):
            if path.name != keep:
                path.unlink(missing_ok=True)


def _info(db: Database) -> dict[str, str]:
    return dict(db.execute("SELECT key, value FROM info").fetchall())


def _remove(db: Database, ids: Sequence[str]) -> int:
    """Delete rows, note each in `deletions`, and return how many there were."""
    gone = db.select("SELECT place FROM passages WHERE id IN ({})", list(dict.fromkeys(ids)))
    db.executemany("DELETE FROM passages WHERE place = ?", gone)
    db.executemany("DELETE FROM sparse WHERE place = ?", gone)
    db.executemany("INSERT INTO deletions (place) VALUES (?)", gone)
    return len(gone)


def _is_emptied(path: Path) -> bool:
    """Whether the database is empty, though somebody has written to it: SQLite would take it for a new one."""
    try:
        return path.exists() and not path.stat().st_size and path.with_name(_LOCK).exists()
    except OSError as error:  # no leave to look, or a name that no file can have
        raise StorageError(f"{path.parent} cannot be used: {error}") from error


def read_fingerprint(folder: Path) -> Fingerprint | None:
    """Return the fingerprint of the index in a folder, None if there is no index. Writes nothing."""
    path = folder / FILE
    try:
        if not path.is_file():
            return None
        db = connect(path)
        try:
            row = db.execute("SELECT value FROM info WHERE key = 'fingerprint'").fetchone()
        finally:
            db.close()
    except sqlite3.Error as error:
        raise IndexCorruptError(f"{path} is damaged ({error}); restore it from a backup, or index again") from error
    except OSError as error:
        raise StorageError(f"{folder} cannot be read: {error}") from error
    return None if row is None else Fingerprint(**json.loads(row[0]))
