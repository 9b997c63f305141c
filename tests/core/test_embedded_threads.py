"""Fault 6: one object, many threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from big_corpus import CORPUS, MODEL, QUERIES, ROWS, exact, truth
from big_corpus import write as write_corpus
from embedded_answers import answers, write
from vectors import DIMENSION, FINGERPRINT, VOCABULARY, dense_of, encoding_of, passages, sparse_of

from hybrid_core import Encoding, Eq, Passage, SparseVector, StorageError
from hybrid_core.stores.embedded import EmbeddedStore
from hybrid_core.stores.memory import MemoryStore

ANY = SparseVector.from_dict(dict.fromkeys(range(VOCABULARY), 1.0))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    """An empty index."""
    made = EmbeddedStore(tmp_path / "index", FINGERPRINT)
    yield made
    made.close()


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns far more often than they do by default."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def all_done(futures: list[Future[None]]) -> None:
    """Wait for all, and raise the first error there was."""
    for future in futures:
        future.result()


@pytest.mark.usefixtures("switching")
def test_eight_threads_add_and_search(store: EmbeddedStore) -> None:
    """Fault 6: exact counts; each thread finds at once what it has written, and never a batch that is half there."""
    batches, size = 12, 10

    def work(thread: int) -> None:
        for batch in range(batches):
            start = 1_000 * thread + size * batch
            write(store, passages(size, start=start))
            own = passages(size * (batch + 1), start=1_000 * thread)
            assert store.get([item.id for item in own]) == {item.id: item for item in own}
            assert store.search_dense(dense_of(own[-1].text), 1)[0].id == own[-1].id
            for hits in (store.search_dense(dense_of("q"), 5_000), store.search_sparse(ANY, 5_000)):
                assert len({hit.id for hit in hits}) == len(hits)
                assert len(hits) % size == 0
                assert len(hits) >= size * (batch + 1)
            assert store.count() % size == len(store.ids(Eq("even", True))) % (size // 2) == 0

    with ThreadPoolExecutor(8) as threads:
        all_done([threads.submit(work, thread) for thread in range(8)])
    memory = MemoryStore()
    for thread in range(8):
        write(memory, passages(batches * size, start=1_000 * thread))
    assert store.count() == len(store.ids()) == 8 * batches * size
    assert sorted(store.ids()) == sorted(memory.ids())
    assert store.search_dense(dense_of("q"), 5_000) == memory.search_dense(dense_of("q"), 5_000)
    assert store.search_sparse(ANY, 5_000) == memory.search_sparse(ANY, 5_000)


@pytest.mark.usefixtures("switching")
def test_a_passage_that_is_replaced_is_found_all_the_time(store: EmbeddedStore) -> None:
    """Fault 6: as it was or as it is, and once; by each of five searches, while three threads replace everything."""
    items = passages(60)
    write(store, items)
    over = threading.Event()

    def replace_all(part: int) -> None:
        for round_ in range(25):
            write(store, [Passage(item.id, f"{item.text} in round {round_}", item.metadata) for item in items[part::3]])

    def search() -> None:
        while not over.is_set():
            asked: list[list[str]] = [
                [hit.id for hit in store.search_dense(dense_of("q"), 500)],
                [hit.id for hit in store.search_sparse(ANY, 500)],
                [hit.id for hit in store.search_dense(dense_of("q"), 500, Eq("even", True))],
                store.ids(),
                list(store.get([item.id for item in items])),
            ]
            assert [len(set(found)) for found in asked] == [len(found) for found in asked] == [60, 60, 30, 60, 60]

    with ThreadPoolExecutor(8) as threads:
        searching = [threads.submit(search) for _ in range(5)]
        try:
            all_done([threads.submit(replace_all, part) for part in range(3)])
        finally:
            over.set()
        all_done(searching)
    assert store.compact() == 60 * 25


@pytest.mark.usefixtures("switching")
def test_whichever_thread_writes_first_the_lock_is_let_go_by_close(tmp_path: Path) -> None:
    """Fault 6, fault 4: the first writes of an object, all at once, become one writer."""
    for round_ in range(10):
        folder = tmp_path / f"index{round_}"
        store = EmbeddedStore(folder, FINGERPRINT)
        call_at_once(
            partial(write, store, passages(3)),
            partial(write, store, passages(3, start=3)),
            partial(store.delete, ["nobody"]),
            store.compact if round_ % 5 else store.optimize,
        )
        store.close()
        other = EmbeddedStore(folder, FINGERPRINT)
        write(other, passages(3, start=6))
        assert other.count() == 9
        other.close()


def call_at_once(*calls: Callable[[], object]) -> None:
    """Make calls in as many threads, none before all are ready."""
    start = threading.Barrier(len(calls))

    def call(number: int) -> None:
        start.wait()
        calls[number]()

    with ThreadPoolExecutor(len(calls)) as threads:
        all_done([threads.submit(call, number) for number in range(len(calls))])


class Slow(Encoding):
    """An encoding that waits, in the middle of the write it is given to, until it is told to go on."""

    entered = threading.Event()
    go_on = threading.Event()

    def sparse_row(self, i: int) -> SparseVector:
        if i:
            self.entered.set()
            assert self.go_on.wait(120)
        return Encoding.sparse_row(self, i)


def test_searches_do_not_wait_for_a_write(store: EmbeddedStore) -> None:
    """Fault 6: whatever can be asked is answered, as of before, while a transaction is under way."""
    memory = MemoryStore()
    for each in (store, memory):
        write(each, passages(20))
    items = passages(10, start=15)
    encoding = encoding_of([item.text for item in items])
    with ThreadPoolExecutor(6) as threads:
        writing = threads.submit(store.upsert, items, Slow(encoding.dense, encoding.sparse))
        try:
            assert Slow.entered.wait(120)
            asked = [threads.submit(answers, store) for _ in range(5)]
            assert all(each.result(timeout=120) == answers(memory) for each in asked)
            assert not writing.done()
        finally:
            Slow.go_on.set()
        writing.result()
    write(memory, items)
    assert answers(store) == answers(memory)


def test_searches_do_not_wait_for_a_fold(store: EmbeddedStore) -> None:
    """Fault 32, fault 6: nor do writes, which are found at once."""
    memory = MemoryStore()
    for each in (store, memory):
        write(each, passages(30))
    reached, go_on = threading.Event(), threading.Event()

    def hold(_: int) -> None:
        reached.set()
        assert go_on.wait(120)

    with ThreadPoolExecutor(2) as threads:
        folding = threads.submit(store.optimize, hold)
        try:
            assert reached.wait(120)
            for each in (store, memory):
                write(each, passages(10, start=25))
                assert each.delete(["p0001"]) == 1
            assert answers(store) == answers(memory)
            assert not folding.done()
        finally:
            go_on.set()
        assert folding.result() == 30
    assert answers(store) == answers(memory)
    assert store._dense.rows == 30
    assert store.optimize() == 10
    assert answers(store) == answers(memory)


def test_a_close_waits_for_what_is_under_way(tmp_path: Path) -> None:
    """Fault 6: what was begun ends as it should, and later calls are told that it is closed."""
    store = EmbeddedStore(tmp_path / "index", FINGERPRINT)
    write(store, passages(3))
    over, errors = threading.Event(), []

    def work(start: int) -> int:
        added = 0
        while not over.is_set():
            try:
                write(store, passages(5, start=start + added))
                added += 5
                store.search_dense(dense_of("q"), 10)
                store.search_sparse(sparse_of("q"), 10)
            except StorageError as error:
                errors.append(str(error))
                break
        return added

    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(work, 1_000 * (i + 1)) for i in range(4)]
        while store.count() < 100:
            pass
        store.close()
        over.set()
        added = sum(future.result() for future in futures)
    assert set(errors) <= {f"{tmp_path / 'index'} has been closed; open it again"}
    again = EmbeddedStore(tmp_path / "index", FINGERPRINT)
    assert again.count() == 3 + added
    assert file_size(tmp_path / "index") == again.count() * DIMENSION * 4
    again.close()


def file_size(folder: Path) -> int:
    [path] = folder.glob("vectors-*")
    return path.stat().st_size


@pytest.mark.usefixtures("switching")
def test_objects_of_one_process_open_and_close_the_same_view_at_once(folded_index: Path) -> None:
    """Fault 6: Chroma knows of one client a folder, and of no second thread; each of these has HNSW for itself."""
    for _ in range(3):
        stores = [EmbeddedStore(folded_index, MODEL) for _ in range(4)]
        for here in (stores, stores[2:]):
            call_at_once(*(partial(store.search_dense, QUERIES[0], 5) for store in here))
            for store in here:
                store._dense.wait()
                assert store._dense._collection is not None
                assert store.search_dense(QUERIES[0], 1)[0].id == exact(truth(), QUERIES[0], 1)[0]
            call_at_once(*(store.close for store in stores[: len(stores) // 2]))
        call_at_once(*(store.close for store in stores))


def test_threads_share_the_dense_view_with_folds_and_writes(folded_index: Path) -> None:
    """Fault 6: HNSW is asked by four threads, while others write, fold and compact; no answer is of two moments."""
    store = EmbeddedStore(folded_index, MODEL)
    over = threading.Event()
    best = [exact(truth(), query, 1)[0] for query in QUERIES]

    def search(thread: int) -> float:
        right = asked = 0
        while not over.is_set() or not asked:
            for query, id_ in zip(QUERIES[thread::4], best[thread::4], strict=True):
                found = store.search_dense(query, 5)
                assert len({hit.id for hit in found}) == 5
                right, asked = right + (found[0].id == id_), asked + 1
            found = store.search_dense(QUERIES[thread], 5, Eq("most", False))
            assert [int(hit.id[1:]) % 12 for hit in found] == [0] * 5
        return right / asked

    with ThreadPoolExecutor(4) as threads:
        searching = [threads.submit(search, thread) for thread in range(4)]
        try:
            for step in (store.optimize, store.compact, store.optimize):
                write_corpus(store, range(200), CORPUS[:200])  # again, as they are
                step()
        finally:
            over.set()
        assert min(future.result() for future in searching) >= 0.9
    assert store.count() == ROWS
    store.close()
