"""The embedded store: the ledger is the truth, the two views answer searches, this joins them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...filters import Filter
from ...types import Encoding, Fingerprint, FloatArray, Passage, Scored, SparseVector, SparseWeighting
from ..scoring import (
    best,
    dense_candidates,
    exact_dense_scores,
    inverse_document_frequency,
    sparse_matrix,
    text_hash,
    weighed,
)
from .dense_view import DenseView
from .ledger import Ledger
from .metadata_view import MetadataView
from .rows import Rows
from .sparse_view import SparseView

_EXACT_ROWS = 5_000  # up to this many allowed rows, reading their vectors is cheaper than asking HNSW


class EmbeddedStore:
    """Passages in a folder, searched in this process; see `Store` for the methods.

    A write is on disk when the call returns. One object at a time writes, from its first write until `close`; any
    number read, in this and other processes, and each search sees the newest commit.

    New rows are searched exactly, one by one, which is fast up to some ten thousand; `optimize()` folds them into an
    HNSW index (Chroma) for more.

    Args:
        folder: the index folder; made if missing.
        fingerprint: of the encoder in use.

    Raises:
        ModelMismatchError: the folder holds vectors of another model.
        IndexCorruptError, StorageError: the folder cannot be used.
    """

    def __init__(self, folder: str | Path, fingerprint: Fingerprint) -> None:
        self._folder = Path(folder)
        self._ledger = Ledger(self._folder, fingerprint)
        self._dense = DenseView(self._folder)
        self._follow_view()
        self._sparse = SparseView()
        self._rows = Rows(fingerprint.dimension)
        self._metadata = MetadataView(self._ledger, self._rows)
        self._vocabulary = fingerprint.vocabulary
        self._weighting = fingerprint.sparse_weighting
        self._lock = threading.RLock()
        self._applied = 0  # the last sequence number this object has read
        self._version = -1
        self._closed = False
        self._refresh()

    def __repr__(self) -> str:
        return f"EmbeddedStore({str(self._folder)!r})"

    @property
    def sparse_weighting(self) -> SparseWeighting:
        """Whether queries are multiplied by inverse document frequencies."""
        return self._weighting

    def upsert(self, passages: Sequence[Passage], encoding: Encoding) -> None:
        """Write passages in one transaction, replacing those with the same id."""
        if not passages:
            return
        with self._lock:
            self._ledger.write(passages, encoding)
            self._read_changes()

    def delete(self, ids: Sequence[str]) -> int:
        """Delete passages in one transaction; return how many were there."""
        if not ids:
            return 0
        with self._lock:
            removed = self._ledger.delete(ids)
            self._read_changes()
            return removed

    def get(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Return the passages that are there, by id."""
        with self._lock:
            return self._ledger.get(ids)

    def ids(self, filter: Filter | None = None) -> list[str]:
        """Return the ids of all passages that satisfy the filter, oldest write first."""
        with self._lock:
            self._refresh()
            return [self._rows.ids[slot] for slot in np.flatnonzero(self._allowed(filter))]

    def count(self) -> int:
        """Return the number of passages."""
        with self._lock:
            return self._ledger.count()

    def encodings(self, texts: Sequence[str]) -> tuple[list[int], Encoding | None]:
        """Return the positions of texts already here, and their vectors."""
        with self._lock:
            hashes = [text_hash(text) for text in texts]
            known = self._ledger.vectors_of_texts(list(dict.fromkeys(hashes)))
        found = [i for i, hash_ in enumerate(hashes) if hash_ in known]
        if not found:
            return [], None
        dense = np.stack([known[hashes[i]][0] for i in found])
        return found, Encoding(dense, sparse_matrix([known[hashes[i]][1] for i in found], self._vocabulary))

    def sparse_vectors(self, ids: Sequence[str]) -> dict[str, SparseVector]:
        """Return the sparse vectors of the passages that are there, by id."""
        with self._lock:
            return self._ledger.sparse_vectors(ids)

    def search_dense(self, vector: FloatArray, k: int, filter: Filter | None = None) -> list[Scored]:
        """Search the folded rows by HNSW and the others exactly; all of them exactly where few are allowed."""
        if k <= 0:
            return []
        with self._lock:
            self._refresh()
            self._follow_view()
            allowed = self._allowed(filter)
            tail = dense_candidates(self._rows.tail_scores(vector, allowed), k) + self._rows.tail_start
            folded = np.flatnonzero(allowed[: self._rows.tail_start])
            if len(folded) > max(_EXACT_ROWS, 2 * k) and self._dense.applied >= self._rows.folded_upto():
                folded = self._search_folded(vector, k, folded, restricted=filter is not None)
            slots = np.unique(np.concatenate([folded, tail]))
            if not len(slots):
                return []
            return best(exact_dense_scores(self._vectors(slots), vector), k, self._rows.ids.__getitem__, slots)

    def search_sparse(self, vector: SparseVector, k: int, filter: Filter | None = None) -> list[Scored]:
        """Search the inverted index."""
        if k <= 0:
            return []
        with self._lock:
            self._refresh()
            slots, scores = self._sparse.search(self._weighed(vector), k, self._allowed(filter))
            return best(scores, k, self._rows.ids.__getitem__, slots)

    def weigh(self, vector: SparseVector) -> SparseVector:
        """Return a query with the weights that it is scored with here."""
        with self._lock:
            self._refresh()
            return self._weighed(vector)

    def optimize(self, progress: Callable[[int], object] | None = None) -> int:
        """Fold new rows into the HNSW index, so that dense search stays fast as the index grows.

        Args:
            progress: called with the number of rows added, after each batch.

        Returns:
            The number of rows folded in.
        """
        with self._lock:
            self._ledger.lock()
            self._refresh()
            self._follow_view()
            self._dense.drop_if_damaged()
            rows, removed, upto = self._ledger.changes(self._dense.applied)
            if not rows and not removed:
                return 0
            token = self._dense.fold(rows, removed, upto, progress)
            self._ledger.set_info("dense_view", token)
            self._dense.switch()
            self._rows.drop_tail(upto)
            return len(rows)

    def close(self) -> None:
        """Let go of files, and let the next writer in."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._dense.close()
                self._ledger.close()

    def _weighed(self, vector: SparseVector) -> SparseVector:
        if self._weighting == "plain" or vector.raw is not None:
            return vector
        n, df = self._sparse.frequencies(vector.indices, self._rows.alive())
        return weighed(vector, inverse_document_frequency(n, df))

    def _refresh(self) -> None:
        """See what other processes have committed."""
        version = self._ledger.version()
        if version != self._version:
            self._version = version
            self._read_changes()

    def _follow_view(self) -> None:
        """Take the newest dense view, if it is this truth's own: one beside a restored backup may not be."""
        self._dense.refresh()
        if self._dense.token is not None and self._dense.token != self._ledger.info("dense_view"):
            self._dense.drop()

    def _read_changes(self) -> None:
        """Bring the views up to the newest row: the same way for our own writes and for others'."""
        changes, removed, newest = self._ledger.changes(self._applied)
        self._sparse.append(len(self._rows.ids), [change.sparse for change in changes])
        self._rows.append(changes, keep_after=self._dense.applied)
        self._rows.remove(removed)
        self._applied = newest

    def _allowed(self, filter: Filter | None) -> NDArray[np.bool_]:
        """Evaluate the filter once a query, in the truth; both sides get the same rows."""
        if filter is None:
            return self._rows.alive()
        return self._metadata.mask(filter, self._applied) & self._rows.alive()

    def _search_folded(
        self, vector: FloatArray, k: int, allowed: NDArray[np.int64], *, restricted: bool
    ) -> NDArray[np.int64]:
        """Ask HNSW for k rows that are still there, more of them each time too few come back."""
        seqs, alive = self._rows.seqs(), self._rows.alive()
        wanted = k
        while True:
            found = self._dense.search(vector, wanted, seqs[allowed].tolist() if restricted else None)
            if found is None:
                return allowed
            slots = self._rows.slots(found)
            slots = slots[alive[slots]]
            if len(slots) >= k:
                return slots
            if wanted >= len(allowed):  # HNSW does not always reach every row
                return allowed
            wanted = min(4 * wanted, len(allowed))

    def _vectors(self, slots: NDArray[np.int64]) -> FloatArray:
        """Return the vectors (n, d) of ascending slots: the folded ones from the truth, the others from memory."""
        start = int(np.searchsorted(slots, self._rows.tail_start))
        seqs = self._rows.seqs()[slots[:start]].tolist()
        read = self._ledger.dense_rows(seqs)
        tail: FloatArray = self._rows.tail(slots[start:])
        return np.concatenate([np.stack([read[seq] for seq in seqs]), tail]) if seqs else tail
