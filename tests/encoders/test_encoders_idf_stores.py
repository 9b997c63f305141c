"""Inverse document frequencies in the stores: the formula, every change of the index, and the same scores everywhere."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from vectors import DIMENSION, FINGERPRINT, VOCABULARY, encoding_of, passages, sparse_of

from hybrid_core import (
    Encoding,
    Eq,
    Fingerprint,
    Gt,
    HybridError,
    InvalidInputError,
    ModelMismatchError,
    Passage,
    Scored,
    SparseVector,
    StorageError,
    Store,
)
from hybrid_core.stores.embedded import EmbeddedStore
from hybrid_core.stores.memory import MemoryStore
from hybrid_core.stores.milvus import MilvusStore
from hybrid_core.stores.qdrant import QdrantStore
from hybrid_core.stores.scoring import sparse_matrix

Open = Callable[[Fingerprint], Store]
IDF = replace(FINGERPRINT, sparse="by hand", sparse_weighting="idf")


def put(store: Store, items: list[Passage]) -> None:
    store.upsert(items, encoding_of([item.text for item in items]))


def by_hand(
    items: list[Passage], query: SparseVector, only: Callable[[Passage], bool] = lambda item: True
) -> list[Scored]:
    """BM25's sum over all items; those without a token do not count."""
    rows = {item.id: sparse_of(item.text).as_dict() for item in items}
    n = sum(bool(row) for row in rows.values())
    found = []
    for item in filter(only, items):
        shared = sorted(query.as_dict().keys() & rows[item.id].keys())
        df = [sum(token in row for row in rows.values()) for token in shared]
        idf = [math.log(1 + (n - count + 0.5) / (count + 0.5)) for count in df]
        score = sum(
            query.as_dict()[token] * factor * rows[item.id][token] for token, factor in zip(shared, idf, strict=True)
        )
        if shared:
            found.append(Scored(item.id, score))
    return sorted(found, key=lambda hit: (-hit.score, hit.id))


def assert_scores(found: list[Scored], expected: list[Scored]) -> None:
    assert [hit.id for hit in found] == [hit.id for hit in expected]
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], rel=1e-6)


def test_the_formula_by_hand() -> None:
    """Three passages have tokens; token 1 is in two of them, token 2 in one, token 3 in none."""
    store = MemoryStore(IDF)
    texts = {"a": {1: 2.0}, "b": {1: 1.0, 2: 3.0}, "c": {5: 1.0}, "blank": {}}
    rows = sparse_matrix([SparseVector.from_dict(weights) for weights in texts.values()], VOCABULARY)
    dense = encoding_of(list(texts)).dense
    store.upsert([Passage(id_, id_) for id_ in texts], Encoding(dense, rows))
    query = SparseVector.from_dict({1: 1.0, 2: 2.0, 3: 1.0})
    one, two, none = math.log(1 + 1.5 / 2.5), math.log(1 + 2.5 / 1.5), math.log(1 + 3.5 / 0.5)
    assert store.weigh(query).values.tolist() == pytest.approx([one, 2 * two, none], rel=1e-6)
    assert store.search_sparse(query, 9) == [
        Scored("b", pytest.approx(one + 6 * two, rel=1e-6)),
        Scored("a", pytest.approx(2 * one, rel=1e-6)),
    ]


def test_scores_are_those_of_the_formula_through_every_change(open_store: Open) -> None:
    store, oracle = open_store(IDF), MemoryStore(IDF)
    queries = [sparse_of(text) for text in ("text number 3", "query", "another")]

    def check(items: list[Passage]) -> None:
        for query in queries:
            expected = by_hand(items, query)
            assert_scores(store.search_sparse(query, 500), expected)
            assert_scores(store.search_sparse(query, 4), expected[:4])
            assert store.search_sparse(query, 500) == oracle.search_sparse(query, 500)  # to the last bit
            assert_scores(
                store.search_sparse(query, 9, Gt("n", 30)), by_hand(items, query, lambda i: i.metadata["n"] > 30)[:9]
            )
            weighed, expected_weights = store.weigh(query), oracle.weigh(query)
            np.testing.assert_array_equal(weighed.values, expected_weights.values)
            assert store.weigh(weighed) is weighed
            assert store.search_sparse(weighed, 7) == store.search_sparse(query, 7)

    items = passages(60)
    for one in (store, oracle):
        put(one, items)
    check(items)
    blank = [Passage(f"blank {i}", " ", {"n": i}) for i in range(5)]  # of no token: they do not count
    for one in (store, oracle):
        put(one, blank)
    check(items + blank)
    gone = {f"p{i:04d}" for i in range(0, 60, 3)} | {"blank 1"}
    for one in (store, oracle):
        one.delete(sorted(gone))
    items = [item for item in items + blank if item.id not in gone]
    check(items)
    rewritten = [Passage(f"p{i:04d}", f"rewritten {i % 3}" if i % 4 else "", {"n": i}) for i in range(1, 40, 5)]
    for one in (store, oracle):
        put(one, rewritten)
    items = [item for item in items if item.id not in {new.id for new in rewritten}] + rewritten
    check(items)
    optimize = getattr(store, "optimize", None)
    if optimize is not None:
        optimize()
        check(items)
    store = open_store(IDF)
    check(items)
    more = passages(20, start=200)
    for one in (store, oracle):
        put(one, more)
    check(items + more)


