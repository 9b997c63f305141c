"""MilvusStore: opening, another model, limits."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from agreement import put
from lite_server import LiteServer
from vectors import FINGERPRINT, dense_of, encoding_of, passages, sparse_of

from hybrid_core import (
    BgeM3Encoder,
    Eq,
    HybridIndex,
    IndexLockedError,
    InvalidInputError,
    MissingDependencyError,
    ModelMismatchError,
    Passage,
    StorageError,
    Store,
)  # fmt: skip
from hybrid_core.stores.milvus import MilvusStore

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
    """Fault 9."""
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
    from pymilvus import MilvusClient

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


def test_texts_ids_and_metadata_beyond_a_varchar_come_back_exactly(tmp_path: Path) -> None:
    """Faults 17 and 21: VARCHAR ends at 65,535 bytes."""
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
        {"token": "two words"}, {"token": "a\n"},
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
