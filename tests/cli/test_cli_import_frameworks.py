"""Collections that LangChain and LlamaIndex wrote, searched afterwards through the core and both adapters."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_chroma import QUESTION, client, corpus, stored_by_chroma, stored_here, tree
from langchain_chroma import Chroma
from langchain_core.documents import Document
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.schema import (
    ImageNode,
    IndexNode,
    MetadataMode,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.vector_stores.chroma import ChromaVectorStore

from hybrid_core import BgeM3Encoder, HybridIndex
from hybrid_core.importing import import_chroma
from hybrid_core.importing.nodes import clean_metadata
from hybrid_core.types import public_metadata
from langchain_hybrid import BgeM3Embeddings
from langchain_hybrid import HybridRetriever as LangChainRetriever
from llamaindex_hybrid import HybridRetriever as LlamaIndexRetriever
from llamaindex_hybrid.nodes import to_passage

Command = Callable[..., Any]
PASSAGES = corpus()
REASONS = {"relevance_score", "stage_scores"}


@pytest.fixture
def langchain_folder(tmp_path: Path, encoder: BgeM3Encoder) -> Path:
    """A collection by langchain-chroma, with its own ids, and documents with and without metadata."""
    with client(tmp_path / "chroma") as opened:
        store = Chroma(client=opened, collection_name="langchain", embedding_function=BgeM3Embeddings(encoder))
        store.add_texts([passage.text for passage in PASSAGES], [dict(passage.metadata) for passage in PASSAGES[:20]])
    return tmp_path / "chroma"


def by_langchain(folder: Path) -> dict[str, Document]:
    with client(folder) as opened:
        found = Chroma(client=opened, collection_name="langchain").get()
    rows = zip(found["ids"], found["documents"], found["metadatas"], strict=True)
    return {id_: Document(id=id_, page_content=text, metadata=metadata or {}) for id_, text, metadata in rows}


@pytest.mark.parametrize("option", [[], ["--same-model"]])
def test_langchain_documents_come_back_from_its_retriever_with_ids_and_metadata(
    bge_hybrid: Command, langchain_folder: Path, folder: Path, encoder: BgeM3Encoder, option: list[str]
) -> None:
    expected = by_langchain(langchain_folder)
    assert all(uuid.UUID(id_) for id_ in expected)
    before = tree(langchain_folder)
    done = bge_hybrid("import", "chroma", langchain_folder, "langchain", "--into", folder, "--model", "tiny", *option)
    assert (done.code, done.err) == (0, "")
    assert tree(langchain_folder) == before
    with HybridIndex.open(folder, encoder=encoder) as index:
        found = LangChainRetriever(index=index, k=len(PASSAGES), candidates=len(PASSAGES)).invoke(QUESTION)
        first = LlamaIndexRetriever(index, k=1).retrieve(QUESTION)[0]
    assert {document.id: strip(document) for document in found} == expected
    assert (first.node_id, first.text) == (found[0].id, found[0].page_content)
    if option:
        assert stored_here(folder, encoder) == stored_by_chroma(langchain_folder, "langchain")


def strip(document: Document) -> Document:
    """The document without the reasons that the retriever adds."""
    metadata = {key: value for key, value in document.metadata.items() if key not in REASONS}
    return Document(id=document.id, page_content=document.page_content, metadata=metadata)


def nodes() -> list[TextNode]:
    """Nodes with everything that a node can hold."""
    documents = [
        LlamaDocument(text=passage.text, id_=passage.id, metadata={**passage.metadata, "gone": None, "tags": "a,b"})
        for passage in PASSAGES[:6]
    ]
    split: list[Any] = SentenceSplitter(chunk_size=64, chunk_overlap=8).get_nodes_from_documents(documents)
    split[0].excluded_embed_metadata_keys = ["page"]
    split[0].text_template = "{content}\n--\n{metadata_str}"
    split[1].relationships[NodeRelationship.CHILD] = [
        RelatedNodeInfo(node_id="child", metadata={"deep": [1, {"a": 2}]})
    ]
    user = {"doc_id": "the user's own", "document_id": 7, "text": "", "网关": "限流"}
    return [
        *split,
        TextNode(id_="plain", text="A node of no document, about queues.", metadata=user),
        IndexNode(id_="pointer", text="A node that points to another.", index_id="plain"),
        ImageNode(id_="picture", text="A picture of a worker.", image="aGk=", image_mimetype="image/png"),
    ]


def write_nodes(folder: Path, encoder: BgeM3Encoder, written: Sequence[TextNode], mode: MetadataMode) -> Path:
    """A collection by LlamaIndex's store, embedded as LlamaIndex embeds in a mode."""
    vectors = encoder.encode_documents([node.get_content(mode) for node in written]).dense.tolist()
    embedded = [node.model_copy(update={"embedding": row}) for node, row in zip(written, vectors, strict=True)]
    with client(folder) as opened:
        ChromaVectorStore(opened.get_or_create_collection("quickstart")).add(embedded)
    return folder


