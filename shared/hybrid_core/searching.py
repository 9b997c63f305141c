"""One search: both sides are asked, their lists fused, the passages read, and the reasons kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .checks import check_count, check_mode, check_text
from .choosing import Selection, chosen
from .encoders.base import Encoder
from .errors import InvalidInputError
from .filter_parsing import parse_filter
from .filters import Filter
from .fusion import Fusion
from .rerankers.base import Reranker
from .rerankers.budget import Budget
from .rerankers.stage import Ranked, RerankStage
from .stores.base import Store
from .types import FloatArray, Hit, Mode, Scored, SparseVector, StageScore, TokenMatch

# what a retriever keeps for `HybridIndex.search`, in the order of its parameters
SEARCH_OPTIONS = (
    "k",
    "candidates",
    "filter",
    "mode",
    "rerank",
    "fusion",
    "budget",
    "min_score",
    "instruction",
    "selection",
)


@dataclass(frozen=True, slots=True)
class Request:
    """What a search should return, checked.

    Attributes:
        k: how many hits.
        depth: how many passages each side recalls, and how many of the fused list are reranked; at least k.
        filter: only passages that satisfy it.
        fusion: joins dense and sparse.
        budget, min_score, instruction: as `RerankStage.rank` takes them.
        selection: chooses the k hits from all of the ranked candidates; None takes the best.
    """

    k: int
    depth: int
    filter: Filter | None
    fusion: Fusion
    budget: Budget | None = None
    min_score: float | None = None
    instruction: str | None = None
    selection: Selection | None = None

    @classmethod
    def read(cls, k: int, candidates: int, filter: Filter | Mapping[str, Any] | None, fusion: Fusion) -> Request:
        """Check what a caller asks for.

        Raises:
            InvalidInputError: k or candidates is negative, or the fusion none.
            FilterError: the filter cannot be read.
        """
        check_count(k, "k")
        depth = max(k, check_count(candidates, "candidates"))
        check_part(fusion, Fusion, "fusion")
        return cls(k, depth, None if filter is None else parse_filter(filter), fusion)


def check_part(given: object, protocol: type, name: str) -> None:
    """Raise InvalidInputError unless an object has a protocol's methods: a model's name, say, has not."""
    if not isinstance(given, protocol):
        raise InvalidInputError(f"{name}={given!r:.80} is no {name}; pass an object, not a name")


def check_selection(selection: object) -> None:
    """Raise InvalidInputError unless it is one."""
    if not isinstance(selection, Selection):
        raise InvalidInputError(f"selection={selection!r:.80} is no Selection; pass Selection(diversity=...), say")


def stage_of(reranker: Reranker, kept: RerankStage | None) -> RerankStage:
    """Return the stage kept for a reranker, since it learns its speed, or a new one if the reranker is another."""
    return kept if kept is not None and kept.reranker is reranker else RerankStage(reranker)


def answer(
    store: Store, encoder: Encoder, stage: RerankStage | None, query: str, request: Request, mode: Mode
) -> tuple[list[Hit], SparseVector | None]:
    """Encode a query, find passages for it and rerank them.

    Returns:
        The hits, and the query's sparse vector; None where no hit was asked for.

    Raises:
        InvalidTextError, InvalidInputError: the query or the mode cannot be read.
    """
    check_text(query, "query")
    check_mode(mode)
    if stage is None and (request.budget, request.min_score, request.instruction) != (None, None, None):
        raise InvalidInputError("budget, min_score and instruction are for a reranker, and this search has none")
    selection = request.selection
    if selection is not None:
        check_selection(selection)
    if request.k == 0:
        return [], None
    # a reranker on this very encoder will ask for the query's multi-vectors: the same pass gives them
    multi = stage is not None and getattr(stage.reranker, "encoder", None) is encoder
    encoding = encoder.encode_queries([query], multi=multi)
    dense = None if mode == "sparse" else encoding.dense[0]
    sparse = encoding.sparse_row(0)
    if mode != "dense":
        sparse = store.weigh(sparse)  # once, so that what `explained` shows is what was searched with
    most = request.k if stage is None and selection is None else request.depth
    hits = find(store, request, dense, None if mode == "dense" else sparse, most=most)
    if stage is not None:
        hits = _reranked(stage, query, hits, request, top_n=request.k if selection is None else None)
    if selection is not None:
        hits = chosen(store, encoder, encoding.dense[0], hits, request.k, selection)
    return hits, sparse


def find(
    store: Store, request: Request, dense: FloatArray | None, sparse: SparseVector | None, *, most: int
) -> list[Hit]:
    """Return at most `most` hits for the vectors that are given: both sides' lists fused, or one side's own."""
    if most == 0:
        return []
    lists: dict[str, list[Scored]] = {}
    if dense is not None:
        lists["dense"] = store.search_dense(dense, request.depth, request.filter)
    if sparse is not None:
        lists["sparse"] = store.search_sparse(sparse, request.depth, request.filter)
    if len(lists) == 2:
        lists["fused"] = request.fusion(lists)
    final = list(lists.values())[-1][:most]
    places = {name: _places(ranked) for name, ranked in lists.items()}
    found = store.get([item.id for item in final])
    return [
        Hit(found[id_], score, {name: ranks[id_] for name, ranks in places.items() if id_ in ranks})
        for id_, score in final
        if id_ in found  # a passage that another thread deleted since the search is left out
    ]


def explained(store: Store, encoder: Encoder, sparse: SparseVector, hits: Sequence[Hit]) -> list[Hit]:
    """Return hits with the tokens that each shares with a query's sparse vector."""
    weighed = store.weigh(sparse)
    stored = store.sparse_vectors([hit.passage.id for hit in hits])
    # a passage that another thread deleted since the search keeps its stages, without the tokens
    return [
        replace(hit, matches=_matches(encoder, weighed, stored[hit.passage.id])) if hit.passage.id in stored else hit
        for hit in hits
    ]


def _reranked(stage: RerankStage, query: str, hits: Sequence[Hit], request: Request, *, top_n: int | None) -> list[Hit]:
    """Return the best hits in the order of a reranker's scores, which become theirs; what it left out keeps its own."""
    ranked = stage.rank(
        query,
        [hit.passage.text for hit in hits],
        top_n=top_n,
        budget=request.budget,
        min_score=request.min_score,
        instruction=request.instruction,
    )
    return [_judged(hits[item.position], item) for item in ranked]


def _judged(hit: Hit, item: Ranked) -> Hit:
    score = hit.score if item.score is None else item.score
    return replace(hit, score=score, stages={**hit.stages, **item.stages}, window=item.window)


def _places(ranked: Sequence[Scored]) -> dict[str, StageScore]:
    return {item.id: StageScore(item.score, place) for place, item in enumerate(ranked, start=1)}


def _matches(encoder: Encoder, query: SparseVector, passage: SparseVector) -> tuple[TokenMatch, ...]:
    shared, in_query, in_passage = np.intersect1d(
        query.indices, passage.indices, assume_unique=True, return_indices=True
    )
    weights = zip(query.values[in_query].tolist(), passage.values[in_passage].tolist(), strict=True)
    tokens = encoder.tokens(shared.tolist())
    return tuple(TokenMatch(token, q, p, q * p) for token, (q, p) in zip(tokens, weights, strict=True))
