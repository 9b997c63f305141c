"""Selection: near-duplicates left out, a cap for each document, diversity; by hand, and over an index."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_core import (
    BgeM3Encoder,
    CrossEncoderReranker,
    Encoding,
    Hit,
    HybridIndex,
    InvalidInputError,
    InvalidTextError,
    Passage,
    StageScore,
)
from hybrid_core.choosing import Selection, choose
from hybrid_core.rerankers.budget import Budget
from hybrid_core.selection import maximal_marginal_relevance
from hybrid_core.stores.memory import MemoryStore
from hybrid_core.types import FloatArray

QUERY = "How many times is a failed job tried again?"


def hits(scores: Sequence[float | None], sources: Sequence[Any] = ()) -> list[Hit]:
    """Hits a, b, c, ... with a reranker's scores, None for what it left out, and sources; None is no source."""
    found = []
    for place, score in enumerate(scores):
        source = sources[place] if sources else None
        passage = Passage(chr(97 + place), "", {} if source is None else {"source": source})
        stages = {"dense": StageScore(0.5, place + 1)}
        if score is not None:
            stages["reranked"] = StageScore(score, place + 1)
        found.append(Hit(passage, 0.5 if score is None else score, stages))
    return found


def ids(found: Sequence[Hit]) -> str:
    return "".join(hit.passage.id for hit in found)


def at(*degrees: float) -> FloatArray:
    """Unit vectors in the plane: their cosines are those of the angles between them."""
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


# near-duplicates


def test_of_near_duplicates_the_best_stays() -> None:
    """a and b are 10 degrees apart: cosine 0.985; c is 90 and 80 from them."""
    ranked = hits([0.9, 0.8, 0.7])
    assert ids(choose(ranked, 3, Selection(near_duplicates=0.98), vectors=at(0, 10, 90))) == "ac"
    assert ids(choose(ranked, 3, Selection(near_duplicates=0.99), vectors=at(0, 10, 90))) == "abc"


def test_a_cosine_at_the_threshold_is_not_above_it() -> None:
    vectors = [[1.0, 0.0], [0.6, 0.8]]
    assert ids(choose(hits([0.9, 0.8]), 2, Selection(near_duplicates=0.6), vectors=vectors)) == "ab"
    assert ids(choose(hits([0.9, 0.8]), 2, Selection(near_duplicates=0.59), vectors=vectors)) == "a"


def test_what_is_left_out_leaves_out_nothing_else() -> None:
    """b is near to a, c to b alone: 20 degrees are a cosine of 0.94, 40 of 0.77."""
    assert ids(choose(hits([0.9, 0.8, 0.7]), 3, Selection(near_duplicates=0.9), vectors=at(0, 20, 40))) == "ac"


def test_vectors_may_be_of_any_length_and_the_zero_vector_is_like_none() -> None:
    vectors = at(0, 0, 90) * np.array([[5.0], [0.1], [1e-30]])
    assert ids(choose(hits([0.9, 0.8, 0.7]), 3, Selection(near_duplicates=0.9), vectors=vectors)) == "ac"
    assert ids(choose(hits([0.9, 0.8]), 2, Selection(near_duplicates=0.0), vectors=np.zeros((2, 2)))) == "ab"


# a cap for each document


def test_of_a_document_the_best_stay() -> None:
    ranked = hits([0.9, 0.8, 0.7, 0.6, 0.5], ["x", "x", "y", "x", "y"])
    assert ids(choose(ranked, 5, Selection(per_parent=1))) == "ac"
    assert ids(choose(ranked, 5, Selection(per_parent=2))) == "abce"
    assert ids(choose(ranked, 2, Selection(per_parent=1))) == "ac"
    assert ids(choose(ranked, 3, Selection(per_parent=2))) == "abc"


def test_what_names_no_document_is_one_of_its_own() -> None:
    ranked = hits([0.9, 0.8, 0.7, 0.6], ["x", None, None, "x"])
    assert ids(choose(ranked, 4, Selection(per_parent=1))) == "abc"
    assert ids(choose(ranked, 4, Selection(per_parent=1, parent="page"))) == "abcd"
    null = [Hit(Passage(id_, "", {"source": None}), 0.5, {}) for id_ in "ab"]
    assert ids(choose(null, 2, Selection(per_parent=1))) == "ab"


def test_any_json_value_may_name_a_document() -> None:
    sources = [["x", 1], {"a": 1, "b": 2}, ["x", 1], {"b": 2, "a": 1}, 1, "1", True, 1]
    assert ids(choose(hits([0.5] * 8, sources), 8, Selection(per_parent=1))) == "abefg"


