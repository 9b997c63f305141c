"""The metadata view: which passages satisfy a filter, by columns that are built when a filter first needs them."""

from __future__ import annotations

import numpy as np

from ...filters import Filter, matches
from ..columns import Column, Mask, evaluate, keys
from .ledger import Ledger, State

_TAIL = 1_000  # this many newer passages, or a tenth, are looked at one by one before the columns are built anew


class MetadataView:
    """Evaluates filters over the passages of a ledger.

    Args:
        ledger: where the metadata is.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._columns: dict[str, Column] = {}
        self._built = 0  # the columns know the places before this one
        self._last: tuple[str, State, Mask] | None = None

    def mask(self, filter: Filter, state: State) -> Mask:
        """Return which places hold a passage that satisfies the filter, or held one that did.

        Args:
            filter: a checked filter.
            state: of the ledger, now; the last answer is kept for as long as it stays the same, so that the two sides
                of one query share it.
        """
        key = repr(filter)  # not the filter itself: Eq("a", 1) == Eq("a", True) in Python
        if self._last is None or self._last[:2] != (key, state):
            self._last = (key, state, self._evaluate(filter, state.rows))
        return self._last[2]

    def _evaluate(self, filter: Filter, size: int) -> Mask:
        if size - self._built > max(_TAIL, self._built // 10):
            self._columns, self._built = {}, size
        self._build(keys(filter) - self._columns.keys())
        mask = np.zeros(size, dtype=np.bool_)
        mask[: self._built] = evaluate(filter, self._columns, self._built)
        newer = [place for place, metadata in self._ledger.metadata(self._built) if matches(filter, metadata)]
        mask[newer] = True
        return mask

    def _build(self, missing: set[str]) -> None:
        """Build columns, all that are missing in one pass over the metadata."""
        if not missing:
            return
        entries: dict[str, list[tuple[int, object]]] = {key: [] for key in missing}
        for place, metadata in self._ledger.metadata():
            if place >= self._built:
                break
            for key in missing & metadata.keys():
                entries[key].append((place, metadata[key]))
        for key in missing:
            self._columns[key] = Column(key, entries[key], self._built)
