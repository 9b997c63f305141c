"""What each filter means, and how its dict form is read."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

import numpy as np
import pytest
from filter_cases import ENTRIES, KEYS, LEAVES, ORDERED, VALUES
from hypothesis import given
from hypothesis import strategies as st

from hybrid_core import (
    AllOf,
    And,
    AnyOf,
    Contains,
    Eq,
    Exists,
    Filter,
    FilterError,
    Gt,
    Gte,
    In,
    Lt,
    Lte,
    Ne,
    Nin,
    Not,
    Or,
    TextMatch,
    parse_filter,
)
from hybrid_core.filters import matches

ENTRY = {
    "s": "beta",
    "n": 5,
    "f": 2.5,
    "t": True,
    "none": None,
    "list": ["x", 1, None, True],
    "empty": [],
    "nested": {"a": [1, {"b": 2}]},
    "date": "2024-05-01",
    "title": "Größe der Straße",
}


@pytest.mark.parametrize(
    "expression",
    [
        Eq("s", "beta"), Eq("n", 5), Eq("n", 5.0), Eq("f", 2.5), Eq("t", True), Eq("none", None),
        Eq("list", ["x", 1, None, True]), Eq("list", ("x", 1.0, None, True)), Eq("empty", []),
        Eq("nested", {"a": [1, {"b": 2.0}]}),
        Ne("s", "alpha"), Ne("missing", "beta"), Ne("missing", None), Ne("n", True), Ne("none", 0), Ne("n", "5"),
        Gt("n", 4), Gt("n", 4.9), Gt("f", 2), Gt("s", "alpha"), Gt("date", "2024-04-30"),
        Gte("n", 5), Gte("f", 2.5), Gte("s", "beta"),
        Lt("n", 6), Lt("f", 2.6), Lt("s", "gamma"), Lt("date", "2024-05-01T00:00:00"),
        Lte("n", 5.0), Lte("s", "beta"),
        In("s", ["alpha", "beta"]), In("n", (5, 6)), In("none", [None]), In("list", [["x", 1, None, True]]),
        Nin("s", ["alpha"]), Nin("s", []), Nin("missing", [None, 1]), Nin("t", [1]), Nin("n", [True, "5"]),
        Contains("list", "x"), Contains("list", 1), Contains("list", None), Contains("list", True),
        AnyOf("list", ["y", "x"]), AllOf("list", ["x", 1.0]), AllOf("list", []), AllOf("empty", []),
        Exists("s"), Exists("none"), Exists("empty"), Not(Exists("missing")),
        TextMatch("s", "ET"), TextMatch("s", ""), TextMatch("title", "STRASSE"), TextMatch("title", "grö"),
        TextMatch("title", "Grö", ignore_case=False), Contains("list", 1.0), In("list", (["x", 1, None, True],)),
        And(), And(Eq("n", 5), Eq("s", "beta")), Or(Eq("n", 6), Eq("s", "beta")), Not(Or()), Not(Eq("n", 6)),
        And(Or(Eq("n", 1), And(Gt("n", 2), Not(Eq("s", "x")))), Exists("t")),
    ],
    ids=repr,
)  # fmt: skip
def test_it_holds(expression: Filter) -> None:
    assert matches(expression, ENTRY)


@pytest.mark.parametrize(
    "expression",
    [
        Eq("s", "Beta"), Eq("n", "5"), Eq("n", True), Eq("t", 1), Eq("t", "True"), Eq("none", False), Eq("none", 0),
        Eq("none", ""), Eq("missing", None), Eq("list", ["x", 1, None]), Eq("list", ["x", True, None, True]),
        Eq("list", "x"), Eq("empty", None), Eq("empty", {}), Eq("nested", {"a": [1, {"b": True}]}), Eq("s", ["beta"]),
        Ne("s", "beta"), Ne("none", None), Ne("n", 5.0),
        Gt("n", 5), Gt("n", "4"), Gt("s", 1), Gt("t", 0), Gt("none", 0), Gt("missing", 0), Gt("list", 0),
        Gte("n", 5.1), Gte("t", 1), Lt("n", 5), Lt("missing", 9), Lt("none", 9), Lt("t", 9), Lte("n", 4.9),
        Lte("date", "2024-04-30"), Lt("s", "Beta"),
        In("s", []), In("n", ["5", True]), In("missing", [None]), In("list", ["x"]), In("t", [1]),
        Nin("s", ["beta"]), Nin("n", [5.0]), Nin("none", [None]),
        Contains("list", "y"), Contains("list", False), Contains("s", "e"), Contains("missing", "x"),
        Contains("empty", None), Contains("nested", "a"),
        AnyOf("list", ["y", 2]), AnyOf("list", []), AnyOf("s", ["beta"]), AllOf("list", ["x", "y"]), AllOf("s", []),
        AllOf("missing", []), Exists("missing"), Not(Exists("none")),
        TextMatch("s", "beta "), TextMatch("n", "5"), TextMatch("list", "x"), TextMatch("missing", ""),
        TextMatch("title", "grö", ignore_case=False), TextMatch("title", "strasse", ignore_case=False),
        Or(), And(Eq("n", 5), Eq("n", 6)), Or(Eq("n", 6), Eq("s", "x")), Not(And()),
    ],
    ids=repr,
)  # fmt: skip
def test_it_does_not_hold(expression: Filter) -> None:
    assert not matches(expression, ENTRY)


def test_large_integers_compare_exactly() -> None:
    entry = {"n": 2**63}
    assert matches(Eq("n", 2**63), entry)
    assert not matches(Eq("n", 2**63 + 1), entry)
    assert matches(Lt("n", 2**63 + 1), entry)
    assert not matches(Eq("n", float(2**53)), {"n": 2**53 + 1})


class Language(StrEnum):
    EN = "en"


def test_a_string_of_a_class_of_its_own_is_a_string() -> None:
    for entry, value in (("en", Language.EN), (Language.EN, "en")):
        assert matches(Eq("lang", value), {"lang": entry})
        assert matches(In("lang", [value]), {"lang": entry})
        assert matches(Contains("lang", value), {"lang": [entry]})
        assert matches(Gte("lang", value), {"lang": entry})


def test_tuples_are_lists_wherever_they_stand() -> None:
    entry = {"list": [["a"], {"k": [1]}]}
    assert matches(Contains("list", ("a",)), entry)
    assert matches(Contains("list", {"k": (1.0,)}), entry)
    assert matches(AllOf("list", (("a",), {"k": [1]})), entry)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({}, And()),
        ({"a": 1}, Eq("a", 1)),
        ({"a": None}, Eq("a", None)),
        ({"a": [1, 2]}, Eq("a", [1, 2])),
        ({"a": {}}, Eq("a", {})),
        ({"a": {"b": 1}}, Eq("a", {"b": 1})),
        ({"a": 1, "b": "x"}, And(Eq("a", 1), Eq("b", "x"))),
        ({"a": {"$gt": 2, "$lt": 5}}, And(Gt("a", 2), Lt("a", 5))),
        ({"a": {"$eq": 1}}, Eq("a", 1)),
        ({"a": {"$ne": 1}}, Ne("a", 1)),
        ({"a": {"$gte": 1}}, Gte("a", 1)),
        ({"a": {"$lte": 1}}, Lte("a", 1)),
        ({"a": {"$in": [1, 2]}}, In("a", [1, 2])),
        ({"a": {"$nin": [1, 2]}}, Nin("a", [1, 2])),
        ({"a": {"$contains": "x"}}, Contains("a", "x")),
        ({"a": {"$any": ["x"]}}, AnyOf("a", ["x"])),
        ({"a": {"$all": ["x"]}}, AllOf("a", ["x"])),
        ({"a": {"$text": "x"}}, TextMatch("a", "x")),
        ({"a": {"$neq": 1}}, Ne("a", 1)),
        ({"a": {"$between": [1, 5]}}, And(Gte("a", 1), Lte("a", 5))),
        ({"a": {"$between": ("2024-01-01", "2024-12-31")}}, And(Gte("a", "2024-01-01"), Lte("a", "2024-12-31"))),
        ({"a": {"$not_contains": "x"}}, Not(Contains("a", "x"))),
        ({"a": {"$like": "%Two words%"}}, TextMatch("a", "Two words", ignore_case=False)),
        ({"a": {"$ilike": "%Two words%"}}, TextMatch("a", "Two words")),
        ({"a": {"$eq": {"$gt": 1}}}, Eq("a", {"$gt": 1})),
        ({"a": {"$eq": {"gt": 1}}}, Eq("a", {"gt": 1})),
        ({"and": 1, "or": []}, And(Eq("and", 1), Eq("or", []))),
        ({"$not": [{"a": 1}, {"b": 2}]}, Not(Or(Eq("a", 1), Eq("b", 2)))),
        ({"$not": [Eq("a", 1)]}, Not(Or(Eq("a", 1)))),
        ({"$and": ({"a": 1},)}, And(Eq("a", 1))),
        ({"a": {"$exists": True}}, Exists("a")),
        ({"a": {"$exists": False}}, Not(Exists("a"))),
        ({"$and": [{"a": 1}, {"b": 2}]}, And(Eq("a", 1), Eq("b", 2))),
        ({"$or": [{"a": 1}, Gt("b", 2)]}, Or(Eq("a", 1), Gt("b", 2))),
        ({"$or": []}, Or()),
        ({"$not": {"a": 1}}, Not(Eq("a", 1))),
        ({"$not": Eq("a", 1), "b": 2}, And(Not(Eq("a", 1)), Eq("b", 2))),
        ({"": 1}, Eq("", 1)),
    ],
)
def test_the_dict_form(form: dict[str, Any], expected: Filter) -> None:
    assert parse_filter(form) == expected


def test_a_filter_object_is_returned_as_it_is() -> None:
    expression = And(Eq("a", 1), Not(In("b", ["x"])))
    assert parse_filter(expression) is expression


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ("lang = 'en'", "is no filter"),
        (None, "is no filter"),
        ([("a", 1)], "is no filter"),
        ({"$nor": []}, r"'\$nor'"),
        ({"$gt": 3}, r"'\$gt'"),
        ({"a": {"$near": 1}}, r"'\$near'"),
        ({"a": {"$regex": "x.*"}}, r"'\$regex'"),
        ({"a": {"$gt": 1, "b": 2}}, r"neither a dict of operators.*write \{'\$eq'"),
        ({"a": {"gt": 2020}}, r"neither a dict of operators"),
        ({"a": {"gte": 1, "lt": 5}}, r"neither a dict of operators"),
        ({"and": [{"a": 1}]}, r"'\$and' joins filters"),
        ({"or": [{"a": 1}, {"b": 2}]}, r"'\$or' joins filters"),
        ({"a": {"$between": 3}}, r"\[low, high\]"),
        ({"a": {"$between": [1]}}, r"\[low, high\]"),
        ({"a": {"$between": "ab"}}, r"\[low, high\]"),
        ({"a": {"$between": [1, None]}}, "NoneType"),
        *(
            ({"a": {"$like": one}}, "only '%part%'")
            for one in ("x", "x%", "%x", "%", "%%", "%a_b%", "%a%b%", r"%\%%", 3)
        ),
        ({"a": {"$ilike": "x%"}}, "only '%part%'"),
        ({"$not": 3}, "is no filter"),
        ({"$not": [3]}, "is no filter"),
        ({"a": {"$exists": 1}}, "True or False"),
        ({"$and": {"a": 1}}, "takes a list"),
        ({"$or": "ab"}, "takes a list"),
        ({"$and": ["a"]}, "is no filter"),
        ({"$not": None}, "is no filter"),
        ({1: "a"}, "keys are strings"),
        ({"a": {"$gt": None}}, "NoneType"),
        ({"a": {"$lt": True}}, "bool"),
        ({"a": {"$gte": [1]}}, "list"),
        ({"a": {"$in": "abc"}}, "a list of values"),
        ({"a": {"$all": 3}}, "a list of values"),
        ({"a": {"$text": 3}}, "a string is needed"),
        (Eq(None, 1), "keys are strings"),
        (And(Eq("a", 1), "b"), "'b' is no filter"),
        (Not({"a": 1}), "is no filter"),
        (Or(Gt("a", object())), "object"),
        (Nin("a", {"x"}), "a list of values"),
        (In("a", b"abc"), "a list of values"),
        (Eq, "is no filter"),
        (TextMatch(3, "x"), "keys are strings"),
        (Exists(None), "keys are strings"),
        ({"day": date(2024, 5, 1)}, r"metadata holds no date.*ISO form"),
        (In("n", [1, np.int64(2)]), "metadata holds no int64"),
        (Eq("n", Decimal("1.5")), "metadata holds no Decimal"),
        (Contains("a", b"x"), "metadata holds no bytes"),
        (AnyOf("a", [["x", {"k": {1}}]]), "metadata holds no set"),
        (Eq("a", {1: "x"}), "keys are strings"),
        (Eq("n", float("nan")), "NaN"),
        (Gt("n", float("nan")), "NaN"),
        (Lt("n", 10**4_500), "over 4,000 digits"),
    ],
)
def test_a_malformed_filter_is_named(bad: Any, named: str) -> None:
    with pytest.raises(FilterError, match=named):
        parse_filter(bad)


def test_what_is_nested_too_deep_is_refused_before_python_gives_up() -> None:
    expression: Filter = Eq("a", 1)
    form: dict[str, Any] = {"a": 1}
    value: list[Any] = []
    for _ in range(32):
        expression, form = Not(expression), {"$not": form}
    assert parse_filter(expression) is expression
    assert parse_filter(form) == expression
    for _ in range(100_000):
        expression, form, value = Not(expression), {"$and": [form]}, [value]
    endless: dict[str, Any] = {}
    endless["$or"] = [endless]
    for deep in (expression, form, endless):
        with pytest.raises(FilterError, match="nested over 32 levels"):
            parse_filter(deep)
    with pytest.raises(FilterError, match="nested over 100 levels"):
        parse_filter(Eq("a", value))


@given(st.lists(LEAVES, max_size=4), ENTRIES)
def test_de_morgan(parts: list[Filter], entry: dict[str, Any]) -> None:
    negated = [Not(part) for part in parts]
    assert matches(Not(And(*parts)), entry) == matches(Or(*negated), entry)
    assert matches(Not(Or(*parts)), entry) == matches(And(*negated), entry)


@given(LEAVES, ENTRIES)
def test_not_twice_is_nothing(part: Filter, entry: dict[str, Any]) -> None:
    assert matches(Not(Not(part)), entry) == matches(part, entry)


@given(KEYS, VALUES, st.lists(VALUES, max_size=3), ENTRIES)
def test_ne_is_not_eq_and_nin_is_not_in(key: str, value: Any, values: list[Any], entry: dict[str, Any]) -> None:
    assert matches(Ne(key, value), entry) != matches(Eq(key, value), entry)
    assert matches(Nin(key, values), entry) != matches(In(key, values), entry)
    assert matches(In(key, values), entry) == matches(Or(*(Eq(key, one) for one in values)), entry)


@given(KEYS, ORDERED, ENTRIES)
def test_orders_agree(key: str, value: Any, entry: dict[str, Any]) -> None:
    assert matches(Gte(key, value), entry) == matches(Or(Gt(key, value), Eq(key, value)), entry)
    assert matches(Lte(key, value), entry) == matches(Or(Lt(key, value), Eq(key, value)), entry)
    assert not (matches(Gt(key, value), entry) and matches(Lte(key, value), entry))
