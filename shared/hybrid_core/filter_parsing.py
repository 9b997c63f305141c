"""Checking filters, and reading those written as dicts, the way Chroma and LangChain users write them."""

from __future__ import annotations

import re
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
)

_DEEPEST = 32  # levels of And, Or and Not: a Qdrant server reads 128 levels of JSON, of which each takes two or three
_DEEPEST_VALUE = 100  # levels of lists and dicts, as in metadata
_LONGEST_INT = 13_280  # bits, as in metadata


def parse_filter(expression: Filter | Mapping[str, Any]) -> Filter:
    """Read the dict form that Chroma and LangChain users write; a filter object is checked and returned as it is.

    `{"a": 1, "b": {"$gt": 2, "$lt": 5}}` means all of it. `$and` and `$or` take lists; `$not` takes a dict, or a list
    of which none may hold. The operators of a key:

    - `$eq $ne $gt $gte $lt $lte $in $nin` as in Chroma; `$neq` is `$ne`; `$between: [low, high]` includes both.
    - `$contains $not_contains` as in Chroma, of entries that are lists; `$any $all` of several values.
    - `$exists: True` or `False`.
    - `$text: "part"` of entries that are strings, letter case aside; `$ilike: "%part%"` is the same and
      `$like: "%part%"` minds the case. Other patterns of SQL are refused, and so are regular expressions.

    Raises:
        FilterError: naming the part that cannot be read.
    """
    return check_filter(_parse(expression, 0))


def check_filter(expression: object) -> Filter:
    """Return the expression if it is well formed.

    Raises:
        FilterError: naming the part that is not: of another class, nested over 32 levels deep, without an order, or
            with a value that no metadata can hold and that would silently match nothing.
    """
    return _check(expression, 0)


def _check(expression: object, depth: int) -> Filter:
    if depth > _DEEPEST:
        raise FilterError(f"the filter is nested over {_DEEPEST} levels deep; And and Or take any number of parts")
    match expression:
        case And(parts) | Or(parts):
            for part in parts:
                _check(part, depth + 1)
        case Not(part):
            _check(part, depth + 1)
        case Exists(key):
            _check_key(key)
        case Eq(key, value) | Ne(key, value) | Contains(key, value):
            _check_value(value, _named(expression, key))
        case Gt(key, value) | Gte(key, value) | Lt(key, value) | Lte(key, value):
            name = _named(expression, key)
            if isinstance(value, bool) or not isinstance(value, (str, int, float)):
                raise FilterError(f"{name}: only numbers and strings have an order, not {type(value).__name__}")
            _check_value(value, name)
        case In(key, values) | Nin(key, values) | AnyOf(key, values) | AllOf(key, values):
            name = _named(expression, key)
            if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
                raise FilterError(f"{name}: a list of values is needed, not {type(values).__name__}")
            for value in values:
                _check_value(value, name)
        case TextMatch(key, text):
            name = _named(expression, key)
            if not isinstance(text, str):
                raise FilterError(f"{name}: a string is needed, not {type(text).__name__}")
        case _:
            raise FilterError(
                f"{expression!r:.80} is no filter; build one of hybrid_core's filter classes, e.g. Eq('lang', 'en'), "
                "or pass a dict such as {'lang': 'en'}"
            )
    return expression


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise FilterError(f"metadata keys are strings, not {key!r:.80}")


def _named(expression: object, key: object) -> str:
    """Return how a message names a comparison; its value may be of any size."""
    _check_key(key)
    return f"{type(expression).__name__}({key!r:.80}, ...)"


def _check_value(value: object, name: str, depth: int = 0) -> None:
    """Raise FilterError for what no metadata can hold."""
    if depth > _DEEPEST_VALUE:
        raise FilterError(f"{name}: the value is nested over {_DEEPEST_VALUE} levels deep, or contains itself")
    if isinstance(value, float) and value != value:
        raise FilterError(f"{name}: NaN equals nothing and has no order; ask for a missing number with None")
    if isinstance(value, int) and value.bit_length() > _LONGEST_INT:
        raise FilterError(f"{name}: metadata holds no integer of over 4,000 digits")
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_value(item, name, depth + 1)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_key(key)
            _check_value(item, name, depth + 1)
    elif not (value is None or isinstance(value, (str, int, float))):
        raise FilterError(
            f"{name}: metadata holds no {type(value).__name__}, so {value!r:.60} would match nothing; compare with "
            "what was stored: a str (dates in ISO form), int, float, bool, None, or lists and dicts of them"
        )


