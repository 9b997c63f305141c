"""Every query's list under one setting, from the recalled lists alone.

What `fusion.py` and a reranker would make of them one by one, to the last bit, for all queries at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError
from ...fusion import DistributionBased, Fusion, ReciprocalRank, WeightedSum
from ...types import FloatArray, IntArray
from .grid import Variant
from .recall import Recalled, Side


class Cut(NamedTuple):
    """Where a setting's list ends.

    Attributes:
        k: how many hits are returned.
        min_score: what the reranker must give a hit; None for no threshold.
    """

    k: int
    min_score: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The first k places of every query's list under one setting.

    Attributes:
        shares: (n, k) what each place adds to nDCG@k.
        scores: (n, k) what the reranker gave it; -1 where it did not score it.
        there: (n, k) whether the list is that long.
    """

    shares: NDArray[np.float64]
    scores: NDArray[np.float64]
    there: NDArray[np.bool_]

    def kept(self, cut: Cut) -> NDArray[np.bool_]:
        """Return (n, k): which places a cut leaves."""
        within: NDArray[np.bool_] = self.there & (np.arange(self.there.shape[1]) < cut.k)
        return within if cut.min_score is None else within & (self.scores >= cut.min_score)


def wanted(recalled: Recalled, variants: Sequence[Variant]) -> NDArray[np.bool_]:
    """Return (n, m + 1): which candidates the reranker scores under any of the settings."""
    found = np.zeros(recalled.grades.shape, dtype=bool)
    rows = np.arange(len(found))[:, None]
    for order, group in _orders(recalled, [variant for variant in variants if variant.reranked]):
        found[rows, order[:, : max(variant.reranked for _, variant in group)]] = True
    found[:, -1] = False
    return found


def values(recalled: Recalled, variants: Sequence[Variant], k: int) -> NDArray[np.float64]:
    """Return (settings, n): nDCG@k of every query under every setting."""
    found = np.zeros((len(variants), len(recalled.queries)))
    for order, group in _orders(recalled, variants):
        for number, variant in group:
            found[number] = shares(recalled, _final(recalled, variant, order), k).sum(axis=1)
    return found


def ranking(recalled: Recalled, variant: Variant, k: int) -> Ranking:
    """Return the first k places of every query's list under one setting."""
    order = _final(recalled, variant, fused(recalled, variant.fusion, variant.candidates))[:, :k]
    there, scores = np.zeros((len(order), k), dtype=bool), np.full((len(order), k), -1.0)
    there[:, : order.shape[1]] = order < recalled.grades.shape[1] - 1
    reach = min(order.shape[1], variant.reranked)
    scores[:, :reach] = np.take_along_axis(recalled.scores, order[:, :reach], axis=1)
    return Ranking(shares(recalled, order, k), np.where(there, scores, -1.0), there)


def fused(recalled: Recalled, fusion: Fusion, depth: int) -> IntArray:
    """Return the fused lists of both sides' first `depth` passages.

    Returns:
        (n, depth) places of the candidates, best first, ties in order of id; the last place where a list ends. Fewer
        columns where no query has as many candidates.

    Raises:
        InvalidInputError: the fusion is none of ReciprocalRank, WeightedSum and DistributionBased.
    """
    rows = np.arange(len(recalled.queries))[:, None]
    total = np.zeros(recalled.grades.shape)
    there = np.zeros(total.shape, dtype=bool)
    for name, side in recalled.sides.items():
        weight = _weight(fusion, name)
        if weight:
            slots = side.slots[:, :depth]
            total[rows, slots] += weight * _scaled(fusion, side, depth)  # two addends: the sum is rounded once
            there[rows, slots] = True
    there[:, -1] = False
    order = np.argsort(np.where(there, -total, np.inf), axis=1, kind="stable")[:, :depth]
    nobody = recalled.grades.shape[1] - 1
    return np.where(np.take_along_axis(there, order, axis=1), order, nobody).astype(np.int32)


