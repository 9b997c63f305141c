"""The embedded store on disk: reopening, locks, models, damage. (What it answers is in the contract suite.)"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from vectors import FINGERPRINT, dense_of, passages, sparse_of

from hybrid_core import (
    Eq,
    IndexCorruptError,
    IndexLockedError,
    InvalidInputError,
    ModelMismatchError,
    Passage,
    StorageError,
    Store,
)  # fmt: skip
from hybrid_core.stores.embedded import EmbeddedStore
from hybrid_core.stores.embedded.ledger import read_fingerprint

Put = Callable[[Store, list[Passage]], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "index"


@pytest.fixture
def written(folder: Path, put: Put) -> Path:
    """An index of 40 passages, closed."""
    store = EmbeddedStore(folder, FINGERPRINT)
    put(store, passages(40))
    store.close()
    return folder


def test_everything_is_there_after_reopening(folder: Path, put: Put) -> None:
    first = EmbeddedStore(folder, FINGERPRINT)
    put(first, passages(20))
    put(first, [Passage("p0003", "rewritten", {"n": 3})])
    first.delete(["p0005"])
    before = [
        first.ids(), first.get(first.ids()), first.ids(Eq("even", True)), first.count(),
        first.search_dense(dense_of("q"), 30), first.search_sparse(sparse_of("text number 1"), 30),
        first.encodings(["rewritten"])[0],
    ]  # fmt: skip
    first.close()
    again = EmbeddedStore(folder, FINGERPRINT)
    assert before == [
        again.ids(), again.get(again.ids()), again.ids(Eq("even", True)), again.count(),
        again.search_dense(dense_of("q"), 30), again.search_sparse(sparse_of("text number 1"), 30),
        again.encodings(["rewritten"])[0],
    ]  # fmt: skip
    again.close()


def test_an_open_reader_sees_what_another_object_commits(written: Path, put: Put) -> None:
    """Fault 4: readers see the newest commit."""
    reader, writer = EmbeddedStore(written, FINGERPRINT), EmbeddedStore(written, FINGERPRINT)
    put(writer, [Passage("new", "a new text", {"fresh": True})])
    assert reader.search_dense(dense_of("a new text"), 1)[0].id == "new"
    assert reader.search_sparse(sparse_of("a new text"), 99, Eq("fresh", True))[0].id == "new"
    put(writer, [Passage("new", "changed", {"fresh": False})])
    assert reader.ids(Eq("fresh", True)) == []
    assert reader.get(["new"])["new"].text == "changed"
    writer.delete(["new", "p0000"])
    assert (reader.count(), len(reader.ids()), len(reader.search_dense(dense_of("q"), 99))) == (39, 39, 39)
    for store in (reader, writer):
        store.close()


def test_a_second_writer_is_refused_at_once_until_the_first_closes(written: Path, put: Put) -> None:
    """Fault 4: a second writer."""
    first, second = EmbeddedStore(written, FINGERPRINT), EmbeddedStore(written, FINGERPRINT)
    put(first, passages(1))
    for write in (lambda: put(second, passages(1)), lambda: second.delete(["p0000"]), second.optimize):
        with pytest.raises(IndexLockedError, match="index"):
            write()
    assert second.count() == 40
    first.close()
    put(second, [Passage("mine", "my turn")])
    assert second.count() == 41
    second.close()


def test_a_reader_holds_no_lock(written: Path, put: Put) -> None:
    reader, writer = EmbeddedStore(written, FINGERPRINT), EmbeddedStore(written, FINGERPRINT)
    reader.search_dense(dense_of("q"), 5)
    assert writer.delete(["p0000"]) == 1
    for store in (reader, writer):
        store.close()


@pytest.mark.parametrize(
    "change",
    [{"digest": "another"}, {"dimension": 9}, {"vocabulary": 65}, {"max_length": 64}, {"instruction": "p: "}],
    ids=lambda change: next(iter(change)),
)
def test_another_model_is_refused_and_both_are_named(written: Path, change: dict[str, Any]) -> None:
    """Fault 9: model, dimension or vocabulary changed since the index was built."""
    other = replace(FINGERPRINT, model="the other model", **change)
    [(field, value)] = change.items()
    with pytest.raises(ModelMismatchError) as caught:
        EmbeddedStore(written, other)
    message = str(caught.value)
    assert "'by hand'" in message
    assert "'the other model'" in message
    assert f"{field}: {getattr(FINGERPRINT, field)!r} there, {value!r} here" in message
    EmbeddedStore(written, FINGERPRINT).close()


def test_the_same_model_from_another_folder_is_welcome(written: Path) -> None:
    store = EmbeddedStore(written, replace(FINGERPRINT, model="/elsewhere"))
    assert store.count() == 40
    store.close()


def test_an_empty_index_may_be_taken_by_another_model(folder: Path, put: Put) -> None:
    """Fault 9: nothing was built yet, so nothing mismatches."""
    EmbeddedStore(folder, FINGERPRINT).close()
    other = replace(FINGERPRINT, model="other", digest="another")
    store = EmbeddedStore(folder, other)
    put(store, passages(1))
    store.close()
    with pytest.raises(ModelMismatchError):
        EmbeddedStore(folder, FINGERPRINT)
    assert read_fingerprint(folder) == other


def test_a_model_whose_index_was_taken_meanwhile_cannot_write(folder: Path, put: Put) -> None:
    """Fault 9: the vectors of two models never meet in one index."""
    early = EmbeddedStore(folder, FINGERPRINT)
    late = EmbeddedStore(folder, replace(FINGERPRINT, model="other", digest="another"))
    with pytest.raises(ModelMismatchError):
        put(early, passages(1))
    put(late, passages(1))
    for store in (early, late):
        store.close()


def test_reading_the_fingerprint_makes_nothing(tmp_path: Path, written: Path) -> None:
    assert read_fingerprint(tmp_path / "nothing") is None
    assert not (tmp_path / "nothing").exists()
    assert read_fingerprint(written) == FINGERPRINT


def test_killed_in_the_middle_of_its_first_transaction_it_opens(folder: Path, put: Put) -> None:
    """Fault 1: a journal that is to be rolled back lies beside it, as before a new file has a log."""
    (folder.parent / "made").mkdir(parents=True)
    database = sqlite3.connect(folder.parent / "made" / "passages.sqlite3", isolation_level=None)
    database.execute("CREATE TABLE half (row BLOB)")
    database.execute("PRAGMA cache_size = 1")
    database.execute("BEGIN")
    database.executemany("INSERT INTO half VALUES (?)", [(bytes(4_000),)] * 100)
    shutil.copytree(folder.parent / "made", folder)
    database.close()
    assert (folder / "passages.sqlite3-journal").stat().st_size > 0
    store = EmbeddedStore(folder, FINGERPRINT)
    put(store, passages(3))
    assert store.count() == 3
    store.close()


def test_what_was_read_of_two_moments_is_not_given_out(
    written: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 30: who may not write cannot keep others from it; the next look is at what they have written."""
    with monkeypatch.context() as without_leave:
        without_leave.setattr("hybrid_core.stores.embedded.database._only_readable", lambda _: True)
        reader = EmbeddedStore(written, FINGERPRINT)
    writer = EmbeddedStore(written, FINGERPRINT)
    refused = pytest.raises(IndexLockedError, match="while it was read without leave to write; try again")
    with refused, reader._ledger.reading():
        put(writer, [Passage("new", "a new text")])
        assert reader._ledger.count() == 40
    assert reader.count() == len(reader.ids()) == 41
    writer.close()
    assert reader.search_dense(dense_of("a new text"), 1)[0].id == "new"
    reader.close()


