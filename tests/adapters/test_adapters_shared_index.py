"""What is added through one framework is found through the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

import langchain_hybrid
import llamaindex_hybrid
from hybrid_core import BgeM3Encoder, HybridIndex

TEXT = "Workers pull tasks.\n工作节点拉取任务。"
METADATA: dict[str, Any] = {"lang": "en", "nested": {"list": [1, None, "三"]}, "page": 3}
REASONS = {"relevance_score", "stage_scores"}


@pytest.fixture(params=["memory", "folder"])
def index(request: pytest.FixtureRequest, tmp_path: Path, encoder: BgeM3Encoder) -> Iterator[HybridIndex]:
    with HybridIndex.open(tmp_path / "index" if request.param == "folder" else None, encoder=encoder) as opened:
        yield opened


def public(metadata: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in REASONS}


def test_a_document_added_through_langchain_is_a_node_in_llamaindex(index: HybridIndex) -> None:
    document = Document(TEXT, metadata=METADATA, id="doc / 1")
    langchain_hybrid.HybridRetriever(index=index).add_documents([document])
    [found] = llamaindex_hybrid.HybridRetriever(index).retrieve("workers")
    assert type(found.node) is TextNode
    assert (found.node.node_id, found.text) == ("doc / 1", TEXT)
    assert public(found.node.metadata) == METADATA
    assert set(found.node.metadata) == set(METADATA) | REASONS


def test_a_node_added_through_llamaindex_is_a_document_in_langchain(index: HybridIndex) -> None:
    node = TextNode(id_="node / 1", text=TEXT, metadata=METADATA, excluded_llm_metadata_keys=["page"], start_char_idx=4)
    node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id="source")
    llamaindex_hybrid.HybridRetriever(index).add_nodes([node])
    [found] = langchain_hybrid.HybridRetriever(index=index).invoke("workers")
    assert (found.id, found.page_content) == ("node / 1", TEXT)
    assert public(found.metadata) == METADATA
    assert set(found.metadata) == set(METADATA) | REASONS


def vector_stores(index: HybridIndex) -> tuple[langchain_hybrid.HybridVectorStore, llamaindex_hybrid.HybridVectorStore]:
    return langchain_hybrid.HybridVectorStore(index), llamaindex_hybrid.HybridVectorStore(index)


def test_a_document_of_langchains_vector_store_is_a_node_in_llamaindexs(index: HybridIndex) -> None:
    left, right = vector_stores(index)
    left.add_documents([Document(TEXT, metadata=METADATA, id="doc / 1")])
    expected = TextNode(id_="doc / 1", text=TEXT, metadata=METADATA)
    assert right.get_nodes(["doc / 1"]) == [expected]
    for mode in VectorStoreQueryMode.HYBRID, VectorStoreQueryMode.MMR:
        found = right.query(VectorStoreQuery(query_str="workers", mode=mode, node_ids=["doc / 1"]))
        assert found.nodes == [expected]


def test_a_node_of_llamaindexs_vector_store_is_a_document_in_langchains_and_keeps_its_relationships(
    index: HybridIndex,
) -> None:
    left, right = vector_stores(index)
    node = TextNode(id_="node / 1", text=TEXT, metadata=METADATA, excluded_embed_metadata_keys=["page"], end_char_idx=9)
    node.relationships = {
        NodeRelationship.SOURCE: RelatedNodeInfo(node_id="source", metadata={"nested": {"a": [1]}}),
        NodeRelationship.NEXT: RelatedNodeInfo(node_id="node / 2"),
        NodeRelationship.CHILD: [RelatedNodeInfo(node_id="c1"), RelatedNodeInfo(node_id="c2")],
    }
    right.add([node])
    expected = Document(TEXT, metadata=METADATA, id="node / 1")
    assert left.get_by_ids(["node / 1"]) == left.similarity_search("workers") == [expected]
    [found] = langchain_hybrid.HybridRetriever(index=index).invoke("workers")
    assert public(found.metadata) == METADATA
    assert right.get_nodes() == [node]
    assert llamaindex_hybrid.HybridRetriever(index).retrieve("workers")[0].node.relationships == node.relationships
    left.delete(["node / 1"])
    assert right.get_nodes() == []


def test_documents_of_langchain_know_no_document_that_they_were_split_from(index: HybridIndex) -> None:
    left, right = vector_stores(index)
    left.add_documents([Document(TEXT, metadata={"doc_id": "source", "ref_doc_id": "source"}, id="a")])
    right.delete("source")
    assert [document.id for document in left.get_by_ids(["a"])] == ["a"]
    assert right.query(VectorStoreQuery(query_str="workers", doc_ids=["source"])).ids == []


@pytest.mark.parametrize(
    "filter", [{"page": 3}, {"nested": {"list": [1, None, "三"]}}, {"missing": {"$exists": False}}]
)
def test_filters_of_one_framework_see_the_metadata_written_by_the_other(
    index: HybridIndex, filter: dict[str, Any]
) -> None:
    langchain_hybrid.HybridRetriever(index=index).add_documents([Document("A task.", metadata=METADATA, id="document")])
    llamaindex_hybrid.HybridRetriever(index).add_nodes([TextNode(id_="node", text="A task.", metadata=METADATA)])
    index.add(["A task."], ids=["other"], metadatas=[{"missing": 1}])
    documents = langchain_hybrid.HybridRetriever(index=index, filter=filter).invoke("task")
    nodes = llamaindex_hybrid.HybridRetriever(index, filter=filter).retrieve("task")
    assert {document.id for document in documents} == {"document", "node"}
    assert {item.node.node_id for item in nodes} == {"document", "node"}


def test_one_framework_replaces_what_the_other_has_written(index: HybridIndex) -> None:
    llamaindex_hybrid.HybridRetriever(index).add_nodes([TextNode(id_="a", text="The old task.", metadata={"v": 1})])
    langchain_hybrid.HybridRetriever(index=index).add_documents([Document("The new task.", metadata={"v": 2}, id="a")])
    assert len(index) == 1
    [found] = llamaindex_hybrid.HybridRetriever(index).retrieve("task")
    assert (found.text, public(found.node.metadata)) == ("The new task.", {"v": 2})


def test_both_frameworks_at_once_see_each_others_writes(tmp_path: Path, encoder: BgeM3Encoder) -> None:
    langchain = langchain_hybrid.HybridRetriever.from_texts(["one task"], ids=["a"], encoder=encoder, path=tmp_path)
    with langchain.index, HybridIndex.open(tmp_path, encoder=encoder) as reader:
        llamaindex = llamaindex_hybrid.HybridRetriever(reader)
        assert [item.node.node_id for item in llamaindex.retrieve("task")] == ["a"]
        langchain.add_documents([Document("another task", id="b")])
        assert {item.node.node_id for item in llamaindex.retrieve("task")} == {"a", "b"}
