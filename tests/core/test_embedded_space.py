"""`compact` gives space back, `backup` makes a copy: both while others read and write."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from big_corpus import MODEL, ROWS, assert_exact, hnsw_rows, recall, truth
from embedded_answers import FORMATS, answers, expected, kept, write
from kill_steps import killed_at_each_step
from vectors import DIMENSION, FINGERPRINT, dense_of, passages, sparse_of

from hybrid_core import (
    Eq,
    HybridError,
    IndexCorruptError,
    IndexLockedError,
    InvalidInputError,
    Passage,
    StorageError,
)  # fmt: skip
from hybrid_core.stores.embedded import EmbeddedStore
from hybrid_core.stores.memory import MemoryStore

LATEST = FORMATS / max(path.name for path in FORMATS.iterdir())
STAY = [Passage(f"s{i:02d}", f"this one stays {i}", {"stays": True, "n": i}) for i in range(30)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index of twelve passages, closed, with three gaps."""
    return Path(shutil.copytree(LATEST, tmp_path / "index"))


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


READER = """
import json, sys
from vectors import FINGERPRINT, dense_of, sparse_of
from hybrid_core import Eq
from hybrid_core.stores.embedded import EmbeddedStore
store = EmbeddedStore(sys.argv[1], FINGERPRINT)
for line in sys.stdin:
    if line == "reopen\\n":
        store.close()
        store = EmbeddedStore(sys.argv[1], FINGERPRINT)
    dense, sparse = store.search_dense(dense_of("q"), 5_000), store.search_sparse(sparse_of("text number 1"), 5_000)
    stays = store.search_dense(dense_of("q"), 5_000, Eq("stays", True))
    print(json.dumps([store.ids(), dense, sparse, sorted(hit.id for hit in stays)]), flush=True)
"""


