"""Fault 35: any sequence of calls leaves an index in the state of a dictionary that was written to alongside.

Hypothesis chooses the calls and their arguments, the same ones each time. The oracle scores every passage it holds.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filter_cases import ENTRIES, FILTERS
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from vectors import FINGERPRINT, dense_of, encoding_of, sparse_of

from hybrid_core import Encoding, Filter, Fingerprint, HybridIndex, Passage, Scored, Store
from hybrid_core.filters import matches
from hybrid_core.stores.embedded import EmbeddedStore
from hybrid_core.stores.memory import MemoryStore
from hybrid_core.stores.milvus import MilvusStore
from hybrid_core.stores.qdrant import QdrantStore

IDS = st.sampled_from([f"id {i}" for i in range(12)])
TEXTS = st.sampled_from([*(f"text {i}" for i in range(9)), " "])
PASSAGES = st.lists(st.builds(Passage, IDS, TEXTS, ENTRIES), min_size=1, max_size=8, unique_by=lambda item: item.id)
MODES = st.sampled_from(["hybrid", "dense", "sparse"])


class ByHand:
    """An encoder whose vectors are a function of the text alone."""

    fingerprint: Fingerprint = FINGERPRINT

    def encode_documents(self, texts: Sequence[str], *, multi: bool = False, show_progress: bool = False) -> Encoding:
        return encoding_of(texts)

    def encode_queries(self, texts: Sequence[str], *, multi: bool = False) -> Encoding:
        return encoding_of(texts)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return [str(id_) for id_ in ids]


class Machine(RuleBasedStateMachine):
    """What every store has."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.index = HybridIndex(store, encoder=ByHand())
        self.index.delete(self.index.ids())
        self.held: dict[str, Passage] = {}  # oldest write first
        self.written = 0

    @rule(passages=PASSAGES)
    def upsert(self, passages: list[Passage]) -> None:
        assert self.index.upsert(passages) == [passage.id for passage in passages]
        self.note(passages)

    @rule(passages=PASSAGES)
    def add(self, passages: list[Passage]) -> None:
        ids, texts = [passage.id for passage in passages], [passage.text for passage in passages]
        assert self.index.add(texts, ids=ids, metadatas=[dict(passage.metadata) for passage in passages]) == ids
        self.note(passages)

    def note(self, passages: list[Passage]) -> None:
        """What is there already, as it is, keeps its place in the order."""
        for passage in passages:
            if exactly(self.held.get(passage.id)) != exactly(passage):
                self.held.pop(passage.id, None)
                self.held[passage.id] = passage
                self.written += 1

    @rule(ids=st.lists(IDS, max_size=6))
    def delete(self, ids: list[str]) -> None:
        gone = [self.held.pop(id_) for id_ in set(ids) & self.held.keys()]
        assert self.index.delete(ids) == len(gone)

    @rule(filter=FILTERS)
    def delete_by_filter(self, filter: Filter) -> None:
        gone = [self.held.pop(passage.id) for passage in self.allowed(filter)]
        assert self.index.delete(filter=filter) == len(gone)

    @rule(ids=st.lists(IDS, max_size=6))
    def get(self, ids: list[str]) -> None:
        assert [exactly(found) for found in self.index.get(ids)] == [exactly(self.held.get(id_)) for id_ in ids]

    @rule(text=TEXTS, k=st.sampled_from([0, 1, 3, 50]), mode=MODES, filter=st.none() | FILTERS)
    def search(self, text: str, k: int, mode: Any, filter: Filter | None) -> None:
        assert self.index.ids(filter=filter) == [passage.id for passage in self.allowed(filter)]
        hits = self.index.search(text, k=k, mode=mode, filter=filter)
        wanted = self.ranked(text, mode, filter)[:k]
        assert [exactly(hit.passage) for hit in hits] == [exactly(self.held[item.id]) for item in wanted]
        assert [hit.score for hit in hits] == pytest.approx([item.score for item in wanted], abs=1e-6)

    def allowed(self, filter: Filter | None) -> list[Passage]:
        return [passage for passage in self.held.values() if filter is None or matches(filter, passage.metadata)]

    def ranked(self, query: str, mode: str, filter: Filter | None) -> list[Scored]:
        """Every passage that is allowed, scored one by one; "sparse" those that share a token."""
        lists: dict[str, list[Scored]] = {"dense": [], "sparse": []}
        tokens = sparse_of(query).as_dict()
        for passage in self.allowed(filter):
            product = dense_of(passage.text).astype(np.float64) @ dense_of(query).astype(np.float64)
            lists["dense"].append(Scored(passage.id, float(product)))
            stored = sparse_of(passage.text).as_dict()
            if shared := tokens.keys() & stored.keys():
                lists["sparse"].append(Scored(passage.id, sum(tokens[token] * stored[token] for token in shared)))
        fused: dict[str, float] = {}
        for name in lists:
            lists[name] = in_order(lists[name])
            for rank, item in enumerate(lists[name], start=1):
                fused[item.id] = fused.get(item.id, 0.0) + 1 / (60 + rank)
        return in_order([Scored(*item) for item in fused.items()]) if mode == "hybrid" else lists[mode]

    @invariant()
    def holds_what_was_written(self) -> None:
        assert len(self.index) == len(self.held)
        assert self.index.ids() == list(self.held)


