"""The contract of every store, part three: both searches agree with brute force, to the last bit and with any filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from filter_cases import ENTRIES, FILTERS
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors import dense_of, encoding_of, passages, sparse_of

from hybrid_core import Eq, Filter, Gt, In, Passage, Scored, SparseVector, Store
from hybrid_core.filters import matches
from hybrid_core.stores.memory import MemoryStore

Put = Callable[[Store, list[Passage]], None]


def brute_dense(items: list[Passage], query: np.ndarray, k: int) -> list[Scored]:
    scored = [Scored(item.id, float(np.dot(dense_of(item.text).astype(float), query.astype(float)))) for item in items]
    return sorted(scored, key=lambda hit: (-hit.score, hit.id))[:k]


def brute_sparse(items: list[Passage], query: SparseVector, k: int) -> list[Scored]:
    scored, wanted = [], query.as_dict()
    for item in items:
        shared = [(wanted[t], weight) for t, weight in sorted(sparse_of(item.text).as_dict().items()) if t in wanted]
        total = 0.0
        for a, b in shared:
            total += a * b
        if shared:
            scored.append(Scored(item.id, total))
    return sorted(scored, key=lambda hit: (-hit.score, hit.id))[:k]


@pytest.mark.parametrize("k", [1, 7, 199, 200, 5_000])
def test_dense_search_agrees_with_brute_force(store: Store, put: Put, k: int) -> None:
    """Fault 23: k beyond the corpus gives all of it."""
    items = passages(200)
    put(store, items)
    for query in map(dense_of, ["one", "two", "text number 7"]):
        found, expected = store.search_dense(query, k), brute_dense(items, query, k)
        assert [hit.id for hit in found] == [hit.id for hit in expected]
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-12)


@pytest.mark.parametrize("k", [1, 7, 5_000])
def test_sparse_search_agrees_with_brute_force_exactly(store: Store, put: Put, k: int) -> None:
    """Fault 23: k beyond the corpus gives all that share a token."""
    items = passages(200)
    put(store, items)
    for query in map(sparse_of, ["one", "two", "text number 7"]):
        assert store.search_sparse(query, k) == brute_sparse(items, query, k)


def test_k_of_0_gives_nothing(store: Store, put: Put) -> None:
    """Fault 23: k = 0."""
    put(store, passages(5))
    assert store.search_dense(dense_of("q"), 0) == []
    assert store.search_sparse(sparse_of("text number 1"), 0) == []


def test_ties_come_in_order_of_id_and_the_cut_is_by_id_too(store: Store, put: Put) -> None:
    put(store, [Passage(id_, "the same text") for id_ in ["m", "z", "a", "é", "B", "10", "9"]])
    order = ["10", "9", "B", "a", "m", "z", "é"]
    for k in (1, 3, 6, 7, 9):
        assert [hit.id for hit in store.search_dense(dense_of("the same text"), k)] == order[:k]
        assert [hit.id for hit in store.search_sparse(sparse_of("the same text"), k)] == order[:k]


def test_sparse_search_finds_only_what_shares_a_token(store: Store, put: Put) -> None:
    put(store, [*passages(50), Passage("blank", " ")])
    query = sparse_of("a query")
    sharing = {item.id for item in passages(50) if set(sparse_of(item.text).indices) & set(query.indices)}
    assert 0 < len(sharing) < 50
    assert {hit.id for hit in store.search_sparse(query, 100)} == sharing
    assert store.search_sparse(SparseVector.from_dict({}), 100) == []


def test_a_score_does_not_depend_on_what_else_is_there(store: Store, put: Put) -> None:
    items = passages(40)
    dense, sparse = dense_of("q"), sparse_of("text number 3")
    put(store, items)
    whole = dict(store.search_dense(dense, 40)), dict(store.search_sparse(sparse, 40))
    for n in (1, 2, 3, 5, 8, 13):
        for hit in store.search_dense(dense, 40, In("n", range(n))):
            assert hit.score == whole[0][hit.id]
        for hit in store.search_sparse(sparse, 40, In("n", range(n))):
            assert hit.score == whole[1][hit.id]


@pytest.fixture(scope="module")
def filled(shared_store: Store) -> tuple[Store, list[Passage]]:
    """A store with metadata of every kind, and the oracle of it."""
    entries: list[Any] = [None, True, False, 0, 1, 2, -3, 0.0, 1.0, -1.5, "", "a", "b"]
    entries += [[], ["a"], [None, 1], [True, "b"]]
    items = []
    for i, first in enumerate(entries):
        for j in range(4):
            metadata = {"b": entries[(i * 4 + j) % len(entries)], "c": j}
            if (i + j) % 5:  # here and there the key is missing
                metadata["a"] = first
            items.append(Passage(f"{i:02d}-{j}", f"text {i} {j}", metadata))
    shared_store.upsert(items, encoding_of([item.text for item in items]))
    return shared_store, items


@settings(max_examples=150, deadline=None)
@given(expression=FILTERS)
def test_filters_agree_with_brute_force_on_both_sides(filled: tuple[Store, list[Passage]], expression: Filter) -> None:
    """Fault 33: filters agree with brute force, for every operator and type."""
    store, items = filled
    allowed = [item for item in items if matches(expression, item.metadata)]
    assert store.ids(expression) == [item.id for item in allowed]
    dense, sparse = dense_of("q"), sparse_of("text 3 1")
    expected = [hit.id for hit in brute_dense(allowed, dense, 10)]
    assert [hit.id for hit in store.search_dense(dense, 10, expression)] == expected
    assert store.search_sparse(sparse, 10, expression) == brute_sparse(allowed, sparse, 10)


@settings(max_examples=40, deadline=None)
@given(st.lists(ENTRIES, min_size=1, max_size=8), FILTERS)
def test_filters_agree_on_any_metadata(entries: list[dict[str, Any]], expression: Filter) -> None:
    """Fault 33: in memory; the embedded store asks the same function of the same JSON."""
    store = MemoryStore()
    items = [Passage(str(i), f"text {i}", metadata) for i, metadata in enumerate(entries)]
    store.upsert(items, encoding_of([item.text for item in items]))
    assert store.ids(expression) == [item.id for item in items if matches(expression, item.metadata)]


def test_a_filter_of_thousands_of_values(store: Store, put: Put) -> None:
    put(store, passages(30))
    wanted = [*range(0, 30, 7), *range(1_000, 9_000)]
    assert store.ids(In("n", wanted)) == [f"p{i:04d}" for i in range(0, 30, 7)]


def test_every_store_gives_the_memory_stores_ids_and_scores_to_the_last_bit(store: Store, put: Put) -> None:
    memory = MemoryStore()
    for start in range(0, 400, 50):  # in eight writes, so that the inverted index has runs to merge
        for one in (memory, store):
            put(one, passages(50, start=start))
    for one in (memory, store):
        one.delete([f"p{i:04d}" for i in range(0, 400, 9)])
        put(one, [Passage(f"p{i:04d}", f"rewritten {i % 4}", {"n": i}) for i in range(0, 400, 11)])
    random = np.random.default_rng(5)
    for i in range(100):
        k = int(random.integers(1, 420))
        expression = [None, Gt("n", int(random.integers(0, 400))), Eq("even", True), Eq("n", 77)][i % 4]
        dense = dense_of(f"query {i}")
        sparse = sparse_of(f"query {i}")
        assert store.search_dense(dense, k, expression) == memory.search_dense(dense, k, expression)
        assert store.search_sparse(sparse, k, expression) == memory.search_sparse(sparse, k, expression)
