"""MilvusStore: opening, another model, limits."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from agreement import put
from lite_server import LiteServer
from pymilvus import MilvusClient
from vectors import FINGERPRINT, dense_of, encoding_of, passages, sparse_of

from hybrid_core import (
    And,
    BgeM3Encoder,
    Eq,
    Gt,
    HybridIndex,
    IndexLockedError,
    InvalidInputError,
    Lt,
    MissingDependencyError,
    ModelMismatchError,
    Passage,
    StorageError,
    Store,
)  # fmt: skip
from hybrid_core.stores.milvus import MilvusStore
from hybrid_core.stores.milvus.entities import indexes
from hybrid_core.stores.milvus.expressions import Template
from hybrid_core.stores.milvus.store import _index
from hybrid_core.stores.remote.conditions import admits
from hybrid_core.stores.remote.facts import range_paths

OTHER = replace(FINGERPRINT, model="another model", digest="4567")


def test_it_is_a_store_and_importing_it_loads_no_client(tmp_path: Path) -> None:
    store = MilvusStore(tmp_path / "m", FINGERPRINT)
    assert isinstance(store, Store)
    store.close()
    code = "import sys, hybrid_core.stores.milvus; sys.exit('pymilvus' in sys.modules or 'grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("missing", ["pymilvus", "milvus_lite"])
def test_without_the_client_the_pip_line_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingDependencyError, match=r'pip install "bge-hybrid\[milvus\]"'):
        MilvusStore(tmp_path / "m", FINGERPRINT)


def test_an_index_over_it_searches_and_explains(tmp_path: Path, encoder: BgeM3Encoder) -> None:
    with HybridIndex(MilvusStore(tmp_path / "m", encoder.fingerprint), encoder=encoder) as index:
        index.add(["A worker pulls tasks from the queue.", "网关在这里配置限流。", "  "], ids=["en", "zh", "blank"])
        hit = index.explain("how does a worker get tasks?", k=1)[0]
        assert hit.passage.id == "en"
        assert sum(match.score for match in hit.matches) == hit.stages["sparse"].score


def test_a_folder_is_reopened_with_all_that_was_written(tmp_path: Path) -> None:
    store = MilvusStore(tmp_path / "deep" / "m", FINGERPRINT)
    put(store, passages(5))
    with pytest.raises(IndexLockedError, match="open in another process or another store"):
        MilvusStore(tmp_path / "deep" / "m", FINGERPRINT)
    store.close()
    again = MilvusStore(tmp_path / "deep" / "m", FINGERPRINT)
    assert again.get(["p0003"]) == {"p0003": passages(5)[3]}
    assert again.search_dense(dense_of("text number 2"), 1)[0].id == "p0002"
    assert again.search_sparse(sparse_of("text number 2"), 1)[0].id == "p0002"
    again.close()


def test_a_process_that_forgets_to_close_ends_and_keeps_what_was_written(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from agreement import put; from vectors import *\n"
        "from hybrid_core.stores.milvus import MilvusStore\n"
        "store = MilvusStore(Path(sys.argv[1]), FINGERPRINT); put(store, passages(4))"
    )
    path = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{code}", tmp_path / "m"], check=True, timeout=60
    )
    store = MilvusStore(tmp_path / "m", FINGERPRINT)
    assert store.count() == 4
    store.close()


def test_another_model_is_refused_and_both_are_named(tmp_path: Path) -> None:
    """Fault 9: another model of equal dimension, or of another one."""
    store = MilvusStore(tmp_path / "m", FINGERPRINT)
    put(store, passages(1))
    store.close()
    with pytest.raises(ModelMismatchError, match=r"'by hand'.*'another model'.*digest: '0123' there, '4567' here"):
        MilvusStore(tmp_path / "m", OTHER)
    moved = MilvusStore(tmp_path / "m", replace(FINGERPRINT, model="the same, elsewhere"))
    assert moved.count() == 1
    assert moved.delete(["p0000"]) == 1
    moved.close()
    claimed = MilvusStore(tmp_path / "m", replace(OTHER, dimension=5))  # it is empty
    claimed.upsert([Passage("a", "x")], encoding_of(["x"], dimension=5))
    claimed.close()
    with pytest.raises(ModelMismatchError, match="dimension: 5 there, 8 here"):
        MilvusStore(tmp_path / "m", FINGERPRINT)


def test_a_collection_of_another_program_is_left_alone(lite_server: LiteServer) -> None:
    client = MilvusClient(lite_server.url, dedicated=True)
    client.create_collection("docs", dimension=8)
    with pytest.raises(StorageError, match=r"'docs' in Milvus at .* was not made by bge-hybrid"):
        MilvusStore(lite_server.url, FINGERPRINT, collection="docs")
    assert client.has_collection("docs")
    client.close()


def test_a_collection_whose_maker_was_killed_before_it_had_indexes_is_completed(
    lite_server: LiteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(MilvusStore, "_load", lambda *args, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            MilvusStore(lite_server.url, FINGERPRINT)
    store = MilvusStore(lite_server.url, FINGERPRINT)
    put(store, passages(3))
    assert len(store.search_dense(dense_of("q"), 5)) == 3
    store.close()


def test_a_collection_whose_maker_was_killed_between_two_indexes_is_completed(lite_server: LiteServer) -> None:
    MilvusStore(lite_server.url, FINGERPRINT).close()
    client = MilvusClient(lite_server.url, dedicated=True)
    client.release_collection("bge_hybrid")
    client.drop_index("bge_hybrid", "sparse")
    client.close()
    store = MilvusStore(lite_server.url, FINGERPRINT)
    put(store, passages(3))
    assert store.search_sparse(sparse_of("text number 2"), 1)[0].id == "p0002"
    store.close()


class Server:
    """What a Milvus server is asked of indexes; those of Lite are fewer."""

    def __init__(self) -> None:
        self.indexes: dict[str, dict[str, Any]] = {}

    def list_indexes(self, collection: str, timeout: float) -> list[str]:
        return list(self.indexes)

    def create_index(self, collection: str, params: Any, **options: Any) -> None:
        for one in params:
            assert one.index_name not in self.indexes
            self.indexes[one.index_name] = {"field": one.field_name, **one.get_index_configs()}


def test_a_server_is_asked_for_the_indexes_that_it_lacks_and_no_others() -> None:
    found = [one.index_name for one in indexes([], lite=False, exact=False)]
    assert found == ["dense", "sparse", "text_hash", "facts"]
    assert [one.index_name for one in indexes(["dense", "facts"], lite=False, exact=True)] == ["sparse", "text_hash"]
    kinds = {one.index_name: one.index_type for one in indexes([], lite=False, exact=True)}
    assert (kinds["dense"], kinds["sparse"]) == ("FLAT", "AUTOINDEX")
    assert [one.index_name for one in indexes([], lite=True, exact=True)] == ["dense", "sparse"]
    assert not indexes(found, lite=False, exact=True)


def test_keys_that_are_declared_get_an_index_of_their_ranges_once() -> None:
    server = Server()
    for keys in (["year", "year"], ["year", 'a"].b']):
        _index(server, "c", keys, timeout=1)
    assert len(server.indexes) == 2 * 3
    for path, index in server.indexes.items():
        assert index["field"] == "orders"
        assert index["json_path"] == f'orders["{path}"]'
        assert (index["index_type"], index["json_cast_type"]) == ("INVERTED", "DOUBLE")
        assert re.fullmatch(r"[nst][0-9a-f]{24}", path)
    asked = Template(admits(And(Gt("year", 2020), Lt("year", "2024-05-01")))).text
    assert {path for path in server.indexes if path in asked} == set(range_paths("year"))


def test_a_file_is_not_taken_for_a_database_and_stays_as_it_is(tmp_path: Path) -> None:
    """Milvus Lite 2 kept a database in one file."""
    (tmp_path / "old.db").write_text("SQLite format 3", encoding="utf-8")
    with pytest.raises(StorageError, match=r"old\.db is a file; Milvus Lite keeps its database in a folder"):
        MilvusStore(tmp_path / "old.db", FINGERPRINT)
    assert (tmp_path / "old.db").read_text(encoding="utf-8") == "SQLite format 3"


def test_on_lite_declared_keys_cost_nothing(tmp_path: Path) -> None:
    store = MilvusStore(tmp_path / "m", FINGERPRINT, indexed=["n"])
    put(store, passages(5))
    assert store.ids(Gt("n", 2)) == ["p0003", "p0004"]
    store.close()


def test_texts_ids_and_metadata_beyond_a_varchar_come_back_exactly(tmp_path: Path) -> None:
    """Fault 17: VARCHAR ends at 65,535 bytes, a text does not. Fault 21: an id may be as long as it holds."""
    store = MilvusStore(tmp_path / "m", FINGERPRINT)
    items = [
        Passage("🙂" * 4_000, "行" * 16_000),
        Passage("long", "🙂" * 16_001 + "\x00end", {"long": "é" * 100_000, "after": 1}),
        Passage("i" * 16_000, "x" * 65_536),
    ]
    put(store, items)
    assert store.get([item.id for item in items]) == {item.id: item for item in items}
    assert store.ids(Eq("after", 1)) == ["long"]
    assert store.encodings([items[1].text])[0] == [0]
    with pytest.raises(InvalidInputError, match=r"has 16,001 characters; Milvus takes 16,000"):
        put(store, [Passage("fine", "x"), Passage("i" * 16_001, "x")])
    with pytest.raises(InvalidInputError, match=r"id 'big' takes 49,000,\d\d\d bytes .* split the text"):
        put(store, [Passage("fine", "x"), Passage("big", "x" * 49_000_000)])
    assert store.get(["fine"]) == {}
    store.close()


@pytest.mark.parametrize(
    "options",
    [
        {"collection": "a-b"}, {"collection": "1a"}, {"collection": ""}, {"timeout": 0}, {"timeout": float("nan")},
        {"token": "two words"}, {"token": "a\n"}, {"indexed": "year"}, {"indexed": [1]}, {"indexed": {"year"}},
    ],
    ids=repr,
)  # fmt: skip
def test_a_bad_option_is_named_and_a_token_is_not_shown(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        MilvusStore(tmp_path / "m", FINGERPRINT, **options)
    assert next(iter(options)) in str(caught.value)
    assert str(options.get("token", "nothing")) not in str(caught.value)
    with pytest.raises(InvalidInputError, match="a URL starts with one of http://"):
        MilvusStore("ftp://127.0.0.1", FINGERPRINT)
