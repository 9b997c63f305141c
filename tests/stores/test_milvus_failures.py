"""Milvus servers that are not there, never answer, die or refuse."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from agreement import chain, check_agreement, put
from lite_server import LiteServer
from patience import PATIENT, hurried
from vectors import FINGERPRINT, dense_of, passages, sparse_of

from hybrid_core import (
    BackendUnavailableError,
    Gt,
    StorageError,
)  # fmt: skip
from hybrid_core.stores.milvus import MilvusStore
from hybrid_core.stores.milvus.errors import MilvusGuard

CANARY = "canary-3f9c1e"


def test_the_same_over_a_url(lite_server: LiteServer) -> None:
    store = MilvusStore(lite_server.url, FINGERPRINT, collection="over_http")
    check_agreement(store)
    store.close()


def test_a_closed_port_and_an_unknown_host_are_named(closed_address: str) -> None:
    """Fault 26: nobody listens, or the name is unknown."""
    for url in (f"http://{closed_address}", "http://nowhere.invalid:19530"):
        with pytest.raises(BackendUnavailableError, match=rf"Milvus at {url} cannot be reached .*; check the address"):
            MilvusStore(url, FINGERPRINT, timeout=1)


def test_a_server_that_never_answers_ends_in_an_error(silent_address: str) -> None:
    """Fault 27: it accepts and never answers; the default timeout is 10 s."""
    assert inspect.signature(MilvusStore).parameters["timeout"].default == 10
    start = time.monotonic()
    with pytest.raises(BackendUnavailableError, match=rf"Milvus at http://{silent_address} did not answer within 1 s"):
        MilvusStore(f"http://{silent_address}", FINGERPRINT, timeout=1)
    assert time.monotonic() - start < 30  # not for ever


def test_a_server_that_dies_in_the_middle_leaves_nothing_doubled(
    lite_server: LiteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 28: the first batch is there, whole; the same call again completes it."""
    store = MilvusStore(lite_server.url, FINGERPRINT, timeout=PATIENT)
    client: Any = store._engine._client  # type: ignore[attr-defined]
    upsert, calls = client.upsert, []

    def dying(*args: Any, **options: Any) -> Any:
        calls.append(len(options["data"]))
        if len(calls) == 2:
            lite_server.stop()
            options["timeout"] = 1
        return upsert(*args, **options)

    items = passages(1_200)
    with monkeypatch.context() as patch:
        patch.setattr(client, "upsert", dying)
        with pytest.raises(BackendUnavailableError, match=lite_server.url):
            put(store, items)
    assert calls == [500, 500]
    with hurried(store, 1), pytest.raises(BackendUnavailableError):
        store.count()
    lite_server.start()
    again = MilvusStore(lite_server.url, FINGERPRINT, timeout=PATIENT)
    assert again.count() == 500
    for one in (again, store):  # a new one, and the one that saw the server die
        put(one, items)
        assert one.count() == 1_200
        assert one.ids() == [item.id for item in items]
        assert len(one.search_dense(dense_of("q"), 2_000)) == 1_200
        one.close()


def test_a_token_is_never_shown(
    lite_server: LiteServer, closed_address: str, silent_address: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    with_user = lite_server.url.replace("http://", f"http://{CANARY}:{CANARY}@")
    store = MilvusStore(with_user, FINGERPRINT, token=f"root:{CANARY}", timeout=PATIENT)
    put(store, passages(2))
    shown = [repr(store), str(store), repr(vars(store))]
    lite_server.stop()
    for call in (
        store.count,
        lambda: MilvusStore(with_user, FINGERPRINT, token=CANARY, timeout=1),
        lambda: MilvusStore(f"http://{CANARY}:{CANARY}@{closed_address}", FINGERPRINT, token=CANARY, timeout=1),
        lambda: MilvusStore(f"http://{silent_address}", FINGERPRINT, token=CANARY, timeout=1),
    ):
        with hurried(store, 1), pytest.raises(BackendUnavailableError) as caught:
            call()
        shown += chain(caught.value)
    store.close()
    lite_server.start()
    assert not any(CANARY in text for text in shown)
    assert CANARY not in caplog.text
    assert not any(CANARY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_what_a_server_answers_is_told() -> None:
    import grpc
    from pymilvus.exceptions import MilvusException

    guard = MilvusGuard("Milvus at x", 3)
    for error, kind, words in (
        (
            MilvusException(1800, "auth check failure, please check username and password"),
            BackendUnavailableError,
            "token=",
        ),
        (MilvusException(2, "Fail connecting to server"), BackendUnavailableError, "cannot be reached"),
        (MilvusException(grpc.StatusCode.UNAVAILABLE, "down"), BackendUnavailableError, "cannot be reached"),
        (MilvusException(1, "[query] Retry timeout: 3s"), BackendUnavailableError, "within 3 s"),
        (
            MilvusException(8, "[upsert] Retry timeout: 3s, message=please retry later: rate limit exceeded[rate=0]"),
            BackendUnavailableError,
            "overloaded .*rate limit exceeded.*; try again later",
        ),
        (MilvusException(grpc.StatusCode.PERMISSION_DENIED, "privilege deny"), BackendUnavailableError, "token="),
        (MilvusException(9, "disk quota exhausted, please allocate more resources"), StorageError, "no space left"),
        (MilvusException(100, "collection not found"), StorageError, "refuses the request .100: collection not found"),
    ):
        with pytest.raises(kind, match=words), guard:
            raise error
    with pytest.raises(ZeroDivisionError), guard:
        raise ZeroDivisionError


def test_eight_threads_write_and_search_at_once(tmp_path: Path) -> None:
    """Fault 6: exact counts."""
    store = MilvusStore(tmp_path / "m", FINGERPRINT)
    errors: list[BaseException] = []

    def work(i: int) -> None:
        try:
            put(store, passages(10, start=10 * i))
            store.search_dense(dense_of("q"), 5, Gt("n", 3))
            store.search_sparse(sparse_of("text number 3"), 5)
            store.delete([f"p{10 * i:04d}"])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.count() == 72
    store.close()
