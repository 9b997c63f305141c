"""HybridVectorStore by itself: what LlamaIndex's indexes and retrievers ask of a vector store."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import Document, ImageNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode, VectorStoreQueryResult
from pydantic import ValidationError

from hybrid_core import (
    BgeM3Encoder,
    FilterError,
    HybridIndex,
    InvalidInputError,
    LateInteractionReranker,
    MetadataError,
    ModelMismatchError,
    QdrantStore,
    WeightedSum,
)
from hybrid_core.selection import maximal_marginal_relevance
from llamaindex_hybrid import HybridVectorStore

QUESTION = "how does a worker get tasks from the queue, and is a failed task tried again?"
Mode = VectorStoreQueryMode


@pytest.fixture(params=["memory", "folder", "qdrant"])
def index(request: pytest.FixtureRequest, tmp_path: Path, encoder: BgeM3Encoder) -> Iterator[HybridIndex]:
    match request.param:
        case "memory":
            opened = HybridIndex.open(None, encoder=encoder)
        case "folder":
            opened = HybridIndex.open(tmp_path / "index", encoder=encoder)
        case _:
            opened = HybridIndex(QdrantStore(":memory:", encoder.fingerprint), encoder=encoder)
    with opened:
        yield opened


@pytest.fixture
def empty(index: HybridIndex) -> HybridVectorStore:
    return HybridVectorStore(index)


@pytest.fixture
def store(empty: HybridVectorStore, nodes: list[TextNode]) -> HybridVectorStore:
    """The six nodes; those in English were split from the document "en", those in Chinese from "zh"."""
    for node in nodes:
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=node.metadata["lang"])
    empty.add(nodes)
    return empty


@pytest.fixture
def remembered(encoder: BgeM3Encoder, nodes: list[TextNode]) -> HybridVectorStore:
    """The six nodes in memory, under an index that reranks."""
    made = HybridVectorStore(HybridIndex.open(None, encoder=encoder, reranker=LateInteractionReranker(encoder)))
    made.add(nodes)
    return made


def asked(mode: str | Mode = Mode.HYBRID, **settings: Any) -> VectorStoreQuery:
    return VectorStoreQuery(**{"query_str": QUESTION, "similarity_top_k": 6, "mode": Mode(mode), **settings})


def found(result: VectorStoreQueryResult) -> list[tuple[str, float]]:
    """Ids and scores; that the three lists of a result belong together is checked by the way."""
    assert [node.node_id for node in result.nodes or []] == result.ids
    return list(zip(result.ids or [], result.similarities or [], strict=True))


def ids(result: VectorStoreQueryResult) -> list[str]:
    return [id_ for id_, _ in found(result)]


def hits(index: HybridIndex, **settings: Any) -> list[tuple[str, float]]:
    settings = {"k": 6, "rerank": False, **settings}
    return [(hit.passage.id, hit.score) for hit in index.search(QUESTION, **settings)]


def filters(*given: MetadataFilter, condition: FilterCondition = FilterCondition.AND) -> MetadataFilters:
    return MetadataFilters(filters=list(given), condition=condition)


ZH = filters(MetadataFilter(key="lang", value="zh"))


# modes


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("default", "dense"), ("sparse", "sparse"), ("text_search", "sparse"), ("hybrid", "hybrid")],
)
async def test_a_mode_without_a_vector_is_the_same_search_of_the_index(
    store: HybridVectorStore, mode: str, expected: Any
) -> None:
    result = store.query(asked(mode))
    assert found(result) == hits(store.index, mode=expected)
    assert found(await store.aquery(asked(mode))) == found(result)
    assert ids(result)[0] in ("queue", "retry")


@pytest.mark.parametrize("mode", ["default", "hybrid", "mmr"])
def test_a_vector_that_comes_with_the_query_takes_the_place_of_the_texts(store: HybridVectorStore, mode: str) -> None:
    other = store.embed_model.get_query_embedding("网关限流")
    alone = store.query(asked(mode, query_embedding=other, query_str="网关限流"))
    if mode != "hybrid":
        assert found(store.query(asked(mode, query_embedding=other, query_str=None))) == found(alone)
    mixed = store.index.search_vectors(other, store.index.encoder.encode_queries([QUESTION]).sparse_row(0), k=6)
    if mode == "hybrid":
        assert found(store.query(asked(mode, query_embedding=other))) == [(h.passage.id, h.score) for h in mixed]
    assert ids(alone)[0] == "zh-limit"


def test_semantic_hybrid_ends_with_the_indexs_reranker(remembered: HybridVectorStore) -> None:
    result = remembered.query(asked(Mode.SEMANTIC_HYBRID, similarity_top_k=3))
    assert found(result) == hits(remembered.index, k=3, rerank=True)
    assert found(result) != found(remembered.query(asked(similarity_top_k=3)))


def test_semantic_hybrid_without_a_reranker_says_what_to_do(store: HybridVectorStore) -> None:
    with pytest.raises(InvalidInputError, match="reranker="):
        store.query(asked(Mode.SEMANTIC_HYBRID))


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_mmr_chooses_as_the_formula_does(store: HybridVectorStore, nodes: list[TextNode], threshold: float) -> None:
    encoder = store.index.encoder
    near = hits(store.index, mode="dense")
    text_of = {node.node_id: node.get_content("embed") for node in nodes}
    rows = encoder.encode_documents([text_of[id_] for id_, _ in near]).dense
    query = encoder.encode_queries([QUESTION]).dense[0]
    chosen = [near[i] for i in maximal_marginal_relevance(query, rows, 4, 1 - threshold)]
    result = store.query(asked(Mode.MMR, similarity_top_k=4), mmr_threshold=threshold)
    assert found(result) == chosen
    assert found(store.query(asked(Mode.MMR, similarity_top_k=4, mmr_threshold=threshold))) == chosen
    if threshold == 1:
        assert found(result) == near[:4]


def test_a_mode_may_be_given_by_its_name(store: HybridVectorStore) -> None:
    named = VectorStoreQuery(query_str=QUESTION, similarity_top_k=6, mode="sparse")  # type: ignore[arg-type]
    assert found(store.query(named)) == found(store.query(asked(Mode.SPARSE)))
    with pytest.raises(InvalidInputError, match="mode='best'"):
        store.query(VectorStoreQuery(query_str=QUESTION, mode="best"))  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["svm", "logistic_regression", "linear_regression"])
def test_a_mode_of_other_stores_is_an_error_that_names_ours(store: HybridVectorStore, mode: str) -> None:
    with pytest.raises(InvalidInputError, match="semantic_hybrid"):
        store.query(asked(mode))


# weights and numbers


@pytest.mark.parametrize("alpha", [0, 0.0, 0.25, 1, 1.0])
def test_alpha_weighs_the_sides_and_zero_means_zero(store: HybridVectorStore, alpha: float) -> None:
    result = found(store.query(asked(alpha=alpha)))
    assert result == hits(store.index, fusion=WeightedSum.from_alpha(alpha))
    if alpha in (0, 1):
        side = hits(store.index, mode="dense" if alpha else "sparse")
        assert [id_ for id_, _ in result] == [id_ for id_, _ in side]


def test_no_alpha_is_the_indexs_own_fusion(store: HybridVectorStore) -> None:
    store.index.fusion = WeightedSum(0.9, 0.1)
    assert found(store.query(asked(alpha=None))) == hits(store.index, fusion=WeightedSum(0.9, 0.1))


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_an_alpha_out_of_range_is_an_error(store: HybridVectorStore, alpha: float) -> None:
    with pytest.raises(InvalidInputError, match="alpha"):
        store.query(asked(alpha=alpha))


def test_similarity_top_k_is_how_many_come_back(store: HybridVectorStore) -> None:
    everything = ids(store.query(asked(similarity_top_k=100)))
    assert len(everything) == 6
    for k in (0, 1, 3):
        assert ids(store.query(asked(similarity_top_k=k))) == everything[:k]


def test_sparse_top_k_is_how_many_a_sparse_search_returns(store: HybridVectorStore) -> None:
    everything = ids(store.query(asked(Mode.SPARSE)))
    for mode in (Mode.SPARSE, Mode.TEXT_SEARCH):
        assert ids(store.query(asked(mode, sparse_top_k=1))) == everything[:1]
        assert ids(store.query(asked(mode, sparse_top_k=0))) == []
    assert len(everything) > 1


@pytest.mark.parametrize(("dense", "sparse", "final"), [(2, 1, 6), (1, 2, 2), (3, None, 1), (6, 1, None), (2, 0, 4)])
def test_in_hybrid_mode_each_side_recalls_as_many_as_it_is_told(
    store: HybridVectorStore, dense: int, sparse: int | None, final: int | None
) -> None:
    result = store.query(asked(similarity_top_k=dense, sparse_top_k=sparse, hybrid_top_k=final))
    recalled = [id_ for id_, _ in hits(store.index, mode="dense")[:dense]]
    matched = [id_ for id_, _ in hits(store.index, mode="sparse")[: dense if sparse is None else sparse]]
    scores: dict[str, float] = {}
    for ranked in (recalled, matched):
        for rank, id_ in enumerate(ranked, start=1):
            scores[id_] = scores.get(id_, 0) + 1 / (60 + rank)
    best = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
    expected = best[: dense if final is None else final]
    assert ids(result) == [id_ for id_, _ in expected]
    assert [score for _, score in found(result)] == pytest.approx([score for _, score in expected])


def test_candidates_are_how_many_each_side_recalls_otherwise(store: HybridVectorStore) -> None:
    narrow = HybridVectorStore(store.index, candidates=1)
    assert found(narrow.query(asked(similarity_top_k=1))) == hits(store.index, k=1, candidates=1)


# filters


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (ZH, {"zh-worker", "zh-limit", "zh-chart"}),
        (filters(MetadataFilter(key="lang", value="zh", operator=FilterOperator.NE)), {"queue", "retry", "limit"}),
        (filters(MetadataFilter(key="tags", value="queue", operator=FilterOperator.CONTAINS)), {"queue"}),
        (filters(MetadataFilter(key="tags", value=["charts", "queue"], operator=FilterOperator.ANY)), {"queue", "zh-chart"}),
        (filters(MetadataFilter(key="tags", value=None, operator=FilterOperator.IS_EMPTY)), {"limit", "zh-limit"}),
        (filters(ZH, ZH, condition=FilterCondition.NOT), {"queue", "retry", "limit"}),
        (filters(ZH, filters(MetadataFilter(key="tags", value=["jobs", "queue"])), condition=FilterCondition.OR), {"queue", "zh-worker", "zh-limit", "zh-chart"}),
        (filters(), {"queue", "retry", "limit", "zh-worker", "zh-limit", "zh-chart"}),
    ],
)  # fmt: skip
def test_filters_hold_of_what_every_mode_finds(
    store: HybridVectorStore, given: MetadataFilters, expected: set[str]
) -> None:
    assert set(ids(store.query(asked("default", filters=given)))) == expected
    for mode in (Mode.SPARSE, Mode.HYBRID, Mode.MMR):
        assert set(ids(store.query(asked(mode, filters=given)))) <= expected
    assert {node.node_id for node in store.get_nodes(filters=given)} == expected


def test_doc_ids_keep_to_the_nodes_of_some_documents(store: HybridVectorStore) -> None:
    for mode in (Mode.DEFAULT, Mode.HYBRID, Mode.MMR):
        assert set(ids(store.query(asked(mode, doc_ids=["zh", "missing"])))) == {"zh-worker", "zh-limit", "zh-chart"}
        assert len(ids(store.query(asked(mode, doc_ids=[])))) == 6
    queue = MetadataFilters(filters=[MetadataFilter(key="tags", value="queue", operator=FilterOperator.CONTAINS)])
    assert ids(store.query(asked(doc_ids=["en"], filters=queue))) == ["queue"]
    assert ids(store.query(asked(doc_ids=["missing"]))) == []


@pytest.mark.parametrize("mode", ["default", "sparse", "hybrid", "mmr"])
def test_node_ids_keep_to_some_nodes_with_the_scores_they_have(store: HybridVectorStore, mode: str) -> None:
    store.index.add(["A worker of no framework."], ids=["plain"])
    everything = dict(found(store.query(asked(mode, similarity_top_k=7))))
    wanted = ["retry", "plain", "zh-chart", "missing"]
    result = found(store.query(asked(mode, node_ids=wanted)))
    assert {id_ for id_, _ in result} == {id_ for id_ in wanted if id_ in everything}
    if mode != "hybrid":  # in which ranks count, and those are among the chosen
        assert all(score == everything[id_] for id_, score in result)
    assert "plain" in dict(result)
    assert len(found(store.query(asked(mode, node_ids=wanted, similarity_top_k=1)))) == 1
    assert "plain" not in ids(store.query(asked(mode, node_ids=wanted, filters=ZH)))
    assert len(found(store.query(asked(mode, node_ids=[])))) == len(found(store.query(asked(mode, node_ids=None))))


def test_node_ids_keep_to_the_best_nodes_when_reranking(remembered: HybridVectorStore) -> None:
    result = remembered.query(asked(Mode.SEMANTIC_HYBRID, node_ids=["retry", "limit"]))
    scores = dict(hits(remembered.index, rerank=True))
    assert found(result) == sorted(((id_, scores[id_]) for id_ in ("retry", "limit")), key=lambda pair: -pair[1])


def test_a_filter_that_cannot_be_read_is_an_error(store: HybridVectorStore) -> None:
    bad = filters(MetadataFilter(key="lang", value="zh", operator=FilterOperator.IN))
    for ask in (lambda: store.query(asked(filters=bad)), lambda: store.get_nodes(filters=bad)):
        with pytest.raises(FilterError, match="a list of values is needed"):
            ask()


# adding


def test_what_is_added_comes_back_as_it_was(store: HybridVectorStore, nodes: list[TextNode]) -> None:
    found_nodes = {node.node_id: node for node in store.query(asked()).nodes or []}
    assert found_nodes == {node.node_id: node for node in nodes}
    assert {node.node_id: node for node in store.get_nodes()} == found_nodes
    assert all(type(node) is TextNode for node in found_nodes.values())
    assert found_nodes["zh-limit"].hash == nodes[4].hash


def test_adding_leaves_the_nodes_as_they_are_and_replaces_those_with_the_same_id(
    store: HybridVectorStore, nodes: list[TextNode]
) -> None:
    nodes[0].embedding = store.embed_model.get_text_embedding(nodes[0].get_content("embed"))
    before = copy.deepcopy(nodes)
    assert store.add(nodes) == [node.node_id for node in nodes]
    assert nodes == before
    assert len(store.index) == 6
    nodes[0].text, nodes[0].embedding = "A gateway of its own.", None
    assert store.add(nodes[:1]) == ["queue"]
    assert [node.get_content() for node in store.get_nodes(["queue"])] == ["A gateway of its own."]
    assert len(store.index) == 6


def test_a_node_is_embedded_with_the_metadata_that_it_does_not_exclude(empty: HybridVectorStore) -> None:
    metadata = {"title": "Zebra crossings", "secret": "gateway"}
    empty.add([TextNode(id_="a", text="Workers.", metadata=metadata, excluded_embed_metadata_keys=["secret"])])
    assert ids(empty.query(asked("sparse", query_str="zebra"))) == ["a"]
    assert ids(empty.query(asked("sparse", query_str="gateway"))) == []
    [passage] = empty.index.get(["a"])
    assert passage is not None
    assert passage.text == "Workers."
    row = empty.index.encoder.encode_documents(["title: Zebra crossings\n\nWorkers."]).dense[0]
    query = empty.index.encoder.encode_queries(["zebra"]).dense[0]
    assert found(empty.query(asked("default", query_str="zebra"))) == [
        ("a", pytest.approx(float(row @ query), abs=1e-5))
    ]


def test_vectors_of_our_own_that_come_with_nodes_are_the_ones_written(empty: HybridVectorStore) -> None:
    vector = empty.index.encoder.encode_documents(["A worker pulls tasks."]).dense[0]
    near = (vector + 0.01 * np.roll(vector, 1)) / np.linalg.norm(vector + 0.01 * np.roll(vector, 1))
    empty.add([TextNode(id_="a", text="A worker pulls tasks.", embedding=near.tolist())])
    [(_, score)] = found(empty.query(asked("default", query_embedding=near.tolist())))
    assert score == pytest.approx(1.0, abs=1e-5)
    assert score != pytest.approx(float(vector @ near), abs=1e-5)


@pytest.mark.parametrize("kind", ["of another model", "of another length", "not of unit length", "of another text"])
def test_vectors_of_another_model_are_refused_before_anything_is_written(empty: HybridVectorStore, kind: str) -> None:
    encoder = empty.index.encoder
    own = encoder.encode_documents(["A worker pulls tasks.", "图例显示在图表的右侧。"]).dense
    vector = {
        "of another model": np.random.default_rng(0).standard_normal(256) / 16,
        "of another length": np.ones(3),
        "not of unit length": own[0] * 1.2,
        "of another text": own[1],
    }[kind]
    nodes = [TextNode(text="Well."), TextNode(text="A worker pulls tasks.", embedding=vector.tolist())]
    with pytest.raises(ModelMismatchError, match=r"passage 1 .*BgeM3Encoder\('tiny'"):
        empty.add(nodes)
    assert len(empty.index) == 0


def test_a_bad_node_among_good_ones_keeps_all_out(empty: HybridVectorStore) -> None:
    bad = TextNode(id_="bad", text="ill", metadata={"when": float("nan")})
    with pytest.raises(MetadataError, match="when"):
        empty.add([TextNode(text="well"), bad])
    assert len(empty.index) == 0


def test_nothing_added_is_nothing_written(empty: HybridVectorStore) -> None:
    assert empty.add([]) == []
    assert empty.get_nodes() == []
    assert found(empty.query(asked())) == []


def test_documents_and_images_are_nodes_too(empty: HybridVectorStore) -> None:
    document = Document(id_="whole", text="A worker pulls tasks.", metadata={"lang": "en"})
    image = ImageNode(id_="image", text="Workers in a diagram.", image="aGVsbG8=", image_mimetype="image/png")
    empty.add([document, image])
    whole, picture = empty.get_nodes(["whole", "image"])
    assert (whole.get_content(), whole.metadata) == (document.text, document.metadata)
    assert type(picture) is ImageNode
    assert picture == image
    assert ids(empty.query(asked(doc_ids=["whole"]))) == ["whole"]
    empty.delete("whole")
    assert [node.node_id for node in empty.get_nodes()] == ["image"]


# reading and deleting by id


def test_get_nodes_returns_those_that_are_there_in_the_order_asked_for(store: HybridVectorStore) -> None:
    assert [node.node_id for node in store.get_nodes(["zh-limit", "missing", "queue"])] == ["zh-limit", "queue"]
    assert [node.node_id for node in store.get_nodes(["zh-limit", "queue"], ZH)] == ["zh-limit"]
    assert store.get_nodes([]) == []


def test_delete_removes_the_nodes_of_a_document(store: HybridVectorStore) -> None:
    store.delete("en")
    assert {node.node_id for node in store.get_nodes()} == {"zh-worker", "zh-limit", "zh-chart"}
    store.delete("missing")
    assert len(store.index) == 3


def test_delete_nodes_by_id_by_filter_and_by_both(store: HybridVectorStore) -> None:
    store.delete_nodes(["queue", "missing"])
    assert len(store.index) == 5
    store.delete_nodes(["retry", "zh-limit"], ZH)
    assert {node.node_id for node in store.get_nodes()} == {"retry", "limit", "zh-worker", "zh-chart"}
    store.delete_nodes(filters=ZH)
    store.delete_nodes([])
    assert {node.node_id for node in store.get_nodes()} == {"retry", "limit"}


@pytest.mark.parametrize("nothing", [None, filters()])
def test_delete_nodes_of_nothing_in_particular_is_an_error(
    store: HybridVectorStore, nothing: MetadataFilters | None
) -> None:
    with pytest.raises(InvalidInputError, match="clear"):
        store.delete_nodes(filters=nothing)
    assert len(store.index) == 6


def test_clear_deletes_everything_and_adding_goes_on(store: HybridVectorStore, nodes: list[TextNode]) -> None:
    store.clear()
    assert store.get_nodes() == []
    store.add(nodes[:2])
    assert len(store.index) == 2


async def test_the_async_twins_do_the_same(empty: HybridVectorStore, nodes: list[TextNode]) -> None:
    assert await empty.async_add(nodes) == [node.node_id for node in nodes]
    assert await empty.aget_nodes(["queue"]) == nodes[:1]
    await empty.adelete("queue")
    await empty.adelete_nodes(["retry"])
    await empty.adelete_nodes(filters=ZH)
    assert [node.node_id for node in await empty.aget_nodes()] == ["limit"]
    await empty.aclear()
    assert len(empty.index) == 0


# the object itself


def test_the_client_is_the_store_and_the_embedding_is_of_the_indexs_model(store: HybridVectorStore) -> None:
    assert store.client is store.index.store
    assert store.stores_text
    assert store.is_embedding_query
    assert store.embed_model.encoder.fingerprint == store.index.encoder.fingerprint
    assert store.class_name() == "HybridVectorStore"


def test_what_is_written_down_holds_settings_only_and_is_read_with_an_index(store: HybridVectorStore) -> None:
    written = HybridVectorStore(store.index, candidates=7).to_dict()
    assert written == {
        "class_name": "HybridVectorStore",
        "stores_text": True,
        "is_embedding_query": True,
        "candidates": 7,
    }
    again = HybridVectorStore.from_dict(written, index=store.index)
    assert again.candidates == 7
    assert again.index is store.index


async def test_unknown_settings_are_errors(store: HybridVectorStore, nodes: list[TextNode]) -> None:
    with pytest.raises(ValidationError, match="candidats"):
        HybridVectorStore(store.index, candidats=7)
    with pytest.raises(ValidationError, match="HybridIndex"):
        HybridVectorStore("my-index")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="top_k"):
        store.query(asked(), top_k=3)
    for call in (store.add, store.delete_nodes):
        with pytest.raises(InvalidInputError, match="batch"):
            call(nodes, batch=3)
    with pytest.raises(InvalidInputError, match="batch"):
        await store.adelete("en", batch=3)


@pytest.mark.parametrize("mode", ["sparse", "text_search", "hybrid", "default", "mmr"])
def test_a_search_that_needs_a_text_says_so(store: HybridVectorStore, mode: str) -> None:
    with pytest.raises(InvalidInputError, match="text"):
        store.query(asked(mode, query_str=None))


def test_a_querys_vector_of_another_model_is_an_error_where_its_length_tells(store: HybridVectorStore) -> None:
    with pytest.raises(InvalidInputError, match="256 dimensions"):
        store.query(asked("default", query_embedding=[0.1] * 3))
