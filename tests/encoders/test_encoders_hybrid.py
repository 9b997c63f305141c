"""HybridIndex over a dense model with a sparse partner: written, found, explained, opened again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hybrid_core import (
    BgeM3Encoder,
    Eq,
    HybridIndex,
    InvalidInputError,
    LateInteractionReranker,
    ModelMismatchError,
    Store,
    TokenMatch,
)
from hybrid_core.encoders.sentence_transformer import SentenceTransformerEncoder
from hybrid_core.encoders.sparse_sides.bm25 import Bm25
from hybrid_core.encoders.sparse_sides.splade import Splade
from hybrid_core.stores.memory import MemoryStore
from hybrid_core.stores.qdrant import QdrantStore

TEXTS = [
    "A worker pulls tasks from the queue.",
    "The gateway limits requests; the worker reports the failed ones.",
    "网关按客户端地址限制每秒的请求数。",
    "工作节点从队列中拉取任务。",
    "Certificates are rotated every ninety days.",
    " ",
]
IDS = ["worker", "gateway", "网关", "节点", "certificates", "blank"]
LANGUAGES = [{"lang": "en"}, {"lang": "en"}, {"lang": "zh"}, {"lang": "zh"}, {"lang": "en"}, {"lang": "none"}]


def added(matches: Iterable[TokenMatch]) -> float:
    """The scores added in their order; `sum` adds floats otherwise from Python 3.12 on."""
    total = 0.0
    for match in matches:
        total += match.score
    return total


@pytest.fixture(scope="module")
def encoder(bert: Path) -> SentenceTransformerEncoder:
    """A dense model with BM25 beside it."""
    return SentenceTransformerEncoder(bert, sparse=Bm25(), device="cpu")


@pytest.fixture(params=["memory", "embedded", "qdrant"])
def index(request: pytest.FixtureRequest, tmp_path: Path, encoder: SentenceTransformerEncoder) -> Iterator[HybridIndex]:
    """A filled index over each kind of store."""
    match request.param:
        case "memory":
            made = HybridIndex.open(None, encoder=encoder)
        case "embedded":
            made = HybridIndex.open(tmp_path / "index", encoder=encoder)
        case _:
            made = HybridIndex(QdrantStore(":memory:", encoder.fingerprint), encoder=encoder)
    with made:
        made.add(TEXTS, ids=IDS, metadatas=LANGUAGES)
        yield made


def test_words_find_what_has_them(index: HybridIndex) -> None:
    assert [hit.passage.id for hit in index.search("failing workers", mode="sparse")] == ["gateway", "worker"]
    assert [hit.passage.id for hit in index.search("队列任务", mode="sparse")] == ["节点"]
    assert [hit.passage.id for hit in index.search("the gateway 网关", mode="sparse", filter=Eq("lang", "zh"))] == [
        "网关"
    ]
    assert index.search("nothing thereof", mode="sparse") == []
    hits = index.search("failing workers", k=6)
    assert {"dense", "fused"} <= set(hits[-1].stages)
    assert {hit.passage.id for hit in hits if "sparse" in hit.stages} == {"gateway", "worker"}


def test_an_explained_hit_adds_up_to_its_sparse_score(index: HybridIndex) -> None:
    for query in ("which workers pull failed tasks?", "网关 gateway requests", "the the the", "certificates"):
        for mode in ("hybrid", "sparse"):
            hits = index.explain(query, k=6, mode=mode)  # type: ignore[arg-type]
            assert hits
            for hit in hits:
                assert added(hit.matches) == (hit.stages["sparse"].score if "sparse" in hit.stages else 0)
                for match in hit.matches:
                    assert match.score == match.query_weight * match.passage_weight
    (hit,) = index.explain("certificates", mode="sparse")
    [match] = hit.matches
    assert match[0] == "certif"
    assert match.query_weight == pytest.approx(1.386294, rel=1e-6)  # ln(1 + 4.5 / 1.5): one of five passages with words


def test_explaining_a_dense_search_weighs_the_tokens_too(index: HybridIndex) -> None:
    sparse = {hit.passage.id: hit.matches for hit in index.explain("the worker", k=6, mode="sparse")}
    dense = {hit.passage.id: hit.matches for hit in index.explain("the worker", k=6, mode="dense")}
    assert len(dense) == 6
    assert {id_: matches for id_, matches in dense.items() if matches} == sparse


def test_frequencies_follow_the_index(index: HybridIndex) -> None:
    def weight(word: str) -> float:
        return index.explain(word, k=1, mode="sparse")[0].matches[0].query_weight

    rare = weight("certificates")
    index.add(["Certificates again.", "More certificates."], ids=["c1", "c2"])
    common = weight("certificates")
    assert common < rare
    index.delete(["c1", "c2"])
    assert weight("certificates") == rare


def test_every_store_gives_the_same_hits(encoder: SentenceTransformerEncoder, tmp_path: Path) -> None:
    def answers(index: HybridIndex) -> list[Any]:
        with index:
            index.add(TEXTS, ids=IDS, metadatas=LANGUAGES)
            index.delete(["gateway"])
            queries = ("worker tasks", "网关", "the requests", "轮换证书 certificates")
            return [
                [(hit.passage.id, hit.score, dict(hit.stages), hit.matches) for hit in index.explain(query, k=6)]
                for query in queries
            ]

    found = [
        answers(HybridIndex.open(None, encoder=encoder)),
        answers(HybridIndex.open(tmp_path / "index", encoder=encoder)),
        answers(HybridIndex(QdrantStore(":memory:", encoder.fingerprint), encoder=encoder)),
    ]
    assert found[0] == found[1] == found[2]


def test_a_folder_is_closed_and_opened_again(encoder: SentenceTransformerEncoder, bert: Path, tmp_path: Path) -> None:
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index:
        index.add(TEXTS, ids=IDS, metadatas=LANGUAGES)
        before = index.explain("which workers pull tasks?", k=6)
    fresh = SentenceTransformerEncoder(bert, sparse=Bm25(), device="cpu")  # as in another process
    with HybridIndex.open(tmp_path / "index", encoder=fresh) as index:
        assert index.explain("which workers pull tasks?", k=6) == before
        assert [match.token for match in before[0].matches] != []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"passage_prompt": "other: "}, "instruction: 'passage: ' there, 'other: ' here"),
        ({"query_prompt": ""}, "query_instruction: 'query: ' there, '' here"),
        ({"sparse": Bm25(b=0.5)}, r"sparse: \"Bm25\(.*b=0.75.*there.*b=0.5.*here"),
        ({"sparse": Bm25(language=None)}, r"sparse: .*'english'.*there.*language=None.*here"),
        ({"max_length": 64}, "max_length: 512 there, 64 here"),
    ],
    ids=repr,
)
def test_another_model_prompt_or_sparse_side_is_refused(
    encoder: SentenceTransformerEncoder, bert: Path, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index:
        index.add(["A worker."])
    other = SentenceTransformerEncoder(bert, **{"sparse": Bm25(), "device": "cpu", **options})
    with pytest.raises(ModelMismatchError, match=says):
        HybridIndex.open(tmp_path / "index", encoder=other)


def test_another_kind_of_sparse_side_is_refused(
    encoder: SentenceTransformerEncoder, bert: Path, splade: Path, tmp_path: Path
) -> None:
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index:
        index.add(["A worker."])
    other = SentenceTransformerEncoder(bert, sparse=Splade(splade, device="cpu"), device="cpu")
    with pytest.raises(ModelMismatchError, match="sparse_weighting: 'idf' there, 'plain' here"):
        HybridIndex.open(tmp_path / "index", encoder=other)


def test_splade_as_the_partner(xlm_roberta: Path, splade: Path, tmp_path: Path) -> None:
    encoder = SentenceTransformerEncoder(xlm_roberta, sparse=Splade(splade, device="cpu"), device="cpu")
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index:
        index.add(TEXTS, ids=IDS)
        hits = index.explain("worker tasks", k=5)
        assert [added(hit.matches) for hit in hits] == [
            hit.stages["sparse"].score if "sparse" in hit.stages else 0 for hit in hits
        ]
        assert index.store.sparse_weighting == "plain"


@pytest.mark.parametrize("make", [MemoryStore, lambda: QdrantStore(":memory:", BgeM3Encoder.tiny().fingerprint)])
def test_a_store_of_the_other_weighting_is_refused(
    encoder: SentenceTransformerEncoder, make: Callable[[], Store]
) -> None:
    store = make()
    with pytest.raises(
        InvalidInputError, match=r"has sparse_weighting='plain', SentenceTransformerEncoder.* needs 'idf'"
    ):
        HybridIndex(store, encoder=encoder)
    store.close()


def test_late_interaction_says_that_it_needs_multi_vectors(encoder: SentenceTransformerEncoder) -> None:
    with HybridIndex.open(None, encoder=encoder, reranker=LateInteractionReranker(encoder)) as index:
        index.add(TEXTS[:2])
        with pytest.raises(InvalidInputError, match="has no multi-vectors"):
            index.search("worker")


def test_searches_while_another_thread_writes_still_add_up(encoder: SentenceTransformerEncoder, tmp_path: Path) -> None:
    """What is shown is what was searched with, whatever the frequencies are by then."""
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index, ThreadPoolExecutor(2) as pool:
        index.add(TEXTS, ids=IDS)
        writing = pool.submit(lambda: [index.add([f"A worker number {i}."], ids=[f"w{i}"]) for i in range(40)])
        while not writing.done():
            for hit in index.explain("the worker and its tasks", k=50, mode="sparse"):
                assert added(hit.matches) == hit.stages["sparse"].score
        writing.result()
