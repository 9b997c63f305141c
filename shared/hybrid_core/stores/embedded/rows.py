"""What the embedded store holds in memory of each row.

That is its id, its sequence number, whether it is still there, and its vector until the dense view has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...types import FloatArray
from .ledger import Change


class Rows:
    """Rows by slot: a slot is a place in the order of sequence numbers, and is never used again."""

    def __init__(self, dimension: int) -> None:
        self.ids: list[str] = []
        self.tail_start = 0  # slots before this one are in the dense view, their vectors not in memory
        self._seqs = Growing(np.empty(0, dtype=np.int64))
        self._alive = Growing(np.empty(0, dtype=np.bool_))
        self._tail = Growing(np.empty((0, dimension), dtype=np.float32))

    def seqs(self) -> NDArray[np.int64]:
        """Sequence numbers, ascending, one a slot."""
        return self._seqs.view()

    def alive(self) -> NDArray[np.bool_]:
        """Which slots are neither replaced nor deleted."""
        return self._alive.view()

    def append(self, changes: Sequence[Change], keep_after: int) -> None:
        """Add rows; the vectors of those after a sequence number stay in memory."""
        if not changes:
            return
        tail = [change.dense for change in changes if change.seq > keep_after]
        self.tail_start += len(changes) - len(tail)
        self.ids += [change.id for change in changes]
        self._seqs.append(np.array([change.seq for change in changes], dtype=np.int64))
        self._alive.append(np.ones(len(changes), dtype=np.bool_))
        if tail:
            self._tail.append(np.stack(tail))

    def slots(self, seqs: Sequence[int]) -> NDArray[np.int64]:
        """Return the slots of sequence numbers; numbers that are not here are passed over."""
        wanted, here = np.array(seqs, dtype=np.int64), self.seqs()
        slots = np.searchsorted(here, wanted)
        inside = slots < len(here)
        found: NDArray[np.int64] = slots[inside][here[slots[inside]] == wanted[inside]]
        return found

    def remove(self, seqs: Sequence[int]) -> None:
        """Mark rows as gone; numbers that are not here are passed over."""
        self.alive()[self.slots(seqs)] = False

    def folded_upto(self) -> int:
        """Return the last sequence number whose vector is not in memory."""
        return int(self.seqs()[self.tail_start - 1]) if self.tail_start else 0

    def drop_tail(self, upto: int) -> None:
        """Forget the vectors of rows up to a sequence number: the dense view has them now."""
        start = int(np.searchsorted(self.seqs(), upto, side="right"))
        self._tail = Growing(self._tail.view()[start - self.tail_start :].copy())
        self.tail_start = start

    def tail(self, slots: NDArray[np.int64]) -> FloatArray:
        """Return the vectors (n, d) of slots in the tail."""
        rows: FloatArray = self._tail.view()[slots - self.tail_start]
        return rows

    def tail_scores(self, vector: FloatArray, allowed: NDArray[np.bool_]) -> FloatArray:
        """Return approximate scores of the slots from `tail_start` on; -inf for those not allowed."""
        scores: FloatArray = self._tail.view() @ vector
        scores[~allowed[self.tail_start :]] = -np.inf
        return scores


class Growing:
    """An array that rows are appended to, without copying it each time."""

    def __init__(self, rows: NDArray) -> None:  # type: ignore[type-arg]  # any dtype
        self._buffer = rows
        self._used = len(rows)

    def append(self, rows: NDArray) -> None:  # type: ignore[type-arg]
        """Add rows at the end."""
        needed = self._used + len(rows)
        if needed > len(self._buffer):
            grown = np.empty((max(needed, 2 * self._used), *self._buffer.shape[1:]), dtype=self._buffer.dtype)
            grown[: self._used] = self._buffer[: self._used]
            self._buffer = grown
        self._buffer[self._used : needed] = rows
        self._used = needed

    def view(self) -> NDArray:  # type: ignore[type-arg]
        """Return all rows, without a copy."""
        return self._buffer[: self._used]
