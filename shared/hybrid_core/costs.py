"""What scoring costs on this machine, learned from the calls that are made anyway."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Size = TypeVar("Size", float, NDArray[np.float64])

_REMEMBERED = 64  # measurements
_HALF_LIFE = 16  # measurements until one counts half
_QUANTILE = 0.95  # of measured over predicted seconds: the margin that is kept
_NARROWEST, _WIDEST = 1.03, 3.0  # of the margin; one stalled call must not stop all reranking for long
REACH = 4.0  # how far beyond the largest measurement a prediction is trusted
_FEW = 0.45  # margin added for the first measurement, half as much for two, and so on
_STALE = 32  # calls in a row that could score nothing in time, after which one finds out whether that is still so
_FLAT = 0.02  # how strongly the fixed cost is held at 0 where the measurements cannot tell it from the rest


def sizes(query: str, texts: list[str]) -> NDArray[np.float64]:
    """Return what each text weighs, in bytes of UTF-8 with the query beside it, runs of white space counted as one.

    Bytes stand for tokens, which would have to be made first: whatever the language, a token is about four of them.
    """
    beside = len(query.encode()) + 16  # the special tokens of a pair
    return np.array([len(" ".join(text.split()).encode()) + beside for text in texts], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds that a slice of texts will take: fixed + rate * size.

    Attributes:
        fixed: seconds of any slice.
        rate: seconds a byte.
        margin: by how much a slice may exceed that; nineteen of twenty do not.
        again: by how much a slice may exceed what the slices before it in its call let expect.
        reach: the largest size that the forecast holds for.
    """

    fixed: float
    rate: float
    margin: float
    again: float
    reach: float

    def seconds(self, size: Size) -> Size:
        """Return the seconds to expect, without the margin."""
        return self.fixed + self.rate * size


class CostModel:
    """Learns size and seconds of slices; the latest count most. Threads may share it.

    The line is fitted by least squares of relative errors, which slow outliers hardly move: a stall is at most one
    hundred per cent off. What they do move is the margin, a high quantile of measured over predicted seconds in which
    each slice counts by its duration. The very first slice pays for what a model sets up once, and is forgotten when a
    second one is measured.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._measured: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        self._drifts: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        self._first = True  # what was measured is to be forgotten at the next measurement
        self._unused = 0

    def learn(self, size: float, seconds: float, *, drift: float | None = None) -> None:
        """Take in a slice that was scored.

        Args:
            size: of it.
            seconds: that it took.
            drift: these over what the slices before it in its call let expect; None where there were none.
        """
        with self._lock:
            if drift is not None:
                self._drifts.append((drift, seconds))
            self._unused = 0
            if self._first and self._measured:
                self._measured.clear()
                self._first = False
            self._measured.append((size, max(seconds, 1e-6)))

    def doubt(self) -> bool:
        """Say that the forecast allows nothing, and return whether to find out anew, forgetting what was measured."""
        with self._lock:
            self._unused += 1
            self._first = self._first or self._unused >= _STALE
            return self._first

    def forecast(self) -> Forecast | None:
        """Return what is known now; None where nothing was measured yet."""
        with self._lock:
            measured, drifts = np.array(self._measured), np.array(self._drifts)
        if not len(measured):
            return None
        size, seconds = measured.T
        weight = _fading(len(measured))
        fixed, rate = _fit(size, seconds, weight)
        expected = fixed + rate * size
        margin = again = _margin(seconds / expected, weight * expected)
        if len(drifts):
            again = _margin(drifts[:, 0], _fading(len(drifts)) * drifts[:, 1])
        return Forecast(fixed, rate, margin, again, REACH * float(size.max()))


def _fading(count: int) -> NDArray[np.float64]:
    """Return the weights of measurements, the latest last."""
    weights: NDArray[np.float64] = 0.5 ** (np.arange(count)[::-1] / _HALF_LIFE)
    return weights


def _margin(ratios: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Return the quantile of ratios that is kept as a margin, wider as long as there are few."""
    return min(_WIDEST, max(_quantile(ratios, weight), _NARROWEST + _FEW / len(ratios)))


def _fit(size: NDArray[np.float64], seconds: NDArray[np.float64], weight: NDArray[np.float64]) -> tuple[float, float]:
    """Return fixed and rate >= 0 that minimise sum(weight * ((fixed + rate * size) / seconds - 1) ** 2)."""
    u, v = 1 / seconds, size / seconds
    uu, uv, vv = (float(np.sum(weight * a * b)) for a, b in ((u, u), (u, v), (v, v)))
    su, sv = float(np.sum(weight * u)), float(np.sum(weight * v))
    uu *= 1 + _FLAT
    determinant = uu * vv - uv * uv
    fixed, rate = (su * vv - sv * uv) / determinant, (uu * sv - uv * su) / determinant
    if fixed < 0:
        return 0.0, sv / vv
    if rate < 0:
        return su / uu, 0.0
    return fixed, rate


def _quantile(values: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    below = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(below, _QUANTILE * below[-1])])
