"""The store over a database: one course of action for every engine, and the same scores to the last bit."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np

from ...checks import check_id, check_text, encode_metadata
from ...errors import StorageError
from ...filters import Filter, matches
from ...types import Encoding, Fingerprint, FloatArray, Passage, Scored, SparseVector, SparseWeighting
from ..fit import check_fit
from ..scoring import exact_dense_scores, sparse_matrix, text_hash, weighed
from .conditions import NEVER, Condition, TextIs, admits
from .facts import facts
from .rows import Clock, Engine, Parts, Row

_SLACK = 1e-5  # an engine's float32 score may differ by this much from ours, relative to scores above 1
_HASHES = 500  # texts looked up in one question

_Score = Callable[[Sequence[Row]], list[Scored]]


class RemoteStore:
    """Passages in a database; see `Store` for the methods.

    The database finds candidates, this scores them again from the stored vectors and orders ties by id, so that a
    search gives what the exact store in memory gives, up to the recall of the database's own index. What of a filter
    the database answers, and what is decided here, is told in `stores/remote/conditions.py`; the result is exact.

    A call writes in batches, each wholly or not at all, after every passage has been checked. When the server goes away
    between two of them, the batches before are there; writing the same again completes the call and doubles nothing.

    A store serves the process that opened it: after a fork every call raises StorageError, and `close` does nothing.

    Args:
        engine: the database.
        fingerprint: of the encoder in use.
        local: the engine runs in this process, and takes one call at a time.
    """

    def __init__(self, engine: Engine, fingerprint: Fingerprint, *, local: bool) -> None:
        self._engine = engine
        self._fingerprint = fingerprint
        self._vocabulary = fingerprint.vocabulary
        self._weighting = fingerprint.sparse_weighting
        self._clock = Clock()
        self._process = os.getpid()
        self._lock: AbstractContextManager[object] = threading.RLock() if local else nullcontext()

    @property
    def sparse_weighting(self) -> SparseWeighting:
        """Whether queries are multiplied by inverse document frequencies."""
        return self._weighting

    def upsert(self, passages: Sequence[Passage], encoding: Encoding) -> None:
        """Write passages, replacing those with the same id.

        Raises:
            InvalidInputError, MetadataError: one cannot be kept; nothing was written.
            BackendUnavailableError: the server went away; write the same again.
            StorageFullError, StorageError: the database refuses.
        """
        if not passages:
            return
        check_fit(passages, encoding, self._fingerprint)
        first = self._clock.take(len(passages))
        rows = [self._row(passage, encoding, i, first + i) for i, passage in enumerate(passages)]
        with self._own():
            self._engine.check(rows)
            self._engine.write(rows)
            written = {row.id: row.key for row in rows}
            others = [key for row in rows for key in self._engine.keys(row.id)[1:]]
            found = self._engine.fetch(others, Parts.NONE)  # what another program wrote under the same ids
            self._engine.remove([row.key for row in found if written.get(row.id, row.key) != row.key])

    def delete(self, ids: Sequence[str]) -> int:
        """Delete passages; return how many were there."""
        with self._own():
            found = self._found(ids, Parts.NONE)
            self._engine.remove([row.key for rows in found.values() for row in rows])
            return len(found)

    def get(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Return the passages that are there, by id."""
        with self._own():
            found = self._found(ids, Parts.TEXT | Parts.METADATA)
        return {id_: Passage(id_, rows[0].text, json.loads(rows[0].metadata)) for id_, rows in found.items()}

    def ids(self, filter: Filter | None = None) -> list[str]:
        """Return the ids of all passages that satisfy the filter, oldest write first (by the writers' clocks)."""
        condition = admits(filter)
        with self._own():
            rows = self._kept(self._scan(condition, Parts.NONE if filter is None else Parts.METADATA), filter)
        return [id_ for _, id_ in sorted((row.seq, row.id) for row in rows)]

    def count(self) -> int:
        """Return the number of passages."""
        with self._own():
            return self._engine.count()

    def encodings(self, texts: Sequence[str]) -> tuple[list[int], Encoding | None]:
        """Return the positions of texts already here, and their vectors."""
        hashes = [text_hash(text).hex() for text in texts]
        with self._own():
            keys = self._keys_of_texts(list(dict.fromkeys(hashes)))
            rows = self._engine.fetch(list(keys.values()), Parts.DENSE | Parts.SPARSE) if keys else []
        known = {row.text_hash: (row.dense, _sparse(row)) for row in rows if row.dense is not None}
        found = [i for i, hash_ in enumerate(hashes) if hash_ in known]
        if not found:
            return [], None
        vectors = [known[hashes[i]] for i in found]
        sparse = sparse_matrix([sparse for _, sparse in vectors], self._vocabulary)
        return found, Encoding(np.stack([dense for dense, _ in vectors]), sparse)

    def sparse_vectors(self, ids: Sequence[str]) -> dict[str, SparseVector]:
        """Return the sparse vectors of the passages that are there, by id."""
        with self._own():
            return {id_: _sparse(rows[0]) for id_, rows in self._found(ids, Parts.SPARSE).items()}

    def search_dense(self, vector: FloatArray, k: int, filter: Filter | None = None) -> list[Scored]:
        """Return the k passages of highest inner product with a unit vector (d,), best first, ties in order of id."""

        def score(rows: Sequence[Row]) -> list[Scored]:
            vectors = [row.dense for row in rows if row.dense is not None]
            if not vectors:
                return []
            scores = exact_dense_scores(np.stack(vectors), vector).tolist()
            ids = [row.id for row in rows if row.dense is not None]
            return [Scored(id_, value) for id_, value in zip(ids, scores, strict=True)]

        with self._own():
            return self._search(vector, k, filter, Parts.DENSE, score)

    def search_sparse(self, vector: SparseVector, k: int, filter: Filter | None = None) -> list[Scored]:
        """Return the k passages of highest inner product among those that share a token, best first, ties by id."""
        vector = self.weigh(vector)
        query = vector.as_dict()

        def score(rows: Sequence[Row]) -> list[Scored]:
            found = []
            for row in rows:
                shared = [(query[t], weight) for t, weight in _sparse(row).as_dict().items() if t in query]
                total = 0.0
                for ours, theirs in shared:  # tokens ascending: the order of the sum, on every store
                    total += ours * theirs
                if shared:
                    found.append(Scored(row.id, total))
            return found

        if not query:
            return []
        with self._own():
            return self._search(vector, k, filter, Parts.SPARSE, score)

    def weigh(self, vector: SparseVector) -> SparseVector:
        """Return a query with the weights that it is scored with here."""
        if self._weighting == "plain" or vector.raw is not None:
            return vector
        with self._own():
            return weighed(vector, self._engine.inverse_frequencies(vector.indices.tolist()))

    def close(self) -> None:
        """Let go of connections and files."""
        if self._process == os.getpid():
            with self._lock:
                self._engine.close()

    @contextmanager
    def _own(self) -> Iterator[None]:
        """Take the lock, in the process that the store was opened in: a fork would share its connections and files."""
        if self._process != os.getpid():
            raise StorageError(f"{self!r} was opened before a fork; open it again in the new process")
        with self._lock:
            yield

    def _search(
        self, query: FloatArray | SparseVector, k: int, filter: Filter | None, part: Parts, score: _Score
    ) -> list[Scored]:
        """Ask for more than k, and for more again, until no row that was not seen can be among the k best."""
        condition = admits(filter)
        if k <= 0 or condition == NEVER:
            return []
        parts = part if filter is None else part | Parts.METADATA
        wanted, found = k + max(16, k // 2), list[Scored]()
        while wanted <= self._engine.deepest:
            rows = self._engine.nearest(query, wanted, condition, parts)
            found = _best(score(self._kept(rows, filter)), k)
            last = rows[-1].score if rows else 0.0
            if len(rows) < wanted or (part is Parts.SPARSE and last <= 0):  # there are no more, or no more that share
                if len(found) == k or part is Parts.SPARSE or self._engine.exact:
                    return found
                break  # an approximate index does not always reach every row
            if len(found) == k and last < found[-1].score - _SLACK * max(1.0, abs(found[-1].score)):
                return found
            wanted *= 4
        if len(found) == k:  # thousands of equal scores: which of them come is the engine's choice
            return found
        found = []
        page: list[Row] = []
        for row in self._scan(condition, parts):
            page.append(row)
            if len(page) == 1_000:
                found, page = _best(found + score(self._kept(page, filter)), k), []
        return _best(found + score(self._kept(page, filter)), k)

    def _scan(self, condition: Condition, parts: Parts) -> Iterable[Row]:
        return () if condition == NEVER else self._engine.scan(condition, parts)

    def _kept(self, rows: Iterable[Row], filter: Filter | None) -> list[Row]:
        """Return the rows that satisfy the filter: the database's answer may hold others."""
        return [row for row in rows if filter is None or matches(filter, json.loads(row.metadata))]

    def _found(self, ids: Sequence[str], parts: Parts) -> dict[str, list[Row]]:
        """Return the rows of ids that are there, in the order of the ids, newest first where an id has several."""
        asked = list(dict.fromkeys(ids))
        if not asked:
            return {}
        of_id: dict[str, list[Row]] = {}
        for row in self._engine.fetch([key for id_ in asked for key in self._engine.keys(id_)], parts):
            of_id.setdefault(row.id, []).append(row)
        return {id_: sorted(of_id[id_], key=lambda row: -row.seq) for id_ in asked if id_ in of_id}

    def _keys_of_texts(self, hashes: Sequence[str]) -> dict[str, str]:
        """Return the key of some row with each text that is here, by hash."""
        keys: dict[str, str] = {}
        for start in range(0, len(hashes), _HASHES):
            wanted = set(hashes[start : start + _HASHES])
            for row in self._engine.scan(TextIs(tuple(sorted(wanted))), Parts.NONE):
                if row.text_hash in wanted:
                    keys[row.text_hash] = row.key
                    wanted.remove(row.text_hash)
                if not wanted:
                    break
        return keys

    def _row(self, passage: Passage, encoding: Encoding, i: int, seq: int) -> Row:
        owner = f"id {passage.id!r:.80}"
        check_text(passage.text, f"text of {owner}")
        metadata = encode_metadata(passage.metadata, owner)
        tokens, orders = facts(json.loads(metadata))
        return Row(
            key=self._engine.keys(check_id(passage.id))[0],
            id=passage.id,
            seq=seq,
            text_hash=text_hash(passage.text).hex(),
            text=passage.text,
            metadata=metadata,
            facts=tokens,
            orders=orders,
            dense=encoding.dense[i],
            sparse=encoding.sparse_row(i),
        )


def _best(found: list[Scored], k: int) -> list[Scored]:
    return sorted(found, key=lambda item: (-item.score, item.id))[:k]


def _sparse(row: Row) -> SparseVector:
    return row.sparse if row.sparse is not None else SparseVector.from_dict({})
