"""A reranker as a LangChain cross-encoder."""

from __future__ import annotations

from langchain_core.cross_encoders import BaseCrossEncoder

from hybrid_core.rerankers.base import Reranker
from hybrid_core.searching import check_part


class BgeCrossEncoder(BaseCrossEncoder):
    """Scores pairs for LangChain's CrossEncoderReranker; `BgeReranker` in its place knows budgets and windows.

    Args:
        reranker: a loaded reranker.

    Example:
        >>> encoder = BgeCrossEncoder(CrossEncoderReranker.tiny())
        >>> related, other = encoder.score([("what do workers do?", "Workers pull tasks."), ("charts?", "Workers.")])
    """

    def __init__(self, reranker: Reranker) -> None:
        check_part(reranker, Reranker, "reranker")
        self.reranker = reranker

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """Return the score in [0, 1] of each (query, text); pairs of one query share the model's passes."""
        places: dict[str, list[int]] = {}
        for i, (query, _) in enumerate(text_pairs):
            places.setdefault(query, []).append(i)
        scores: dict[int, float] = {}
        for query, own in places.items():
            found = self.reranker.score(query, [text_pairs[i][1] for i in own])
            scores |= dict(zip(own, found.tolist(), strict=True))
        return [scores[i] for i in range(len(text_pairs))]
