"""The metadata view: which passages satisfy a filter, by columns that are built when a filter first needs them.

Places are divided into stretches, each at least twice as long as the next. New passages become a stretch of their own,
and together with those before it where these are not long enough. So a passage's metadata is read log2(n) times in all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...filters import Filter, matches
from ..columns import Column, Mask, evaluate, keys
from .ledger import Ledger, State

_TAIL = 250  # up to this many of the newest passages are looked at one by one, which takes some two milliseconds


@dataclass(frozen=True, slots=True, eq=False)
class _Stretch:
    """Columns, by key, of the places from `start` to before `end`."""

    start: int
    end: int
    columns: dict[str, Column]


class MetadataView:
    """Evaluates filters over the passages of a ledger.

    Args:
        ledger: where the metadata is.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._stretches: list[_Stretch] = []
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
        built = self._stretches[-1].end if self._stretches else 0
        if size - built > _TAIL:
            built = self._grow(built, size)
        mask, wanted = np.zeros(size, dtype=np.bool_), keys(filter)
        for stretch in self._stretches:
            self._build(stretch, wanted - stretch.columns.keys())
            mask[stretch.start : stretch.end] = evaluate(filter, stretch.columns, stretch.end - stretch.start)
        newer = [place for place, metadata in self._ledger.metadata(built, size) if matches(filter, metadata)]
        mask[newer] = True
        return mask

    def _grow(self, start: int, end: int) -> int:
        while self._stretches and self._stretches[-1].end - self._stretches[-1].start < 2 * (end - start):
            start = self._stretches.pop().start
        self._stretches.append(_Stretch(start, end, {}))
        return end

    def _build(self, stretch: _Stretch, missing: set[str]) -> None:
        """Build columns, all that are missing in one pass over the metadata."""
        if not missing:
            return
        entries: dict[str, list[tuple[int, object]]] = {key: [] for key in missing}
        for place, metadata in self._ledger.metadata(stretch.start, stretch.end):
            for key in missing & metadata.keys():
                entries[key].append((place - stretch.start, metadata[key]))
        for key in missing:
            stretch.columns[key] = Column(key, entries[key], stretch.end - stretch.start)
