"""What the rest of the project asks of a reranker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from ..checks import check_count
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


def rank(reranker: Reranker, query: str, texts: Sequence[str], top_n: int | None = None) -> list[tuple[int, float]]:
    """Order texts by a reranker's scores.

    Args:
        reranker: gives the scores; not asked when there are no texts.
        query: what the texts should answer.
        texts: the candidates.
        top_n: how many to return; None is all.

    Returns:
        (position in `texts`, score), best first; equal scores keep the order given.

    Raises:
        InvalidInputError: top_n is negative.
    """
    if top_n is not None:
        check_count(top_n, "top_n")
    if not texts or top_n == 0:
        return []
    scores = reranker.score(query, texts)
    order = np.argsort(-scores, kind="stable")[:top_n]
    return [(int(i), float(scores[i])) for i in order]