def test_a_token_that_nothing_has_any_more_and_an_empty_index(open_store: Open) -> None:
    store = open_store(IDF)
    query = sparse_of("text number 0")
    assert store.search_sparse(query, 5) == []
    np.testing.assert_allclose(store.weigh(query).values, query.values * math.log(2), rtol=1e-6)
    put(store, passages(3))
    store.delete(["p0000", "p0001", "p0002"])
    assert store.search_sparse(query, 5) == []
    np.testing.assert_allclose(store.weigh(query).values, query.values * math.log(2), rtol=1e-6)
    assert store.weigh(SparseVector.from_dict({})).as_dict() == {}
    assert store.search_sparse(SparseVector.from_dict({}), 5) == []


def test_a_plain_index_weighs_nothing(open_store: Open) -> None:
    store = open_store(FINGERPRINT)
    put(store, passages(5))
    query = sparse_of("text number 1")
    assert store.sparse_weighting == "plain"
    assert store.weigh(query) is query
    assert store.search_sparse(query, 1)[0].score == pytest.approx(float((query.values.astype(float) ** 2).sum()))


def test_ids_as_sparse_as_hashes_are_searched(open_store: Open) -> None:
    """Ids up to 2^31 - 2, of which a table would take gigabytes."""
    random = np.random.default_rng(3)
    vocabulary = 2**31 - 1
    tokens = np.append(random.integers(0, vocabulary, 200), [0, vocabulary - 1]).astype(np.int32)
    rows = []
    for _ in range(80):
        chosen = np.unique(random.choice(tokens, 12)).astype(np.int32)
        rows.append(SparseVector(chosen, random.random(len(chosen)).astype(np.float32) + np.float32(0.1)))
    fingerprint = replace(IDF, vocabulary=vocabulary)
    store, oracle = open_store(fingerprint), MemoryStore(fingerprint)
    for start, end in ((0, 37), (37, 38), (38, 80)):
        items = [Passage(str(i), f"text {i}") for i in range(start, end)]
        encoding = Encoding(
            encoding_of([item.text for item in items]).dense, sparse_matrix(rows[start:end], vocabulary)
        )
        for one in (store, oracle):
            one.upsert(items, encoding)
    for one in (store, oracle):
        one.delete(["3", "40", "79"])
    for query in rows[:20]:
        assert store.search_sparse(query, 30) == oracle.search_sparse(query, 30)
    assert store.sparse_vectors(["5"])["5"].as_dict() == rows[5].as_dict()


def test_another_process_sees_the_frequencies_of_the_newest_commit(tmp_path: Path) -> None:
    writer, reader = EmbeddedStore(tmp_path / "index", IDF), EmbeddedStore(tmp_path / "index", IDF)
    items = passages(30)
    put(writer, items)
    query = sparse_of("text number 3")
    assert reader.search_sparse(query, 9) == writer.search_sparse(query, 9)
    writer.delete([item.id for item in items[10:]])
    np.testing.assert_array_equal(reader.weigh(query).values, writer.weigh(query).values)
    assert_scores(reader.search_sparse(query, 9), by_hand(items[:10], query)[:9])
    writer.close()
    reader.close()


@pytest.mark.parametrize("kind", [EmbeddedStore, QdrantStore])
def test_an_index_of_one_weighting_is_not_opened_with_the_other(
    tmp_path: Path, kind: Callable[[Path, Fingerprint], Store]
) -> None:
    store = kind(tmp_path / "index", IDF)
    put(store, passages(2))
    store.close()
    with pytest.raises(ModelMismatchError, match="sparse_weighting: 'idf' there, 'plain' here"):
        kind(tmp_path / "index", replace(IDF, sparse_weighting="plain"))


