"""The contract of every store, part two: odd ids, texts and metadata come back exactly as they went in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from vectors import dense_of

from hybrid_core import Eq, Passage, Store

Put = Callable[[Store, list[Passage]], None]

ODD_IDS = [
    "a b", " leading", "trailing ", "a/b/../c", "..", "/", "C:\\x", "a\nb", "a\tb", "a\x00b", "a", "A", "\x00", "é", "e\u0301",
    "键值", "🙂", "שלום", "'; DROP TABLE passages; --", '"', "%", "_", "*", "?", "0", "00", "1", "1.0", "None", "null",
    "k" * 1_024, "é" * 512, "\u202eabc", "\ufeffbom", "\U0010ffff", "id:with:colons", "uuid-3f2504e0-4f89-11d3-9a0c",
]  # fmt: skip


def test_odd_ids_are_kept_apart_and_found(store: Store, put: Put) -> None:
    """Fault 21: odd ids round trip."""
    assert len(set(ODD_IDS)) == len(ODD_IDS)
    items = [Passage(id_, f"the text of {id_!r}", {"position": i}) for i, id_ in enumerate(ODD_IDS)]
    put(store, items)
    assert store.ids() == ODD_IDS
    assert store.get(ODD_IDS) == {item.id: item for item in items}
    for item in items:
        assert store.search_dense(dense_of(item.text), 1)[0].id == item.id
        assert store.ids(Eq("position", item.metadata["position"])) == [item.id]
    assert store.delete(ODD_IDS[::2]) == len(ODD_IDS[::2])
    assert store.ids() == ODD_IDS[1::2]


@pytest.mark.parametrize(
    "text",
    ["", "   \n\t", "a\x00b\x00", "\x00", "🙂 👩‍👩‍👧‍👦 🏴󠁧󠁢󠁷󠁬󠁳󠁿", "e\u0301 é", "\u05e9\u05dc\u05d5\u05dd مرحبا \u202eabc\u202c", "\r\n\r", "\ufeffbom", "\U0010ffff", "'\"\\"],
    ids=ascii,
)  # fmt: skip
def test_an_odd_text_comes_back_exactly(store: Store, put: Put, text: str) -> None:
    """Fault 16: empty, blank. Fault 19: NUL, emoji, combining marks, right-to-left."""
    put(store, [Passage("a", text), Passage("b", "another")])
    assert store.get(["a"])["a"].text == text
    assert store.encodings([text])[0] == [0]
    assert store.search_dense(dense_of(text), 1)[0].id == "a"


def test_a_megabyte_of_text_is_kept_whole(store: Store, put: Put) -> None:
    """Fault 17: a 1 MB text."""
    text = "".join(f"line {i} 行\n" for i in range(80_000))
    assert len(text.encode()) > 1_000_000
    put(store, [Passage("big", text)])
    assert store.get(["big"])["big"].text == text


METADATA: dict[str, Any] = {
    "none": None,
    "true": True,
    "one": 1,
    "one as float": 1.0,
    "minus zero": -0.0,
    "tiny": 5e-324,
    "big float": 1.7976931348623157e308,
    "2**63": 2**63,
    "-2**63 - 1": -(2**63) - 1,
    "huge": 10**300,
    "string": "\x00 🙂 \u202e 'quoted' \"twice\"",
    "empty string": "",
    "list": [1, "1", 1.0, None, True, []],
    "nested": {"a": [{"b": {"c": [None, {"d": 2**70}]}}], "": {}},
    "": "the empty key",
    "$gt": "an operator as a key",
    "a.b": "a dotted key",
    "键": "a unicode key",
    "_id": "a reserved word elsewhere",
    "large": "x" * 200_000,
}


def exact(value: Any) -> str:
    """A text that tells 1, 1.0, True and -0.0 apart."""
    return repr(value)


def test_metadata_comes_back_exactly_and_in_order(store: Store, put: Put) -> None:
    """Fault 22: exact round trip, no matter which JSON value."""
    put(store, [Passage("a", "text", METADATA), Passage("b", "no metadata")])
    assert exact(store.get(["a"])["a"].metadata) == exact(METADATA)
    assert store.get(["b"])["b"].metadata == {}


@pytest.mark.parametrize("key", [key for key, value in METADATA.items() if not isinstance(value, float)])
def test_every_value_is_found_by_a_filter(store: Store, put: Put, key: str) -> None:
    """Fault 22: it is there as it was given. Fault 33: filters compare what was put in."""
    put(store, [Passage("a", "text", METADATA), Passage("b", "other", {"another": 1})])
    assert store.ids(Eq(key, METADATA[key])) == ["a"]
