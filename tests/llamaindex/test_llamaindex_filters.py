"""LlamaIndex's MetadataFilters mean here what LlamaIndex says of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.vector_stores import (
    ExactMatchFilter,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from hybrid_core import (
    AllOf,
    And,
    AnyOf,
    BgeM3Encoder,
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
)
from hybrid_core.filters import matches
from llamaindex_hybrid import HybridRetriever
from llamaindex_hybrid.filters import to_filter


def one(key: str, operator: str, value: Any) -> MetadataFilter:
    return MetadataFilter(key=key, value=value, operator=FilterOperator(operator))


@pytest.mark.parametrize(
    ("given_filter", "expected"),
    [
        (one("a", "==", 1), Eq("a", 1)),
        (one("a", "==", ["x", "y"]), Eq("a", ["x", "y"])),
        (ExactMatchFilter(key="a", value="x"), Eq("a", "x")),
        (one("a", "!=", "x"), Ne("a", "x")),
        (one("a", ">", 1.5), Gt("a", 1.5)),
        (one("a", ">=", "2024-05-01"), Gte("a", "2024-05-01")),
        (one("a", "<", 1), Lt("a", 1)),
        (one("a", "<=", 1), Lte("a", 1)),
        (one("a", "in", [1, 2]), In("a", [1, 2])),
        (one("a", "nin", ["x"]), Nin("a", ["x"])),
        (one("a", "any", ["x"]), AnyOf("a", ["x"])),
        (one("a", "all", ["x"]), AllOf("a", ["x"])),
        (one("a", "contains", "x"), Contains("a", "x")),
        (one("a", "text_match", "Part"), TextMatch("a", "Part", ignore_case=False)),
        (one("a", "text_match_insensitive", "Part"), TextMatch("a", "Part")),
        (one("a", "is_empty", None), Or(Not(Exists("a")), In("a", [None, ""]), Eq("a", []))),
    ],
    ids=str,
)
def test_each_operator_has_one_meaning(given_filter: MetadataFilter, expected: Filter) -> None:
    assert to_filter(given_filter) == expected
    assert to_filter(MetadataFilters(filters=[given_filter])) == And(expected)


def test_every_operator_and_every_condition_is_read() -> None:
    for operator in FilterOperator:
        value: Any = ["x"] if operator.value in ("in", "nin", "any", "all") else "x"
        assert to_filter(one("a", operator.value, value)) is not None
    for condition in (*FilterCondition, None):
        assert to_filter(MetadataFilters(filters=[one("a", "==", 1)], condition=condition)) is not None


def test_groups_nest() -> None:
    a, b, c = (one(key, "==", 1) for key in "abc")
    nested = MetadataFilters(
        condition=FilterCondition.OR,
        filters=[
            MetadataFilters(condition=FilterCondition.NOT, filters=[a, b]),
            MetadataFilters(filters=[c, MetadataFilters(condition=None, filters=[a])]),
        ],
    )
    expected = Or(Not(Or(Eq("a", 1), Eq("b", 1))), And(Eq("c", 1), And(Eq("a", 1))))
    assert to_filter(nested) == expected


def test_nothing_to_filter_by_is_no_filter_and_an_empty_group_holds_of_everything() -> None:
    assert to_filter(None) is None
    for condition in (*FilterCondition, None):
        empty = MetadataFilters(filters=[], condition=condition)
        assert to_filter(empty) is None
        inside = to_filter(MetadataFilters(filters=[empty, one("a", "==", 1)]))
        assert inside == And(And(), Eq("a", 1))


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (one("a", "in", "abc"), "'a' in 'abc': a list of values is needed"),
        (one("a", "nin", 3), "a list of values is needed"),
        (one("a", "any", "x"), "a list of values is needed"),
        (one("a", "all", 1.5), "a list of values is needed"),
        (one("a", "==", None), "IS_EMPTY asks for"),
        (one("a", "!=", None), "IS_EMPTY asks for"),
        (one("a", ">", ["x"]), "only numbers and strings have an order"),
        (one("a", "text_match", 3), "a string is needed"),
        (MetadataFilters.model_construct(filters=["lang = 'en'"], condition=FilterCondition.AND), "is neither"),
        ({"lang": "en"}, "is neither"),
    ],
    ids=str,
)
def test_what_has_no_clear_meaning_is_refused(bad: Any, named: str) -> None:
    with pytest.raises(FilterError, match=named):
        to_filter(bad)


def kind_of(value: Any) -> type:
    return float if isinstance(value, (int, float)) else type(value)


# no booleans, which MetadataFilter does not take; strings asked for what lists hold would be taken apart by Python's `in`
SCALARS = st.integers(-2, 2) | st.sampled_from([0.5, 1.0, "", "a", "b", "A", "ab"])
ENTRY = st.none() | SCALARS | st.lists(st.sampled_from("ab"), max_size=2)
METADATA = st.dictionaries(st.sampled_from("xyz"), ENTRY, max_size=3)
KEYS = st.sampled_from("xyz")
COMPARISONS = st.one_of(
    st.builds(one, KEYS, st.sampled_from(["==", "!=", ">", ">=", "<", "<="]), SCALARS),
    st.builds(
        one, KEYS, st.sampled_from(["in", "nin"]), st.lists(st.integers(-2, 2)) | st.lists(st.sampled_from("ab"))
    ),
    st.builds(one, KEYS, st.sampled_from(["any", "all"]), st.lists(st.sampled_from("abc"), min_size=1)),
    st.builds(one, KEYS, st.sampled_from(["contains", "text_match", "text_match_insensitive"]), st.sampled_from("abA")),
    st.builds(one, KEYS, st.just("is_empty"), st.none()),
)
GROUPS = st.builds(
    MetadataFilters,
    filters=st.lists(COMPARISONS, max_size=3),
    condition=st.sampled_from([*FilterCondition, None]),
)


def comparable(comparison: MetadataFilter, metadata: dict[str, Any]) -> bool:
    """Say whether LlamaIndex's own stores answer without an error and without taking a string for a list."""
    entry, operator = metadata.get(comparison.key), comparison.operator.value
    if entry is None or operator in ("==", "!=", "in", "nin", "is_empty"):
        return True
    if operator in ("any", "all", "contains"):
        return isinstance(entry, list)
    return isinstance(entry, str) if operator.startswith("text") else kind_of(entry) is kind_of(comparison.value)


