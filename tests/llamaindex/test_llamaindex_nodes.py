"""A node comes back as it went in, and the reasons added to it stay out of prompts and embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    IndexNode,
    MetadataMode,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)

from hybrid_core import BgeM3Encoder, HybridError, HybridIndex
from llamaindex_hybrid import HybridRetriever

REASONS = ["relevance_score", "stage_scores"]
EVERYTHING: dict[str, Any] = {
    "id_": "the node / 节点",
    "text": "  Workers pull tasks.\r\n工作节点拉取任务。 😀\x00 ",
    "metadata": {"title": "Workers", "nested": {"list": [1, 2.5, None, True, {"深": "层"}]}, "secret": "s3cret"},
    "excluded_llm_metadata_keys": ["secret"],
    "excluded_embed_metadata_keys": ["nested", "secret"],
    "relationships": {
        NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc", metadata={"file": "a.md"}, hash="abc"),
        NodeRelationship.PREVIOUS: RelatedNodeInfo(node_id="before"),
        NodeRelationship.CHILD: [RelatedNodeInfo(node_id="c1"), RelatedNodeInfo(node_id="c2")],
    },
    "start_char_idx": 17,
    "end_char_idx": 54,
    "metadata_template": "{key} = {value}",
    "metadata_separator": " | ",
    "text_template": "<{metadata_str}>{content}",
    "mimetype": "text/markdown",
}
NODES = [
    TextNode(**EVERYTHING),
    TextNode(id_="plain", text="Workers."),
    IndexNode(**{**EVERYTHING, "id_": "index node"}, index_id="other index"),
    IndexNode(id_="node in node", text="Workers.", index_id="inner", obj=TextNode(id_="inner", text="Inner text.")),
    ImageNode(id_="image", text="Workers in a diagram.", image="aGVsbG8=", image_mimetype="image/png"),
]


@pytest.fixture(params=["memory", "folder"])
def index(request: pytest.FixtureRequest, tmp_path: Path, encoder: BgeM3Encoder) -> Iterator[HybridIndex]:
    with HybridIndex.open(tmp_path / "index" if request.param == "folder" else None, encoder=encoder) as opened:
        yield opened


def there_and_back(index: HybridIndex, node: BaseNode) -> BaseNode:
    """Store a node and return what retrieval makes of it; nodes inside IndexNodes are not followed."""
    from llama_index.core.schema import QueryBundle

    retriever = HybridRetriever(index, k=1)
    retriever.add_nodes([node])
    [found] = retriever._retrieve(QueryBundle("workers"))
    return found.node


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.node_id)
def test_a_node_comes_back_with_everything_but_the_reasons_unchanged(index: HybridIndex, node: BaseNode) -> None:
    found = there_and_back(index, node)
    assert type(found) is type(node)
    assert found is not node
    back, sent = found.model_dump(), node.model_dump()
    for key in REASONS:
        assert key in back["metadata"]
        del back["metadata"][key]
        for excluded in ("excluded_llm_metadata_keys", "excluded_embed_metadata_keys"):
            back[excluded].remove(key)
    assert back == sent


def test_an_embedding_of_the_node_is_not_carried_along(index: HybridIndex) -> None:
    found = there_and_back(index, TextNode(text="Workers.", embedding=[0.0, 1.0]))
    assert found.embedding is None


def test_relationships_can_be_followed(index: HybridIndex) -> None:
    found = there_and_back(index, NODES[0])
    assert found.ref_doc_id == "doc"
    assert found.prev_node is not None
    assert found.prev_node.node_id == "before"
    assert [child.node_id for child in found.child_nodes or []] == ["c1", "c2"]


@pytest.mark.parametrize("mode", [MetadataMode.LLM, MetadataMode.EMBED, MetadataMode.NONE])
def test_prompts_and_embeddings_see_exactly_what_they_saw_before(index: HybridIndex, mode: MetadataMode) -> None:
    found = there_and_back(index, NODES[0])
    assert found.get_content(metadata_mode=mode) == NODES[0].get_content(metadata_mode=mode)
    assert "score" not in found.get_content(metadata_mode=mode)


def test_a_passage_of_the_core_becomes_a_node_that_hides_the_reasons(index: HybridIndex) -> None:
    index.add(["Workers pull tasks."], ids=["p"], metadatas=[{"lang": "en"}])
    [found] = HybridRetriever(index).retrieve("workers")
    assert (found.node.node_id, found.text, found.node.metadata["lang"]) == ("p", "Workers pull tasks.", "en")
    assert set(REASONS) <= set(found.node.metadata)
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert found.node.get_content(metadata_mode=mode) == "lang: en\n\nWorkers pull tasks."


def test_the_text_alone_is_embedded_and_searched(index: HybridIndex) -> None:
    there_and_back(index, TextNode(id_="a", text="Workers.", metadata={"title": "Diagram legend"}))
    [passage] = index.get(["a"])
    assert passage is not None
    assert passage.text == "Workers."
    assert index.search("legend", mode="sparse") == []


def test_a_retriever_follows_an_index_node_to_the_node_it_holds(encoder: BgeM3Encoder) -> None:
    inner = TextNode(id_="inner", text="Inner text.")
    nodes = [IndexNode(id_="outer", text="Workers.", index_id="inner", obj=inner)]
    [found] = HybridRetriever.from_nodes(nodes, encoder=encoder).retrieve("workers")
    assert (found.node.node_id, found.text) == ("inner", "Inner text.")


def test_an_index_node_whose_object_cannot_be_stored_is_named(index: HybridIndex) -> None:
    node = IndexNode(id_="outer", text="Workers.", index_id="inner", obj=HybridRetriever(index))
    with pytest.raises(HybridError, match="outer"):
        HybridRetriever(index).add_nodes([TextNode(text="well"), node])
    assert len(index) == 0
