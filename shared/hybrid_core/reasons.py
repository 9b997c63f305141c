"""Metadata with the reasons of a hit in it, which do not make it another passage's."""

from __future__ import annotations

from typing import Any

from .types import BEST_WINDOW

REASONS = ("relevance_score", "stage_scores", BEST_WINDOW)  # what `Hit.annotated_metadata` adds


class ReasonedMetadata(dict[str, Any]):
    """A dict that equals another of its class if they are the same without the reasons.

    Frameworks that ask several questions keep of equal results one. The same passage, found by two questions, has other
    scores for each and is still one. Compared with a plain dict, it is one.

    Example:
        >>> first, second = (ReasonedMetadata(page=3, relevance_score=score) for score in (0.9, 0.4))
        >>> first == second, first == {"page": 3}, first["relevance_score"]
        (True, False, 0.9)
    """

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ReasonedMetadata):
            return _without_reasons(self) == _without_reasons(other)
        return dict.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # as of every dict


def _without_reasons(metadata: ReasonedMetadata) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in REASONS}
