"""A progress bar over what is indexed, in both frameworks, where it is asked for and nowhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.schema import TextNode

from hybrid_core import BgeM3Encoder, HybridIndex
from langchain_hybrid import HybridRetriever, HybridVectorStore
from llamaindex_hybrid import HybridRetriever as LlamaRetriever
from llamaindex_hybrid import HybridVectorStore as LlamaStore

TEXTS = ["one task", "two tasks", "three tasks"]
DOCUMENTS = [Document(text) for text in TEXTS]
NODES = [TextNode(text=text) for text in TEXTS]
WAYS: dict[str, Callable[..., Any]] = {
    "langchain from_documents": lambda encoder, **show: (
        HybridRetriever.from_documents(DOCUMENTS, encoder=encoder, **show).index
    ),
    "langchain from_texts": lambda encoder, **show: HybridRetriever.from_texts(TEXTS, encoder=encoder, **show).index,
    "langchain store from_texts": lambda encoder, **show: HybridVectorStore.from_texts(TEXTS, encoder, **show).index,
    "langchain store from_documents": lambda encoder, **show: (
        HybridVectorStore.from_documents(DOCUMENTS, encoder, **show).index
    ),
    "llamaindex from_nodes": lambda encoder, **show: LlamaRetriever.from_nodes(NODES, encoder=encoder, **show).index,
    "llamaindex from_documents": lambda encoder, **show: (
        LlamaRetriever.from_documents([LlamaDocument(text=text) for text in TEXTS], encoder=encoder, **show).index
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_building_an_index_shows_how_far_it_is(
    way: str, encoder: BgeM3Encoder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(WAYS[way](encoder)) == 3
    assert capsys.readouterr().err == ""
    assert len(WAYS[way](encoder, show_progress=True)) == 3
    assert "Indexing: 100%" in capsys.readouterr().err


async def test_so_does_adding_to_one_and_the_async_twins(
    encoder: BgeM3Encoder, capsys: pytest.CaptureFixture[str]
) -> None:
    def index() -> HybridIndex:
        return HybridIndex.open(None, encoder=encoder)

    HybridRetriever(index=index()).add_documents(DOCUMENTS, show_progress=True)
    HybridVectorStore(index()).add_documents(DOCUMENTS, show_progress=True)
    LlamaRetriever(index()).add_nodes(NODES, show_progress=True)
    assert capsys.readouterr().err.count("Indexing: 100%") == 3
    twins: list[Awaitable[Any]] = [
        HybridRetriever(index=index()).aadd_documents(DOCUMENTS, show_progress=True),
        HybridVectorStore(index()).aadd_documents(DOCUMENTS, show_progress=True),
        LlamaRetriever(index()).aadd_nodes(NODES, show_progress=True),
    ]
    for twin in twins:
        assert len(await twin) == 3
    assert capsys.readouterr().err.count("Indexing: 100%") == 3


def test_under_llamaindexs_own_index_the_bars_are_llamaindexs(
    encoder: BgeM3Encoder, capsys: pytest.CaptureFixture[str]
) -> None:
    store = LlamaStore(HybridIndex.open(None, encoder=encoder))
    VectorStoreIndex(
        NODES,
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=store.embed_model,
        show_progress=True,
    )
    shown = capsys.readouterr().err
    assert "Generating embeddings: 100%" in shown
    assert "3/3" in shown
