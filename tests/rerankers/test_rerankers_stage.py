"""RerankStage: the one way from candidates to ranked candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from stage_helpers import Clock, WordCount, corpus

from hybrid_core import (
    BgeM3Encoder,
    CrossEncoderReranker,
    EmbeddingError,
    InvalidInputError,
    InvalidTextError,
    LateInteractionReranker,
)
from hybrid_core.rerankers.base import InstructedReranker, WindowedReranker, rank
from hybrid_core.rerankers.budget import Budget
from hybrid_core.rerankers.cascade import Cascade
from hybrid_core.rerankers.stage import Ranked, RerankStage
from hybrid_core.types import FloatArray, StageScore

QUERY = "how does a worker get its tasks?"


@pytest.fixture(scope="module")
def tiny() -> CrossEncoderReranker:
    return CrossEncoderReranker.tiny()


class Obedient:
    """A reranker that looks for the instruction's word, else for its own."""

    name = "obedient"

    def __init__(self) -> None:
        self.instruction = "queue"

    def score(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> FloatArray:
        word = self.instruction if instruction is None else instruction
        return np.array([word in text for text in texts], dtype=np.float32)


class Broken(WordCount):
    """A reranker that fails at one text, naming its place as rerankers do."""

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        if "bad" in texts:
            raise EmbeddingError(f"'broken' returned NaN for text {list(texts).index('bad')}")
        return super().score(query, texts)


def test_it_ranks_as_rank_does(tiny: CrossEncoderReranker) -> None:
    texts = corpus()
    expected = rank(tiny, QUERY, texts)
    ranked = RerankStage(tiny).rank(QUERY, texts)
    assert [(item.position, item.score) for item in ranked] == expected
    assert [item.stages for item in ranked] == [
        {"reranked": StageScore(score, place)} for place, (_, score) in enumerate(expected, start=1)
    ]
    assert all(item.scored and item.window is None for item in ranked)


def test_equal_scores_keep_the_order_given(tiny: CrossEncoderReranker) -> None:
    assert [item.position for item in RerankStage(tiny).rank(QUERY, ["same"] * 5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("top_n", "count"), [(None, 3), (0, 0), (2, 2), (9, 3)])
def test_top_n_says_how_many_come_back(tiny: CrossEncoderReranker, top_n: int | None, count: int) -> None:
    assert len(RerankStage(tiny).rank(QUERY, ["a", "b", "c"], top_n=top_n)) == count


def test_nothing_is_asked_of_the_reranker_for_nothing() -> None:
    reranker = WordCount(Clock())
    stage = RerankStage(reranker)
    assert stage.rank("q", []) == []
    assert stage.rank("q", ["a"], top_n=0) == []
    assert stage.rank("q", [], budget=Budget(1), min_score=0.5) == []
    assert reranker.calls == []


def test_the_window_that_earned_the_score_is_named(tiny: CrossEncoderReranker) -> None:
    long = "\n".join(corpus()[:10])
    ranked = RerankStage(tiny).rank(QUERY, ["short", long])
    windows = {item.position: item.window for item in ranked}
    assert isinstance(tiny, WindowedReranker)
    assert windows == dict(enumerate(tiny.score_windows(QUERY, ["short", long]).windows))
    assert windows[0] is None
    assert windows[1] is not None


def test_a_window_is_that_of_the_last_reranker_that_scored(tiny: CrossEncoderReranker, encoder: BgeM3Encoder) -> None:
    long = "\n".join(corpus()[:10])
    late = LateInteractionReranker(encoder)
    [first] = RerankStage(Cascade([(late, None), (tiny, 1)])).rank(QUERY, [long])
    [second] = RerankStage(Cascade([(tiny, None), (late, 1)])).rank(QUERY, [long])
    assert first.window is not None
    assert second.window is None


# a least score


def test_a_least_score_leaves_out_what_has_less() -> None:
    ranked = RerankStage(WordCount(Clock())).rank("a b", ["a b", "a x", "x y"], min_score=0.5)
    assert [(item.position, item.score) for item in ranked] == [(0, 1.0), (1, 0.5)]


def test_a_least_score_leaves_out_what_was_not_scored() -> None:
    stage = RerankStage(WordCount(Clock()))
    budget = Budget(1, min_candidates=2, max_candidates=2)
    assert len(stage.rank("a", ["a", "a", "a"], budget=budget)) == 3
    assert [item.position for item in stage.rank("a", ["a", "a", "a"], budget=budget, min_score=0.0)] == [0, 1]


def test_a_least_score_comes_before_top_n() -> None:
    ranked = RerankStage(WordCount(Clock())).rank("a", ["x", "a", "a"], min_score=0.5, top_n=2)
    assert [item.position for item in ranked] == [1, 2]


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), True, "0.5"])
def test_a_least_score_that_no_score_can_be_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError, match="min_score="):
        RerankStage(WordCount(Clock())).rank("a", ["a"], min_score=value)  # type: ignore[arg-type]