def _parse(expression: Any, depth: int) -> Any:
    """Return what a dict means; anything else as it is, to be checked later."""
    if not isinstance(expression, Mapping):
        return expression
    if depth > _DEEPEST:
        raise FilterError(f"the filter is nested over {_DEEPEST} levels deep, or contains itself")
    parts: list[Any] = []
    for key, value in expression.items():
        if key == "$and":
            parts.append(And(*_parts(key, value, depth)))
        elif key == "$or":
            parts.append(Or(*_parts(key, value, depth)))
        elif key == "$not":
            several = isinstance(value, (list, tuple))
            parts.append(Not(Or(*_parts(key, value, depth)) if several else _parse(value, depth + 1)))
        elif isinstance(key, str) and key.startswith("$"):
            raise FilterError(f"unknown operator {key!r}; use $and, $or, $not, or a metadata key")
        else:
            parts += _conditions(key, value)
    return parts[0] if len(parts) == 1 else And(*parts)


def _parts(key: str, value: Any, depth: int) -> list[Any]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise FilterError(f"{key} takes a list of filters, not {value!r:.80}")
    return [_parse(item, depth + 1) for item in value]


def _conditions(key: Any, value: Any) -> list[Filter]:
    """Return what a key's entry must satisfy."""
    if key in ("and", "or") and isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        raise FilterError(f"'${key}' joins filters, {key!r} is a metadata key; to compare with a list write '$eq'")
    if not isinstance(value, Mapping) or not value:
        return [Eq(key, value)]
    operators = [name for name in value if isinstance(name, str) and name.startswith("$")]
    if len(operators) == len(value):
        return [_condition(key, operator, operand) for operator, operand in value.items()]
    if operators or all(f"${name}" in _OPERATORS for name in value):
        raise FilterError(
            f"{key!r}: {value!r:.80} is neither a dict of operators, which start with '$', nor surely a value; to "
            "compare with a dict write {'$eq': {...}}"
        )
    return [Eq(key, value)]


def _condition(key: str, operator: str, operand: Any) -> Filter:
    if operator not in _OPERATORS:
        raise FilterError(f"{key!r}: unknown operator {operator!r}; use one of {', '.join(_OPERATORS)}")
    return _OPERATORS[operator](key, operand)


def _exists(key: str, wanted: Any) -> Filter:
    if not isinstance(wanted, bool):
        raise FilterError(f"{key!r}: $exists takes True or False, not {wanted!r:.80}")
    return Exists(key) if wanted else Not(Exists(key))


def _between(key: str, bounds: Any) -> Filter:
    if isinstance(bounds, (str, bytes)) or not isinstance(bounds, Sequence) or len(bounds) != 2:
        raise FilterError(f"{key!r}: $between takes [low, high], not {bounds!r:.80}")
    return And(Gte(key, bounds[0]), Lte(key, bounds[1]))


def _like(key: str, pattern: Any, *, ignore_case: bool) -> Filter:
    found = re.fullmatch(r"%([^%_\\]+)%", pattern) if isinstance(pattern, str) else None
    if found is None:
        raise FilterError(
            f"{key!r}: of SQL's patterns only '%part%' can be asked, with no other %, _ or backslash, not "
            f"{pattern!r:.80}; use $eq for the whole string, $text for a part with such characters"
        )
    return TextMatch(key, found[1], ignore_case=ignore_case)


_OPERATORS: dict[str, Callable[[str, Any], Filter]] = {
    "$eq": Eq,
    "$ne": Ne,
    "$neq": Ne,
    "$gt": Gt,
    "$gte": Gte,
    "$lt": Lt,
    "$lte": Lte,
    "$between": _between,
    "$in": In,
    "$nin": Nin,
    "$contains": Contains,
    "$not_contains": lambda key, value: Not(Contains(key, value)),
    "$any": AnyOf,
    "$all": AllOf,
    "$exists": _exists,
    "$text": TextMatch,
    "$like": lambda key, pattern: _like(key, pattern, ignore_case=False),
    "$ilike": lambda key, pattern: _like(key, pattern, ignore_case=True),
}