@settings(max_examples=300, deadline=None)
@given(GROUPS, METADATA)
def test_it_agrees_with_llama_index_itself(group: MetadataFilters, metadata: dict[str, Any]) -> None:
    """Fault 33: parity with `build_metadata_filter_fn`, which is what SimpleVectorStore asks."""
    if not all(comparable(part, metadata) for part in group.filters if isinstance(part, MetadataFilter)):
        return
    expected = build_metadata_filter_fn(lambda _: metadata, group)("any id")
    expression = to_filter(group)
    assert (expression is None or matches(expression, metadata)) == expected


def ids(found: list[NodeWithScore]) -> set[str]:
    return {item.node.node_id for item in found}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (MetadataFilters(filters=[one("lang", "==", "zh")]), {"b"}),
        (one("year", ">=", 2022), {"a", "c"}),
        (MetadataFilters(filters=[one("lang", "==", "zh"), one("year", ">", 2023)], condition="or"), {"b", "c"}),
        (MetadataFilters(filters=[one("tags", "contains", "x")], condition="not"), {"b", "c"}),
        (MetadataFilters(filters=[one("title", "text_match", "guide")]), set()),
        (MetadataFilters(filters=[one("title", "text_match_insensitive", "guide")]), {"a"}),
        (MetadataFilters(filters=[one("title", "is_empty", None)]), {"b", "c"}),
        (MetadataFilters(filters=[]), {"a", "b", "c"}),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
async def test_the_retriever_takes_metadata_filters(encoder: BgeM3Encoder, filters: Any, expected: set[str]) -> None:
    nodes = [
        TextNode(id_="a", text="Workers pull tasks.", metadata={"lang": "en", "year": 2022, "tags": ["x"], "title": "Guide"}),
        TextNode(id_="b", text="网关限流。", metadata={"lang": "zh", "year": 2021, "tags": []}),
        TextNode(id_="c", text="Charts of last week.", metadata={"lang": "en", "year": 2024, "title": ""}),
    ]  # fmt: skip
    retriever = HybridRetriever.from_nodes(nodes, encoder=encoder, filter=filters)
    assert ids(retriever.retrieve("tasks")) == expected
    assert ids(await retriever.aretrieve("tasks")) == expected


async def test_a_filter_that_cannot_be_read_is_the_error_of_the_core(encoder: BgeM3Encoder) -> None:
    retriever = HybridRetriever.from_nodes([TextNode(text="x")], encoder=encoder, filter=one("a", "in", "abc"))
    with pytest.raises(FilterError, match="a list of values is needed"):
        retriever.retrieve("x")
    with pytest.raises(FilterError, match="a list of values is needed"):
        await retriever.aretrieve("x")
