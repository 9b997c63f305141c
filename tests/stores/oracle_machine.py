"""Calls on an index, in any order that Hypothesis likes, and a dictionary that says what each has to answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from filter_cases import ENTRIES, FILTERS
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from vectors import FINGERPRINT, dense_of, encoding_of, sparse_of

from hybrid_core import Encoding, Filter, Fingerprint, HybridIndex, Passage, Scored, Store
from hybrid_core.filters import matches

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


class OracleMachine(RuleBasedStateMachine):
    """Every store does this. The oracle scores whatever it holds, passage by passage.

    Attributes:
        held: what the index has to hold, oldest write first.
        written: how many rows have been written, those that were replaced or deleted since among them.
    """

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.index = HybridIndex(store, encoder=ByHand())
        self.held: dict[str, Passage] = {}
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


class ReopenedMachine(OracleMachine):
    """What a store that outlives its object does besides.

    Args:
        open: gives the store, as it was left.
    """

    def __init__(self, open: Callable[[], Store]) -> None:
        super().__init__(open())
        self.open = open
        self.index.delete(self.index.ids())  # of the machine before

    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index.store = self.open()

    def teardown(self) -> None:
        self.index.close()


def exactly(passage: Passage | None) -> str:
    """1, 1.0 and True are equal in Python, and three things in metadata."""
    return "" if passage is None else json.dumps([passage.id, passage.text, passage.metadata])


def in_order(items: list[Scored]) -> list[Scored]:
    """Best first, ties in order of id; two sums of the same numbers are a tie."""
    return sorted(items, key=lambda item: (-round(item.score, 9), item.id))
