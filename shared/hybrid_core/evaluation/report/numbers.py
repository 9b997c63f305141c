"""What the charts show, as numbers; nothing is asked of an index again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...fusion import WeightedSum
from ...types import Scored
from ..comparison import Comparison
from ..datasets import Qrels
from ..metrics import measure, pairwise_accuracy
from ..results import Evaluation, SystemResult

_DEEPEST = 100  # of the recall curves
_ALPHAS = tuple(i / 10 for i in range(11))
_DEPTHS = (5, 10, 20, 50, 100, 200, 500, 1_000)
_ROWS = 6  # of the heat map
STAGES = ("one side", "fused", "reranked")


def recall_curve(rankings: Mapping[str, Sequence[Scored]], qrels: Qrels, depth: int = _DEEPEST) -> NDArray[np.float64]:
    """Return recall at 1, 2, ..., `depth` as the mean over the queries, equal to the metric R@K at each.

    A query for which nothing is relevant counts 0, and of a document that occurs twice the first counts.
    """
    total = np.zeros(depth)
    for query, grades in qrels.items():
        relevant = {id_ for id_, grade in grades.items() if grade > 0}
        ids = list(dict.fromkeys(item.id for item in rankings.get(query, ())))[:depth]
        places = [place for place, id_ in enumerate(ids) if id_ in relevant]
        if places:
            total += np.bincount(places, minlength=depth).cumsum() / len(relevant)
    return total / len(qrels)


def depth_of(rankings: Mapping[str, Sequence[Scored]]) -> int:
    """Return the length of the longest list, at most 100 and at least 1."""
    return max(1, min(_DEEPEST, max(map(len, rankings.values()), default=0)))


def pareto_front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Return the positions that no other beats in cost and gain at once, cheapest first."""
    front: list[int] = []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], -gains[i])):
        if not front or gains[i] > gains[front[-1]]:
            front.append(i)
    return front


class ScoreGroups(NamedTuple):
    """Scores of one scorer over all queries.

    Attributes:
        name: "dense", "sparse", or the system whose reranker gave them.
        relevant: scores of documents with a grade of 1 or more.
        others: scores of all others that were found.
        accuracy: share of pairs of a relevant document and another that the scores order rightly, the mean over the
            queries that have such a pair; None without any.
    """

    name: str
    relevant: NDArray[np.float64]
    others: NDArray[np.float64]
    accuracy: float | None


def score_groups(found: Evaluation) -> list[ScoreGroups]:
    """Return the scores of each side, and of each reranker where it was first used; not of what found nothing."""
    lists = dict(found.recalled)
    rerankers: set[str] = set()
    for result in found.systems:
        reranker = result.settings["reranker"]
        if reranker is not None and reranker not in rerankers:
            rerankers.add(reranker)
            lists[result.name] = result.rankings
    groups = [_grouped(name, rankings, found.qrels) for name, rankings in lists.items()]
    return [group for group in groups if len(group.relevant) or len(group.others)]


def _grouped(name: str, rankings: Mapping[str, Sequence[Scored]], qrels: Qrels) -> ScoreGroups:
    pairs = [
        (score, grades.get(id_, 0) > 0) for query, grades in qrels.items() for id_, score in rankings.get(query, ())
    ]
    scores = np.array([score for score, _ in pairs], dtype=np.float64)
    relevant = np.array([is_relevant for _, is_relevant in pairs], dtype=bool)
    accuracies = [pairwise_accuracy(rankings.get(query, ()), grades) for query, grades in qrels.items()]
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    return ScoreGroups(name, scores[relevant], scores[~relevant], float(np.mean(known)) if known else None)


