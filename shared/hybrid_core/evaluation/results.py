"""What an evaluation found, as values that JSON can hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInputError, StorageError
from ..types import Scored
from .comparison import Comparison, compare
from .datasets import Qrels
from .significance import Interval


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds a query: the mean, the median and the 95th percentile."""

    mean: float
    p50: float
    p95: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Summarise seconds, one a query."""
        milliseconds = 1e3 * np.asarray(seconds, dtype=np.float64)
        p50, p95 = np.percentile(milliseconds, [50, 95])
        return cls(float(milliseconds.mean()), float(p50), float(p95))


@dataclass(frozen=True, slots=True, eq=False)
class SystemResult:
    """One system's figures.

    Attributes:
        name: of the system.
        settings: see `System.settings`.
        means: metric -> mean over the queries.
        intervals: metric -> 95 % bootstrap interval of that mean.
        values: metric -> query id -> value.
        pairwise_accuracy: see `pairwise_accuracy`; the mean over the queries that have such a pair, None without any.
        latency: stage ("encode", "dense", "sparse", "fused", "reranked", "total") -> milliseconds a query. Queries are
            encoded in one batch, whose time is divided among them; what systems share is counted for each.
        rankings: query id -> documents, best first.
    """

    name: str
    settings: Mapping[str, Any]
    means: Mapping[str, float]
    intervals: Mapping[str, Interval]
    values: Mapping[str, Mapping[str, float]]
    pairwise_accuracy: float | None
    latency: Mapping[str, Latency]
    rankings: Mapping[str, Sequence[Scored]]

    def as_dict(self, *, queries: bool = True) -> dict[str, Any]:
        """Return JSON values; `queries` adds the values of each query. Rankings are in the run files."""
        summary: dict[str, Any] = {
            "name": self.name,
            "settings": dict(self.settings),
            "means": dict(self.means),
            "intervals": {metric: list(interval) for metric, interval in self.intervals.items()},
            "pairwise_accuracy": self.pairwise_accuracy,
            "latency_ms": {stage: asdict(latency) for stage, latency in self.latency.items()},
        }
        values = {metric: dict(values) for metric, values in self.values.items()}
        return {**summary, "values": values} if queries else summary


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Several systems on one evaluation set.

    Attributes:
        dataset: name of the set.
        documents: number of passages in the index.
        queries: id -> text of the questions that were asked.
        qrels: query id -> document id -> grade; 1 and more is relevant.
        unjudged: questions of the set that were left out because nothing is judged for them.
        kinds: query id -> kind, where the questions are synthetic; empty otherwise.
        encoder: the model, as it describes itself.
        metrics: the metrics, the first one to compare systems by.
        k: the cutoff of the metrics.
        systems: in the order they were given; the first is the baseline of comparisons.
        recalled: "dense" and "sparse", where a system searches that side -> query id -> what the side alone found, best
            first, at the widest depth that any system asks for.
        seed: of intervals and tests.
    """

    dataset: str
    documents: int
    queries: Mapping[str, str]
    qrels: Qrels
    unjudged: int
    kinds: Mapping[str, str]
    encoder: str
    metrics: tuple[str, ...]
    k: int
    systems: tuple[SystemResult, ...]
    recalled: Mapping[str, Mapping[str, Sequence[Scored]]]
    seed: int

    def system(self, name: str) -> SystemResult:
        """Return a system's result by name.

        Raises:
            InvalidInputError: there is none of that name.
        """
        for result in self.systems:
            if result.name == name:
                return result
        raise InvalidInputError(f"no system {name!r} here; there are {', '.join(r.name for r in self.systems)}")

    def compare(self, baseline: str, system: str, metric: str | None = None) -> Comparison:
        """Compare two systems query by query; None is the first metric.

        Raises:
            InvalidInputError: there is no such system or metric.
        """
        metric = self.metrics[0] if metric is None else metric
        if metric not in self.metrics:
            raise InvalidInputError(f"metric {metric!r} was not computed; there are {', '.join(self.metrics)}")
        values = [self.system(name).values[metric] for name in (baseline, system)]
        return compare(values[0], values[1], names=(baseline, system), metric=metric, seed=self.seed)

    def comparisons(self) -> tuple[Comparison, ...]:
        """Return every other system against the first, in the first metric."""
        first, *others = self.systems
        return tuple(self.compare(first.name, other.name) for other in others)

    def mean_by_kind(self, system: str, metric: str | None = None) -> dict[str, float]:
        """Return kind -> mean over the synthetic questions of that kind; empty where questions are not synthetic."""
        values = self.system(system).values[metric or self.metrics[0]]
        of_kind: dict[str, list[float]] = {}
        for query, kind in self.kinds.items():
            of_kind.setdefault(kind, []).append(values[query])
        return {kind: float(np.mean(found)) for kind, found in of_kind.items()}

    def as_dict(self, *, queries: bool = True) -> dict[str, Any]:
        """Return JSON values; `queries` adds texts, values and comparisons query by query."""
        summary: dict[str, Any] = {
            "dataset": self.dataset,
            "documents": self.documents,
            "queries": len(self.queries),
            "unjudged_queries": self.unjudged,
            "synthetic": bool(self.kinds),
            "encoder": self.encoder,
            "metrics": list(self.metrics),
            "seed": self.seed,
            "systems": [result.as_dict(queries=queries) for result in self.systems],
            "comparisons": [comparison.as_dict(queries=queries) for comparison in self.comparisons()],
        }
        if self.kinds:
            summary["by_kind"] = {result.name: self.mean_by_kind(result.name) for result in self.systems}
        if queries:
            summary["query_texts"] = dict(self.queries)
            summary["query_kinds"] = dict(self.kinds)
        return summary

    def write(self, path: str | Path) -> None:
        """Write `as_dict()` to a JSON file.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            Path(path).write_text(json.dumps(self.as_dict(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error}") from error