def exactly(passage: Passage | None) -> str:
    """1, 1.0 and True are equal in Python, and three things in metadata."""
    return "" if passage is None else json.dumps([passage.id, passage.text, passage.metadata])


def in_order(items: list[Scored]) -> list[Scored]:
    """Best first, ties in order of id; two sums of the same numbers are a tie."""
    return sorted(items, key=lambda item: (-round(item.score, 9), item.id))


class FolderMachine(Machine):
    """What an index in a folder has besides."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders = 0
        shutil.rmtree(root, ignore_errors=True)
        super().__init__(self.open(root / "0"))

    def open(self, folder: Path) -> EmbeddedStore:
        """Open a folder to write, and once more to read beside."""
        self.folder = folder
        store, self.reader = EmbeddedStore(folder, FINGERPRINT), EmbeddedStore(folder, FINGERPRINT)
        return store

    def switch(self, folder: Path) -> None:
        self.teardown()
        self.index.store = self.open(folder)

    def next_folder(self) -> Path:
        self.folders += 1
        return self.root / str(self.folders)

    @rule()
    def optimize(self) -> None:
        self.index.optimize()

    @rule()
    def compact(self) -> None:
        assert self.index.compact() == self.written - len(self.held)
        self.written = len(self.held)

    @rule()
    def go_on_with_a_backup(self) -> None:
        folder = self.next_folder()
        assert self.index.backup(folder) == len(self.held)
        self.switch(folder)

    @rule()
    def reopen(self) -> None:
        self.switch(self.folder)

    @precondition(lambda self: self.written)
    @rule()
    def be_killed(self) -> None:
        """What is on disk before anything is closed is what a killed process leaves."""
        folder = self.next_folder()
        shutil.copytree(self.folder, folder)
        self.switch(folder)

    @invariant()
    def is_seen_by_readers(self) -> None:
        assert self.reader.ids() == list(self.held)

    def teardown(self) -> None:
        self.index.close()
        self.reader.close()


def play(machine: Any, examples: int, steps: int) -> None:
    checks = list(HealthCheck)
    how = settings(
        max_examples=examples, stateful_step_count=steps, derandomize=True, database=None, deadline=None,
        suppress_health_check=checks, print_blob=False,
    )  # fmt: skip
    run_state_machine_as_test(machine, settings=how)


def test_in_memory() -> None:
    play(lambda: Machine(MemoryStore()), 40, 20)


def test_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a dense view that is asked and a sparse one in files, however few passages there are."""
    monkeypatch.setattr("hybrid_core.stores.embedded.snapshot._EXACT", 0)
    monkeypatch.setattr("hybrid_core.stores.embedded.store._UNSAVED", 1)
    play(lambda: FolderMachine(tmp_path / "index"), 25, 20)


def test_in_qdrant() -> None:
    play(lambda: Machine(QdrantStore(":memory:", FINGERPRINT)), 15, 15)


def test_in_milvus(tmp_path: Path) -> None:
    """In one database throughout: opening one takes longer than all else."""
    store = MilvusStore(tmp_path / "milvus", FINGERPRINT, timeout=120)
    play(lambda: Machine(store), 8, 12)
    store.close()
