"""HybridTranslator: LangChain's structured queries as filters, agreeing with what they say."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.structured_query import Comparator, Comparison, Operation, Operator, StructuredQuery

from hybrid_core import And, Contains, Eq, FilterError, Gte, In, Nin, Not, Or, TextMatch
from hybrid_core.filters import matches
from langchain_hybrid import HybridTranslator

DATE = {"date": "2024-05-01", "type": "date"}
TIME = {"datetime": "2024-05-01T10:00:00", "type": "datetime"}
ENTRY = {
    "lang": "en",
    "year": 2024,
    "tags": ["Jobs", "queue"],
    "title": "The Task Queue",
    "day": "2024-05-01",
    "at": None,
}


def compared(comparator: Comparator, key: str, value: Any) -> Any:
    return HybridTranslator().visit_comparison(Comparison(comparator, key, value))


@pytest.mark.parametrize(
    ("comparator", "key", "yes", "no"),
    [
        (Comparator.EQ, "lang", "en", "zh"),
        (Comparator.NE, "lang", "zh", "en"),
        (Comparator.GT, "year", 2023, 2024),
        (Comparator.GTE, "year", 2024, 2025),
        (Comparator.LT, "year", 2025, 2024),
        (Comparator.LTE, "year", 2024, 2023),
        (Comparator.CONTAIN, "tags", "queue", "que"),
        (Comparator.CONTAIN, "title", "task", "worker"),
        (Comparator.LIKE, "title", "%task%", "%worker%"),
        (Comparator.LIKE, "title", "task", "tags"),
        (Comparator.IN, "lang", ["en", "zh"], ["zh"]),
        (Comparator.IN, "lang", "en", "zh"),
        (Comparator.NIN, "lang", ["zh"], ["en"]),
        (Comparator.NIN, "missing", ["zh"], None),
        (Comparator.GTE, "day", DATE, {"date": "2024-05-02", "type": "date"}),
        (Comparator.LT, "day", TIME, DATE),
        (Comparator.IN, "day", [DATE], [TIME]),
        (Comparator.EQ, "tags", ["Jobs", "queue"], ["Jobs"]),
    ],
)
def test_a_comparison_holds_of_what_it_says(comparator: Comparator, key: str, yes: Any, no: Any) -> None:
    assert matches(compared(comparator, key, yes), ENTRY)
    if no is not None:
        assert not matches(compared(comparator, key, no), ENTRY)


def test_every_comparator_and_operator_is_known() -> None:
    translator = HybridTranslator()
    for comparator in Comparator:
        assert translator.visit_comparison(Comparison(comparator, "key", "value")) is not None
    assert set(translator.allowed_comparators) == set(Comparator)
    assert set(translator.allowed_operators) == set(Operator)


def test_operations_nest() -> None:
    en, new, held = (
        Comparison(Comparator.EQ, "lang", "en"),
        Comparison(Comparator.GTE, "year", 2024),
        Comparison(Comparator.CONTAIN, "tags", 3),
    )
    either = Operation(Operator.OR, [new, held])
    made = HybridTranslator().visit_operation(Operation(Operator.AND, [en, Operation(Operator.NOT, [either])]))
    assert made == And(Eq("lang", "en"), Not(Or(Or(Gte("year", 2024), Contains("tags", 3)))))
    none = HybridTranslator().visit_operation(Operation(Operator.NOT, [en, new]))
    assert not matches(none, {"lang": "en", "year": 1})
    assert not matches(none, {"lang": "zh", "year": 2024})
    assert matches(none, {"lang": "zh", "year": 1})


def test_a_structured_query_is_its_query_and_the_filter_of_a_search() -> None:
    translator = HybridTranslator()
    assert translator.visit_structured_query(StructuredQuery("tasks", None)) == ("tasks", {})
    query = StructuredQuery("tasks", Comparison(Comparator.IN, "lang", ["en"]), limit=3)
    assert translator.visit_structured_query(query) == ("tasks", {"filter": In("lang", ["en"])})
    assert compared(Comparator.NIN, "lang", "en") == Nin("lang", ["en"])
    assert compared(Comparator.CONTAIN, "a", "b") == Or(Contains("a", "b"), TextMatch("a", "b"))


@pytest.mark.parametrize(
    ("comparator", "key", "value"),
    [
        (Comparator.LIKE, "title", "%"),
        (Comparator.LIKE, "title", "a%b"),
        (Comparator.LIKE, "title", 3),
        (Comparator.GT, "year", True),
        (Comparator.GT, "year", [1]),
        (Comparator.EQ, "year", float("nan")),
        (Comparator.EQ, "$or", 1),
    ],
)
def test_what_a_model_makes_up_is_an_error_naming_the_key(comparator: Comparator, key: str, value: Any) -> None:
    with pytest.raises(FilterError, match=key.replace("$", r"\$")):
        compared(comparator, key, value)