def test_a_folder_from_before_there_were_weightings_is_plain(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    store = EmbeddedStore(folder, FINGERPRINT)
    put(store, passages(3))
    store.close()
    with sqlite3.connect(folder / "passages.sqlite3") as db:
        (text,) = db.execute("SELECT value FROM info WHERE key = 'fingerprint'").fetchone()
        old = json.loads(text) | {"instruction": ""}
        assert set(old) == {"model", "digest", "dimension", "vocabulary", "pooling", "max_length", "instruction"}
        db.execute("UPDATE info SET value = ? WHERE key = 'fingerprint'", (json.dumps(old),))
    db.close()
    again = EmbeddedStore(folder, FINGERPRINT)
    assert again.sparse_weighting == "plain"
    assert again.count() == 3
    again.close()
    with pytest.raises(ModelMismatchError, match="'plain' there, 'idf' here"):
        EmbeddedStore(folder, IDF)


def test_an_empty_collection_may_be_claimed_with_the_other_weighting(tmp_path: Path) -> None:
    for fingerprint in (FINGERPRINT, IDF, FINGERPRINT):
        QdrantStore(tmp_path / "qdrant", fingerprint).close()
    store = QdrantStore(tmp_path / "qdrant", IDF)
    put(store, passages(9))
    query = sparse_of("text number 3")
    assert_scores(store.search_sparse(query, 9), by_hand(passages(9), query))
    store.close()


@pytest.mark.parametrize(
    ("fingerprint", "modifier", "says"),
    [
        (IDF, None, "the modifier none; idf is needed for sparse_weighting='idf'"),
        (FINGERPRINT, models.Modifier.IDF, "the modifier idf; none is needed for sparse_weighting='plain'"),
    ],
)
def test_a_collection_made_beforehand_must_weigh_as_the_encoder_wants(
    tmp_path: Path, fingerprint: Fingerprint, modifier: models.Modifier | None, says: str
) -> None:
    client = QdrantClient(path=str(tmp_path / "qdrant"))
    for name, chosen in (("wrong", modifier), ("right", models.Modifier.IDF if modifier is None else None)):
        client.create_collection(
            name,
            {"dense": models.VectorParams(size=DIMENSION, distance=models.Distance.DOT)},
            {"sparse": models.SparseVectorParams(modifier=chosen)},
        )
    client.close()
    with pytest.raises(StorageError, match=says):
        QdrantStore(tmp_path / "qdrant", fingerprint, collection="wrong")
    store = QdrantStore(tmp_path / "qdrant", fingerprint, collection="right")
    put(store, passages(2))
    store.close()


def test_qdrants_own_scores_are_ours(tmp_path: Path) -> None:
    """Other programs that ask the collection get the same numbers, in float32."""
    store = QdrantStore(tmp_path / "qdrant", IDF)
    items = passages(25)
    put(store, items)
    store.delete(["p0001", "p0002"])
    query = sparse_of("text number 3")
    ours = store.search_sparse(query, 25)
    store.close()
    client = QdrantClient(path=str(tmp_path / "qdrant"))
    vector = models.SparseVector(indices=query.indices.tolist(), values=query.values.tolist())
    points = client.query_points("bge_hybrid", query=vector, using="sparse", limit=25, with_payload=True).points
    client.close()
    theirs = {(point.payload or {})["bge_hybrid"]["id"]: point.score for point in points}
    assert theirs == pytest.approx(dict(ours), rel=1e-5)


def test_milvus_refuses_and_names_what_to_take(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInputError, match=r"'by hand' is weighed by inverse document frequencies.*QdrantStore.*Splade"
    ):
        MilvusStore(tmp_path / "milvus", IDF)
    assert not (tmp_path / "milvus").exists()


def test_an_adopted_collection_of_other_programs_points_is_weighed(tmp_path: Path) -> None:
    client = QdrantClient(path=str(tmp_path / "qdrant"))
    client.create_collection(
        "docs",
        {"dense": models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)},
        {"sparse": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    items = passages(12)
    for i, item in enumerate(items):
        encoding = encoding_of([item.text])
        sparse = encoding.sparse_row(0)
        vector = {
            "dense": encoding.dense[0].tolist(),
            "sparse": models.SparseVector(indices=sparse.indices.tolist(), values=sparse.values.tolist()),
        }
        client.upsert("docs", [models.PointStruct(id=i, vector=vector, payload={"text": item.text})])
    client.close()
    store = QdrantStore(tmp_path / "qdrant", IDF, collection="docs", adopt=True)
    query = sparse_of("text number 3")
    assert_scores(
        store.search_sparse(query, 12), by_hand([replace(item, id=str(i)) for i, item in enumerate(items)], query)
    )
    store.close()


def test_a_failed_write_leaves_the_frequencies_as_they_were(open_store: Open) -> None:
    store = open_store(IDF)
    put(store, passages(8))
    query = sparse_of("text number 3")
    before = store.search_sparse(query, 8)
    with pytest.raises((IndexError, HybridError)):
        store.upsert([Passage("new 1", "x"), Passage("new 2", "y")], encoding_of(["x"]))
    assert store.search_sparse(query, 8) == before
    assert store.ids(Eq("n", 3)) == ["p0003"]
