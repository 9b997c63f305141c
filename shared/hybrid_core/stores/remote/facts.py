"""What is stored beside metadata so that a database can answer filters without knowing what they mean.

Databases disagree with `hybrid_core.filters` on nearly every corner (is 1 true? does "not equal" hold of a missing key?
does a list equal its element?), and their languages take keys apart at dots and brackets. So neither metadata keys nor
values are put into a query. A passage is stored with two derived fields instead:

- `facts`: hashes of the statements that hold of its metadata, such as "the entry at this key equals this value".
- `orders`: under a hash of the key a number as float64, a string as its first 12 bytes in two numbers.

Metadata of more than 4,000 facts or 500 ordered entries is stored without both.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from ...types import Metadata

_MOST_FACTS, _MOST_ORDERED = 4_000, 500
HUGE = 1.7976931348623157e308  # the largest float64: greater integers are ordered as if they were it


def facts(metadata: Metadata) -> tuple[list[str], dict[str, float]]:
    """Return what is stored beside metadata: its facts (at least one) and its orders; nothing of large metadata."""
    tokens: set[str] = {token("*", "")}
    ordered: dict[str, float] = {}
    for key, entry in metadata.items():
        tokens |= {token("exists", key), token("equals", key, canonical(entry))}
        if isinstance(entry, list):
            tokens.add(token("list", key))
            tokens |= {token("holds", key, canonical(item)) for item in entry}
        elif isinstance(entry, str):
            tokens.add(token("string", key))
            ordered |= zip(text_paths(key), map(float, first_bytes(entry)), strict=True)
        elif isinstance(entry, (int, float)) and not isinstance(entry, bool):
            ordered[number_path(key)] = as_float(entry)
        if len(tokens) > _MOST_FACTS or len(ordered) > _MOST_ORDERED:
            return [], {}
    return sorted(tokens), ordered


def canonical(value: Any) -> str | None:
    """Return a text that is the same for values that `matches` holds equal, None for what metadata cannot hold."""
    try:
        return _write(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def _write(value: Any) -> str:
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value)
    if isinstance(value, float) and not float.is_integer(value):
        if not math.isfinite(value):
            raise ValueError(value)
        return float.__repr__(value)
    if isinstance(value, (int, float)):
        return int.__repr__(int(value))  # 1 and 1.0 are equal, and so are their facts
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_write, value)) + "]"
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return "{" + ",".join(f"{json.dumps(key)}:{_write(value[key])}" for key in sorted(value)) + "}"
    raise TypeError(value)


def as_float(value: int | float) -> float:
    """Return a number as float64, within its range."""
    try:
        return max(min(float(value), HUGE), -HUGE)
    except OverflowError:
        return HUGE if value > 0 else -HUGE


def first_bytes(text: str) -> tuple[int, int]:
    """Return the first 12 bytes as two numbers: UTF-8 keeps the order of code points."""
    start = text[:12].encode("utf-8", "surrogatepass")[:12].ljust(12, b"\0")
    return int.from_bytes(start[:6], "big"), int.from_bytes(start[6:], "big")


def number_path(key: str) -> str:
    """Return where a number at a metadata key stands in `orders`."""
    return "n" + token("order", key)


def text_paths(key: str) -> tuple[str, str]:
    """Return where the two words of a string at a metadata key stand in `orders`."""
    return "s" + token("order", key), "t" + token("order", key)


def range_paths(key: str) -> tuple[str, str, str]:
    """Return all places in `orders` that comparisons of a metadata key look at."""
    return number_path(key), *text_paths(key)


def token(kind: str, key: str, value: str | None = "") -> str:
    """Return a hash of a statement about a key: 24 hexadecimal digits."""
    return hashlib.blake2b(json.dumps([kind, key, value]).encode("ascii"), digest_size=12).hexdigest()
