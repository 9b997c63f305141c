"""What tuning found, as values that JSON can hold, and in one sentence."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import StorageError
from ..settings import Settings, fusion_dict
from .comparison import Comparison
from .significance import Interval
from .tuning_choice import SAME_COST, TOLERANCE, Target
from .tuning_costs import Costs
from .tuning_grid import Variant

LEVEL = 0.05  # a p-value from here on is noise


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
        reason: why, in one sentence.
        dataset: name of the evaluation set.
        metric: such as "nDCG@10".
        target: "best" or "cheapest".
        max_ms: the bound on latency; None without one.
        trials: all settings; the first is the default.
        choice: the one chosen by all queries.
        taken: what the settings hold: the choice, or the default where the choice is no better beyond noise.
        fold_choices: what was chosen for each fold, ten times over.
        comparison: the choices of the folds against the default, each on the queries that had no say in it.
        held_out: mean figure of what was taken, cut as in the settings, on queries that had no say in it, and
        interval: its 95 % bootstrap interval.
        hits: how many hits a query that leaves, of at most k.
        costs: milliseconds of the stages.
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
    hits: float
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

    def as_dict(self, *, queries: bool = True) -> dict[str, Any]:
        """Return JSON values; `queries` adds the comparison query by query."""
        return {
            "settings": self.settings.as_dict(),
            "reason": self.reason,
            "dataset": self.dataset,
            "metric": self.metric,
            "target": self.target,
            "max_ms": self.max_ms,
            "default": self.default.as_dict(),
            "choice": self.choice.as_dict(),
            "taken": self.taken.as_dict(),
            "changed": self.changed,
            "held_out": self.held_out,
            "interval": list(self.interval),
            "hits": self.hits,
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
    """Return whether a difference may well be none: p >= .05, or an interval with 0 in it."""
    return comparison.p_value >= LEVEL or comparison.interval.low <= 0 <= comparison.interval.high


def decide(choice: Trial, default: Trial, comparison: Comparison, target: Target) -> tuple[bool, str]:
    """Return whether a choice is taken rather than the default, and why, in one sentence.

    For the best, the choice must be better than the default beyond noise on held-out queries. For the cheapest it must
    be that, or cheaper and there not more than 1 % below the default.
    """
    noise = is_noise(comparison)
    figures = (
        f"{comparison.difference:+.3f} {comparison.metric} on held-out questions (95 % interval "
        f"{comparison.interval.low:+.3f} to {comparison.interval.high:+.3f}, p = {comparison.p_value:.3g})"
    )
    if choice is default:
        rest = "" if comparison.difference == 0 else f"; what single folds chose instead came to {figures}"
        return False, f"The default is kept: it is what the questions choose{rest}."
    if not noise and comparison.difference > 0:
        return True, f"{choice.variant} is taken: better than the default by {figures}."
    against = f"{figures}, which is {'noise' if noise else 'a loss'}"
    before, after = default.variant.milliseconds, choice.variant.milliseconds
    if target == "cheapest" and SAME_COST * after < before:
        held = sum(row.baseline for row in comparison.rows) / len(comparison.rows)
        if comparison.difference >= -TOLERANCE * held:
            return True, f"{choice.variant} is taken: {after:.1f} ms a question rather than {before:.1f}, at {against}."
        return False, f"The default is kept: {choice.variant} saves {before - after:.1f} ms a question, at {against}."
    return False, f"The default is kept: {choice.variant} differs from it by {against}."


def agreement(trials: tuple[Trial, ...]) -> str:
    """Return how often the folds chose the same: "4 of 5 folds chose RRF k=60, 10 candidates"."""
    (variant, count), *_ = Counter(str(trial.variant) for trial in trials).most_common(1)
    return f"{count} of {len(trials)} folds chose {variant}"
