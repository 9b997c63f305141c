"""Comparisons written as a key, an operator and a value, as LlamaIndex and others write them.

They keep the core's rules for kinds (`filters`):

- Numbers, strings and booleans are never equal to one another.
- "contains", "any" and "all" ask what a list holds; a string is no list of its parts.
- "text_match" asks for a part of a string as it is written, "text_match_insensitive" ignores letter case by Unicode
  case folding, in which "ss" equals "ß". Other entries do not match.
- "!=" and "nin" hold where the key is missing. "is_empty" holds where it is missing, None, "" or [].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import FilterError
from .filters import (
    AllOf,
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

_OF_ONE: dict[str, Callable[[str, Any], Filter]] = {
    "==": Eq,
    "!=": Ne,
    ">": Gt,
    ">=": Gte,
    "<": Lt,
    "<=": Lte,
    "contains": Contains,
    "text_match": lambda key, text: TextMatch(key, text, ignore_case=False),
    "text_match_insensitive": TextMatch,
}
_OF_SEVERAL: dict[str, Callable[[str, list[Any]], Filter]] = {"in": In, "nin": Nin, "any": AnyOf, "all": AllOf}


def comparison(key: str, operator: str, value: Any) -> Filter:
    """Return the filter for one comparison; it is yet to be checked (`filter_parsing.check_filter`).

    Args:
        key: a metadata key.
        operator: "==", "!=", ">", ">=", "<", "<="; "in", "nin", "any" or "all" with a list; "contains", "text_match",
            "text_match_insensitive"; "is_empty", which takes no value.
        value: what to compare with.

    Raises:
        FilterError: the operator is unknown, a list is needed, or the value is None, which some stores read as "never"
            and others as "always".
    """
    if operator == "is_empty":
        return Or(Not(Exists(key)), In(key, [None, ""]), Eq(key, []))
    if value is None:
        raise FilterError(f"{key!r} {operator} None: IS_EMPTY asks for entries that are missing or None")
    if operator in _OF_SEVERAL:
        if not isinstance(value, list):
            raise FilterError(f"{key!r} {operator} {value!r:.80}: a list of values is needed")
        return _OF_SEVERAL[operator](key, value)
    if operator not in _OF_ONE:
        raise FilterError(f"{key!r}: the operator {operator!r} is not known here")
    return _OF_ONE[operator](key, value)
