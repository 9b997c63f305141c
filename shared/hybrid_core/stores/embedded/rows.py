"""What the embedded store holds in memory of each passage: its id, by place, and whether it is still there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Rows:
    """Passages by place.

    Ids are only ever added to, and flags copied before any is cleared, so that a search may go on with what it has got
    while others write: of a passage that is replaced it finds the one version or the other.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []  # "" at a place whose passage had gone before this was opened
        self._alive = np.zeros(0, dtype=np.bool_)

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Which places have a passage (places,)."""
        return self._alive[: len(self.ids)]

    def append(self, upto: int, places: NDArray[np.int64], ids: Sequence[str]) -> None:
        """Add the places before `upto` that are not here yet; the ascending ones given have a passage."""
        start = len(self.ids)
        if upto > len(self._alive):
            grown = np.zeros(max(upto, 2 * len(self._alive)), dtype=np.bool_)
            grown[:start] = self._alive[:start]
            self._alive = grown
        if len(places) == upto - start:
            self.ids += ids
        else:
            added = [""] * (upto - start)
            for place, id_ in zip((places - start).tolist(), ids, strict=True):
                added[place] = id_
            self.ids += added
        self._alive[places] = True

    def remove(self, places: NDArray[np.int64]) -> None:
        """Note passages as gone."""
        if len(places):
            self._alive = self._alive.copy()
            self._alive[places] = False
