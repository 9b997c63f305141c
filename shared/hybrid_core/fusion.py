"""Fusion of ranked lists into one: pure functions, ties in order of id.

A method is called with the lists by name, best first, and returns one list, best first:

    ReciprocalRank(k=60)({"dense": [Scored("a", .9), Scored("b", .8)], "sparse": [Scored("b", 3.0)]})

A passage that a list does not hold gets nothing from that list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from .errors import InvalidInputError
from .types import Scored

RankedLists: TypeAlias = Mapping[str, Sequence[Scored]]
Normalization: TypeAlias = Literal["none", "minmax"]


@runtime_checkable
class Fusion(Protocol):
    """Makes one ranked list of several."""

    def __call__(self, lists: RankedLists) -> list[Scored]:
        """Return every id of the lists once, best first, ties in order of id."""
        ...


@dataclass(frozen=True, slots=True)
class ReciprocalRank:
    """Reciprocal rank fusion: the sum of weight / (k + rank) over the lists, rank from 1.

    Cormack, Clarke, Buettcher: Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods
    (SIGIR 2009). Looks at ranks alone, so it needs no tuning to the scores' scales.

    Attributes:
        k: > 0; larger values flatten the difference between the first ranks. 60 as in the paper.
        weights: list name -> weight >= 0; 1 where not named.

    Example:
        >>> ReciprocalRank()({"dense": [Scored("a", 0.9)], "sparse": [Scored("b", 7.0), Scored("a", 2.0)]})[0].id
        'a'
    """

    k: float = 60.0
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.k) and self.k > 0):
            raise InvalidInputError(f"k={self.k} must be a finite number > 0")
        _check_weights(self.weights)

    def __call__(self, lists: RankedLists) -> list[Scored]:
        """Fuse by rank."""
        return _total(lists, self.weights, lambda scores: [1.0 / (self.k + rank) for rank in range(1, len(scores) + 1)])


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """Weighted sum of scores: dense * score_dense + sparse * score_sparse.

    As in BGE-M3 (arXiv 2402.03216, section 3.2 and the weights of its evaluation: 1 and 0.3, which suit BAAI/bge-m3
    itself). Raw scores are summed as the paper does; another model's sparse scores may lie on another scale, and then
    `normalization="minmax"`, which maps each list of a query to [0, 1], is the safer choice.

    Attributes:
        dense: weight >= 0 of the dense list.
        sparse: weight >= 0 of the sparse list.
        normalization: "none" or "minmax".
    """

    dense: float = 1.0
    sparse: float = 0.3
    normalization: Normalization = "none"

    def __post_init__(self) -> None:
        _check_weights({"dense": self.dense, "sparse": self.sparse})
        if self.normalization not in ("none", "minmax"):
            raise InvalidInputError(f"normalization={self.normalization!r} must be 'none' or 'minmax'")

    @classmethod
    def from_alpha(cls, alpha: float, normalization: Normalization = "minmax") -> WeightedSum:
        """Weights alpha and 1 - alpha: 0 is sparse only, 1 is dense only."""
        if not 0 <= alpha <= 1:
            raise InvalidInputError(f"alpha={alpha} must lie in [0, 1]: 0 is sparse only, 1 is dense only")
        return cls(dense=alpha, sparse=1 - alpha, normalization=normalization)

    def __call__(self, lists: RankedLists) -> list[Scored]:
        """Fuse by weighted scores; a list whose weight is 0 contributes no passages either."""
        scale = _minmax if self.normalization == "minmax" else list
        return _total(lists, {"dense": self.dense, "sparse": self.sparse}, scale)


@dataclass(frozen=True, slots=True)
class DistributionBased:
    """Distribution-based score fusion (DBSF): each list is scaled so that mean - 3 sigma is 0 and mean + 3 sigma is 1.

    Mazzeschi: Distribution-Based Score Fusion (2023), as Qdrant does it: the standard deviation of the sample (n - 1),
    no clipping, 0.5 for a list of one or of equal scores.

    Attributes:
        weights: list name -> weight >= 0; 1 where not named.
    """

    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_weights(self.weights)

    def __call__(self, lists: RankedLists) -> list[Scored]:
        """Fuse by scores scaled to their distribution."""
        return _total(lists, self.weights, _three_sigma)


def _total(
    lists: RankedLists, weights: Mapping[str, float], scale: Callable[[list[float]], list[float]]
) -> list[Scored]:
    """Sum weight * scaled score per id over the lists; highest first, ties in order of id."""
    parts: dict[str, list[float]] = {}
    for name, ranked in lists.items():
        weight = weights.get(name, 1.0)
        if weight == 0:
            continue
        for (id_, _), score in zip(ranked, scale([item.score for item in ranked]), strict=True):
            parts.setdefault(id_, []).append(weight * score)
    # fsum: the order in which the lists are given must not move a score by a bit
    return sorted((Scored(id_, math.fsum(part)) for id_, part in parts.items()), key=lambda s: (-s.score, s.id))


def _minmax(scores: list[float]) -> list[float]:
    """Scale to [0, 1]; equal scores are all 1."""
    if not scores:
        return []
    low, high = min(scores), max(scores)
    return [1.0 if high == low else (score - low) / (high - low) for score in scores]


def _three_sigma(scores: list[float]) -> list[float]:
    n = len(scores)
    if n < 2:
        return [0.5] * n
    mean = math.fsum(scores) / n
    sigma = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / (n - 1))
    if sigma == 0 or 6 * sigma == 0:
        return [0.5] * n
    return [(score - mean + 3 * sigma) / (6 * sigma) for score in scores]


def _check_weights(weights: Mapping[str, float]) -> None:
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise InvalidInputError(f"weight of {name!r} is {weight}; a finite number >= 0 is needed")
    if weights and not any(weights.values()) and {"dense", "sparse"} <= set(weights):
        raise InvalidInputError("all weights are 0; at least one must be greater")
