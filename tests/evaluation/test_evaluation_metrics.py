"""Metrics against trec_eval's own code, called past ir-measures and past our order, and against hand arithmetic."""

from __future__ import annotations

import math
import random
import sys
from typing import Any

import pytest
import pytrec_eval

from hybrid_core import InvalidInputError, MissingDependencyError, Scored
from hybrid_core.evaluation import measure, pairwise_accuracy
from hybrid_core.evaluation.metrics import default_metrics
from hybrid_core.evaluation.trec import ranked

PEERS = {
    "nDCG@3": "ndcg_cut_3", "nDCG@10": "ndcg_cut_10", "R@5": "recall_5", "R@20": "recall_20", "P@5": "P_5",
    "RR": "recip_rank", "AP": "map", "Success@5": "success_5", "Success@1": "success_1",
}  # fmt: skip
DOCUMENTS = [f"d{i:03d}" for i in range(40)]
MIRRORED = {id_: f"d{999 - i:03d}" for i, id_ in enumerate(DOCUMENTS)}  # ids that sort the other way round


def random_case(seed: int) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]], dict[str, list[Scored]]]:
    """Judgements, scores, and the same as lists with duplicates: ties, queries missing on either side, unjudged ones."""
    rng = random.Random(seed)  # noqa: S311 - a draw that can be repeated
    qrels = {
        f"q{i}": {id_: rng.choice([0, 0, 1, 1, 2, 3]) for id_ in rng.sample(DOCUMENTS, rng.randint(1, 12))}
        for i in range(rng.randint(1, 5))
    }
    run: dict[str, dict[str, float]] = {}
    for query in [*qrels, "unjudged"]:
        if rng.random() < 0.85:
            found = rng.sample(DOCUMENTS, rng.randint(0, 30))
            run[query] = {id_: rng.randint(0, 6) / 4 for id_ in found}  # seven values: most are ties
    lists = {}
    for query, scores in run.items():
        ranking = list(ranked(scores))
        for item in rng.sample(ranking, min(len(ranking), rng.randint(0, 3))):
            ranking.insert(rng.randint(ranking.index(item) + 1, len(ranking)), Scored(item.id, item.score - 1))
        lists[query] = ranking
    return qrels, run, lists


def test_a_thousand_random_runs_have_the_values_of_pytrec_eval() -> None:
    """It gets the tied scores themselves, under ids by which its own rule (descending) is ours (ascending)."""
    for seed in range(1_000):
        qrels, run, lists = random_case(seed)
        evaluator = pytrec_eval.RelevanceEvaluator(
            {query: {MIRRORED[id_]: grade for id_, grade in grades.items()} for query, grades in qrels.items()},
            set(PEERS.values()),
        )
        theirs = evaluator.evaluate(
            {query: {MIRRORED[id_]: score for id_, score in scores.items()} for query, scores in run.items()}
        )
        ours = measure(lists, qrels, list(PEERS))
        for name, peer in PEERS.items():
            expected = {query: theirs.get(query, {}).get(peer, 0.0) for query in qrels}
            assert ours[name] == expected, (seed, name)


def test_random_runs_by_hand() -> None:
    for seed in range(200):
        qrels, _, lists = random_case(seed)
        ours = measure(lists, qrels, ["nDCG@10", "RR@3", "Judged@5", "R@5"])
        for query, grades in qrels.items():
            ids = list(dict.fromkeys(item.id for item in lists.get(query, [])))
            gains = [grades.get(id_, 0) for id_ in ids]
            best = sum(g / math.log2(i + 2) for i, g in enumerate(sorted(grades.values(), reverse=True)[:10]))
            dcg = sum(g / math.log2(i + 2) for i, g in enumerate(gains[:10]))
            assert ours["nDCG@10"][query] == pytest.approx(dcg / best if best else 0.0)
            assert ours["RR@3"][query] == max([1 / (i + 1) for i, g in enumerate(gains[:3]) if g], default=0)
            assert ours["Judged@5"][query] == (sum(id_ in grades for id_ in ids[:5]) / len(ids[:5]) if ids else 0)
            relevant = sum(grade > 0 for grade in grades.values())
            assert ours["R@5"][query] == pytest.approx(sum(g > 0 for g in gains[:5]) / relevant if relevant else 0)


def test_the_order_given_is_measured_whatever_the_scores() -> None:
    """trec_eval reads scores as float32, in which these are equal, and would put z before a."""
    qrels = {"q": {"a": 1}}
    assert measure({"q": [Scored("a", 1.0), Scored("z", 1.0)]}, qrels, ["RR"])["RR"]["q"] == 1.0
    assert measure({"q": [Scored("z", 1.0 + 1e-12), Scored("a", 1.0)]}, qrels, ["RR"])["RR"]["q"] == 0.5
    assert measure({"q": [Scored("z", 0.1), Scored("a", 0.9)]}, qrels, ["RR"])["RR"]["q"] == 0.5


