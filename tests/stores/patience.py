"""Waiting long for a server that answers, since a busy machine takes its time, and shortly for one that does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hybrid_core.stores.qdrant import QdrantStore
from hybrid_core.stores.remote.store import RemoteStore

PATIENT = 120


@contextmanager
def hurried(store: RemoteStore, seconds: float) -> Iterator[None]:
    """Let an open store on a server wait for so long only."""
    engine: Any = store._engine
    if isinstance(store, QdrantStore):
        waiting, name = engine._client._client.openapi_client.client._client, "timeout"  # httpx's
    else:
        waiting, name = engine, "_timeout"
    usual = getattr(waiting, name), engine._guard._timeout
    setattr(waiting, name, seconds)
    engine._guard._timeout = seconds
    yield
    setattr(waiting, name, usual[0])
    engine._guard._timeout = usual[1]
