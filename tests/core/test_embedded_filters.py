"""The embedded store's columns for filters: right whatever was written since, and not built anew for each write."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from embedded_answers import write
from vectors import FINGERPRINT, dense_of

from hybrid_core import (
    And,
    BgeM3Encoder,
    Contains,
    Eq,
    Exists,
    Filter,
    Gte,
    HybridIndex,
    Lt,
    Not,
    Passage,
    TextMatch,
)  # fmt: skip
from hybrid_core.stores.embedded import EmbeddedStore
from hybrid_core.stores.embedded.ledger import Ledger
from hybrid_core.stores.embedded.metadata_view import MetadataView
from hybrid_core.stores.memory import MemoryStore

FILTERS: list[Filter] = [
    Eq("n", 3), Lt("n", 5), Not(Eq("n", 2)), Contains("tags", "t1"), TextMatch("title", "CHAPTER 2"), Exists("rare"),
    And(Gte("n", 2), Not(Exists("tags"))),
]  # fmt: skip


def passage(chance: random.Random, number: int) -> Passage:
    n = chance.randrange(9)
    metadata: dict[str, Any] = {"n": n, "title": f"chapter {n}"}
    metadata |= {"tags": [f"t{n % 3}"]} if n % 2 else {"rare": None} if n == 4 else {}
    return Passage(f"p{number:03d}", f"text {chance.randrange(99)}", metadata)


def test_filters_are_right_after_every_write_deletion_and_compaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 33: with many stretches of places, and more of them joined by each write."""
    monkeypatch.setattr("hybrid_core.stores.embedded.metadata_view._TAIL", 3)
    store, reader, exact = EmbeddedStore(tmp_path, FINGERPRINT), EmbeddedStore(tmp_path, FINGERPRINT), MemoryStore()
    chance, most = random.Random(5), 0  # noqa: S311  # what is written, not secrets
    for round_ in range(60):
        items = {
            item.id: item for item in (passage(chance, chance.randrange(200)) for _ in range(chance.randint(1, 25)))
        }
        gone = [f"p{chance.randrange(200):03d}" for _ in range(5)]
        for each in (store, exact):
            write(each, list(items.values()))
            each.delete(gone)
        if round_ % 20 == 19:
            store.compact()
        for expression in chance.sample(FILTERS, 3):
            for each in (store, reader):
                assert each.ids(expression) == exact.ids(expression)
                assert each.search_dense(dense_of("q"), 7, expression) == exact.search_dense(
                    dense_of("q"), 7, expression
                )
        most = max(most, len(store._metadata._stretches))
    assert most > 3
    for each in (store, reader):
        each.close()


def test_a_filter_is_evaluated_once_a_query_for_both_sides(
    tmp_path: Path, encoder: BgeM3Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[Filter] = []
    plain = MetadataView._evaluate

    def counted(self: MetadataView, filter: Filter, size: int) -> Any:
        evaluated.append(filter)
        return plain(self, filter, size)

    monkeypatch.setattr(MetadataView, "_evaluate", counted)
    with HybridIndex.open(tmp_path, encoder=encoder) as index:
        index.add(["A worker pulls tasks.", "Workers run tasks."], metadatas=[{"n": 1}, {"n": 2}])
        for times in (1, 2):
            hits = index.search("worker tasks", filter=Eq("n", times))
            assert [hit.stages.keys() >= {"dense", "sparse"} for hit in hits] == [True]
            assert evaluated == [Eq("n", 1), Eq("n", 2)][:times]


def test_metadata_is_read_a_few_times_however_many_writes_and_searches_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search under a filter, beside a steady stream of writes, looks at what is new, not at a tenth of the index."""
    read, plain = 0, Ledger.metadata

    def counted(self: Ledger, start: int, end: int) -> Iterator[tuple[int, dict[str, object]]]:
        nonlocal read
        for row in plain(self, start, end):
            read += 1
            yield row

    monkeypatch.setattr(Ledger, "metadata", counted)
    monkeypatch.setattr("hybrid_core.stores.embedded.metadata_view._TAIL", 20)
    store = EmbeddedStore(tmp_path, FINGERPRINT)
    for round_ in range(100):
        write(store, [Passage(f"{round_}-{i}", "text", {"n": i}) for i in range(20)])
        for n in (1, 2, 3):
            assert len(store.ids(Eq("n", n))) == round_ + 1
    store.close()
    assert read <= 2_000 * 8 + 300 * 20  # each of 2,000 by a few stretches, and the tail by each search
