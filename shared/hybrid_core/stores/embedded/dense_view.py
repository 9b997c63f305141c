"""The dense view: a Chroma collection of vectors under their places, and nothing else.

A folder of the view is written once, closed, and from then on only searched. Folding in newer rows works on a copy (see
`dense_build`); `dense.json` names the folder, and it is in use from when the truth takes its token. So a killed fold
leaves a folder that nothing points to, which is never opened, and the folder in use was always closed cleanly. Chroma
writes its HNSW files in place, and opening one that was torn can hang or fill the disk: hence the care, and the digests
that are checked before a folder is opened. (Its `index_metadata.pickle` is Chroma's own.)
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import StorageError
from ...types import FloatArray

logger = logging.getLogger(__name__)

COLLECTION = "dense"
_DATABASE, _POINTER = "chroma.sqlite3", "dense.json"
_NEXT = f"{_POINTER}.new"


@dataclass(frozen=True, slots=True)
class ViewState:
    """What `dense.json` holds.

    Attributes:
        folder: the folder in use; a new name for each fold.
        token: what the truth must hold too; a truth restored from a backup holds another.
        rows: the view knows the places before this one,
        deletions: and the deletions up to this number;
        dead: so many of the rows in its HNSW index have been deleted.
        digests: of its HNSW files.
    """

    folder: str
    token: str
    rows: int
    deletions: int
    dead: int
    digests: dict[str, str]


class DenseView:
    """Approximate search over the passages that have been folded in.

    Args:
        folder: the index folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pointer = folder / _POINTER
        self._client: Any = None
        self._collection: Any = None
        self._seen = (-1, -1)
        self._token: str | None = None
        self._state: ViewState | None = None
        self._opening: threading.Thread | None = None
        self._lock = threading.RLock()  # a client is not closed while another thread asks it

    @property
    def rows(self) -> int:
        """The places before this one are in the view, or were before they were deleted; 0 if there is no view."""
        state = self._state
        return state.rows if state else 0

    def search(self, vector: FloatArray, n: int, token: str | None) -> NDArray[np.int64] | None:
        """Return about n places near a unit vector (d,).

        Passages that were deleted since the last fold may be among them. None if another view than the one meant is in
        use by now, if it is being opened still, or if it turns out to be damaged: it is then dropped, until the next
        fold builds it anew.
        """
        with self._lock:
            state = self._state
            if state is None or state.token != token:
                return None
            if self._collection is None:
                if self._opening is None:  # Chroma takes seconds to import and to read its files
                    self._opening = threading.Thread(target=self._open, args=(state,), name="bge-hybrid open")
                    self._opening.start()
                return None
            try:
                found = self._collection.query(query_embeddings=vector[None, :], n_results=n, include=[])
            except Exception as error:  # Chroma raises many kinds for a damaged folder, and each means the same here
                self._drop_damaged(error)
                return None
            return np.array(found["ids"][0], dtype=np.int64)

    def wait(self) -> None:
        """Wait until a view that is being opened is open."""
        opening = self._opening
        if opening is not None:
            opening.join()

    def follow(self, token: str | None) -> None:
        """Take the newest view, if it is the truth's own: one beside a restored backup may not be.

        Args:
            token: what the truth says.
        """
        with self._lock:
            stamp = self._stamp()
            if stamp != self._seen or token != self._token:
                self._drop()
                self._seen, self._token = stamp, token
                self._state = read_state(self._folder, token)

    def save(self, state: ViewState) -> None:
        """Write down a view that `dense_build.build` made: it is in use once the truth holds its token.

        Raises:
            OSError: no space, say; the view before it stays in use.
        """
        with (self._folder / _NEXT).open("w", encoding="utf-8") as file:
            json.dump(asdict(state), file)
            file.flush()
            os.fsync(file.fileno())

    def switch(self, state: ViewState) -> None:
        """Make the last `save` the one that is opened, and delete the views before it."""
        with self._lock:
            self._drop()
            os.replace(self._folder / _NEXT, self._pointer)
            self._seen, self._token, self._state = self._stamp(), state.token, state
        self.wait()  # a folder is not deleted while it is being opened
        sweep(self._folder, keep=state.folder)

    def discard(self) -> None:
        """Delete the view: its places are no longer the truth's."""
        with self._lock:
            self._drop()
            self._pointer.unlink(missing_ok=True)
            (self._folder / _NEXT).unlink(missing_ok=True)
        self.wait()
        sweep(self._folder, keep=None)

    def sweep(self, token: str | None) -> None:
        """Delete what a fold that did not end has left; nobody is folding now.

        Args:
            token: what the truth says.
        """
        state = read_state(self._folder, token)
        sweep(self._folder, keep=state.folder if state else None)

    def close(self) -> None:
        """Let go of the view; a search that is still under way looks at every vector."""
        with self._lock:
            self._drop()
        self.wait()

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = self._collection = self._state = None

    def _drop_damaged(self, error: Exception) -> None:
        logger.warning("the dense view in %s cannot be read and is dropped: %s", self._folder, error)
        self._drop()

    def _open(self, state: ViewState) -> None:
        """Open the folder of a view, and take it into use if it is still the one that is wanted."""
        client = collection = None
        try:
            check_files(self._folder / state.folder, state)
            client = open_client(self._folder / state.folder)
            collection = client.get_collection(COLLECTION, embedding_function=None)
            failure = None
        except Exception as error:  # as in `search`
            failure = error
        with self._lock:
            if self._state is state and failure is None:
                self._client, self._collection = client, collection
                client = None
            elif self._state is state and failure is not None:
                self._drop_damaged(failure)
        if client is not None:
            client.close()
        self._opening = None  # last: who waits for it may delete the folder next

    def _stamp(self) -> tuple[int, int]:
        """Return what changes when `dense.json` is replaced; zeros if there is none."""
        try:
            stat = self._pointer.stat()
            return stat.st_mtime_ns, stat.st_ino
        except FileNotFoundError:
            return 0, 0


