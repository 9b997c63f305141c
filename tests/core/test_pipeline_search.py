"""HybridIndex: what a search returns, and whether its reasons add up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_core import (
    BgeM3Encoder,
    CrossEncoderReranker,
    Encoding,
    Eq,
    HybridIndex,
    InvalidInputError,
    LateInteractionReranker,
    Passage,
    ReciprocalRank,
    Scored,
    StageScore,
    WeightedSum,
)

QUERIES = ["How many times is a failed job tried again?", "怎样配置限流？", "worker queue", "browser request"]


@pytest.fixture(scope="module")
def corpus(encoder: BgeM3Encoder) -> tuple[list[Passage], Encoding]:
    """The passages of the demo and their vectors."""
    lines = (files("hybrid_core") / "demo" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    passages = [Passage(**json.loads(line)) for line in lines]
    return passages, encoder.encode_documents([passage.text for passage in passages])


@pytest.fixture
def demo(index: HybridIndex, corpus: tuple[list[Passage], Encoding]) -> HybridIndex:
    """An index of the passages of the demo."""
    passages, encoding = corpus
    index.upsert(passages, encoding=encoding)
    return index


class ByLength:
    """A reranker that prefers long texts, and knows no difference within twenty characters."""

    name = "by length"

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def score(self, query: str, texts: Sequence[str]) -> Any:
        self.seen.append(list(texts))
        return np.array([min(1.0, len(text) // 20 / 100) for text in texts], dtype=np.float32)


def ranks(ranked: Sequence[Scored]) -> dict[str, StageScore]:
    return {item.id: StageScore(item.score, rank) for rank, item in enumerate(ranked, start=1)}


@pytest.mark.parametrize("query", QUERIES)
def test_stages_are_the_places_in_the_lists(demo: HybridIndex, query: str) -> None:
    encoding = demo.encoder.encode_queries([query])
    dense = demo.store.search_dense(encoding.dense[0], 20)
    sparse = demo.store.search_sparse(encoding.sparse_row(0), 20)
    fused = ReciprocalRank()({"dense": dense, "sparse": sparse})
    hits = demo.search(query, k=15, candidates=20)
    assert [(hit.passage.id, hit.score) for hit in hits] == fused[:15]
    for hit in hits:
        lists = {"dense": ranks(dense), "sparse": ranks(sparse), "fused": ranks(fused)}
        assert hit.stages == {
            name: places[hit.passage.id] for name, places in lists.items() if hit.passage.id in places
        }
        assert hit.score == hit.stages["fused"].score
        assert hit.matches == ()


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("mode", ["hybrid", "sparse", "dense"])
def test_the_matches_add_up_to_the_sparse_score_to_the_last_bit(demo: HybridIndex, query: str, mode: Any) -> None:
    hits = demo.explain(query, k=30, mode=mode)
    assert len(hits) >= 4
    for hit in hits:
        total = 0.0
        for match in hit.matches:
            assert match.score == match.query_weight * match.passage_weight
            total += match.score
        if "sparse" in hit.stages:
            assert total == hit.stages["sparse"].score
        elif mode == "hybrid":
            assert hit.matches == ()  # 30 candidates a side: whatever shares a token is among them
    plain = demo.search(query, k=30, mode=mode)
    assert [(hit.passage, hit.score, hit.stages) for hit in hits] == [
        (hit.passage, hit.score, hit.stages) for hit in plain
    ]


def test_matches_name_the_tokens_that_are_shared(index: HybridIndex) -> None:
    index.add(["the worker pulls", "网关"], ids=["a", "b"])
    [hit] = index.explain("worker", mode="sparse")
    assert [match.token for match in hit.matches] == ["▁worker"]


@pytest.mark.parametrize("mode", ["dense", "sparse"])
def test_one_side_alone_gives_its_own_list(demo: HybridIndex, mode: Any) -> None:
    hits = demo.search("worker queue", k=4, mode=mode)
    assert len(hits) == 4
    encoding = demo.encoder.encode_queries(["worker queue"])
    if mode == "dense":
        expected = demo.store.search_dense(encoding.dense[0], 50)[:4]
    else:
        expected = demo.store.search_sparse(encoding.sparse_row(0), 50)[:4]
    assert [(hit.passage.id, hit.score) for hit in hits] == expected
    assert [dict(hit.stages) for hit in hits] == [{mode: StageScore(s, i + 1)} for i, (_, s) in enumerate(expected)]


def test_a_filter_holds_for_both_sides_in_either_form(demo: HybridIndex) -> None:
    for query in QUERIES:
        hits = demo.search(query, k=100, filter=Eq("lang", "zh"))
        assert {hit.passage.metadata["lang"] for hit in hits} == {"zh"}
        assert len(hits) == len(demo.ids(filter={"lang": "zh"}))
        assert hits == demo.search(query, k=100, filter={"lang": "zh"})


def test_two_identical_searches_give_identical_results(demo: HybridIndex) -> None:
    again = HybridIndex(demo.store, encoder=BgeM3Encoder.tiny())  # one that does not remember the queries
    for query in QUERIES:
        assert demo.search(query, k=20) == demo.search(query, k=20) == again.search(query, k=20)


def test_memory_and_folder_give_identical_results(tmp_path: Path, demo: HybridIndex) -> None:
    passages = [passage for passage in demo.get(demo.ids()) if passage]
    for path in (None, tmp_path / "other"):
        with HybridIndex.open(path, encoder=demo.encoder) as other:
            other.upsert(passages)
            for query in QUERIES:
                assert other.explain(query, k=20) == demo.explain(query, k=20)


def test_another_fusion_gives_its_own_scores(demo: HybridIndex) -> None:
    fusion = WeightedSum.from_alpha(0.5)
    other = HybridIndex(demo.store, encoder=demo.encoder, fusion=fusion)
    encoding = demo.encoder.encode_queries(["worker queue"])
    lists = {
        "dense": demo.store.search_dense(encoding.dense[0], 50),
        "sparse": demo.store.search_sparse(encoding.sparse_row(0), 50),
    }
    assert [(hit.passage.id, hit.score) for hit in other.search("worker queue", k=9)] == fusion(lists)[:9]


def test_the_reranker_sees_the_candidates_and_gives_the_order(demo: HybridIndex) -> None:
    reranker = ByLength()
    index = HybridIndex(demo.store, encoder=demo.encoder, reranker=reranker)
    fused = demo.search("worker queue", k=12)
    hits = index.search("worker queue", k=4, candidates=12)
    assert len(reranker.seen[0]) == 12
    expected = sorted(demo.search("worker queue", k=12, candidates=12), key=lambda hit: -(len(hit.passage.text) // 20))
    assert [hit.passage.id for hit in hits] == [hit.passage.id for hit in expected[:4]]  # ties as they came
    assert [hit.stages["reranked"] for hit in hits] == [StageScore(hit.score, i) for i, hit in enumerate(hits, start=1)]
    assert all({"fused", "reranked"} <= set(hit.stages) for hit in hits)
    assert fused[0].stages.keys() <= {"dense", "sparse", "fused"}


def test_equal_scores_of_a_reranker_keep_the_fused_order(demo: HybridIndex) -> None:
    class Indifferent(ByLength):
        def score(self, query: str, texts: Sequence[str]) -> Any:
            return np.full(len(texts), 0.5, dtype=np.float32)

    index = HybridIndex(demo.store, encoder=demo.encoder, reranker=Indifferent())
    assert [hit.passage.id for hit in index.search("worker", k=9)] == [
        hit.passage.id for hit in demo.search("worker", k=9)
    ]


def test_the_real_rerankers_work_in_the_index(demo: HybridIndex, random_reranker: Path) -> None:
    query = "How many times is a failed job tried again?"
    for reranker in (CrossEncoderReranker(random_reranker, device="cpu"), LateInteractionReranker(demo.encoder)):
        index = HybridIndex(demo.store, encoder=demo.encoder, reranker=reranker)
        hits = index.search(query, k=5, candidates=10)
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        expected = reranker.score(query, [hit.passage.text for hit in hits])
        np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_call_can_leave_the_reranker_out(demo: HybridIndex) -> None:
    reranker = ByLength()
    index = HybridIndex(demo.store, encoder=demo.encoder, reranker=reranker)
    assert index.search("worker queue", k=7, rerank=False) == demo.search("worker queue", k=7)
    assert index.explain("worker queue", k=7, rerank=False) == demo.explain("worker queue", k=7)
    assert reranker.seen == []
    assert index.search("worker queue", k=7) != demo.search("worker queue", k=7)


def test_a_call_can_bring_a_fusion_of_its_own(demo: HybridIndex) -> None:
    fusion = WeightedSum.from_alpha(0.3)
    other = HybridIndex(demo.store, encoder=demo.encoder, fusion=fusion)
    for query in QUERIES:
        assert demo.search(query, k=9, fusion=fusion) == other.search(query, k=9)
        assert demo.explain(query, k=9, fusion=fusion) == other.explain(query, k=9)
        assert other.search(query, k=9, fusion=ReciprocalRank()) == demo.search(query, k=9)
    with pytest.raises(InvalidInputError, match="fusion='rrf' is no fusion"):
        demo.search("worker queue", fusion="rrf")  # type: ignore[arg-type]


def test_a_reranker_is_not_asked_about_nothing(index: HybridIndex) -> None:
    reranker = ByLength()
    index.reranker = reranker
    assert index.search("anything") == []
    assert reranker.seen == []


def test_what_a_caller_does_to_a_hit_does_not_reach_the_index(index: HybridIndex) -> None:
    index.add(["text"], ids=["a"], metadatas=[{"tags": ["x"]}])
    index.search("text")[0].passage.metadata["tags"].append("y")
    assert index.get(["a"]) == [Passage("a", "text", {"tags": ["x"]})]


def test_a_passage_deleted_while_searching_is_left_out(index: HybridIndex) -> None:
    def fusion(lists: Any) -> list[Scored]:
        index.delete(["b"])  # as another thread might, after the lists were made
        return ReciprocalRank()(lists)

    index.add(["worker one", "worker two", "worker three"], ids=["a", "b", "c"])
    index.fusion = fusion
    assert {hit.passage.id for hit in index.search("worker", k=3)} == {"a", "c"}


def test_a_passage_deleted_before_it_is_explained_does_no_harm(index: HybridIndex) -> None:
    class Deleting(ByLength):
        def score(self, query: str, texts: Sequence[str]) -> Any:
            index.delete(["b"])  # as another thread might, after the passages were read
            return super().score(query, texts)

    index.add(["worker one", "worker two", "worker three"], ids=["a", "b", "c"])
    index.reranker = Deleting()
    hits = {hit.passage.id: hit for hit in index.explain("worker", k=3)}
    assert {"a", "c"} <= set(hits)
    assert hits["a"].matches
