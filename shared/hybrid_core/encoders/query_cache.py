"""The last queries and what they were encoded to, so that one question asked through several classes costs one pass."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from ..checks import check_count
from ..types import Encoding

Value = TypeVar("Value")


class QueryKey(NamedTuple):
    """Everything that decides what a text is encoded to.

    Attributes:
        model: the digest of the fingerprint, or anything hashable that names the model and its precision.
        role: "query" or "passage", with its instruction where that may vary.
        max_length: tokens that the model sees.
        text: as given.
    """

    model: Hashable
    role: str
    max_length: int
    text: str


class QueryCache(Generic[Value]):
    """Keeps the values used last, within a number of entries and of bytes. May be used from several threads.

    Values are handed out as they were put in, never copied: put in what no one changes (see `one_row`).

    Args:
        size: bytes of a value; those of its text are counted besides.
        entries: the most values kept.
        most_bytes: the most bytes kept; a value larger than that is not kept at all.

    Raises:
        InvalidInputError: a bound is below 0; 0 keeps nothing.
    """

    def __init__(self, size: Callable[[Value], int], *, entries: int = 128, most_bytes: int = 64 << 20) -> None:
        self._size = size
        self._most_entries = check_count(entries, "entries")
        self._most_bytes = check_count(most_bytes, "most_bytes")
        self._lock = threading.Lock()
        self._kept: OrderedDict[QueryKey, tuple[Value, int]] = OrderedDict()  # least recently used first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __bool__(self) -> bool:
        return True  # an empty cache is a cache

    @property
    def nbytes(self) -> int:
        """The bytes kept, texts included."""
        return self._bytes

    def get(self, key: QueryKey) -> Value | None:
        """Return the value, from now on the one used last, or None."""
        with self._lock:
            entry = self._kept.get(key)
            if entry is None:
                return None
            self._kept.move_to_end(key)
            return entry[0]

    def put(self, key: QueryKey, value: Value) -> None:
        """Keep a value in place of the one that the key has; what was used least recently makes room."""
        weight = self._size(value) + sys.getsizeof(key.text)
        with self._lock:
            self._bytes -= self._kept.pop(key, (None, 0))[1]
            if weight > self._most_bytes or not self._most_entries:
                return
            self._kept[key] = value, weight
            self._bytes += weight
            while len(self._kept) > self._most_entries or self._bytes > self._most_bytes:
                self._bytes -= self._kept.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Keep nothing of what there is."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0


def one_row(encoding: Encoding, i: int) -> Encoding:
    """Return row `i` as a copy that cannot be written to and holds no part of the batch it came from."""
    row = encoding.rows([i])
    row = Encoding.join([row], multi=row.multi is not None)
    for array in (row.dense, row.sparse.data, row.sparse.indices, row.sparse.indptr, *(row.multi or ())):
        array.flags.writeable = False
    return row


def encoding_bytes(encoding: Encoding) -> int:
    """Return the bytes of an encoding's arrays."""
    sparse = encoding.sparse
    arrays = (encoding.dense, sparse.data, sparse.indices, sparse.indptr, *(encoding.multi or ()))
    return sum(int(array.nbytes) for array in arrays)
