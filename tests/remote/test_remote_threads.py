"""Several requests under way, several threads, and an end to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest
from model_server import ModelServer, sleep, status, vectors

from hybrid_core import BackendUnavailableError, ModelError
from hybrid_core.encoders.remote import RemoteEncoder
from hybrid_core.http.once import Once
from hybrid_core.rerankers.remote import RemoteReranker

Serve = Callable[..., ModelServer]
EncoderOn = Callable[..., RemoteEncoder]
RerankerOn = Callable[..., RemoteReranker]


def unit(texts: list[str]) -> np.ndarray:
    rows = vectors(texts)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_batches_are_under_way_side_by_side_up_to_the_limit(serve: Serve, encoder_on: EncoderOn) -> None:
    server = serve("vllm", delay=0.1)
    texts = [f"text {i}" for i in range(24)]
    encoding = encoder_on(server, batch_size=2, concurrency=3).encode_documents(texts)
    np.testing.assert_allclose(encoding.dense, unit(texts), atol=1e-6)
    assert server.busiest == 3


def test_with_a_concurrency_of_1_nothing_is_side_by_side(serve: Serve, encoder_on: EncoderOn) -> None:
    server = serve("vllm", delay=0.02)
    encoder_on(server, batch_size=2, concurrency=1).encode_documents([f"text {i}" for i in range(12)])
    assert server.busiest == 1


def test_all_threads_together_stay_within_the_limit(serve: Serve, encoder_on: EncoderOn) -> None:
    server = serve("tei", delay=0.01)
    encoder = encoder_on(server, batch_size=2, concurrency=4)

    def ask(number: int) -> bool:
        texts = [f"thread {number} text {i}" for i in range(number % 7 + 1)]
        encoding = encoder.encode_documents(texts) if number % 2 else encoder.encode_queries(texts)
        return np.allclose(encoding.dense, unit(texts), atol=1e-6)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(60)))
    assert server.busiest <= 4
    assert [request.path for request in server.requests].count("/info") == 1


def test_threads_that_wait_for_a_server_that_is_away_fail_together(encoder_on: EncoderOn, silent_url: str) -> None:
    encoder = encoder_on(ModelServer("tei"), url=silent_url, timeout=0.3, max_retries=0)

    def ask(_: int) -> str:
        with pytest.raises(BackendUnavailableError) as caught:
            encoder.encode_queries(["x"])
        return str(caught.value)

    start = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(ask, range(16)))) == 1
    assert time.monotonic() - start < 3  # not 16 timeouts


def test_an_interrupt_of_the_one_that_asks_is_not_for_those_that_wait() -> None:
    begun, go = threading.Event(), threading.Event()

    def ask() -> int:
        begun.set()
        go.wait()
        raise KeyboardInterrupt

    fact = Once(ask)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(fact.get)
        begun.wait()
        second = pool.submit(fact.get)
        time.sleep(0.05)
        go.set()
        assert type(first.exception()) is KeyboardInterrupt
        assert type(second.exception()) is CancelledError
    fact._ask = lambda: 7
    assert fact.get() == fact.get() == 7


def test_what_failed_to_be_asked_is_asked_again(serve: Serve, encoder_on: EncoderOn) -> None:
    server = serve("tei", info_fault=status(503))
    encoder = encoder_on(server, max_retries=0)
    with pytest.raises(BackendUnavailableError, match=r"answers 503 told to fail .asked for /info"):
        encoder.encode_queries(["x"])
    server.info_fault = None
    assert len(encoder.encode_queries(["x"])) == 1


def test_threads_share_a_reranker(serve: Serve, reranker_on: RerankerOn) -> None:
    server = serve("tei", pooling="reranker", delay=0.01)
    reranker = reranker_on(server, batch_size=3, concurrency=4)

    def ask(number: int) -> bool:
        texts = ["red fox" if i % 3 == number % 3 else "hen" for i in range(10)]
        return reranker.score("red fox", texts).tolist() == [float(text == "red fox") for text in texts]

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(40)))
    assert server.busiest <= 4
    assert [request.path for request in server.requests].count("/info") == 1


def test_waiting_for_a_connection_ends_with_the_deadline(serve: Serve, encoder_on: EncoderOn) -> None:
    encoder = encoder_on(serve("vllm", delay=1.0), concurrency=1, deadline=1.2)
    encoder.fingerprint  # noqa: B018 - asked for beforehand, so that the threads below only post

    def ask(i: int) -> str:
        try:
            return f"{len(encoder.encode_queries([str(i)]))} row"
        except BackendUnavailableError as error:
            return str(error)

    with ThreadPoolExecutor(3) as pool:
        told = sorted(pool.map(ask, range(3)))
    assert told[0] == "1 row"
    waited = "was too busy with our own requests for 1.2 s"  # or got the connection with no time left for an answer
    assert all((waited in line and "raise concurrency" in line) or "did not answer" in line for line in told[1:])


def test_a_query_does_not_wait_for_all_of_a_long_run(serve: Serve, encoder_on: EncoderOn) -> None:
    server = serve("vllm", delay=0.02)
    encoder = encoder_on(server, batch_size=1, concurrency=2)
    texts = [f"text {i}" for i in range(150)]
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(encoder.encode_documents, texts)
        while len(server.posts) < 10:
            time.sleep(0.01)
        encoder.encode_queries(["quick"])
        assert not run.done()
        assert len(run.result()) == 150


def test_connections_are_kept_and_used_again(serve: Serve, encoder_on: EncoderOn) -> None:
    server = serve("vllm")
    encoder = encoder_on(server, concurrency=1)
    pool = encoder._dense._client._client._transport._pool
    for i in range(5):
        encoder.encode_queries([f"query {i}"])
    assert len(pool.connections) == 1


def test_a_closed_encoder_or_reranker_says_so(serve: Serve, encoder_on: EncoderOn, reranker_on: RerankerOn) -> None:
    server = serve("vllm")
    encoder, reranker = encoder_on(server), reranker_on(server)
    encoder.encode_queries(["x"])
    for made in (encoder, reranker):
        made.close()
        made.close()
    for ask in (
        lambda: encoder.encode_documents(["x"]),
        lambda: encoder.encode_documents(["x"] * 500),
        lambda: reranker.score("x", ["x"]),
    ):
        with pytest.raises(ModelError, match=f"the client of {server.url} has been closed; make a new one"):
            ask()


def test_closing_ends_what_is_under_way(serve: Serve, encoder_on: EncoderOn) -> None:
    server = serve("vllm", delay=0.05)
    encoder = encoder_on(server, batch_size=1, concurrency=2)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            encoder.encode_documents([f"text {i}" for i in range(400)])
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while len(server.posts) < 5:
        time.sleep(0.01)
    encoder.close()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert [type(error) for error in failures] == [ModelError]
    assert "has been closed" in str(failures[0])


def test_a_failure_calls_off_the_retries_of_the_others(serve: Serve, encoder_on: EncoderOn) -> None:
    server = serve("vllm")
    encoder = encoder_on(server, batch_size=1, concurrency=2, max_retries=50, deadline=60)
    server.faults.append(status(400))
    server.faults.extend([status(503, Retry_After="30")] * 3)
    start = time.monotonic()
    with pytest.raises(ModelError, match="400"):
        encoder.encode_documents(["a", "b", "c", "d"])
    assert time.monotonic() - start < 10
    server.faults.clear()
    assert len(encoder.encode_documents(["a", "b", "c", "d"])) == 4  # no lane is still waiting out its 30 seconds
    assert time.monotonic() - start < 10


def test_a_connection_that_the_server_let_go_is_made_anew(serve: Serve, encoder_on: EncoderOn) -> None:
    server = serve("vllm")
    encoder = encoder_on(server)
    encoder.encode_queries(["x"])
    server.faults.append(sleep(0))
    assert len(encoder.encode_queries(["y"])) == 1
