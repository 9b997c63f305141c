"""What is asked of the hybrid stores of langchain-qdrant and langchain-milvus."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document

from hybrid_core import BgeM3Encoder, HybridIndex

TEXTS = ["A worker pulls tasks.", "", "网关限流。", "A worker pulls tasks."]
QUESTION = "how does a worker get its tasks?"


def named(documents: list[Document]) -> list[Document]:
    """The documents with their ids in the metadata, which every store gives back."""
    return [Document(document.page_content, metadata={"name": document.id}) for document in documents]


def assert_one_pass_each(store: Any, passes: list[int], encoder: BgeM3Encoder, documents: list[Document]) -> None:
    """One forward pass took the documents in, one takes a question, and what is found is what our index finds."""
    assert [count for count in passes if count > 1] == [len(documents)]
    assert len(passes) <= 2  # one text of their own, to learn the dimension
    passes.clear()
    found = store.similarity_search(QUESTION, k=3)
    assert passes == [1]
    index = HybridIndex.open(None, encoder=encoder)
    index.add([d.page_content for d in documents], ids=[str(d.id) for d in documents])
    best = {hit.passage.id for mode in ("dense", "sparse") for hit in index.search(QUESTION, 3, mode=mode)}  # type: ignore[arg-type]
    assert found[0].metadata["name"] == "queue"
    assert {document.metadata["name"] for document in found} <= best
