"""What a new user of either framework passes by mistake is named at once, before anything is searched or written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.schema import Document, NodeWithScore, TextNode
from pydantic import ValidationError

import langchain_hybrid
import llamaindex_hybrid
from hybrid_core import BgeM3Encoder, CrossEncoderReranker, HybridError, HybridIndex

NAME = "BAAI/bge-m3"


@pytest.mark.parametrize(
    "make",
    [
        langchain_hybrid.BgeM3Embeddings,
        langchain_hybrid.BgeM3SparseEmbeddings,
        llamaindex_hybrid.BgeM3Embedding,
        llamaindex_hybrid.BgeM3SparseEmbedding,
        lambda name: langchain_hybrid.HybridRetriever.from_texts(["a"], encoder=name),
        lambda name: langchain_hybrid.HybridVectorStore.from_texts(["a"], name),
        lambda name: llamaindex_hybrid.HybridRetriever.from_nodes([TextNode(text="a")], encoder=name),
    ],
)
def test_the_name_of_a_model_is_no_encoder(make: Callable[[Any], object]) -> None:
    with pytest.raises(HybridError, match=f"'{NAME}' is (no|neither LangChain Embeddings nor an) encoder"):
        make(NAME)


@pytest.mark.parametrize(
    "make",
    [
        lambda given: langchain_hybrid.HybridRetriever(index=given),
        langchain_hybrid.HybridVectorStore,
        llamaindex_hybrid.HybridRetriever,
        llamaindex_hybrid.HybridVectorStore,
    ],
)
def test_a_folder_an_embedding_or_a_store_is_no_index(make: Callable[[Any], object], encoder: BgeM3Encoder) -> None:
    index = HybridIndex.open(None, encoder=encoder)
    for given in ("my-index", None, langchain_hybrid.BgeM3Embeddings(encoder), index.store):
        with pytest.raises((HybridError, ValidationError), match="index"):
            make(given)


@pytest.mark.parametrize("package", [langchain_hybrid, llamaindex_hybrid])
def test_a_misspelt_setting_of_a_reranker_is_an_error(package: Any) -> None:
    with pytest.raises(ValidationError, match="topn"):
        package.BgeReranker(reranker=CrossEncoderReranker.tiny(), topn=3)


def test_an_embedding_does_not_go_to_another_process_without_its_model(encoder: BgeM3Encoder) -> None:
    """Else LlamaIndex leaves the model out of what it sends, and its pipeline's processes never answer."""
    with pytest.raises(TypeError, match="num_workers"):
        llamaindex_hybrid.BgeM3Embedding(encoder).__reduce_ex__(4)


@pytest.mark.parametrize(
    "add",
    [
        lambda index: llamaindex_hybrid.HybridVectorStore(index).add([NodeWithScore(node=Document(text="a"))]),
        lambda index: llamaindex_hybrid.HybridRetriever(index).add_nodes(["a"]),
        lambda index: langchain_hybrid.HybridRetriever(index=index).add_documents(["a"]),
    ],
)
def test_what_is_no_node_or_document_is_not_written(add: Callable[[Any], object], encoder: BgeM3Encoder) -> None:
    index = HybridIndex.open(None, encoder=encoder)
    with pytest.raises((AttributeError, TypeError, ValueError)):
        add(index)
    assert len(index) == 0
