"""The contract of every store, part one: what is kept, replaced, deleted and given back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from vectors import dense_of, encoding_of, passages, sparse_of

from hybrid_core import EmbeddingError, Encoding, Eq, Gt, HybridError, InvalidInputError, Passage, Store

Put = Callable[[Store, list[Passage]], None]


def test_it_is_a_store(store: Store) -> None:
    assert isinstance(store, Store)


def test_what_was_written_comes_back(store: Store, put: Put) -> None:
    items = passages(3)
    put(store, items)
    assert store.get(["p0000", "p0002"]) == {"p0000": items[0], "p0002": items[2]}
    assert store.count() == 3


def test_ids_that_are_not_there_are_left_out(store: Store, put: Put) -> None:
    put(store, passages(1))
    assert list(store.get(["nobody", "p0000"])) == ["p0000"]
    assert list(store.sparse_vectors(["nobody", "p0000"])) == ["p0000"]


def test_adding_the_same_id_twice_replaces(store: Store, put: Put) -> None:
    """Fault 8: changed text replaces, the old one is not found again."""
    put(store, [Passage("a", "old", {"v": 1, "gone": True}), Passage("b", "other")])
    put(store, [Passage("a", "new", {"v": 2})])
    assert store.get(["a"]) == {"a": Passage("a", "new", {"v": 2})}
    assert store.count() == 2
    assert len(store.search_dense(dense_of("old"), 10)) == 2
    assert store.search_dense(dense_of("new"), 1)[0].score == pytest.approx(1.0)
    assert store.sparse_vectors(["a"])["a"].as_dict() == sparse_of("new").as_dict()
    assert store.encodings(["old"]) == ([], None)
    assert store.ids(Eq("gone", True)) == []


def test_ids_come_oldest_write_first(store: Store, put: Put) -> None:
    put(store, passages(4))
    put(store, [Passage("p0001", "rewritten")])
    assert store.ids() == ["p0000", "p0002", "p0003", "p0001"]


def test_ids_are_filtered(store: Store, put: Put) -> None:
    put(store, passages(6))
    assert store.ids(Gt("n", 3)) == ["p0004", "p0005"]
    assert store.ids(Eq("even", True)) == ["p0000", "p0002", "p0004"]
    assert store.ids(Eq("nothing", 0)) == []


def test_a_filter_that_equals_another_in_python_is_another(store: Store, put: Put) -> None:
    put(store, [Passage("one", "x", {"a": 1}), Passage("true", "y", {"a": True})])
    assert store.ids(Eq("a", 1)) == ["one"]
    assert store.ids(Eq("a", True)) == ["true"]


def test_a_filter_sees_what_was_written_since_it_was_last_used(store: Store, put: Put) -> None:
    put(store, passages(2))
    assert store.ids(Eq("even", True)) == ["p0000"]
    put(store, passages(1, start=2))
    assert store.ids(Eq("even", True)) == ["p0000", "p0002"]
    store.delete(["p0000"])
    assert store.ids(Eq("even", True)) == ["p0002"]


def test_delete_says_how_many_were_there(store: Store, put: Put) -> None:
    """Fault 25: true counts."""
    put(store, passages(5))
    assert store.delete(["p0001", "nobody", "p0003", "p0001"]) == 2
    assert store.delete(["p0001"]) == 0
    assert store.ids() == ["p0000", "p0002", "p0004"]
    assert store.count() == 3
    assert store.get(["p0001"]) == {}


def test_what_was_deleted_is_not_found_and_may_come_back(store: Store, put: Put) -> None:
    items = passages(3)
    put(store, items)
    store.delete(["p0001"])
    assert [hit.id for hit in store.search_dense(dense_of(items[1].text), 9) if hit.id == "p0001"] == []
    assert "p0001" not in [hit.id for hit in store.search_sparse(sparse_of(items[1].text), 9)]
    put(store, [items[1]])
    assert store.search_dense(dense_of(items[1].text), 1)[0].id == "p0001"


def test_nothing_in_is_a_no_op(store: Store, put: Put) -> None:
    """Fault 25: empty add, delete and get."""
    put(store, passages(1))
    store.upsert([], encoding_of(["x"]).rows([]))
    assert store.delete([]) == 0
    assert store.get([]) == {}
    assert store.sparse_vectors([]) == {}
    assert store.encodings([]) == ([], None)
    assert store.count() == 1


@pytest.mark.parametrize(
    "encoding",
    [
        encoding_of(["a", "b"]), encoding_of(["a", "b", "c"], dimension=7),
        Encoding(encoding_of(["a", "b", "c"]).dense, encoding_of(["a", "b"]).sparse),
        Encoding(encoding_of(["a", "b", "c"]).dense, encoding_of(["a", "b", "c"]).sparse[:, :60]),
    ],
    ids=["too few", "too short", "too few sparse ones", "another vocabulary"],
)  # fmt: skip
def test_vectors_that_do_not_fit_are_refused_and_nothing_is_harmed(store: Store, put: Put, encoding: Encoding) -> None:
    """Fault 12: found before any write, be it an encoder that does not make what its fingerprint says."""
    put(store, passages(3))
    items = [replace(item, text="rewritten") for item in passages(3)]
    with pytest.raises(InvalidInputError, match=r"3 passages with dense vectors of shape \(\d, [78]\)"):
        store.upsert(items, encoding)
    assert store.get(["p0001"]) == {"p0001": passages(3)[1]}
    put(store, items)
    assert len(store.search_dense(dense_of("rewritten"), 5)) == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["dense", "sparse"])
def test_a_number_that_is_none_is_refused_and_its_passage_is_named(
    store: Store, put: Put, side: str, bad: float
) -> None:
    """Fault 14, of an encoder that does not look: one such passage would spoil the order of all others."""
    put(store, passages(3))
    items, encoding = passages(3, start=10), encoding_of(["a", "b", "c"])
    if side == "dense":
        encoding.dense[1, 3] = bad
    else:
        encoding.sparse.data[encoding.sparse.indptr[1]] = bad
    with pytest.raises(EmbeddingError, match=rf"the {side} vector of passage 1 \(id 'p0011'\) holds NaN or infinity"):
        store.upsert(items, encoding)
    assert store.ids() == ["p0000", "p0001", "p0002"]
    assert len(store.search_dense(dense_of("q"), 5)) == 3


def test_an_empty_store_answers_with_nothing(store: Store) -> None:
    """Fault 24: an empty index."""
    assert store.count() == 0
    assert store.ids() == store.ids(Eq("a", 1)) == []
    assert store.search_dense(dense_of("q"), 5) == []
    assert store.search_sparse(sparse_of("q"), 5) == []
    assert store.search_dense(dense_of("q"), 5, Eq("a", 1)) == []
    assert store.delete(["a"]) == 0
    assert store.get(["a"]) == {}


def test_thousands_in_one_call(store: Store, put: Put) -> None:
    """Fault 11: more than 5,461 documents in one call."""
    items = passages(6_000)
    put(store, items)
    ids = [item.id for item in items]
    assert store.count() == 6_000
    assert store.get(ids) == {item.id: item for item in items}
    assert len(store.sparse_vectors(ids)) == 6_000
    assert store.encodings([item.text for item in items])[0] == list(range(6_000))
    assert store.delete(ids[10:]) == 5_990


def test_a_failed_write_changes_nothing(store: Store, put: Put) -> None:
    put(store, passages(2))
    too_short = encoding_of(["changed"])
    with pytest.raises((IndexError, HybridError)):
        store.upsert([Passage("p0000", "changed"), Passage("p0001", "changed too")], too_short)
    assert store.get(["p0000", "p0001"]) == {item.id: item for item in passages(2)}
    assert store.ids() == ["p0000", "p0001"]


def test_vectors_of_known_texts_are_given_back(store: Store, put: Put) -> None:
    """Fault 8: unchanged text is known, under whatever id."""
    put(store, passages(3))
    positions, encoding = store.encodings(["unknown", "text number 2", "also unknown", "text number 0"])
    assert positions == [1, 3]
    assert encoding is not None
    np.testing.assert_array_equal(encoding.dense, np.stack([dense_of("text number 2"), dense_of("text number 0")]))
    assert encoding.sparse_row(0).as_dict() == sparse_of("text number 2").as_dict()
    assert encoding.sparse_row(1).as_dict() == sparse_of("text number 0").as_dict()


def test_a_text_is_known_as_long_as_some_passage_has_it(store: Store, put: Put) -> None:
    put(store, [Passage("a", "shared"), Passage("b", "shared"), Passage("c", "shared")])
    store.delete(["c"])
    assert store.encodings(["shared"])[0] == [0]
    put(store, [Passage("b", "changed")])
    assert store.encodings(["shared"])[0] == [0]
    store.delete(["a"])
    assert store.encodings(["shared"]) == ([], None)


def test_sparse_vectors_come_back_exactly(store: Store, put: Put) -> None:
    put(store, [*passages(3), Passage("blank", "  ")])
    found = store.sparse_vectors(["p0001", "blank"])
    np.testing.assert_array_equal(found["p0001"].indices, sparse_of("text number 1").indices)
    np.testing.assert_array_equal(found["p0001"].values, sparse_of("text number 1").values)
    assert found["blank"].as_dict() == {}


def test_what_a_caller_changes_does_not_reach_the_store(store: Store) -> None:
    metadata = {"list": [1, {"k": "v"}]}
    encoding = encoding_of(["text"])
    store.upsert([Passage("a", "text", metadata)], encoding)
    metadata["list"].append(2)
    encoding.dense[:] = 0
    encoding.sparse.data[:] = 0
    store.get(["a"])["a"].metadata["list"].append(3)
    assert store.get(["a"])["a"].metadata == {"list": [1, {"k": "v"}]}
    assert store.search_dense(dense_of("text"), 1)[0].score == pytest.approx(1.0)
    assert store.sparse_vectors(["a"])["a"].as_dict() == sparse_of("text").as_dict()


def test_closing_twice_is_fine(store: Store) -> None:
    store.close()
    store.close()
