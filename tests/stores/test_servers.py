"""The contract of every store, against real servers: skipped unless the environment names one, here or elsewhere.

BGE_HYBRID_QDRANT_URL (and BGE_HYBRID_QDRANT_API_KEY), BGE_HYBRID_MILVUS_URI (and BGE_HYBRID_MILVUS_TOKEN). Each test
empties a collection of its own, which goes in the end.
"""

from __future__ import annotations

import inspect
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from agreement import FILTERS, check_agreement, check_filters
from agreement import put as write
from vectors import FINGERPRINT, dense_of, passages, sparse_of

from hybrid_core import Gte, ModelMismatchError, Passage, Store
from hybrid_core.stores.milvus import MilvusStore
from hybrid_core.stores.qdrant import QdrantStore
from hybrid_core.stores.remote.store import RemoteStore

sys.path.append(str(Path(__file__).parents[1] / "core"))  # where the contract is, if this file runs alone

import test_stores
import test_stores_round_trip
import test_stores_search
from test_stores_search import filled

Open = Callable[..., RemoteStore]


def qdrant(name: str, fingerprint: Any = FINGERPRINT) -> RemoteStore:
    key = os.environ.get("BGE_HYBRID_QDRANT_API_KEY")
    url = os.environ["BGE_HYBRID_QDRANT_URL"]
    return QdrantStore(url, fingerprint, collection=name, api_key=key, timeout=60, exact=True, indexed=["n", "a"])


def milvus(name: str, fingerprint: Any = FINGERPRINT) -> RemoteStore:
    token = os.environ.get("BGE_HYBRID_MILVUS_TOKEN")
    url = os.environ["BGE_HYBRID_MILVUS_URI"]
    return MilvusStore(url, fingerprint, collection=name, token=token, timeout=60, exact=True, indexed=["n", "a"])


SERVERS: dict[str, Open] = {"BGE_HYBRID_QDRANT_URL": qdrant, "BGE_HYBRID_MILVUS_URI": milvus}
FOUND = [pytest.param(SERVERS[name], id=SERVERS[name].__name__) for name in SERVERS if name in os.environ]
if not FOUND:
    pytest.skip(f"none of {', '.join(SERVERS)} names a running server", allow_module_level=True)

HOSTS = [urlsplit(os.environ[name]).hostname for name in SERVERS if name in os.environ]
pytestmark = [pytest.mark.server, pytest.mark.allow_hosts(["127.0.0.1", "::1", *filter(None, HOSTS)])]
__all__ = ["filled"]

# every test of the contract that takes a store, with the fixtures of this file
for module in (test_stores, test_stores_round_trip, test_stores_search):
    for name, test in vars(module).items():
        if name.startswith("test_") and {"store", "filled"} & inspect.signature(test).parameters.keys():
            globals()[name] = test


@pytest.fixture(params=FOUND, scope="module")
def collection(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens one collection, always the same."""
    name = f"bge_hybrid_test_{uuid.uuid4().hex}"
    yield lambda fingerprint=FINGERPRINT: request.param(name, fingerprint)
    client: Any = request.param(name)._engine._client
    (client.delete_collection if hasattr(client, "delete_collection") else client.drop_collection)(name)
    client.close()


@pytest.fixture
def store(collection: Open) -> Iterator[RemoteStore]:
    """That collection, empty."""
    opened = collection()
    opened.delete(opened.ids())
    yield opened
    opened.close()


@pytest.fixture(params=FOUND, scope="module")
def shared_store(request: pytest.FixtureRequest) -> Iterator[RemoteStore]:
    """Another one, filled once."""
    name = f"bge_hybrid_test_{uuid.uuid4().hex}"
    opened = request.param(name)
    yield opened
    opened.delete(opened.ids())
    client: Any = opened._engine._client
    (client.delete_collection if hasattr(client, "delete_collection") else client.drop_collection)(name)
    opened.close()


@pytest.fixture
def put() -> Callable[[Store, list[Passage]], None]:
    """Write passages with the vectors of their texts."""
    return write


def test_it_agrees_with_the_exact_store_to_the_last_bit(store: RemoteStore) -> None:
    check_agreement(store)


def test_filters_agree_with_brute_force(store: RemoteStore) -> None:
    """Fault 33: every operator and type, on a server."""
    check_filters(store, FILTERS)


def test_thousands_are_filtered_searched_and_deleted(store: RemoteStore) -> None:
    items = passages(5_000)
    write(store, items)
    assert store.ids(Gte("n", 4_990)) == [item.id for item in items[4_990:]]
    assert len(store.search_dense(dense_of("q"), 6_000)) == 5_000
    assert store.search_sparse(sparse_of("text number 77"), 1)[0].id == "p0077"
    assert store.delete([item.id for item in items]) == 5_000
    assert store.ids() == []


def test_it_is_reopened_and_refuses_another_model(collection: Open, store: RemoteStore) -> None:
    """Fault 9: on a server."""
    write(store, passages(3))
    again = collection()
    assert again.ids() == ["p0000", "p0001", "p0002"]
    again.close()
    with pytest.raises(ModelMismatchError):
        collection(replace(FINGERPRINT, digest="4567"))
