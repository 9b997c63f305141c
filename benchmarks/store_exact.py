"""What stores ought to answer: every passage scored by numpy in float64, block by block, and the file that keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .vectors import GROUP, Collection, Vectors

K, CANDIDATES = 10, 50


@dataclass(slots=True, eq=False)
class Best:
    """The best so far of each of n queries.

    Attributes:
        scores, numbers: (n, depth), not in order until `ranked`.
    """

    queries: int
    depth: int
    scores: NDArray[np.float64] = field(init=False)
    numbers: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.scores = np.full((self.queries, self.depth), -np.inf)
        self.numbers = np.full((self.queries, self.depth), -1)

    def add(self, scores: NDArray[np.float64], numbers: NDArray[np.int64]) -> None:
        """Look at more passages: scores (n, m) of numbers (m,), -inf for what is no answer."""
        all_scores = np.concatenate([self.scores, scores], axis=1)
        all_numbers = np.concatenate([self.numbers, np.broadcast_to(numbers, scores.shape)], axis=1)
        chosen = np.argpartition(-all_scores, self.depth - 1, axis=1)[:, : self.depth]
        self.scores = np.take_along_axis(all_scores, chosen, axis=1)
        self.numbers = np.take_along_axis(all_numbers, chosen, axis=1)

    def ranked(self) -> list[list[tuple[int, float]]]:
        """Return (number, score) of each query, best first."""
        order = np.argsort(-self.scores, axis=1, kind="stable")
        numbers = np.take_along_axis(self.numbers, order, axis=1).tolist()
        scores = np.take_along_axis(self.scores, order, axis=1).tolist()
        pairs = (zip(*row, strict=True) for row in zip(numbers, scores, strict=True))
        return [[(number, score) for number, score in row if number >= 0 and score > -np.inf] for row in pairs]


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Queries and their ten best numbers (n, 10), -1 where there are fewer.

    Attributes:
        dense, sparse: of all passages.
        dense_of_group: of those that the filter allows,
        hybrid_of_group: and the same for the two sides' 50 best, fused by reciprocal rank.
    """

    queries: Vectors
    dense: NDArray[np.int64]
    sparse: NDArray[np.int64]
    dense_of_group: NDArray[np.int64]
    hybrid_of_group: NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Write everything to a file."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "queries"}
        np.savez(path, **own, **{f"of_{f.name}": getattr(self.queries, f.name) for f in fields(Vectors)})

    @classmethod
    def load(cls, path: Path) -> Truth:
        """Read the file."""
        with np.load(path) as file:
            queries = Vectors(**{f.name: file[f"of_{f.name}"] for f in fields(Vectors)})
            return cls(queries, **{f.name: file[f.name] for f in fields(cls) if f.name != "queries"})


def find_truth(collection: Collection, queries: Vectors) -> Truth:
    """Score every passage for every query."""
    from hybrid_core.fusion import ReciprocalRank
    from hybrid_core.types import Scored

    dense, sparse, dense_of_group, sparse_of_group = (Best(len(queries), CANDIDATES) for _ in range(4))
    rows, columns = queries.dense.astype(np.float64), queries.matrix().astype(np.float64).T.tocsc()
    for block in collection.blocks():
        numbers = np.array(block.numbers)
        group = np.array([metadata["group"] == GROUP for metadata in block.metadatas])
        scores = rows @ block.vectors.dense.astype(np.float64).T
        shared = (block.vectors.matrix().astype(np.float64) @ columns).toarray().T
        shared[shared == 0] = -np.inf
        dense.add(scores, numbers)
        sparse.add(shared, numbers)
        dense_of_group.add(scores[:, group], numbers[group])
        sparse_of_group.add(shared[:, group], numbers[group])
    sides = zip(dense_of_group.ranked(), sparse_of_group.ranked(), strict=True)
    fused = []
    for pair in sides:
        lists = [[Scored(str(number), score) for number, score in side] for side in pair]
        fused.append([int(item.id) for item in ReciprocalRank()(dict(zip(("dense", "sparse"), lists, strict=True)))])
    return Truth(queries, _first(dense), _first(sparse), _first(dense_of_group), _table(fused))


def agreement(answers: list[list[int]], right: NDArray[np.int64]) -> float:
    """Return the share of the right numbers that the answers hold, over the queries that were answered."""
    hits = wanted = 0
    for answer, row in zip(answers, right.tolist(), strict=False):
        known = {number for number in row if number >= 0}
        hits += len(known & set(answer[:K]))
        wanted += len(known)
    return hits / wanted


def _first(best: Best) -> NDArray[np.int64]:
    return _table([[number for number, _ in row] for row in best.ranked()])


def _table(rows: list[list[int]]) -> NDArray[np.int64]:
    return np.array([(row + [-1] * K)[:K] for row in rows], dtype=np.int64)
