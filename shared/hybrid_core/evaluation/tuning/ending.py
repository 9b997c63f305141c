"""Where a setting's lists end without losing anything: after how many hits, and below which score of the reranker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...types import IntArray
from .choice import ROUNDS, Target, but
from .ranking import Cut, Ranking

_LOSS = 0.005  # the share of a figure that a cut may lose on queries that had no say in it
_EQUAL = 1e-9  # figures that differ by less are the same


@dataclass(frozen=True, slots=True, eq=False)
class Validated:
    """What chosen settings and cuts are worth: every query's figures come from choices in which it had no say.

    Attributes:
        cut: whether lists are cut.
        figures: (n,) nDCG of each query, and
        hits: (n,) how many hits it is left, both the mean over its folds.
    """

    cut: bool
    figures: NDArray[np.float64]
    hits: NDArray[np.float64]


def cut(ranking: Ranking, rows: IntArray, target: Target) -> Cut:
    """Return the highest threshold, for "cheapest" of the shortest list, that takes no answer away from some queries.

    The threshold lies halfway between the lowest score that must stay and the next lower one.

    Args:
        ranking: of the setting.
        rows: the queries to choose by.
        target: "best" keeps the list's length, since a shorter one may lose an answer and gains nothing.
    """
    shares, scores, there = ranking.shares[rows], ranking.scores[rows], ranking.there[rows]
    counts = shares > 0
    k = shares.shape[1]
    if target == "cheapest" and counts.any():
        k = int(np.flatnonzero(counts.any(axis=0))[-1]) + 1
    counts, scores, there = counts[:, :k], scores[:, :k], there[:, :k]
    lowest = float(scores[counts].min()) if counts.any() else 0.0
    below = scores[there & (scores < lowest)]
    if lowest <= 0 or not len(below):
        return Cut(k, None)
    lower = max(0.0, float(below.max()))
    halfway = round((lowest + lower) / 2, 4)
    return Cut(k, halfway if lower < halfway <= lowest else lowest)


def validate(
    rankings: Mapping[int, Ranking],
    values: NDArray[np.float64],
    choices: Sequence[int],
    folds: Sequence[IntArray],
    target: Target,
) -> Validated:
    """Measure each fold under the setting that the others chose, its lists cut by the others too.

    A cut takes away about one answer in as many as it was chosen by: of few queries, too much. So where it loses over
    0.5 % on held-out queries, lists are not cut.

    Args:
        rankings: the ranking of each of these settings by its number.
        values: (settings, n) figures without a cut, the default's first.
        choices: the setting of each fold.
        folds: the queries' numbers in each fold.
        target: see `cut`.
    """
    ended, whole = (_measured(cut_, rankings, values, choices, folds, target) for cut_ in (True, False))
    return ended if ended.figures.mean() >= (1 - _LOSS) * whole.figures.mean() - _EQUAL else whole


def _measured(
    cut_: bool,
    rankings: Mapping[int, Ranking],
    values: NDArray[np.float64],
    choices: Sequence[int],
    folds: Sequence[IntArray],
    target: Target,
) -> Validated:
    gains, hits = np.zeros((2, values.shape[1]))  # over the default: where there is none, it is 0 whatever the rounding
    for fold, choice in zip(folds, choices, strict=True):
        ranking = rankings[choice]
        end = cut(ranking, but(values.shape[1], fold), target) if cut_ else Cut(ranking.shares.shape[1], None)
        kept = ranking.kept(end)[fold]
        gains[fold] += ((ranking.shares[fold] * kept).sum(axis=1) - values[0, fold]) / ROUNDS
        hits[fold] += kept.sum(axis=1) / ROUNDS
    return Validated(cut_, values[0] + gains, hits)
