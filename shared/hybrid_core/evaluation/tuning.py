"""Tuning: fusion, candidates, hits, threshold and budget for a target, without fooling oneself."""

from __future__ import annotations

import math
import time

import numpy as np

from ..checks import check_count
from ..errors import InvalidInputError
from ..pipeline import HybridIndex
from ..rerankers.cascade import Cascade
from ..settings import Settings
from .comparison import compare
from .datasets import EvaluationSet
from .evaluator import _check_index
from .significance import bootstrap_interval
from .tuning_choice import Target, check_target, choose, cut, split, to_keep, validate, validate_cut
from .tuning_costs import Costs, measure_costs, measure_encoding, measure_reranking
from .tuning_grid import Grid, Variant, variants
from .tuning_ranking import Cut, ranking, values, wanted
from .tuning_recall import Clock, Recalled, recall
from .tuning_result import Trial, Tuning, decide


def tune(
    index: HybridIndex,
    dataset: EvaluationSet,
    *,
    target: Target = "best",
    max_ms: float | None = None,
    k: int = 10,
    grid: Grid | None = None,
    folds: int = 5,
    seed: int = 0,
    show_progress: bool = False,
    clock: Clock = time.perf_counter,
) -> Tuning:
    """Find the settings of an index that answer the questions of a set best, or nearly so at the least cost.

    Each question is encoded once, both sides are asked once, at the widest depth, and the index's reranker scores once
    what any setting would give it; every setting is then evaluated from these. A setting's latency is the sum of what
    its stages took on this machine.

    What is chosen looks better on the questions that it was chosen by than it is. So it is chosen over again on all
    folds but one, each left out once, and the figures that are reported come from the fold that was left out; this for
    ten ways to part the questions, whose mean is reported. Where the figures do not show the choice to be better than
    the default beyond noise (two-sided p < .05, and an interval without 0), the default is kept, and the reason says
    so. With few questions that is often: some hundreds are needed to see a difference of .02.

    The settings also say where the list ends. `k` is the cutoff of the metric; for "cheapest", fewer hits where they
    come within 1 % of the best setting's figure. `min_score` is the highest threshold on the reranker's scores that
    loses nothing ("best"), or keeps within that 1 % ("cheapest"), on the questions it is chosen by. With a bound on
    latency `budget` is what it leaves to the reranker.

    Args:
        index: holds the passages of the set; its reranker is tried too, its own settings and fusion play no part.
        dataset: questions and their judged answers.
        target: "best" is the highest nDCG@k; "cheapest" is the least latency within 1 % of it.
        max_ms: the most milliseconds that a search may take, the reranker included; None for no bound.
        k: the cutoff of nDCG, and the most hits.
        grid: what is tried.
        folds: parts of the questions, each held out once; from 2 to half as many as there are questions.
        seed: of folds, intervals and tests.
        show_progress: draw progress bars.
        clock: seconds that pass, from any beginning.

    Returns:
        The settings, the reason, and every figure. The same index, set, seed and latencies give the same.

    Raises:
        InvalidInputError: the index lacks judged passages, there are too few questions, no setting keeps the bound, an
            argument is out of range, or the reranker is a `Cascade`, whose scores depend on how many it is given.

    Example:
        >>> with HybridIndex.open("scifact-index", encoder=encoder, reranker=reranker) as index:
        ...     found = tune(index, read_set("scifact"), max_ms=200)
        >>> print(found.reason)
        >>> found.settings.to_json("settings.json")  # HybridIndex.open("scifact-index", ..., settings="settings.json")
    """
    check_target(target)
    _check(index, dataset, k, folds, max_ms)
    costs, options, recalled = _look(index, dataset, grid or Grid(), k, max_ms, show=show_progress, clock=clock)
    figures = values(recalled, options, k)
    trials = tuple(Trial(option, float(mean)) for option, mean in zip(options, figures.mean(axis=1), strict=True))
    parts = split(len(recalled.queries), folds, seed)
    found = validate(figures, options, parts, target)
    metric = f"nDCG@{k}"
    before, after = (dict(zip(recalled.queries, row.tolist(), strict=True)) for row in (found.default, found.chosen))
    comparison = compare(before, after, names=("default", "tuned"), metric=metric, seed=seed)
    choice = choose(figures, options, target)
    better, reason = decide(trials[choice], trials[0], comparison, target)
    taken, choices = (choice, found.choices) if better else (0, (0,) * len(parts))
    rankings = {i: ranking(recalled, options[i], k) for i in {taken, *choices}}
    held_out, hits = validate_cut(rankings, figures, choices, parts, target)
    everything = np.arange(len(recalled.queries), dtype=np.int32)
    end = cut(rankings[taken], everything, to_keep(figures, taken, target), target)
    note = (
        f"bge-hybrid tune: {dataset.name}, {len(everything)} questions, target {target}, {metric} "
        f"{held_out.mean():.3f} held out (default {found.default.mean():.3f}); {index.encoder!r}"
    )
    return Tuning(
        settings=_settings(index, options[taken], end, note),
        reason=reason,
        dataset=dataset.name,
        metric=metric,
        target=target,
        max_ms=max_ms,
        trials=trials,
        choice=trials[choice],
        taken=trials[taken],
        fold_choices=tuple(trials[i] for i in found.choices),
        comparison=comparison,
        held_out=float(held_out.mean()),
        interval=bootstrap_interval(held_out.tolist(), seed=seed),
        hits=float(hits.mean()),
        costs=costs,
        folds=folds,
        seed=seed,
    )


