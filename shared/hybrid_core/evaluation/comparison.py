"""Two systems side by side, query by query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInputError
from .significance import Interval, bootstrap_interval, randomisation_test

_EQUAL = 1e-9  # two values that differ by less are a tie


@dataclass(frozen=True, slots=True)
class QueryDifference:
    """One query under two systems.

    Attributes:
        query: its id.
        baseline, system: the metric's values.
    """

    query: str
    baseline: float
    system: float

    @property
    def difference(self) -> float:
        """System minus baseline: above 0 is a win of the system."""
        return self.system - self.baseline


@dataclass(frozen=True, slots=True)
class Comparison:
    """A system against a baseline in one metric.

    Attributes:
        metric: its name.
        baseline, system: names of the systems.
        rows: one a query, the greatest win first, the greatest loss last.
        difference: mean of the differences: above 0, the system is better.
        interval: of that mean, at 95 % (bootstrap).
        p_value: of the paired randomisation test.
    """

    metric: str
    baseline: str
    system: str
    rows: tuple[QueryDifference, ...]
    difference: float
    interval: Interval
    p_value: float

    @property
    def wins(self) -> tuple[QueryDifference, ...]:
        """Queries on which the system is better, the greatest win first."""
        return tuple(row for row in self.rows if row.difference > _EQUAL)

    @property
    def losses(self) -> tuple[QueryDifference, ...]:
        """Queries on which the baseline is better, the greatest loss first."""
        return tuple(row for row in reversed(self.rows) if row.difference < -_EQUAL)

    @property
    def ties(self) -> int:
        """How many queries come out the same."""
        return len(self.rows) - len(self.wins) - len(self.losses)

    def as_dict(self, *, queries: bool = True) -> dict[str, Any]:
        """Return JSON values; `queries` adds the rows."""
        summary: dict[str, Any] = {
            "metric": self.metric,
            "baseline": self.baseline,
            "system": self.system,
            "difference": self.difference,
            "interval": list(self.interval),
            "p_value": self.p_value,
            "wins": len(self.wins),
            "losses": len(self.losses),
            "ties": self.ties,
        }
        rows = [
            {"query": row.query, "baseline": row.baseline, "system": row.system, "difference": row.difference}
            for row in self.rows
        ]
        return {**summary, "queries": rows} if queries else summary


def compare(
    baseline: Mapping[str, float], system: Mapping[str, float], *, names: tuple[str, str], metric: str, seed: int = 0
) -> Comparison:
    """Compare two systems by the values of one metric.

    Args:
        baseline: query id -> value, as `measure` gives it.
        system: the same of the other system, for the same queries.
        names: of the baseline and of the system.
        metric: its name.
        seed: of the interval and the test.

    Raises:
        InvalidInputError: the systems have answered different queries.
    """
    if baseline.keys() != system.keys():
        raise InvalidInputError(
            f"{names[0]!r} and {names[1]!r} have answered different queries ({len(baseline)} and {len(system)}, "
            f"{len(baseline.keys() & system.keys())} in common); only the same ones can be compared"
        )
    pairs = [QueryDifference(query, value, system[query]) for query, value in baseline.items()]
    differences = [row.difference for row in pairs]
    return Comparison(
        metric=metric,
        baseline=names[0],
        system=names[1],
        rows=tuple(sorted(pairs, key=lambda row: (-row.difference, row.query))),
        difference=sum(differences) / len(differences) if differences else 0.0,
        interval=bootstrap_interval(differences, seed=seed),
        p_value=randomisation_test([row.baseline for row in pairs], [row.system for row in pairs], seed=seed),
    )
