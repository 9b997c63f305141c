"""What goes to a database and comes back from it."""

from __future__ import annotations

import enum
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...types import FloatArray, SparseVector
from .conditions import Condition

_NAMESPACE = uuid.UUID("6f0b3c52-9a53-5b3e-8f2a-3b1d8f4c7e10")  # any fixed one: it makes our keys our own


class Parts(enum.Flag):
    """What of a row is wanted, beside key, id, sequence number and text hash."""

    NONE = 0
    TEXT = enum.auto()
    METADATA = enum.auto()
    DENSE = enum.auto()
    SPARSE = enum.auto()


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A passage as a database keeps it; the parts that were not asked for are at their defaults.

    Attributes:
        key: what the database knows it by.
        id: the passage's own id.
        seq: grows with every write: the order of `Store.ids`.
        text_hash: hexadecimal.
        metadata: JSON.
        facts, orders: what filters ask for, see `conditions`.
        score: how the database ranked it, where it did.
    """

    key: str
    id: str
    seq: int
    text_hash: str
    text: str = ""
    metadata: str = "{}"
    facts: Sequence[str] = ()
    orders: dict[str, float] = field(default_factory=dict)
    dense: FloatArray | None = None
    sparse: SparseVector | None = None
    score: float = 0.0


class Engine(Protocol):
    """A database, in the few words that `RemoteStore` needs. Errors are ours already.

    Attributes:
        exact: its dense search reaches every row, so that fewer than asked for means there are no more.
        deepest: the most rows that one search may ask for.
    """

    exact: bool
    deepest: int

    def check(self, rows: Sequence[Row]) -> None:
        """Raise InvalidInputError for a row that cannot be kept, before any is written."""
        ...

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows, replacing those with the same keys."""
        ...

    def remove(self, keys: Sequence[str]) -> None:
        """Delete rows by key."""
        ...

    def keys(self, id: str) -> list[str]:
        """Return the key that a passage of this id is written under, and any others it may be found under."""
        ...

    def fetch(self, keys: Sequence[str], parts: Parts) -> list[Row]:
        """Return the rows that are there, in any order."""
        ...

    def scan(self, condition: Condition, parts: Parts) -> Iterator[Row]:
        """Yield the rows that satisfy a condition, in any order; others may be among them."""
        ...

    def nearest(self, query: FloatArray | SparseVector, n: int, condition: Condition, parts: Parts) -> list[Row]:
        """Return about the n rows of highest inner product, best first; some may not satisfy the condition.

        A database that multiplies by inverse document frequencies itself takes a weighed query's `raw` weights.
        """
        ...

    def inverse_frequencies(self, tokens: Sequence[int]) -> NDArray[np.float64]:
        """Return the factor by which the database multiplies a query's weight of each token.

        Asked only of collections that were made to keep inverse document frequencies; others may raise.
        """
        ...

    def count(self) -> int:
        """Return the number of rows."""
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


class Clock:
    """Gives sequence numbers: nanoseconds since 1970, so that several writers need not agree, and never one twice."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def take(self, n: int) -> int:
        """Return the first of n numbers in a row."""
        with self._lock:
            first = max(time.time_ns(), self._last + 1)
            self._last = first + n - 1
            return first


def key_of(id: str) -> str:
    """Return the UUID of an id, always the same."""
    return str(uuid.uuid5(_NAMESPACE, id))


def batches(rows: Sequence[Row], most: int, most_bytes: int, size_of: Callable[[Row], int]) -> Iterator[list[Row]]:
    """Yield rows in groups of at most so many, and of so many bytes unless a single row has more."""
    batch: list[Row] = []
    total = 0
    for row in rows:
        size = size_of(row)
        if batch and (len(batch) == most or total + size > most_bytes):
            yield batch
            batch, total = [], 0
        batch.append(row)
        total += size
    if batch:
        yield batch
