"""The metadata view: which rows satisfy a filter, by columns that are built when a filter first needs them."""

from __future__ import annotations

import numpy as np

from ...filters import Filter, matches
from ..columns import Column, Mask, evaluate, keys
from .ledger import Ledger
from .rows import Rows

_TAIL = 1_000  # this many newer rows, or a tenth, are looked at one by one before the columns are built anew


class MetadataView:
    """Evaluates filters over the rows of a ledger.

    Args:
        ledger: where the metadata is.
        rows: the rows by slot, kept up to date by the store.
    """

    def __init__(self, ledger: Ledger, rows: Rows) -> None:
        self._ledger = ledger
        self._rows = rows
        self._columns: dict[str, Column] = {}
        self._built = 0  # the columns know the slots before this one
        self._last: tuple[str, int, Mask] | None = None

    def mask(self, filter: Filter, upto: int) -> Mask:
        """Return which slots satisfy the filter, whether still there or not.

        Args:
            filter: a checked filter.
            upto: the newest sequence number in the rows; the last answer is kept for as long as it stays the same, so
                that the two sides of one query share it.
        """
        key = repr(filter)  # not the filter itself: Eq("a", 1) == Eq("a", True) in Python
        if self._last is None or self._last[:2] != (key, upto):
            self._last = (key, upto, self._evaluate(filter))
        return self._last[2]

    def _evaluate(self, filter: Filter) -> Mask:
        size = len(self._rows.ids)
        if size - self._built > max(_TAIL, self._built // 10):
            self._columns, self._built = {}, size
        self._build(keys(filter) - self._columns.keys())
        mask = np.zeros(size, dtype=np.bool_)
        mask[: self._built] = evaluate(filter, self._columns, self._built)
        known = int(self._rows.seqs()[self._built - 1]) if self._built else 0
        newer = [seq for seq, metadata in self._ledger.metadata(after=known) if matches(filter, metadata)]
        mask[self._rows.slots(newer)] = True
        return mask

    def _build(self, missing: set[str]) -> None:
        """Build columns, all that are missing in one pass over the metadata."""
        if not missing:
            return
        slot_of = {seq: slot for slot, seq in enumerate(self._rows.seqs()[: self._built].tolist())}
        entries: dict[str, list[tuple[int, object]]] = {key: [] for key in missing}
        for seq, metadata in self._ledger.metadata():
            slot = slot_of.get(seq)
            if slot is not None:
                for key in missing & metadata.keys():
                    entries[key].append((slot, metadata[key]))
        for key in missing:
            self._columns[key] = Column(key, entries[key], self._built)
