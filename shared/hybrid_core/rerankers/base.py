"""What the rest of the project asks of a reranker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ..types import FloatArray


@runtime_checkable
class Reranker(Protocol):
    """Scores passages against a query."""

    @property
    def name(self) -> str:
        """The model's name, for reports and events."""
        ...

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """Return float32 scores (n,) in [0, 1], one a text in the order given, comparable across calls."""
        ...