def test_of_a_document_that_occurs_twice_the_first_counts() -> None:
    qrels = {"q": {"a": 1, "b": 1}}
    values = measure({"q": [Scored("a", 3.0), Scored("a", 2.0), Scored("b", 1.0)]}, qrels, ["P@2", "AP"])
    assert values == {"P@2": {"q": 1.0}, "AP": {"q": 1.0}}


def test_a_query_without_results_counts_0_and_one_without_judgements_is_left_out() -> None:
    qrels = {"found": {"a": 1}, "empty": {"a": 1}, "missing": {"a": 1}, "nothing relevant": {"a": 0}}
    run = {
        "found": [Scored("a", 1.0)],
        "empty": [],
        "nothing relevant": [Scored("a", 1.0)],
        "unjudged": [Scored("a", 1)],
    }
    values = measure(run, qrels, default_metrics(10, 100))
    for name, by_query in values.items():
        expected = {"P@10": 0.1}.get(name, 1.0)
        judged = 1.0 if name == "Judged@10" else 0.0
        assert by_query == {"found": expected, "empty": 0, "missing": 0, "nothing relevant": judged}, name


def test_ids_that_c_strings_could_not_hold_stay_apart() -> None:
    qrels = {"q 1\0": {"a\0b": 1, "文件": 2}}
    run = {"q 1\0": [Scored("a\0c", 3.0), Scored("a\0b", 2.0), Scored("文件", 1.0)]}
    assert measure(run, qrels, ["RR", "R@3"]) == {"RR": {"q 1\0": 0.5}, "R@3": {"q 1\0": 1.0}}


def test_measures_with_parameters_and_other_names() -> None:
    qrels = {"q": {"a": 1, "b": 2}}
    values = measure({"q": [Scored("a", 2.0), Scored("b", 1.0)]}, qrels, ["P(rel=2)@2", "Recall@1", "R@1"])
    assert values == {"P(rel=2)@2": {"q": 0.5}, "Recall@1": {"q": 0.5}, "R@1": {"q": 0.5}}


@pytest.mark.parametrize(
    "name",
    ["", "foo@10", "nDCG@ten", "R", "nDCG@0", "nDCG@-1", "P@999999999", "nDCG@10 P@2", "alpha_nDCG@10", "nDCG@1.5"],
)
def test_a_metric_that_cannot_be_computed_is_named(name: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        measure({"q": [Scored("a", 1.0)]}, {"q": {"a": 1}}, [name])
    assert repr(name) in str(error.value) or name in str(error.value)


def test_nothing_judged_or_no_metric_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="no judgements"):
        measure({}, {}, ["RR"])
    with pytest.raises(InvalidInputError, match="no metric"):
        measure({}, {"q": {"a": 1}}, [])


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(MissingDependencyError, match=r"bge-hybrid\[eval\]"):
        measure({}, {"q": {"a": 1}}, ["RR"])


@pytest.mark.parametrize(
    ("scores", "grades", "expected"),
    [
        ({"a": 0.9, "b": 0.5, "c": 0.1}, {"a": 1}, 1.0),
        ({"a": 0.9, "b": 0.5, "c": 0.1}, {"c": 1}, 0.0),
        ({"a": 0.9, "b": 0.5, "c": 0.1}, {"b": 2, "c": 0}, 0.5),
        ({"a": 0.5, "b": 0.5, "c": 0.1}, {"a": 1}, 0.75),  # one pair right, one tied: 1.5 of 2
        ({"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}, {"a": 1, "c": 3}, 0.75),  # a>b, a>d, c>d right; c>b wrong
        ({"a": 0.5, "b": 0.5}, {"b": 1}, 0.5),
        ({"a": 0.9, "b": 0.5}, {"a": 1, "b": 1}, None),
        ({"a": 0.9, "b": 0.5}, {"z": 1}, None),
        ({}, {"z": 1}, None),
    ],
)
def test_pairwise_accuracy_by_hand(scores: dict[str, float], grades: dict[str, int], expected: Any) -> None:
    ranking = ranked(scores)
    assert pairwise_accuracy(ranking, grades) == expected
    assert pairwise_accuracy([*ranking, *(Scored(item.id, -9.0) for item in ranking)], grades) == expected


def test_the_second_recall_is_as_deep_as_the_lists() -> None:
    assert default_metrics(10, 50)[:3] == ("nDCG@10", "R@10", "R@50")
    assert "R@5" not in default_metrics(10, 5)
