"""The values that travel between stages: frozen, without behaviour of their own beyond access."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FloatArray: TypeAlias = NDArray[np.float32]
IntArray: TypeAlias = NDArray[np.int32]
Metadata: TypeAlias = Mapping[str, Any]
Mode: TypeAlias = Literal["hybrid", "dense", "sparse"]
SparseWeighting: TypeAlias = Literal["plain", "idf"]
DenseType: TypeAlias = Literal["float32", "float16"]  # how a store keeps dense vectors

BEST_WINDOW = "best_window"  # the metadata key of `Hit.window`; LlamaIndex's sentence windows have "window"
PRIVATE_PREFIX = "_bge_hybrid_"  # metadata keys that begin so are an adapter's own, kept from its users


def public_metadata(metadata: Metadata) -> dict[str, Any]:
    """Return the metadata without the entries that an adapter keeps for itself."""
    return {key: value for key, value in metadata.items() if not key.startswith(PRIVATE_PREFIX)}


@dataclass(frozen=True, slots=True)
class Passage:
    """A text with an id and metadata, the unit that is stored and found.

    Attributes:
        id: unique in an index; any non-empty string.
        text: the text that is encoded and returned.
        metadata: JSON values (str, int, finite float, bool, None, lists and dicts of them); comes back exactly.
    """

    id: str
    text: str
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class SparseVector:
    """One row of sparse weights.

    Attributes:
        indices: vocabulary ids, int32, ascending, no repeats.
        values: weights, float32, > 0, same length.
        raw: of a query that a store has weighed (`Store.weigh`): the weights before that; None of any other vector.
    """

    indices: IntArray
    values: FloatArray
    raw: FloatArray | None = None

    def as_dict(self) -> dict[int, float]:
        """Return {vocabulary id: weight}."""
        return dict(zip(self.indices.tolist(), self.values.tolist(), strict=True))

    @classmethod
    def from_dict(cls, weights: Mapping[int, float]) -> SparseVector:
        """Build from {vocabulary id: weight}."""
        indices = np.array(sorted(weights), dtype=np.int32)
        return cls(indices, np.array([weights[i] for i in indices.tolist()], dtype=np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """What one forward pass says of n texts.

    Attributes:
        dense: (n, d) float32, rows of unit length.
        sparse: CSR (n, vocabulary) float32, ids ascending in each row, special tokens removed,
            the maximum over repeated tokens.
        multi: n arrays (tokens, d) float32, rows of unit length, the first token (CLS) left out; None unless asked for.
    """

    dense: FloatArray
    sparse: csr_array
    multi: tuple[FloatArray, ...] | None = None

    def __len__(self) -> int:
        return int(self.dense.shape[0])

    def sparse_row(self, i: int) -> SparseVector:
        """Return row `i` of the sparse side."""
        start, end = self.sparse.indptr[i], self.sparse.indptr[i + 1]
        return SparseVector(self.sparse.indices[start:end], self.sparse.data[start:end])

    @classmethod
    def join(cls, parts: Sequence[Encoding], *, multi: bool = False) -> Encoding:
        """Put encodings below each other, as copies; `multi` keeps the multi-vectors, which all parts then have."""
        from scipy.sparse import csr_array, vstack

        vectors = tuple(rows.copy() for part in parts for rows in part.multi or ()) if multi else None
        dense = np.concatenate([part.dense for part in parts])
        return cls(dense, csr_array(vstack([part.sparse for part in parts], "csr")), vectors)

    def rows(self, chosen: Sequence[int]) -> Encoding:
        """Return the chosen rows, in that order; a row may be chosen more than once."""
        order = np.asarray(chosen, dtype=np.int64)
        multi = None if self.multi is None else tuple(self.multi[i] for i in order)
        return Encoding(self.dense[order], self.sparse[order], multi)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Names everything that decides what vectors a text gets; written beside an index and checked on open.

    Attributes:
        model: the name or folder the model was loaded from; informative only, a copy elsewhere is the same model.
        digest: of the configuration, the tokenizer, the heads and samples of the weights.
        dimension: d of the dense vectors.
        vocabulary: size of the sparse side.
        pooling: how the dense vector is taken from the hidden states.
        max_length: tokens of a passage that the model sees; 0 for all of them.
        instruction: text put before every passage.
        query_instruction: text put before every query, where the index is to be searched with no other.
        sparse: the sparse partner of a dense model, by `SparseSide.name`; empty where one model makes both sides.
        sparse_weighting: "plain": a sparse score is the inner product of query and passage; "idf": the store first
            multiplies each weight of the query by the token's inverse document frequency, see `Store.weigh`.
    """

    model: str
    digest: str
    dimension: int
    vocabulary: int
    pooling: str
    max_length: int
    instruction: str = ""
    query_instruction: str = ""
    sparse: str = ""
    sparse_weighting: SparseWeighting = "plain"

    def differences(self, other: Fingerprint) -> list[str]:
        """Return the names of the fields that differ, the informative `model` left out."""
        names = [f.name for f in fields(self) if f.name != "model"]
        return [name for name in names if getattr(self, name) != getattr(other, name)]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that JSON can hold; those at their defaults are left out, as they once were."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}


class Scored(NamedTuple):
    """An id with a score: the element of a ranked list, best first, ties in order of id."""

    id: str
    score: float


class StageScore(NamedTuple):
    """What one stage said of a passage: its score there, and its rank from 1."""

    score: float
    rank: int


class TokenMatch(NamedTuple):
    """A token that query and passage share, and what it adds to the sparse score.

    Attributes:
        token: as the tokenizer writes it ("▁" marks the start of a word).
        query_weight: its weight in the query, times its inverse document frequency where the index keeps that.
        passage_weight: its weight in the passage.
        score: the product of the two.
    """

    token: str
    query_weight: float
    passage_weight: float
    score: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found, with the reasons.

    Attributes:
        passage: what was found.
        score: the score of the last stage that the passage came to; higher is better; comparable among hits of one
            search that came to the same stage. A hit without "reranked" in its stages was not reranked, keeps the score
            that it was found with, and stands below those that were.
        stages: stage name ("dense", "sparse", "fused", "reranked") -> StageScore, for each stage that returned
            the passage. Of a cascade the last reranker is "reranked", those before it "reranked_1" and so on.
        matches: the tokens shared with the query, filled by `HybridIndex.explain` only; their scores, added in this
            order, are the sparse score to the last bit.
        window: the characters [start, end) of the passage's text that earned the reranker's score; None where it read
            the text as a whole, or none did.
    """

    passage: Passage
    score: float
    stages: Mapping[str, StageScore]
    matches: tuple[TokenMatch, ...] = ()
    window: tuple[int, int] | None = None

    def annotated_metadata(self) -> dict[str, Any]:
        """Return a copy of the passage's metadata with the reasons added.

        `relevance_score` is the score, `stage_scores` maps each stage to its score and rank, `best_window` is the
        window of a hit that has one; entries of the same name are hidden by them in this copy. Entries that an adapter
        keeps for itself are left out.
        """
        stages = {name: stage._asdict() for name, stage in self.stages.items()}
        public = copy.deepcopy(public_metadata(self.passage.metadata))
        window = {} if self.window is None else {BEST_WINDOW: list(self.window)}
        return {**public, "relevance_score": self.score, "stage_scores": stages, **window}
