"""The same against real servers: skipped unless the environment names one on this machine.

BGE_HYBRID_QDRANT_URL (and BGE_HYBRID_QDRANT_API_KEY), BGE_HYBRID_MILVUS_URI (and BGE_HYBRID_MILVUS_TOKEN).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from agreement import FILTERS, check_agreement, check_filters, put
from vectors import FINGERPRINT, dense_of, passages, sparse_of

from hybrid_core import Gte, ModelMismatchError
from hybrid_core.stores.milvus import MilvusStore
from hybrid_core.stores.qdrant import QdrantStore
from hybrid_core.stores.remote.store import RemoteStore

Open = Callable[..., RemoteStore]


def qdrant(name: str, fingerprint: Any) -> RemoteStore:
    key = os.environ.get("BGE_HYBRID_QDRANT_API_KEY")
    url = os.environ["BGE_HYBRID_QDRANT_URL"]
    return QdrantStore(url, fingerprint, collection=name, api_key=key, timeout=60, exact=True, indexed=["n"])


def milvus(name: str, fingerprint: Any) -> RemoteStore:
    token = os.environ.get("BGE_HYBRID_MILVUS_TOKEN")
    url = os.environ["BGE_HYBRID_MILVUS_URI"]
    return MilvusStore(url, fingerprint, collection=name, token=token, timeout=60, exact=True)


def server(name: str, open_: Open, variable: str) -> Any:
    skip = pytest.mark.skipif(variable not in os.environ, reason=f"{variable} names no running server")
    return pytest.param(open_, id=name, marks=[pytest.mark.server, skip])


@pytest.fixture(
    params=[server("qdrant", qdrant, "BGE_HYBRID_QDRANT_URL"), server("milvus", milvus, "BGE_HYBRID_MILVUS_URI")]
)
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens one collection of its own, which goes in the end."""
    name = f"bge_hybrid_test_{uuid.uuid4().hex}"
    yield lambda fingerprint=FINGERPRINT: request.param(name, fingerprint)
    client: Any = request.param(name, FINGERPRINT)._engine._client
    (client.delete_collection if hasattr(client, "delete_collection") else client.drop_collection)(name)
    client.close()


def test_it_agrees_with_the_exact_store_to_the_last_bit(opened: Open) -> None:
    store = opened()
    check_agreement(store)
    store.close()


def test_filters_agree_with_brute_force(opened: Open) -> None:
    store = opened()
    check_filters(store, FILTERS)
    store.close()


def test_thousands_in_one_call(opened: Open) -> None:
    store = opened()
    items = passages(5_000)
    put(store, items)
    assert store.count() == 5_000
    assert store.ids(Gte("n", 4_990)) == [item.id for item in items[4_990:]]
    assert len(store.search_dense(dense_of("q"), 6_000)) == 5_000
    assert store.search_sparse(sparse_of("text number 77"), 1)[0].id == "p0077"
    assert store.delete([item.id for item in items]) == 5_000
    assert store.ids() == []
    store.close()


def test_it_is_reopened_and_refuses_another_model(opened: Open) -> None:
    store = opened()
    put(store, passages(3))
    store.close()
    again = opened()
    assert again.ids() == ["p0000", "p0001", "p0002"]
    with pytest.raises(ModelMismatchError):
        opened(replace(FINGERPRINT, digest="4567"))
    again.delete(again.ids())
    again.close()