def read_state(folder: Path, token: str | None) -> ViewState | None:
    """Return what `dense.json` says if it is the truth's own; without it every vector is looked at."""
    for name in (_NEXT, _POINTER):  # a kill between `save` and `switch` leaves the first
        try:
            state = ViewState(**json.loads((folder / name).read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            continue
        if state.token == token and (folder / state.folder / _DATABASE).is_file():
            return state
    return None


def copy_view(folder: Path, token: str | None, target: Path) -> None:
    """Copy the view of one index folder, if there is one, to another."""
    state = read_state(folder, token)
    if state is not None:
        copy_files(folder / state.folder, target / state.folder)
        (target / _POINTER).write_text(json.dumps(asdict(state)), encoding="utf-8")


def copy_files(source: Path, target: Path) -> None:
    """Copy a folder of the view that may be open: its HNSW files never change, its database is asked for a copy."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(f"{_DATABASE}*"))
    with closing(sqlite3.connect(source / _DATABASE)) as old, closing(sqlite3.connect(target / _DATABASE)) as new:
        old.backup(new)


def sweep(folder: Path, keep: str | None) -> None:
    """Delete the folders that nothing points to."""
    for path in folder.glob("dense-*"):
        if path.name != keep:
            shutil.rmtree(path, ignore_errors=True)


def open_client(folder: Path) -> Any:
    """Open a folder of the view, known to be whole or new."""
    import chromadb
    from chromadb.config import Settings

    return chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))


def digests_of(folder: Path) -> dict[str, str]:
    """Return a digest of every file of the HNSW index; searching never changes one of more than 1,000 rows.

    (Until the first thousand Chroma has written nothing, and does when it is asked. So few are never asked of it here.)
    """
    digests = {}
    for path in sorted(folder.glob("*/*")):
        with path.open("rb") as file:
            digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "blake2b").hexdigest()[:32]
    return digests


def check_files(folder: Path, state: ViewState) -> None:
    """Raise StorageError unless the folder is whole; a torn HNSW file must never be opened."""
    if not (folder / _DATABASE).is_file():
        raise StorageError(f"{folder} is gone")
    if digests_of(folder) != state.digests:
        raise StorageError(f"files in {folder} are not as they were written")
