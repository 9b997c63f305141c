"""The dense view: a Chroma collection of vectors under their places, and nothing else.

A folder of the view is written once, closed, and from then on only searched. Folding in newer rows works on a copy (see
`dense_build`); `dense.json` names the folder, and it is in use from when the truth takes its token. So a killed fold
leaves a folder that nothing points to, which is never opened, and the folder in use was always closed cleanly. Chroma
writes its HNSW files in place, and opening one that was torn can hang or fill the disk: hence the care, and the digests
that are checked before a folder is opened. (Its `index_metadata.pickle` is Chroma's own.)
"""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import StorageError
from ...types import FloatArray
from .chroma_client import close_client, open_client, panics, usable
from .dense_files import NEXT, POINTER, ViewState, check_files, read_state, sweep

logger = logging.getLogger(__name__)

COLLECTION = "dense"


class DenseView:
    """Approximate search over the passages that have been folded in.

    Args:
        folder: the index folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pointer = folder / POINTER
        self._client: Any = None
        self._collection: Any = None
        self._seen = (-1, -1)
        self._token: str | None = None
        self._state: ViewState | None = None
        self._opening: threading.Thread | None = None
        self._told = False  # that Chroma is not to be had
        self._lock = threading.RLock()  # a client is not closed while another thread asks it

    @property
    def rows(self) -> int:
        """The places before this one are in the view, or were before they were deleted; 0 if there is no view."""
        state = self._state
        return state.rows if state else 0

    def search(self, vector: FloatArray, n: int, token: str | None) -> NDArray[np.int64] | None:
        """Return about n places near a unit vector (d,).

        Deleted passages may be among them. None if another view than the one meant is in use by now, if it is being
        opened still, or if it turns out to be damaged: it is then dropped, until the next fold builds it anew.
        """
        with self._lock:
            state = self._state
            if state is None or state.token != token:
                return None
            if self._collection is None:
                if self._opening is None:
                    self._begin_to_open(state, vector)
                return None
            try:
                return _ask(self._collection, vector, n)
            except Exception as error:  # Chroma raises many kinds for a damaged folder, and each means the same here
                self._drop_damaged(error)
                return None

    def wait(self) -> None:
        """Wait until a view that is being opened is open."""
        with self._lock:  # else it may be one that has not begun
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
        with (self._folder / NEXT).open("w", encoding="utf-8") as file:
            json.dump(asdict(state), file)
            file.flush()
            os.fsync(file.fileno())

    def switch(self, state: ViewState) -> None:
        """Make the last `save` the one that is opened, and delete the views before it."""
        with self._lock:
            self._drop()
            os.replace(self._folder / NEXT, self._pointer)
            self._seen, self._token, self._state = self._stamp(), state.token, state
        self.wait()  # a folder is not deleted while it is being opened
        sweep(self._folder, keep=state.folder)

    def discard(self) -> None:
        """Delete the view: its places are no longer the truth's."""
        with self._lock:
            self._drop()
            self._pointer.unlink(missing_ok=True)
            (self._folder / NEXT).unlink(missing_ok=True)
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
            close_client(self._client)
        self._client = self._collection = self._state = None

    def _drop_damaged(self, error: Exception) -> None:
        logger.warning("the dense view in %s cannot be read and is dropped: %s", self._folder, error)
        self._drop()

    def _begin_to_open(self, state: ViewState, vector: FloatArray) -> None:
        """Open the view in a thread: Chroma takes seconds to import and to read its files."""
        if not usable():
            if not self._told:
                logger.warning(
                    "searches in %s look at every vector: this process was forked from one that had used Chroma, "
                    "which works in a process that is started by spawn, or forked before",
                    self._folder,
                )
            self._told = True
            return
        thread = threading.Thread(target=self._open, args=(state, vector), name="bge-hybrid open")
        try:
            thread.start()
        except RuntimeError as error:  # the interpreter is ending, or there are too many
            logger.warning("the dense view in %s is not opened: %s", self._folder, error)
        else:
            self._opening = thread

    def _open(self, state: ViewState, vector: FloatArray) -> None:
        """Open the folder of a view, and take it into use if it is still the one that is wanted."""
        client = collection = None
        try:
            folder = self._folder / state.folder
            check_files(folder, state)
            if not os.access(folder, os.W_OK):
                raise StorageError(f"Chroma opens no folder that cannot be written to, such as {folder}")
            client = open_client(folder)
            with panics():
                collection = client.get_collection(COLLECTION, embedding_function=None)
            _ask(collection, vector, 1)  # it reads its files now
            if read_state(self._folder, state.token) != state:  # first goes what names it, see `switch`, then itself
                raise StorageError(f"{folder} is gone")
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
            close_client(client)
        with self._lock:
            self._opening = None  # last: who waits for it may delete the folder next

    def _stamp(self) -> tuple[int, int]:
        """Return what changes when `dense.json` is replaced; zeros if there is none."""
        try:
            stat = self._pointer.stat()
            return stat.st_mtime_ns, stat.st_ino
        except FileNotFoundError:
            return 0, 0


def _ask(collection: Any, vector: FloatArray, n: int) -> NDArray[np.int64]:
    with panics():
        found = collection.query(query_embeddings=vector[None, :], n_results=n, include=[])
    return np.array(found["ids"][0], dtype=np.int64)
