"""Tuning: fusion, candidates, hits, threshold and budget for a target, without fooling oneself."""

from __future__ import annotations

import math
import time

import numpy as np

from ...checks import check_count
from ...errors import InvalidInputError
from ...pipeline import HybridIndex
from ...rerankers.cascade import Cascade
from ...settings import Settings
from ..comparison import compare
from ..datasets import EvaluationSet
from ..evaluator import _check_index
from ..significance import bootstrap_interval
from .choice import Target, check_target, choices, choose, split
from .costs import Costs, measure_costs, measure_encoding, measure_reranking, time_searches
from .ending import cut, validate
from .grid import Grid, Variant, variants
from .ranking import Cut, ranking, values, wanted
from .recall import Clock, Recalled, recall
from .result import Trial, Tuning, decide


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
    its stages took on this machine, each the median over questions.

    What is chosen looks better on the questions that it was chosen by than it is. So it is chosen over again on all
    folds but one, each left out once, and the figures that are reported come from the fold that was left out; this for
    ten ways to part the questions, whose mean is reported. Where the choice does no better there than the default, the
    default is kept. Whether the difference is real or noise (two-sided p >= .01, or an interval with 0 in it) is said
    in the reason and in `Tuning.noise`. With few questions it often is noise: some hundreds are needed to see .02.

    The settings also say where the list ends: `min_score` is a threshold that the reranker gave every answer among the
    first k, and for "cheapest" `k` is as few hits as hold these; for "best" it is the cutoff of the metric. Where that
    loses over 0.5 % on held-out questions, as it may where they are few, there is no threshold and k stays what it is.
    With a bound on latency `budget` is what it leaves to the reranker.

    Args:
        index: holds the passages of the set; its reranker is tried too, its own settings and fusion play no part.
        dataset: questions and their judged answers.
        target: "best" is the highest nDCG@k; "cheapest" is the least latency within 1 % of it.
        max_ms: the most milliseconds that a search may take in the median, the reranker included; None for no bound.
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
    texts = list(dataset.queries.values())
    costs, options, recalled = _look(index, dataset, texts, grid or Grid(), k, max_ms, show=show_progress, clock=clock)
    figures = values(recalled, options, k)
    trials = tuple(Trial(option, float(mean)) for option, mean in zip(options, figures.mean(axis=1), strict=True))
    parts = split(len(recalled.queries), folds, seed)
    choice, chosen = choose(figures, options, target), choices(figures, options, parts, target)
    rankings = {i: ranking(recalled, options[i], k) for i in {0, choice, *chosen}}
    found = validate(rankings, figures, chosen, parts, target)
    metric = f"nDCG@{k}"
    before, after = (dict(zip(recalled.queries, row.tolist(), strict=True)) for row in (figures[0], found.figures))
    comparison = compare(before, after, names=("default", "tuned"), metric=metric, seed=seed)
    better, reason = decide(trials[choice], trials[0], comparison, target)
    taken = choice if better else 0
    if not better:
        found = validate(rankings, figures, (0,) * len(parts), parts, target)
    everything = np.arange(len(recalled.queries), dtype=np.int32)
    end = cut(rankings[taken], everything, target) if found.cut else Cut(k, None)
    held_out = float(found.figures.mean())
    note = (
        f"bge-hybrid tune: {dataset.name}, {len(everything)} questions, target {target}, {metric} "
        f"{held_out:.3f} held out (default {figures[0].mean():.3f}); {index.encoder!r}"
    )
    settings = _settings(index, options[taken], end, note)
    by_default = _settings(index, options[0], Cut(k, None), "")
    return Tuning(
        settings=settings,
        reason=reason,
        dataset=dataset.name,
        metric=metric,
        target=target,
        max_ms=max_ms,
        trials=trials,
        choice=trials[choice],
        taken=trials[taken],
        fold_choices=tuple(trials[i] for i in chosen),
        comparison=comparison,
        held_out=held_out,
        interval=bootstrap_interval(found.figures.tolist(), seed=seed),
        default_interval=bootstrap_interval(figures[0].tolist(), seed=seed),
        hits=float(found.hits.mean()),
        latency=time_searches(index, {"default": by_default, "tuned": settings}, texts, clock=clock),
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
    index: HybridIndex,
    dataset: EvaluationSet,
    texts: list[str],
    grid: Grid,
    k: int,
    max_ms: float | None,
    *,
    show: bool,
    clock: Clock,
) -> tuple[Costs, tuple[Variant, ...], Recalled]:
    """Do all that takes time: encode, recall, measure, and rerank what any setting would."""
    reranker = index.reranker
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
