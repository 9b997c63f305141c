"""The exact store in memory: for small or passing collections, and the oracle that other stores are tested against."""

from __future__ import annotations

import copy
import os
import threading
import weakref
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..filters import Filter, matches
from ..types import Encoding, Fingerprint, FloatArray, Passage, Scored, SparseVector, SparseWeighting
from .fit import check_fit
from .scoring import best, exact_dense_scores, inverse_document_frequency, sparse_matrix, text_hash, weighed

_stores: weakref.WeakSet[MemoryStore] = weakref.WeakSet()
_forking = threading.RLock()  # taken to add to them, and while a fork is made
_held: list[threading.RLock] = []


class MemoryStore:
    """Keeps everything in dictionaries and scores every passage exactly, one by one.

    A fork has a copy of its own, as of one moment between two calls.

    Args:
        fingerprint: of the encoder in use; None is one of "plain" weights, and of vectors of any length.
    """

    def __init__(self, fingerprint: Fingerprint | None = None) -> None:
        self._weighting: SparseWeighting = "plain" if fingerprint is None else fingerprint.sparse_weighting
        self._fingerprint = fingerprint
        self._rows: dict[str, tuple[Passage, FloatArray, SparseVector]] = {}
        self._ids_of_text: dict[bytes, dict[str, None]] = {}
        self._vocabulary = 0
        self._lock = threading.RLock()
        with _forking:
            _stores.add(self)

    def __repr__(self) -> str:
        return f"MemoryStore({len(self._rows)} passages)"

    @property
    def sparse_weighting(self) -> SparseWeighting:
        """Whether queries are multiplied by inverse document frequencies."""
        return self._weighting

    def upsert(self, passages: Sequence[Passage], encoding: Encoding) -> None:
        """Write passages, replacing those with the same id."""
        if not passages:
            return
        check_fit(passages, encoding, self._fingerprint)
        with self._lock:
            rows = [_row(passage, encoding, i) for i, passage in enumerate(passages)]  # all of them, or none
            self._vocabulary = encoding.sparse.shape[1]
            self.delete([passage.id for passage in passages])
            for row in rows:
                self._rows[row[0].id] = row
                self._ids_of_text.setdefault(text_hash(row[0].text), {})[row[0].id] = None

    def delete(self, ids: Sequence[str]) -> int:
        """Delete passages; return how many were there."""
        with self._lock:
            gone = [self._rows.pop(id_) for id_ in dict.fromkeys(ids) if id_ in self._rows]
            for passage, _, _ in gone:
                ids_of_text = self._ids_of_text[text_hash(passage.text)]
                del ids_of_text[passage.id]
                if not ids_of_text:
                    del self._ids_of_text[text_hash(passage.text)]
            return len(gone)

    def get(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Return the passages that are there, by id."""
        with self._lock:
            return {id_: _copy(self._rows[id_][0]) for id_ in ids if id_ in self._rows}

    def ids(self, filter: Filter | None = None) -> list[str]:
        """Return the ids of all passages that satisfy the filter, oldest write first."""
        with self._lock:
            return [
                id_
                for id_, (passage, _, _) in self._rows.items()
                if filter is None or matches(filter, passage.metadata)
            ]

    def count(self) -> int:
        """Return the number of passages."""
        return len(self._rows)

    def encodings(self, texts: Sequence[str]) -> tuple[list[int], Encoding | None]:
        """Return the positions of texts already here, and their vectors."""
        with self._lock:
            known = [(i, self._ids_of_text.get(text_hash(text))) for i, text in enumerate(texts)]
            rows = [self._rows[next(iter(ids))] for _, ids in known if ids]
            if not rows:
                return [], None
            sparse = sparse_matrix([row[2] for row in rows], self._vocabulary)
            return [i for i, ids in known if ids], Encoding(np.stack([row[1] for row in rows]), sparse)

    def sparse_vectors(self, ids: Sequence[str]) -> dict[str, SparseVector]:
        """Return the sparse vectors of the passages that are there, by id."""
        with self._lock:
            return {id_: self._rows[id_][2] for id_ in ids if id_ in self._rows}

    def search_dense(self, vector: FloatArray, k: int, filter: Filter | None = None) -> list[Scored]:
        """Score every passage that satisfies the filter."""
        with self._lock:
            ids = self.ids(filter)
            if not ids:
                return []
            rows = np.stack([self._rows[id_][1] for id_ in ids])
        return best(exact_dense_scores(rows, vector), k, ids.__getitem__)

    def search_sparse(self, vector: SparseVector, k: int, filter: Filter | None = None) -> list[Scored]:
        """Score every passage that satisfies the filter and shares a token."""
        found: list[Scored] = []
        with self._lock:
            query = self.weigh(vector).as_dict()
            for id_ in self.ids(filter):
                score, shared = 0.0, False
                for token, weight in self._rows[id_][2].as_dict().items():  # ids ascending: the order of the sum
                    if token in query:
                        score, shared = score + query[token] * weight, True
                if shared:
                    found.append(Scored(id_, score))
        return sorted(found, key=lambda item: (-item.score, item.id))[:k]

    def weigh(self, vector: SparseVector) -> SparseVector:
        """Return a query with the weights that it is scored with here."""
        if self._weighting == "plain" or vector.raw is not None:
            return vector
        df = dict.fromkeys(vector.indices.tolist(), 0)
        n = 0
        with self._lock:
            for _, _, sparse in self._rows.values():
                n += len(sparse.indices) > 0
                for token in df.keys() & set(sparse.indices.tolist()):
                    df[token] += 1
        return weighed(vector, inverse_document_frequency(n, np.array(list(df.values()), dtype=np.int64)))

    def close(self) -> None:
        """Nothing is held open; the passages stay until the object goes."""


def _row(passage: Passage, encoding: Encoding, i: int) -> tuple[Passage, FloatArray, SparseVector]:
    sparse = encoding.sparse_row(i)
    return _copy(passage), encoding.dense[i].copy(), SparseVector(sparse.indices.copy(), sparse.values.copy())


def _copy(passage: Passage) -> Passage:
    """Callers may change what they passed in or got out; the store's own copy must not move with it."""
    return replace(passage, metadata=copy.deepcopy(dict(passage.metadata)))


def _before_fork() -> None:
    """Wait for calls in other threads to end: the fork has not got these threads, and nobody to release their locks."""
    _forking.acquire()
    _held.extend(store._lock for store in _stores)
    for lock in _held:
        lock.acquire()


def _after_fork() -> None:
    while _held:
        _held.pop().release()
    _forking.release()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
