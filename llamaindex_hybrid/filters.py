"""LlamaIndex's metadata filters as filters of the core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from hybrid_core.errors import FilterError
from hybrid_core.filter_parsing import check_filter
from hybrid_core.filters import (
    AllOf,
    And,
    AnyOf,
    Contains,
    Eq,
    Exists,
    Filter,
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

_OF_ONE: dict[FilterOperator, Callable[[str, Any], Filter]] = {
    FilterOperator.EQ: Eq,
    FilterOperator.NE: Ne,
    FilterOperator.GT: Gt,
    FilterOperator.GTE: Gte,
    FilterOperator.LT: Lt,
    FilterOperator.LTE: Lte,
    FilterOperator.CONTAINS: Contains,
    FilterOperator.TEXT_MATCH: lambda key, text: TextMatch(key, text, ignore_case=False),
    FilterOperator.TEXT_MATCH_INSENSITIVE: TextMatch,
}
_OF_SEVERAL: dict[FilterOperator, Callable[[str, list[Any]], Filter]] = {
    FilterOperator.IN: In,
    FilterOperator.NIN: Nin,
    FilterOperator.ANY: AnyOf,
    FilterOperator.ALL: AllOf,
}


def to_filter(filters: MetadataFilters | MetadataFilter | None) -> Filter | None:
    """Return LlamaIndex's filters in the core's terms; None where there is nothing to filter by.

    Groups nest to any depth; one without filters holds of everything, and NOT means that none of its filters holds.
    Each operator means what LlamaIndex says of it, with the core's rules for kinds (`hybrid_core.filters`):

    - Numbers, strings and booleans are never equal to one another. `MetadataFilter` takes no booleans: to ask for one,
      pass the core's `Eq("draft", True)` or `{"draft": True}` instead.
    - CONTAINS, ANY and ALL ask what a list holds; a string is no list of its parts.
    - TEXT_MATCH asks for a part of a string as it is written, TEXT_MATCH_INSENSITIVE ignores letter case by Unicode
      case folding, in which "ss" equals "ß". Other entries do not match.
    - NE and NIN hold where the key is missing. IS_EMPTY holds where it is missing, None, "" or [].

    Raises:
        FilterError: IN, NIN, ANY or ALL without a list; None as a value, which LlamaIndex's own stores read as "never"
            or "always"; an order of what has none.
    """
    if filters is None or (isinstance(filters, MetadataFilters) and not filters.filters):
        return None
    return check_filter(_read(filters))


def _read(filters: object) -> Filter:
    if isinstance(filters, MetadataFilters):
        parts = [_read(part) for part in filters.filters]
        if not parts or filters.condition in (None, FilterCondition.AND):
            return And(*parts)
        return Or(*parts) if filters.condition == FilterCondition.OR else Not(Or(*parts))
    if isinstance(filters, MetadataFilter):
        return _comparison(filters.key, filters.operator, filters.value)
    raise FilterError(f"{filters!r:.80} is neither MetadataFilters nor a MetadataFilter")


def _comparison(key: str, operator: FilterOperator, value: Any) -> Filter:
    if operator == FilterOperator.IS_EMPTY:
        return Or(Not(Exists(key)), In(key, [None, ""]), Eq(key, []))
    if value is None:
        raise FilterError(f"{key!r} {operator.value} None: IS_EMPTY asks for entries that are missing or None")
    if operator in _OF_SEVERAL:
        if not isinstance(value, list):
            raise FilterError(f"{key!r} {operator.value} {value!r:.80}: a list of values is needed")
        return _OF_SEVERAL[operator](key, value)
    if operator not in _OF_ONE:
        raise FilterError(f"{key!r}: the operator {operator!r} is not known here")
    return _OF_ONE[operator](key, value)
