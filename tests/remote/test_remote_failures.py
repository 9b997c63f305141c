"""Servers that are slow, busy, gone, cut off or unwilling; each test both with an encoder and with a reranker."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest
from model_server import Fault, ModelServer, cut, hang_up, sleep, status, trickle

from hybrid_core import BackendUnavailableError, EmbeddingError, MissingDependencyError, ModelError, ModelLoadError
from hybrid_core.http.failures import seconds_to_wait, words_of

Serve = Callable[..., ModelServer]
Ask = Callable[..., Any]


@pytest.fixture(params=["encoder", "reranker"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Make an encoder or a reranker on a server, or an address, and ask it once."""
    if request.param == "encoder":
        encoder_on = request.getfixturevalue("encoder_on")
        return lambda server, **options: encoder_on(server, **options).encode_documents(["x"])
    reranker_on = request.getfixturevalue("reranker_on")
    return lambda server, **options: reranker_on(server, **options).score("x", ["x"])


@pytest.fixture
def server(serve: Serve) -> ModelServer:
    return serve("vllm")


@pytest.mark.parametrize(
    "fault",
    [
        hang_up,
        cut,
        status(429),
        status(500),
        status(502),
        status(503),
        status(504),
        status(529),
        status(408),
        status(425),
    ],
)
def test_what_may_pass_is_asked_again(server: ModelServer, ask: Ask, fault: Fault) -> None:
    server.faults.append(fault)
    assert len(ask(server)) == 1
    assert len(server.posts) == 2


def test_retries_are_told_to_the_log(server: ModelServer, ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    server.faults.append(status(503, {"error": "model is loading"}))
    with caplog.at_level(logging.WARNING, logger="hybrid_core"):
        ask(server, max_retries=2)
    [message] = [r.getMessage() for r in caplog.records if r.name.startswith("hybrid_core")]
    assert message.startswith(f"{server.url} answers 503 model is loading; attempt 1 of 3 failed, the next in ")


def test_waits_are_random_below_a_window_that_doubles_to_its_end(
    server: ModelServer, encoder_on: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybrid_core.http.client._LONGEST_WAIT", 0.15)
    server.always = status(503)
    waits: list[float] = []
    encoder = encoder_on(server, max_retries=5)
    client = encoder._dense._client
    monkeypatch.setattr(client, "_note", lambda state: waits.append(state.upcoming_sleep))
    for _ in range(4):
        with pytest.raises(BackendUnavailableError):
            encoder.encode_documents(["x"])
    windows = [0.05, 0.1, 0.15, 0.15, 0.15]
    assert len(waits) == 20
    assert all(0 <= wait <= window for wait, window in zip(waits, windows * 4, strict=True))
    assert len(set(waits)) == 20


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(503, {"error": "told to fail"}), "answers 503 told to fail .*at attempt 3.*see the server's log"),
        (status(429, {"error": "slow down"}), "answers 429 slow down .*at attempt 3.*rate limit.*lower concurrency"),
        (hang_up, "broke off .*at attempt 3.*check the address and that the server is running"),
        (cut, "broke off .*at attempt 3"),
    ],
)
def test_what_does_not_pass_ends_after_the_retries(server: ModelServer, ask: Ask, fault: Fault, words: str) -> None:
    server.always = fault
    with pytest.raises(BackendUnavailableError, match=f"^{server.url} {words}"):
        ask(server, max_retries=2)
    assert len(server.posts) == 3


def test_without_retries_there_is_one_attempt(server: ModelServer, ask: Ask) -> None:
    server.always = status(503)
    with pytest.raises(BackendUnavailableError, match=r"answers 503 told to fail .asked for /v1/"):
        ask(server, max_retries=0)
    assert len(server.posts) == 1


def test_a_closed_port_is_named(server: ModelServer, ask: Ask, closed_url: str) -> None:
    with pytest.raises(BackendUnavailableError, match=rf"^{closed_url} cannot be reached \(.*\).*check the address"):
        ask(server, url=closed_url, max_retries=1)


def test_an_unknown_host_is_named(server: ModelServer, ask: Ask) -> None:
    with pytest.raises(BackendUnavailableError, match=r"^http://nowhere.invalid:8080 cannot be reached"):
        ask(server, url="http://nowhere.invalid:8080", max_retries=0)


def test_a_server_that_never_answers_ends_in_an_error(server: ModelServer, ask: Ask, silent_url: str) -> None:
    start = time.monotonic()
    with pytest.raises(BackendUnavailableError, match=rf"^{silent_url} did not answer within 0.2 s.*longer timeout"):
        ask(server, url=silent_url, timeout=0.2, max_retries=1)
    assert 0.4 <= time.monotonic() - start < 5


def test_a_slow_answer_is_waited_for_and_a_slower_one_asked_for_again(server: ModelServer, ask: Ask) -> None:
    server.delay = 0.2
    assert len(ask(server, timeout=2)) == 1
    server.faults.append(sleep(1.5))
    assert len(ask(server, timeout=0.7)) == 1
    assert len(server.posts) == 3


def test_the_deadline_ends_what_trickles_in(server: ModelServer, ask: Ask) -> None:
    """Each byte comes within the timeout, the whole would take 50 seconds."""
    server.always = trickle
    start = time.monotonic()
    with pytest.raises(BackendUnavailableError, match=r"did not answer within 0.5 s.*pass a longer deadline="):
        ask(server, timeout=5, deadline=0.5)
    assert time.monotonic() - start < 3