@dataclass(frozen=True, slots=True, eq=False)
class WeightGrid:
    """The first metric of `WeightedSum.from_alpha(alpha)` over what the two sides recalled.

    Attributes:
        metric: its name.
        alphas: weights of the dense side, 0 (sparse alone) to 1 (dense alone): the columns.
        depths: how many candidates are taken of each side: the rows.
        values: (depths, alphas) means over the queries.
    """

    metric: str
    alphas: tuple[float, ...]
    depths: tuple[int, ...]
    values: NDArray[np.float64]

    @property
    def best(self) -> tuple[int, int]:
        """Row and column of the highest value; of equal ones the fewest candidates, then the most even weights."""
        rows, columns = np.nonzero(self.values >= self.values.max() - 1e-9)
        cells = zip(rows.tolist(), columns.tolist(), strict=True)
        return min(cells, key=lambda cell: (cell[0], abs(self.alphas[cell[1]] - 0.5), cell[1]))


def weight_grid(found: Evaluation, *, show_progress: bool = False) -> WeightGrid | None:
    """Fuse what was recalled with every weight at every depth; None unless both sides were asked.

    Each cell is what a `System` with that fusion and as many candidates would get.

    Args:
        found: the evaluation.
        show_progress: draw a progress bar over the cells; with thousands of questions they take minutes.
    """
    if len(found.recalled) < 2:
        return None
    from tqdm.auto import tqdm

    depths = _depths(found)
    values = np.empty((len(depths), len(_ALPHAS)))
    with tqdm(total=values.size, desc="heat map", unit="cell", disable=not show_progress) as bar:
        for row, depth in enumerate(depths):
            cut = {
                query: {side: rankings[query][:depth] for side, rankings in found.recalled.items()}
                for query in found.queries
            }
            for column, alpha in enumerate(_ALPHAS):
                fuse = WeightedSum.from_alpha(alpha)
                fused = {query: fuse(lists)[:depth] for query, lists in cut.items()}
                of_query = measure(fused, found.qrels, found.metrics[:1])[found.metrics[0]]
                values[row, column] = np.mean(list(of_query.values()))
                bar.update()
    return WeightGrid(found.metrics[0], _ALPHAS, depths, values)


def _depths(found: Evaluation) -> tuple[int, ...]:
    """Return depths up to the one that both sides were asked for, or the longest list if that is shorter."""
    asked = min(
        max(result.settings["candidates"] for result in found.systems if result.settings["mode"] != other)
        for other in ("dense", "sparse")
    )
    longest = max(len(ranking) for rankings in found.recalled.values() for ranking in rankings.values())
    deepest = max(1, min(asked, longest))
    return (*(depth for depth in _DEPTHS if depth < deepest), deepest)[-_ROWS:]


def best_system(found: Evaluation) -> SystemResult:
    """Return the system with the highest mean of the first metric, of equal ones the first."""
    return max(found.systems, key=lambda result: result.means[found.metrics[0]])


def best_against_baseline(found: Evaluation) -> Comparison | None:
    """Compare the best of the other systems with the baseline; None where there is one system only."""
    baseline, *others = found.systems
    if not others:
        return None
    best = max(others, key=lambda result: result.means[found.metrics[0]])
    return found.compare(baseline.name, best.name)


def stage_of(result: SystemResult) -> str:
    """Return the last stage of a system: "one side", "fused" or "reranked"."""
    if result.settings["reranker"] is not None:
        return "reranked"
    return "fused" if result.settings["mode"] == "hybrid" else "one side"


def stage_steps(found: Evaluation) -> list[Comparison]:
    """Compare the best system of each stage with the best of the stage before it.

    A baseline of the first stage that is not the best there comes first. Where that leaves a single system, because
    all systems end in one stage and the baseline is the best, the best of the others is compared with it; one system
    alone gives nothing.
    """
    metric, baseline = found.metrics[0], found.systems[0]
    best: dict[str, SystemResult] = {}
    for result in found.systems:
        leader = best.setdefault(stage_of(result), result)
        if result.means[metric] > leader.means[metric]:
            best[stage_of(result)] = result
    chain = [best[stage].name for stage in STAGES if stage in best]
    if stage_of(baseline) == stage_of(found.system(chain[0])) and baseline.name != chain[0]:
        chain.insert(0, baseline.name)
    if len(chain) > 1:
        return [found.compare(before, after) for before, after in pairwise(chain)]
    only = best_against_baseline(found)
    return [] if only is None else [only]
