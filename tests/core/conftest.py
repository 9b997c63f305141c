"""The stores that pass the contract suite; a new one is one more entry here."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from big_corpus import CORPUS, MODEL, ROWS
from big_corpus import write as write_corpus
from vectors import FINGERPRINT, encoding_of

from hybrid_core import BgeM3Encoder, Fingerprint, HybridIndex, Passage, Store
from hybrid_core.stores.embedded import EmbeddedStore
from hybrid_core.stores.memory import MemoryStore
from hybrid_core.stores.milvus import MilvusStore
from hybrid_core.stores.qdrant import QdrantStore

STORES: dict[str, Callable[[Path, Fingerprint], Store]] = {
    "memory": lambda folder, fingerprint: MemoryStore(fingerprint),
    "embedded": EmbeddedStore,
    "milvus": lambda folder, fingerprint: MilvusStore(folder, fingerprint, timeout=120),  # a busy machine is slow
    "qdrant": lambda folder, fingerprint: QdrantStore(":memory:", fingerprint),
}


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each kind."""
    made = STORES[request.param](tmp_path / "index", FINGERPRINT)
    yield made
    made.close()


@pytest.fixture(params=list(STORES), scope="module")
def shared_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store of each kind that the tests of a module fill once and then only read."""
    made = STORES[request.param](tmp_path_factory.mktemp("stores") / "index", FINGERPRINT)
    yield made
    made.close()


@pytest.fixture
def put() -> Callable[[Store, list[Passage]], None]:
    """Write passages with the vectors of their texts."""

    def write(store: Store, items: list[Passage]) -> None:
        store.upsert(items, encoding_of([item.text for item in items]))

    return write


@pytest.fixture(params=list(STORES))
def index(request: pytest.FixtureRequest, tmp_path: Path, encoder: BgeM3Encoder) -> Iterator[HybridIndex]:
    """An empty index over each kind of store."""
    with HybridIndex(STORES[request.param](tmp_path / "index", encoder.fingerprint), encoder=encoder) as made:
        yield made


@pytest.fixture(scope="session")
def built_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index whose rows are all folded into HNSW, closed. Not to be written to."""
    folder = tmp_path_factory.mktemp("dense") / "index"
    store = EmbeddedStore(folder, MODEL)
    write_corpus(store, range(ROWS), CORPUS)
    assert store.optimize() == ROWS
    store.close()
    return folder


@pytest.fixture
def folded_index(built_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folded index, for one test; its HNSW is asked, few as its rows are."""
    monkeypatch.setattr("hybrid_core.stores.embedded.snapshot._EXACT", 5_000)
    return Path(shutil.copytree(built_index, tmp_path / "folded"))