def _check(index: HybridIndex, dataset: EvaluationSet, k: int, folds: int, max_ms: float | None) -> None:
    check_count(k, "k", least=1)
    check_count(folds, "folds", least=2)
    number = isinstance(max_ms, int | float) and not isinstance(max_ms, bool) and 0 < max_ms < math.inf
    if max_ms is not None and not number:
        raise InvalidInputError(f"max_ms={max_ms!r:.40} must be a number of milliseconds > 0; None for no bound")
    if isinstance(index.reranker, Cascade):
        raise InvalidInputError(
            f"{index.reranker.name!r} is a cascade, whose scores depend on how many passages it is given; tune with "
            "its last reranker alone"
        )
    if len(dataset.queries) < 2 * folds:
        raise InvalidInputError(
            f"{dataset.name} has {len(dataset.queries)} questions with judgements; {folds} folds need at least "
            f"{2 * folds}. Some fifty are needed to tell settings apart at all"
        )
    _check_index(index, dataset)


def _look(
    index: HybridIndex, dataset: EvaluationSet, grid: Grid, k: int, max_ms: float | None, *, show: bool, clock: Clock
) -> tuple[Costs, tuple[Variant, ...], Recalled]:
    """Do all that takes time: encode, recall, measure, and rerank what any setting would."""
    reranker, texts = index.reranker, list(dataset.queries.values())
    depth = grid.depth(k, reranker=reranker is not None)
    encode = measure_encoding(index, texts, clock=clock)
    found = recall(index, texts, depth, clock=clock, show=show)
    costs = measure_costs(index, texts, found, depth=depth, encode=encode, clock=clock)
    if reranker is not None:
        costs = measure_reranking(index, reranker, texts, found, costs, clock=clock)
    options = variants(grid, k=k, costs=costs, reranker=reranker is not None, max_ms=max_ms)
    recalled = Recalled.of(found.lists, {query: dataset.qrels[query] for query in dataset.queries})
    if reranker is not None:
        recalled = recalled.scored(index, reranker, texts, wanted(recalled, options), show=show)
    return costs, options, recalled


def _settings(index: HybridIndex, variant: Variant, end: Cut, note: str) -> Settings:
    reranker = index.reranker
    return Settings(
        k=end.k,
        candidates=variant.candidates,
        fusion=variant.fusion,
        rerank=None if reranker is None else variant.reranked > 0,
        budget=variant.budget,
        min_score=end.min_score,
        note=note if reranker is None else f"{note}, {reranker.name}",
    )
