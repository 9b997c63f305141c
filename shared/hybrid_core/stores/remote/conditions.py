"""What of a filter a database is asked: a condition that admits every passage that satisfies the filter.

`Eq`, `Ne`, `In`, `Nin`, `Contains`, `AnyOf`, `AllOf`, `Exists` and what `And`, `Or`, `Not` make of them are questions
about facts (see `facts.py`) and are answered by the database exactly, whatever the type. `Gt`, `Gte`, `Lt`, `Lte`
become ranges that hold of every passage that satisfies them and of few others. `TextMatch` asks only whether the entry
is a string. A `Not` of these last five is left open, and so is a value that no metadata can hold.

A passage without facts is admitted by every condition. Whoever reads the answer calls `matches` on each passage's own
metadata, so that the result is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ...filters import (
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
from .facts import HUGE, as_float, canonical, first_bytes, number_path, text_paths, token


@dataclass(frozen=True, slots=True)
class Has:
    """The facts hold one of the tokens, or all of them."""

    tokens: tuple[str, ...]
    all: bool = False


@dataclass(frozen=True, slots=True)
class Between:
    """`orders` has a number at the path, within the bounds that are given, both included."""

    path: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Plain:
    """The passage was stored without facts."""


@dataclass(frozen=True, slots=True)
class TextIs:
    """The content hash of the text is one of these."""

    hashes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Every:
    """All parts hold; of no parts, true."""

    parts: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Some:
    """At least one part holds; of no parts, false."""

    parts: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Unless:
    """The part does not hold."""

    part: Condition


Condition: TypeAlias = Has | Between | Plain | TextIs | Every | Some | Unless
ALWAYS, NEVER = Every(), Some()


def admits(expression: Filter | None) -> Condition:
    """Return a condition that holds of every passage that satisfies the filter, and of few others."""
    if expression is None:
        return ALWAYS
    upper, _ = _bounds(expression)
    return _some([upper, Plain()])


def words(condition: Condition) -> int:
    """Return how many tokens, hashes and bounds a condition holds: what it costs to ask."""
    match condition:
        case Has(tokens):
            return len(tokens)
        case TextIs(hashes):
            return len(hashes)
        case Every(parts) | Some(parts):
            return sum(words(part) for part in parts)
        case Unless(part):
            return words(part)
        case _:
            return 1


def _bounds(expression: Filter) -> tuple[Condition, Condition]:
    """Return a condition that the filter implies, and one that implies the filter; the same one where it is exact."""
    match expression:
        case And(parts):
            bounds = [_bounds(part) for part in parts]
            return _every([upper for upper, _ in bounds]), _every([lower for _, lower in bounds])
        case Or(parts):
            bounds = [_bounds(part) for part in parts]
            return _some([upper for upper, _ in bounds]), _some([lower for _, lower in bounds])
        case Not(part):
            upper, lower = _bounds(part)
            return _unless(lower), _unless(upper)
        case Ne(key, value):
            return _bounds(Not(Eq(key, value)))
        case Nin(key, values):
            return _bounds(Not(In(key, values)))
        case Exists(key):
            return _exact(Has((token("exists", key),)))
        case Eq(key, value):
            return _one_of("equals", key, [canonical(value)])
        case In(key, values):
            return _one_of("equals", key, [canonical(value) for value in values])
        case Contains(key, value):
            return _one_of("holds", key, [canonical(value)])
        case AnyOf(key, values):
            return _one_of("holds", key, [canonical(value) for value in values])
        case AllOf(key, values):
            known = [canonical(value) for value in values]
            tokens = [token("list", key), *(token("holds", key, value) for value in known if value is not None)]
            whole = Has(tuple(dict.fromkeys(tokens)), all=True)
            return whole, (NEVER if None in known else whole)
        case TextMatch(key, _):
            return Has((token("string", key),)), NEVER
        case Gt(key, value) | Gte(key, value):
            return _ordered(key, value, above=True), NEVER
        case Lt(key, value) | Lte(key, value):
            return _ordered(key, value, above=False), NEVER


def _exact(condition: Condition) -> tuple[Condition, Condition]:
    return condition, condition


def _one_of(kind: str, key: str, values: Sequence[str | None]) -> tuple[Condition, Condition]:
    """A value whose facts are not known (an object JSON has no word for) is left to `matches`."""
    known = tuple(dict.fromkeys(token(kind, key, value) for value in values if value is not None))
    lower: Condition = Has(known) if known else NEVER
    return (ALWAYS if None in values else lower), lower


def _ordered(key: str, value: str | int | float, *, above: bool) -> Condition:
    if isinstance(value, str):
        first, second = text_paths(key)
        word, rest = map(float, first_bytes(value))
        if above:
            beyond, inside = Between(first, low=word + 1), Between(second, low=rest)
        else:
            beyond, inside = Between(first, high=word - 1), Between(second, high=rest)
        return _some([beyond, _every([Between(first, word, word), inside])])
    if not isinstance(value, (int, float)) or value != value:  # NaN is no bound
        return NEVER
    number = as_float(value)
    margin = abs(number) * 1e-12 + 1e-300  # an engine may read the last digit of a decimal otherwise
    bound = max(min(number - margin if above else number + margin, HUGE), -HUGE)
    return Between(number_path(key), low=bound) if above else Between(number_path(key), high=bound)


def _every(parts: Sequence[Condition]) -> Condition:
    kept = tuple(part for part in parts if part != ALWAYS)
    return NEVER if NEVER in kept else kept[0] if len(kept) == 1 else Every(kept)


def _some(parts: Sequence[Condition]) -> Condition:
    kept = tuple(part for part in parts if part != NEVER)
    return ALWAYS if ALWAYS in kept else kept[0] if len(kept) == 1 else Some(kept)


def _unless(part: Condition) -> Condition:
    return NEVER if part == ALWAYS else ALWAYS if part == NEVER else Unless(part)
