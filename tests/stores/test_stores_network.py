"""Faults 26, 27 and 28 in the middle of work: a server that was there goes away, falls silent, or loses its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from agreement import put
from fake_qdrant import FakeQdrant
from flaky_proxy import FlakyProxy
from lite_server import LiteServer
from patience import PATIENT, hurried
from vectors import FINGERPRINT, dense_of, passages, sparse_of

from hybrid_core import BackendUnavailableError, Eq, Passage
from hybrid_core.stores.milvus import MilvusStore
from hybrid_core.stores.qdrant import QdrantStore
from hybrid_core.stores.remote.store import RemoteStore

SECONDS = 2
BATCH = {"Qdrant": 256, "Milvus": 500}


@pytest.fixture(params=["Qdrant", "Milvus"])
def proxied(request: pytest.FixtureRequest) -> Iterator[tuple[FlakyProxy, RemoteStore, str]]:
    """An empty store on a server, reached through a proxy that can be told to fail."""
    if request.param == "Qdrant":
        fake: FakeQdrant = request.getfixturevalue("fake_qdrant")
        proxy = FlakyProxy(fake.server.server_port)
        store: RemoteStore = QdrantStore(proxy.url, FINGERPRINT, timeout=PATIENT)
    else:
        lite: LiteServer = request.getfixturevalue("lite_server")
        proxy = FlakyProxy(lite.port)
        store = MilvusStore(proxy.url, FINGERPRINT, timeout=PATIENT)
    yield proxy, store, request.param
    store.close()
    proxy.stop()


def calls(store: RemoteStore) -> list[Callable[[], object]]:
    return [
        lambda: put(store, passages(2)),
        lambda: store.search_dense(dense_of("q"), 3, Eq("n", 1)),
        lambda: store.search_sparse(sparse_of("text number 1"), 3),
        lambda: store.delete(["p0001"]),
        lambda: store.get(["p0001"]),
        lambda: store.sparse_vectors(["p0001"]),
        lambda: store.encodings(["text number 1"]),
        store.ids,
        store.count,
    ]


def test_a_server_that_goes_away_is_named_and_found_again(proxied: tuple[FlakyProxy, RemoteStore, str]) -> None:
    """Fault 26: every call ends in BackendUnavailableError with address and remedy; the store works when it is back."""
    proxy, store, name = proxied
    put(store, passages(3))
    proxy.set("closed")
    for call in calls(store):
        with (
            hurried(store, SECONDS),
            pytest.raises(BackendUnavailableError, match=rf"{name} at {proxy.url} .*check the address"),
        ):
            call()
    proxy.set("open")
    assert store.ids() == ["p0000", "p0001", "p0002"]
    store.delete(["p0001"])
    assert store.count() == 2


def test_a_server_that_falls_silent_ends_in_an_error_in_time(proxied: tuple[FlakyProxy, RemoteStore, str]) -> None:
    """Fault 27: it accepts and never answers; nothing waits for ever."""
    proxy, store, name = proxied
    put(store, passages(3))
    proxy.set("silent")

    def outcome(call: Callable[[], object]) -> BaseException | None:
        try:
            call()
        except BaseException as error:
            return error
        return None

    asked = calls(store) if name == "Qdrant" else calls(store)[:2]  # Milvus Lite takes one call at a time
    with hurried(store, SECONDS), ThreadPoolExecutor(len(asked)) as pool:
        errors: list[Any] = list(pool.map(outcome, asked))
    for error in errors:
        assert isinstance(error, BackendUnavailableError)
        assert str(error).startswith(f"{name} at {proxy.url} did not answer within {SECONDS} s; check the address")
        assert "timeout" in str(error)
    proxy.set("open")
    assert store.count() == 3


def test_a_batch_whose_answer_was_lost_is_written_again_and_nothing_is_doubled(
    proxied: tuple[FlakyProxy, RemoteStore, str],
) -> None:
    """Fault 28: the server took the first batch and died before it said so; the same call again completes it."""
    proxy, store, name = proxied
    put(store, [Passage("p0001", "an older text", {"n": -1})])
    items = passages(BATCH[name] + 100)
    proxy.set("deaf")
    with hurried(store, SECONDS), pytest.raises(BackendUnavailableError, match=proxy.url):
        put(store, items)
    proxy.set("open")
    assert store.count() in (1, BATCH[name])  # wholly absent or wholly there
    put(store, items)
    assert store.count() == len(items)
    assert store.ids() == [item.id for item in items]
    assert store.get(["p0001"]) == {"p0001": items[1]}
    assert len(store.search_dense(dense_of("q"), 1_000)) == len(items)
    assert store.delete([item.id for item in items]) == len(items)
    assert store.count() == 0
