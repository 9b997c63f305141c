"""What may come in: texts, ids, counts and metadata."""

from __future__ import annotations

import datetime
import json
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_core import DuplicateIdError, InvalidInputError, InvalidTextError, MetadataError, Passage
from hybrid_core.checks import check_count, check_id, check_passages, check_text, check_texts, encode_metadata

GOOD = {
    "str": "text \x00 🙂 \u202e",
    "int": -7,
    "beyond 64 bits": 2**63,
    "huge": 10**400,
    "float": 0.1,
    "small": 5e-324,
    "minus zero": -0.0,
    "bool": True,
    "none": None,
    "list": [1, "a", None, [2.5, []], {"k": False}],
    "nested": {"a": {"b": {"c": [1, 2, {"d": None}]}}},
    "": "the empty key",
    "schlüssel 键": "unicode key",
    "a.b": "a dot in a key",
}


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types all the way down (1, 1.0 and True are equal in Python)."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)


@pytest.mark.parametrize("key", GOOD)
def test_a_json_value_round_trips(key: str) -> None:
    """Fault 22: exact round trip."""
    assert same(json.loads(encode_metadata({key: GOOD[key]}, "p")), {key: GOOD[key]})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=4))
def test_any_json_metadata_round_trips(metadata: dict[str, Any]) -> None:
    """Fault 22: exact round trip."""
    assert same(json.loads(encode_metadata(metadata, "p")), metadata)


def test_any_mapping_is_taken() -> None:
    assert encode_metadata(MappingProxyType({"a": 1}), "p") == '{"a":1}'


circular: list[Any] = []
circular.append(circular)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"), float("inf"), float("-inf"), (1, 2), {1, 2}, b"bytes", datetime.datetime(2024, 5, 1),
        object(), 1j, np.float32(1.5), np.int64(3), np.array([1]), [1, float("nan")], {"deep": (1,)}, "\ud800", ["\udfff"],
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_value_that_would_not_come_back_is_named_by_its_key(value: Any) -> None:
    """Fault 18: a lone surrogate. Fault 22: MetadataError naming the key."""
    with pytest.raises(MetadataError, match=r"passage 3.*'bad"):
        encode_metadata({"good": 1, "bad": value}, "passage 3")


@pytest.mark.parametrize("key", [1, None, ("a",), True, b"k"])
def test_a_key_that_is_no_string_is_named(key: Any) -> None:
    """Fault 22: JSON would turn it into one."""
    with pytest.raises(MetadataError, match="is not a string"):
        encode_metadata({key: "value"}, "p")
    with pytest.raises(MetadataError, match=r"outer\[0\]\..*is not a string"):
        encode_metadata({"outer": [{key: "value"}]}, "p")


def test_a_lone_surrogate_in_a_key_is_named() -> None:
    """Fault 18: a lone surrogate."""
    with pytest.raises(MetadataError, match=r"'\\ud800' has a lone surrogate"):
        encode_metadata({"\ud800": 1}, "p")


@pytest.mark.parametrize("value", [circular, 10**5_000], ids=["circular", "5,000 digits"])
def test_what_json_cannot_write_is_named_by_its_key(value: Any) -> None:
    """Fault 22: huge or endless values."""
    with pytest.raises(MetadataError, match="'endless"):
        encode_metadata({"endless": value}, "p")


@pytest.mark.parametrize("metadata", [None, 5, "ab", [("a", 1, 2)], [1]])
def test_metadata_that_is_no_mapping_is_refused(metadata: Any) -> None:
    with pytest.raises(MetadataError, match="a mapping is needed"):
        encode_metadata(metadata, "p")


@pytest.mark.parametrize("text", ["", " ", "a", "NUL \x00", "🙂", "e\u0301", "שלום", "x" * 1_000_000])
def test_a_text_is_returned_as_it_is(text: str) -> None:
    """Fault 16: empty. Fault 17: 1 MB. Fault 19: odd text."""
    assert check_text(text, "text") is text


@pytest.mark.parametrize(("text", "at"), [("\ud800", 0), ("ab\udc00", 2), ("\ude42\ud83d", 0)])
def test_a_lone_surrogate_is_named_by_its_place(text: str, at: int) -> None:
    """Fault 18: a lone surrogate."""
    with pytest.raises(InvalidTextError, match=rf"text 1 has a lone surrogate.*character {at},"):
        check_texts(["fine", text])
    with pytest.raises(InvalidTextError, match="my id"):
        check_id(text, "my id")


@pytest.mark.parametrize("texts", ["one text", b"bytes"])
def test_one_text_is_no_list_of_texts(texts: Any) -> None:
    with pytest.raises(InvalidInputError, match="wrap it in a list"):
        check_texts(texts)


def test_an_empty_id_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="empty string"):
        check_id("")


@pytest.mark.parametrize("id", [None, 1, b"id"])
def test_an_id_is_a_string(id: Any) -> None:
    with pytest.raises(InvalidInputError, match="a str is needed"):
        check_id(id)


@pytest.mark.parametrize("value", [0, 5, np.int64(5), np.uint8(5)])
def test_a_count_is_any_integer(value: Any) -> None:
    assert check_count(value, "k") == int(value)
    assert type(check_count(value, "k")) is int


@pytest.mark.parametrize("value", [-1, 2.0, "3", None, True, np.int64(-2)])
def test_anything_else_is_no_count(value: Any) -> None:
    """Fault 23: negative k is a ValueError."""
    with pytest.raises(ValueError, match="k="):
        check_count(value, "k")


def test_identical_repeats_of_an_id_collapse_to_the_first() -> None:
    """Fault 20: identical duplicates."""
    a, b = Passage("a", "text", {"n": 1, "m": 2}), Passage("b", "text")
    again = Passage("a", "text", {"m": 2, "n": 1})
    assert [passage for passage, _ in check_passages([a, b, again])] == [a, b]


@pytest.mark.parametrize(
    "other",
    [
        Passage("a", "another text", {"n": 1}),
        Passage("a", "text", {"n": 2}),
        Passage("a", "text"),
        Passage("a", "text", {"n": True}),
        Passage("a", "text", {"n": 1.0}),
    ],
    ids=repr,
)
def test_different_passages_under_one_id_raise(other: Passage) -> None:
    """Fault 20: different duplicates."""
    with pytest.raises(DuplicateIdError, match="'a'"):
        check_passages([Passage("a", "text", {"n": 1}), Passage("b", "text"), other])


@pytest.mark.parametrize("item", ["text", ("id", "text"), None, {"id": "a", "text": "b"}])
def test_what_is_no_passage_is_named_by_its_position(item: Any) -> None:
    with pytest.raises(InvalidInputError, match="item 1"):
        check_passages([Passage("a", "text"), item])
