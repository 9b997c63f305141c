"""What of a filter a database is asked: a condition that admits every passage that satisfies the filter.

Databases disagree with `hybrid_core.filters` on nearly every corner (is 1 true? does "not equal" hold of a missing key?
does a list equal its element?), and their languages take keys apart at dots and brackets. So neither metadata keys nor
values are put into a query. A passage is stored with two derived fields instead:

- `facts`: hashes of the statements that hold of its metadata, such as "the entry at this key equals this value".
  `Eq`, `Ne`, `In`, `Nin`, `Contains`, `AnyOf`, `AllOf`, `Exists` and what `And`, `Or`, `Not` make of them are thereby
  answered by the database exactly, whatever the type: a question about facts is a question about the meaning.
- `orders`: under a hash of the key a number as float64, a string as its first 12 bytes in two numbers. `Gt`, `Gte`,
  `Lt`, `Lte` become ranges that hold of every passage that satisfies them and of few others.

`TextMatch` asks only whether the entry is a string, and what is said of the parts of a `Not` beyond facts is left open.
Whoever reads the answer calls `matches` on the passage's own metadata, so that the result is exact.

Metadata of more than 4,000 facts or 500 ordered entries is stored without both, and is admitted by every condition.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

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
from ...types import Metadata

_MOST_FACTS, _MOST_ORDERED = 4_000, 500
_HUGE = 1.7976931348623157e308  # the largest float64: greater integers are ordered as if they were it


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


def facts(metadata: Metadata) -> tuple[list[str], dict[str, float]]:
    """Return what is stored beside metadata: its facts (at least one) and its orders; nothing of large metadata."""
    tokens: set[str] = {_token("*", "")}
    ordered: dict[str, float] = {}
    for key, entry in metadata.items():
        tokens |= {_token("exists", key), _token("equals", key, _canonical(entry))}
        if isinstance(entry, list):
            tokens.add(_token("list", key))
            tokens |= {_token("holds", key, _canonical(item)) for item in entry}
        elif isinstance(entry, str):
            tokens.add(_token("string", key))
            ordered |= zip(text_paths(key), map(float, _words(entry)), strict=True)
        elif isinstance(entry, (int, float)) and not isinstance(entry, bool):
            ordered[number_path(key)] = _float(entry)
        if len(tokens) > _MOST_FACTS or len(ordered) > _MOST_ORDERED:
            return [], {}
    return sorted(tokens), ordered


def admits(expression: Filter | None) -> Condition:
    """Return a condition that holds of every passage that satisfies the filter, and of few others."""
    if expression is None:
        return ALWAYS
    upper, _ = _bounds(expression)
    return _some([upper, Plain()])


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
            return _exact(Has((_token("exists", key),)))
        case Eq(key, value):
            return _one_of("equals", key, [_canonical(value)])
        case In(key, values):
            return _one_of("equals", key, [_canonical(value) for value in values])
        case Contains(key, value):
            return _one_of("holds", key, [_canonical(value, stored=True)])
        case AnyOf(key, values):
            return _one_of("holds", key, [_canonical(value, stored=True) for value in values])
        case AllOf(key, values):
            known = [_canonical(value, stored=True) for value in values]
            tokens = [_token("list", key), *(_token("holds", key, value) for value in known if value is not None)]
            whole = Has(tuple(dict.fromkeys(tokens)), all=True)
            return whole, (NEVER if None in known else whole)
        case TextMatch(key, _):
            return Has((_token("string", key),)), NEVER
        case Gt(key, value) | Gte(key, value):
            return _ordered(key, value, above=True), NEVER
        case Lt(key, value) | Lte(key, value):
            return _ordered(key, value, above=False), NEVER


def _exact(condition: Condition) -> tuple[Condition, Condition]:
    return condition, condition


def _one_of(kind: str, key: str, values: Sequence[str | None]) -> tuple[Condition, Condition]:
    """A value whose facts are not known (an object JSON has no word for) is left to `matches`."""
    known = tuple(dict.fromkeys(_token(kind, key, value) for value in values if value is not None))
    lower: Condition = Has(known) if known else NEVER
    return (ALWAYS if None in values else lower), lower


def _ordered(key: str, value: str | int | float, *, above: bool) -> Condition:
    if isinstance(value, str):
        first, second = text_paths(key)
        word, rest = map(float, _words(value))
        if above:
            beyond, inside = Between(first, low=word + 1), Between(second, low=rest)
        else:
            beyond, inside = Between(first, high=word - 1), Between(second, high=rest)
        return _some([beyond, _every([Between(first, word, word), inside])])
    if not isinstance(value, (int, float)) or math.isnan(value):
        return NEVER
    number = _float(value)
    margin = abs(number) * 1e-12 + 1e-300  # an engine may read the last digit of a decimal otherwise
    bound = max(min(number - margin if above else number + margin, _HUGE), -_HUGE)
    return Between(number_path(key), low=bound) if above else Between(number_path(key), high=bound)


def _every(parts: Sequence[Condition]) -> Condition:
    kept = tuple(part for part in parts if part != ALWAYS)
    return NEVER if NEVER in kept else kept[0] if len(kept) == 1 else Every(kept)


def _some(parts: Sequence[Condition]) -> Condition:
    kept = tuple(part for part in parts if part != NEVER)
    return ALWAYS if ALWAYS in kept else kept[0] if len(kept) == 1 else Some(kept)


def _unless(part: Condition) -> Condition:
    return NEVER if part == ALWAYS else ALWAYS if part == NEVER else Unless(part)


def _canonical(value: Any, *, stored: bool = False) -> str | None:
    """Return a text that is the same for values that `matches` holds equal, None for what metadata cannot hold.

    Args:
        value: of metadata or of a filter.
        stored: no tuples and mappings: `Contains`, `AnyOf` and `AllOf` tell them from lists and dicts.
    """
    try:
        return _write(value, stored)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def _write(value: Any, stored: bool) -> str:
    if value is None or isinstance(value, bool) or type(value) is str:
        return json.dumps(value)
    if isinstance(value, float) and not float.is_integer(value):
        if not math.isfinite(value):
            raise ValueError(value)
        return float.__repr__(value)
    if isinstance(value, (int, float)):
        return int.__repr__(int(value))  # 1 and 1.0 are equal, and so are their facts
    if isinstance(value, list if stored else (list, tuple)):
        return "[" + ",".join(_write(item, stored) for item in value) + "]"
    if isinstance(value, dict if stored else Mapping) and all(type(key) is str for key in value):
        return "{" + ",".join(f"{json.dumps(key)}:{_write(value[key], stored)}" for key in sorted(value)) + "}"
    raise TypeError(value)


def _float(value: int | float) -> float:
    try:
        return max(min(float(value), _HUGE), -_HUGE)
    except OverflowError:
        return _HUGE if value > 0 else -_HUGE


def _words(text: str) -> tuple[int, int]:
    """Return the first 12 bytes as two numbers: UTF-8 keeps the order of code points."""
    start = text[:12].encode("utf-8", "surrogatepass")[:12].ljust(12, b"\0")
    return int.from_bytes(start[:6], "big"), int.from_bytes(start[6:], "big")


def number_path(key: str) -> str:
    """Return where a number at a metadata key stands in `orders`."""
    return "n" + _token("order", key)


def text_paths(key: str) -> tuple[str, str]:
    """Return where the two words of a string at a metadata key stand in `orders`."""
    return "s" + _token("order", key), "t" + _token("order", key)


def _token(kind: str, key: str, value: str | None = "") -> str:
    """Return a hash of a statement about a key: 24 hexadecimal digits."""
    return hashlib.blake2b(json.dumps([kind, key, value]).encode("ascii"), digest_size=12).hexdigest()
