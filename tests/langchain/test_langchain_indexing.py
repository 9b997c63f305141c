"""LangChain's index() and record manager over HybridVectorStore: nothing embedded twice, deletions carried over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from checkpoints import forward_passes
from langchain_classic.indexes import SQLRecordManager
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex, index

from hybrid_core import BgeM3Encoder, HybridIndex
from langchain_hybrid import HybridVectorStore


@pytest.fixture
def store(tmp_path: Path, encoder: BgeM3Encoder) -> Any:
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as opened:
        yield HybridVectorStore(opened)


@pytest.fixture(params=["memory", "sql"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "memory":
        made: Any = InMemoryRecordManager("docs")
        made.create_schema()
        yield made
    else:
        made = SQLRecordManager("docs", db_url=f"sqlite:///{tmp_path / 'records.db'}")
        made.create_schema()
        yield made
        made.engine.dispose()


@pytest.fixture
def run(store: HybridVectorStore, records: Any) -> Callable[..., dict[str, int]]:
    def call(documents: Sequence[Document], cleanup: Any = "full", **settings: Any) -> dict[str, int]:
        given = {"cleanup": cleanup, "source_id_key": "source", "key_encoder": "sha256", **settings}
        return dict(index(documents, records, store, **given))

    return call


def documents(*texts: str, source: str = "a.md") -> list[Document]:
    return [Document(text, metadata={"source": source}) for text in texts]


def texts_of(store: HybridVectorStore) -> set[str]:
    return {passage.text for passage in store.index.get(store.index.ids()) if passage}


def counts(added: int = 0, updated: int = 0, skipped: int = 0, deleted: int = 0) -> dict[str, int]:
    return {"num_added": added, "num_updated": updated, "num_skipped": skipped, "num_deleted": deleted}


def test_only_what_is_new_is_embedded_and_what_is_gone_is_deleted(
    store: HybridVectorStore, run: Callable[..., dict[str, int]], encoder: BgeM3Encoder
) -> None:
    with forward_passes(encoder) as passes:
        assert run(documents("one task", "two tasks", "three tasks")) == counts(added=3)
        assert run(documents("one task", "two tasks", "three tasks")) == counts(skipped=3)
        assert passes == [3]
        assert run(documents("one task", "two tasks", "four tasks")) == counts(added=1, skipped=2, deleted=1)
        assert passes == [3, 1]
    assert texts_of(store) == {"one task", "two tasks", "four tasks"}


def test_other_metadata_is_another_document_but_no_other_embedding(
    store: HybridVectorStore, run: Callable[..., dict[str, int]], encoder: BgeM3Encoder
) -> None:
    run(documents("one task", "two tasks"))
    with forward_passes(encoder) as passes:
        moved = documents("one task", "two tasks", source="b.md")
        assert run(moved) == counts(added=2, deleted=2)
        assert run(moved, force_update=True) == counts(updated=2)
    assert passes == []
    assert {document.metadata["source"] for document in store.similarity_search("task")} == {"b.md"}


def test_incremental_cleanup_touches_only_the_sources_that_were_seen(
    store: HybridVectorStore, run: Callable[..., dict[str, int]]
) -> None:
    run([*documents("old one"), *documents("kept", source="b.md")], "incremental")
    assert run(documents("new one"), "incremental") == counts(added=1, deleted=1)
    assert texts_of(store) == {"new one", "kept"}
    assert run([], "full") == counts(deleted=2)
    assert len(store.index) == 0


def test_batches_smaller_than_the_documents_end_in_the_same(
    store: HybridVectorStore, run: Callable[..., dict[str, int]]
) -> None:
    many = documents(*(f"task {n}" for n in range(25)))
    assert run(many, batch_size=4) == counts(added=25)
    assert run(many, batch_size=7) == counts(skipped=25)
    assert len(store.index) == 25


async def test_the_async_twin_does_the_same(store: HybridVectorStore, encoder: BgeM3Encoder) -> None:
    records = InMemoryRecordManager("docs")
    settings: dict[str, Any] = {"cleanup": "full", "source_id_key": "source", "key_encoder": "sha256"}
    with forward_passes(encoder) as passes:
        assert await aindex(documents("one task", "two tasks"), records, store, **settings) == counts(added=2)
        assert await aindex(documents("two tasks"), records, store, **settings) == counts(skipped=1, deleted=1)
    assert passes == [2]
    assert texts_of(store) == {"two tasks"}
