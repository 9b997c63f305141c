"""Reading filters written as dicts, the way Chroma and LangChain users write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .errors import FilterError
from .filters import (
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
    check_filter,
)

_OPERATORS: dict[str, Callable[[str, Any], Filter]] = {
    "$eq": Eq,
    "$ne": Ne,
    "$gt": Gt,
    "$gte": Gte,
    "$lt": Lt,
    "$lte": Lte,
    "$in": In,
    "$nin": Nin,
    "$contains": Contains,
    "$any": AnyOf,
    "$all": AllOf,
    "$text": TextMatch,
}


def parse_filter(expression: Filter | Mapping[str, Any]) -> Filter:
    """Read the dict form that Chroma and LangChain users write; a filter object is checked and returned as it is.

    `{"a": 1, "b": {"$gt": 2, "$lt": 5}}` means all of it; `$and`, `$or` take lists, `$not` a dict; operators are
    `$eq $ne $gt $gte $lt $lte $in $nin $contains $any $all $exists $text`.

    Raises:
        FilterError: naming the part that cannot be read.
    """
    if not isinstance(expression, Mapping):
        return check_filter(expression)
    parts: list[Filter] = []
    for key, value in expression.items():
        if key in ("$and", "$or"):
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise FilterError(f"{key} takes a list of filters, not {value!r:.80}")
            parts.append((And if key == "$and" else Or)(*(parse_filter(item) for item in value)))
        elif key == "$not":
            parts.append(Not(parse_filter(value)))
        elif isinstance(key, str) and key.startswith("$"):
            raise FilterError(f"unknown operator {key!r}; use $and, $or, $not, or a metadata key")
        elif isinstance(value, Mapping) and value and all(isinstance(k, str) and k.startswith("$") for k in value):
            parts.extend(_condition(key, operator, operand) for operator, operand in value.items())
        else:
            parts.append(Eq(key, value))
    parsed = parts[0] if len(parts) == 1 else And(*parts)
    return check_filter(parsed)


def _condition(key: str, operator: str, operand: Any) -> Filter:
    if operator == "$exists":
        if not isinstance(operand, bool):
            raise FilterError(f"{key!r}: $exists takes True or False, not {operand!r:.80}")
        return Exists(key) if operand else Not(Exists(key))
    if operator not in _OPERATORS:
        raise FilterError(f"{key!r}: unknown operator {operator!r}; use one of {', '.join([*_OPERATORS, '$exists'])}")
    return _OPERATORS[operator](key, operand)
