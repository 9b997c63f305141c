"""Cascades: a cheap reranker over many candidates, a strong one over few."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from stage_helpers import Clock, WordCount, corpus

from hybrid_core import BgeM3Encoder, CrossEncoderReranker, InvalidInputError, LateInteractionReranker, Reranker
from hybrid_core.rerankers.budget import Budget
from hybrid_core.rerankers.cascade import Cascade
from hybrid_core.rerankers.stage import RerankStage
from hybrid_core.types import FloatArray

QUERY = "how does a worker get its tasks?"


class Listed:
    """Scores that are written down, by text; the texts asked for are kept."""

    def __init__(self, name: str, scores: dict[str, float]) -> None:
        self.name, self.scores = name, scores
        self.asked: list[list[str]] = []

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        self.asked.append(list(texts))
        return np.array([self.scores[text] for text in texts], dtype=np.float32)


def pair(depth: int | None = 2) -> tuple[Listed, Listed, Cascade]:
    cheap = Listed("cheap", {"a": 0.25, "b": 0.75, "c": 0.5, "d": 0.125})
    strong = Listed("strong", {"a": 1.0, "b": 0.0, "c": 0.5, "d": 1.0})
    return cheap, strong, Cascade([(cheap, None), (strong, depth)])


def test_the_strong_one_scores_the_best_of_the_cheap_one() -> None:
    cheap, strong, cascade = pair()
    RerankStage(cascade).rank("q", ["a", "b", "c", "d"])
    assert cheap.asked == [["a", "b", "c", "d"]]
    assert strong.asked == [["b", "c"]]


def test_what_a_later_step_scored_ranks_above_the_rest() -> None:
    """b got 0 from the strong one, and still stands above a and d, which it never saw."""
    *_, cascade = pair()
    ranked = RerankStage(cascade).rank("q", ["a", "b", "c", "d"])
    assert [item.position for item in ranked] == [2, 1, 0, 3]
    assert [item.score for item in ranked] == [0.5, 0.0, 0.25, 0.125]


def test_each_candidate_keeps_its_score_and_rank_of_each_step() -> None:
    *_, cascade = pair()
    ranked = RerankStage(cascade).rank("q", ["a", "b", "c", "d"])
    assert [dict(item.stages) for item in ranked] == [
        {"reranked_1": (0.5, 2), "reranked": (0.5, 1)},
        {"reranked_1": (0.75, 1), "reranked": (0.0, 2)},
        {"reranked_1": (0.25, 3)},
        {"reranked_1": (0.125, 4)},
    ]
    assert all(item.scored for item in ranked)


def test_three_steps_are_three_floors() -> None:
    """Of a, b, c the cheap one puts b first, the strong one a, which alone reaches the last."""
    cheap, strong, _ = pair()
    last = Listed("last", {"a": 0.0})
    ranked = RerankStage(Cascade([(cheap, 3), (strong, None), (last, 1)])).rank("q", ["a", "b", "c", "d"])
    assert last.asked == [["a"]]
    assert [item.position for item in ranked] == [0, 2, 1, 3]
    assert [list(item.stages) for item in ranked] == [
        ["reranked_1", "reranked_2", "reranked"],
        ["reranked_1", "reranked_2"],
        ["reranked_1", "reranked_2"],
        [],
    ]


def test_the_first_step_may_have_a_depth_too() -> None:
    cheap, strong, _ = pair()
    ranked = RerankStage(Cascade([(cheap, 2), (strong, 1)])).rank("q", ["a", "b", "c", "d"])
    assert cheap.asked == [["a", "b"]]
    assert strong.asked == [["b"]]
    assert [item.position for item in ranked] == [1, 0, 2, 3]
    assert [item.scored for item in ranked] == [True, True, False, False]


def test_min_score_is_that_of_the_last_step() -> None:
    """c has 0.5 from the strong one, b 0; a and d have no score from it."""
    *_, cascade = pair()
    ranked = RerankStage(cascade).rank("q", ["a", "b", "c", "d"], min_score=0.25)
    assert [item.position for item in ranked] == [2]


def test_as_a_plain_reranker_it_orders_as_the_stage_does() -> None:
    """(k + s) / n: the strong one gives (1 + s) / 2, the cheap one s / 2."""
    *_, cascade = pair()
    assert isinstance(cascade, Reranker)
    assert cascade.name == "cheap > strong"
    assert cascade.score("q", ["a", "b", "c", "d"]).tolist() == [0.125, 0.5, 0.75, 0.0625]
    assert cascade.score("q", []).shape == (0,)


def test_real_rerankers_in_a_row(encoder: BgeM3Encoder) -> None:
    cheap, strong = LateInteractionReranker(encoder), CrossEncoderReranker.tiny()
    texts = corpus()[:12]
    ranked = RerankStage(Cascade([(cheap, None), (strong, 4)])).rank(QUERY, texts)
    first = np.argsort(-cheap.score(QUERY, texts), kind="stable")
    best = first[:4][np.argsort(-strong.score(QUERY, [texts[i] for i in first[:4]]), kind="stable")]
    assert [item.position for item in ranked] == [*best.tolist(), *first[4:].tolist()]


# under one budget


def timed(rates: tuple[float, float], depth: int = 10) -> tuple[WordCount, WordCount, RerankStage, Clock]:
    clock = Clock()
    cheap, strong = (WordCount(clock, fixed=0.0005, rate=rate) for rate in rates)
    return cheap, strong, RerankStage(Cascade([(cheap, None), (strong, depth)]), clock=clock), clock


TEXTS = [f"retry {'word ' * (1 + i % 6)}{i}" for i in range(40)]


def test_both_steps_share_one_budget() -> None:
    """The strong one costs ten times as much a byte; ten texts take it about 60 ms."""
    cheap, strong, stage, clock = timed((1e-5, 1e-4))
    for _ in range(10):
        start = clock.now
        cheap.calls.clear()
        strong.calls.clear()
        stage.rank("retry", TEXTS, budget=Budget(60))
    assert clock.now - start <= 0.060
    assert sum(map(len, cheap.calls)) == 40
    assert 4 <= sum(map(len, strong.calls)) <= 10


def test_the_cheap_step_leaves_half_to_one_that_never_ran() -> None:
    cheap, strong, stage, clock = timed((1e-4, 1e-4))
    stage._costs[0].learn(50, 0.0055)
    stage._costs[0].learn(50, 0.0055)
    start = clock.now
    stage.rank("retry", TEXTS, budget=Budget(60, min_candidates=1))
    spent = 0.0005 * len(cheap.calls) + 1e-4 * sum(len(t) + 5 for texts in cheap.calls for t in texts)
    assert 0.015 <= spent <= 0.030
    assert strong.calls
    assert clock.now - start <= 0.060


def test_a_strong_step_that_needs_little_leaves_the_rest_to_the_cheap_one() -> None:
    """Two texts take the strong one about 4 ms, of which the cheap one need not keep 30."""
    cheap, strong, stage, clock = timed((5e-5, 5e-5), depth=2)
    for _ in range(10):
        start = clock.now
        cheap.calls.clear()
        stage.rank("retry", TEXTS, budget=Budget(60))
    spent = 0.0005 * len(cheap.calls) + 5e-5 * sum(len(t) + 5 for texts in cheap.calls for t in texts)
    assert spent > 0.040
    assert len(strong.calls[-1]) == 2
    assert clock.now - start <= 0.060


def test_every_step_scores_the_least_whatever_the_budget() -> None:
    cheap, strong, stage, _ = timed((1e-4, 1e-4))
    stage.rank("retry", TEXTS, budget=Budget(0.001, min_candidates=4))
    assert (sum(map(len, cheap.calls)), sum(map(len, strong.calls))) == (4, 4)


# what a cascade may be


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([], "at least one"),
        ([WordCount(Clock())], r"step 0 is .* a \(reranker, depth\) pair"),
        ([(WordCount(Clock()), None), ("BAAI/bge-reranker-base", 5)], "step 1 has 'BAAI/bge-reranker-base'"),
        ([(WordCount(Clock()), 0)], "depth of step 0=0"),
        ([(Cascade([(WordCount(Clock()), None)]), 5)], "step 0 is itself a cascade"),
    ],
)
def test_steps_that_are_none_are_named(steps: list[object], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        Cascade(steps)  # type: ignore[arg-type]
