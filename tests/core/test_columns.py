"""Filters by columns agree with `matches`, row by row."""

from __future__ import annotations

from typing import Any

from filter_cases import ENTRIES, FILTERS
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_core.filters import Eq, Exists, Filter, Gt, Lte, matches
from hybrid_core.stores.columns import Column, evaluate, keys


def by_columns(expression: Filter, rows: list[dict[str, Any]]) -> list[bool]:
    columns = {
        key: Column(key, [(slot, row[key]) for slot, row in enumerate(rows) if key in row], len(rows))
        for key in keys(expression)
    }
    return evaluate(expression, columns, len(rows)).tolist()


@settings(max_examples=500, deadline=None)
@given(st.lists(ENTRIES, max_size=8), FILTERS)
def test_columns_and_matches_say_the_same_of_every_row(rows: list[dict[str, Any]], expression: Filter) -> None:
    """Fault 33: filters agree with brute force for every operator and type."""
    assert by_columns(expression, rows) == [matches(expression, row) for row in rows]


def test_a_range_takes_the_values_between_its_bounds() -> None:
    rows = [{"year": 2020}, {"year": 2021.5}, {"year": "2022"}, {"year": True}, {}]
    assert by_columns(Gt("year", 2020), rows) == [False, True, False, False, False]
    assert by_columns(Lte("year", 2021.5), rows) == [True, True, False, False, False]


def test_one_and_one_point_nought_and_true_are_kept_apart_as_matches_does() -> None:
    rows = [{"a": 1}, {"a": 1.0}, {"a": True}]
    assert by_columns(Eq("a", 1), rows) == [True, True, False]
    assert by_columns(Eq("a", True), rows) == [False, False, True]


def test_an_entry_that_is_none_is_there() -> None:
    assert by_columns(Exists("a"), [{"a": None}, {}, {"a": []}]) == [True, False, True]