@pytest.mark.parametrize("damage", ["garbage", "header", "half", "pages", "zeroed", "empty"])
def test_a_damaged_truth_is_said_to_be_damaged(written: Path, damage: str) -> None:
    """Fault 3: the truth itself corrupt."""
    file = written / "passages.sqlite3"
    content = file.read_bytes()
    assert not (written / "passages.sqlite3-wal").exists()
    damaged = {
        "garbage": b"this is no database, whatever its name may say" * 100,
        "header": bytes(100) + content[100:],
        "half": content[: len(content) // 2],
        "zeroed": bytes(len(content)),
        "empty": b"",
        "pages": content[:4096] + b"\xa5" * (len(content) - 4096),
    }
    file.write_bytes(damaged[damage])
    with pytest.raises(IndexCorruptError, match=r"passages\.sqlite3"):
        _use(written)


def _use(folder: Path) -> None:
    store = EmbeddedStore(folder, FINGERPRINT)
    try:
        store.get(store.ids(Eq("even", True)))
        store.search_dense(dense_of("q"), 5)
    finally:
        store.close()


def test_a_newer_format_is_refused(written: Path) -> None:
    """Fault 31, the other way round: an older release says that it is too old."""
    database = sqlite3.connect(written / "passages.sqlite3")
    with database:
        database.execute("UPDATE info SET value = '3' WHERE key = 'format'")
    database.close()
    with pytest.raises(StorageError, match="format 3, this release reads 2; upgrade"):
        EmbeddedStore(written, FINGERPRINT)


def test_using_a_closed_store_says_so(written: Path, put: Put) -> None:
    store = EmbeddedStore(written, FINGERPRINT)
    store.close()
    uses: list[Callable[[], object]] = [
        store.count, store.ids, lambda: store.get(["p0000"]), lambda: store.search_dense(dense_of("q"), 1),
        lambda: store.search_sparse(sparse_of("q"), 1), lambda: store.delete(["p0000"]), store.optimize,
        lambda: put(store, passages(1)), lambda: store.sparse_vectors(["p0000"]), lambda: store.encodings(["q"]),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(StorageError, match="has been closed"):
            use()


def test_a_closed_store_that_was_asked_to_write_keeps_no_lock(written: Path, put: Put) -> None:
    closed = EmbeddedStore(written, FINGERPRINT)
    closed.close()
    with pytest.raises(StorageError):
        put(closed, passages(1))
    other = EmbeddedStore(written, FINGERPRINT)
    put(other, [Passage("new", "the other one writes")])
    assert other.count() == 41
    other.close()


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(StorageError, match="file"):
        EmbeddedStore(tmp_path / "file" / "index", FINGERPRINT)


def test_a_name_that_no_file_can_have_is_a_storage_error(tmp_path: Path) -> None:
    for name in ("x" * 300, "x" * 5_000):
        with pytest.raises(StorageError, match="cannot be used"):
            EmbeddedStore(tmp_path / name, FINGERPRINT)
        with pytest.raises(StorageError, match="cannot be read"):
            read_fingerprint(tmp_path / name)


@pytest.mark.parametrize("folder", ["", b"index", 3, None, "a\0b"], ids=repr)
def test_what_is_no_path_is_named_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Any
) -> None:
    """An empty string, from a variable that is not set, say, is not the folder that the process happens to be in."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match="is no path of a folder"):
        EmbeddedStore(folder, FINGERPRINT)
    assert not list(tmp_path.iterdir())
