"""Model servers on 127.0.0.1, and encoders on them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from model_server import ModelServer
from word_counts import WordCounts

from hybrid_core.encoders.remote import RemoteEncoder
from hybrid_core.rerankers.remote import RemoteReranker

MakeServer = Callable[..., ModelServer]
MakeEncoder = Callable[..., RemoteEncoder]
MakeReranker = Callable[..., RemoteReranker]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the usual waits before retries."""
    monkeypatch.setattr("hybrid_core.http.client._FIRST_WAIT", 0.05)


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(cleanup: ExitStack) -> MakeServer:
    """Start a server; arguments as in ModelServer."""

    def make(style: str = "tei", **options: Any) -> ModelServer:
        return cleanup.enter_context(ModelServer(style, **options).running())

    return make


@pytest.fixture
def server(serve: MakeServer) -> ModelServer:
    """text-embeddings-inference with dense vectors."""
    return serve()


@pytest.fixture
def encoder_on(cleanup: ExitStack) -> MakeEncoder:
    """An encoder on a server, with word counts as its sparse side."""

    def make(server: ModelServer, **options: Any) -> RemoteEncoder:
        options = {"api": server.style, "sparse": WordCounts(), "timeout": 5, "deadline": 20, **options}
        if server.style == "openai":
            options.setdefault("model", server.model)
        return cleanup.enter_context(RemoteEncoder(options.pop("url", server.url), **options))

    return make


@pytest.fixture
def reranker_on(cleanup: ExitStack) -> MakeReranker:
    """A reranker on a server."""

    def make(server: ModelServer, **options: Any) -> RemoteReranker:
        options = {"api": server.style, "timeout": 5, "deadline": 20, **options}
        if server.style in ("cohere", "jina", "voyage"):
            options.setdefault("model", "test/reranker")
        return cleanup.enter_context(RemoteReranker(options.pop("url", server.url), **options))

    return make


@pytest.fixture
def closed_url() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def silent_url() -> Iterator[str]:
    """An address that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
