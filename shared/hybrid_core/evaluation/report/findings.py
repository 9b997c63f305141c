"""What was found, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from ..comparison import Comparison
from ..results import Evaluation

_LEVEL = 0.05


def finding(found: Evaluation, steps: Sequence[Comparison]) -> str:
    """Return what each stage adds to the one before it, or says of one system what it reaches.

    "rrf beats dense by 0.031 nDCG@10 [0.012, 0.050]; rerank adds 0.020 [0.008, 0.033]." Brackets hold 95 % bootstrap
    intervals.

    Args:
        found: the evaluation.
        steps: see `numbers.stage_steps`.
    """
    metric = found.metrics[0]
    if not steps:
        [only] = found.systems
        return f"{only.name} reaches {only.means[metric]:.3f} {metric} {_brackets(*only.intervals[metric])}."
    first, *rest = steps
    return "; ".join([_first(first), *map(_further, rest)]) + "."


def told_apart(comparison: Comparison) -> bool:
    """Say whether the two systems differ for sure: p < 0.05, and an interval without 0."""
    low, high = comparison.interval
    return comparison.p_value < _LEVEL and not low <= 0 <= high


def signed(value: float) -> str:
    """Return a difference with its sign, a minus as long as the plus."""
    text = f"{value:+.3f}".replace("-", "−")
    return "0.000" if text[1:] == "0.000" else text


def p_value(value: float) -> str:
    """Return a p-value behind its sign: "= 0.032", or "< 0.001"."""
    return f"= {value:.3f}" if value >= 0.001 else "< 0.001"


def _first(step: Comparison) -> str:
    size, interval = _size(step)
    if not told_apart(step):
        return f"{step.system} and {step.baseline} cannot be told apart: {size} {step.metric} {interval}"
    word = "beats" if step.difference > 0 else "falls behind"
    return f"{step.system} {word} {step.baseline} by {size} {step.metric} {interval}"


def _further(step: Comparison) -> str:
    size, interval = _size(step)
    if not told_apart(step):
        return f"{step.system} adds nothing that shows: {size} {interval}"
    return f"{step.system} {'adds' if step.difference > 0 else 'loses'} {size} {interval}"


def _size(step: Comparison) -> tuple[str, str]:
    """Return a difference and its interval: without signs where the sentence says which way it goes."""
    low, high = step.interval
    if not told_apart(step):
        return signed(step.difference), f"[{signed(low)}, {signed(high)}]"
    return f"{abs(step.difference):.3f}", _brackets(*sorted((abs(low), abs(high))))


def _brackets(low: float, high: float) -> str:
    return f"[{low:.3f}, {high:.3f}]"