def test_a_near_duplicate_takes_no_place_of_its_document_and_one_beyond_the_cap_leaves_out_nothing() -> None:
    """b is a copy of a; c, beyond the cap of x, would have left d out."""
    both = Selection(near_duplicates=0.9, per_parent=1)
    ranked = hits([0.9, 0.8, 0.7, 0.6], ["x", "y", "x", "y"])
    assert ids(choose(ranked, 4, both, vectors=at(0, 0, 90, 95))) == "ad"


# diversity


def test_maximal_marginal_relevance_by_hand() -> None:
    """b is like a (cosine 1), c is at 90 degrees: at 0.5, b is worth 0.4 - 0.5, c 0.15 - 0; at 0.1, 0.62 and 0.27."""
    ranked, vectors = hits([0.9, 0.8, 0.3]), at(0, 0, 90)
    assert ids(choose(ranked, 3, Selection(diversity=0.5), vectors=vectors)) == "acb"
    assert ids(choose(ranked, 2, Selection(diversity=0.5), vectors=vectors)) == "ac"
    assert ids(choose(ranked, 3, Selection(diversity=0.1), vectors=vectors)) == "abc"
    assert ids(choose(ranked, 3, Selection(diversity=1), vectors=vectors)) == "acb"


def test_the_highest_cosine_with_any_taken_counts() -> None:
    """After a (0) and b (90), c at 80 is worth 0.35 - 0.49, d at 45 0.25 - 0.35, though c is farther from a."""
    ranked = hits([0.9, 0.8, 0.7, 0.5])
    assert ids(choose(ranked, 4, Selection(diversity=0.5), vectors=at(0, 90, 80, 45))) == "abdc"


def test_a_negative_cosine_is_worth_something() -> None:
    """After a (0), b at 90 is worth 0.4 - 0, d at 225 0.05 + 0.35."""
    ranked = hits([0.9, 0.8, 0.7, 0.1])
    assert ids(choose(ranked, 4, Selection(diversity=0.5), vectors=at(0, 90, 80, 225))) == "adbc"


def test_without_a_reranker_relevance_is_the_cosine_with_the_query() -> None:
    """c is the query itself. At 0.9, a at 40 is worth 0.08 - 0.69 and b at 10 0.10 - 0.89; at 0.1, 0.61 and 0.79."""
    ranked, vectors = hits([None, None, None]), at(40, 10, 0)
    assert ids(choose(ranked, 3, Selection(diversity=0.9), vectors=vectors, query=[1.0, 0.0])) == "cab"
    assert ids(choose(ranked, 3, Selection(diversity=0.1), vectors=vectors, query=[2.0, 0.0])) == "cba"


def test_the_choice_is_that_of_the_vector_stores_where_relevance_is_the_cosine() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        vectors, query = random.normal(size=(12, 5)), random.normal(size=5)
        diversity, k = float(random.uniform(0.05, 1)), int(random.integers(1, 15))
        found = choose(hits([None] * 12), k, Selection(diversity=diversity), vectors=vectors, query=query)
        assert ids(found) == "".join(chr(97 + i) for i in maximal_marginal_relevance(query, vectors, k, diversity))


def test_what_the_reranker_left_out_stays_below_what_it_scored() -> None:
    ranked, selection = hits([0.9, 0.1, None, None]), Selection(diversity=0.9)
    assert ids(choose(ranked, 4, selection, vectors=at(0, 0, 90, 180))) == "abcd"
    assert ids(choose(ranked, 3, selection, vectors=at(0, 0, 90, 180))) == "abc"
    assert ids(choose(ranked, 1, selection, vectors=at(0, 0, 90, 180))) == "a"


def test_diversity_chooses_among_what_is_neither_near_nor_beyond_a_cap() -> None:
    """b repeats a, d is the third of x."""
    ranked = hits([0.9, 0.8, 0.7, 0.6, 0.5], ["x", "y", "x", "x", "z"])
    selection = Selection(diversity=0.5, near_duplicates=0.99, per_parent=2)
    assert ids(choose(ranked, 5, selection, vectors=at(0, 1, 20, 180, 90))) == "aec"


# bounds