@pytest.mark.parametrize("option", [[], ["--same-model"]])
def test_llamaindex_nodes_are_stored_as_our_own_retriever_stores_them(
    bge_hybrid: Command, tmp_path: Path, folder: Path, encoder: BgeM3Encoder, option: list[str]
) -> None:
    written = nodes()
    source = write_nodes(tmp_path / "chroma", encoder, written, MetadataMode.NONE)
    before = tree(source)
    done = bge_hybrid("import", "chroma", source, "quickstart", "--into", folder, "--model", "tiny", *option)
    assert (done.code, done.err) == (0, "")
    assert tree(source) == before
    with HybridIndex.open(folder, encoder=encoder) as index:
        assert index.get([node.node_id for node in written]) == [to_passage(node) for node in written]
        retriever = LlamaIndexRetriever(index, k=len(written), candidates=len(written))
        assert len(retriever.add_nodes(written)) == len(written)
        found = {hit.node_id: hit.node for hit in retriever.retrieve(QUESTION)}
        documents = LangChainRetriever(index=index, k=len(written), candidates=len(written)).invoke(QUESTION)
    assert list(found) == [document.id for document in documents]
    for node in written:
        back = found[node.node_id]
        assert type(back) is type(node)
        assert back.relationships == node.relationships
        assert back.ref_doc_id == node.ref_doc_id
        assert {key: value for key, value in back.metadata.items() if key not in REASONS} == node.metadata
    assert found[written[0].node_id].text_template == "{content}\n--\n{metadata_str}"  # type: ignore[attr-defined]
    assert found["pointer"].index_id == "plain"  # type: ignore[attr-defined]
    assert found["picture"].image == "aGk="  # type: ignore[attr-defined]
    for document in documents:
        [node] = [node for node in written if node.node_id == document.id]
        assert strip(document) == Document(id=node.node_id, page_content=node.text, metadata=node.metadata)
    if option:
        assert stored_here(folder, encoder) == stored_by_chroma(source, "quickstart")


def test_what_was_changed_in_chroma_since_the_node_was_written_counts(tmp_path: Path, encoder: BgeM3Encoder) -> None:
    node = TextNode(id_="a", text="Workers.", metadata={"kept": 1, "changed": 1, "none": None, "yes": True})
    source = write_nodes(tmp_path / "chroma", encoder, [node], MetadataMode.NONE)
    with client(source) as opened:
        collection = opened.get_collection("quickstart", embedding_function=None)
        collection.update(ids=["a"], metadatas=[{"changed": 2, "reviewed": True, "doc_id": "by the user"}])
    with HybridIndex.open(None, encoder=encoder) as index:
        import_chroma(source, "quickstart", index)
        [passage] = index.get(["a"])
    assert passage is not None
    expected = {"kept": 1, "changed": 2, "none": None, "yes": True, "reviewed": True, "doc_id": "by the user"}
    assert public_metadata(passage.metadata) == expected


def test_vectors_of_text_with_metadata_are_refused_for_they_are_not_the_texts(
    bge_hybrid: Command, tmp_path: Path, folder: Path, encoder: BgeM3Encoder
) -> None:
    source = write_nodes(tmp_path / "chroma", encoder, nodes(), MetadataMode.EMBED)  # LlamaIndex's default
    arguments = ["import", "chroma", source, "quickstart", "--into", folder, "--model", "tiny"]
    done = bge_hybrid(*arguments, "--same-model")
    assert done.code == 1
    assert "LlamaIndex" in done.err
    assert "embeds a node's metadata with its text" in done.err
    assert "without --same-model" in done.err
    assert not folder.exists()
    assert bge_hybrid(*arguments).code == 0


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"_node_content": "no JSON", "a": 1},
        {"_node_content": 3},
        {"_node_content": "[1]", "doc_id": "x"},
        {"_node_content": '{"no": "metadata"}'},
        {"_node_content": '{"metadata": []}'},
        {"_node_type": "TextNode", "document_id": "None"},
    ],
)
def test_metadata_that_only_looks_like_a_node_stays_as_it_is(metadata: dict[str, Any]) -> None:
    assert clean_metadata(metadata) == metadata


def test_odd_nodes_do_come_over() -> None:
    node: dict[str, Any] = {"metadata": {"nan": float("nan")}, "relationships": None, "class_name": "TextNode"}
    cleaned = clean_metadata({"_node_content": json.dumps(node), "doc_id": "None"})
    assert cleaned == {"nan": None, "_bge_hybrid_node": {"relationships": None, "class_name": "TextNode"}}
    node["relationships"] = {"1": None}
    assert clean_metadata({"_node_content": json.dumps(node), "doc_id": "d", "_node_type": "X"})["doc_id"] == "d"
    assert clean_metadata(None) == {}
