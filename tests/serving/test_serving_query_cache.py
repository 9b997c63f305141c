"""The cache of queries: least recently used goes first, within entries and bytes, and nothing in it can be changed."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from vectors import encoding_of

from hybrid_core import Encoding, InvalidInputError
from hybrid_core.encoders.query_cache import QueryCache, QueryKey, encoding_bytes, one_row


def key(text: str, *, role: str = "query", max_length: int = 512, model: str = "digest") -> QueryKey:
    return QueryKey(model, role, max_length, text)


def cache(**bounds: int) -> QueryCache[str]:
    return QueryCache(len, **bounds)


def with_multi(texts: list[str]) -> Encoding:
    """Encodings whose multi-vectors are parts of one large array, as a forward pass leaves them."""
    plain = encoding_of(texts)
    flat = np.arange(len(texts) * 3 * 4, dtype=np.float32).reshape(-1, 4)
    return Encoding(plain.dense, plain.sparse, tuple(flat[3 * i : 3 * i + 3] for i in range(len(texts))))


def test_what_was_put_in_comes_out_as_the_same_object() -> None:
    kept = cache()
    value = "an answer"
    kept.put(key("a"), value)
    assert kept.get(key("a")) is value
    assert kept.get(key("b")) is None


def test_model_role_length_and_text_all_decide() -> None:
    kept = cache()
    keys = [key("a"), key("b"), key("a", role="passage"), key("a", max_length=8), key("a", model="another")]
    for i, each in enumerate(keys):
        kept.put(each, str(i))
    assert [kept.get(each) for each in keys] == ["0", "1", "2", "3", "4"]


def test_the_least_recently_used_makes_room() -> None:
    kept = cache(entries=2)
    kept.put(key("a"), "1")
    kept.put(key("b"), "2")
    kept.get(key("a"))
    kept.put(key("c"), "3")
    assert [kept.get(key(text)) for text in "abc"] == ["1", None, "3"]
    assert len(kept) == 2


def test_bytes_of_text_and_value_are_bounded_by_hand() -> None:
    text = sys.getsizeof("a")
    kept = cache(most_bytes=2 * (text + 10))
    kept.put(key("a"), "x" * 10)
    kept.put(key("b"), "x" * 10)
    assert (len(kept), kept.nbytes) == (2, 2 * (text + 10))
    kept.put(key("c"), "x" * 11)  # one byte over: the two oldest go
    assert [kept.get(key(each)) is None for each in "abc"] == [True, True, False]
    assert kept.nbytes == text + 11


def test_a_value_beyond_the_bound_is_not_kept_and_replaces_what_there_was() -> None:
    kept = cache(most_bytes=200)
    kept.put(key("a"), "x")
    kept.put(key("b"), "x")
    kept.put(key("a"), "x" * 1_000)
    assert kept.get(key("a")) is None
    assert kept.get(key("b")) == "x"
    kept.clear()
    assert (len(kept), kept.nbytes) == (0, 0)


def test_a_value_put_again_is_counted_once() -> None:
    kept = cache()
    for _ in range(5):
        kept.put(key("a"), "xyz")
    assert (len(kept), kept.nbytes) == (1, 3 + sys.getsizeof("a"))


@pytest.mark.parametrize("bounds", [{"entries": 0}, {"most_bytes": 0}])
def test_a_bound_of_nothing_keeps_nothing(bounds: dict[str, int]) -> None:
    kept = cache(**bounds)
    kept.put(key("a"), "x")
    assert kept.get(key("a")) is None
    assert kept  # an empty cache is a cache


@pytest.mark.parametrize("name", ["entries", "most_bytes"])
def test_bounds_below_nothing_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name}=-1"):
        cache(**{name: -1})


def test_eight_threads_leave_the_count_right() -> None:
    kept = cache(entries=50)

    def work(i: int) -> None:
        for n in range(2_000):
            kept.put(key(str((i * n) % 90)), "x" * (n % 7))
            kept.get(key(str(n % 90)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    held = [(text, kept.get(key(text))) for text in map(str, range(90))]
    assert len(kept) == 50
    assert kept.nbytes == sum(len(value) + sys.getsizeof(text) for text, value in held if value is not None)


def test_one_row_equals_the_row_and_shares_nothing_with_the_batch() -> None:
    batch = with_multi(["a worker", "a gateway", "a queue"])
    row = one_row(batch, 1)
    np.testing.assert_array_equal(row.dense, batch.dense[1:2])
    np.testing.assert_array_equal(row.sparse.toarray(), batch.sparse.toarray()[1:2])
    np.testing.assert_array_equal((row.multi or ())[0], (batch.multi or ())[1])
    arrays = [row.dense, row.sparse.data, row.sparse.indices, *(row.multi or ())]
    for array in arrays:
        assert array.base is None or array.base.nbytes == array.nbytes
        assert not array.flags.writeable
    assert encoding_bytes(row) == sum(array.nbytes for array in arrays) + row.sparse.indptr.nbytes
    assert one_row(encoding_of(["a", "b"]), 0).multi is None


def test_a_joined_answer_is_the_callers_own() -> None:
    row = one_row(with_multi(["a worker", "a gateway"]), 0)
    before = row.dense.copy(), row.sparse.toarray()
    answer = Encoding.join([row, row], multi=True)
    answer.dense[:] = 0
    answer.sparse.data[:] = 0
    (answer.multi or ())[0][:] = 0
    np.testing.assert_array_equal(row.dense, before[0])
    np.testing.assert_array_equal(row.sparse.toarray(), before[1])
    with pytest.raises(ValueError, match="read-only"):
        row.dense[:] = 0
