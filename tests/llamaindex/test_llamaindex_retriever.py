"""HybridRetriever: building, settings and scores."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document, NodeWithScore, QueryBundle, TextNode

from hybrid_core import (
    BgeM3Encoder,
    Contains,
    Eq,
    FilterError,
    HybridIndex,
    InvalidInputError,
    InvalidTextError,
    LateInteractionReranker,
    MetadataError,
    WeightedSum,
)
from llamaindex_hybrid import HybridRetriever

QUESTION = "how does a worker get its tasks?"


def ids(found: list[NodeWithScore]) -> list[str]:
    return [item.node.node_id for item in found]


def test_from_nodes_in_memory_finds_every_node(encoder: BgeM3Encoder, nodes: list[TextNode]) -> None:
    retriever = HybridRetriever.from_nodes((node for node in nodes), encoder=encoder, k=10)
    found = retriever.retrieve(QUESTION)
    assert found[0].node.node_id == "queue"
    assert sorted(ids(found)) == sorted(node.node_id for node in nodes)


def test_from_nodes_into_a_folder_is_there_after_reopening(
    encoder: BgeM3Encoder, nodes: list[TextNode], tmp_path: Path
) -> None:
    first = HybridRetriever.from_nodes(nodes, encoder=encoder, path=tmp_path / "index", k=2)
    expected = first.retrieve(QUESTION)
    first.index.close()
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index:
        assert HybridRetriever(index, k=2).retrieve(QUESTION) == expected


def test_from_nodes_hands_reranker_and_fusion_to_the_index(encoder: BgeM3Encoder, nodes: list[TextNode]) -> None:
    reranker, fusion = LateInteractionReranker(encoder), WeightedSum()
    retriever = HybridRetriever.from_nodes(nodes, encoder=encoder, reranker=reranker, fusion=fusion, k=1)
    assert retriever.index.reranker is reranker
    assert retriever.index.fusion is fusion
    [found] = retriever.retrieve(QUESTION)
    assert found.score == found.node.metadata["stage_scores"]["reranked"]["score"]


def test_from_documents_splits_by_sentences_and_names_the_source(encoder: BgeM3Encoder) -> None:
    text = " ".join(f"Sentence number {n} tells what worker {n} does with its task." for n in range(200))
    document = Document(id_="doc", text=text, metadata={"lang": "en"})
    retriever = HybridRetriever.from_documents([document], encoder=encoder, k=50)
    found = retriever.retrieve(QUESTION)
    expected = SentenceSplitter().get_nodes_from_documents([document])
    assert sorted(item.text for item in found) == sorted(node.get_content() for node in expected)
    assert len(found) > 1
    for item in found:
        assert item.node.ref_doc_id == "doc"
        assert item.node.metadata["lang"] == "en"
        assert text[item.node.start_char_idx : item.node.end_char_idx] == item.text


def test_from_documents_uses_the_transformations_given(encoder: BgeM3Encoder) -> None:
    document = Document(text="One sentence about queues. Another sentence about charts.")
    splitter = SentenceSplitter(chunk_size=8, chunk_overlap=0, include_metadata=False)
    retriever = HybridRetriever.from_documents([document], encoder=encoder, transformations=[splitter])
    found = sorted(item.text for item in retriever.retrieve("queues"))
    assert found == ["Another sentence about charts.", "One sentence about queues."]


def test_add_nodes_replaces_a_node_with_the_same_id(retriever: HybridRetriever) -> None:
    count = len(retriever.index)
    assert retriever.add_nodes([TextNode(id_="queue", text="Workers ask the dispatcher.")]) == ["queue"]
    assert len(retriever.index) == count
    assert "Workers ask the dispatcher." in [item.text for item in retriever.retrieve("workers ask")]


def test_adding_the_same_nodes_twice_stores_them_once(retriever: HybridRetriever, nodes: list[TextNode]) -> None:
    assert retriever.add_nodes(nodes) == [node.node_id for node in nodes]
    assert len(retriever.index) == len(nodes)


async def test_aadd_nodes_from_several_tasks_stores_all(
    encoder: BgeM3Encoder, nodes: list[TextNode], tmp_path: Path
) -> None:
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index:
        retriever = HybridRetriever(index)
        added = await asyncio.gather(*(retriever.aadd_nodes([node]) for node in nodes))
        assert [id_ for [id_] in added] == [node.node_id for node in nodes]
        assert len(index) == len(nodes)


def test_one_bad_node_keeps_the_others_out(retriever: HybridRetriever) -> None:
    before = retriever.index.ids()
    nodes = [TextNode(text="well"), TextNode(id_="bad", text="ill", metadata={"when": float("nan")})]
    with pytest.raises(MetadataError, match="when"):
        retriever.add_nodes(nodes)
    assert retriever.index.ids() == before


def test_indexing_leaves_the_nodes_of_the_caller_as_they_are(encoder: BgeM3Encoder, nodes: list[TextNode]) -> None:
    before = copy.deepcopy(nodes)
    HybridRetriever.from_nodes(nodes, encoder=encoder).retrieve(QUESTION)
    assert nodes == before


@pytest.mark.parametrize("in_folder", [False, True])
def test_what_a_caller_does_to_results_or_inputs_is_not_seen_by_the_index(
    encoder: BgeM3Encoder, nodes: list[TextNode], tmp_path: Path, in_folder: bool
) -> None:
    with HybridIndex.open(tmp_path / "index" if in_folder else None, encoder=encoder) as index:
        retriever = HybridRetriever(index)
        retriever.add_nodes(nodes)
        expected = copy.deepcopy(retriever.retrieve(QUESTION))
        for node in [*(item.node for item in retriever.retrieve(QUESTION)), *nodes]:
            node.metadata["tags"].append("changed")
            node.metadata["lang"] = "changed"
            node.excluded_llm_metadata_keys.append("lang")
            node.set_content("changed")
        assert retriever.retrieve(QUESTION) == expected


@pytest.mark.parametrize("k", [0, 1, 3, 100])
def test_k_says_how_many_nodes_come_back(retriever: HybridRetriever, nodes: list[TextNode], k: int) -> None:
    everything = ids(HybridRetriever(retriever.index, k=100).retrieve(QUESTION))
    assert ids(HybridRetriever(retriever.index, k).retrieve(QUESTION)) == everything[:k]
    assert len(everything) == len(nodes)


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"lang": "zh"}, {"zh-worker", "zh-limit", "zh-chart"}),
        (Eq("lang", "zh"), {"zh-worker", "zh-limit", "zh-chart"}),
        (Contains("tags", "queue"), {"queue"}),
        ({"lang": "fr"}, set()),
    ],
)
def test_filter_as_dict_or_object(retriever: HybridRetriever, filter: Any, expected: set[str]) -> None:
    assert set(ids(HybridRetriever(retriever.index, filter=filter).retrieve(QUESTION))) == expected


@pytest.mark.parametrize("mode", ["hybrid", "dense", "sparse"])
def test_mode_is_the_mode_of_the_index(retriever: HybridRetriever, mode: Any) -> None:
    expected = [hit.passage.id for hit in retriever.index.search(QUESTION, mode=mode)]
    assert ids(HybridRetriever(retriever.index, mode=mode).retrieve(QUESTION)) == expected


def test_candidates_limit_what_each_side_recalls(retriever: HybridRetriever) -> None:
    question = "how does a worker wait?"  # the best by both sides together is second by dense
    [wide] = HybridRetriever(retriever.index, k=1).retrieve(question)
    [narrow] = HybridRetriever(retriever.index, k=1, candidates=1).retrieve(question)
    assert set(wide.node.metadata["stage_scores"]) == {"dense", "sparse", "fused"}
    assert set(narrow.node.metadata["stage_scores"]) == {"sparse", "fused"}


@pytest.mark.parametrize("reranker", [None, LateInteractionReranker])
def test_scores_are_the_scores_of_the_hits(
    encoder: BgeM3Encoder, nodes: list[TextNode], reranker: Callable[[BgeM3Encoder], Any] | None
) -> None:
    made = reranker(encoder) if reranker else None
    retriever = HybridRetriever.from_nodes(nodes, encoder=encoder, reranker=made)
    hits = retriever.index.search(QUESTION)
    found = retriever.retrieve(QueryBundle(QUESTION))
    assert [(item.node.node_id, item.score) for item in found] == [(hit.passage.id, hit.score) for hit in hits]
    for item, hit in zip(found, hits, strict=True):
        stages = {name: {"score": stage.score, "rank": stage.rank} for name, stage in hit.stages.items()}
        assert item.node.metadata["relevance_score"] == hit.score
        assert item.node.metadata["stage_scores"] == stages
    assert ("reranked" in found[0].node.metadata["stage_scores"]) is (reranker is not None)


@pytest.mark.parametrize(
    ("question", "settings", "error"),
    [
        (QUESTION, {"k": -1}, InvalidInputError),
        (QUESTION, {"mode": "both"}, InvalidInputError),
        (QUESTION, {"filter": {"lang": {"$near": "zh"}}}, FilterError),
        ("\ud800", {}, InvalidTextError),
    ],
)
async def test_a_bad_question_or_setting_raises_the_error_of_the_core(
    retriever: HybridRetriever, question: str, settings: dict[str, Any], error: type[Exception]
) -> None:
    bad = HybridRetriever(retriever.index, **settings)
    with pytest.raises(error):
        bad.retrieve(question)
    with pytest.raises(error):
        await bad.aretrieve(question)


def test_a_misspelt_setting_is_an_error(retriever: HybridRetriever) -> None:
    with pytest.raises(TypeError, match="top_k"):
        HybridRetriever(retriever.index, top_k=3)
