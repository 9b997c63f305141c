"""Filter expressions over metadata: one tree for every store and framework, and what it means.

    And(Eq("lang", "zh"), Or(Gte("year", 2024), Contains("tags", "draft")))

`filter_parsing` checks expressions and reads the dict form of Chroma and LangChain.

Meaning, the same on every store:

- A key is the name of a top-level metadata entry. A comparison with a missing key is false, and so `Ne` and `Nin`,
  which are `Not(Eq)` and `Not(In)`, are true of it. An entry that is None is there (`Exists`) and equals only None.
- Values of different kinds are never equal and never ordered: numbers (int and float) compare with numbers, strings
  with strings (by code point, so ISO dates order as dates), booleans only with booleans.
- A list equals a list of equal elements. `Contains`, `AnyOf` and `AllOf` ask what a list entry holds.
- `TextMatch` compares by Unicode case folding, so that "STRASSE" is found in "Straße", or exactly if told to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .types import Metadata

Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Eq:
    """The entry equals the value."""

    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class Ne:
    """The entry is missing or differs from the value."""

    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class Gt:
    """The entry is of the value's kind and greater."""

    key: str
    value: str | int | float


@dataclass(frozen=True, slots=True)
class Gte:
    """The entry is of the value's kind and greater or equal."""

    key: str
    value: str | int | float


@dataclass(frozen=True, slots=True)
class Lt:
    """The entry is of the value's kind and less."""

    key: str
    value: str | int | float


@dataclass(frozen=True, slots=True)
class Lte:
    """The entry is of the value's kind and less or equal."""

    key: str
    value: str | int | float


@dataclass(frozen=True, slots=True)
class In:
    """The entry equals one of the values."""

    key: str
    values: Sequence[Scalar]


@dataclass(frozen=True, slots=True)
class Nin:
    """The entry is missing or equals none of the values."""

    key: str
    values: Sequence[Scalar]


@dataclass(frozen=True, slots=True)
class Contains:
    """The entry is a list that holds the value."""

    key: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The entry is a list that holds at least one of the values."""

    key: str
    values: Sequence[Scalar]


@dataclass(frozen=True, slots=True)
class AllOf:
    """The entry is a list that holds all of the values."""

    key: str
    values: Sequence[Scalar]


@dataclass(frozen=True, slots=True)
class Exists:
    """The entry is there, whatever its value."""

    key: str


@dataclass(frozen=True, slots=True)
class TextMatch:
    """The entry is a string that holds the text, letter case aside unless `ignore_case` is False."""

    key: str
    text: str
    ignore_case: bool = field(default=True, kw_only=True)


@dataclass(frozen=True, slots=True, init=False)
class And:
    """All of the parts hold; of no parts, true."""

    parts: tuple[Filter, ...]

    def __init__(self, *parts: Filter) -> None:
        object.__setattr__(self, "parts", parts)


@dataclass(frozen=True, slots=True, init=False)
class Or:
    """At least one of the parts holds; of no parts, false."""

    parts: tuple[Filter, ...]

    def __init__(self, *parts: Filter) -> None:
        object.__setattr__(self, "parts", parts)


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Filter


Filter: TypeAlias = (
    Eq | Ne | Gt | Gte | Lt | Lte | In | Nin | Contains | AnyOf | AllOf | Exists | TextMatch | And | Or | Not
)

_MISSING = object()


def matches(expression: Filter, metadata: Metadata) -> bool:
    """Say whether metadata satisfies the expression: the meaning that every store must agree with."""
    match expression:
        case And(parts):
            return all(matches(part, metadata) for part in parts)
        case Or(parts):
            return any(matches(part, metadata) for part in parts)
        case Not(part):
            return not matches(part, metadata)
        case Exists(key):
            return key in metadata
    entry = metadata.get(expression.key, _MISSING)
    match expression:
        case Eq(_, value):
            return _equal(entry, value)
        case Ne(_, value):
            return not _equal(entry, value)
        case Gt(_, value):
            return _ordered(entry, value) and entry > value
        case Gte(_, value):
            return _ordered(entry, value) and entry >= value
        case Lt(_, value):
            return _ordered(entry, value) and entry < value
        case Lte(_, value):
            return _ordered(entry, value) and entry <= value
        case In(_, values):
            return _held(entry, values)
        case Nin(_, values):
            return not _held(entry, values)
        case Contains(_, value):
            return isinstance(entry, list) and _held(value, entry)
        case AnyOf(_, values):
            return isinstance(entry, list) and any(_held(value, entry) for value in values)
        case AllOf(_, values):
            return isinstance(entry, list) and all(_held(value, entry) for value in values)
        case TextMatch(_, text):
            if not isinstance(entry, str):
                return False
            return text.casefold() in entry.casefold() if expression.ignore_case else text in entry


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    return "str" if isinstance(value, str) else type(value).__name__


def _equal(entry: Any, value: Any) -> bool:
    if isinstance(entry, (list, tuple)) and isinstance(value, (list, tuple)):
        return len(entry) == len(value) and all(_equal(a, b) for a, b in zip(entry, value, strict=True))
    if isinstance(entry, Mapping) and isinstance(value, Mapping):
        return entry.keys() == value.keys() and all(_equal(entry[k], value[k]) for k in entry)
    return _kind(entry) == _kind(value) and bool(entry == value)


def _ordered(entry: Any, value: Any) -> bool:
    return _kind(entry) in ("number", "str") and _kind(entry) == _kind(value)


def _held(value: Any, values: Sequence[Any]) -> bool:
    return any(_equal(value, other) for other in values)
