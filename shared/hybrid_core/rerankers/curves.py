"""From a reranker's score to a probability: the two curves that labelled pairs are fitted by."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError

Method: TypeAlias = Literal["platt", "isotonic"]

_EDGE = 1e-7  # float32 has hardly a score that is nearer to 1


@dataclass(frozen=True, slots=True)
class Platt:
    """probability = sigmoid(slope * logit(score) + intercept), the score clipped to [1e-7, 1 - 1e-7].

    Attributes:
        slope: > 0, so that a higher score never is a lower probability.
        intercept: any finite number.
    """

    slope: float
    intercept: float
    method: ClassVar[Method] = "platt"

    def __post_init__(self) -> None:
        most = sys.float_info.max
        object.__setattr__(self, "slope", _number(self.slope, "slope", math.ulp(0.0), most, "a number > 0"))
        object.__setattr__(self, "intercept", _number(self.intercept, "intercept", -most, most, "a finite number"))

    def __call__(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities (n,) of scores (n,) in [0, 1]."""
        with np.errstate(over="ignore"):  # exp of a large number is infinity, and 1 / infinity the 0 that is meant
            found: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-(self.slope * logit(scores) + self.intercept)))
        return found


@dataclass(frozen=True, slots=True)
class Isotonic:
    """Straight lines between the points that are given; before the first and behind the last these points' own value.

    Attributes:
        scores: of the points, ascending, in [0, 1].
        probabilities: one a score, never descending, in [0, 1], not all the same.
    """

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]
    method: ClassVar[Method] = "isotonic"

    def __post_init__(self) -> None:
        for name in ("scores", "probabilities"):
            object.__setattr__(self, name, _shares(getattr(self, name), name))
        if len(self.scores) != len(self.probabilities):
            raise InvalidInputError(
                f"there are {len(self.scores)} scores but {len(self.probabilities)} probabilities; give one a score"
            )
        for i in range(1, len(self.scores)):
            if self.scores[i] <= self.scores[i - 1]:
                raise InvalidInputError(f"scores[{i}]={self.scores[i]} must be above the one before it")
            if self.probabilities[i] < self.probabilities[i - 1]:
                raise InvalidInputError(f"probabilities[{i}]={self.probabilities[i]} must not be below the one before")
        if len(set(self.probabilities)) < 2:
            raise InvalidInputError(f"probabilities={list(self.probabilities)!r:.80} must rise somewhere")

    def __call__(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities (n,) of scores (n,) in [0, 1]."""
        found: NDArray[np.float64] = np.interp(scores, self.scores, self.probabilities)
        return found


CURVES: dict[str, type[Platt] | type[Isotonic]] = {"platt": Platt, "isotonic": Isotonic}


def logit(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(score / (1 - score)) of scores clipped to [1e-7, 1 - 1e-7]: from -16.1 to 16.1."""
    clipped = np.clip(scores, _EDGE, 1 - _EDGE)
    logits: NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
    return logits


def _shares(given: object, name: str) -> tuple[float, ...]:
    if not isinstance(given, (list, tuple)):
        raise InvalidInputError(f"{name}={given!r:.80} must be a list of numbers from 0 to 1")
    return tuple(_number(value, f"{name}[{i}]", 0, 1, "a number from 0 to 1") for i, value in enumerate(given))


def _number(value: object, name: str, low: float, high: float, needed: str) -> float:
    number = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high:
        number = float(value)
    if math.isnan(number):
        raise InvalidInputError(f"{name}={value!r:.80} must be {needed}")
    return number