# instructions


def test_an_instruction_reaches_a_reranker_that_takes_one() -> None:
    reranker = Obedient()
    assert isinstance(reranker, InstructedReranker)
    stage = RerankStage(reranker)
    assert stage.rank("q", ["a queue", "a gateway"])[0].position == 0
    assert stage.rank("q", ["a queue", "a gateway"], instruction="gateway")[0].position == 1
    assert stage.rank("q", ["a gateway", "a queue"], budget=Budget(5), instruction="queue")[0].position == 1


def test_an_instruction_to_one_that_takes_none_is_refused(tiny: CrossEncoderReranker, encoder: BgeM3Encoder) -> None:
    for reranker in (tiny, LateInteractionReranker(encoder), WordCount(Clock())):
        with pytest.raises(InvalidInputError, match=r"instruction='be strict', but .* takes none; leave it out"):
            RerankStage(reranker).rank(QUERY, ["a"], instruction="be strict")


def test_in_a_cascade_an_instruction_reaches_those_that_take_one() -> None:
    cascade = Cascade([(WordCount(Clock()), None), (Obedient(), 2)])
    ranked = RerankStage(cascade).rank("a", ["a queue", "a gateway", "x"], instruction="gateway")
    assert [item.position for item in ranked] == [1, 0, 2]
    with pytest.raises(InvalidInputError, match="takes none"):
        RerankStage(Cascade([(WordCount(Clock()), None)])).rank("a", ["a"], instruction="gateway")


# errors


def test_a_text_that_is_none_is_named_before_anything_is_scored() -> None:
    reranker = WordCount(Clock())
    stage = RerankStage(reranker)
    for budget in (None, Budget(1, min_candidates=1)):
        with pytest.raises(InvalidTextError, match="text 2"):
            stage.rank("q", ["a", "b", "\ud800"], budget=budget)
        with pytest.raises(InvalidTextError, match="query"):
            stage.rank(None, ["a"], budget=budget)  # type: ignore[arg-type]
    with pytest.raises(InvalidTextError, match="instruction"):
        RerankStage(Obedient()).rank("q", ["a"], instruction=5)  # type: ignore[arg-type]
    assert reranker.calls == []


def test_a_negative_top_n_is_named() -> None:
    with pytest.raises(InvalidInputError, match="top_n=-1"):
        RerankStage(WordCount(Clock())).rank("q", ["a"], top_n=-1)


def test_a_name_in_place_of_a_reranker_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'BAAI/bge-reranker-base' is no reranker; pass an object"):
        RerankStage("BAAI/bge-reranker-base")  # type: ignore[arg-type]


def test_an_error_in_a_later_slice_says_which_candidates_it_counts_among() -> None:
    clock = Clock()
    stage = RerankStage(Broken(clock, rate=1e-6), clock=clock)
    texts = ["a", "b", "c", "d", "bad", "e"]
    with pytest.raises(EmbeddingError, match="text 1") as caught:
        stage.rank("q", texts, budget=Budget(1_000))
    assert caught.value.__notes__ == ["texts 0, 1, ... of that call are candidates [3, 4, 5]"]
    with pytest.raises(EmbeddingError, match="text 4") as caught:
        stage.rank("q", texts)
    assert not hasattr(caught.value, "__notes__")


def test_a_candidate_that_was_not_scored_has_no_score() -> None:
    unscored = Ranked(3, {}, None)
    assert (unscored.score, unscored.scored) == (None, False)
