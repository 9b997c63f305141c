"""Searches as vector stores offer them: by a vector or a text, one side or both, weighted, diverse, among some ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from numpy.typing import ArrayLike

from .checks import check_count, check_text
from .errors import InvalidInputError
from .filters import And, Filter
from .fusion import Fusion, RankedLists, WeightedSum
from .pipeline import HybridIndex
from .selection import diversified
from .stores.base import Store
from .types import FloatArray, Hit, Scored, SparseVector
from .vector_checks import check_dense

Way: TypeAlias = Literal["dense", "sparse", "hybrid", "reranked", "diverse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorQuery:
    """What is asked of a vector store.

    Attributes:
        text: the question; the dense way and the diverse one need it only where no vector is given.
        dense: its vector (d,), where it is at hand; None encodes the text. The reranked way encodes the text anyway.
        k: how many hits.
        candidates: how many passages each side recalls, and how many are reranked or chosen from; at least k.
        filters: only passages whose metadata satisfies all of them; None is no filter.
        ids: only these passages; empty for all. It makes a search score every passage, since stores know no such
            filter: meant for a choice of passages, not for dividing an index.
        alpha: weighs dense by alpha and sparse by 1 - alpha (`WeightedSum.from_alpha`); None is the index's fusion.
        recalled: in the hybrid way, how many the dense and the sparse side recall; None is `candidates` for both.
        diversity: of the diverse way, as in `maximal_marginal_relevance`.
    """

    text: str | None
    dense: ArrayLike | None = None
    k: int
    candidates: int
    filters: Sequence[Filter | None] = ()
    ids: Collection[str] = ()
    alpha: float | None = None
    recalled: tuple[int, int] | None = None
    diversity: float = 0.5


def search(index: HybridIndex, query: VectorQuery, way: Way) -> list[Hit]:
    """Find passages in one of five ways.

    Args:
        index: where to look.
        query: what is asked.
        way: "dense" or "sparse", one side alone; "hybrid", both fused; "reranked", the same with the index's reranker
            at the end; "diverse", the dense way's candidates chosen by maximal marginal relevance.

    Returns:
        At most k hits, best first; of the diverse way in the order of choice.

    Raises:
        InvalidInputError: a number is out of range, a vector not the encoder's kind, a text needed but missing, or
            there is no reranker.
    """
    if query.ids:
        store = cast(Store, _Some(index.store, frozenset(query.ids)))
        index = HybridIndex(store, encoder=index.encoder, reranker=index.reranker, fusion=index.fusion)
    fusion = index.fusion if query.alpha is None else WeightedSum.from_alpha(query.alpha)
    k, candidates = query.k, query.candidates
    parts = [part for part in query.filters if part is not None]
    only = And(*parts) if parts else None
    if way == "reranked":
        if index.reranker is None:
            raise InvalidInputError(f"{index!r} has no reranker; open it with reranker=..., or search the hybrid way")
        return index.search(_text(query), k, candidates, only, fusion=fusion)
    if way == "diverse":
        dense = _dense(index, query)
        hits = index.search_vectors(dense, k=max(k, candidates), filter=only)
        return diversified(index.store, dense, hits, k, query.diversity)
    if way == "hybrid" and query.recalled is not None:
        most = [check_count(number, f"recalled[{i}]") for i, number in enumerate(query.recalled)]
        fusion, candidates = _FirstOf(fusion, {"dense": most[0], "sparse": most[1]}), max(most)
    return index.search_vectors(
        None if way == "sparse" else _dense(index, query),
        None if way == "dense" else index.encoder.encode_queries([_text(query)]).sparse_row(0),
        k=k,
        candidates=candidates,
        filter=only,
        fusion=fusion,
    )


def ids_among(index: HybridIndex, ids: Sequence[str] | None, filter: Filter | None) -> list[str]:
    """Return the given ids, or None for all there are, less those whose passages do not satisfy the filter."""
    if ids is None:
        return index.ids(filter=filter)
    allowed = None if filter is None else set(index.ids(filter=filter))
    return [id_ for id_ in ids if allowed is None or id_ in allowed]


def refuse_unknown(settings: Mapping[str, Any]) -> None:
    """Raise InvalidInputError for settings that a framework hands through and that mean nothing here."""
    if settings:
        raise InvalidInputError(f"unknown settings: {', '.join(settings)}; leave them out")


def _text(query: VectorQuery) -> str:
    if query.text is None:
        raise InvalidInputError("this search needs the query's text, and there is none")
    return check_text(query.text, "query")


def _dense(index: HybridIndex, query: VectorQuery) -> FloatArray:
    if query.dense is not None:
        return check_dense(query.dense, index.encoder.fingerprint)
    row: FloatArray = index.encoder.encode_queries([_text(query)]).dense[0]
    return row


@dataclass(frozen=True, slots=True)
class _FirstOf:
    """A fusion that sees only the first of each list: how two sides recall different numbers."""

    fusion: Fusion
    most: Mapping[str, int]

    def __call__(self, lists: RankedLists) -> list[Scored]:
        return self.fusion({name: ranked[: self.most[name]] for name, ranked in lists.items()})


@dataclass(frozen=True)
class _Some:
    """A store whose searches find some of its passages only."""

    store: Store
    ids: frozenset[str]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def search_dense(self, vector: FloatArray, k: int, filter: Filter | None = None) -> list[Scored]:
        return self._first(self.store.search_dense(vector, self.store.count(), filter), k)

    def search_sparse(self, vector: SparseVector, k: int, filter: Filter | None = None) -> list[Scored]:
        return self._first(self.store.search_sparse(vector, self.store.count(), filter), k)

    def _first(self, ranked: list[Scored], k: int) -> list[Scored]:
        return [item for item in ranked if item.id in self.ids][:k]
