"""The truth: one SQLite file with passages, vectors and a sequence number that only grows.

Every written row gets the next number; a row that is replaced or deleted leaves its number in `deletions`, which has a
number of its own. So "what is new since n" is one question, for a derived view and for another process alike.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from ...checks import encode_metadata
from ...errors import IndexCorruptError, IndexLockedError, StorageError
from ...types import Encoding, Fingerprint, FloatArray, Passage, SparseVector
from ..fingerprints import check_fingerprint
from ..scoring import text_hash
from .database import Database

FORMAT = 1
_CHUNK = 500  # ids in one SELECT: every SQLite build allows 999 parameters
_SCHEMA = """
CREATE TABLE IF NOT EXISTS info (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS passages (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    text_hash BLOB NOT NULL,
    metadata TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS passages_by_text ON passages (text_hash);
CREATE TABLE IF NOT EXISTS vectors (
    seq INTEGER PRIMARY KEY, dense BLOB NOT NULL, tokens BLOB NOT NULL, weights BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS deletions (seq INTEGER PRIMARY KEY, removed INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """A row as the views need it."""

    seq: int
    id: str
    dense: FloatArray
    sparse: SparseVector


class Ledger:
    """Reads and writes the SQLite file; the caller sees to it that one thread at a time does.

    Args:
        folder: the index folder; made if missing.
        fingerprint: of the encoder in use.

    Raises:
        ModelMismatchError: the index holds vectors of another model.
        IndexCorruptError: the file cannot be read.
    """

    def __init__(self, folder: Path, fingerprint: Fingerprint) -> None:
        self.path = folder / "passages.sqlite3"
        self._lock = FileLock(folder / "writer.lock", thread_local=False)
        self._fingerprint = fingerprint
        self._closed = False
        if self.path.exists() and not self.path.stat().st_size and (folder / "writer.lock").exists():
            raise IndexCorruptError(f"{self.path} is empty; restore it from a backup, or delete the folder")
        self._db = Database(self.path, _SCHEMA)
        try:
            self._claim(fingerprint)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file and let the next writer in."""
        self._closed = True
        self._db.close()
        self._lock.release()

    def lock(self) -> None:
        """Become the one writer, until `close`.

        Raises:
            IndexLockedError: another process, or another object here, has written and is still open.
        """
        if self._closed:
            raise StorageError(f"{self.path.parent} has been closed; open it again")
        if self._lock.is_locked:
            return
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise IndexLockedError(
                f"{self.path.parent} is being written to by another process or another open index; close that first, "
                "or write through it (reading needs no lock)"
            ) from None
        except OSError as error:
            raise StorageError(f"{self.path.parent} cannot be written to: {error}") from error
        try:
            self._check_fingerprint()
        except BaseException:
            self._lock.release()
            raise

    def write(self, passages: Sequence[Passage], encoding: Encoding) -> None:
        """Write passages in one transaction, replacing those with the same id."""
        self.lock()
        with self._db.transaction():
            self._check_fingerprint()  # again: an index that was empty may have been claimed since
            seq = self._remove([passage.id for passage in passages], self.last())
            rows, vectors = [], []
            for i, passage in enumerate(passages):
                sparse = encoding.sparse_row(i)
                metadata = encode_metadata(passage.metadata, f"id {passage.id!r:.80}")
                rows.append((seq + 1 + i, passage.id, text_hash(passage.text), metadata, passage.text))
                vectors.append(
                    (
                        seq + 1 + i,
                        encoding.dense[i].astype("<f4").tobytes(),
                        sparse.indices.astype("<i4").tobytes(),
                        sparse.values.astype("<f4").tobytes(),
                    )
                )
            self._db.executemany("INSERT INTO passages (seq, id, text_hash, metadata, text) VALUES (?,?,?,?,?)", rows)
            self._db.executemany("INSERT INTO vectors (seq, dense, tokens, weights) VALUES (?,?,?,?)", vectors)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete passages in one transaction; return how many were there."""
        self.lock()
        with self._db.transaction():
            before = self.last()
            return self._remove(ids, before) - before

    def get(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Return the passages that are there, by id."""
        sql = "SELECT id, text, metadata FROM passages WHERE id IN ({})"
        return {id_: Passage(id_, text, json.loads(metadata)) for id_, text, metadata in self._select(sql, ids)}

    def sparse_vectors(self, ids: Sequence[str]) -> dict[str, SparseVector]:
        """Return the sparse vectors of the passages that are there, by id."""
        sql = "SELECT id, tokens, weights FROM passages JOIN vectors USING (seq) WHERE id IN ({})"
        return {id_: _sparse(tokens, weights) for id_, tokens, weights in self._select(sql, ids)}

    def vectors_of_texts(self, hashes: Sequence[bytes]) -> dict[bytes, tuple[FloatArray, SparseVector]]:
        """Return the vectors of texts that some passage has, by content hash."""
        sql = "SELECT text_hash, dense, tokens, weights FROM passages JOIN vectors USING (seq) WHERE text_hash IN ({})"
        rows = self._select(sql, hashes)
        return {hash_: (_dense(dense), _sparse(tokens, weights)) for hash_, dense, tokens, weights in rows}

    def dense_rows(self, seqs: Sequence[int]) -> dict[int, FloatArray]:
        """Return dense vectors by sequence number."""
        return {
            seq: _dense(dense) for seq, dense in self._select("SELECT seq, dense FROM vectors WHERE seq IN ({})", seqs)
        }

    def metadata(self, after: int = 0) -> Iterator[tuple[int, dict[str, object]]]:
        """Yield (sequence number, metadata) of every passage after a sequence number, oldest write first."""
        with self._db.errors():
            sql = "SELECT seq, metadata FROM passages WHERE seq > ? ORDER BY seq"
            for seq, metadata in self._db.execute(sql, (after,)):
                yield seq, json.loads(metadata)

    def count(self) -> int:
        """Return the number of passages."""
        with self._db.errors():
            return int(self._db.execute("SELECT count(*) FROM passages").fetchone()[0])

    def last(self) -> int:
        """Return the last sequence number given."""
        sql = "SELECT max(coalesce((SELECT max(seq) FROM passages), 0), coalesce((SELECT max(seq) FROM deletions), 0))"
        with self._db.errors():
            return int(self._db.execute(sql).fetchone()[0])

    def info(self, key: str) -> str | None:
        """Return a note about the index, None if there is none of that name."""
        with self._db.errors():
            row = self._db.execute("SELECT value FROM info WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_info(self, key: str, value: str) -> None:
        """Write down a note about the index."""
        self.lock()
        with self._db.transaction():
            self._db.execute("INSERT OR REPLACE INTO info (key, value) VALUES (?, ?)", (key, value))

    def version(self) -> int:
        """Return a number that changes when another connection commits."""
        with self._db.errors():
            return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def changes(self, since: int) -> tuple[list[Change], list[int], int]:
        """Return what came after a sequence number: rows that are there, rows that went, and the newest number."""
        with self._db.errors():
            self._db.execute("BEGIN")  # one snapshot for the three
            try:
                rows = self._db.execute(
                    "SELECT seq, id, dense, tokens, weights FROM passages JOIN vectors USING (seq) "
                    "WHERE seq > ? ORDER BY seq",
                    (since,),
                )
                changes = [Change(seq, id_, _dense(d), _sparse(t, w)) for seq, id_, d, t, w in rows]
                removed = self._db.execute("SELECT removed FROM deletions WHERE seq > ?", (since,)).fetchall()
                return changes, [seq for (seq,) in removed], self.last()
            finally:
                self._db.execute("ROLLBACK")

    def _remove(self, ids: Sequence[str], seq: int) -> int:
        """Delete rows, note each in `deletions` with the next number, and return the last number given."""
        gone = [row[0] for row in self._select("SELECT seq FROM passages WHERE id IN ({})", list(dict.fromkeys(ids)))]
        self._db.executemany("DELETE FROM passages WHERE seq = ?", [(old,) for old in gone])
        self._db.executemany("DELETE FROM vectors WHERE seq = ?", [(old,) for old in gone])
        self._db.executemany("INSERT INTO deletions (seq, removed) VALUES (?, ?)", enumerate(gone, start=seq + 1))
        return seq + len(gone)

    def _select(self, sql: str, keys: Sequence[object]) -> list[tuple]:  # type: ignore[type-arg]  # as wide as SQL
        """Run a query with `IN ({})` over any number of keys."""
        rows = []
        with self._db.errors():
            for start in range(0, len(keys), _CHUNK):
                part = keys[start : start + _CHUNK]
                rows += self._db.execute(sql.format(",".join("?" * len(part))), part).fetchall()
        return rows

    def _claim(self, fingerprint: Fingerprint) -> None:
        """Check format and model, or write them where the index is still empty."""
        with self._db.errors():
            info = dict(self._db.execute("SELECT key, value FROM info").fetchall())
        if int(info.get("format", FORMAT)) > FORMAT:
            raise StorageError(
                f"{self.path} has format {info['format']}, this release reads {FORMAT}; upgrade bge-hybrid"
            )
        if "fingerprint" in info and self.count():
            self._check_fingerprint()
        elif info.get("fingerprint") != (claim := json.dumps(fingerprint.as_dict())):
            with self._db.transaction():
                values = {"format": str(FORMAT), "fingerprint": claim}
                self._db.executemany("INSERT OR REPLACE INTO info (key, value) VALUES (?, ?)", values.items())

    def _check_fingerprint(self) -> None:
        """Raise ModelMismatchError if the index is another model's, perhaps since it was opened."""
        built = Fingerprint(**json.loads(self.info("fingerprint") or "{}"))
        check_fingerprint(f"the index in {self.path.parent}", built, self._fingerprint, "folder")


def read_fingerprint(folder: Path) -> Fingerprint | None:
    """Return the fingerprint of the index in a folder, None if there is no index. Writes nothing."""
    path = folder / "passages.sqlite3"
    if not path.is_file():
        return None
    try:
        db = sqlite3.connect(path, timeout=5)
        try:
            row = db.execute("SELECT value FROM info WHERE key = 'fingerprint'").fetchone()
        finally:
            db.close()
    except sqlite3.Error as error:
        raise IndexCorruptError(f"{path} is damaged ({error}); restore it from a backup, or index again") from error
    return None if row is None else Fingerprint(**json.loads(row[0]))


def _dense(blob: bytes) -> FloatArray:
    return np.frombuffer(blob, dtype="<f4")


def _sparse(tokens: bytes, weights: bytes) -> SparseVector:
    return SparseVector(np.frombuffer(tokens, dtype="<i4"), np.frombuffer(weights, dtype="<f4"))
