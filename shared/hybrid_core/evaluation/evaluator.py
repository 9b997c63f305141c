"""An evaluation set, an index and some systems in; figures with their uncertainty out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ..checks import check_count
from ..errors import InvalidInputError, require
from ..pipeline import HybridIndex
from .datasets import EvaluationSet, Qrels
from .metrics import default_metrics, measure, pairwise_accuracy
from .results import Evaluation, Latency, SystemResult
from .running import SystemRun, run_systems, side_systems
from .significance import bootstrap_interval
from .systems import System, check_names
from .trec import write_run


def evaluate(
    index: HybridIndex,
    dataset: EvaluationSet,
    systems: Sequence[System],
    *,
    k: int = 10,
    metrics: Sequence[str] | None = None,
    folder: str | Path | None = None,
    seed: int = 0,
    show_progress: bool = False,
) -> Evaluation:
    """Run systems over an index and measure them.

    Args:
        index: holds the passages of the set, and maybe others.
        dataset: questions and their judged answers.
        systems: what to compare; the first is the baseline.
        k: the cutoff of the metrics.
        metrics: see `measure`; None is nDCG@k, R@k, R at the deepest list, RR, AP, Success@k, P@k and Judged@k.
        folder: where answers (runs/*.jsonl), TREC run files (runs/*.run) and results.json go; made if missing. With
            it, an evaluation that was killed continues where it stopped. None writes nothing.
        seed: of intervals and tests.
        show_progress: draw progress bars.

    Raises:
        InvalidInputError: the index lacks judged passages, or an argument is out of range.
        MissingDependencyError: ir-measures is not installed.
        StorageError: the folder cannot be written to.

    Example:
        >>> with HybridIndex.open("scifact-index", encoder=encoder) as index:
        ...     systems = named_systems(["dense", "sparse", "rrf"], encoder=encoder)
        ...     found = evaluate(index, read_set("scifact"), systems, folder="scifact-results")
        >>> found.system("rrf").means["nDCG@10"], found.compare("dense", "rrf").p_value
    """
    require("ir_measures", "eval")
    check_names(systems)
    check_count(k, "k", least=1)
    chosen = tuple(metrics or default_metrics(k, max(system.candidates for system in systems)))
    measure({}, dataset.qrels, chosen)  # a metric that is unknown is so before hours of searching
    _check_index(index, dataset)
    runs_folder = None if folder is None else Path(folder) / "runs"
    sides = side_systems(systems)
    extra = [side for side in sides.values() if side not in systems]  # first, so that a killed run has kept them whole
    runs = run_systems(index, dataset.queries, [*extra, *systems], folder=runs_folder, show_progress=show_progress)
    by_name = {run.system.name: run for run in runs}
    results = tuple(_result(by_name[system.name], dataset.qrels, chosen, seed) for system in systems)
    found = Evaluation(
        dataset=dataset.name,
        documents=len(index),
        queries=dataset.queries,
        qrels=dataset.qrels,
        unjudged=dataset.unjudged,
        kinds=dataset.kinds,
        encoder=repr(index.encoder),
        metrics=chosen,
        k=k,
        systems=results,
        recalled={side: by_name[system.name].rankings() for side, system in sides.items()},
        seed=seed,
    )
    if folder is not None and runs_folder is not None:
        for result in results:
            write_run(runs_folder / f"{quote(result.name, safe=' +')}.run", result.rankings, result.name)
        found.write(Path(folder) / "results.json")
    return found


def _result(run: SystemRun, qrels: Qrels, metrics: Sequence[str], seed: int) -> SystemResult:
    rankings = run.rankings()
    values = measure(rankings, qrels, metrics)
    accuracies = [pairwise_accuracy(ranking, qrels[query]) for query, ranking in rankings.items()]
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    return SystemResult(
        name=run.system.name,
        settings=run.system.settings(),
        means={metric: float(np.mean(list(found.values()))) for metric, found in values.items()},
        intervals={metric: bootstrap_interval(list(found.values()), seed=seed) for metric, found in values.items()},
        values=values,
        pairwise_accuracy=float(np.mean(known)) if known else None,
        latency={stage: Latency.of(seconds) for stage, seconds in run.seconds().items()},
        rankings=rankings,
    )


def _check_index(index: HybridIndex, dataset: EvaluationSet) -> None:
    """Raise InvalidInputError where the index lacks a passage that is judged: no system could find it."""
    judged = {document for grades in dataset.qrels.values() for document in grades}
    missing = sorted(judged - set(index.ids()))
    if missing:
        raise InvalidInputError(
            f"{index.store!r} lacks {len(missing)} of {len(judged)} judged passages of {dataset.name} (first: "
            f"{missing[0]!r:.80}); add the corpus to the index first"
        )
