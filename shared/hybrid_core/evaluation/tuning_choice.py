"""Choosing a setting on some queries, and finding out on others what the choice is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..types import IntArray
from .tuning_grid import Variant
from .tuning_ranking import Cut, Ranking

Target: TypeAlias = Literal["best", "cheapest"]
TARGETS: tuple[Target, ...] = get_args(Target)

TOLERANCE = 0.01  # the share of the best figure that "cheapest" may lose
SAME_COST = 1.05  # latencies closer than that are the same: measurements are no better
ROUNDS = 10  # ways to part the queries; how they happen to be parted once would decide too much
_EQUAL = 1e-9  # figures that differ by less are the same
_DIGITS = 10_000  # of a threshold


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


def choose(values: NDArray[np.float64], variants: Sequence[Variant], target: Target) -> int:
    """Return the number of the best setting, or of the cheapest that comes within 1 % of it.

    Latencies that differ by less than 5 % are the same. Of equals the first setting, the default, is taken if it is
    among them.

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


def cut(ranking: Ranking, rows: IntArray, least: float, target: Target) -> Cut:
    """Return the shortest list, and then the highest threshold, that keep a figure.

    Args:
        ranking: of the setting.
        rows: the queries to choose by.
        least: the mean that is to be kept.
        target: "best" keeps all k hits; "cheapest" takes fewer where that is enough.
    """
    shares, scores = ranking.shares[rows], ranking.scores[rows]
    k = shares.shape[1]
    if target == "cheapest":
        means = shares.cumsum(axis=1).mean(axis=0)
        k = min(k, 1 + int(np.searchsorted(means, least - _EQUAL)))
    gained, of = shares[:, :k].ravel(), scores[:, :k].ravel()
    ascending = np.argsort(of, kind="stable")
    lost = gained[ascending].cumsum() / len(rows)
    over = np.flatnonzero(lost > gained.sum() / len(rows) - least + _EQUAL)
    if not len(over) or not ranking.there[rows].any():
        return Cut(k, None)
    lowest = float(of[ascending[over[0]]])  # this one must stay
    threshold = min(lowest, math.floor(lowest * _DIGITS) / _DIGITS)
    below = ranking.there[rows][:, :k].ravel() & (of < threshold)
    return Cut(k, threshold if threshold > 0 and below.any() else None)


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """What choosing is worth: every query's figures come from choices in which it had no say.

    Attributes:
        choices: the setting chosen for each fold.
        chosen: (n,) nDCG of each query under the settings chosen without it, the mean over its folds.
        default: (n,) the same under the default.
    """

    choices: tuple[int, ...]
    chosen: NDArray[np.float64]
    default: NDArray[np.float64]


def validate(
    values: NDArray[np.float64], variants: Sequence[Variant], folds: Sequence[IntArray], target: Target
) -> Validation:
    """Choose on all queries but a fold's, and look at these; fold by fold."""
    chosen = np.zeros(values.shape[1])
    choices = []
    for fold in folds:
        choice = choose(values[:, _but(values, fold)], variants, target)
        chosen[fold] += values[choice, fold] / ROUNDS
        choices.append(choice)
    return Validation(tuple(choices), chosen, values[0])


def validate_cut(
    rankings: Mapping[int, Ranking],
    values: NDArray[np.float64],
    choices: Sequence[int],
    folds: Sequence[IntArray],
    target: Target,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cut the list of each fold's setting by the other queries.

    Args:
        rankings: the ranking of each of these settings by its number.
        values: (settings, n) figures without a cut.
        choices: the setting of each fold.
        folds: the queries' numbers in each fold.
        target: see `cut`.

    Returns:
        (n,) nDCG of each query with cuts that were made without it, and (n,) how many hits these leave; both the mean
        over its folds.
    """
    figures, hits = np.zeros((2, values.shape[1]))
    for fold, choice in zip(folds, choices, strict=True):
        rest = _but(values, fold)
        ranking = rankings[choice]
        kept = ranking.kept(cut(ranking, rest, to_keep(values[:, rest], choice, target), target))[fold]
        figures[fold] += (ranking.shares[fold] * kept).sum(axis=1) / ROUNDS
        hits[fold] += kept.sum(axis=1) / ROUNDS
    return figures, hits


def to_keep(values: NDArray[np.float64], choice: int, target: Target) -> float:
    """Return the mean that a cut of a setting's list must keep: all of it, or within 1 % of the best setting."""
    means = values.mean(axis=1)
    own = float(means[choice])
    return own if target == "best" else min(own, (1 - TOLERANCE) * float(means.max()))


def _but(values: NDArray[np.float64], fold: IntArray) -> IntArray:
    return np.setdiff1d(np.arange(values.shape[1], dtype=np.int32), fold)
