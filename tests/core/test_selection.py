"""Maximal marginal relevance, and the relevance of hits, from the vectors that a store keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.vectorstores.utils import maximal_marginal_relevance as langchains

from hybrid_core import BgeM3Encoder, Budget, CrossEncoderReranker, HybridIndex, InvalidInputError
from hybrid_core.selection import diversified, maximal_marginal_relevance, relevances

QUESTION = "how does a worker get its tasks?"
TEXTS = {
    "pull": "A worker pulls tasks from the queue.",
    "pull again": "A worker pulls tasks from the queue!",
    "retry": "A failed task is tried again.",
    "limit": "网关在这里配置限流。",
}


def cosine(a: Any, b: Any) -> float:
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.dot(a, b) / lengths) if lengths else 0.0


def test_by_hand_the_second_choice_is_the_one_that_differs() -> None:
    # cosines to the query: 1, 0.8, 0.6; of the second to the first 0.8, of the third to the first 0.6
    vectors = [[1, 0], [0.8, 0.6], [0.6, -0.8]]
    # second choice at diversity d: (1 - d) * 0.8 - d * 0.8 against (1 - d) * 0.6 - d * 0.6: equal at d = 1/2
    assert maximal_marginal_relevance([1, 0], vectors, 3, 0.0) == [0, 1, 2]
    assert maximal_marginal_relevance([1, 0], vectors, 3, 0.4) == [0, 1, 2]
    assert maximal_marginal_relevance([1, 0], vectors, 3, 0.6) == [0, 2, 1]
    assert maximal_marginal_relevance([1, 0], vectors, 2, 1.0) == [0, 2]


def test_equal_values_keep_the_order_given() -> None:
    twins = [[0, 1], [1, 0], [1, 0], [0, 1]]
    assert maximal_marginal_relevance([1, 0], twins, 4, 0.0) == [1, 2, 0, 3]
    assert maximal_marginal_relevance([1, 1], twins, 4, 0.5) == [0, 1, 2, 3]


def test_lengths_do_not_count_and_the_zero_vector_is_like_none() -> None:
    vectors = [[0, 0], [300, 1], [1e-30, 1e-30]]
    assert maximal_marginal_relevance([1e20, 0], vectors, 3, 0.0) == [1, 2, 0]
    assert maximal_marginal_relevance([0, 0], vectors, 3, 0.0) == [0, 1, 2]


@pytest.mark.parametrize("diversity", [0.0, 0.3, 0.5, 0.75, 1.0])
def test_it_chooses_as_langchains_function_does(diversity: float) -> None:
    random = np.random.default_rng(7)
    query, vectors = random.normal(size=16), random.normal(size=(60, 16))
    expected = langchains(query, list(vectors), lambda_mult=1 - diversity, k=20)
    assert maximal_marginal_relevance(query, vectors, 20, diversity) == expected


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_each_choice_has_the_highest_value_by_the_formula(data: st.DataObject) -> None:
    n, d = data.draw(st.integers(0, 9)), data.draw(st.integers(1, 4))
    row = st.lists(st.integers(-3, 3), min_size=d, max_size=d)  # ties and zero vectors abound
    vectors, query = data.draw(st.lists(row, min_size=n, max_size=n)), data.draw(row)
    k, diversity = data.draw(st.integers(0, 11)), data.draw(st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    chosen = maximal_marginal_relevance(query, np.reshape(vectors, (n, d)), k, diversity)
    assert len(set(chosen)) == len(chosen) == min(k, n)
    for place, choice in enumerate(chosen):
        before = chosen[:place]

        def value(i: int, before: list[int] = before) -> float:
            nearest = [cosine(vectors[i], vectors[j]) for j in before]
            relevance = cosine(query, vectors[i])
            return (1 - diversity) * relevance - diversity * max(nearest) if nearest else relevance

        assert value(choice) >= max(value(i) for i in range(n) if i not in before) - 1e-9


@pytest.mark.parametrize(
    ("query", "vectors", "k", "diversity"),
    [
        ([1, 0], [[1, 0]], -1, 0.5),
        ([1, 0], [[1, 0]], 1, 1.5),
        ([1, 0], [[1, 0]], 1, -0.1),
        ([1, 0], [[1, 0]], 1, float("nan")),
        ([1, 0], [[1, 0]], 1, True),
        ([1, 0, 0], [[1, 0]], 1, 0.5),
    ],
)
def test_what_does_not_fit_is_an_error(query: Any, vectors: Any, k: int, diversity: float) -> None:
    with pytest.raises(InvalidInputError):
        maximal_marginal_relevance(query, vectors, k, diversity)


def test_hits_are_chosen_by_their_stored_vectors(index: HybridIndex) -> None:
    index.add(list(TEXTS.values()), ids=list(TEXTS))
    query = index.encoder.encode_queries([QUESTION]).dense[0]
    hits = index.search(QUESTION, k=4)
    assert {hits[0].passage.id, hits[1].passage.id} == {"pull", "pull again"}
    near = diversified(index.store, query, hits, 2, 0.0)
    assert {hit.passage.id for hit in near} == {"pull", "pull again"}
    first, second = diversified(index.store, query, hits, 2, 0.7)
    assert first.passage.id in ("pull", "pull again")
    assert second.passage.id not in ("pull", "pull again")
    assert all(hit in hits for hit in (first, second))
    assert diversified(index.store, query, [], 2, 0.5) == []


def test_relevance_is_the_cosine_and_of_no_passage_below_zero(index: HybridIndex) -> None:
    index.add(list(TEXTS.values()), ids=list(TEXTS))
    query = index.encoder.encode_queries([QUESTION]).dense[0]
    dense = dict(zip(TEXTS, (index.encoder.encode_documents(list(TEXTS.values())).dense @ query).tolist(), strict=True))
    for mode in ("hybrid", "dense", "sparse"):
        hits = index.search(QUESTION, k=4, mode=mode)
        expected = [max(0.0, dense[hit.passage.id]) for hit in hits]
        assert relevances(index.store, query, hits) == pytest.approx(expected, abs=1e-6)
    assert relevances(index.store, -query, index.search(QUESTION, k=1)) == [0.0]


def test_relevance_after_reranking_is_the_rerankers_score_and_0_where_it_had_no_say(encoder: BgeM3Encoder) -> None:
    with HybridIndex.open(None, encoder=encoder, reranker=CrossEncoderReranker.tiny()) as index:
        index.add(list(TEXTS.values()), ids=list(TEXTS))
        query = encoder.encode_queries([QUESTION]).dense[0]
        hits = index.search(QUESTION, k=4)
        assert relevances(index.store, query, hits) == [hit.stages["reranked"].score for hit in hits]
        hits = index.search(QUESTION, k=4, budget=Budget(milliseconds=1e-3, min_candidates=2, max_candidates=2))
        assert relevances(index.store, query, hits) == [*(hit.stages["reranked"].score for hit in hits[:2]), 0.0, 0.0]


def test_a_hit_deleted_meanwhile_is_not_chosen_and_has_no_relevance(index: HybridIndex) -> None:
    index.add(list(TEXTS.values()), ids=list(TEXTS))
    query = index.encoder.encode_queries([QUESTION]).dense[0]
    hits = index.search(QUESTION, k=4)
    index.delete([hits[0].passage.id])
    assert hits[0] not in diversified(index.store, query, hits, 4, 0.5)
    assert relevances(index.store, query, hits)[0] == 0.0
    index.delete(index.ids())
    assert diversified(index.store, query, hits, 4, 0.5) == []
    assert relevances(index.store, query, hits) == [0.0] * 4
