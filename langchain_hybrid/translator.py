"""What a language model asks of the metadata, as a filter: for LangChain's SelfQueryRetriever."""

from __future__ import annotations

from typing import Any

from langchain_core.structured_query import Comparator, Comparison, Operation, Operator, StructuredQuery, Visitor

from hybrid_core.errors import FilterError
from hybrid_core.filter_parsing import parse_filter
from hybrid_core.filters import And, Contains, Filter, Not, Or, TextMatch


class HybridTranslator(Visitor):
    """Makes filters of LangChain's structured queries: `SelfQueryRetriever(structured_query_translator=this, ...)`.

    "contain" holds of a list that holds the value, or of a string that holds it as a part; "like" of a string that
    holds the text between its "%" signs; letter case aside. Dates and times are compared as ISO strings. The rest means
    what `hybrid_core.filters` says.
    """

    allowed_comparators = tuple(Comparator)
    allowed_operators = tuple(Operator)

    def visit_operation(self, operation: Operation) -> Filter:
        """Return And, Or or Not of the arguments; NOT of several means that none holds."""
        parts: list[Filter] = [argument.accept(self) for argument in operation.arguments]
        if operation.operator == Operator.AND:
            return And(*parts)
        return Or(*parts) if operation.operator == Operator.OR else Not(Or(*parts))

    def visit_comparison(self, comparison: Comparison) -> Filter:
        """Return the comparison as a filter.

        Raises:
            FilterError: the value is of a kind that cannot be compared so.
        """
        key, operator, value = comparison.attribute, comparison.comparator, _value(comparison.value)
        if operator == Comparator.CONTAIN:
            held = Contains(key, value)
            return Or(held, TextMatch(key, value)) if isinstance(value, str) else held
        if operator == Comparator.LIKE:
            text = value.strip("%") if isinstance(value, str) else ""
            if not text or "%" in text:
                raise FilterError(f"{key!r} like {value!r:.80}: a text is needed, with no '%' but at its ends")
            return TextMatch(key, text)
        if operator in (Comparator.IN, Comparator.NIN) and not isinstance(value, list):
            value = [value]
        return parse_filter({key: {f"${operator.value}": value}})

    def visit_structured_query(self, structured_query: StructuredQuery) -> tuple[str, dict[str, Any]]:
        """Return the query, and the filter, if there is one, as an argument of the search."""
        wanted = structured_query.filter
        return structured_query.query, {} if wanted is None else {"filter": wanted.accept(self)}


def _value(value: Any) -> Any:
    """Return the ISO string of what LangChain's parser makes of a date or a time; anything else as it is."""
    if isinstance(value, dict) and value.get("type") in ("date", "datetime"):
        return value[value["type"]]
    return [_value(item) for item in value] if isinstance(value, list) else value