@given(
    st.lists(st.floats(0, 1), max_size=12), st.integers(0, 15), st.floats(0, 1), st.floats(0, 0.99), st.integers(1, 3)
)
def test_whatever_is_asked_the_best_comes_first_and_the_rest_satisfy_it(
    scores: list[float], k: int, diversity: float, threshold: float, cap: int
) -> None:
    ranked = hits(sorted(scores, reverse=True), [i % 3 for i in range(len(scores))])
    vectors = np.random.default_rng(len(scores)).normal(size=(len(scores), 3))
    selection = Selection(diversity=diversity, near_duplicates=threshold, per_parent=cap)
    found = choose(ranked, k, selection, vectors=vectors)
    assert found[:1] == ranked[: min(k, 1)]
    assert len(found) <= k
    places = [ranked.index(hit) for hit in found]
    sources = [hit.passage.metadata["source"] for hit in found]
    assert max(map(sources.count, sources), default=0) <= cap
    unit = vectors[places] / np.linalg.norm(vectors[places], axis=1, keepdims=True)
    cosines = unit @ unit.T - 2 * np.eye(len(places))
    assert (cosines <= threshold + 1e-9).all()


def test_one_without_arguments_takes_the_best() -> None:
    ranked = hits([0.9, None, 0.1], ["x", "x", "x"])
    assert choose(ranked, 2, Selection()) == ranked[:2]
    assert choose(ranked, 9, Selection()) == ranked
    assert choose([], 2, Selection(diversity=0.5)) == choose(ranked, 0, Selection(diversity=0.5)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"diversity": 1.1}, r"diversity=1.1 must be a number from 0, as ranked, to 1"),
        ({"diversity": float("nan")}, "diversity=nan must be"),
        ({"diversity": True}, "diversity=True must be"),
        ({"near_duplicates": 1.0}, "near_duplicates=1.0 must be a cosine from 0 to below 1"),
        ({"near_duplicates": -0.1}, "near_duplicates=-0.1 must be"),
        ({"near_duplicates": "0.9"}, "near_duplicates='0.9' must be"),
        ({"per_parent": 0}, "per_parent=0 must be an integer >= 1"),
        ({"per_parent": 1.5}, "per_parent=1.5 must be an integer"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Selection(**arguments)


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidTextError, match="parent is None"):
        Selection(parent=None)  # type: ignore[arg-type]


def test_vectors_that_are_missing_or_do_not_fit_are_refused() -> None:
    ranked = hits([None, None])
    with pytest.raises(InvalidInputError, match=r"vectors of shape \(0, 0\) do not fit 2 hits"):
        choose(ranked, 1, Selection(near_duplicates=0.9))
    with pytest.raises(InvalidInputError, match=r"vectors of shape \(3, 2\) do not fit 2 hits"):
        choose(ranked, 1, Selection(near_duplicates=0.9), vectors=at(0, 1, 2))
    for query in (None, [1.0, 0.0, 0.0]):
        with pytest.raises(InvalidInputError, match=r"query of shape .* does not fit vectors of shape \(2, 2\)"):
            choose(ranked, 1, Selection(diversity=0.5), vectors=at(0, 1), query=query)
    with pytest.raises(InvalidInputError, match="k=-1 must be"):
        choose(ranked, -1, Selection())


# over an index


