"""What each stage of a search costs on this machine, measured on a few queries, and so what a setting would cost."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...costs import CostModel, sizes
from ...fusion import ReciprocalRank
from ...pipeline import HybridIndex
from ...rerankers.base import Reranker
from ...settings import Settings
from ...types import Scored
from ..results import Latency
from .recall import SIDES, Clock, Recall

_SAMPLE = 12  # queries that are encoded and reranked for the clock alone
_SEARCHES, _WARM = 30, 2  # with each of the settings that are compared in the end; the first ones are not counted
_FEW, _MANY = 10, 50  # candidates reranked at once: two sizes tell what a call costs from what a candidate does


@dataclass(frozen=True, slots=True)
class Costs:
    """Milliseconds of the stages of one search; a stage's is the median over queries.

    Attributes:
        encode: of a query that comes alone.
        dense, sparse: of one side's search at the widest depth; fewer candidates are hardly cheaper.
        join: of fusing lists and reading passages, a candidate.
        rerank: of a call of the reranker, and
        rerank_each: of a candidate in it; both 0 without a reranker.
        margin: what the reranker may take of its forecast, as a `Budget` allows for.
    """

    encode: float
    dense: float
    sparse: float
    join: float
    rerank: float = 0.0
    rerank_each: float = 0.0
    margin: float = 1.0

    def before(self, candidates: int) -> float:
        """Return the milliseconds until the fused list is there."""
        return self.encode + self.dense + self.sparse + self.join * candidates

    def total(self, candidates: int, reranked: int) -> float:
        """Return the milliseconds of a search that reranks so many of its candidates."""
        return self.before(candidates) + (self.rerank + self.rerank_each * reranked if reranked else 0.0)

    def affordable(self, milliseconds: float) -> int:
        """Return how many candidates a budget of so many milliseconds is worth."""
        left = milliseconds / self.margin - self.rerank
        return max(0, math.floor(left / max(self.rerank_each, 1e-9) + 1e-9))


def measure_costs(
    index: HybridIndex, texts: Sequence[str], found: Recall, *, depth: int, encode: float, clock: Clock
) -> Costs:
    """Measure the stages before the reranker.

    Args:
        index: what is searched.
        texts: the queries.
        found: what each side recalled for them.
        depth: how many each side was asked for.
        encode: milliseconds, see `measure_encoding`.
        clock: seconds that pass.
    """
    joins = []
    for i in range(min(_SAMPLE, len(texts))):
        start = clock()
        _first(index, found, i, depth)
        joins.append(clock() - start)
    dense, sparse = (1e3 * float(np.median(found.seconds[side])) for side in SIDES)
    return Costs(encode, dense, sparse, join=1e3 * float(np.median(joins)) / depth)


def measure_encoding(index: HybridIndex, texts: Sequence[str], *, clock: Clock = time.perf_counter) -> float:
    """Return the milliseconds of a query that is encoded alone: the median of a few, after one that warms up."""
    seconds = []
    for text in texts[: _SAMPLE + 1]:
        start = clock()
        index.encoder.encode_queries([_unseen(text)])
        seconds.append(clock() - start)
    return 1e3 * float(np.median(seconds[1:] or seconds))


def measure_reranking(
    index: HybridIndex, reranker: Reranker, texts: Sequence[str], found: Recall, costs: Costs, *, clock: Clock
) -> Costs:
    """Return the costs with those of reranking."""
    model = CostModel()
    weights: list[float] = []
    for i in range(min(_SAMPLE, len(texts))):
        passages = _first(index, found, i, _MANY)
        for count in dict.fromkeys((min(_FEW, len(passages)), len(passages))):
            if count:
                start = clock()
                reranker.score(texts[i], passages[:count])
                size = sizes(texts[i], passages[:count])
                model.learn(float(size.sum()), clock() - start)
                weights += size.tolist()
    forecast = model.forecast()
    if forecast is None:  # nothing was recalled
        return costs
    each = 1e3 * forecast.rate * float(np.mean(weights))
    return replace(costs, rerank=1e3 * forecast.fixed, rerank_each=each, margin=forecast.margin)


def time_searches(
    index: HybridIndex, chosen: Mapping[str, Settings], texts: list[str], *, clock: Clock
) -> dict[str, Latency]:
    """Search with each of some settings, in turns, as a caller would; return the latency under each name."""
    indexes = {
        name: HybridIndex(index.store, encoder=index.encoder, reranker=index.reranker, settings=settings)
        for name, settings in chosen.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in indexes}
    for text in (texts * (1 + _WARM))[: len(texts[:_SEARCHES]) + _WARM]:
        for name, opened in indexes.items():
            start = clock()
            opened.search(_unseen(text))
            seconds[name].append(clock() - start)
    return {name: Latency.of(values[_WARM:]) for name, values in seconds.items()}


def _unseen(text: str) -> str:
    """Return a query with white space at its end, which no encoder remembers from before."""
    return text + "".join(random.choices(" \t", k=24))  # noqa: S311 - not a secret


def _first(index: HybridIndex, found: Recall, i: int, most: int) -> list[str]:
    """Return the texts of the first candidates of a query, fused by rank."""
    lists: dict[str, Sequence[Scored]] = {side: found.lists[side][i][:most] for side in SIDES}
    ids = [item.id for item in ReciprocalRank()(lists)[:most]]
    passages = index.store.get(ids)
    return [passages[id_].text for id_ in ids if id_ in passages]
