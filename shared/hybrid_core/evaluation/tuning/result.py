"""What tuning found, as values that JSON can hold, and in one sentence."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import StorageError
from ...settings import Settings, fusion_dict
from ..comparison import Comparison
from ..results import Latency
from ..significance import Interval
from .choice import SAME_COST, TOLERANCE, Target
from .costs import Costs
from .grid import Variant

# A p-value from here on is noise. Folds share queries, so that a test of what they find is too sure of itself (Bengio,
# Grandvalet: No Unbiased Estimator of the Variance of K-Fold Cross-Validation, JMLR 2004).
LEVEL = 0.01


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting of the grid and its figure.

    Attributes:
        variant: the setting.
        mean: nDCG over all queries: what it was chosen by, and so not what to expect of it.
    """

    variant: Variant
    mean: float

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "fusion": fusion_dict(self.variant.fusion),
            "candidates": self.variant.candidates,
            "reranked": self.variant.reranked,
            "milliseconds": self.variant.milliseconds,
            "mean": self.mean,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Tuning:
    """What was chosen, why, and what may be expected of it.

    Attributes:
        settings: what to open an index with.
        reason: what was taken, and whether its gain over the default is real or noise, in one sentence.
        dataset: name of the evaluation set.
        metric: such as "nDCG@10".
        target: "best" or "cheapest".
        max_ms: the bound on latency; None without one.
        trials: all settings; the first is the default.
        choice: the one chosen by all queries.
        taken: what the settings hold: the choice, or the default where cross-validation does not bear the choice out.
        fold_choices: what was chosen for each fold, ten times over.
        comparison: the choices of the folds, cut as the settings are, against the default, each on the queries that
            had no say in it.
        held_out: the same mean of what was taken, and
        interval: its 95 % bootstrap interval.
        default_interval: that of the default's mean.
        hits: how many hits a query is left, of at most k.
        latency: of real searches by the settings "default" and "tuned".
        costs: milliseconds of the stages, by which settings are compared.
        folds: how many.
        seed: of folds, intervals and tests.
    """

    settings: Settings
    reason: str
    dataset: str
    metric: str
    target: Target
    max_ms: float | None
    trials: tuple[Trial, ...]
    choice: Trial
    taken: Trial
    fold_choices: tuple[Trial, ...]
    comparison: Comparison
    held_out: float
    interval: Interval
    default_interval: Interval
    hits: float
    latency: Mapping[str, Latency]
    costs: Costs
    folds: int
    seed: int

    @property
    def default(self) -> Trial:
        """Reciprocal rank fusion with k = 60 over 50 candidates, all reranked if there is a reranker."""
        return self.trials[0]

    @property
    def changed(self) -> bool:
        """Whether anything but the default was taken."""
        return self.taken is not self.default

    @property
    def noise(self) -> bool:
        """Whether the difference from the default may well be none."""
        return is_noise(self.comparison)

    def as_dict(self, *, queries: bool = True) -> dict[str, Any]:
        """Return JSON values; `queries` adds the comparison query by query."""
        return {
            "settings": self.settings.as_dict(),
            "reason": self.reason,
            "noise": self.noise,
            "dataset": self.dataset,
            "metric": self.metric,
            "target": self.target,
            "max_ms": self.max_ms,
            "default": {**self.default.as_dict(), "interval": list(self.default_interval)},
            "choice": self.choice.as_dict(),
            "taken": self.taken.as_dict(),
            "changed": self.changed,
            "held_out": self.held_out,
            "interval": list(self.interval),
            "hits": self.hits,
            "latency_ms": {name: asdict(latency) for name, latency in self.latency.items()},
            "comparison": self.comparison.as_dict(queries=queries),
            "fold_choices": [trial.as_dict() for trial in self.fold_choices],
            "costs_ms": asdict(self.costs),
            "folds": self.folds,
            "seed": self.seed,
            "trials": [trial.as_dict() for trial in self.trials],
        }

    def write(self, path: str | Path) -> None:
        """Write `as_dict()` to a JSON file; `settings.to_json` writes the settings alone.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            Path(path).write_text(json.dumps(self.as_dict(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error}") from error


def is_noise(comparison: Comparison) -> bool:
    """Return whether a difference may well be none: p >= .01, or an interval with 0 in it."""
    return comparison.p_value >= LEVEL or comparison.interval.low <= 0 <= comparison.interval.high


def decide(choice: Trial, default: Trial, comparison: Comparison, target: Target) -> tuple[bool, str]:
    """Return whether a choice is taken rather than the default, and why, in one sentence.

    It is taken where it does better on queries that had no say in it; as the cheapest also where it saves time and
    loses no more than 1 % there. Whether the difference is noise does not decide that, since of two settings the one
    that does better there is the safer bet; but it is said.
    """
    name, difference, (low, high) = choice.variant, comparison.difference, comparison.interval
    figures = (
        f"{difference:+.3f} {comparison.metric} on held-out questions (95 % interval {low:+.3f} to {high:+.3f}, "
        f"p = {comparison.p_value:.3g})"
    )
    if choice is default:
        rest = "" if difference == 0 else f"; what other folds chose came to {figures}"
        return False, f"The default is kept: it is what the questions choose{rest}."
    unsure = f"is noise: {len(comparison.rows)} questions do not tell it from none"
    before, after = default.variant.milliseconds, choice.variant.milliseconds
    if difference > 0:
        verdict = f"which {unsure}" if is_noise(comparison) else "which is real, not noise"
        return True, f"{name} is taken: {figures} against the default, {verdict}."
    verdict = f"which {unsure}" if is_noise(comparison) else "which is a real loss"
    held = sum(row.baseline for row in comparison.rows) / len(comparison.rows)
    if target == "cheapest" and SAME_COST * after < before and difference >= -TOLERANCE * held:
        saved = f"{after:.1f} ms a question rather than {before:.1f}"
        return True, f"{name} is taken: {saved}, at {figures} against the default, {verdict}."
    return False, f"The default is kept: {name} comes to {figures} against it, {verdict}."


def agreement(trials: tuple[Trial, ...]) -> str:
    """Return how often the folds chose the same: "4 of 5 folds chose RRF k=60, 10 candidates"."""
    (variant, count), *_ = Counter(str(trial.variant) for trial in trials).most_common(1)
    return f"{count} of {len(trials)} folds chose {variant}"
