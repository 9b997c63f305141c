"""What a store says of what it holds, to compare two stores or two moments of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vectors import dense_of, encoding_of, passages, sparse_of

from hybrid_core import Contains, Eq, Lt, Not, Passage, Store
from hybrid_core.stores.memory import MemoryStore

FORMATS = Path(__file__).with_name("formats")
TEXTS = ["text number 1", "rewritten", "text number 10", "a question"]
FILTERS = [None, Eq("even", True), Lt("n", 6), Contains("tags", "t1"), Not(Eq("even", True))]


def write(store: Store, items: Sequence[Passage]) -> None:
    """Write passages with the vectors of their texts."""
    store.upsert(items, encoding_of([item.text for item in items]))


def kept(store: Store) -> Store:
    """Fill a store with what the kept folders in `formats` hold, in the same order."""
    write(store, passages(12))
    write(store, [Passage("p0003", "rewritten", {"n": 3})])
    store.delete(["p0005", "p0011"])
    odd = Passage("Ünï/code id", "文本 and \x00 bytes", {"nested": {"a": [1, None]}})
    write(store, [odd, Passage("blank", "  ")])
    return store


def answers(store: Store) -> dict[str, Any]:
    """Everything a store can be asked, as plain values that are equal only where every bit is."""
    ids = store.ids()
    places, encoding = store.encodings([*TEXTS, "  "])
    return {
        "ids": [store.ids(asked) for asked in FILTERS],
        "count": store.count(),
        "passages": store.get(ids),
        "dense": [store.search_dense(dense_of(text), 100, asked) for text in TEXTS for asked in FILTERS],
        "sparse": [store.search_sparse(sparse_of(text), 100, asked) for text in TEXTS for asked in FILTERS],
        "weights": {id_: vector.as_dict() for id_, vector in store.sparse_vectors(ids).items()},
        "known": (places, None if encoding is None else (encoding.dense.tolist(), encoding.sparse.toarray().tolist())),
    }


def expected() -> dict[str, Any]:
    """What the kept folders say, by the store that scores exactly."""
    return answers(kept(MemoryStore()))
