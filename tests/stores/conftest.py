"""The stores on databases, in process, and servers that misbehave."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_qdrant import FakeQdrant
from lite_server import LiteServer
from vectors import FINGERPRINT

from hybrid_core.stores.milvus import MilvusStore
from hybrid_core.stores.qdrant import QdrantStore
from hybrid_core.stores.remote.store import RemoteStore


@pytest.fixture
def fake_qdrant() -> Iterator[FakeQdrant]:
    """A Qdrant server that can be told to fail."""
    with FakeQdrant().running() as fake:
        yield fake


@pytest.fixture
def lite_server(tmp_path: Path) -> Iterator[LiteServer]:
    """A Milvus server that can be stopped."""
    server = LiteServer(tmp_path / "served")
    yield server
    server.stop()


# a busy machine may pause a test for longer than the default timeout
@pytest.fixture(params=["qdrant-memory", "qdrant-folder", "qdrant-http", "milvus-lite"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RemoteStore]:
    """An empty store on each engine that runs here."""
    match request.param:
        case "qdrant-memory":
            made: RemoteStore = QdrantStore(":memory:", FINGERPRINT)
        case "qdrant-folder":
            made = QdrantStore(tmp_path / "qdrant", FINGERPRINT)
        case "qdrant-http":
            made = QdrantStore(request.getfixturevalue("fake_qdrant").url, FINGERPRINT, timeout=120)
        case _:
            made = MilvusStore(tmp_path / "milvus", FINGERPRINT, timeout=120)
    yield made
    made.close()


@pytest.fixture
def silent_address() -> Iterator[str]:
    """host:port of a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def closed_address() -> str:
    """host:port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"127.0.0.1:{listening.getsockname()[1]}"
