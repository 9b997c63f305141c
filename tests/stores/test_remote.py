"""What every store on a database does, whichever it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agreement import ENTRIES, FILTERS, chain, check_agreement, check_filters, put
from filter_cases import ENTRIES as ANY_METADATA
from filter_cases import FILTERS as ANY_FILTER
from hypothesis import given, settings
from vectors import FINGERPRINT, dense_of, encoding_of, passages, sparse_of

from hybrid_core import (
    Contains,
    Eq,
    Filter,
    In,
    InvalidInputError,
    InvalidTextError,
    MetadataError,
    Not,
    Passage,
    StorageError,
)
from hybrid_core.filters import matches
from hybrid_core.stores.milvus import MilvusStore
from hybrid_core.stores.qdrant import QdrantStore
from hybrid_core.stores.remote.conditions import (
    ALWAYS,
    Between,
    Condition,
    Every,
    Has,
    Plain,
    Some,
    TextIs,
    Unless,
    admits,
)  # fmt: skip
from hybrid_core.stores.remote.facts import facts
from hybrid_core.stores.remote.store import RemoteStore


def holds(condition: Condition, metadata: dict[str, Any]) -> bool:
    """What a database answers."""
    tokens, orders = facts(metadata)
    match condition:
        case Has(wanted, every):
            return (all if every else any)(token in tokens for token in wanted)
        case Between(path, low, high):
            entry = orders.get(path)
            return entry is not None and (low is None or entry >= low) and (high is None or entry <= high)
        case Plain():
            return not tokens
        case Every(parts):
            return all(holds(part, metadata) for part in parts)
        case Some(parts):
            return any(holds(part, metadata) for part in parts)
        case Unless(part):
            return not holds(part, metadata)
        case TextIs():
            raise AssertionError


def exact(condition: Condition) -> bool:
    match condition:
        case Between():
            return False
        case Every(parts) | Some(parts):
            return condition != ALWAYS and all(exact(part) for part in parts)
        case Unless(part):
            return exact(part)
        case _:
            return True


@settings(max_examples=500, deadline=None)
@given(ANY_FILTER, ANY_METADATA)
def test_a_condition_admits_all_that_satisfies_the_filter(expression: Filter, metadata: dict[str, Any]) -> None:
    """Fault 33: nothing that satisfies the filter is lost by asking the database first."""
    assert holds(admits(expression), metadata) or not matches(expression, metadata)


@pytest.mark.parametrize("expression", FILTERS, ids=lambda one: type(one).__name__)
def test_a_condition_admits_all_odd_values_that_satisfy_the_filter(expression: Filter) -> None:
    condition = admits(expression)
    for entry in ENTRIES:
        for metadata in ({"a": entry}, {"b": entry}, {"": entry, "a": 1}, {'q"]': entry}, {}):
            assert holds(condition, metadata) or not matches(expression, metadata)


def test_equalities_are_answered_by_the_database_alone() -> None:
    """What is not a range or a text match costs no passage that does not satisfy it."""
    for expression in FILTERS:
        if exact(condition := admits(expression)) and "TextMatch" not in repr(expression):
            for entry in ENTRIES:
                assert holds(condition, {"a": entry}) == matches(expression, {"a": entry}), (expression, entry)
    assert exact(admits(Not(In("a", [1, "x", None]))))
    assert exact(admits(Contains("a", {"k": 1})))


def test_no_key_and_no_value_is_in_a_condition() -> None:
    for expression in FILTERS:
        assert not any(word in repr(admits(expression)) for word in ("strasse", "2024", "🙂", 'q"]', "v0", "missing"))


def test_it_agrees_with_the_exact_store_to_the_last_bit(remote: RemoteStore) -> None:
    """Fault 33: of odd ids, texts and metadata, all that comes back, scores and order are the exact store's."""
    check_agreement(remote)


