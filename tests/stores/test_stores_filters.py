"""Fault 33: on every store a filter leaves exactly what brute force leaves, and the dict form means what Chroma means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromadb
import pytest
from filter_cases import ENTRIES, FILTERS
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors import FINGERPRINT, dense_of, encoding_of

from hybrid_core import Filter, FilterError, Passage, Store, parse_filter
from hybrid_core.filters import matches
from hybrid_core.stores.embedded import EmbeddedStore
from hybrid_core.stores.memory import MemoryStore
from hybrid_core.stores.milvus import MilvusStore
from hybrid_core.stores.qdrant import QdrantStore


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Store]]:
    """One of each kind, filled anew by each example."""
    folder: Path = tmp_path_factory.mktemp("filters")
    made: dict[str, Store] = {
        "memory": MemoryStore(),
        "embedded": EmbeddedStore(folder / "embedded", FINGERPRINT),
        "qdrant": QdrantStore(":memory:", FINGERPRINT),
        "milvus": MilvusStore(folder / "milvus", FINGERPRINT, timeout=120),
    }
    yield made
    for store in made.values():
        store.close()


def fill(store: Store, items: list[Passage]) -> None:
    store.delete(store.ids())
    store.upsert(items, encoding_of([item.text for item in items]))


@settings(max_examples=60, deadline=None)
@given(entries=st.lists(ENTRIES, min_size=1, max_size=6), filters=st.lists(FILTERS, min_size=1, max_size=6))
def test_every_filter_leaves_what_brute_force_leaves_on_every_store(
    stores: dict[str, Store], entries: list[dict[str, Any]], filters: list[Filter]
) -> None:
    """Fault 33: every operator and every type, metadata and expressions at random, on all four stores."""
    items = [Passage(f"p{i}", f"text {i}", metadata) for i, metadata in enumerate(entries)]
    for name, store in stores.items():
        fill(store, items)
        for expression in map(parse_filter, filters):
            expected = [item.id for item in items if matches(expression, item.metadata)]
            assert store.ids(expression) == expected, name
            assert sorted(hit.id for hit in store.search_dense(dense_of("q"), 10, expression)) == expected, name


METADATA: list[dict[str, Any]] = [
    {"n": 1}, {"n": 2.5}, {"n": True}, {"n": "1"}, {"n": -3}, {"tags": ["a", "b"]}, {"tags": ["c"]}, {"tags": [1, 2]},
    {"lang": "en", "year": 2024}, {"lang": "zh", "year": 2021}, {"lang": "EN"},
]  # fmt: skip
WHERE: list[dict[str, Any]] = [
    {"n": 1}, {"n": True}, {"n": "1"}, {"lang": "en"}, {"n": {"$eq": 2.5}}, {"n": {"$ne": 1}}, {"n": {"$ne": "1"}},
    {"n": {"$gt": 0}}, {"n": {"$gte": 1}}, {"n": {"$lt": 2.5}}, {"n": {"$lte": 2.5}}, {"n": {"$gt": 0.5}},
    {"n": {"$in": [1, 7]}}, {"n": {"$nin": [1, 7]}}, {"lang": {"$in": ["en", "zh"]}}, {"lang": {"$nin": ["en"]}},
    {"n": {"$in": [True]}}, {"tags": {"$contains": "a"}}, {"tags": {"$contains": 1}}, {"lang": {"$contains": "e"}},
    {"tags": {"$not_contains": "a"}}, {"n": {"$not_contains": 1}}, {"missing": {"$ne": 1}}, {"missing": {"$gt": 1}},
    {"$and": [{"lang": "en"}, {"year": {"$gte": 2022}}]}, {"$or": [{"lang": "zh"}, {"n": {"$lt": 0}}]},
    {"$or": [{"$and": [{"lang": "zh"}, {"year": 2021}]}, {"tags": {"$contains": "c"}}]},
]  # fmt: skip


@pytest.fixture(scope="module")
def chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A collection of Chroma's with the metadata that follows."""
    settings = chromadb.Settings(anonymized_telemetry=False)
    client = chromadb.PersistentClient(
        str(tmp_path_factory.mktemp("chroma")), settings
    )  # not the one in memory: shared
    collection = client.create_collection("what-chroma-means", embedding_function=None)
    ids, vectors = [f"{i:02d}" for i in range(len(METADATA))], [dense_of(str(i)).tolist() for i in range(len(METADATA))]
    collection.add(ids=ids, embeddings=vectors, metadatas=METADATA)
    yield collection
    client.delete_collection("what-chroma-means")


@pytest.mark.parametrize("where", WHERE, ids=str)
def test_the_dict_form_means_what_chroma_means(chroma: Any, where: dict[str, Any]) -> None:
    """Fault 33: parity with the reference of the dict form."""
    expression = parse_filter(where)
    found = [f"{i:02d}" for i, metadata in enumerate(METADATA) if matches(expression, metadata)]
    assert found == sorted(chroma.get(where=where, include=[])["ids"])


@pytest.mark.parametrize(
    "where",
    [{"n": {"$regex": "1"}}, {"n": {"$not_regex": "1"}}, {"$contains": "a"}, {"n": {"$near": 1}}],
    ids=str,
)
def test_what_of_chroma_has_no_meaning_here_is_refused(where: dict[str, Any]) -> None:
    with pytest.raises(FilterError, match="unknown operator"):
        parse_filter(where)
