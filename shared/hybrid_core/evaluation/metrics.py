"""Metrics of ranked lists, computed by trec_eval's own code through ir-measures.

What is measured is the order of the lists as given. trec_eval itself would sort by score (as float32), ties by
descending id; ir-measures' own providers break them by ascending id. So each list is handed over with its ranks in
place of its scores, and nothing is left to either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InvalidInputError, require
from ..types import Scored
from .datasets import Qrels

_DEEPEST = 100_000  # the largest cutoff


def default_metrics(k: int, depth: int) -> tuple[str, ...]:
    """Return the metrics of a report, the first one to compare systems by.

    Args:
        k: the cutoff.
        depth: how many documents a list holds at most: the cutoff of a second recall.
    """
    deeper = [f"R@{depth}"] if depth > k else []
    return (f"nDCG@{k}", f"R@{k}", *deeper, "RR", "AP", f"Success@{k}", f"P@{k}", f"Judged@{k}")


def measure(run: Mapping[str, Sequence[Scored]], qrels: Qrels, metrics: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the value of each metric for each query.

    A query with judgements for which the run has nothing counts 0, one without judgements is left out, and of a
    document that occurs twice in a list the first counts. A query whose judgements are all 0 counts 0, whatever was
    found. Unjudged documents are not relevant (`Judged@k` tells how many there are).

    Args:
        run: query id -> documents, best first; scores are not looked at.
        qrels: query id -> document id -> grade.
        metrics: names of ir-measures: "nDCG@10" (linear gain), "R@100" (recall), "P@10", "RR" (its mean is MRR), "AP"
            (its mean is MAP), "Success@10" (hit rate), "Judged@10", and others that trec_eval computes.

    Returns:
        metric -> query id -> value, queries in the order of `qrels`.

    Raises:
        InvalidInputError: nothing is judged, or a metric is unknown.
        MissingDependencyError: ir-measures is not installed.
    """
    if not qrels:
        raise InvalidInputError("there are no judgements, so nothing can be measured")
    parsed = {name: _parsed(name) for name in metrics}
    if not parsed:
        raise InvalidInputError("there is no metric to compute; name one, such as 'nDCG@10'")
    numbers = {query: str(i) for i, query in enumerate(qrels)}  # trec_eval's strings end at a NUL; numbers have none
    documents: dict[str, str] = {}
    judged = {
        numbers[query]: {documents.setdefault(id_, str(len(documents))): grade for id_, grade in grades.items()}
        for query, grades in qrels.items()
    }
    lists = {}
    for query, number in numbers.items():
        ids = list(dict.fromkeys(item[0] for item in run.get(query, ())))
        if ids:
            lists[number] = {documents.setdefault(id_, str(len(documents))): float(-i) for i, id_ in enumerate(ids)}
    try:
        evaluator = require("ir_measures", "eval").evaluator(list(set(parsed.values())), judged)
    except ValueError as error:  # a measure that needs a provider which is not installed
        raise InvalidInputError(f"a metric of {', '.join(metrics)} cannot be computed: {error}") from error
    values = {(found.measure, found.query_id): float(found.value) for found in evaluator.iter_calc(lists)}
    return {
        name: {query: values[parsed_, number] for query, number in numbers.items()} for name, parsed_ in parsed.items()
    }


def pairwise_accuracy(ranking: Sequence[Scored], grades: Mapping[str, int]) -> float | None:
    """Return the share of (relevant, not relevant) pairs in a list that its scores order rightly; ties count half.

    That is the area under the ROC curve over the list: 1 puts every relevant document above every other, 0.5 is chance.
    Documents that are not judged count as not relevant; of one that occurs twice the first counts.

    Args:
        ranking: documents with scores that are comparable, of a reranker say.
        grades: document id -> grade; 1 and more is relevant.

    Returns:
        A share in [0, 1], None where the list has no such pair.
    """
    scores: dict[str, float] = {}
    for id_, score in ranking:
        scores.setdefault(id_, score)
    relevant = np.array([score for id_, score in scores.items() if grades.get(id_, 0) > 0], dtype=np.float64)
    others = np.sort(np.array([score for id_, score in scores.items() if grades.get(id_, 0) <= 0], dtype=np.float64))
    if not len(relevant) or not len(others):
        return None
    below, upto = np.searchsorted(others, relevant, "left"), np.searchsorted(others, relevant, "right")
    return float((below + upto).sum() / (2 * len(relevant) * len(others)))


def _parsed(name: str) -> Any:
    measures = require("ir_measures", "eval")
    try:
        found = measures.parse_measure(name)
        found.validate_params()
    except (ValueError, NameError, TypeError, AssertionError, SyntaxError) as error:
        raise InvalidInputError(
            f"metric {name!r:.60} cannot be read ({error}); write it as ir-measures does: nDCG@10, R@100, P@5, RR, AP, "
            "Success@10, Judged@10"
        ) from None
    cutoff = found.params.get("cutoff", 1)
    if not 1 <= cutoff <= _DEEPEST:  # trec_eval would crash
        raise InvalidInputError(f"metric {name!r}: the cutoff must lie between 1 and {_DEEPEST:,}")
    return found
