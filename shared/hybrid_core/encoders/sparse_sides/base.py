"""What a dense encoder asks of a sparse partner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@runtime_checkable
class SparseSide(Protocol):
    """Turns texts into sparse weights; the score of a passage is the dot product with the query.

    May be called from several threads at once.
    """

    @property
    def name(self) -> str:
        """What decides which weights a text gets, for the fingerprint: model or method, and its parameters."""
        ...

    @property
    def vocabulary(self) -> int:
        """How many ids there are, at most 2^31 - 1."""
        ...

    @property
    def idf(self) -> bool:
        """Whether the store multiplies each query weight by the token's inverse document frequency (`Store.weigh`)."""
        ...

    def encode_documents(self, texts: Sequence[str]) -> csr_array:
        """Return (n, vocabulary) float32, sorted ids, weights above zero."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> csr_array:
        """Return (n, vocabulary) float32, sorted ids, weights above zero."""
        ...

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the strings for ids; of ids that were in none of the last queries, a placeholder may do."""
        ...