def reranked(order: IntArray, scores: FloatArray, count: int) -> IntArray:
    """Return the lists with their first `count` passages in order of a reranker's scores, equal ones as they were.

    Args:
        order: as `fused` returns it.
        scores: (n, m + 1), see `Recalled`.
        count: how many of each list are reranked; those after them stay where they are.
    """
    head = order[:, :count]
    places = np.argsort(-np.take_along_axis(scores, head, axis=1), axis=1, kind="stable")
    return np.concatenate([np.take_along_axis(head, places, axis=1), order[:, count:]], axis=1)


def shares(recalled: Recalled, order: IntArray, k: int) -> NDArray[np.float64]:
    """Return what each of the first k places adds to nDCG@k.

    Returns:
        (n, k): grade / log2(rank + 1), divided by the sum of the best possible list; a row's sum is the query's nDCG@k
        as trec_eval computes it (linear gain). 0 where nothing relevant is judged.
    """
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.array([grades[:k] @ discounts[: len(grades)] for grades in recalled.judged])
    found = np.zeros((len(recalled.queries), k))
    top = order[:, :k]
    found[:, : top.shape[1]] = np.take_along_axis(recalled.grades, top, axis=1)
    gained: NDArray[np.float64] = found * discounts / np.where(ideal > 0, ideal, 1.0)[:, None]
    return gained


def _orders(recalled: Recalled, variants: Sequence[Variant]) -> Iterator[tuple[IntArray, list[tuple[int, Variant]]]]:
    """Yield each fused order once, with the settings that begin with it and their numbers."""

    def key(item: tuple[int, Variant]) -> tuple[str, int]:
        return repr(item[1].fusion), item[1].candidates

    for _, items in groupby(sorted(enumerate(variants), key=key), key=key):
        group = list(items)
        _, first = group[0]
        yield fused(recalled, first.fusion, first.candidates), group


def _final(recalled: Recalled, variant: Variant, order: IntArray) -> IntArray:
    return reranked(order, recalled.scores, variant.reranked) if variant.reranked else order


def _weight(fusion: Fusion, side: str) -> float:
    if isinstance(fusion, WeightedSum):
        return fusion.dense if side == "dense" else fusion.sparse
    if isinstance(fusion, ReciprocalRank | DistributionBased):
        return fusion.weights.get(side, 1.0)
    raise InvalidInputError(
        f"fusion={fusion!r:.80} cannot be tuned: ReciprocalRank, WeightedSum and DistributionBased can"
    )


def _scaled(fusion: Fusion, side: Side, depth: int) -> NDArray[np.float64]:
    """Return (n, depth) scores as a fusion scales them before it weighs them."""
    scores = side.scores[:, :depth]
    if isinstance(fusion, ReciprocalRank):
        return np.broadcast_to(1.0 / (fusion.k + np.arange(1, scores.shape[1] + 1)), scores.shape)
    counts = np.minimum(side.counts, depth)
    if isinstance(fusion, DistributionBased):
        return _three_sigma(scores, counts)
    return _minmax(scores, counts) if fusion.normalization == "minmax" else scores  # type: ignore[attr-defined]


def _minmax(scores: NDArray[np.float64], counts: IntArray) -> NDArray[np.float64]:
    listed = np.arange(scores.shape[1]) < counts[:, None]
    low = np.min(scores, axis=1, where=listed, initial=np.inf, keepdims=True)
    high = np.max(scores, axis=1, where=listed, initial=-np.inf, keepdims=True)
    spread = (high > low) & np.isfinite(high)  # of an empty list both are infinite
    return np.where(spread, (scores - np.where(spread, low, 0)) / np.where(spread, high - low, 1), 1.0)


def _three_sigma(scores: NDArray[np.float64], counts: IntArray) -> NDArray[np.float64]:
    scaled = np.full(scores.shape, 0.5)
    for i, n in enumerate(counts.tolist()):
        if n < 2:
            continue
        row = scores[i, :n]
        mean = math.fsum(row) / n
        sigma = math.sqrt(math.fsum((score - mean) ** 2 for score in row.tolist()) / (n - 1))
        if 6 * sigma != 0:
            scaled[i, :n] = (row - mean + 3 * sigma) / (6 * sigma)
    return scaled
