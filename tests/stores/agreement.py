"""What a store must have in common with the exact one in memory, as one play of writes, deletes and searches."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from vectors import dense_of, encoding_of, sparse_of

from hybrid_core import (
    AllOf,
    And,
    AnyOf,
    Contains,
    Eq,
    Exists,
    Filter,
    Gt,
    Gte,
    In,
    Lt,
    Lte,
    Ne,
    Nin,
    Not,
    Or,
    Passage,
    Store,
    TextMatch,
)  # fmt: skip
from hybrid_core.stores.memory import MemoryStore

ENTRIES: list[Any] = [
    None, True, False, 0, 1, -1, 2**53, 2**53 + 1, 2**63, -(2**63), 10**300, 0.0, -0.0, 0.5, 1.0, 1e308, 5e-324, 1e-300,
    "", "a", "A", "b", "1", "true", "straße", "STRASSE", "2024-05-01", "2024-05-02T10:00:00", "\x00", "🙂", "x" * 70_000,
    [], ["a"], ["a", "b"], [1, None], [True], [["a"]], [{"k": 1}], {}, {"k": [1, {"m": None}]},
]  # fmt: skip
KEYS = ["a", "b", "", "a.b", 'q"]', "键", "$gt", "{v0}"]
FILTERS: list[Filter] = [
    *(Eq(key, entry) for key in KEYS[:3] for entry in ENTRIES if not isinstance(entry, str) or len(entry) < 100),
    *(Ne("a", entry) for entry in (None, 1, "a", [])), Eq('q"]', "a"), Eq("{v0}", 1), Eq("a.b", True), Eq("键", "🙂"),
    *(kind("a", bound) for kind in (Gt, Gte, Lt, Lte) for bound in (
        0, 1, 0.5, -1, 2**53, 2**53 + 1, 2**63, 10**400, 1e308, 5e-324, float("inf"), float("nan"),
        "", "a", "2024-05-01", "2024-05-02T10:00:00", "2024-05-02T10:00:01", "🙂", "\x00", "stra",
    )),
    In("a", [1, "a", None]), In("a", []), In("a", [["a"], {}]), Nin("a", [True, "b", 0.5]), Nin("missing", ["a"]),
    In("a", [object()]), Nin("a", [object(), 1]), Eq("a", ("a", "b")), Eq("a", object()), Ne("a", float("nan")),
    Contains("a", "a"), Contains("a", 1.0), Contains("a", True), Contains("a", None), Contains("a", ["a"]),
    Contains("a", ("a",)), Contains("a", {"k": 1.0}), AnyOf("a", ["b", 1]), AnyOf("a", []), AnyOf("a", [("a",), "b"]),
    AllOf("a", ["a", "b"]), AllOf("a", []), AllOf("a", [("a",)]), Exists("a"), Exists("missing"), Not(Exists("")),
    TextMatch("a", "strasse"), TextMatch("a", ""), Not(TextMatch("a", "a")), Not(Gt("a", 0)), Not(Not(Lt("a", 1))),
    And(), Or(), Not(And()), Not(Or()), And(Exists("a"), Not(Eq("a", 1))), Or(Gt("a", 1), Eq("b", "a")),
    Not(And(Eq("a", 1), Gt("b", 0))), And(Or(Eq("a", "a"), Ne("b", 1)), Not(In("c", range(0, 40, 2)))),
]  # fmt: skip


def metadata_of(i: int) -> dict[str, Any]:
    pick = random.Random(i)  # noqa: S311
    made: dict[str, Any] = {key: pick.choice(ENTRIES) for key in KEYS if pick.random() < 0.6}
    made["a"] = ENTRIES[i % len(ENTRIES)]
    if i % 17 == 16:
        made["many"] = list(range(5_000))  # more facts than are stored
    return made | {"c": i}


def items(start: int, stop: int) -> list[Passage]:
    return [Passage(f"id {i}", f"text {i % 40}" if i % 9 else " ", metadata_of(i)) for i in range(start, stop)]


def put(store: Store, passages: list[Passage]) -> None:
    store.upsert(passages, encoding_of([passage.text for passage in passages]))


def check_agreement(store: Store) -> None:
    """Play the same on a store and on the oracle, and compare every answer."""
    oracle = MemoryStore()
    for one in (store, oracle):
        put(one, items(0, 60))
        put(one, items(60, 90))
        assert one.delete([f"id {i}" for i in range(0, 90, 7)] + ["nobody", "id 0"]) == 13
        put(one, items(20, 30))  # again: they are the newest now
        put(one, [Passage("id 3", "rewritten", {"a": "new"}), Passage("é\x00🙂" * 200, "an odd id", {"a": 1})])
    ids = oracle.ids()
    assert store.ids() == ids
    assert store.count() == oracle.count() == len(ids)
    assert repr(store.get([*ids, "nobody"])) == repr(oracle.get(ids))
    vectors, expected = store.sparse_vectors(ids), oracle.sparse_vectors(ids)
    assert {id_: one.as_dict() for id_, one in vectors.items()} == {id_: one.as_dict() for id_, one in expected.items()}
    texts = ["rewritten", "unknown", "text 13", " "]
    positions, encoding = store.encodings(texts)
    assert positions == [0, 2, 3]
    wanted = encoding_of([texts[i] for i in positions])
    assert encoding is not None
    np.testing.assert_array_equal(encoding.dense, wanted.dense)
    np.testing.assert_array_equal(encoding.sparse.toarray(), wanted.sparse.toarray())
    for k in (1, 5, 20, 1_000):
        for text in ("q", "text 3", "text 7"):
            assert store.search_dense(dense_of(text), k) == oracle.search_dense(dense_of(text), k)
            assert store.search_sparse(sparse_of(text), k) == oracle.search_sparse(sparse_of(text), k)


def check_filters(store: Store, filters: list[Filter]) -> None:
    """Compare filtered answers with the oracle's."""
    oracle = MemoryStore()
    for one in (store, oracle):
        put(one, items(0, 85))
    for i, expression in enumerate(filters):
        assert store.ids(expression) == oracle.ids(expression), expression
        dense, sparse = dense_of(f"q{i}"), sparse_of(f"text {i}")
        for k in (3, 200):
            assert store.search_dense(dense, k, expression) == oracle.search_dense(dense, k, expression), expression
            assert store.search_sparse(sparse, k, expression) == oracle.search_sparse(sparse, k, expression), expression


def chain(error: BaseException) -> list[str]:
    """All that an error and its causes say."""
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:  # pymilvus raises an error from itself
        seen.append(following)
        following = following.__cause__ or following.__context__
    return [text for one in seen for text in (str(one), repr(one))]
