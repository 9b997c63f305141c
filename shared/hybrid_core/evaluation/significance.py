"""How sure a figure is: bootstrap intervals, and a paired randomisation test between two systems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..checks import check_count
from ..errors import InvalidInputError

_CELLS = 4_000_000  # numbers drawn together: 32 MB


class Interval(NamedTuple):
    """A confidence interval: its lower and upper end."""

    low: float
    high: float


def bootstrap_interval(
    values: Sequence[float], *, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> Interval:
    """Return a confidence interval of the mean by the percentile bootstrap over queries (scipy.stats.bootstrap).

    Args:
        values: one a query.
        confidence: the level, in (0, 1).
        resamples: how often queries are drawn, with replacement.
        seed: of the draws; the same seed gives the same interval.

    Raises:
        InvalidInputError: there are no values, one is not finite, or an argument is out of range.
    """
    array = _checked(values, "values")
    if not 0 < confidence < 1:
        raise InvalidInputError(f"confidence={confidence} must lie between 0 and 1, both left out")
    check_count(resamples, "resamples", least=1)
    if np.ptp(array) == 0:  # one value, or equal ones: every draw has the same mean
        return Interval(float(array[0]), float(array[0]))
    found = stats.bootstrap(
        (array,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _CELLS // len(array)),
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def randomisation_test(
    first: Sequence[float], second: Sequence[float], *, resamples: int = 9_999, seed: int = 0
) -> float:
    """Return the two-sided p-value of the difference of two systems' means over the same queries.

    Fisher's randomisation test: if the systems were alike, the two values of a query could be exchanged; p is how often
    exchanging them at random makes the means differ as much (Smucker, Allan, Carterette: A Comparison of Statistical
    Significance Tests for Information Retrieval Evaluation, CIKM 2007). With up to 13 queries every exchange is tried.
    When several systems are compared, one in twenty alike will show p < 0.05: p is not corrected for that.

    Args:
        first: one value a query.
        second: the same of the other system, queries in the same order.
        resamples: how many exchanges are tried.
        seed: of the exchanges; the same seed gives the same p.

    Raises:
        InvalidInputError: the lengths differ, there are no values, or one is not finite.
    """
    a, b = _checked(first, "first"), _checked(second, "second")
    if len(a) != len(b):
        raise InvalidInputError(f"{len(a)} values of one system, {len(b)} of the other; one a query is needed of both")
    check_count(resamples, "resamples", least=1)
    difference = b - a
    if not difference.any():
        return 1.0
    if len(a) == 1:
        return 1.0  # exchanging the only pair gives as large a difference
    found = stats.permutation_test(
        (difference,),
        _mean,
        permutation_type="samples",
        n_resamples=resamples,
        batch=max(1, _CELLS // len(difference)),
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def _mean(values: NDArray[np.float64], axis: int = -1) -> Any:
    return values.mean(axis=axis)


def _checked(values: Sequence[float], name: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise InvalidInputError(f"{name} must be finite numbers, one a query, at least one")
    return array
