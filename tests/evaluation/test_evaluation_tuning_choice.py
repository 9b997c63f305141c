"""Choosing by hand arithmetic: what is best, cheapest, noise; where a list is cut; what a budget is worth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hybrid_core import Budget, DistributionBased, InvalidInputError, ReciprocalRank, WeightedSum
from hybrid_core.evaluation.comparison import compare
from hybrid_core.evaluation.tuning.choice import ROUNDS, Target, check_target, choices, choose, split
from hybrid_core.evaluation.tuning.costs import Costs
from hybrid_core.evaluation.tuning.ending import cut, validate
from hybrid_core.evaluation.tuning.grid import FUSIONS, Grid, Variant, fusion_name, variants
from hybrid_core.evaluation.tuning.ranking import Cut, Ranking
from hybrid_core.evaluation.tuning.result import Trial, agreement, decide, is_noise

COSTS = Costs(encode=8, dense=3, sparse=2, join=0.01, rerank=4, rerank_each=2, margin=1.25)


def options(*milliseconds: float) -> list[Variant]:
    """Settings that differ in their latency alone; the first is the default."""
    return [Variant(ReciprocalRank(60 + i), 50, 0, None, ms) for i, ms in enumerate(milliseconds)]


def rows(count: int) -> Any:
    return np.arange(count, dtype=np.int32)


@pytest.mark.parametrize(
    ("means", "milliseconds", "target", "chosen"),
    [
        ([0.5, 0.6, 0.7], [10, 20, 30], "best", 2),
        ([0.7, 0.7, 0.7], [30, 20, 10], "best", 0),  # of equals the default
        ([0.5, 0.7, 0.7], [30, 20, 10], "best", 2),  # else the cheaper one
        ([0.5, 0.7, 0.7], [30, 10, 10], "best", 1),  # else the first
        ([0.5, 0.694, 0.7], [30, 20, 40], "cheapest", 1),  # .694 is within 1 % of .7
        ([0.5, 0.692, 0.7], [30, 20, 40], "cheapest", 2),  # .692 is not
        ([0.694, 0.695, 0.7], [10, 20, 40], "cheapest", 0),
        ([0.694, 0.695, 0.7], [10.4, 10, 40], "cheapest", 1),  # latencies within 5 % are the same
        ([0.699, 0.695, 0.7], [10.4, 10, 40], "cheapest", 0),
        ([0.7, 0.7, 0.7], [10.4, 10, 40], "cheapest", 0),
    ],
)
def test_the_best_and_the_cheapest(means: list[float], milliseconds: list[float], target: Target, chosen: int) -> None:
    values = np.array(means)[:, None] + np.array([-0.1, 0.1])
    assert choose(values, options(*milliseconds), target) == chosen


def test_folds_part_the_queries_in_ten_ways() -> None:
    folds = split(23, 5, seed=7)
    assert len(folds) == 5 * ROUNDS
    assert {len(fold) for fold in folds} == {4, 5}
    ways = [np.concatenate(folds[at : at + 5]) for at in range(0, len(folds), 5)]
    assert all(sorted(way.tolist()) == list(range(23)) for way in ways)
    assert len({tuple(way.tolist()) for way in ways}) == ROUNDS
    assert [fold.tolist() for fold in split(23, 5, seed=7)] == [fold.tolist() for fold in folds]
    assert [fold.tolist() for fold in split(23, 5, seed=8)] != [fold.tolist() for fold in folds]


def test_each_fold_is_left_to_the_choice_of_all_others() -> None:
    """Each setting but the default is right for one query alone: chosen by the others, it never helps."""
    n = 20
    values = np.vstack([np.full(n, 0.01), np.eye(n)])
    folds = split(n, 5, 0)
    for target in ("best", "cheapest"):
        for fold, choice in zip(folds, choices(values, options(*[1.0] * (n + 1)), folds, target), strict=True):
            assert choice - 1 not in fold


def test_a_choice_that_all_folds_share_is_measured_as_it_is() -> None:
    values = np.array([[0.2] * 10, [0.1, 0.9] * 5])
    folds = split(10, 5, 0)
    chosen = choices(values, options(1, 1), folds, "best")
    assert chosen == (1,) * 5 * ROUNDS
    alone = Ranking(values[1][:, None], np.full((10, 1), -1.0), np.ones((10, 1), dtype=bool))
    assert validate({1: alone}, values, chosen, folds, "best").figures == pytest.approx(values[1])


@pytest.fixture
def top() -> Ranking:
    """Four queries: three relevant hits in all; the first is reranked with .9, the others with .4 and .05."""
    shares = np.array([[1.0, 0.0, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
    scores = np.array([[0.9, 0.3, 0.2], [0.8, 0.4, 0.1], [0.3, 0.2, 0.05678], [0.35, 0.03, -1.0]])
    return Ranking(shares, scores, scores >= 0)


def test_a_threshold_lies_halfway_below_the_lowest_score_that_counts(top: Ranking) -> None:
    assert cut(top, rows(4), "best") == Cut(3, 0.0434)  # (.05678 + .03) / 2
    assert cut(top, rows(2), "best") == Cut(3, 0.35)  # (.4 + .3) / 2
    close = replace(top, scores=np.where(top.scores == 0.03, 0.05677, top.scores))
    assert cut(close, rows(4), "best") == Cut(3, 0.05678)  # four digits would not part them


def test_for_the_cheapest_the_list_is_as_short_as_the_answers_allow(top: Ranking) -> None:
    assert cut(top, rows(4), "cheapest") == Cut(3, 0.0434)
    assert cut(top, rows(2), "cheapest") == Cut(2, 0.35)
    assert cut(top, rows(1), "cheapest") == Cut(1, None)  # nothing is left to leave out


def test_there_is_no_threshold_where_none_would_leave_anything_out(top: Ranking) -> None:
    assert cut(replace(top, scores=np.full((4, 3), -1.0)), rows(4), "best") == Cut(3, None)  # no reranker
    every = replace(top, scores=np.full((4, 3), 0.5), there=np.ones((4, 3), dtype=bool))
    assert cut(every, rows(4), "best") == Cut(3, None)
    unscored = replace(top, scores=np.where(top.scores == 0.05678, -1.0, top.scores))
    assert cut(unscored, rows(4), "best") == Cut(3, None)  # it would take away what was not scored
    nothing = replace(top, shares=np.zeros((4, 3)))
    for target in ("best", "cheapest"):
        assert cut(nothing, rows(4), target) == Cut(3, None)


def ended(count: int) -> Any:
    """Of so many queries the first has its answer at .1, every other at .5; a few of them in the second place."""
    scores = np.array([[0.1, 0.05]] + [[0.6, 0.5]] * 5 + [[0.5, 0.2]] * (count - 6))
    shares = np.array([[1.0, 0.0]] + [[0.0, 1.0]] * 5 + [[1.0, 0.0]] * (count - 6))
    top = Ranking(shares, scores, np.ones((count, 2), dtype=bool))
    return validate({0: top}, np.ones((1, count)), [0] * 5 * ROUNDS, split(count, 5, 0), "best")


def test_a_cut_is_measured_on_queries_that_had_no_say_in_it() -> None:
    """Chosen without the first query, the threshold takes its answer away: one in 250 is within half a hundredth."""
    found = ended(250)
    assert found.cut
    assert (found.figures[0], found.hits[0]) == pytest.approx((0.0, 0.0))
    assert found.figures[1:] == pytest.approx(1.0)
    assert found.hits[6:].mean() == pytest.approx(1.8, abs=0.05)  # four folds of five choose a threshold below .1


def test_a_cut_that_loses_too_much_is_given_up() -> None:
    found = ended(150)
    assert not found.cut
    assert found.figures == pytest.approx(1.0)
    assert found.hits == pytest.approx(2.0)


def trial(mean: float, milliseconds: float, fusion: Any = None) -> Trial:
    return Trial(Variant(fusion or ReciprocalRank(), 50, 0, None, milliseconds), mean)


def compared(*differences: float) -> Any:
    values = {f"q{i}": difference for i, difference in enumerate(differences)}
    return compare(dict.fromkeys(values, 0.5), {query: 0.5 + d for query, d in values.items()},
                   names=("default", "tuned"), metric="nDCG@10")  # fmt: skip


BETTER, WORSE = [0.1] * 15 + [0.0] * 15, [-0.1] * 15 + [0.0] * 15
NOISE, LOST = [0.1, -0.09] * 15, [-0.1, 0.092] * 15
SLIGHT = [-0.012] * 10 + [0.0] * 20  # a loss of .004, beyond noise


@pytest.mark.parametrize(
    ("differences", "target", "before", "after", "taken", "parts"),
    [
        (BETTER, "best", 10, 90, True, ["is taken: +0.050 nDCG@10 on held-out", "p = 0.0", "which is real, not noise"]),
        (NOISE, "best", 10, 5, True, ["is taken: +0.005 nDCG@10", "which is noise: 30 questions do not tell it"]),
        (WORSE, "best", 10, 5, False, ["The default is kept", "-0.050 nDCG@10", "which is a real loss"]),
        (LOST, "best", 10, 5, False, ["The default is kept", "-0.004 nDCG@10", "which is noise"]),
        (BETTER, "cheapest", 10, 90, True, ["which is real, not noise"]),
        (SLIGHT, "cheapest", 10, 5, True, ["5.0 ms a question rather than 10.0", "-0.004", "which is a real loss"]),
        (LOST, "cheapest", 10, 5, True, ["5.0 ms a question rather than 10.0", "which is noise"]),
        (WORSE, "cheapest", 10, 5, False, ["The default is kept", "which is a real loss"]),
        (LOST, "cheapest", 10, 9.8, False, ["The default is kept", "which is noise"]),
    ],
)
def test_what_does_better_on_held_out_questions_is_taken_and_noise_is_called_so(
    differences: list[float], target: Target, before: float, after: float, taken: bool, parts: list[str]
) -> None:
    comparison = compared(*differences)
    assert is_noise(comparison) == (differences in (NOISE, LOST))
    choice = trial(0.6, after, WeightedSum.from_alpha(0.7))
    found, reason = decide(choice, trial(0.5, before), comparison, target)
    assert found == taken
    for part in parts:
        assert part in reason
    assert reason.count("\n") == 0


def test_a_default_that_is_itself_the_choice_is_kept() -> None:
    default = trial(0.5, 10)
    assert decide(default, default, compared(*[0.0] * 9), "best") == (
        False,
        "The default is kept: it is what the questions choose.",
    )
    assert "what other folds chose came to +0.005" in decide(default, default, compared(*NOISE), "best")[1]


def test_how_often_the_folds_agree() -> None:
    one, other = trial(0.5, 1), trial(0.5, 1, DistributionBased())
    assert agreement((one, other, one)) == "2 of 3 folds chose RRF k=60, 50 candidates"


def test_a_setting_costs_the_sum_of_its_stages() -> None:
    assert COSTS.total(50, 0) == COSTS.before(50) == 8 + 3 + 2 + 0.5
    assert COSTS.total(50, 20) == 13.5 + 4 + 40
    assert COSTS.affordable(60) == 22  # 60 / 1.25 = 48; (48 - 4) / 2
    assert COSTS.affordable(5) == COSTS.affordable(-30) == 0


def test_the_grid_holds_every_fusion_at_every_depth_and_the_default_first() -> None:
    found = variants(Grid(), k=10, costs=COSTS, reranker=False, max_ms=None)
    assert len(found) == len(FUSIONS) * 3
    assert (found[0].fusion, found[0].candidates, found[0].reranked) == (ReciprocalRank(), 50, 0)
    found = variants(Grid(), k=10, costs=COSTS, reranker=True, max_ms=None)
    assert len(found) == len(FUSIONS) * 6
    assert (found[0].fusion, found[0].candidates, found[0].reranked) == (ReciprocalRank(), 50, 50)
    assert {variant.budget for variant in found} == {None}
    assert Grid().depth(10, reranker=True) == 100


def test_the_default_is_tried_whatever_the_grid() -> None:
    grid = Grid(fusions=(DistributionBased(),), candidates=(20,), reranked=())
    found = variants(grid, k=10, costs=COSTS, reranker=True, max_ms=None)
    assert found[0].fusion == ReciprocalRank()
    assert (found[0].candidates, found[0].reranked) == (50, 50)
    assert len(found) == 2 * (2 + 1)


def test_as_many_candidates_as_hits_at_least() -> None:
    found = variants(Grid(), k=70, costs=COSTS, reranker=False, max_ms=None)
    assert {variant.candidates for variant in found} == {70, 100}
    assert found[0].candidates == 70


def test_a_bound_leaves_what_keeps_it_and_the_rest_of_the_time_to_the_reranker() -> None:
    found = variants(Grid(), k=10, costs=COSTS, reranker=True, max_ms=73.5)
    assert all(variant.milliseconds <= 73.5 for variant in found)
    default = found[0]
    assert (default.fusion, default.candidates) == (ReciprocalRank(), 50)
    assert default.budget == Budget(milliseconds=60.0, min_candidates=3, max_candidates=50)
    assert default.reranked == 22
    assert {(v.candidates, v.reranked) for v in found if v.reranked} == {(50, 22), (20, 20), (10, 10)}


def test_a_bound_too_tight_for_the_reranker_leaves_it_out() -> None:
    found = variants(Grid(), k=10, costs=COSTS, reranker=True, max_ms=25)  # 13.5 before it: no three are worth it
    assert {variant.reranked for variant in found} == {0}
    assert (found[0].fusion, found[0].candidates) == (ReciprocalRank(), 50)
    found = variants(Grid(), k=10, costs=COSTS, reranker=False, max_ms=13.2)
    assert {variant.candidates for variant in found} == {20}
    assert found[0].candidates == 20  # nearest to the default


def test_a_bound_that_nothing_keeps_is_refused_with_what_takes_how_long() -> None:
    with pytest.raises(
        InvalidInputError, match=r"max_ms=12 cannot be kept: encoding a query takes 8.0 ms, dense .* 3.0"
    ):
        variants(Grid(), k=10, costs=COSTS, reranker=True, max_ms=12)


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"fusions": ()}, "no fusion or no number of candidates"),
        ({"candidates": ()}, "no fusion or no number of candidates"),
        ({"candidates": (10, 0)}, "candidates of the grid=0"),
        ({"reranked": (2.5,)}, "candidates of the grid=2.5"),
        ({"fusions": (lambda lists: [],)}, "cannot be written down"),
    ],
)
def test_a_grid_of_nothing_is_refused(values: dict[str, Any], part: str) -> None:
    with pytest.raises(InvalidInputError, match=part):
        Grid(**values)


def test_targets_are_best_and_cheapest() -> None:
    assert check_target("best") == "best"
    with pytest.raises(InvalidInputError, match="target='fastest' must be one of 'best', 'cheapest'"):
        check_target("fastest")


@pytest.mark.parametrize(
    ("fusion", "name"),
    [
        (ReciprocalRank(), "RRF k=60"),
        (ReciprocalRank(weights={"dense": 0.5}), "RRF k=60 (dense 0.5)"),
        (WeightedSum.from_alpha(0.7), "0.7 dense + 0.3 sparse (minmax)"),
        (WeightedSum(), "1 dense + 0.3 sparse (raw)"),
        (DistributionBased(), "DBSF"),
    ],
)
def test_fusions_in_a_few_words(fusion: Any, name: str) -> None:
    assert fusion_name(fusion) == name
