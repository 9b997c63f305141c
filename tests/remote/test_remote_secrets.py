"""Keys reach the server and nobody else."""

from __future__ import annotations

import base64
import logging
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from model_server import Fault, ModelServer, hang_up, status

from hybrid_core import BackendUnavailableError, HybridError, InvalidInputError
from hybrid_core.encoders.remote import TeiSparse
from hybrid_core.http.address import check_url
from hybrid_core.http.keys import Secret, check_key

Serve = Callable[..., ModelServer]
CANARY = "canary-3f9c1e-key"
QUOTING: list[Fault] = [
    status(code, {"error": f"your key {CANARY} is wrong", "detail": CANARY})
    for code in (400, 401, 403, 404, 422, 429, 500)
]


@pytest.fixture(params=["encoder", "reranker"])
def make(request: pytest.FixtureRequest) -> Callable[..., tuple[Any, Callable[[], Any]]]:
    """Make an encoder or a reranker, with the call that asks it."""
    if request.param == "encoder":
        made = request.getfixturevalue("encoder_on")
        return lambda *args, **options: (it := made(*args, **options), lambda: it.encode_documents(["x"]))
    made = request.getfixturevalue("reranker_on")
    return lambda *args, **options: (it := made(*args, **options), lambda: it.score("x", ["x"]))


class Hidden:
    def get_secret_value(self) -> str:
        return CANARY


@pytest.mark.parametrize("key", [CANARY, Hidden(), lambda: CANARY, Secret(CANARY)])
def test_the_key_is_sent_with_each_request(serve: Serve, make: Callable[..., Any], key: Any) -> None:
    server = serve("vllm", key=CANARY)
    _, ask = make(server, api_key=key)
    assert len(ask()) == 1
    assert {request.headers["Authorization"] for request in server.requests} == {f"Bearer {CANARY}"}


def test_a_function_is_asked_for_each_request(serve: Serve, make: Callable[..., Any]) -> None:
    keys = iter(f"key-{i}" for i in range(100))
    server = serve("vllm")
    _, ask = make(server, api_key=lambda: next(keys))
    ask()
    ask()
    sent = [request.headers["Authorization"] for request in server.requests]
    assert len(set(sent)) == len(sent) >= 2


def test_a_key_that_a_function_gave_before_is_not_shown_either(serve: Serve, make: Callable[..., Any]) -> None:
    keys = iter([CANARY, *(f"later-key-{i}" for i in range(10))])
    server = serve("vllm")
    server.info_fault = status(503)  # the encoder's first request; the reranker's is the POST
    server.faults.append(status(503))
    server.always = None
    _, ask = make(server, api_key=lambda: next(keys), max_retries=1)
    server.edit = lambda answer: [CANARY]
    for _ in range(2):
        with pytest.raises(HybridError) as caught:
            ask()
        assert CANARY not in "".join(traceback.format_exception(caught.value))
        server.info_fault = None


def test_what_a_function_gives_is_checked_and_not_shown(serve: Serve, make: Callable[..., Any]) -> None:
    server = serve("vllm")
    _, ask = make(server, api_key=lambda: f"{CANARY}\n")
    with pytest.raises(InvalidInputError, match=r"what api_key\(\) returned is not a string of printable") as caught:
        ask()
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert server.requests == []


def test_headers_are_sent_with_each_request(serve: Serve, make: Callable[..., Any]) -> None:
    server = serve("vllm")
    _, ask = make(server, headers={"api-key": CANARY, "X-Team": "docs and search"})
    ask()
    assert {request.headers["api-key"] for request in server.requests} == {CANARY}
    assert {request.headers["X-Team"] for request in server.requests} == {"docs and search"}


def test_user_and_password_in_the_url_become_a_header(serve: Serve, make: Callable[..., Any]) -> None:
    server = serve("vllm")
    it, ask = make(server, url=server.url.replace("http://", f"http://us%40er:{CANARY}@"))
    ask()
    expected = "Basic " + base64.b64encode(f"us@er:{CANARY}".encode()).decode()
    assert {request.headers["Authorization"] for request in server.requests} == {expected}
    assert CANARY not in repr(it)
    assert server.url in repr(it)


@pytest.mark.parametrize(
    "fault", [*QUOTING, hang_up, status(200, CANARY), status(200, [CANARY]), status(200, CANARY.encode())]
)
@pytest.mark.parametrize("way", ["key", "header", "url"])
def test_no_key_is_in_any_error_log_or_repr(
    serve: Serve, make: Callable[..., Any], caplog: pytest.LogCaptureFixture, fault: Fault, way: str
) -> None:
    server = serve("vllm", always=fault)
    options: dict[str, Any] = {
        "key": {"api_key": CANARY},
        "header": {"headers": {"api-key": CANARY}},
        "url": {"url": server.url.replace("http://", f"http://user:{CANARY}@")},
    }[way]
    it, ask = make(server, max_retries=1, **options)
    with caplog.at_level(logging.DEBUG), pytest.raises(HybridError) as caught:
        ask()
    told = "".join(traceback.format_exception(caught.value))
    logged = "".join(f"{record.getMessage()} {record.args!r}" for record in caplog.records)
    hidden = [CANARY, base64.b64encode(f"user:{CANARY}".encode()).decode()]
    for text in (told, logged, repr(it), str(it), repr(vars(it))):
        assert not any(secret in text for secret in hidden)
    assert server.url in told


@pytest.mark.parametrize("path", ["/info", "/embed_sparse", "/decode"])
def test_no_key_is_in_what_a_sparse_server_echoes(serve: Serve, cleanup: ExitStack, path: str) -> None:
    server = serve("tei", pooling="splade")
    side = cleanup.enter_context(TeiSparse(server.url, api_key=CANARY))
    if path == "/info":
        server.info_fault = status(200, {"model_id": CANARY, "model_type": {"embedding": {"pooling": "cls"}}})
    server.always = status(200, [[CANARY], [CANARY]])
    with pytest.raises(HybridError) as caught:
        side.tokens([1]) if path == "/decode" else side.encode_documents(["x", "y"])
    assert server.requests[-1].path == path
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_nothing_that_holds_a_key_shows_it() -> None:
    held = [Secret(CANARY), Secret(lambda: CANARY), check_key(Hidden()), check_url(f"http://user:{CANARY}@host")]
    for thing in held:
        assert CANARY not in f"{thing!r} {thing!s} {[thing]!r}"
    assert str(held[0]) == "**********"


def test_no_error_about_a_key_or_url_shows_it() -> None:
    calls: list[Callable[[], object]] = [
        lambda: check_key(f"{CANARY} x"),
        lambda: check_url(f"http://user:{CANARY}@ho st"),
        lambda: check_url(f"htp://user:{CANARY}@host"),
        lambda: check_url(f"http://host/?key={CANARY}"),
        lambda: check_url(f"http://user:{CANARY}@host:port/"),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError) as caught:
            call()
        assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_refused_key_is_named_as_such(serve: Serve, make: Callable[..., Any]) -> None:
    server = serve("vllm", key="another")
    _, ask = make(server, api_key=CANARY)
    with pytest.raises(BackendUnavailableError, match=r"refuses access to /v1/.* \(401\); check api_key=") as caught:
        ask()
    assert CANARY not in str(caught.value)


def test_no_key_is_no_header(serve: Serve, make: Callable[..., Any]) -> None:
    server = serve("vllm")
    _, ask = make(server, api_key="")
    ask()
    assert all("Authorization" not in request.headers for request in server.requests)
