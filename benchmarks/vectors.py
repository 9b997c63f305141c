"""Made-up passages and queries with vectors of BGE-M3's shape, block by block, so that a million fits anywhere.

Dense: 1024 numbers of unit length. BGE-M3's own example (its README) gives unrelated texts a cosine of .35 and a
question with its answer .63 to .68, so every vector has a common part that makes unrelated ones .35, and a query's is
mixed with its passage's to .65. What differs between passages has variances that fall as 1 / (j + 3) over the 1,023
other directions, some 110 effective ones: of uniform noise all neighbours lie about equally far away, which no graph
can search well and no model makes. How BGE-M3's own variances fall was not measured.

Sparse: tokens are drawn with p ~ 1 / (rank + 2.7) (Zipf-Mandelbrot) over the vocabulary of 250,002, whose ids are in
order of frequency as XLM-R's pieces are, so often that a passage has 126 different ones. BGE-M3 gives frequent words
small weights: in its example "?" has .04, "is" .08, "of" .06, names and numbers .25 to .33. Hence the weight
0.3 * U(0.5, 1) * (1 - 0.9 * sqrt(df)), where df is the share of passages that have the token: .15 to .3 for rare ones,
.02 to .03 for the most frequent. It matters, for an engine may pass over tokens that can add little. A query has about
10 tokens: six of its passage's, and five drawn like any, of which some are the same.

Text: about 400 characters of the demo's corpus. Metadata: three entries, of which "group" equals `GROUP` for 5 % of the
passages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count as count_from
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .texts import passages

DIMENSION, VOCABULARY, GROUP = 1024, 250_002, 7
BLOCK = 1_000  # passages
_NON_ZEROS, _GROUPS, _CHARACTERS = 126, 20, 400
_SPECIAL = 4  # the first ids, and the last one, are no words
_COMMON, _RELATED = 0.35, 0.65  # cosines
_OF_PASSAGE, _OF_ANY = 6, 5  # tokens of a query
_PLACES = 20  # blocks that hold the queries' passages

SparseRow = tuple[NDArray[np.int32], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """Dense rows (n, 1024), and sparse ones as CSR: ids ascending in each row."""

    dense: NDArray[np.float32]
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.dense)

    def sparse(self, i: int) -> SparseRow:
        """Return ids and weights of a row."""
        part = slice(int(self.indptr[i]), int(self.indptr[i + 1]))
        return self.indices[part], self.values[part]

    def matrix(self) -> Any:
        """Return the sparse rows as scipy's matrix."""
        from scipy.sparse import csr_array

        return csr_array((self.values, self.indices, self.indptr), shape=(len(self), VOCABULARY))


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Passages in a row; their ids are the numbers from `first` on."""

    first: int
    vectors: Vectors
    texts: list[str]
    metadatas: list[dict[str, Any]]

    @property
    def numbers(self) -> range:
        """The passages' numbers."""
        return range(self.first, self.first + len(self.texts))

    @property
    def size(self) -> int:
        """Bytes of what a store is given: vectors (a token's id and weight are 8) and texts, metadata aside."""
        sparse = self.vectors.indices.nbytes + self.vectors.values.nbytes
        return self.vectors.dense.nbytes + sparse + sum(len(text.encode()) for text in self.texts)


class Collection:
    """Passages by number, the same for the same count and seed."""

    def __init__(self, count: int, *, seed: int = 0) -> None:
        self.count = count
        self._seed = seed
        ranks = np.arange(1, VOCABULARY - _SPECIAL)
        p = 1 / (ranks + 2.7)
        p /= p.sum()
        self._cumulated = np.cumsum(p)
        unseen = np.log1p(-p)
        self._draws = next(n for n in count_from(_NON_ZEROS) if -np.expm1(n * unseen).sum() >= _NON_ZEROS)
        share = -np.expm1(self._draws * unseen)
        self._weights = np.concatenate([np.zeros(_SPECIAL), 0.3 * (1 - 0.9 * np.sqrt(share))])
        self._text = passages(1, median=20_000, longest=20_000, spread=0)[0]
        self._spread = np.concatenate([[0], 1 / np.sqrt(np.arange(1, DIMENSION) + 3)]).astype(np.float32)

    def __len__(self) -> int:
        return -(-self.count // BLOCK)

    def blocks(self) -> Iterator[Block]:
        """Make one block after the other."""
        return (self.block(number) for number in range(len(self)))

    def block(self, number: int) -> Block:
        """Make a block; no other needs to be made for it."""
        first = number * BLOCK
        n = min(BLOCK, self.count - first)
        random = np.random.default_rng([self._seed, 1, number])
        vectors = self._vectors(self._directions(random, n), self._tokens(random, (n, self._draws)), random)
        groups, years = random.integers(_GROUPS, size=n), random.integers(2015, 2026, size=n)
        starts = random.integers(len(self._text) - _CHARACTERS, size=n).tolist()
        return Block(
            first,
            vectors,
            [f"{first + i}. {self._text[start : start + _CHARACTERS]}" for i, start in enumerate(starts)],
            [
                {"group": group, "year": year, "source": f"handbook-{(first + i) // 40:06d}.md"}
                for i, (group, year) in enumerate(zip(groups.tolist(), years.tolist(), strict=True))
            ],
        )

    def queries(self, count: int) -> Vectors:
        """Make queries, each about a passage from one of 20 blocks that are spread over the collection."""
        random = np.random.default_rng([self._seed, 2])
        places = np.unique(np.linspace(0, len(self) - 1, _PLACES).astype(int))
        directions, tokens = [], []
        for number, n in zip(places.tolist(), _shares(count, len(places)), strict=True):
            about = self.block(number).vectors
            for row in random.integers(len(about), size=n).tolist():
                directions.append(about.dense[row])
                known = random.choice(about.sparse(row)[0], _OF_PASSAGE, replace=False)
                tokens.append(np.concatenate([known, self._tokens(random, (_OF_ANY,))]))
        near = (_RELATED - _COMMON) / (1 - _COMMON)  # the cosine of what is not common
        passage = np.array(directions) * (self._spread > 0)
        passage /= np.linalg.norm(passage, axis=1, keepdims=True)
        mixed = near * passage + np.sqrt(1 - near**2) * self._directions(random, count)
        mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
        return self._vectors(mixed, np.array(tokens), random)

    def _directions(self, random: np.random.Generator, n: int) -> NDArray[np.float32]:
        """Return unit vectors with nothing in the common direction, which is the first."""
        rows = random.standard_normal((n, DIMENSION), dtype=np.float32) * self._spread
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    def _tokens(self, random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int64]:
        drawn = np.searchsorted(self._cumulated, random.random(shape))
        return np.minimum(drawn, len(self._cumulated) - 1) + _SPECIAL

    def _vectors(
        self, directions: NDArray[np.float32], tokens: NDArray[np.int64], random: np.random.Generator
    ) -> Vectors:
        n = len(directions)
        dense = (directions * np.sqrt(1 - _COMMON)).astype(np.float32)
        dense[:, 0] = np.sqrt(_COMMON)
        keys = np.sort((np.arange(n)[:, None] * VOCABULARY + tokens).ravel())
        rows, ids = np.divmod(keys[np.diff(keys, prepend=-1) > 0], VOCABULARY)
        values = random.uniform(0.5, 1, len(ids)) * self._weights[ids]
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))])
        return Vectors(dense, indptr, ids.astype(np.int32), values.astype(np.float32))


def _shares(count: int, parts: int) -> list[int]:
    return [count // parts + (i < count % parts) for i in range(parts)]
