"""What tuning looks at: both sides' lists at the widest depth and the reranker's scores, as arrays over all queries."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...pipeline import HybridIndex
from ...rerankers.base import Reranker
from ...types import FloatArray, IntArray, Scored
from ..datasets import Qrels

Clock = Callable[[], float]
SIDES = ("dense", "sparse")


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """What one side recalls for each of n queries.

    Attributes:
        slots: (n, depth) the passages by their places in `Recalled.ids`, best first; where a list ends, the last
            place, which is nobody's.
        scores: (n, depth) float64, 0 there.
        counts: (n,) the lengths of the lists.
    """

    slots: IntArray
    scores: NDArray[np.float64]
    counts: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Recalled:
    """The candidates of n queries, each query's in places from 0 in order of id: what ties by place then ties by id.

    The last of the m + 1 places is nobody's: it stands where there is no passage.

    Attributes:
        queries: (n) ids.
        ids: for each query the ids of its at most m candidates.
        sides: "dense" and "sparse".
        grades: (n, m + 1) float64: of each candidate, 0 where it is not judged.
        judged: (n) grades of all that is judged for the query, found or not, descending.
        scores: (n, m + 1) float32 of the reranker; -inf where it was not asked.
    """

    queries: tuple[str, ...]
    ids: tuple[tuple[str, ...], ...]
    sides: Mapping[str, Side]
    grades: NDArray[np.float64]
    judged: tuple[NDArray[np.float64], ...]
    scores: FloatArray

    @classmethod
    def of(cls, lists: Mapping[str, Sequence[Sequence[Scored]]], qrels: Qrels) -> Recalled:
        """Number the candidates.

        Args:
            lists: for "dense" and "sparse" one list a query, best first, queries in the order of `qrels`.
            qrels: query id -> document id -> grade.
        """
        ids = tuple(tuple(sorted({item.id for side in SIDES for item in lists[side][i]})) for i in range(len(qrels)))
        places = [{id_: place for place, id_ in enumerate(own)} for own in ids]
        most = max(map(len, ids), default=0)
        grades = np.zeros((len(ids), most + 1))
        for i, judged in enumerate(qrels.values()):
            for id_, grade in judged.items():
                if id_ in places[i]:
                    grades[i, places[i][id_]] = grade
        return cls(
            queries=tuple(qrels),
            ids=ids,
            sides={side: _numbered(lists[side], places, most) for side in SIDES},
            grades=grades,
            judged=tuple(np.sort(np.array([*judged.values()], dtype=np.float64))[::-1] for judged in qrels.values()),
            scores=np.full(grades.shape, -np.inf, dtype=np.float32),
        )

    def scored(
        self, index: HybridIndex, reranker: Reranker, texts: Sequence[str], wanted: NDArray[np.bool_], *, show: bool
    ) -> Recalled:
        """Return a copy with the reranker's scores of the wanted candidates, each query asked about once.

        Args:
            index: has the passages; one that it no longer has keeps -inf.
            reranker: gives the scores.
            texts: of the queries.
            wanted: (n, m + 1).
            show: draw a progress bar.
        """
        scores = self.scores.copy()
        for i in _progress(range(len(self.queries)), "rerank", show=show):
            found = index.store.get([self.ids[i][place] for place in np.flatnonzero(wanted[i])])
            places = [place for place in np.flatnonzero(wanted[i]) if self.ids[i][place] in found]
            if places:
                scores[i, places] = reranker.score(texts[i], [found[self.ids[i][place]].text for place in places])
        return replace(self, scores=scores)


@dataclass(frozen=True, slots=True, eq=False)
class Recall:
    """What each side found.

    Attributes:
        lists: side -> one ranked list a query.
        seconds: side -> seconds a query.
    """

    lists: Mapping[str, Sequence[Sequence[Scored]]]
    seconds: Mapping[str, Sequence[float]]


def recall(
    index: HybridIndex, texts: Sequence[str], depth: int, *, clock: Clock = time.perf_counter, show: bool = False
) -> Recall:
    """Encode queries in one batch, and ask both sides for `depth` passages each."""
    encoding = index.encoder.encode_queries(list(texts))
    lists: dict[str, list[list[Scored]]] = {side: [] for side in SIDES}
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for i in _progress(range(len(texts)), "recall", show=show):
        for side in SIDES:
            start = clock()
            if side == "dense":
                found = index.store.search_dense(encoding.dense[i], depth)
            else:
                found = index.store.search_sparse(encoding.sparse_row(i), depth)
            seconds[side].append(clock() - start)
            lists[side].append(found)
    return Recall(lists, seconds)


def _numbered(lists: Sequence[Sequence[Scored]], places: Sequence[Mapping[str, int]], most: int) -> Side:
    depth = max(map(len, lists), default=0)
    slots = np.full((len(lists), depth), most, dtype=np.int32)
    scores = np.zeros((len(lists), depth))
    for i, ranked in enumerate(lists):
        slots[i, : len(ranked)] = [places[i][item.id] for item in ranked]
        scores[i, : len(ranked)] = [item.score for item in ranked]
    return Side(slots, scores, np.array([len(ranked) for ranked in lists], dtype=np.int32))


def _progress(numbers: Iterable[int], name: str, *, show: bool) -> Iterable[int]:
    if not show:
        return numbers
    from tqdm.auto import tqdm

    return tqdm(numbers, desc=name, unit="query")
