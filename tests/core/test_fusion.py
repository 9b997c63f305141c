"""Fusion by hand arithmetic."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_core import DistributionBased, Fusion, InvalidInputError, ReciprocalRank, Scored, WeightedSum

DENSE = [Scored("a", 0.9), Scored("b", 0.8), Scored("c", 0.4)]
SPARSE = [Scored("b", 6.0), Scored("d", 2.0)]
LISTS = {"dense": DENSE, "sparse": SPARSE}
EVERY = [ReciprocalRank(), WeightedSum(), WeightedSum(normalization="minmax"), DistributionBased()]


def test_reciprocal_rank_by_hand() -> None:
    fused = ReciprocalRank(k=1)(LISTS)
    assert [item.id for item in fused] == ["b", "a", "d", "c"]
    assert [item.score for item in fused] == pytest.approx([1 / 3 + 1 / 2, 1 / 2, 1 / 3, 1 / 4])


def test_reciprocal_rank_has_the_papers_k() -> None:
    assert ReciprocalRank().k == 60
    assert ReciprocalRank()({"dense": DENSE})[0].score == pytest.approx(1 / 61)


def test_reciprocal_rank_weighs_lists() -> None:
    fused = ReciprocalRank(k=1, weights={"sparse": 3.0})(LISTS)
    assert dict(fused) == pytest.approx({"b": 1 / 3 + 3 / 2, "d": 3 / 3, "a": 1 / 2, "c": 1 / 4})
    assert [item.id for item in ReciprocalRank(weights={"sparse": 0.0})(LISTS)] == ["a", "b", "c"]


def test_weighted_sum_of_raw_scores_has_the_papers_weights() -> None:
    assert WeightedSum() == WeightedSum(dense=1.0, sparse=0.3, normalization="none")
    assert dict(WeightedSum()(LISTS)) == pytest.approx({"b": 0.8 + 0.3 * 6, "a": 0.9, "d": 0.3 * 2, "c": 0.4})
    assert [item.id for item in WeightedSum()(LISTS)] == ["b", "a", "d", "c"]


def test_weighted_sum_of_minmax_scores_by_hand() -> None:
    fused = WeightedSum(dense=2.0, sparse=1.0, normalization="minmax")(LISTS)
    assert dict(fused) == pytest.approx({"a": 2.0, "b": 2 * 0.8 + 1.0, "c": 0.0, "d": 0.0})
    assert [item.id for item in fused] == ["b", "a", "c", "d"]  # c and d tie at 0: by id


def test_minmax_of_equal_scores_is_1() -> None:
    lists = {"dense": [Scored("a", 0.5), Scored("b", 0.5)], "sparse": [Scored("c", 2.0)]}
    assert WeightedSum(1, 1, "minmax")(lists) == [Scored("a", 1.0), Scored("b", 1.0), Scored("c", 1.0)]


def test_alpha_0_is_sparse_only_and_alpha_1_dense_only() -> None:
    assert [item.id for item in WeightedSum.from_alpha(0)(LISTS)] == ["b", "d"]
    assert [item.id for item in WeightedSum.from_alpha(1)(LISTS)] == ["a", "b", "c"]
    assert WeightedSum.from_alpha(1, "none")(LISTS) == DENSE
    assert WeightedSum.from_alpha(0, "none")(LISTS) == SPARSE


def test_alpha_between_weighs_both() -> None:
    assert WeightedSum.from_alpha(0.25) == WeightedSum(dense=0.25, sparse=0.75, normalization="minmax")


def test_distribution_based_by_hand() -> None:
    # dense: mean .7, sample deviation sqrt((.04 + .01 + .09) / 2); sparse: mean 4, sample deviation sqrt(4 + 4)
    sigma, tau = math.sqrt(0.07), math.sqrt(8)
    expected = {
        "a": 0.5 + 0.2 / (6 * sigma),
        "b": 0.5 + 0.1 / (6 * sigma) + 0.5 + 2 / (6 * tau),
        "c": 0.5 - 0.3 / (6 * sigma),
        "d": 0.5 - 2 / (6 * tau),
    }
    fused = DistributionBased()(LISTS)
    assert dict(fused) == pytest.approx(expected)
    assert [item.id for item in fused] == ["b", "a", "d", "c"]


def test_distribution_based_gives_a_half_to_a_list_of_one_or_of_equals() -> None:
    assert DistributionBased()({"dense": [Scored("a", 7.0)]}) == [Scored("a", 0.5)]
    equal = [Scored("a", 7.0), Scored("b", 7.0)]
    assert DistributionBased(weights={"dense": 2.0})({"dense": equal}) == [Scored("a", 1.0), Scored("b", 1.0)]


@pytest.mark.parametrize("fusion", EVERY)
def test_nothing_fuses_to_nothing(fusion: Fusion) -> None:
    assert isinstance(fusion, Fusion)
    assert fusion({}) == []
    assert fusion({"dense": [], "sparse": []}) == []


@pytest.mark.parametrize("fusion", EVERY)
def test_one_list_keeps_its_order(fusion: Fusion) -> None:
    assert [item.id for item in fusion({"dense": DENSE, "sparse": []})] == ["a", "b", "c"]


@pytest.mark.parametrize("fusion", EVERY)
def test_ties_break_by_id(fusion: Fusion) -> None:
    assert [item.id for item in fusion({"dense": [Scored("z", 1.0)], "other": [Scored("b", 1.0)]})] == ["b", "z"]


@pytest.mark.parametrize("fusion", EVERY)
def test_the_lists_handed_in_stay_as_they_are(fusion: Fusion) -> None:
    lists = {name: list(ranked) for name, ranked in LISTS.items()}
    fusion(lists)
    assert lists == LISTS


IDS = st.sampled_from("abcdefgh")
SCORES = st.floats(-1e3, 1e3, allow_nan=False)


@st.composite
def ranked_lists(draw: st.DrawFn) -> dict[str, list[Scored]]:
    lists = {}
    for name in ("dense", "sparse", "third"):
        scores = draw(st.dictionaries(IDS, SCORES, max_size=8))
        lists[name] = sorted((Scored(i, s) for i, s in scores.items()), key=lambda item: (-item.score, item.id))
    return lists


@given(ranked_lists(), st.permutations(["dense", "sparse", "third"]), st.sampled_from(EVERY))
def test_the_order_of_the_lists_moves_no_score_by_a_bit(lists: Any, order: list[str], fusion: Fusion) -> None:
    assert fusion({name: lists[name] for name in order}) == fusion(lists)


@given(ranked_lists(), st.sampled_from(EVERY))
def test_every_id_comes_once_best_first(lists: Any, fusion: Fusion) -> None:
    fused = fusion(lists)
    assert sorted(item.id for item in fused) == sorted({item.id for ranked in lists.values() for item in ranked})
    assert fused == sorted(fused, key=lambda item: (-item.score, item.id))
    assert all(math.isfinite(item.score) for item in fused)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ReciprocalRank(k=0), "k=0"),
        (lambda: ReciprocalRank(k=-1), "k=-1"),
        (lambda: ReciprocalRank(k=math.nan), "k=nan"),
        (lambda: ReciprocalRank(k=math.inf), "k=inf"),
        (lambda: ReciprocalRank(weights={"dense": -1.0}), "'dense'"),
        (lambda: ReciprocalRank(weights={"dense": 0.0, "sparse": 0.0}), "all weights are 0"),
        (lambda: WeightedSum(dense=-0.1), "'dense'"),
        (lambda: WeightedSum(sparse=math.nan), "'sparse'"),
        (lambda: WeightedSum(dense=0, sparse=0), "all weights are 0"),
        (lambda: WeightedSum(normalization="zscore"), "normalization='zscore'"),  # type: ignore[arg-type]
        (lambda: WeightedSum.from_alpha(-0.1), "alpha=-0.1"),
        (lambda: WeightedSum.from_alpha(1.1), "alpha=1.1"),
        (lambda: WeightedSum.from_alpha(math.nan), "alpha=nan"),
        (lambda: DistributionBased(weights={"sparse": math.inf}), "'sparse'"),
    ],
)
def test_a_bad_parameter_is_named(make: Any, named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        make()
