"""The embedded store: the ledger is the truth, three views answer searches, this joins them."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np

from ...errors import HybridError, IndexCorruptError, StorageError
from ...filters import Filter
from ...types import DenseType, Encoding, Fingerprint, FloatArray, Passage, Scored, SparseVector, SparseWeighting
from ..fit import check_fit
from ..scoring import sparse_matrix, text_hash
from .backup import copy_folder
from .chroma_client import usable
from .dense_build import build
from .dense_files import ViewState
from .dense_view import DenseView
from .folding import BackgroundFold, build_apart
from .ledger import Ledger, State
from .location import check_folder
from .metadata_view import MetadataView
from .rows import Rows
from .snapshot import Snapshot
from .sparse_view import SparseView

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_TAIL = 20_000  # new passages, or a quarter, that are folded in without being asked to
_UNSAVED = 2_000  # passages whose postings are built anew at every opening rather than written to a file


class EmbeddedStore:
    """Passages in a folder, searched in this process; see `Store` for the methods.

    A write is on disk when the call returns. One object at a time writes, from its first write until `close`; any
    number read, in this and other processes, and each search sees the newest commit. Searches do not wait for writes.

    New passages are searched exactly, one by one, which is fast up to some ten thousand; more than that are folded into
    an HNSW index (Chroma) in the background once writes have ceased for two seconds, or at once by `optimize()`.

    Args:
        folder: the index folder; made if missing.
        fingerprint: of the encoder in use.
        dense_dtype: how dense vectors are kept, "float32" or "float16" (half the size, rounded to about three digits);
            None takes what the index has, float32 of a new one.

    Raises:
        ModelMismatchError: the folder holds vectors of another model.
        InvalidInputError: it keeps its vectors in another type, or the folder is no path.
        IndexCorruptError, StorageError: the folder cannot be used.
    """

    def __init__(self, folder: str | Path, fingerprint: Fingerprint, *, dense_dtype: DenseType | None = None) -> None:
        self._folder = check_folder(folder, "folder")
        self._fingerprint = fingerprint
        self._process = os.getpid()
        self._ledger = Ledger(self._folder, fingerprint, dense_dtype)
        self._dense = DenseView(self._folder)
        self._reading = threading.RLock()  # what is in memory, and the connection that reads
        self._writing = threading.RLock()  # taken before `_reading` where both are
        self._folding = threading.Lock()  # taken before both
        self._background = BackgroundFold(self._fold_in_background)
        self._version = (0, 0)
        self._view: str | None = None  # the dense view that the truth says is its own
        self._state = State()
        self._closed = False
        try:
            with self._reading:
                self._refresh()
        except BaseException:
            self._ledger.close()
            raise

    def __repr__(self) -> str:
        return f"EmbeddedStore({str(self._folder)!r})"

    @property
    def sparse_weighting(self) -> SparseWeighting:
        """Whether queries are multiplied by inverse document frequencies."""
        return self._fingerprint.sparse_weighting

    def upsert(self, passages: Sequence[Passage], encoding: Encoding) -> None:
        """Write passages in one transaction, replacing those with the same id."""
        if not passages:
            return
        check_fit(passages, encoding, self._fingerprint)
        with self._own(self._writing):
            self._ledger.write(passages, encoding)
            if self._fold_is_due():
                self._background.wake()

    def delete(self, ids: Sequence[str]) -> int:
        """Delete passages in one transaction; return how many were there."""
        if not ids:
            return 0
        with self._own(self._writing):
            return self._ledger.delete(ids)

    def get(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Return the passages that are there, by id."""
        with self._own(self._reading), self._ledger.reading():
            return self._ledger.get(ids)

    def ids(self, filter: Filter | None = None) -> list[str]:
        """Return the ids of all passages that satisfy the filter, oldest write first."""
        now = self._now(filter)
        return [now.ids[place] for place in np.flatnonzero(now.allowed).tolist()]

    def count(self) -> int:
        """Return the number of passages."""
        with self._own(self._reading):
            return self._ledger.count()

    def encodings(self, texts: Sequence[str]) -> tuple[list[int], Encoding | None]:
        """Return the positions of texts already here, and their vectors."""
        hashes = [text_hash(text) for text in texts]
        known, rows = self._newest(
            lambda: (
                self._ledger.vectors_of_texts(list(dict.fromkeys(hashes))),
                self._vectors.rows(self._state.rows),
            )
        )
        if not known:
            return [], None
        found = [i for i, hash_ in enumerate(hashes) if hash_ in known]
        dense = rows[[known[hashes[i]][0] for i in found]].astype(np.float32)
        sparse = sparse_matrix([known[hashes[i]][1] for i in found], self._fingerprint.vocabulary)
        return found, Encoding(dense, sparse)

    def sparse_vectors(self, ids: Sequence[str]) -> dict[str, SparseVector]:
        """Return the sparse vectors of the passages that are there, by id."""
        with self._own(self._reading), self._ledger.reading():
            return self._ledger.sparse_vectors(ids)

    def search_dense(self, vector: FloatArray, k: int, filter: Filter | None = None) -> list[Scored]:
        """Search the folded passages by HNSW and the others exactly; all of them exactly where few are allowed."""
        return self._now(filter).search_dense(vector, k) if k > 0 else []

    def search_sparse(self, vector: SparseVector, k: int, filter: Filter | None = None) -> list[Scored]:
        """Search the inverted index."""
        if k <= 0:
            return []
        now = self._now(filter)
        return now.search_sparse(self._weighed(vector, now), k)

    def weigh(self, vector: SparseVector) -> SparseVector:
        """Return a query with the weights that it is scored with here."""
        return self._weighed(vector, self._now(None))

    def optimize(self, progress: Callable[[int], object] | None = None) -> int:
        """Fold new passages into the HNSW index, so that dense search stays fast as the index grows.

        Args:
            progress: called with the number of passages added, after each batch.

        Returns:
            The number of passages folded in.
        """
        with self._own(self._folding):
            with self._writing:
                self._ledger.lock()
            added = self._fold(lambda: self._build(progress))
            with self._writing:
                self._save_postings(least=1)
            return added

    def compact(self) -> int:
        """Give back the space of deleted and replaced passages; return how many there were.

        The views are built anew: the sparse one at once, the dense one by the next fold.
        """
        with self._own(self._folding), self._writing:
            gaps = self._ledger.compact()
            if gaps:
                self._dense.discard()
                self._save_postings(least=1)
            return gaps

    def backup(self, folder: str | Path) -> int:
        """Copy the index, as of now, to a new folder, which opens anywhere; return the number of passages in it.

        Others may read and write meanwhile. The folder appears when it is whole.

        Raises:
            StorageError: there is something at that path already, it lies in the index, or it cannot be written.
            IndexCorruptError: the index is damaged; nothing is left at that path.
        """
        target = check_folder(folder, "folder")
        with self._own(self._folding):  # the views stay as they are meanwhile
            return copy_folder(self._folder, self._fingerprint, target)

    def close(self) -> None:
        """Let go of files, and let the next writer in."""
        if self._process != os.getpid():
            return
        self._background.stop()
        with self._folding, self._writing, self._reading:
            if self._closed:
                return
            try:
                if self._ledger.writing:
                    self._save_postings(least=_UNSAVED)
            except HybridError as error:  # what is in the views is in the truth too
                logger.warning("the sparse view in %s was not written: %s", self._folder, error)
            finally:
                self._closed = True
                self._dense.close()
                self._ledger.close()

    @contextmanager
    def _own(self, lock: threading.Lock | threading.RLock) -> Iterator[None]:
        """Take a lock, in the process that the store was opened in: a fork has copies of locks that nobody releases."""
        if self._process != os.getpid():
            raise StorageError(f"{self._folder} was opened before a fork; open it again in the new process")
        with lock:
            if self._closed:
                raise StorageError(f"{self._folder} has been closed; open it again")
            yield

    def _now(self, filter: Filter | None) -> Snapshot:
        """Return the newest commit as searches need it, which needs no lock from then on.

        The filter is evaluated once a query, in the truth; both sides get the same places.
        """
        return self._newest(lambda: self._snapshot(filter))

    def _snapshot(self, filter: Filter | None) -> Snapshot:
        self._dense.follow(self._view)
        alive = self._rows.alive
        allowed = alive if filter is None else self._metadata.mask(filter, self._state) & alive
        vectors, postings = self._vectors.rows(self._state.rows), self._sparse.postings()
        dense, tail = self._dense, self._dense.rows
        return Snapshot(self._rows.ids, alive, allowed, vectors, postings, dense, self._view, tail)

    def _newest(self, look: Callable[[], _T]) -> _T:
        """Call something that looks at the newest commit, and again if another process has just compacted the index.

        The file of vectors that the commit before named is then gone.
        """
        with self._own(self._reading):
            try:
                with self._ledger.reading():
                    self._refresh()
                    return look()
            except IndexCorruptError:
                if self._ledger.info("vectors") == self._state.vectors:
                    raise
            with self._ledger.reading():
                self._refresh()
                return look()

    def _refresh(self) -> None:
        """Bring what is in memory up to the newest commit, this object's own or another process's."""
        version = self._ledger.version()
        if version == self._version:
            return
        with self._ledger.reading():
            state = self._ledger.state()
            if state.vectors != self._state.vectors:
                self._begin(state)
            places, ids = self._ledger.rows(len(self._rows.ids))
            self._rows.append(state.rows, places, ids)
            self._rows.remove(self._ledger.removed(self._state.deletions))
            self._sparse.append(state.rows, self._ledger.sparse_rows(self._sparse.rows, state.rows))
            self._view = self._ledger.info("dense_view")
            self._state, self._version = state, version

    def _begin(self, state: State) -> None:
        """Start with nothing in memory: at opening, and where places were given anew."""
        self._ledger.check_model()
        self._vectors = self._ledger.vectors(state.vectors)
        self._rows = Rows()
        self._metadata = MetadataView(self._ledger)
        self._sparse = SparseView(self._folder, self._ledger.info("sparse_view"))
        self._state = State(state.vectors, 0, state.deletions)  # those who went before are not among the rows

    def _weighed(self, vector: SparseVector, now: Snapshot) -> SparseVector:
        return vector if self.sparse_weighting == "plain" or vector.raw is not None else now.weighed(vector)

    def _fold_is_due(self) -> bool:
        with self._reading:
            self._refresh()
            self._dense.follow(self._view)
            return self._state.rows - self._dense.rows > max(_TAIL, self._dense.rows // 4)

    def _fold_in_background(self, stop: threading.Event) -> None:
        """Fold in another process, unless another thread has just done so."""
        with self._own(self._folding):
            if self._fold_is_due():
                self._fold(lambda: build_apart(self._folder, stop))

    def _build(self, progress: Callable[[int], object] | None) -> tuple[ViewState, int] | None:
        if usable():
            return build(self._folder, self._fingerprint, progress)
        made = build_apart(self._folder, threading.Event())
        if made is not None and progress:
            progress(made[1])
        return made

    def _fold(self, make: Callable[[], tuple[ViewState, int] | None]) -> int:
        """Take a view into use; return how many passages were added to it."""
        self._sweep()
        try:
            made = make()
            if made is None:
                return 0
            self._switch(made[0])
            return made[1]
        finally:
            self._sweep()

    def _switch(self, made: ViewState) -> None:
        with self._writing:
            with self._ledger.errors():
                self._dense.save(made)
            self._ledger.set_info("dense_view", made.token)
            with self._ledger.errors():
                self._dense.switch(made)

    def _sweep(self) -> None:
        """Delete what a fold that was stopped, killed or refused has left."""
        with self._reading:
            self._refresh()
            self._dense.sweep(self._view)

    def _save_postings(self, least: int) -> None:
        """Put the sparse view into files, if so many passages are not in them yet."""
        with self._reading, self._ledger.reading():
            self._refresh()
            if self._sparse.rows - self._sparse.saved < least:
                return
            with self._ledger.errors():
                token = self._sparse.save()
        self._ledger.set_info("sparse_view", token)
        with self._ledger.errors():
            self._sparse.switch()
