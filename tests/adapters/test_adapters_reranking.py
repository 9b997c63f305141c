"""What there is to say of reranking can be said to both frameworks' retrievers and rerankers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

import langchain_hybrid
import llamaindex_hybrid
from hybrid_core import (
    BgeM3Encoder,
    Budget,
    Cascade,
    CrossEncoderReranker,
    HybridIndex,
    InvalidInputError,
    LateInteractionReranker,
    Passage,
    Reranker,
    RerankStage,
    Selection,
    WeightedSum,
)
from hybrid_core.settings import Settings
from hybrid_core.types import FloatArray

QUESTION = "how does a worker get its tasks?"
LATER = "The gateway rejects requests over the limit. " * 60 + "A worker pulls its tasks from the queue."
ROWS = [
    ("queue", "A worker pulls tasks from the queue.", "worker.md"),
    ("queue-again", "A worker pulls tasks from the queue!", "worker.md"),
    ("retry", "A failed task is tried again, and the wait doubles.", "worker.md"),
    ("limit", "The gateway rejects requests over the limit.", "gateway.md"),
    ("long", LATER, "gateway.md"),
    ("chart", "图例显示在图表的右侧。", "chart.md"),
]
PASSAGES = [Passage(id_, text, {"source": source}) for id_, text, source in ROWS]


class Directed:
    """A user's own reranker that takes an instruction: the share of its words that a text has."""

    name, instruction = "directed", "worker"

    def score(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> FloatArray:
        words = (self.instruction if instruction is None else instruction).split()
        return np.array([sum(word in text for word in words) / len(words) for text in texts], dtype=np.float32)


@pytest.fixture(scope="module")
def cross() -> CrossEncoderReranker:
    return CrossEncoderReranker.tiny()


@pytest.fixture(scope="module")
def late(encoder: BgeM3Encoder) -> LateInteractionReranker:
    return LateInteractionReranker(encoder)


@pytest.fixture(params=["cross", "cascade", "directed"])
def reranker(request: pytest.FixtureRequest, cross: CrossEncoderReranker, late: LateInteractionReranker) -> Reranker:
    made: dict[str, Reranker] = {
        "cross": cross,
        "cascade": Cascade([(late, 4), (cross, None)]),
        "directed": Directed(),
    }
    return made[request.param]


def reranked(cls: str, reranker: Reranker, **options: Any) -> list[tuple[str, float | None, Any]]:
    """Ids, scores and windows that a framework's reranker gives; no score of what it left unscored."""
    if cls == "langchain":
        documents = [Document(p.text, id=p.id, metadata=dict(p.metadata)) for p in PASSAGES]
        left = langchain_hybrid.BgeReranker(reranker=reranker, **options).compress_documents(documents, QUESTION)
        return [(d.id or "", d.metadata.get("relevance_score"), d.metadata.get("best_window")) for d in left]
    nodes = [NodeWithScore(node=TextNode(id_=p.id, text=p.text, metadata=dict(p.metadata))) for p in PASSAGES]
    right = llamaindex_hybrid.BgeReranker(reranker=reranker, **options).postprocess_nodes(nodes, query_str=QUESTION)
    return [(item.node.node_id, item.score, item.node.metadata.get("best_window")) for item in right]


BOTH = pytest.mark.parametrize("framework", ["langchain", "llamaindex"])


@BOTH
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"budget": Budget(milliseconds=60_000, max_candidates=3)},
        {"min_score": 0.3},
        {"budget": Budget(milliseconds=60_000, max_candidates=3), "min_score": 0.0},
    ],
    ids=repr,
)
def test_a_reranker_ranks_as_the_cores_stage_does(framework: str, reranker: Reranker, options: dict[str, Any]) -> None:
    expected = RerankStage(reranker).rank(QUESTION, [p.text for p in PASSAGES], top_n=4, **options)
    found = reranked(framework, reranker, top_n=4, **options)
    windows = [None if item.window is None else list(item.window) for item in expected]
    assert found == [
        (PASSAGES[item.position].id, item.score, window) for item, window in zip(expected, windows, strict=True)
    ]
    assert found


@BOTH
def test_an_instruction_reaches_a_reranker_that_takes_one(framework: str, cross: CrossEncoderReranker) -> None:
    [first] = reranked(framework, Directed(), top_n=1, instruction="gateway limit")
    assert first == ("limit", 1.0, None)
    with pytest.raises(InvalidInputError, match="instruction"):
        reranked(framework, cross, instruction="gateway limit")


@BOTH
def test_the_window_of_a_long_text_is_told(framework: str, cross: CrossEncoderReranker) -> None:
    windows = {id_: window for id_, _, window in reranked(framework, cross, top_n=6)}
    start, end = windows["long"]
    assert 0 <= start < end <= len(LATER)
    assert windows["queue"] is None


@BOTH
def test_a_cap_for_each_document_needs_no_encoder(framework: str, cross: CrossEncoderReranker) -> None:
    every = [id_ for id_, _, _ in reranked(framework, cross, top_n=6)]
    source = {p.id: p.metadata["source"] for p in PASSAGES}
    capped = reranked(framework, cross, top_n=3, selection=Selection(per_parent=1))
    first_of = {source[id_]: id_ for id_ in reversed(every)}
    assert [id_ for id_, _, _ in capped] == [id_ for id_ in every if first_of[source[id_]] == id_]
    assert len(capped) == 3
    assert reranked(framework, cross, top_n=0, selection=Selection(per_parent=1)) == []