class Reader:
    """A reader in another process, which has the index open."""

    def __init__(self, folder: Path) -> None:
        path = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-c", READER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        )

    def ask(self, what: str = "look") -> list[Any]:
        """Its ids, its dense and its sparse hits, and which of those that stay it finds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(what, file=self._process.stdin, flush=True)
        return list(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
        assert self._process.returncode == 0


@pytest.fixture
def reader_of() -> Iterator[Callable[[Path], Reader]]:
    """Makes readers in other processes."""
    made: list[Reader] = []
    yield lambda folder: made.append(Reader(folder)) or made[-1]  # type: ignore[func-returns-value]
    for reader in made:
        reader.close()


def as_json(store: EmbeddedStore) -> list[Any]:
    """What a reader in another process is expected to say."""
    dense, sparse = store.search_dense(dense_of("q"), 5_000), store.search_sparse(sparse_of("text number 1"), 5_000)
    return list(json.loads(json.dumps([store.ids(), dense, sparse])))


def test_the_space_of_what_is_gone_is_given_back_at_once(tmp_path: Path) -> None:
    store, fresh = EmbeddedStore(tmp_path / "index", FINGERPRINT), EmbeddedStore(tmp_path / "fresh", FINGERPRINT)
    write(store, [Passage(item.id, item.text, {"long": "x" * 500}) for item in passages(1_000)])
    for each in (store, fresh):
        write(each, passages(40))
    assert store.delete([f"p{i:04d}" for i in range(20, 1_000)]) == 980
    assert fresh.delete([f"p{i:04d}" for i in range(20, 40)]) == 20
    before, said = size(tmp_path / "index"), answers(store)
    assert store.compact() == 1_020
    assert answers(store) == said
    assert answers(store) == answers(fresh)
    assert size(tmp_path / "index") < before / 5  # with the index open still
    assert fresh.compact() == 20
    for each in (store, fresh):
        each.close()
    assert size(tmp_path / "index") <= size(tmp_path / "fresh") + 16_384
    [vectors] = (tmp_path / "index").glob("vectors-*")
    assert vectors.stat().st_size == 20 * DIMENSION * 4


def test_nothing_changes_but_the_places(folder: Path) -> None:
    store, exact = EmbeddedStore(folder, FINGERPRINT), kept(MemoryStore())
    assert store.compact() == 3
    assert answers(store) == expected()
    assert store.compact() == 0
    for each in (store, exact):
        write(each, passages(6, start=9))
        assert each.delete(["p0000", "p0010"]) == 2
    assert answers(store) == answers(exact)
    store.close()
    store = EmbeddedStore(folder, FINGERPRINT)
    assert answers(store) == answers(exact)
    assert store.compact() == 4  # two replaced, two deleted
    assert answers(store) == answers(exact)
    store.close()


def test_an_index_of_which_nothing_is_left(folder: Path) -> None:
    """Fault 24: an emptied index is as good as a new one."""
    store, exact = EmbeddedStore(folder, FINGERPRINT), MemoryStore()
    assert store.delete(store.ids()) == 12
    assert store.compact() == 15
    assert store.ids() == store.search_dense(dense_of("q"), 5) == store.search_sparse(sparse_of("q"), 5) == []
    assert not list(folder.glob("vectors-*"))
    for each in (store, exact):
        write(each, passages(3))
    assert answers(store) == answers(exact)
    store.close()


def test_only_the_writer_compacts(folder: Path) -> None:
    """Fault 4: a second writer."""
    writer, other = EmbeddedStore(folder, FINGERPRINT), EmbeddedStore(folder, FINGERPRINT)
    write(writer, passages(1))
    with pytest.raises(IndexLockedError):
        other.compact()
    writer.close()
    assert other.compact() == 4
    other.close()


def test_readers_follow(folder: Path, reader_of: Callable[[Path], Reader]) -> None:
    """Fault 4: readers see the newest commit, though every place has changed its passage."""
    elsewhere = reader_of(folder)
    reader, writer = EmbeddedStore(folder, FINGERPRINT), EmbeddedStore(folder, FINGERPRINT)
    for step in (
        lambda: write(writer, passages(5, start=20)),
        lambda: writer.delete(["p0001", "p0022", "p0007"]),
        writer.compact,
        lambda: write(writer, passages(30, start=2)),
        lambda: writer.delete([f"p{i:04d}" for i in range(10)]),
        writer.compact,
    ):
        step()
        assert answers(reader) == answers(writer)
        assert elsewhere.ask()[:3] == as_json(writer)
    for each in (reader, writer):
        each.close()


def test_searches_go_on_meanwhile_and_miss_nothing(tmp_path: Path, reader_of: Callable[[Path], Reader]) -> None:
    """Fault 4, fault 6: in this object, in another one, and in another process, which opens the index again and again."""
    folder = tmp_path / "index"
    writer = EmbeddedStore(folder, FINGERPRINT)
    write(writer, STAY)
    ids = sorted(item.id for item in STAY)
    reader, elsewhere = EmbeddedStore(folder, FINGERPRINT), reader_of(folder)
    over = threading.Event()

    def search(store: EmbeddedStore) -> int:
        times = 0
        while not over.is_set() or not times:
            dense = store.search_dense(dense_of("q"), 5_000, Eq("stays", True))
            assert sorted(hit.id for hit in dense) == ids
            tokens = sparse_of("this one stays 3")
            sparse = store.search_sparse(tokens, 5_000, Eq("stays", True))
            assert next(hit.score for hit in sparse if hit.id == "s03") == pytest.approx(tokens.values @ tokens.values)
            assert set(ids) <= set(store.ids())
            times += 1
        return times

    def ask() -> int:
        times = 0
        while not over.is_set() or not times:
            assert elsewhere.ask("reopen" if times % 2 else "look")[3] == ids
            times += 1
        return times

    with ThreadPoolExecutor(4) as threads:
        seen = [threads.submit(search, writer), threads.submit(search, reader), threads.submit(ask)]
        try:
            for round_ in range(12):
                write(writer, passages(20, start=20 * round_))
                assert writer.delete([f"p{i:04d}" for i in range(20 * round_, 20 * round_ + 19)]) == 19
                write(writer, STAY[round_::2])  # replaced, by the same
                assert writer.compact() >= 19
        finally:
            over.set()
        assert all(future.result() > 0 for future in seen)
    for each in (reader, writer):
        each.close()


def test_the_dense_view_goes_and_is_built_again(folded_index: Path) -> None:
    store = EmbeddedStore(folded_index, MODEL)
    reader = EmbeddedStore(folded_index, MODEL)
    for each in (store, reader):
        assert recall(each, truth()) >= 0.95
        assert each._dense.rows == ROWS
    gone = {f"p{i:05d}": None for i in range(0, ROWS, 50)}
    left = truth(dict(gone))
    assert store.delete(list(gone)) == len(gone)
    assert store.compact() == len(gone)
    assert not [name for name in names(folded_index) if name.startswith("dense")]
    for each in (store, reader):
        assert_exact(each, left)
        assert each._dense.rows == 0
    assert store.optimize() == len(left)
    for each in (store, reader):
        assert recall(each, left) >= 0.95
        assert hnsw_rows(each) == len(left)
        each.close()


def test_a_compaction_killed_at_any_step_leaves_the_index_whole(tmp_path: Path) -> None:
    """Fault 1: kill -9 before each call of SQLite or the file system; what it left is swept by the next writer."""
    everything, gaps = expected(), []
    for copy in killed_at_each_step("compact", LATEST, tmp_path):
        store = EmbeddedStore(copy, FINGERPRINT)
        assert answers(store) == everything
        gaps.append(store.compact())
        assert answers(store) == everything
        store.close()
        assert len(list(copy.glob("vectors-*"))) == 1
    assert gaps == sorted(gaps, reverse=True)
    assert set(gaps) == {3, 0}


def test_a_backup_opens_elsewhere_with_the_same_answers(folder: Path, tmp_path: Path) -> None:
    store, exact = EmbeddedStore(folder, FINGERPRINT), kept(MemoryStore())
    for each in (store, exact):
        write(each, passages(4, start=50))
    assert store.backup(tmp_path / "deep" / "backup") == 16
    before = answers(exact)
    for each in (store, exact):
        assert each.delete(["p0050"]) == 1
    assert answers(store) == answers(exact)
    store.close()
    shutil.rmtree(folder)
    moved = (tmp_path / "deep" / "backup").rename(tmp_path / "moved")
    again = EmbeddedStore(moved, FINGERPRINT)
    assert answers(again) == before
    write(again, passages(3, start=50))
    assert again.count() == 16
    again.close()
    assert names(tmp_path / "deep") == []


def test_a_reader_makes_backups_too(folder: Path, tmp_path: Path) -> None:
    """Fault 4: it takes no lock from the writer, nor needs one."""
    writer, reader = EmbeddedStore(folder, FINGERPRINT), EmbeddedStore(folder, FINGERPRINT)
    write(writer, passages(1, start=60))
    assert reader.backup(tmp_path / "backup") == 13
    write(writer, passages(1, start=61))
    for each in (writer, reader):
        each.close()


def test_the_views_come_along(folded_index: Path, tmp_path: Path) -> None:
    """A large index is copied ready for use: nothing is built when the copy is opened."""
    store = EmbeddedStore(folded_index, MODEL)
    assert hnsw_rows(store) == ROWS  # its files are open while they are copied
    assert store.backup(tmp_path / "backup") == ROWS
    store.close()
    again = EmbeddedStore(tmp_path / "backup", MODEL)
    assert recall(again, truth()) >= 0.95
    assert hnsw_rows(again) == ROWS
    assert again._sparse.saved == again._sparse.rows == ROWS
    assert again.optimize() == 0
    again.close()


@pytest.mark.parametrize("damaged", ["chroma.sqlite3", "data_level0.bin", "sparse.json", "sparse-*.run"])
def test_a_damaged_view_does_not_come_along(folded_index: Path, tmp_path: Path, damaged: str) -> None:
    """Fault 3: it is derived; the copy holds the truth, and builds its own."""
    [path] = folded_index.rglob(damaged)
    path.write_bytes(b"\x00 no such format" * 400)
    store = EmbeddedStore(folded_index, MODEL)
    assert store.backup(tmp_path / "backup") == ROWS
    store.close()
    again = EmbeddedStore(tmp_path / "backup", MODEL)
    if damaged in ("chroma.sqlite3", "data_level0.bin"):
        assert_exact(again, truth())
        assert again._dense.rows == 0
    assert len(again.search_sparse(sparse_of("q"), 2 * ROWS)) > 0
    again.close()


def test_a_backup_is_of_one_moment_though_writes_go_on(tmp_path: Path) -> None:
    """Fault 4: whole batches, as many as were acknowledged before it began at least, each with its own vectors."""
    folder = tmp_path / "index"
    writer, reader = EmbeddedStore(folder, FINGERPRINT), EmbeddedStore(folder, FINGERPRINT)
    write(writer, STAY)
    over, written = threading.Event(), 0

    def write_on() -> None:
        nonlocal written
        while not over.is_set():
            write(writer, passages(7, start=7 * written))
            written += 1
            write(writer, STAY[::3])
            if written % 4 == 0:
                writer.compact()

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write_on)
        try:
            for i in range(8):
                least = written
                (reader if i % 2 else writer).backup(tmp_path / f"backup{i}")
                store = EmbeddedStore(tmp_path / f"backup{i}", FINGERPRINT)
                batches, rest = divmod(store.count() - len(STAY), 7)
                assert rest == 0
                assert batches >= least
                items = [*STAY, *passages(7 * batches)]
                assert store.get(store.ids()) == {item.id: item for item in items}
                exact = MemoryStore()
                write(exact, items)
                assert store.search_dense(dense_of("q"), 5_000) == exact.search_dense(dense_of("q"), 5_000)
                assert store.search_sparse(sparse_of("q"), 5_000) == exact.search_sparse(sparse_of("q"), 5_000)
                assert store.compact() >= 0  # every checksum is right
                store.close()
        finally:
            over.set()
        writing.result()
    for each in (writer, reader):
        each.close()


@pytest.mark.parametrize("there", ["a file", "a folder", "an empty folder", "the index itself"])
def test_what_is_there_already_is_left_alone(folder: Path, tmp_path: Path, there: str) -> None:
    target = folder if there == "the index itself" else tmp_path / "backup"
    if there == "a file":
        target.write_text("mine", encoding="utf-8")
    elif target != folder:
        target.mkdir()
        if there == "a folder":
            (target / "mine").touch()
    before = names(tmp_path), names(target) if target.is_dir() else target.read_text(encoding="utf-8")
    store = EmbeddedStore(folder, FINGERPRINT)
    with pytest.raises(StorageError, match="exists already; choose another path"):
        store.backup(target)
    store.close()
    assert before == (names(tmp_path), names(target) if target.is_dir() else target.read_text(encoding="utf-8"))


def test_a_backup_into_the_index_itself_is_refused(folder: Path) -> None:
    """What is named like a view there is swept away by the next fold."""
    store, before = EmbeddedStore(folder, FINGERPRINT), names(folder)
    for target in (folder / "dense-backup", folder / "deep" / ".." / "vectors-backup"):
        with pytest.raises(StorageError, match="lies in the index itself"):
            store.backup(target)
    store.close()
    assert set(names(folder)) <= set(before)


def test_a_backup_that_cannot_be_written_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = EmbeddedStore(folder, FINGERPRINT)
    with pytest.raises(StorageError, match="could not be written"):
        store.backup(tmp_path / "file" / "backup")
    with pytest.raises(StorageError, match="could not be written"):
        store.backup(tmp_path / ("x" * 300))
    with pytest.raises(InvalidInputError, match="folder='' is no path of a folder"):
        store.backup("")
    store.close()
    assert names(tmp_path) == ["file", "index"]


def test_a_backup_killed_at_any_step_is_not_there_or_whole(tmp_path: Path) -> None:
    """Fault 1: kill -9 before each call of SQLite or the file system; the index does not mind."""
    everything, there = expected(), []
    for copy in killed_at_each_step("backup", LATEST, tmp_path):
        target = copy.with_name(f"{copy.name}-backup")
        there.append(target.exists())
        for folder in [copy, target][: 1 + there[-1]]:
            store = EmbeddedStore(folder, FINGERPRINT)
            assert answers(store) == everything
            store.close()
    assert there == sorted(there)
    assert set(there) == {False, True}


def test_no_damaged_database_is_copied(folder: Path, tmp_path: Path) -> None:
    """Fault 3: the truth itself corrupt, page by page: the backup says so, rather than be worth nothing one day."""
    store = EmbeddedStore(folder, FINGERPRINT)
    write(store, passages(400, start=100))
    store.close()
    file = folder / "passages.sqlite3"
    content = file.read_bytes()
    page = int.from_bytes(content[16:18])
    assert len(content) // page > 8
    for start in range(0, len(content), page):
        for damage in (bytes(page), b"\xa5" * page):
            file.write_bytes(content[:start] + damage + content[start + page :])
            with pytest.raises(IndexCorruptError, match=r"passages\.sqlite3"):
                open_and_back_up(folder, tmp_path / "backup")
            assert names(tmp_path) == ["index"]
    file.write_bytes(content)
    assert open_and_back_up(folder, tmp_path / "backup") == 412


def open_and_back_up(folder: Path, target: Path) -> int:
    store = EmbeddedStore(folder, FINGERPRINT)
    try:
        return store.backup(target)
    finally:
        store.close()


def test_a_closed_index_makes_neither(folder: Path, tmp_path: Path) -> None:
    store = EmbeddedStore(folder, FINGERPRINT)
    store.close()
    for call in (store.compact, lambda: store.backup(tmp_path / "backup")):
        with pytest.raises(HybridError, match="has been closed"):
            call()