def test_the_deadline_ends_the_retries(server: ModelServer, ask: Ask) -> None:
    server.always = status(503)
    start = time.monotonic()
    with pytest.raises(BackendUnavailableError, match="answers 503"):
        ask(server, max_retries=1_000, deadline=1.5)
    assert time.monotonic() - start < 3
    assert 2 <= len(server.posts) < 50


def test_retry_after_is_waited_for(server: ModelServer, ask: Ask) -> None:
    server.faults.append(status(429, Retry_After="1"))
    start = time.monotonic()
    ask(server)
    assert 1 <= time.monotonic() - start < 4


def test_a_retry_after_beyond_the_deadline_is_told_and_not_waited_for(server: ModelServer, ask: Ask) -> None:
    server.always = status(429, {"error": "quota reached"}, Retry_After="3600")
    start = time.monotonic()
    with pytest.raises(BackendUnavailableError, match="answers 429 quota reached, and asks to wait 3600 s"):
        ask(server)
    assert time.monotonic() - start < 3
    assert len(server.posts) == 1


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (status(400, {"message": "no such field"}), ModelError, r"refuses /v1/\w+ \(400 no such field\)"),
        (
            status(413, {"error": "batch size 64 > 32", "error_type": "Validation"}),
            ModelError,
            r"\(413 batch size 64 > 32\); lower batch_size, or split long texts",
        ),
        (
            status(422, {"detail": [{"loc": ["body"], "msg": "too long", "input": "secret text"}]}),
            ModelError,
            r"\(422 too long\)",
        ),
        (status(424, {"error": "Inference failed", "error_type": "Backend"}), ModelError, r"\(424 Inference failed\)"),
        (status(404, {"detail": "Not Found"}), ModelLoadError, r"does not serve /v1/\w+ \(404 Not Found\); check url"),
        (status(501, b"nope"), ModelLoadError, r"does not serve /v1/\w+ \(501 nope\)"),
        (status(307, b"", Location="http://127.0.0.1:1/"), ModelLoadError, r"redirects /v1/\w+ \(307\) elsewhere"),
        (
            status(401, {"error": "bad key"}),
            BackendUnavailableError,
            r"refuses access to /v1/\w+ \(401\); check api_key=",
        ),
        (
            status(403, {"error": "bad key"}),
            BackendUnavailableError,
            r"refuses access to /v1/\w+ \(403\); check api_key=",
        ),
    ],
)
def test_what_will_not_pass_is_told_and_not_asked_again(
    server: ModelServer, ask: Ask, fault: Fault, error: type[Exception], words: str
) -> None:
    server.always = fault
    with pytest.raises(error, match=words) as caught:
        ask(server)
    assert type(caught.value) is error
    assert str(caught.value).startswith(server.url)
    assert "secret text" not in str(caught.value)
    assert len(server.posts) == 1


def test_an_endless_answer_is_not_read_to_its_end(
    server: ModelServer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybrid_core.http.client._LARGEST", 1 << 20)
    server.always = status(200, b" " * (1 << 22))
    with pytest.raises(EmbeddingError, match="answers with more than 1 MiB"):
        ask(server)


def test_one_bad_batch_of_many_gives_nothing(serve: Serve, encoder_on: Callable[..., Any]) -> None:
    server = serve("vllm")
    server.faults.extend([status(400)])
    encoder = encoder_on(server, batch_size=1)
    with pytest.raises(ModelError, match="400 told to fail"):
        encoder.encode_documents([f"text {i}" for i in range(100)])
    time.sleep(0.1)
    asked = len(server.posts)
    assert asked < 20  # the rest was called off
    assert len(encoder.encode_documents(["x"])) == 1  # and the encoder still works
    assert len(server.posts) == asked + 1


@pytest.mark.parametrize("module", ["httpx", "tenacity"])
def test_a_missing_library_is_named_with_its_extra(
    server: ModelServer, ask: Ask, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingDependencyError, match=rf'{module} is not installed. Run: pip install "bge-hybrid\[remote\]"'
    ):
        ask(server)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("5", 5.0), (" 0.5 ", 0.5), ("0", 0.0), (None, None), ("", None), ("soon", None), ("-3", None), ("nan", None),
        ("9" * 400, None), (formatdate(1_000_030, usegmt=True), 30.0), (formatdate(999_000, usegmt=True), 0.0),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert seconds_to_wait(header, 1_000_000) == seconds


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"error": "a", "error_type": "b"}', "a"),  # text-embeddings-inference
        (b'{"error": {"message": "a", "type": "b", "code": 400}}', "a"),  # OpenAI, vLLM, Infinity
        (b'{"object": "error", "message": "a"}', "a"),  # older vLLM
        (b'{"message": "a"}', "a"),  # Cohere
        (b'{"detail": "a"}', "a"),  # Jina, Voyage
        (b'{"detail": [{"msg": "a", "input": "x"}, {"msg": "b"}]}', "a; b"),  # FastAPI
        (b"<html>\n\n<b>Bad  Gateway</b>\x00\x1b[31m", "<html> <b>Bad Gateway</b> [31m"),
        (b"", ""), (b"\xff\xfe", "\ufffd\ufffd"), (b"[" * 5_000, "[" * 300), (b'{"error": ""}', '{"error": ""}'),
    ],
)  # fmt: skip
def test_a_servers_words_are_found_where_each_api_puts_them(content: bytes, words: str) -> None:
    assert words_of(content) == words
