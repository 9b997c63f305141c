"""The dense view: a Chroma collection of vectors under sequence numbers, and nothing else.

A folder of the view is written once, closed, and from then on only searched. Folding in newer rows works on a copy;
`dense.json` names the folder in use and is replaced atomically. So a killed fold leaves a folder that nothing points
to, which is never opened, and the folder in use was always closed cleanly. Chroma writes its HNSW files in place, and
opening one that was torn can hang or fill the disk: hence the care, and the digests that are checked before a folder is
opened. (Its `index_metadata.pickle` is Chroma's own.)
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ...errors import StorageError
from ...types import FloatArray
from .ledger import Change

logger = logging.getLogger(__name__)

_COLLECTION = "dense"
Progress: TypeAlias = Callable[[int], object] | None


@dataclass(frozen=True, slots=True)
class _State:
    """What `dense.json` holds.

    Attributes:
        folder: the folder in use; a new name for each fold.
        token: what the truth must hold too; a truth restored from a backup holds another.
        applied: the last sequence number the folder knows of.
        digests: of its HNSW files.
    """

    folder: str
    token: str
    applied: int
    digests: dict[str, str]


class DenseView:
    """Approximate search over the rows that have been folded in.

    Args:
        folder: the index folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pointer = folder / "dense.json"
        self._client: Any = None
        self._collection: Any = None
        self._seen = self._stamp()
        self._state = self._read_state()

    @property
    def applied(self) -> int:
        """The last sequence number this view knows of; 0 if there is no view."""
        return self._state.applied if self._state else 0

    @property
    def token(self) -> str | None:
        """What the truth must hold for this view to be its own."""
        return self._state.token if self._state else None

    def search(self, vector: FloatArray, n: int, allowed: Sequence[int] | None = None) -> list[int] | None:
        """Return about n sequence numbers near a unit vector (d,), only of the allowed ones if given.

        Rows that were deleted since the last fold may be among them. None if the view turns out to be damaged: it is
        then dropped, until the next fold builds it anew.
        """
        if self._state is None:
            return None
        ids = None if allowed is None else [str(seq) for seq in allowed]
        try:
            collection = self._open(self._state)
            found = collection.query(query_embeddings=vector[None, :], n_results=n, ids=ids, include=[])
        except Exception as error:  # Chroma raises many kinds for a damaged folder, and each means the same here
            logger.warning("the dense view in %s cannot be read and is dropped: %s", self._folder, error)
            self.drop()
            return None
        return [int(id_) for id_ in found["ids"][0]]

    def fold(self, rows: Sequence[Change], removed: Sequence[int], upto: int, progress: Progress = None) -> str:
        """Take in newer rows and drop removed ones, on a copy that `switch` then puts in place of the folder in use.

        Args:
            rows: the rows after `applied`.
            removed: sequence numbers of rows that went, known here or not.
            upto: the newest sequence number this accounts for.
            progress: called with the number of rows added, after each batch.

        Returns:
            The token that the truth must hold before `switch` is called.
        """
        old = self._state
        token = secrets.token_hex(8)
        target = self._folder / f"dense-{token}"
        self.close()
        try:
            self._sweep(keep=old.folder if old else None)
            if old:
                shutil.copytree(self._folder / old.folder, target)
            self._add(target, [seq for seq in removed if old and seq <= old.applied], rows, progress)
            digests = _digests(target)
            for path in target.rglob("*"):
                _sync(path)
        except Exception as error:
            shutil.rmtree(target, ignore_errors=True)
            raise StorageError(f"the dense view in {self._folder} could not be written: {error}") from error
        self._state = _State(target.name, token, upto, digests)
        return token

    def switch(self) -> None:
        """Make the folder of the last `fold` the one in use, for every process."""
        if self._state is None:
            return
        fresh = self._pointer.with_suffix(".json.new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(asdict(self._state), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self._pointer)
        self._seen = self._stamp()
        self._sweep(keep=self._state.folder)

    def refresh(self) -> None:
        """Follow a fold by another process."""
        stamp = self._stamp()
        if stamp != self._seen:
            self.close()
            self._seen = stamp
            self._state = self._read_state()

    def drop_if_damaged(self) -> None:
        """Forget the view if its files are not as they were written; the next fold then starts from nothing."""
        if self._state is not None:
            try:
                self.close()
                self._open(self._state)
            except Exception as error:  # as in `search`
                logger.warning("the dense view in %s is damaged and will be built anew: %s", self._folder, error)
                self.drop()

    def drop(self) -> None:
        """Forget the view: it is not this truth's, or damaged."""
        self.close()
        self._state = None

    def close(self) -> None:
        """Let go of the collection."""
        if self._client is not None:
            self._client.close()
        self._client = self._collection = None

    def _open(self, state: _State) -> Any:
        if self._collection is None:
            folder = self._folder / state.folder
            _check_digests(folder, state.digests)
            self._client = _open_client(folder)
            self._collection = self._client.get_collection(_COLLECTION, embedding_function=None)
        return self._collection

    def _add(self, target: Path, gone: Sequence[int], rows: Sequence[Change], progress: Progress) -> None:
        client = _open_client(target)
        try:
            collection = client.get_or_create_collection(
                _COLLECTION, embedding_function=None, configuration={"hnsw": {"space": "ip"}}
            )
            batch = client.get_max_batch_size()
            for start in range(0, len(gone), batch):
                collection.delete(ids=[str(seq) for seq in gone[start : start + batch]])
            for start in range(0, len(rows), batch):
                part = rows[start : start + batch]
                collection.add(ids=[str(row.seq) for row in part], embeddings=np.stack([row.dense for row in part]))
                if progress:
                    progress(len(part))
        finally:
            client.close()

    def _read_state(self) -> _State | None:
        """Return what `dense.json` says; without it every row is searched exactly."""
        try:
            state = _State(**json.loads(self._pointer.read_text(encoding="utf-8")))
            return state if (self._folder / state.folder / "chroma.sqlite3").is_file() else None
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _stamp(self) -> tuple[int, int]:
        """Return what changes when `dense.json` is replaced; zeros if there is none."""
        try:
            stat = self._pointer.stat()
            return stat.st_mtime_ns, stat.st_ino
        except FileNotFoundError:
            return 0, 0

    def _sweep(self, keep: str | None) -> None:
        """Delete the folders that nothing points to."""
        for path in self._folder.glob("dense-*"):
            if path.name != keep:
                shutil.rmtree(path, ignore_errors=True)


def _open_client(folder: Path) -> Any:
    import chromadb
    from chromadb.config import Settings

    return chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))


def _digests(folder: Path) -> dict[str, str]:
    """Return a digest of every file of the HNSW index; searching never changes one."""
    digests = {}
    for path in sorted(folder.glob("*/*")):
        with path.open("rb") as file:
            digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "blake2b").hexdigest()[:32]
    return digests


def _check_digests(folder: Path, digests: dict[str, str]) -> None:
    """Raise StorageError unless the folder is whole; a torn HNSW file must never be opened."""
    if not (folder / "chroma.sqlite3").is_file():
        raise StorageError(f"{folder} is gone")
    if _digests(folder) != digests:
        raise StorageError(f"files in {folder} are not as they were written")


def _sync(path: Path) -> None:
    """Have a file on disk before `dense.json` says that it is there."""
    if path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())
