"""Checkpoints of sentence-transformers that the tests share, and the stores that keep frequencies."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sentence_checkpoints import PROMPTS, write_dense, write_splade

sys.path.append(str(Path(__file__).parents[1] / "stores"))  # the server that speaks Qdrant's REST

from hybrid_core import Fingerprint, Store
from hybrid_core.stores.embedded import EmbeddedStore
from hybrid_core.stores.memory import MemoryStore
from hybrid_core.stores.qdrant import QdrantStore

Open = Callable[[Fingerprint], Store]


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BERT, the mean of its states, with prompts."""
    return write_dense(tmp_path_factory.mktemp("models") / "bert", prompts=PROMPTS)


@pytest.fixture(scope="session")
def xlm_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """XLM-RoBERTa, its CLS state, with prompts."""
    return write_dense(tmp_path_factory.mktemp("models") / "xlmr", "xlm-roberta", pooling="cls", prompts=PROMPTS)


@pytest.fixture(scope="session")
def splade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SPLADE over a BERT."""
    return write_splade(tmp_path_factory.mktemp("models") / "splade")


@pytest.fixture(scope="session")
def free_splade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SPLADE for passages, a table of weights for queries."""
    return write_splade(tmp_path_factory.mktemp("models") / "free", free=True)


@pytest.fixture(params=["memory", "embedded", "qdrant-memory", "qdrant-folder", "qdrant-http"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Open a store of each kind that keeps inverse document frequencies; called again, the same one anew."""
    last: list[Store] = []

    def open_(fingerprint: Fingerprint) -> Store:
        if last and request.param in ("memory", "qdrant-memory"):
            return last[0]  # there is nothing to open again
        while last:
            last.pop().close()
        match request.param:
            case "memory":
                made: Store = MemoryStore(fingerprint)
            case "embedded":
                made = EmbeddedStore(tmp_path / "embedded", fingerprint)
            case "qdrant-memory":
                made = QdrantStore(":memory:", fingerprint)
            case "qdrant-folder":
                made = QdrantStore(tmp_path / "qdrant", fingerprint)
            case _:
                made = QdrantStore(request.getfixturevalue("served_qdrant"), fingerprint)
        last.append(made)
        return made

    yield open_
    for store in last:
        store.close()


@pytest.fixture
def served_qdrant() -> Iterator[str]:
    """The address of a Qdrant server."""
    from idf_server import IdfQdrant

    with IdfQdrant().running() as server:
        yield server.url
