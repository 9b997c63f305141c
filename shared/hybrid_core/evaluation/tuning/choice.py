"""Choosing a setting by the figures of some queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError
from ...types import IntArray
from .grid import Variant

Target: TypeAlias = Literal["best", "cheapest"]
TARGETS: tuple[Target, ...] = get_args(Target)

TOLERANCE = 0.01  # the share of the best figure that "cheapest" may lose
SAME_COST = 1.05  # latencies closer than that are the same: measurements are no better
ROUNDS = 10  # ways to part the queries; how they happen to be parted once would decide too much
_EQUAL = 1e-9  # figures that differ by less are the same


def check_target(target: object) -> Target:
    """Return a target, or raise InvalidInputError naming those there are."""
    for known in TARGETS:
        if target == known:
            return known
    raise InvalidInputError(f"target={target!r:.40} must be one of {', '.join(map(repr, TARGETS))}")


def split(count: int, folds: int, seed: int) -> list[IntArray]:
    """Part queries at random into so many folds of nearly equal size, ten times over.

    Returns:
        The queries' numbers in each of the 10 * folds folds; every query is in ten of them.
    """
    draws = np.random.default_rng(seed)
    orders = [draws.permutation(count).astype(np.int32) for _ in range(ROUNDS)]
    return [np.sort(part) for order in orders for part in np.array_split(order, folds)]


def but(count: int, fold: IntArray) -> IntArray:
    """Return the numbers of the queries that are not in a fold."""
    return np.setdiff1d(np.arange(count, dtype=np.int32), fold)


def choose(values: NDArray[np.float64], variants: Sequence[Variant], target: Target) -> int:
    """Return the number of the best setting, or of the cheapest that comes within 1 % of it.

    Of equals the default, which is the first, is taken, else the cheapest. Latencies within 5 % are the same.

    Args:
        values: (settings, queries) figures of the queries to choose by.
        variants: the settings.
        target: "best" or "cheapest".
    """
    means = values.mean(axis=1)
    times = np.array([variant.milliseconds for variant in variants])
    pool = np.arange(len(variants))
    if target == "cheapest":
        pool = pool[means >= (1 - TOLERANCE) * means.max() - _EQUAL]
        pool = pool[times[pool] <= SAME_COST * times[pool].min()]
    pool = pool[means[pool] >= means[pool].max() - _EQUAL]
    return int(min(pool.tolist(), key=lambda i: (i != 0, times[i], i)))


def choices(
    values: NDArray[np.float64], variants: Sequence[Variant], folds: Sequence[IntArray], target: Target
) -> tuple[int, ...]:
    """Return for each fold the setting that all other queries choose."""
    return tuple(choose(values[:, but(values.shape[1], fold)], variants, target) for fold in folds)
