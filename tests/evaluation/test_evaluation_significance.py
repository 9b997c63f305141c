"""Intervals and tests on cases that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hybrid_core import InvalidInputError
from hybrid_core.evaluation import bootstrap_interval, randomisation_test
from hybrid_core.evaluation.comparison import compare


def test_two_values_draw_to_0_a_half_or_1() -> None:
    """Two draws of {0, 1} have the mean 0, 0.5 or 1 with probability 1/4, 1/2, 1/4."""
    assert bootstrap_interval([0.0, 1.0]) == (0.0, 1.0)
    assert bootstrap_interval([0.0, 1.0], confidence=0.4) == (0.5, 0.5)


def test_many_values_give_the_normal_interval() -> None:
    values = np.repeat([0.0, 1.0], 200)
    spread = 1.96 * 0.5 / math.sqrt(400)
    low, high = bootstrap_interval(values.tolist(), resamples=10_000)
    assert (low, high) == pytest.approx((0.5 - spread, 0.5 + spread), abs=0.004)


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    intervals = [bootstrap_interval(rng.random(60).tolist(), resamples=400, confidence=0.9) for _ in range(200)]
    covered = sum(low <= 0.5 <= high for low, high in intervals)
    assert 165 <= covered <= 195  # 180 expected, give or take four standard deviations


def test_equal_values_and_one_value_have_no_width() -> None:
    assert bootstrap_interval([0.3, 0.3, 0.3]) == (0.3, 0.3)
    assert bootstrap_interval([0.3]) == (0.3, 0.3)


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    values = np.random.default_rng(1).random(50).tolist()
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)
    other = np.random.default_rng(2).random(50).tolist()
    assert randomisation_test(values, other, seed=3) == randomisation_test(values, other, seed=3)


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        ([0, 0, 0], [1, 1, 1], 2 / 8),  # of 2^3 exchanges, all and none are as extreme
        ([0, 0, 0, 0], [1, 1, 1, 1], 2 / 16),
        ([0, 0], [1, -1], 1.0),
        ([0, 0, 0], [3, 2, -1], 4 / 8),  # sums +-4: both (3, 2, -1) and its mirror; +-6: (3, 2, 1) and its
        ([0.5, 0.5], [0.5, 0.5], 1.0),
        ([0.1], [0.9], 1.0),
    ],
)
def test_few_queries_are_exchanged_in_every_way(first: list[float], second: list[float], p: float) -> None:
    assert randomisation_test(first, second) == pytest.approx(p)
    assert randomisation_test(second, first) == pytest.approx(p)


def test_many_queries_agree_with_the_t_test() -> None:
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(0)
    first = rng.random(300)
    second = first + rng.normal(0.02, 0.2, 300)
    assert randomisation_test(first.tolist(), second.tolist()) == pytest.approx(
        ttest_rel(first, second).pvalue, abs=0.01
    )


def test_systems_that_are_alike_are_rarely_told_apart() -> None:
    rng = np.random.default_rng(5)
    small = 0
    for _ in range(200):
        first, second = rng.random((2, 40))
        small += randomisation_test(first.tolist(), second.tolist(), resamples=499) < 0.05
    assert small <= 22  # 10 expected, four standard deviations above


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf, 1.0], [[1.0]]])
def test_values_that_are_none_or_no_numbers(values: list[float]) -> None:
    with pytest.raises(InvalidInputError, match="values"):
        bootstrap_interval(values)
    with pytest.raises(InvalidInputError, match="first"):
        randomisation_test(values, [1.0])


def test_arguments_out_of_range() -> None:
    with pytest.raises(InvalidInputError, match="confidence=1"):
        bootstrap_interval([0.0, 1.0], confidence=1)
    with pytest.raises(InvalidInputError, match="resamples=0"):
        bootstrap_interval([0.0, 1.0], resamples=0)
    with pytest.raises(InvalidInputError, match="2 values of one system, 1 of the other"):
        randomisation_test([0.0, 1.0], [1.0])


def test_wins_and_losses_by_hand() -> None:
    baseline = {"a": 0.5, "b": 0.5, "c": 1.0, "d": 0.0}
    system = {"a": 0.75, "b": 1.0, "c": 0.25, "d": 0.0}
    found = compare(baseline, system, names=("old", "new"), metric="RR")
    assert [row.query for row in found.rows] == ["b", "a", "d", "c"]
    assert [row.query for row in found.wins] == ["b", "a"]
    assert [row.query for row in found.losses] == ["c"]
    assert found.ties == 1
    assert found.difference == pytest.approx((0.25 + 0.5 - 0.75 + 0) / 4)
    assert found.p_value == pytest.approx(1.0)
    assert found.interval.low < 0 < found.interval.high
    assert found.as_dict(queries=False) == {
        "metric": "RR", "baseline": "old", "system": "new", "difference": 0.0, "interval": list(found.interval),
        "p_value": found.p_value, "wins": 2, "losses": 1, "ties": 1,
    }  # fmt: skip
    assert found.as_dict()["queries"][0] == {"query": "b", "baseline": 0.5, "system": 1.0, "difference": 0.5}


def test_systems_that_answered_different_queries_cannot_be_compared() -> None:
    with pytest.raises(InvalidInputError, match=r"'old' and 'new'.*2 and 1, 1 in common"):
        compare({"a": 1.0, "b": 1.0}, {"a": 1.0}, names=("old", "new"), metric="RR")
