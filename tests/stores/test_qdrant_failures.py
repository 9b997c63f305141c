"""Qdrant servers that are not there, never answer, die or refuse."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from pathlib import Path

import pytest
from agreement import chain, put
from fake_qdrant import FakeQdrant
from httpx import Headers
from qdrant_client.http.exceptions import UnexpectedResponse
from vectors import FINGERPRINT, dense_of, passages, sparse_of

from hybrid_core import (
    BackendUnavailableError,
    Gt,
    InvalidInputError,
    Passage,
    StorageError,
    StorageFullError,
)  # fmt: skip
from hybrid_core.http.keys import Secret
from hybrid_core.stores.qdrant import QdrantStore
from hybrid_core.stores.qdrant.errors import QdrantGuard

CANARY = "canary-3f9c1e"


def test_a_closed_port_and_an_unknown_host_are_named(closed_address: str) -> None:
    """Fault 26: nobody listens, or the name is unknown."""
    for url in (f"http://{closed_address}", "http://nowhere.invalid:6333"):
        with pytest.raises(BackendUnavailableError, match=rf"Qdrant at {url} cannot be reached .*; check the address"):
            QdrantStore(url, FINGERPRINT, timeout=1)


def test_a_server_that_never_answers_ends_in_an_error(silent_address: str) -> None:
    """Fault 27: it accepts and never answers; the default timeout is 10 s."""
    assert inspect.signature(QdrantStore).parameters["timeout"].default == 10
    start = time.monotonic()
    with pytest.raises(BackendUnavailableError, match=rf"Qdrant at http://{silent_address} did not answer within 1 s"):
        QdrantStore(f"http://{silent_address}", FINGERPRINT, timeout=0.2)
    assert time.monotonic() - start < 30  # not for ever


@pytest.mark.parametrize("moment", ["dies_before", "dies_after"])
def test_a_server_that_dies_in_the_middle_leaves_nothing_doubled(fake_qdrant: FakeQdrant, moment: str) -> None:
    """Fault 28: two of four batches are there, whole; the same call again completes it."""
    store = QdrantStore(fake_qdrant.url, FINGERPRINT)
    put(store, passages(10))
    items = passages(900)
    setattr(fake_qdrant, moment, 2)
    with pytest.raises(BackendUnavailableError, match="cannot be reached"):
        put(store, items)
    setattr(fake_qdrant, moment, None)
    assert store.count() == 256 * (2 if moment == "dies_before" else 3)
    put(store, items)
    assert store.count() == 900
    assert store.ids() == [item.id for item in items]
    assert len(store.search_dense(dense_of("q"), 2_000)) == 900


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, BackendUnavailableError, "refuses access; check api_key="),
        (403, BackendUnavailableError, "refuses access; check api_key="),
        (429, BackendUnavailableError, "not available"),
        (503, BackendUnavailableError, "not available"),
        (507, StorageFullError, "no space left"),
        (408, BackendUnavailableError, "not available"),
        (413, StorageError, "max_request_size_mb"),
        (400, StorageError, "told to fail"),
        (500, StorageError, "told to fail"),
    ],
)
def test_what_a_server_answers_is_told(
    fake_qdrant: FakeQdrant, status: int, error: type[Exception], words: str
) -> None:
    store = QdrantStore(fake_qdrant.url, FINGERPRINT)
    fake_qdrant.status = status
    for call in (store.count, lambda: put(store, passages(1)), lambda: store.search_dense(dense_of("q"), 1)):
        with pytest.raises(error, match=words):
            call()
    fake_qdrant.status = None
    assert store.count() == 0


@pytest.mark.parametrize("seconds", ["7", "Fri, 31 Dec 1999 23:59:59 GMT", "soon"])
def test_an_overloaded_server_is_told_whatever_it_says_of_when_to_come_back(
    fake_qdrant: FakeQdrant, seconds: str
) -> None:
    """RFC 9110 lets Retry-After be a date, which qdrant-client does not read."""
    store = QdrantStore(fake_qdrant.url, FINGERPRINT)
    fake_qdrant.status, fake_qdrant.retry_after = 429, seconds
    with pytest.raises(BackendUnavailableError, match=r"overloaded \(.*\); try again later"):
        store.count()


def test_a_server_in_strict_mode_says_which_option_helps() -> None:
    guard = QdrantGuard("Qdrant at http://x", 3)
    body = b'{"status": {"error": "Bad request: Index required but not found for \\"bge_hybrid.orders.n0\\""}}'
    with pytest.raises(StorageError, match="name them in indexed="), guard:
        raise UnexpectedResponse(400, "Bad Request", body, Headers())


def test_a_server_that_is_not_qdrant_is_named(fake_qdrant: FakeQdrant) -> None:
    fake_qdrant.status = 200  # with a body that is no answer
    with pytest.raises(BackendUnavailableError, match="not Qdrant's; check the address"):
        QdrantStore(fake_qdrant.url, FINGERPRINT)


def test_a_server_that_keeps_no_fingerprint_is_too_old(fake_qdrant: FakeQdrant) -> None:
    fake_qdrant.metadata = False
    with pytest.raises(StorageError, match=r"Qdrant 1\.16 or newer is needed"):
        QdrantStore(fake_qdrant.url, FINGERPRINT)


def test_a_passage_too_large_for_a_request_is_refused_before_anything_is_written(fake_qdrant: FakeQdrant) -> None:
    store = QdrantStore(fake_qdrant.url, FINGERPRINT)
    with pytest.raises(InvalidInputError, match=r"id 'big' takes 31,000,\d\d\d bytes .* split the text"):
        put(store, [Passage("small", "x"), Passage("big", "x" * 31_000_000)])
    assert store.count() == 0
    put(store, [Passage(f"{i}", f"{i}" + "x" * 5_000_000) for i in range(3)])  # in requests that a server takes
    assert store.count() == 3


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection:UserWarning")
def test_an_api_key_is_sent_and_never_shown(
    fake_qdrant: FakeQdrant, closed_address: str, silent_address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    fake_qdrant.key = CANARY
    store = QdrantStore(fake_qdrant.url, FINGERPRINT, api_key=CANARY)
    put(store, passages(2))
    with_user = fake_qdrant.url.replace("http://", f"http://{CANARY}@")
    assert QdrantStore(with_user, FINGERPRINT, api_key=Secret(CANARY)).count() == 2
    shown = [repr(store), str(store), repr(vars(store)), repr(Secret(CANARY)), str(Secret(CANARY))]
    fake_qdrant.key = "another"
    for call in (
        store.count,
        lambda: QdrantStore(with_user, FINGERPRINT, api_key=CANARY),
        lambda: QdrantStore(f"http://{CANARY}:{CANARY}@{closed_address}/?{CANARY}", FINGERPRINT, api_key=CANARY),
        lambda: QdrantStore(f"http://{silent_address}", FINGERPRINT, api_key=CANARY, timeout=1),
    ):
        with pytest.raises(BackendUnavailableError) as caught:
            call()
        shown += chain(caught.value)
    assert not any(CANARY in text for text in shown)
    assert CANARY not in caplog.text


@pytest.mark.parametrize("kind", ["memory", "folder", "http"])
def test_eight_threads_write_and_search_at_once(kind: str, tmp_path: Path, fake_qdrant: FakeQdrant) -> None:
    """Fault 6: exact counts."""
    location = {"memory": ":memory:", "folder": str(tmp_path / "q"), "http": fake_qdrant.url}[kind]
    store = QdrantStore(location, FINGERPRINT)
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