class Watched(MemoryStore):
    """A store that counts how often vectors are read from it."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    def encodings(self, texts: Sequence[str]) -> tuple[list[int], Encoding | None]:
        self.read += 1
        return super().encodings(texts)


@pytest.fixture(scope="module")
def tiny() -> CrossEncoderReranker:
    return CrossEncoderReranker.tiny()


@pytest.fixture(scope="module")
def reranked(encoder: BgeM3Encoder, tiny: CrossEncoderReranker) -> Iterator[HybridIndex]:
    """The first English passages of the demo, the first five twice, and the small reranker."""
    lines = (files("hybrid_core") / "demo" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    passages = [Passage(**row) for row in map(json.loads, lines) if row["metadata"]["lang"] == "en"][:20]
    copies = [Passage(f"{one.id}-again", f"{one.text} Really.", one.metadata) for one in passages[:5]]
    with HybridIndex(Watched(), encoder=encoder, reranker=tiny) as index:
        index.add([*passages, *copies])
        yield index


def test_none_changes_nothing_and_costs_nothing(reranked: HybridIndex) -> None:
    assert isinstance(reranked.store, Watched)
    reranked.store.read = 0
    plain = reranked.search(QUERY, k=6)
    assert reranked.search(QUERY, k=6, selection=None) == plain
    assert reranked.search(QUERY, k=6, selection=Selection()) == plain
    assert len(reranked.search(QUERY, k=6, selection=Selection(per_parent=1, parent="page"))) <= 6
    assert reranked.store.read == 0


@pytest.mark.parametrize("query", [QUERY, "passing props to a component", "query parameters"])
def test_a_search_chooses_from_all_reranked_candidates(reranked: HybridIndex, query: str) -> None:
    every = reranked.search(query, k=25)
    vectors = reranked.encoder.encode_documents([hit.passage.text for hit in every]).dense
    for selection in (
        Selection(near_duplicates=0.95),
        Selection(per_parent=1, parent="page"),
        Selection(diversity=0.4),
        Selection(diversity=0.4, near_duplicates=0.95, per_parent=2, parent="page"),
    ):
        found = reranked.search(query, k=5, selection=selection)
        assert found == choose(every, 5, selection, vectors=vectors)  # with stages, scores and windows as they were
        assert found[0] == every[0]
    assert all("reranked" in hit.stages for hit in found)


def test_a_search_finds_no_passage_and_its_copy(reranked: HybridIndex) -> None:
    query = "Passing props to a component"
    plain = {hit.passage.id for hit in reranked.search(query, k=5)}
    assert {"en-component-props", "en-component-props-again"} <= plain
    for mode in ("hybrid", "dense", "sparse"):
        found = reranked.search(query, k=5, mode=mode, selection=Selection(near_duplicates=0.95))
        names = [hit.passage.id.removesuffix("-again") for hit in found]
        assert len(names) == len(set(names)) == 5


def test_explain_chooses_as_search_does(reranked: HybridIndex) -> None:
    selection = Selection(diversity=0.3, near_duplicates=0.95, per_parent=1, parent="page")
    found, why = reranked.search(QUERY, selection=selection), reranked.explain(QUERY, selection=selection)
    assert [(hit.passage, hit.score, hit.stages) for hit in why] == [(h.passage, h.score, h.stages) for h in found]
    assert any(hit.matches for hit in why)


def test_a_budget_and_a_least_score_come_first(reranked: HybridIndex) -> None:
    budget = Budget(0.001, min_candidates=4, max_candidates=4)
    found = reranked.search(QUERY, k=8, budget=budget, selection=Selection(diversity=0.9))
    assert ["reranked" in hit.stages for hit in found] == [True] * 4 + [False] * 4
    least = reranked.search(QUERY, k=3)[2].score
    assert len(reranked.search(QUERY, k=8, min_score=least, selection=Selection(diversity=0.9))) == 3


def test_without_a_reranker_all_that_is_fused_is_chosen_from(reranked: HybridIndex) -> None:
    selection = Selection(near_duplicates=0.95)
    every = reranked.search("query parameters", k=25, rerank=False)
    vectors = reranked.encoder.encode_documents([hit.passage.text for hit in every]).dense
    found = reranked.search("query parameters", k=9, rerank=False, selection=selection)
    assert found == choose(every, 9, selection, vectors=vectors)
    assert len(found) == 9


def test_every_store_gives_the_vectors_that_it_needs(index: HybridIndex) -> None:
    texts = ["A worker pulls tasks from the queue.", "A worker pulls tasks from the queue!", "网关在这里配置限流。"]
    index.add([*texts, texts[0]], ids=["a", "b", "c", "d"])
    assert len(index.search("worker", k=4)) == 4
    found = index.search("a worker pulls tasks", k=4, selection=Selection(near_duplicates=0.9))
    assert [hit.passage.text in texts[:2] for hit in found] == [True, False]
    assert len(index.search("worker", k=3, selection=Selection(diversity=0.5))) == 3
    assert index.search("worker", k=0, selection=Selection(diversity=0.5)) == []


def test_a_passage_deleted_meanwhile_is_chosen_from_as_it_was(encoder: BgeM3Encoder) -> None:
    class Deleting:
        name = "deleting"

        def score(self, query: str, texts: Sequence[str]) -> FloatArray:
            index.delete(["b"])  # as another thread might, after the passages were read
            return np.array([0.9 if "deploy" in text else 0.5 for text in texts], dtype=np.float32)

    texts = ["A worker pulls tasks.", "How to deploy the worker.", "How to deploy the worker!"]
    with HybridIndex.open(None, encoder=encoder, reranker=Deleting()) as index:
        index.add(texts, ids=["a", "b", "c"])
        found = index.search("worker", selection=Selection(near_duplicates=0.9))
    assert len(found) == 2
    assert found[1].passage.id == "a"


def test_what_is_no_selection_is_refused(reranked: HybridIndex) -> None:
    with pytest.raises(InvalidInputError, match="selection='mmr' is no Selection; pass Selection"):
        reranked.search(QUERY, selection="mmr")  # type: ignore[arg-type]
