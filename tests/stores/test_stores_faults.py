"""Faults 18, 19 and 21 to 25 on the stores over databases, through HybridIndex: what each ends in."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_qdrant import FakeQdrant

from hybrid_core import (
    BgeM3Encoder,
    Eq,
    HybridIndex,
    InvalidInputError,
    InvalidTextError,
    MetadataError,
    Passage,
)
from hybrid_core.stores.milvus import MilvusStore
from hybrid_core.stores.qdrant import QdrantStore


@pytest.fixture(params=["qdrant", "milvus"])
def index(
    request: pytest.FixtureRequest, tmp_path: Path, fake_qdrant: FakeQdrant, encoder: BgeM3Encoder
) -> Iterator[HybridIndex]:
    """An empty index over each."""
    if request.param == "qdrant":
        store: Any = QdrantStore(fake_qdrant.url, encoder.fingerprint, timeout=120)
    else:
        store = MilvusStore(tmp_path / "m.db", encoder.fingerprint, timeout=120)
    with HybridIndex(store, encoder=encoder) as made:
        yield made


def add(index: HybridIndex, n: int) -> list[str]:
    texts = [f"Worker {i} pulls task {i} from the queue." for i in range(n)]
    return index.add(texts, ids=[f"p{i}" for i in range(n)], metadatas=[{"n": i} for i in range(n)])


def test_a_lone_surrogate_is_refused_before_anything_is_written(index: HybridIndex) -> None:
    """Fault 18: a lone surrogate in a text, an id, a metadata value or key, or a query."""
    for passage, error in (
        (Passage("b", "half a \ud83d face"), InvalidTextError),
        (Passage("\udc00", "text"), InvalidTextError),
        (Passage("b", "text", {"k": ["\ud800"]}), MetadataError),
        (Passage("b", "text", {"\ud800": 1}), MetadataError),
    ):
        with pytest.raises(error, match="lone surrogate"):
            index.add([Passage("a", "fine"), passage])
    assert len(index) == 0
    with pytest.raises(InvalidTextError, match="lone surrogate"):
        index.search("half a \ud83d face")


def test_odd_texts_come_back_exactly_and_are_found(index: HybridIndex) -> None:
    """Fault 19: NUL, emoji, combining marks, right-to-left."""
    texts = ["queue\x00worker\x00", "🙂 👩‍👩‍👧‍👦 chart", "e\u0301 and é", "\u05e9\u05dc\u05d5\u05dd مرحبا \u202eabc\u202c", "\r\n\r", "\ufeffbom"]  # fmt: skip
    ids = index.add(texts, metadatas=[{"t": text} for text in texts])
    for id_, text in zip(ids, texts, strict=True):
        assert index.get([id_]) == [Passage(id_, text, {"t": text})]
        assert index.ids(filter=Eq("t", text)) == [id_]
        assert index.search(text, k=1, filter=Eq("t", text))[0].passage.text == text


def test_odd_ids_are_kept_apart_and_their_keys_are_always_the_same(index: HybridIndex) -> None:
    """Fault 21: spaces, slashes, unicode, 1 KB; UUIDs of version 5 where the database wants them."""
    ids = [
        "a b",
        "a/b/../c",
        "..",
        "a\x00b",
        "A",
        "a",
        "é",
        "e\u0301",
        "键🙂",
        "0",
        "00",
        "1.0",
        "None",
        "'; --",
        "k" * 1_024,
    ]
    ids += [str(uuid.UUID(int=5)), "17"]  # these could be keys as they stand
    index.add([f"the text of {id_!a:.40} {i}" for i, id_ in enumerate(ids)], ids=ids)
    assert index.ids() == ids
    assert [passage.id for passage in index.get(ids) if passage] == ids
    found = index.search("the text", k=100)
    assert {hit.passage.id for hit in found} == set(ids)
    keys: Any = [index.store._engine.keys(id_)[0] for id_ in ids]  # type: ignore[attr-defined]
    assert len(set(keys)) == len(ids)
    assert all(uuid.UUID(key).version == 5 for key in keys)
    assert keys[0] == "52f851ca-540e-5783-aaab-9a615ac2801f"  # the same in every process and release
    assert index.delete(ids[::2]) == len(ids[::2])
    assert index.ids() == ids[1::2]


def test_metadata_comes_back_exactly(index: HybridIndex) -> None:
    """Fault 22: None, nested, list, 2**63, huge: what went in comes out."""
    metadata: dict[str, Any] = {
        "none": None, "true": True, "one": 1, "float": 1.0, "minus zero": -0.0, "tiny": 5e-324, "2**63": 2**63,
        "huge": 10**300, "list": [1, "1", 1.0, None, True, []], "nested": {"a": [{"b": [None, {"c": 2**70}]}], "": {}},
        "": "empty key", "$gt": 1, "a.b": 1, "键": "值", "large": "x" * 200_000,
    }  # fmt: skip
    index.add([Passage("a", "text", copy.deepcopy(metadata))])
    (passage,) = index.get(["a"])
    assert passage is not None
    assert repr(passage.metadata) == repr(metadata)
    for key, value in metadata.items():
        assert index.ids(filter=Eq(key, value)) == ["a"]


def test_metadata_that_would_not_come_back_is_named_before_anything_is_written(index: HybridIndex) -> None:
    """Fault 22: MetadataError naming the key."""
    values: list[Any] = [float("nan"), float("inf"), {1}, b"x", object(), (1, 2), {1: "x"}, 10**4_500]
    for value in values:
        with pytest.raises(MetadataError, match="'odd"):
            index.add([Passage("a", "fine"), Passage("b", "text", {"odd": value})])
    assert len(index) == 0


def test_k_of_0_a_negative_k_and_a_k_beyond_the_corpus(index: HybridIndex) -> None:
    """Fault 23: nothing; a ValueError; all of it."""
    add(index, 60)
    modes: list[Any] = ["hybrid", "dense", "sparse"]
    for mode in modes:
        assert index.search("worker", k=0, mode=mode) == []
        with pytest.raises(ValueError, match="k=-1"):
            index.search("worker", k=-1, mode=mode)
        found = index.search("worker", k=5_000, mode=mode)
        assert len({hit.passage.id for hit in found}) == len(found) == 60
        assert len(index.search("worker", k=5_000, mode=mode, filter={"n": {"$lt": 7}})) == 7


def test_an_empty_index_gives_nothing(index: HybridIndex) -> None:
    """Fault 24: an empty index, new or emptied."""
    for _ in range(2):
        assert len(index) == 0
        assert index.ids() == index.ids(filter=Eq("n", 1)) == []
        for mode in ("hybrid", "dense", "sparse"):
            assert index.search("worker", mode=mode) == index.search("worker", mode=mode, filter=Eq("n", 1)) == []
        assert index.explain("worker") == []
        assert index.get(["p1"]) == [None]
        add(index, 3)
        assert index.delete(["p0", "p1", "p2"]) == 3


def test_nothing_in_is_a_no_op_and_deletions_are_counted_truly(index: HybridIndex) -> None:
    """Fault 25: an empty add or delete; ids that are not there."""
    assert index.add([]) == []
    assert index.delete([]) == 0
    assert index.delete(["p1"]) == 0
    assert index.delete(filter=Eq("n", 1)) == 0
    assert index.get([]) == []
    add(index, 5)
    assert index.add([]) == []
    assert index.delete(["p1", "p1", "nobody"]) == 1
    assert index.delete(filter={"n": {"$gte": 3}}) == 2
    assert index.delete(["p1", "p3"]) == 0
    assert index.ids() == ["p0", "p2"]
    with pytest.raises(InvalidInputError, match="either ids or a filter"):
        index.delete()
