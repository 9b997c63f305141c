"""LlamaIndex's metadata filters as filters of the core."""

from __future__ import annotations

from llama_index.core.vector_stores import FilterCondition, MetadataFilter, MetadataFilters

from hybrid_core.errors import FilterError
from hybrid_core.filter_parsing import check_filter
from hybrid_core.filter_words import comparison
from hybrid_core.filters import And, Filter, Not, Or


def to_filter(filters: MetadataFilters | MetadataFilter | None) -> Filter | None:
    """Return LlamaIndex's filters in the core's terms; None where there is nothing to filter by.

    Groups nest to any depth; one without filters holds of everything, and NOT means that none of its filters holds.
    Operators mean what LlamaIndex says of them; see `hybrid_core.filter_words` for the details. `MetadataFilter` takes
    no booleans: to ask for one, give a retriever the core's `Eq("draft", True)` or `{"draft": True}` instead.

    Raises:
        FilterError: a list is needed, or the value has no order or is None.
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
        return comparison(filters.key, filters.operator.value, filters.value)
    raise FilterError(f"{filters!r:.80} is neither MetadataFilters nor a MetadataFilter")
