"""Filters over many rows: per metadata key, which rows hold which value.

A column is built when a filter first names its key. A comparison then looks at the distinct values: by bisection where
they are numbers or strings, otherwise by asking `filters.matches` of each, so that the meaning has one source.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..filters import And, Eq, Exists, Filter, Gt, Gte, In, Lt, Lte, Ne, Nin, Not, Or, matches

Mask: TypeAlias = NDArray[np.bool_]
Slots: TypeAlias = NDArray[np.int32]


class Column:
    """The values of one key.

    Args:
        key: the metadata key.
        entries: (slot, value) of every row that has the key.
        size: the number of rows.
    """

    def __init__(self, key: str, entries: Iterable[tuple[int, Any]], size: int) -> None:
        numbers: dict[Any, list[int]] = {}
        strings: dict[Any, list[int]] = {}
        others: dict[str, tuple[Any, list[int]]] = {}
        for slot, value in entries:
            if isinstance(value, str):
                strings.setdefault(value, []).append(slot)
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                numbers.setdefault(value, []).append(slot)  # 1 and 1.0 are one key here, as they are one value there
            else:
                others.setdefault(json.dumps(value, sort_keys=True), (value, []))[1].append(slot)
        self._key = key
        self._size = size
        self._numbers, self._strings = _Sorted(numbers), _Sorted(strings)
        self._others = [(value, np.array(slots, dtype=np.int32)) for value, slots in others.values()]

    def mask(self, leaf: Filter) -> Mask:
        """Return which rows satisfy a comparison of this key."""
        match leaf:
            case Ne(key, value):
                return ~self.mask(Eq(key, value))
            case Nin(key, values):
                return ~self.mask(In(key, values))
            case In(key, values):
                return self._mask([part for value in values for part in self._equal(Eq(key, value))])
            case Eq():
                return self._mask(self._equal(leaf))
            case Gt(_, value):
                return self._mask([self._kind(value).between(value, None, open_low=True)])
            case Gte(_, value):
                return self._mask([self._kind(value).between(value, None)])
            case Lt(_, value):
                return self._mask([self._kind(value).between(None, value, open_high=True)])
            case Lte(_, value):
                return self._mask([self._kind(value).between(None, value)])
            case Exists():
                return self._mask([self._numbers.slots, self._strings.slots, *(slots for _, slots in self._others)])
            case _:  # lists and texts: asked of each distinct value
                return self._mask([*self._strings.asked(leaf, self._key), *self._asked(leaf)])

    def _equal(self, leaf: Eq) -> list[Slots]:
        value = leaf.value
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            return [self._kind(value).between(value, value)]
        return self._asked(leaf)

    def _asked(self, leaf: Filter) -> list[Slots]:
        return [slots for value, slots in self._others if matches(leaf, {self._key: value})]

    def _kind(self, value: object) -> _Sorted:
        return self._strings if isinstance(value, str) else self._numbers

    def _mask(self, parts: Sequence[Slots]) -> Mask:
        mask = np.zeros(self._size, dtype=np.bool_)
        for part in parts:
            mask[part] = True
        return mask


class _Sorted:
    """Values of one kind in order, each with its rows."""

    def __init__(self, rows: dict[Any, list[int]]) -> None:
        self.values = sorted(value for value in rows if value == value)  # NaN has no place in an order
        self._starts = np.concatenate([[0], np.cumsum([len(rows[value]) for value in self.values])]).astype(np.int64)
        flat = [slot for value in self.values for slot in rows[value]]
        self.slots: Slots = np.array(flat, dtype=np.int32)

    def between(self, low: Any, high: Any, *, open_low: bool = False, open_high: bool = False) -> Slots:
        """Return the rows with low <= value <= high; None is no bound, an open bound leaves its value out."""
        first = 0 if low is None else (bisect_right if open_low else bisect_left)(self.values, low)
        last = len(self.values) if high is None else (bisect_left if open_high else bisect_right)(self.values, high)
        return self.slots[self._starts[first] : self._starts[max(first, last)]]

    def asked(self, leaf: Filter, key: str) -> list[Slots]:
        """Return the rows whose value satisfies the leaf, value by value."""
        spans = zip(self.values, self._starts[:-1].tolist(), self._starts[1:].tolist(), strict=True)
        return [self.slots[start:end] for value, start, end in spans if matches(leaf, {key: value})]


def evaluate(expression: Filter, columns: dict[str, Column], size: int) -> Mask:
    """Return which rows satisfy an expression, given a column for each key it names."""
    match expression:
        case And(parts):
            everything: Mask = np.ones(size, dtype=np.bool_)
            return reduce(np.logical_and, (evaluate(part, columns, size) for part in parts), everything)
        case Or(parts):
            nothing: Mask = np.zeros(size, dtype=np.bool_)
            return reduce(np.logical_or, (evaluate(part, columns, size) for part in parts), nothing)
        case Not(part):
            return ~evaluate(part, columns, size)
        case _:
            return columns[expression.key].mask(expression)


def keys(expression: Filter) -> set[str]:
    """Return the metadata keys an expression names."""
    match expression:
        case And(parts) | Or(parts):
            return {key for part in parts for key in keys(part)}
        case Not(part):
            return keys(part)
        case _:
            return {expression.key}
