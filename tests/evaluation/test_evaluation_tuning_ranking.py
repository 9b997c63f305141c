"""The lists that tuning makes for all queries at once are those of the fusions, of the reranker and of a search."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from evaluation_files import CORPUS, QRELS, QUERIES
from tuning_set import NumberEncoder, NumberReranker, number_index, number_set

from hybrid_core import (
    CrossEncoderReranker,
    DistributionBased,
    HybridIndex,
    InvalidInputError,
    ReciprocalRank,
    WeightedSum,
)
from hybrid_core.evaluation import measure
from hybrid_core.evaluation.tuning.grid import FUSIONS, Variant
from hybrid_core.evaluation.tuning.ranking import Cut, Ranking, fused, ranking, reranked, shares, values, wanted
from hybrid_core.evaluation.tuning.recall import Recalled, recall
from hybrid_core.fusion import Fusion
from hybrid_core.rerankers.base import rank
from hybrid_core.types import IntArray, Scored

MORE_FUSIONS: list[Fusion] = [
    *FUSIONS,
    ReciprocalRank(k=0.5, weights={"dense": 0.3, "sparse": 2.0}),
    ReciprocalRank(weights={"sparse": 0.0}),
    WeightedSum(),
    WeightedSum(dense=0.0, sparse=1.0, normalization="none"),
    DistributionBased(weights={"dense": 0.25}),
]


def random_lists(seed: int, queries: int) -> dict[str, list[list[Scored]]]:
    """Lists of every length from 0, with scores that are often equal, over ids that do not sort as they are drawn."""
    draw = random.Random(seed)  # noqa: S311 - not a secret
    lists: dict[str, list[list[Scored]]] = {"dense": [], "sparse": []}
    for i in range(queries):
        for side in lists.values():
            ids = draw.sample([f"{n:x}" for n in range(60)], k=i % 3 and draw.randint(0, 30))
            scores = [draw.choice([0.1, 0.25, 1 / 3, draw.random(), -draw.random(), 1e-308]) for _ in ids]
            side.append(sorted(map(Scored, ids, scores), key=lambda item: (-item.score, item.id)))
    return lists


def judgements(lists: dict[str, list[list[Scored]]], seed: int) -> dict[str, dict[str, int]]:
    draw = random.Random(seed)  # noqa: S311 - not a secret
    known = [f"{n:x}" for n in range(70)]  # some are never found
    return {
        f"q{i}": {id_: draw.choice([0, 1, 1, 3]) for id_ in draw.sample(known, 12)} for i in range(len(lists["dense"]))
    }


def named(recalled: Recalled, order: IntArray) -> list[list[str]]:
    nobody = recalled.grades.shape[1] - 1
    return [[recalled.ids[i][place] for place in row if place != nobody] for i, row in enumerate(order.tolist())]


@pytest.mark.parametrize("depth", [1, 7, 50])
def test_every_fusion_of_the_grid_gives_the_lists_of_the_fusion_itself(depth: int) -> None:
    lists = random_lists(depth, 60)
    recalled = Recalled.of(lists, judgements(lists, 1))
    for fusion in MORE_FUSIONS:
        expected = [
            [item.id for item in fusion({side: lists[side][i][:depth] for side in lists})[:depth]] for i in range(60)
        ]
        assert named(recalled, fused(recalled, fusion, depth)) == expected, fusion


def test_the_grid_has_no_fusion_twice() -> None:
    assert len({repr(fusion) for fusion in FUSIONS}) == len(FUSIONS)


def test_a_fusion_of_another_kind_is_refused() -> None:
    lists = random_lists(1, 2)

    def mine(lists: object) -> list[Scored]:
        return []

    with pytest.raises(InvalidInputError, match="cannot be tuned: ReciprocalRank, WeightedSum and DistributionBased"):
        fused(Recalled.of(lists, judgements(lists, 1)), mine, 10)


def test_queries_for_which_nothing_is_found_have_empty_lists() -> None:
    recalled = Recalled.of({"dense": [[], []], "sparse": [[], []]}, {"a": {"x": 1}, "b": {"x": 0}})
    for fusion in FUSIONS:
        assert named(recalled, fused(recalled, fusion, 10)) == [[], []]
        option = Variant(fusion, 10, 0, None, 0.0)
        assert values(recalled, [option], 10).tolist() == [[0.0, 0.0]]
        assert not ranking(recalled, option, 10).there.any()


@pytest.mark.parametrize("count", [1, 4, 30])
def test_reranking_is_the_stable_order_of_the_scores(count: int) -> None:
    lists = random_lists(5, 40)
    recalled = Recalled.of(lists, judgements(lists, 2))
    order = fused(recalled, ReciprocalRank(), 30)
    scores = np.random.default_rng(0).integers(0, 4, recalled.scores.shape).astype(np.float32) / 4  # many are equal
    scores[:, -1] = -np.inf

    class Kept:
        name = "kept"

        def score(self, query: str, texts: Sequence[str]) -> np.ndarray:
            row = int(query)
            return np.array([scores[row, recalled.ids[row].index(id_)] for id_ in texts], dtype=np.float32)

    for i, ids in enumerate(named(recalled, order)):
        expected = [ids[place] for place, _ in rank(Kept(), str(i), ids[:count])] + ids[count:]
        assert named(recalled, reranked(order, scores, count))[i] == expected


@pytest.mark.parametrize("k", [1, 3, 10, 100])
def test_the_figures_are_those_of_trec_eval(k: int) -> None:
    lists = random_lists(9, 50)
    qrels = judgements(lists, 3)
    recalled = Recalled.of(lists, qrels)
    for fusion in (ReciprocalRank(), WeightedSum.from_alpha(0.3), DistributionBased()):
        run = {f"q{i}": fusion({side: lists[side][i] for side in lists})[:60] for i in range(50)}
        expected = measure(run, qrels, [f"nDCG@{k}"])[f"nDCG@{k}"]
        found = shares(recalled, fused(recalled, fusion, 60), k).sum(axis=1)
        assert found.tolist() == pytest.approx(list(expected.values()), abs=1e-12)


def test_a_setting_gives_what_a_search_with_it_gives(small_index: HybridIndex, reranker: CrossEncoderReranker) -> None:
    """The whole way, on real models: recall, fusion, reranking of some or all candidates."""
    texts = list(QUERIES.values())
    found = recall(small_index, texts, 12)
    recalled = Recalled.of(found.lists, QRELS)
    options = [
        Variant(fusion, candidates, count, None, 0.0)
        for fusion in (ReciprocalRank(), WeightedSum.from_alpha(0.3), WeightedSum.from_alpha(1.0), DistributionBased())
        for candidates, count in ((3, 0), (5, 5), (12, 12))
    ]
    recalled = recalled.scored(small_index, reranker, texts, wanted(recalled, options), show=False)
    index = HybridIndex(small_index.store, encoder=small_index.encoder, reranker=reranker)
    metric = "nDCG@3"
    figures = values(recalled, options, 3)
    for number, option in enumerate(options):
        hits = {
            query: index.search(text, 3, option.candidates, fusion=option.fusion, rerank=option.reranked > 0)
            for query, text in QUERIES.items()
        }
        top = ranking(recalled, option, 3)
        for i, query in enumerate(QUERIES):
            assert top.there[i].sum() == len(hits[query])
            scores = [hit.score if option.reranked else -1.0 for hit in hits[query]]
            assert top.scores[i, : len(scores)].tolist() == pytest.approx(scores, abs=1e-4)
        run = {query: [Scored(hit.passage.id, hit.score) for hit in found] for query, found in hits.items()}
        expected = list(measure(run, QRELS, [metric])[metric].values())
        assert figures[number].tolist() == pytest.approx(expected, abs=1e-9), option


def test_the_reranker_is_asked_once_a_query_and_only_for_what_some_setting_reranks() -> None:
    reranker = NumberReranker()
    index, dataset = number_index(NumberEncoder(1.0, 0.5), reranker), number_set(6)
    texts = list(dataset.queries.values())
    recalled = Recalled.of(recall(index, texts, 50).lists, dataset.qrels)
    options = [Variant(ReciprocalRank(), 50, 8, None, 0.0), Variant(WeightedSum.from_alpha(1.0), 20, 4, None, 0.0)]
    asked = wanted(recalled, options)
    scored = recalled.scored(index, reranker, texts, asked, show=False)
    assert [query for query, _ in reranker.asked] == texts
    assert all(8 <= count <= 12 for _, count in reranker.asked)
    assert asked.sum() == sum(count for _, count in reranker.asked)
    assert np.array_equal(np.isfinite(scored.scores), asked)
    assert not np.isfinite(recalled.scores).any()  # the copy is one


def test_a_passage_that_was_deleted_meanwhile_comes_last() -> None:
    reranker = NumberReranker(noise=0.0)
    index, dataset = number_index(NumberEncoder(), reranker), number_set(3)
    texts = list(dataset.queries.values())
    recalled = Recalled.of(recall(index, texts, 10).lists, dataset.qrels)
    option = Variant(ReciprocalRank(), 10, 10, None, 0.0)
    assert values(recalled.scored(index, reranker, texts, wanted(recalled, [option]), show=False), [option], 5).all()
    index.delete(["d001"])
    scored = recalled.scored(index, reranker, texts, wanted(recalled, [option]), show=False)
    assert values(scored, [option], 5).tolist() == [[1.0, 0.0, 1.0]]


def test_a_cut_leaves_the_first_hits_from_the_threshold_up() -> None:
    top = Ranking(
        shares=np.array([[0.5, 0.3, 0.0], [1.0, 0.0, 0.0]]),
        scores=np.array([[0.9, 0.4, 0.1], [0.3, -1.0, -1.0]]),
        there=np.array([[True, True, True], [True, True, False]]),
    )
    assert top.kept(Cut(3, None)).tolist() == [[True, True, True], [True, True, False]]
    assert top.kept(Cut(1, None)).tolist() == [[True, False, False], [True, False, False]]
    assert top.kept(Cut(3, 0.4)).tolist() == [[True, True, False], [False, False, False]]


def test_the_corpus_of_the_small_set_is_recalled_whole(small_index: HybridIndex) -> None:
    found = recall(small_index, list(QUERIES.values()), 100)
    assert [len(ranked) for ranked in found.lists["dense"]] == [len(CORPUS)] * len(QUERIES)
    assert all(len(seconds) == len(QUERIES) for seconds in found.seconds.values())
