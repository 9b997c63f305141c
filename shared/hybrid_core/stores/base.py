"""What the rest of the project asks of a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ..filters import Filter
from ..types import Encoding, FloatArray, Passage, Scored, SparseVector, SparseWeighting


@runtime_checkable
class Store(Protocol):
    """Keeps passages with one dense and one sparse vector each.

    Every store gives the same results, up to the recall of an approximate dense index. What is written by a call that
    returned is found by the next search, and is still there after a crash where the store is on disk.
    """

    @property
    def sparse_weighting(self) -> SparseWeighting:
        """Whether `search_sparse` multiplies a query's weights by inverse document frequencies, see `weigh`."""
        ...

    def upsert(self, passages: Sequence[Passage], encoding: Encoding) -> None:
        """Write passages, replacing those with the same id: all of them, or on an error none.

        Args:
            passages: checked passages with distinct ids.
            encoding: row i belongs to passage i.
        """
        ...

    def delete(self, ids: Sequence[str]) -> int:
        """Delete passages; return how many were there."""
        ...

    def get(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Return the passages that are there, by id."""
        ...

    def ids(self, filter: Filter | None = None) -> list[str]:
        """Return the ids of all passages that satisfy the filter, oldest write first."""
        ...

    def count(self) -> int:
        """Return the number of passages."""
        ...

    def encodings(self, texts: Sequence[str]) -> tuple[list[int], Encoding | None]:
        """Return the positions of those texts that some passage here already has, and their vectors.

        A text is recognised by a hash of its content, so a passage that moved to another id costs no embedding.
        """
        ...

    def sparse_vectors(self, ids: Sequence[str]) -> dict[str, SparseVector]:
        """Return the sparse vectors of the passages that are there, by id."""
        ...

    def search_dense(self, vector: FloatArray, k: int, filter: Filter | None = None) -> list[Scored]:
        """Return the k passages of highest inner product with a unit vector (d,), best first, ties in order of id."""
        ...

    def search_sparse(self, vector: SparseVector, k: int, filter: Filter | None = None) -> list[Scored]:
        """Return the k passages of highest inner product among those that share a token, best first, ties by id.

        A query that `weigh` has not returned is weighed first.
        """
        ...

    def weigh(self, vector: SparseVector) -> SparseVector:
        """Return a query with the weights that it is scored with here.

        Of a store whose `sparse_weighting` is "plain", and of a query weighed before, that is the vector itself. "idf"
        multiplies each weight by ln(1 + (N - df + 0.5) / (df + 0.5)), as Lucene's BM25: N is the number of passages
        that have any token, df of those that have this one, both of the whole index now, whatever a filter leaves.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections; may be called twice. A store that had any raises StorageError afterwards."""
        ...
