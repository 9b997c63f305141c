"""What a report's charts show, against the metrics themselves and by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from evaluation_files import QRELS, QUERIES

from hybrid_core import CrossEncoderReranker, HybridIndex, Scored, WeightedSum
from hybrid_core.evaluation import Evaluation, EvaluationSet, System, evaluate, measure, named_systems
from hybrid_core.evaluation.report.cases import beginning, marked, saved_by
from hybrid_core.evaluation.report.numbers import (
    best_against_baseline,
    best_system,
    depth_of,
    pareto_front,
    recall_curve,
    score_groups,
    weight_grid,
)
from hybrid_core.evaluation.running import side_systems


@pytest.fixture(scope="module")
def found(small_index: HybridIndex, small_set: EvaluationSet, reranker: CrossEncoderReranker) -> Evaluation:
    """Five systems over the small set."""
    names = ["dense", "sparse", "rrf", "weighted", "rerank"]
    systems = named_systems(names, encoder=small_index.encoder, reranker=reranker, candidates=8)
    return evaluate(small_index, small_set, systems, k=3, metrics=["nDCG@3", "R@1", "R@3", "R@8"])


def test_what_both_sides_recalled_is_kept_whichever_systems_run(
    small_index: HybridIndex, small_set: EvaluationSet, found: Evaluation
) -> None:
    alone = evaluate(small_index, small_set, [System("rrf", candidates=8)], k=3)
    assert [result.name for result in alone.systems] == ["rrf"]
    for side in ("dense", "sparse"):
        assert found.recalled[side] == found.system(side).rankings == alone.recalled[side]
    only_dense = evaluate(small_index, small_set, [System("dense", mode="dense", candidates=4)], k=3)
    assert set(only_dense.recalled) == {"dense"}


def test_sides_are_as_deep_as_any_system_asks_and_taken_where_they_are_there() -> None:
    dense, sparse = System("a", mode="dense", candidates=20), System("b", mode="sparse", candidates=5)
    wide = System("dense recall", candidates=20)
    sides = side_systems([dense, sparse, wide])
    assert sides["dense"] is dense
    assert (sides["sparse"].name, sides["sparse"].candidates) == ("sparse recall", 20)
    assert side_systems([wide, System("c", candidates=30)])["dense"].name == "dense recall_"
    assert list(side_systems([sparse])) == ["sparse"]


def test_a_recall_curve_is_the_metric_at_every_depth(found: Evaluation) -> None:
    for result in found.systems:
        curve = recall_curve(result.rankings, found.qrels, 8)
        for k in (1, 3, 8):
            assert curve[k - 1] == pytest.approx(result.means[f"R@{k}"])


def test_a_recall_curve_by_hand() -> None:
    qrels = {"q": {"a": 2, "b": 1, "c": 0}, "none": {"a": 0}, "missing": {"a": 1}}
    rankings = {
        "q": [Scored("c", 3.0), Scored("b", 2.0), Scored("b", 1.5), Scored("a", 1.0)],
        "none": [Scored("a", 1.0)],
    }
    np.testing.assert_allclose(recall_curve(rankings, qrels, 5), np.array([0, 1 / 2, 1, 1, 1]) / 3)
    values = measure(rankings, qrels, ["R@2", "R@3"])
    assert np.mean(list(values["R@2"].values())) == pytest.approx(1 / 6)
    assert np.mean(list(values["R@3"].values())) == pytest.approx(1 / 3)
    assert depth_of(rankings) == 4
    assert depth_of({}) == 1


@pytest.mark.parametrize(("alpha", "depth"), [(0.0, 8), (0.3, 5), (0.5, 8), (1.0, 5)])
def test_a_cell_of_the_heat_map_is_the_system_with_that_fusion(
    small_index: HybridIndex, small_set: EvaluationSet, found: Evaluation, alpha: float, depth: int
) -> None:
    grid = weight_grid(found)
    assert grid is not None
    assert (grid.metric, grid.depths) == ("nDCG@3", (5, 8))
    system = System("cell", fusion=WeightedSum.from_alpha(alpha), candidates=depth)
    direct = evaluate(small_index, small_set, [system], k=3).system("cell").means["nDCG@3"]
    assert grid.values[grid.depths.index(depth), grid.alphas.index(alpha)] == pytest.approx(direct, abs=1e-12)


def test_the_ends_of_the_heat_map_are_the_sides_alone(found: Evaluation) -> None:
    grid = weight_grid(found)
    assert grid is not None
    assert grid.values[-1, 0] == pytest.approx(found.system("sparse").means["nDCG@3"])
    assert grid.values[-1, -1] == pytest.approx(found.system("dense").means["nDCG@3"])
    assert grid.values[-1, 5] == pytest.approx(found.system("weighted").means["nDCG@3"])
    assert grid.values[grid.best] == grid.values.max()


def test_the_best_cell_takes_few_candidates_and_even_weights(found: Evaluation) -> None:
    grid = weight_grid(found)
    assert grid is not None
    level = np.zeros((3, 11))
    level[1:, 2:7] = 0.5
    assert replace(grid, depths=(5, 10, 20), values=level).best == (1, 5)


def test_there_is_no_heat_map_of_one_side(small_index: HybridIndex, small_set: EvaluationSet) -> None:
    assert weight_grid(evaluate(small_index, small_set, [System("d", mode="dense")])) is None


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    #         slow and worse, cheapest, better, as good but slower, best
    costs, gains = [9.0, 1.0, 2.0, 3.0, 8.0], [0.1, 0.5, 0.6, 0.6, 0.9]
    assert pareto_front(costs, gains) == [1, 2, 4]
    assert pareto_front([1.0, 1.0], [0.2, 0.3]) == [1]
    assert pareto_front([5.0], [0.0]) == [0]


def test_scores_are_told_apart_by_judgement(found: Evaluation) -> None:
    groups = {group.name: group for group in score_groups(found)}
    assert list(groups) == ["dense", "sparse", "rerank"]
    for name, group in groups.items():
        scores = [
            (item.score, QRELS[query].get(item.id, 0) > 0)
            for query, ranking in found.system(name).rankings.items()
            for item in ranking
        ]
        assert sorted(group.relevant) == sorted(score for score, relevant in scores if relevant)
        assert sorted(group.others) == sorted(score for score, relevant in scores if not relevant)
        assert group.accuracy == pytest.approx(found.system(name).pairwise_accuracy)


def test_a_reranker_is_shown_once(
    small_index: HybridIndex, small_set: EvaluationSet, reranker: CrossEncoderReranker
) -> None:
    systems = named_systems(["dense+rerank", "rerank"], encoder=small_index.encoder, reranker=reranker, candidates=2)
    found = evaluate(small_index, small_set, systems)
    assert [group.name for group in score_groups(found)] == ["dense", "sparse", "dense+rerank"]


def test_the_best_system_and_what_it_is_compared_with(found: Evaluation) -> None:
    means = {"dense": 0.5, "sparse": 0.25, "rrf": 0.5, "weighted": 0.375, "rerank": 0.0}
    results = tuple(
        replace(
            result,
            means={"nDCG@3": means[result.name]},
            values={"nDCG@3": dict.fromkeys(QUERIES, means[result.name])},
        )
        for result in found.systems
    )
    made = replace(found, metrics=("nDCG@3",), systems=results)
    assert best_system(made).name == "dense"
    comparison = best_against_baseline(made)
    assert comparison is not None
    assert (comparison.baseline, comparison.system) == ("dense", "rrf")
    assert best_against_baseline(replace(made, systems=results[:1])) is None


def ranked(*ids: str) -> tuple[Scored, ...]:
    return tuple(Scored(id_, 1.0 - i / 100) for i, id_ in enumerate(ids))


def crafted(found: Evaluation, dense: Sequence[str], sparse: Sequence[str], k: int = 2) -> Evaluation:
    """Return an evaluation in which q5, whose answer is "cache", found these; all others found nothing."""
    empty: dict[str, tuple[Scored, ...]] = {query: () for query in QUERIES if query != "q5"}
    lists = {"dense": {**empty, "q5": ranked(*dense)}, "sparse": {**empty, "q5": ranked(*sparse)}}
    return replace(found, k=k, recalled=lists)


def test_what_one_side_saved_by_hand(found: Evaluation) -> None:
    made = crafted(found, ["proxy", "retry", "cache"], ["login", "cache"])
    saved = saved_by(made, "sparse")
    assert (saved.by, saved.count) == ("sparse", 1)
    [case] = saved.cases
    assert (case.query, case.question, case.document) == ("q5", QUERIES["q5"], "cache")
    assert (case.rank, case.missed, case.depth, case.text, case.matches) == (2, 3, 3, None, ())
    assert saved_by(made, "dense").count == 0
    assert saved_by(replace(made, k=3), "sparse").count == 0  # both answer within three
    gone = saved_by(crafted(found, ["proxy"], ["cache"]), "sparse").cases[0]
    assert (gone.rank, gone.missed, gone.depth) == (1, None, 1)


def test_a_case_shows_the_passage_and_the_tokens_of_explain(found: Evaluation, small_index: HybridIndex) -> None:
    rank = [item.id for item in found.recalled["sparse"]["q5"]].index("cache") + 1
    fill = ["proxy", "retry", "login"][: rank - 1]
    made = crafted(found, ["proxy"], [*fill, "cache"], k=3)
    [case] = saved_by(made, "sparse", small_index).cases
    hits = small_index.explain(QUERIES["q5"], k=5, mode="sparse")
    [hit] = [hit for hit in hits if hit.passage.id == "cache"]
    assert case.text == hit.passage.text
    assert sorted(case.matches) == sorted(hit.matches)
    assert [match.score for match in case.matches] == sorted((match.score for match in hit.matches), reverse=True)
    assert sum(match.score for match in case.matches) == pytest.approx(hit.stages["sparse"].score)


def test_a_passage_that_is_no_longer_found_keeps_its_text(found: Evaluation, small_index: HybridIndex) -> None:
    qrels = {**found.qrels, "q5": {"backup": 1}}
    made = replace(crafted(found, ["backup"], ["cache"]), qrels=qrels)
    [case] = saved_by(made, "dense", small_index).cases
    if "backup" not in [hit.passage.id for hit in small_index.explain(QUERIES["q5"], k=2, candidates=2, mode="dense")]:
        assert case.matches == ()
    [passage] = small_index.get(["backup"])
    assert passage is not None
    assert case.text == passage.text


def test_the_clearest_cases_come_first(found: Evaluation) -> None:
    dense = {"q1": ["a", "b", "retry"], "q2": ["a"], "q3": ["a", "b"], "q4": ["secret"], "q5": ["a"], "q6": ["a"]}
    sparse = {"q1": ["retry"], "q2": ["queue"], "q3": ["a", "limit"], "q4": ["secret"], "q5": ["a"], "q6": ["login"]}
    lists = {
        side: {query: ranked(*ids) for query, ids in of.items()} for side, of in (("dense", dense), ("sparse", sparse))
    }
    saved = saved_by(replace(found, k=2, recalled=lists), "sparse", most=3)
    assert saved.count == 4
    assert [case.query for case in saved.cases] == ["q2", "q6", "q1"]


@pytest.mark.parametrize(
    ("text", "tokens", "expected"),
    [
        ("A worker works.", ["▁work"], ["work", "work"]),
        ("The network works.", ["▁work"], ["work"]),  # not inside a word
        ("It is what it is.", ["▁it"], ["it"]),  # short ones whole, and as they are written
        ("item it", ["▁it"], ["it"]),
        ("worker", ["er"], []),  # what continues a word could be anywhere
        ("请求次数的上限", ["▁请求", "上限"], ["请求", "上限"]),
        ("网关worker", ["▁worker"], ["worker"]),
        ("C++ (or not)", ["▁C++", "▁(", "▁"], ["C++"]),
        ("nothing", [], []),
    ],
)
def test_only_tokens_that_are_beyond_doubt_are_marked(text: str, tokens: list[str], expected: list[str]) -> None:
    parts = marked(text, tokens)
    assert "".join(part for part, _ in parts) == text
    assert [part for part, hit in parts if hit] == expected


def test_a_text_is_cut_at_a_word() -> None:
    assert beginning("one  two\nthree") == "one two three"
    assert beginning("word " * 20, 22) == "word word word word …"
    assert beginning("字" * 50, 10) == "字" * 10 + " …"
