"""Latency budgets: what is learned of costs, and how many candidates that buys. Time is a clock that tests move."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import numpy as np
import pytest
from stage_helpers import Clock, WordCount

from hybrid_core import CrossEncoderReranker, InvalidInputError
from hybrid_core.costs import CostModel, sizes
from hybrid_core.rerankers.budget import Budget, Slicer
from hybrid_core.rerankers.stage import RerankStage

QUERY = "retry"
TEXTS = [f"{'retry ' * (i % 7)}word {i:02} {'and more ' * (i % 5)}" for i in range(40)]


def stage_of(load: Callable[[], float] | None = None, *, fixed: float = 0.001, rate: float = 2e-5) -> RerankStage:
    clock = Clock()
    return RerankStage(WordCount(clock, fixed=fixed, rate=rate, load=load), clock=clock)


def call(stage: RerankStage, milliseconds: float, **bounds: int) -> tuple[int, float]:
    """Return how many candidates were scored, and the milliseconds that passed."""
    start = stage._clock()
    ranked = stage.rank(QUERY, TEXTS, budget=Budget(milliseconds, **bounds))
    return sum(item.scored for item in ranked), 1e3 * (stage._clock() - start)


def fitting(milliseconds: float, *, fixed: float = 0.001, rate: float = 2e-5) -> int:
    """Return how many candidates one call would score in that time."""
    seconds = fixed + rate * np.cumsum([len(text) + len(QUERY) for text in TEXTS])
    return int(np.sum(seconds <= milliseconds / 1e3))


# what a budget may be


@pytest.mark.parametrize("milliseconds", [0, -1, -0.5, math.nan, math.inf, True, "100", None])
def test_milliseconds_that_are_no_time_are_refused(milliseconds: object) -> None:
    with pytest.raises(InvalidInputError, match="milliseconds="):
        Budget(milliseconds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"min_candidates": -1}, "min_candidates=-1"),
        ({"min_candidates": -3}, "min_candidates=-3"),
        ({"max_candidates": 0}, "max_candidates=0"),
        ({"max_candidates": 2.5}, "max_candidates=2.5"),
        ({"max_candidates": 2}, "max_candidates=2 is below min_candidates=3"),
    ],
)
def test_bounds_out_of_range_are_named(bounds: dict[str, int], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        Budget(100, **bounds)


def test_a_number_in_place_of_a_budget_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"budget=100 is no Budget; pass Budget\(milliseconds="):
        stage_of().rank(QUERY, TEXTS, budget=100)  # type: ignore[arg-type]


# what is learned


def test_a_text_weighs_its_bytes_and_the_querys_but_no_indentation() -> None:
    assert sizes("abc", ["", "é", "网关", "a\n\t  b "]).tolist() == [19, 21, 25, 22]


def test_nothing_is_known_before_the_first_measurement() -> None:
    assert CostModel().forecast() is None


def test_the_first_measurement_stands_for_a_rate_and_is_forgotten_at_the_second() -> None:
    costs = CostModel()
    costs.learn(100, 5.0)
    first = costs.forecast()
    assert first is not None
    assert first.seconds(200.0) == pytest.approx(10.0, rel=1e-6)
    costs.learn(100, 0.1)
    second = costs.forecast()
    assert second is not None
    assert second.seconds(200.0) == pytest.approx(0.2, rel=1e-6)


def test_a_line_is_found_again() -> None:
    """0.01 s a slice and 0.001 s a byte; the fixed part is held back a little."""
    costs = CostModel()
    for size in [5, 10, 20, 40, 80] * 8:
        costs.learn(size, 0.01 + 0.001 * size)
    forecast = costs.forecast()
    assert forecast is not None
    assert forecast.fixed == pytest.approx(0.01, rel=0.1)
    assert forecast.rate == pytest.approx(0.001, rel=0.05)
    assert forecast.margin == pytest.approx(1.03, abs=0.02)
    assert forecast.reach == 320


def test_sizes_that_are_all_alike_are_taken_as_a_rate() -> None:
    """Twice the size is then expected to take twice as long: too long, if anything."""
    costs = CostModel()
    for _ in range(10):
        costs.learn(100, 0.2)
    forecast = costs.forecast()
    assert forecast is not None
    assert forecast.seconds(200.0) == pytest.approx(0.4, rel=1e-3)


def test_stalls_widen_the_margin_and_leave_the_line() -> None:
    costs = CostModel()
    for i in range(60):
        costs.learn(100, 1.0 if i % 10 == 5 else 0.1)
    forecast = costs.forecast()
    assert forecast is not None
    assert forecast.seconds(100.0) == pytest.approx(0.1, rel=0.15)
    assert forecast.margin == 3.0  # at most


def test_a_machine_that_got_slower_is_believed_after_some_slices() -> None:
    costs = CostModel()
    for i in range(120):
        costs.learn(100, 0.1 if i < 60 else 0.3)
    forecast = costs.forecast()
    assert forecast is not None
    assert forecast.margin * forecast.seconds(100.0) == pytest.approx(0.3, rel=0.15)


def test_time_that_falls_with_size_is_taken_as_the_same_for_all() -> None:
    costs = CostModel()
    for size, seconds in [(10, 0.4), (20, 0.3), (40, 0.2)] * 3:
        costs.learn(size, seconds)
    forecast = costs.forecast()
    assert forecast is not None
    assert forecast.rate == 0
    assert 0.2 < forecast.fixed < 0.4


# slices


def learned(slices: int = 40) -> CostModel:
    """Costs of 1 ms a byte on a steady machine: margin 1.04."""
    costs = CostModel()
    for i in range(slices):
        costs.learn(10.0 + i, 0.001 * (10.0 + i))
    return costs


def test_a_slice_is_what_fits_with_the_margin() -> None:
    """50 ms and a margin of 1.04 are 48 bytes: four texts of 10."""
    slicer = Slicer(learned(), np.full(20, 10.0), least=1)
    assert slicer.next(0.05) == 4
    assert slicer.next(0.0) == 1  # the least


def test_no_more_is_taken_when_the_next_would_not_end_in_time() -> None:
    slicer = Slicer(learned(), np.full(20, 10.0), least=1)
    slicer.learn(slicer.next(0.05), 0.04)
    assert slicer.next(0.01) == 0
    assert slicer.next(0.011) == 1


@pytest.mark.parametrize(("took", "following"), [(0.18, 4), (0.09, 9), (0.045, 19)])
def test_a_slice_that_took_half_or_twice_as_long_doubles_or_halves_what_follows(took: float, following: int) -> None:
    """Nine texts were to take 90 ms; with 100 ms left and a margin of 1.04, 96 ms are worth as many again."""
    slicer = Slicer(learned(), np.full(40, 10.0), least=1)
    assert slicer.next(0.1) == 9
    slicer.learn(9, took)
    assert slicer.next(0.1) == following


def test_a_call_needs_a_narrow_margin_once_its_first_slice_has_told_what_its_texts_are_like() -> None:
    """Texts of one call are alike, those of the next twice as slow: of 100 ms all but a few are used."""
    costs = CostModel()
    for number in range(40):
        slower = 1 + number % 2
        slicer = Slicer(costs, np.full(200, 10.0), least=1)
        left = 1.0
        while count := slicer.next(left):
            slicer.learn(count, slower * 0.01 * count)
            left -= slower * 0.01 * count
        assert left >= 0 or number < 10
    forecast = costs.forecast()
    assert forecast is not None
    assert forecast.margin > 1.3
    assert forecast.again < 1.1
    assert slicer.done in (48, 49, 50)  # fifty would fit


def test_a_slice_is_at_most_four_times_what_was_ever_measured() -> None:
    """Largest of the measured: 49 bytes."""
    slicer = Slicer(learned(), np.full(100, 10.0), least=1)
    assert slicer.next(1e9) == 19
    slicer.learn(19, 0.19)
    assert slicer.next(1e9) == 76


def test_a_text_beyond_reach_is_tried_alone() -> None:
    assert Slicer(learned(), np.array([5_000.0, 10.0]), least=1).next(1e9) == 1


def test_with_no_least_nothing_is_scored_where_nothing_fits() -> None:
    slicer = Slicer(learned(), np.full(3, 10.0), least=0)
    assert slicer.next(0.01) == 0
    assert slicer.next(0.011) == 1


def test_with_no_least_one_is_scored_as_long_as_nothing_is_known() -> None:
    assert Slicer(CostModel(), np.full(3, 10.0), least=0).next(1e-9) == 1


def test_no_candidates_are_no_slice() -> None:
    assert Slicer(CostModel(), np.empty(0), least=0).next(1.0) == 0


def test_a_slow_first_call_does_not_keep_the_second_from_scoring() -> None:
    costs = CostModel()
    for seconds, asked in [(0.5, 1), (0.001, 1), (0.003, 3)]:
        slicer = Slicer(costs, np.full(3, 10.0), least=0)
        assert slicer.next(0.02) == asked
        slicer.learn(asked, seconds)


def test_after_many_calls_that_could_score_nothing_one_finds_out_whether_the_machine_got_faster() -> None:
    """A text took 100 ms and now takes 1 ms, so that 20 ms are enough."""
    costs = CostModel()
    for _ in range(40):
        costs.learn(10.0, 0.1)
    asked = []
    for _ in range(40):
        slicer = Slicer(costs, np.full(3, 10.0), least=0)
        asked.append(slicer.next(0.02))
        slicer.learn(asked[-1], 0.001 * asked[-1]) if asked[-1] else None
    assert asked == [0] * 31 + [1] + [3] * 8


def test_all_candidates_scored_is_the_end() -> None:
    slicer = Slicer(learned(), np.full(3, 10.0), least=5)
    slicer.learn(slicer.next(0.0), 0.03)
    assert slicer.done == 3
    assert slicer.next(1e9) == 0


# calls


def test_the_first_call_begins_with_the_least_and_grows() -> None:
    """Three texts cost 1 ms and 20 us a byte; what that predicts is trusted up to four times as far."""
    stage = stage_of()
    count, took = call(stage, 100)
    lengths = [len(texts) for texts in stage.reranker.calls]  # type: ignore[attr-defined]
    assert lengths[0] == 3
    assert lengths[1] > 3
    assert count == sum(lengths)
    assert took <= 100


@pytest.mark.parametrize("milliseconds", [5, 10, 20, 30])
def test_on_a_steady_machine_nearly_all_that_fits_is_scored(milliseconds: float) -> None:
    stage = stage_of()
    results = [call(stage, milliseconds) for _ in range(20)]
    assert all(took <= milliseconds for _, took in results[1:])
    late = results[5:]
    assert min(count for count, _ in late) >= 0.85 * fitting(milliseconds)
    assert max(count for count, _ in late) <= fitting(milliseconds)


def test_few_slices_are_needed() -> None:
    stage = stage_of()
    for _ in range(10):
        call(stage, 20)
    stage.reranker.calls.clear()  # type: ignore[attr-defined]
    call(stage, 20)
    assert len(stage.reranker.calls) <= 2  # type: ignore[attr-defined]


def test_the_least_is_scored_whatever_the_budget_and_nothing_beyond_it() -> None:
    stage = stage_of()
    for _ in range(3):
        assert call(stage, 0.001, min_candidates=4)[0] == 4


def test_without_a_least_a_budget_that_is_worth_nothing_keeps_the_order() -> None:
    stage = stage_of()
    for _ in range(2):  # the first that measures pays for what a model sets up once, so a second does too
        assert call(stage, 0.001, min_candidates=0)[0] == 1
    ranked = stage.rank(QUERY, TEXTS, budget=Budget(0.001, min_candidates=0))
    assert [item.position for item in ranked] == list(range(len(TEXTS)))
    assert not any(item.scored for item in ranked)


def test_the_most_is_never_exceeded() -> None:
    stage = stage_of()
    for _ in range(3):
        assert call(stage, 1e6, max_candidates=7)[0] == 7


def test_a_slow_first_call_is_soon_forgotten() -> None:
    """What a model sets up once takes half a second."""
    loads = iter([500.0])
    stage = stage_of(lambda: next(loads, 1.0))
    assert call(stage, 20)[0] == 3
    counts = [call(stage, 20)[0] for _ in range(4)]
    assert counts[-1] >= 0.85 * fitting(20)


def test_a_machine_that_gets_busy_in_between_breaks_few_budgets() -> None:
    """From one call to the next everything takes 1.8 times as long."""
    load = [1.0]
    stage = stage_of(lambda: load[0])
    for _ in range(30):
        call(stage, 20)
    load[0] = 1.8
    busy = [call(stage, 20) for _ in range(30)]
    assert sum(took > 22 for _, took in busy) <= 3
    assert np.mean([count for count, _ in busy[10:]]) >= 0.85 * fitting(20 / 1.8)
    load[0] = 1.0
    idle = [call(stage, 20) for _ in range(40)]
    assert sum(took > 22 for _, took in idle) == 0
    assert np.mean([count for count, _ in idle]) >= 0.85 * fitting(20)


def stalls(seed: int) -> Iterator[float]:
    """Loads of a machine whose other core is busy: uneven, and now and then a pause."""
    random = np.random.default_rng(seed)
    while True:
        yield float(1.4 * random.lognormal(0, 0.12) + (random.random() < 0.05) * random.exponential(1.0))


@pytest.mark.parametrize("milliseconds", [20, 30])
def test_on_an_unsteady_machine_nineteen_of_twenty_calls_end_in_time(milliseconds: float) -> None:
    loads = stalls(0)
    stage = stage_of(lambda: next(loads))
    results = [call(stage, milliseconds) for _ in range(500)]
    assert np.mean([took <= 1.1 * milliseconds for _, took in results]) >= 0.95
    expected = fitting(milliseconds / 1.45)  # the mean load
    assert np.mean([count for count, _ in results]) >= 0.85 * expected


def test_calls_without_a_budget_teach_too() -> None:
    stage = stage_of()
    for _ in range(2):
        assert all(item.scored for item in stage.rank(QUERY, TEXTS))
    count, took = call(stage, 20)
    assert took <= 20
    assert count >= 0.8 * fitting(20)


def test_what_is_left_out_stays_in_the_order_given_below_the_rest() -> None:
    stage = stage_of()
    ranked = stage.rank(QUERY, TEXTS, budget=Budget(5, min_candidates=5, max_candidates=10))
    count = sum(item.scored for item in ranked)
    assert 5 <= count <= 10
    assert sorted(item.position for item in ranked[:count]) == list(range(count))
    assert [item.position for item in ranked[count:]] == list(range(count, len(TEXTS)))
    assert [item.score for item in ranked[:count]] == sorted((item.score for item in ranked[:count]), reverse=True)  # type: ignore[type-var]
    assert all(item.score is None and not item.stages for item in ranked[count:])


def test_texts_are_scored_in_the_order_given_each_once() -> None:
    stage = stage_of()
    for _ in range(5):
        stage.reranker.calls.clear()  # type: ignore[attr-defined]
        count, _ = call(stage, 12)
        asked = [text for texts in stage.reranker.calls for text in texts]  # type: ignore[attr-defined]
        assert asked == TEXTS[:count]


def test_time_before_the_first_score_counts() -> None:
    """A clock that moves by a millisecond whenever it is read."""
    ticks = cycle([0.001])
    clock = Clock()

    def read() -> float:
        clock.now += next(ticks)
        return clock.now

    stage = RerankStage(WordCount(clock, rate=2e-5), clock=read)
    for _ in range(10):
        start = clock.now
        stage.rank(QUERY, TEXTS, budget=Budget(20))
    assert clock.now - start <= 0.022


def test_scores_under_a_budget_are_those_without() -> None:
    tiny = CrossEncoderReranker.tiny()
    stage = RerankStage(tiny)
    expected = tiny.score(QUERY, TEXTS)
    for _ in range(3):
        ranked = stage.rank(QUERY, TEXTS, budget=Budget(10_000, max_candidates=20))
        scored = {item.position: item.score for item in ranked if item.scored}
        assert len(scored) >= 3
        for position, score in scored.items():
            assert score == pytest.approx(expected[position], abs=1e-6)


def test_threads_may_share_a_stage() -> None:
    stage = RerankStage(CrossEncoderReranker.tiny())
    expected = [item.position for item in stage.rank(QUERY, TEXTS[:12])]
    with ThreadPoolExecutor(8) as threads:
        budget = Budget(60_000, max_candidates=12)
        for ranked in threads.map(lambda _: stage.rank(QUERY, TEXTS[:12], budget=budget), range(24)):
            assert [item.position for item in ranked if item.scored] == [
                position for position in expected if position < sum(item.scored for item in ranked)
            ]
