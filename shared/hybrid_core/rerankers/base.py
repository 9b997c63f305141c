"""What the rest of the project asks of a reranker, and what some offer beyond it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from ..checks import check_count
from ..types import FloatArray

Span: TypeAlias = tuple[int, int]  # characters [start, end) of a text


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


class Windowed(NamedTuple):
    """Scores, and where in each text its score was earned.

    Attributes:
        scores: (n,) float32.
        windows: for each text the characters [start, end) of the part that matched best; None where the text was read
            as a whole.
    """

    scores: FloatArray
    windows: list[Span | None]


@runtime_checkable
class WindowedReranker(Reranker, Protocol):
    """A reranker that reads long texts part by part and can say which part was the best.

    One that is instructed too takes the instruction here as in `score`.
    """

    def score_windows(self, query: str, texts: Sequence[str]) -> Windowed:
        """Return what `score` returns, with the best window of each text."""
        ...


@runtime_checkable
class InstructedReranker(Reranker, Protocol):
    """A reranker that can be told in words what makes a passage relevant."""

    @property
    def instruction(self) -> str:
        """What the model is told where a call says nothing else."""
        ...

    def score(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> FloatArray:
        """Return scores as any reranker does; an instruction stands in place of the reranker's own."""
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
