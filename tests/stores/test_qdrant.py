"""QdrantStore: opening, another model, other programs' collections."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from agreement import put
from fake_qdrant import FakeQdrant
from qdrant_client import QdrantClient, models
from vectors import DIMENSION, FINGERPRINT, dense_of, encoding_of, passages, sparse_of

from hybrid_core import (
    BgeM3Encoder,
    Eq,
    Gt,
    HybridIndex,
    IndexLockedError,
    InvalidInputError,
    MissingDependencyError,
    ModelMismatchError,
    Not,
    Passage,
    StorageError,
    Store,
)  # fmt: skip
from hybrid_core.stores.qdrant import QdrantNames, QdrantStore

OTHER = replace(FINGERPRINT, model="another model", digest="4567")


def test_it_is_a_store_and_importing_it_loads_no_client() -> None:
    store = QdrantStore(":memory:", FINGERPRINT)
    assert isinstance(store, Store)
    store.close()
    code = "import sys, hybrid_core.stores.qdrant; sys.exit('qdrant_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_the_client_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "bge-hybrid\[qdrant\]"'):
        QdrantStore(":memory:", FINGERPRINT)


def test_an_index_over_it_searches_and_explains(encoder: BgeM3Encoder) -> None:
    with HybridIndex(QdrantStore(":memory:", encoder.fingerprint), encoder=encoder) as index:
        index.add(["A worker pulls tasks from the queue.", "网关在这里配置限流。"], ids=["en", "zh"])
        hit = index.explain("how does a worker get tasks?", k=1)[0]
        assert hit.passage.id == "en"
        assert sum(match.score for match in hit.matches) == hit.stages["sparse"].score


# qdrant-client leaves its lock file to the garbage collector when the folder is in use
@pytest.mark.filterwarnings("ignore:unclosed file.*lock:ResourceWarning")
def test_a_folder_is_reopened_with_all_that_was_written(tmp_path: Path) -> None:
    store = QdrantStore(tmp_path / "q", FINGERPRINT)
    put(store, passages(5))
    with pytest.raises(IndexLockedError, match="open in another process or another store"):
        QdrantStore(tmp_path / "q", FINGERPRINT)
    gc.collect()
    store.close()
    again = QdrantStore(tmp_path / "q", FINGERPRINT)
    assert again.get(["p0003"]) == {"p0003": passages(5)[3]}
    assert again.search_dense(dense_of("text number 2"), 1)[0].id == "p0002"
    again.close()


def test_another_model_is_refused_and_both_are_named(tmp_path: Path, fake_qdrant: FakeQdrant) -> None:
    """Fault 9: another model of equal dimension."""
    for location in (tmp_path / "q", fake_qdrant.url):
        store = QdrantStore(location, FINGERPRINT)
        put(store, passages(1))
        store.close()
        with pytest.raises(ModelMismatchError, match=r"'by hand'.*'another model'.*digest: '0123' there, '4567' here"):
            QdrantStore(location, OTHER)
        moved = QdrantStore(location, replace(FINGERPRINT, model="the same, elsewhere"))
        assert moved.count() == 1
        moved.close()


@pytest.mark.parametrize("other", [OTHER, replace(OTHER, dimension=5)], ids=["same dimension", "another dimension"])
def test_an_empty_collection_may_be_claimed_by_another_model(fake_qdrant: FakeQdrant, other: Any) -> None:
    QdrantStore(fake_qdrant.url, FINGERPRINT)
    claimed = QdrantStore(fake_qdrant.url, other)
    claimed.upsert([Passage("a", "x")], encoding_of(["x"], dimension=other.dimension))
    with pytest.raises(ModelMismatchError):
        QdrantStore(fake_qdrant.url, FINGERPRINT)
    assert QdrantStore(fake_qdrant.url, other).count() == 1


@pytest.mark.parametrize("other", [FINGERPRINT, OTHER], ids=["this model", "another model"])
def test_a_collection_that_another_process_makes_in_the_same_moment_is_opened(
    fake_qdrant: FakeQdrant, monkeypatch: pytest.MonkeyPatch, other: Any
) -> None:
    """Several workers that start at once on an empty server: all but one find that it is made already."""
    put(QdrantStore(fake_qdrant.url, other), passages(2))
    answer = fake_qdrant.answer

    def too_early(method: str, path: str, body: dict[str, Any]) -> Any:
        monkeypatch.setattr(fake_qdrant, "answer", answer)  # the next question finds it
        return {"exists": False}

    monkeypatch.setattr(fake_qdrant, "answer", too_early)
    if other is OTHER:
        with pytest.raises(ModelMismatchError):
            QdrantStore(fake_qdrant.url, FINGERPRINT)
    else:
        assert QdrantStore(fake_qdrant.url, FINGERPRINT).count() == 2


def test_a_collection_that_was_made_beforehand_keeps_its_settings(fake_qdrant: FakeQdrant) -> None:
    client = fake_qdrant.client
    params = models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE, on_disk=True)
    client.create_collection("mine", {"v": params}, {"s": models.SparseVectorParams()})
    store = QdrantStore(fake_qdrant.url, FINGERPRINT, collection="mine", names=QdrantNames(dense="v", sparse="s"))
    put(store, passages(3))
    assert store.search_dense(dense_of("text number 1"), 1)[0].score == pytest.approx(1, abs=1e-6)
    with pytest.raises(
        StorageError, match=r"dense vectors \['v'\] and sparse vectors \['s'\], not 'dense' and 'sparse'"
    ):
        QdrantStore(fake_qdrant.url, FINGERPRINT, collection="mine")
    client.create_collection(
        "short",
        {"dense": models.VectorParams(size=3, distance=models.Distance.DOT)},
        {"sparse": models.SparseVectorParams()},
    )
    with pytest.raises(StorageError, match="vectors of 3 numbers under Dot; 8 under Dot or Cosine"):
        QdrantStore(fake_qdrant.url, FINGERPRINT, collection="short")
    assert client.collection_exists("short")


def langchain_points(client: QdrantClient, name: str) -> list[str]:
    """What langchain-qdrant writes: unnamed dense vectors under Cosine, page_content and metadata, UUIDs."""
    client.create_collection(
        name,
        {"": models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)},
        {"langchain-sparse": models.SparseVectorParams()},
    )
    ids = [str(uuid.UUID(int=i + 1)) for i in range(3)]
    points: list[Any] = []
    for i, id_ in enumerate([*ids, 17]):
        text = f"text number {i}"
        sparse = sparse_of(text)
        vector = {
            "": dense_of(text).tolist(),
            "langchain-sparse": models.SparseVector(indices=sparse.indices.tolist(), values=sparse.values.tolist()),
        }
        payload = {"page_content": text, "metadata": {"n": i, "tags": ["a", i]}}
        points.append(models.PointStruct(id=id_, vector=vector, payload=payload))
    client.upsert(name, points)
    return [*ids, "17"]


def test_a_langchain_collection_is_taken_over_when_told_to(fake_qdrant: FakeQdrant) -> None:
    ids = langchain_points(fake_qdrant.client, "docs")
    options: dict[str, Any] = {"collection": "docs", "names": QdrantNames.langchain()}
    with pytest.raises(StorageError, match="adopt=True if 'by hand' made its vectors"):
        QdrantStore(fake_qdrant.url, FINGERPRINT, **options)
    store = QdrantStore(fake_qdrant.url, FINGERPRINT, adopt=True, **options)
    assert sorted(store.ids()) == sorted(ids)
    assert store.get(ids)[ids[1]] == Passage(ids[1], "text number 1", {"n": 1, "tags": ["a", 1]})
    assert store.ids(Gt("n", 1)) == sorted(ids[2:])
    assert sorted(store.ids(Not(Eq("n", 2)))) == sorted([ids[0], ids[1], "17"])
    assert store.search_dense(dense_of("text number 2"), 1)[0].id == ids[2]
    assert store.search_sparse(sparse_of("text number 0"), 1, Eq("n", 0))[0].id == ids[0]
    assert store.sparse_vectors(["17"])["17"].as_dict() == sparse_of("text number 3").as_dict()

    put(store, [Passage(ids[0], "rewritten", {"n": 9}), Passage("17", "too"), Passage("new", "one")])
    assert store.count() == 5
    assert store.get([ids[0]]) == {ids[0]: Passage(ids[0], "rewritten", {"n": 9})}
    assert store.ids(Eq("n", 0)) == []
    assert store.delete([ids[0], ids[1], "17"]) == 3
    again = QdrantStore(fake_qdrant.url, FINGERPRINT, **options)  # it is ours from now on
    assert again.ids() == [ids[2], "new"]
    with pytest.raises(ModelMismatchError):
        QdrantStore(fake_qdrant.url, OTHER, adopt=True, **options)


def test_other_programs_can_read_what_is_written(fake_qdrant: FakeQdrant) -> None:
    store = QdrantStore(fake_qdrant.url, FINGERPRINT)
    put(store, [Passage("a/b", "text", {"year": 2024, "huge": 2**64, "deep": {"list": [1, {"k": None}]}})])
    (point,), _ = fake_qdrant.client.scroll("bge_hybrid", with_vectors=True)
    assert point.payload is not None
    assert point.payload["text"] == "text"
    assert point.payload["metadata"] == {
        "year": 2024,
        "deep": {"list": [1, {"k": None}]},
    }  # JSON elsewhere ends at 64 bits
    assert point.payload["bge_hybrid"]["id"] == "a/b"
    assert json.loads(point.payload["bge_hybrid"]["metadata"])["huge"] == 2**64
    assert uuid.UUID(str(point.id)).version == 5


def test_keys_that_are_declared_get_an_index(fake_qdrant: FakeQdrant) -> None:
    QdrantStore(fake_qdrant.url, FINGERPRINT, indexed=["year", 'a"].b'])
    assert sum(path.endswith("/index?wait=true") for _, path in fake_qdrant.requests) == 3 + 2 * 3


@pytest.mark.parametrize(
    "options",
    [
        {"collection": ".."}, {"collection": "a/b"}, {"collection": ""}, {"timeout": 0}, {"timeout": -1}, {"timeout": True},
        {"timeout": float("inf")}, {"timeout": "10"}, {"api_key": "two words"}, {"api_key": "ключ"}, {"api_key": "a\n"},
        {"indexed": "year"}, {"indexed": [1]},
    ],
    ids=repr,
)  # fmt: skip
def test_a_bad_option_is_named_and_a_key_is_not_shown(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        QdrantStore(":memory:", FINGERPRINT, **options)
    assert next(iter(options)) in str(caught.value)
    assert str(options.get("api_key", "nothing")) not in str(caught.value)
    with pytest.raises(InvalidInputError, match=r"^text='a\.b'"):
        QdrantNames(text="a.b")
    with pytest.raises(InvalidInputError, match="starts with http"):
        QdrantStore("ftp://127.0.0.1", FINGERPRINT)
