"""A latency budget, and how many candidates it is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..checks import check_count
from ..costs import REACH, CostModel
from ..errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Budget:
    """How long reranking one query may take; how many candidates that buys follows from measured speed.

    Attributes:
        milliseconds: > 0, from the call to its result, tokenising included.
        min_candidates: scored however long they take, so that these alone may break the budget; >= 0. With 0 a budget
            that is worth no candidate leaves the order as it was, but for the calls that measure: the first two, and
            one in 32 of those that could score nothing.
        max_candidates: the most that are scored, however fast; at least min_candidates.

    Raises:
        InvalidInputError: a number is out of range.
    """

    milliseconds: float = 100.0
    min_candidates: int = 3
    max_candidates: int = 50

    def __post_init__(self) -> None:
        number = self.milliseconds
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 < number < math.inf:
            raise InvalidInputError(f"milliseconds={number!r} must be a number > 0")
        check_count(self.min_candidates, "min_candidates", least=0)
        check_count(self.max_candidates, "max_candidates", least=1)
        if self.max_candidates < self.min_candidates:
            raise InvalidInputError(
                f"max_candidates={self.max_candidates} is below min_candidates={self.min_candidates}"
            )


class Slicer:
    """Cuts the candidates of one call into slices that each should end in time.

    The first slice is as large as the forecast and its margin allow. What it takes tells how these texts, and the
    machine as it is now, compare with the forecast. The slices after it go by that, so they need less of a margin.

    Args:
        costs: what earlier calls took; is told what this one takes.
        sizes: of the candidates, in the order they are to be scored.
        least: how many are scored in any case.
    """

    def __init__(self, costs: CostModel, sizes: NDArray[np.float64], least: int) -> None:
        self._costs, self._sizes, self._least = costs, sizes, min(least, len(sizes))
        self._forecast = costs.forecast()
        self._reach = 0.0 if self._forecast is None else self._forecast.reach
        self._expected = self._took = 0.0
        self._pace: float | None = None  # seconds over expected ones, in this call
        self.done = 0

    def next(self, left: float) -> int:
        """Return how many candidates to score now, given the seconds left; 0 is to stop."""
        ahead = np.cumsum(self._sizes[self.done :])
        if not len(ahead):
            return 0
        count = 0
        if self._forecast is not None:
            forecast = self._forecast
            slower = forecast.margin if self._pace is None else self._pace * forecast.again
            within = int(np.searchsorted(ahead, self._reach, side="right"))
            count = min(int(np.searchsorted(slower * forecast.seconds(ahead), left, side="right")), max(1, within))
        count = max(count, self._least - self.done)
        if count == 0 and self.done == 0 and (self._forecast is None or self._costs.doubt()):
            return 1
        return count

    def learn(self, count: int, seconds: float) -> None:
        """Take in what scoring the next `count` candidates took."""
        size = float(self._sizes[self.done : self.done + count].sum())
        self.done += count
        self._reach = max(self._reach, REACH * size)
        if self._forecast is None:
            self._costs.learn(size, seconds)
            self._forecast = self._costs.forecast()
            return
        expected = self._forecast.seconds(size)
        drift = None if self._pace is None else seconds / (self._pace * expected)
        self._costs.learn(size, seconds, drift=drift)
        self._expected += expected
        self._took += seconds
        self._pace = self._took / self._expected
