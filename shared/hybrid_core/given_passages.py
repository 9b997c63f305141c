"""Passages that no index holds, as frameworks hand them over: reranked, and chosen from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .checks import check_count
from .choosing import Selection, choose
from .encoders.base import Encoder
from .errors import InvalidInputError
from .rerankers.budget import Budget
from .rerankers.stage import Ranked, RerankStage
from .searching import check_selection
from .types import BEST_WINDOW, Hit, Metadata, Passage

# what a framework's reranker keeps for `rank_given`, in the order of its parameters
RERANK_OPTIONS = ("top_n", "budget", "min_score", "instruction", "selection", "encoder")


def rank_given(
    stage: RerankStage,
    query: str,
    given: Sequence[tuple[str, Metadata]],
    *,
    top_n: int,
    budget: Budget | None = None,
    min_score: float | None = None,
    instruction: str | None = None,
    selection: Selection | None = None,
    encoder: Encoder | None = None,
) -> list[Ranked]:
    """Rerank passages that come from anywhere.

    Args:
        stage: the reranker.
        query: what they should answer.
        given: text and metadata of each, best first so far.
        top_n: how many to return.
        budget: as `RerankStage.rank` takes it.
        min_score: likewise.
        instruction: likewise.
        selection: chooses among all that were ranked; None takes the best.
        encoder: gives the dense vectors for a selection by vector.

    Raises:
        InvalidInputError: the selection is none, or compares vectors and there is no encoder; and as
            `RerankStage.rank` raises.
    """
    check_count(top_n, "top_n")
    if selection is not None:
        check_selection(selection)
        if selection.by_vector and encoder is None:
            raise InvalidInputError(f"{selection!r} compares dense vectors: pass encoder=..., whose vectors they are")
    ranked = stage.rank(
        query,
        [text for text, _ in given],
        top_n=None if selection is not None and top_n else top_n,
        budget=budget,
        min_score=min_score,
        instruction=instruction,
    )
    if selection is None or not ranked:
        return ranked
    vectors = asked = None
    if selection.by_vector and encoder is not None:
        vectors = encoder.encode_documents([given[item.position][0] for item in ranked]).dense
        asked = encoder.encode_queries([query]).dense[0]
    parents = [given[item.position][1].get(selection.parent) for item in ranked]
    named = [{} if parent is None else {selection.parent: repr(parent)} for parent in parents]  # JSON holds not all
    hits = [Hit(Passage(str(i), "", named[i]), 0.0, item.stages) for i, item in enumerate(ranked)]
    return [ranked[int(hit.passage.id)] for hit in choose(hits, top_n, selection, vectors=vectors, query=asked)]


def note_window(metadata: dict[str, Any], item: Ranked) -> None:
    """Put the window that earned a score into metadata, in place of what another reranker left there."""
    if item.scored:
        metadata.pop(BEST_WINDOW, None)
    if item.window is not None:
        metadata[BEST_WINDOW] = list(item.window)