@BOTH
def test_near_duplicates_are_left_out_and_diversity_puts_them_last(
    framework: str, cross: CrossEncoderReranker, encoder: BgeM3Encoder
) -> None:
    own: dict[str, Any] = {"reranker": cross, "top_n": 6, "encoder": encoder}
    kept = [id_ for id_, _, _ in reranked(framework, **own, selection=Selection(near_duplicates=0.95))]
    assert len({"queue", "queue-again"} & set(kept)) == 1
    diverse = [id_ for id_, _, _ in reranked(framework, **own, selection=Selection(diversity=0.9))]
    assert len(diverse) == 6
    places = sorted(diverse.index(id_) for id_ in ("queue", "queue-again"))
    assert places[0] == 0
    assert places[1] > 2
    with HybridIndex.open(None, encoder=encoder, reranker=cross) as index:  # the same choice as a search's
        index.add(PASSAGES)
        hits = index.search(QUESTION, 6, selection=Selection(diversity=0.9))
        assert [hit.passage.id for hit in hits] == diverse


@BOTH
def test_a_selection_that_cannot_be_made_is_an_error_before_anything_is_scored(
    framework: str, cross: CrossEncoderReranker
) -> None:
    with pytest.raises(InvalidInputError, match="encoder"):
        reranked(framework, cross, selection=Selection(diversity=0.5))
    with pytest.raises(InvalidInputError, match="top_n"):
        reranked(framework, cross, top_n=-1, selection=Selection(per_parent=1))
    with pytest.raises(ValueError, match="Selection"):
        reranked(framework, cross, selection="diverse")


def test_a_documents_name_may_be_what_json_cannot_hold(cross: CrossEncoderReranker) -> None:
    days: list[Any] = [date(2026, 1, 1), date(2026, 1, 1), Path("a"), None, None]
    documents = [Document("A worker pulls tasks.", id=str(i), metadata={"source": day}) for i, day in enumerate(days)]
    one = langchain_hybrid.BgeReranker(reranker=cross, top_n=5, selection=Selection(per_parent=1))
    assert [d.id for d in one.compress_documents(documents, QUESTION)] == ["0", "2", "3", "4"]


@pytest.fixture
def index(encoder: BgeM3Encoder, cross: CrossEncoderReranker) -> HybridIndex:
    made = HybridIndex.open(None, encoder=encoder, reranker=cross)
    made.add(PASSAGES)
    return made


def retrieved(framework: str, index: HybridIndex, **options: Any) -> list[tuple[str, float]]:
    if framework == "langchain":
        documents = langchain_hybrid.HybridRetriever(index=index, **options).invoke(QUESTION)
        return [(d.id or "", d.metadata["relevance_score"]) for d in documents]
    nodes = llamaindex_hybrid.HybridRetriever(index, **options).retrieve(QUESTION)
    return [(item.node.node_id, item.get_score()) for item in nodes]


def searched(index: HybridIndex, **options: Any) -> list[tuple[str, float]]:
    return [(hit.passage.id, hit.score) for hit in index.search(QUESTION, **options)]


@BOTH
@pytest.mark.parametrize(
    "options",
    [
        {"rerank": False},
        {"rerank": True, "k": 2},
        {"budget": Budget(milliseconds=60_000, min_candidates=1, max_candidates=2)},
        {"min_score": 0.3},
        {"selection": Selection(near_duplicates=0.95), "k": 6},
        {"selection": Selection(per_parent=1)},
        {"selection": Selection(diversity=0.8), "k": 3},
        {"selection": Selection(diversity=0.8), "k": 3, "rerank": False},
    ],
    ids=repr,
)
def test_a_retriever_takes_what_a_search_takes(framework: str, index: HybridIndex, options: dict[str, Any]) -> None:
    assert retrieved(framework, index, **options) == searched(index, **options)
    assert retrieved(framework, index) == searched(index) != retrieved(framework, index, **options)


@BOTH
def test_a_cascade_and_an_instruction_come_with_the_index(
    framework: str, index: HybridIndex, cross: CrossEncoderReranker, late: LateInteractionReranker
) -> None:
    index.reranker = Cascade([(late, 3), (Directed(), None)])
    options = {"k": 6, "instruction": "gateway limit"}
    assert retrieved(framework, index, **options) == searched(index, **options)
    index.reranker = cross
    with pytest.raises(InvalidInputError, match="instruction"):
        retrieved(framework, index, **options)


@BOTH
def test_what_a_retriever_does_not_say_is_left_to_the_indexs_settings(
    framework: str, encoder: BgeM3Encoder, cross: CrossEncoderReranker
) -> None:
    chosen = Settings(k=2, candidates=3, rerank=False, fusion=WeightedSum.from_alpha(1.0))
    with HybridIndex.open(None, encoder=encoder, reranker=cross, settings=chosen) as index:
        index.add(PASSAGES)
        own = {"k": 2, "candidates": 3, "rerank": False, "fusion": WeightedSum.from_alpha(1.0)}
        assert retrieved(framework, index) == searched(index) == searched(index, **own)
        assert len(retrieved(framework, index)) == 2
        assert len(retrieved(framework, index, k=3)) == 3  # and its own word wins
        assert retrieved(framework, index, rerank=True) == searched(index, rerank=True) != searched(index)