def test_filters_agree_with_brute_force(remote: RemoteStore) -> None:
    """Fault 33: every operator and every type, on every engine."""
    every = 1 if "memory" in repr(remote) else 6  # all on one engine, every sixth on the others
    check_filters(remote, FILTERS[::every])


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Passage("b", "x", {"k": float("nan")}), MetadataError),
        (Passage("b", "\ud800"), InvalidTextError),
        (Passage("\ud800", "b"), InvalidTextError),
        (Passage("", "b"), InvalidInputError),
    ],
)  # fmt: skip
def test_one_bad_passage_among_many_is_found_before_anything_is_written(
    remote: RemoteStore, bad: Passage, error: type[Exception]
) -> None:
    """Fault 12: nothing of the call is written. Fault 18: a lone surrogate. Fault 22: metadata that JSON has not."""
    with pytest.raises(error):
        remote.upsert([Passage("a", "a"), bad], encoding_of(["a", "b"]))
    assert remote.count() == 0


def test_a_store_that_was_closed_says_so(remote: RemoteStore) -> None:
    put(remote, passages(2))
    remote.close()
    remote.close()
    calls: list[Callable[[], object]] = [
        remote.count, remote.ids, lambda: remote.get(["p0000"]), lambda: remote.delete(["p0000"]),
        lambda: put(remote, passages(1)), lambda: remote.encodings(["text number 1"]),
        lambda: remote.search_dense(dense_of("q"), 1), lambda: remote.search_sparse(sparse_of("text number 1"), 1),
        lambda: remote.sparse_vectors(["p0000"]),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(StorageError, match="closed; open it again"):
            call()


def test_a_store_that_another_thread_closes_in_the_middle_of_a_call_says_so(
    remote: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = remote._engine
    for method in ("query", "count"):  # Milvus counts by a query
        if hasattr(engine._client, method):
            monkeypatch.setattr(engine._client, method, lambda *args, **options: remote.close() or 1 / 0)
    with pytest.raises(StorageError, match="closed; open it again"):
        remote.count()


@pytest.mark.parametrize("store", [QdrantStore, MilvusStore])
@pytest.mark.parametrize(
    "location",
    [
        "", 5, None, "a\0b", "http://", "http:///path", "http://[::1", "http://host:99999", "http://host:0",
        "http://host:port", "http://a b", "http://\0", " http://host", "https://canary:canary@[::1?canary",
    ],
    ids=ascii,
)  # fmt: skip
def test_a_location_that_is_no_address_and_no_path_is_named_and_a_password_is_not_shown(
    store: Any, location: object
) -> None:
    with pytest.raises(InvalidInputError, match=r"location=.* is no address") as caught:
        store(location, FINGERPRINT)
    assert not any("canary" in text for text in chain(caught.value))


@pytest.mark.parametrize("store", [QdrantStore, MilvusStore])
@pytest.mark.parametrize("location", ["localhost:6333", "127.0.0.1:19530/", "qdrant.internal:6333"])
def test_an_address_without_its_scheme_is_not_taken_for_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Callable[..., RemoteStore], location: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match=rf"location='{location}' .*write 'http://{location}'"):
        store(location, FINGERPRINT)
    assert not list(tmp_path.iterdir())


def test_more_ties_than_are_asked_for_at_once_come_in_order_of_id(remote: RemoteStore) -> None:
    """Of many passages with one text, those with the least ids are the best: asking grows until that is known."""
    put(remote, [Passage(f"{(i * 37) % 150:03d}", "the same", {"n": i}) for i in range(150)] + passages(20))
    for k in (1, 40):
        expected = [f"{i:03d}" for i in range(k)]
        assert [hit.id for hit in remote.search_dense(dense_of("the same"), k)] == expected
        assert [hit.id for hit in remote.search_sparse(sparse_of("the same"), k)] == expected


def test_a_filter_that_few_satisfy_is_followed_to_the_end(remote: RemoteStore) -> None:
    """A text match is decided here: the database is asked for more until enough were found, or all were seen."""
    from hybrid_core import TextMatch

    put(remote, [Passage(f"{i:03d}", f"text {i}", {"t": "needle" if i in (7, 140) else "hay"}) for i in range(150)])
    for search, query in ((remote.search_dense, dense_of("q")), (remote.search_sparse, sparse_of("text 7"))):
        found = {hit.id for hit in search(query, 5, TextMatch("t", "NEEDLE"))}  # type: ignore[operator]
        assert found <= {"007", "140"}
        assert "007" in found
    assert remote.ids(Eq("t", "needle")) == ["007", "140"]
