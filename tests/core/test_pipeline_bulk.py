"""HybridIndex: many passages in one call: what overlaps, in what order it is committed, and what an error leaves."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from checkpoints import forward_passes
from watched import WatchedEncoder

from hybrid_core import (
    BgeM3Encoder,
    DuplicateIdError,
    EmbeddingError,
    Encoding,
    HybridIndex,
    InvalidTextError,
    Passage,
    StorageError,
    StorageFullError,
)
from hybrid_core.cancellation import finish
from hybrid_core.stores.memory import MemoryStore

ROWS = [Passage(f"p{i:02d}", f"a worker pulls task {i}", {"n": i}) for i in range(55)]


@pytest.fixture(autouse=True)
def tens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of ten instead of a thousand."""
    monkeypatch.setattr("hybrid_core.ingest.CHUNK", 10)


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bge-hybrid-writer")]


@pytest.fixture(params=["memory", "folder"])
def open_index(
    request: pytest.FixtureRequest, tmp_path: Path, encoder: BgeM3Encoder
) -> Iterator[Callable[..., HybridIndex]]:
    """Open the index, with what to call before each call of the encoder; called again, the same passages anew."""
    opened: list[HybridIndex] = []

    def open_(before: Callable[[Sequence[str]], Any] = len) -> HybridIndex:
        watched = WatchedEncoder(encoder, before)
        if request.param == "memory":
            made = HybridIndex(opened[-1].store if opened else MemoryStore(encoder.fingerprint), encoder=watched)
        else:
            while opened:
                opened.pop().close()
            made = HybridIndex.open(tmp_path / "index", encoder=watched)
        opened.append(made)
        return made

    yield open_
    for index in opened:
        index.close()


class Writes:
    """Notes what a store is given and by which thread; `before` is called with the number of each call, from 0."""

    def __init__(self, store: Any, before: Callable[[int], Any] = abs) -> None:
        self.ids: list[list[str]] = []
        self.threads: list[threading.Thread] = []
        write = store.upsert

        def upsert(passages: Sequence[Passage], encoding: Encoding) -> None:
            before(len(self.ids))
            self.ids.append([passage.id for passage in passages])
            self.threads.append(threading.current_thread())
            write(passages, encoding)

        store.upsert = upsert


def assert_vectors_belong(index: HybridIndex, encoder: BgeM3Encoder) -> None:
    """Each passage has the vectors of its text: a dense one of cosine 1, and the very tokens."""
    ids = index.ids()
    encoding = encoder.encode_documents([row.text for row in index.get(ids) if row])
    sparse = index.store.sparse_vectors(ids)
    for i, id_ in enumerate(ids):
        hits = index.search_vectors(encoding.dense[i], k=len(ids))
        assert {hit.passage.id: hit.score for hit in hits}[id_] == pytest.approx(1.0, abs=1e-5)
        assert sparse[id_].as_dict() == pytest.approx(encoding.sparse_row(i).as_dict(), abs=1e-4)


def test_a_chunk_is_encoded_while_the_one_before_it_is_committed(open_index: Callable[..., HybridIndex]) -> None:
    both = threading.Barrier(2, timeout=30)
    calls: list[int] = []

    def second_call(texts: Sequence[str]) -> None:
        calls.append(len(texts))
        if len(calls) == 2:
            both.wait()  # passed only if the first chunk is being written now

    index = open_index(second_call)
    writes = Writes(index.store, lambda number: both.wait() if number == 0 else None)
    assert index.upsert(iter(ROWS)) == [row.id for row in ROWS]
    assert calls == [10, 10, 10, 10, 10, 5]
    assert writes.ids == [[row.id for row in ROWS[start : start + 10]] for start in range(0, 55, 10)]
    assert len(set(writes.threads[:-1])) == 1
    assert writes.threads[0] is not writes.threads[-1] is threading.current_thread()
    assert index.get(index.ids()) == ROWS


def test_a_single_chunk_starts_no_thread(open_index: Callable[..., HybridIndex]) -> None:
    before = threading.active_count()
    index = open_index(lambda texts: counts.append(threading.active_count()))
    counts: list[int] = []
    writes = Writes(index.store, lambda number: counts.append(threading.active_count()))
    index.upsert(ROWS[:10])
    index.upsert(iter(ROWS[10:20]))
    assert writes.threads == [threading.current_thread()] * 2
    assert set(counts) == {before}


def test_the_callers_generator_runs_in_the_callers_thread(open_index: Callable[..., HybridIndex]) -> None:
    """Fault 15: a generator may use what is bound to its thread."""
    threads = set()

    def stream() -> Iterator[Passage]:
        for row in ROWS:
            threads.add(threading.current_thread())
            yield row

    open_index().upsert(stream())
    assert threads == {threading.current_thread()}


def test_an_error_of_the_source_leaves_the_chunks_before_it(open_index: Callable[..., HybridIndex]) -> None:
    """Fault 15: what came before the error is kept, nothing of the current chunk is visible."""
    for error in (RuntimeError("the source broke"), KeyboardInterrupt(), GeneratorExit()):

        def stream(error: BaseException = error) -> Iterator[Passage]:
            yield from ROWS[:37]
            raise error

        index = open_index()
        with pytest.raises(type(error)):
            index.upsert(stream())
        assert index.ids() == [row.id for row in ROWS[:30]]
        index.delete(index.ids())


def test_a_bad_passage_in_a_stream_leaves_the_chunks_before_it(open_index: Callable[..., HybridIndex]) -> None:
    """Fault 12: found before its chunk is written, and of a list before anything is."""
    rows = [*ROWS[:37], Passage("bad", "\ud800"), *ROWS[37:]]
    index = open_index()
    with pytest.raises(InvalidTextError, match="'bad'"):
        index.upsert(rows)
    assert index.ids() == []
    with pytest.raises(InvalidTextError, match="'bad'"):
        index.upsert(iter(rows))
    assert index.ids() == [row.id for row in ROWS[:30]]
    with pytest.raises(DuplicateIdError, match="'p31'"):
        index.upsert(iter([*ROWS[:32], Passage("p31", "another")]))


@pytest.mark.parametrize("error", [EmbeddingError("NaN"), MemoryError(), KeyboardInterrupt()], ids=repr)
def test_an_error_of_the_encoder_leaves_the_chunks_before_it(
    open_index: Callable[..., HybridIndex], encoder: BgeM3Encoder, error: BaseException
) -> None:
    def fail(texts: Sequence[str]) -> None:
        if ROWS[33].text in texts:
            raise error

    with pytest.raises(type(error)):
        open_index(fail).upsert(iter(ROWS))
    index = open_index()
    assert index.ids() == [row.id for row in ROWS[:30]]
    with forward_passes(encoder) as passes:
        assert index.upsert(iter(ROWS)) == [row.id for row in ROWS]
    assert sum(passes) == 25
    assert index.get(index.ids()) == ROWS


@pytest.mark.parametrize("at", [0, 2, 5])
@pytest.mark.parametrize("form", [list, iter])
def test_an_error_of_the_store_stops_all_later_chunks(
    open_index: Callable[..., HybridIndex], at: int, form: Callable[[Any], Any]
) -> None:
    def full(number: int) -> None:
        if number == at:
            raise StorageFullError("the disk is full")

    index = open_index()
    writes = Writes(index.store, full)
    with pytest.raises(StorageFullError):
        index.upsert(form(ROWS))
    assert len(writes.ids) == at
    assert index.ids() == [row.id for row in ROWS[: 10 * at]]
    del index.store.upsert  # there is room again
    with forward_passes(index.encoder._encoder) as passes:  # type: ignore[attr-defined]
        index.upsert(form(ROWS))
    assert sum(passes) == 55 - 10 * at
    assert index.get(index.ids()) == ROWS


def test_an_interrupt_waits_for_the_chunk_that_is_being_committed(open_index: Callable[..., HybridIndex]) -> None:
    def interrupt(number: int) -> None:
        if number == 1:
            os.kill(os.getpid(), signal.SIGINT)  # Python raises KeyboardInterrupt in the caller's thread
            time.sleep(0.3)

    index = open_index()
    writes = Writes(index.store, interrupt)
    with pytest.raises(KeyboardInterrupt):
        index.upsert(iter(ROWS))
    count = len(index)
    assert count in (20, 30)  # the next chunk too, if it was encoded
    assert len(writes.ids) == count // 10
    assert index.get(index.ids()) == ROWS[:count]


def test_the_first_error_is_the_one_that_is_raised(open_index: Callable[..., HybridIndex]) -> None:
    def full(number: int) -> None:
        if number == 1:
            raise StorageFullError("the disk is full")

    def stream() -> Iterator[Passage]:
        yield from ROWS[:32]
        raise RuntimeError("the source broke")

    index = open_index()
    Writes(index.store, full)
    with pytest.raises(StorageFullError):  # chunk 1 could not be committed; the source broke in chunk 3
        index.upsert(stream())
    assert index.ids() == [row.id for row in ROWS[:10]]


def test_an_index_closed_in_the_middle_keeps_whole_chunks(tmp_path: Path, encoder: BgeM3Encoder) -> None:
    index = HybridIndex.open(tmp_path / "index", encoder=encoder)

    def stream() -> Iterator[Passage]:
        yield from ROWS[:44]
        index.close()
        yield from ROWS[44:]

    with pytest.raises(StorageError, match="closed"):
        index.upsert(stream())
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as again:
        count = len(again)
        assert count in (20, 30)
        assert again.get(again.ids()) == ROWS[:count]


@pytest.mark.parametrize("seed", range(4))
def test_repeated_ids_and_texts_end_as_with_one_chunk_after_the_other(
    open_index: Callable[..., HybridIndex], encoder: BgeM3Encoder, seed: int
) -> None:
    """Fault 20: the same id in two chunks: the later one wins."""
    chance = random.Random(seed)  # noqa: S311
    rows: list[Passage] = []
    for _ in range(12):
        ids = chance.sample([f"id {i}" for i in range(14)], 10)
        rows += [Passage(id_, f"text {chance.randrange(9)}", {"v": chance.randrange(2)}) for id_ in ids]
    oracle = HybridIndex(MemoryStore(encoder.fingerprint), encoder=encoder)
    for start in range(0, len(rows), 10):
        oracle.upsert(rows[start : start + 10])
    index = open_index()
    assert index.upsert(iter(rows)) == [row.id for row in rows]
    assert index.ids() == oracle.ids()
    assert index.get(index.ids()) == oracle.get(oracle.ids())
    assert_vectors_belong(index, encoder)


def test_a_text_of_the_chunk_in_flight_is_not_encoded_again(
    open_index: Callable[..., HybridIndex], encoder: BgeM3Encoder
) -> None:
    """Fault 8: unchanged text embeds nothing, under another id in the next chunk either."""
    index = open_index()
    rows = [*ROWS[:10], *(Passage(f"again {row.id}", row.text) for row in ROWS[:7]), *ROWS[10:13], *ROWS[:10]]
    with forward_passes(encoder) as passes:
        index.upsert(iter(rows))
    assert sum(passes) == 13
    assert index.get(index.ids()) == rows[:20]
    assert_vectors_belong(index, encoder)


def test_unchanged_passages_cost_neither_vectors_nor_a_write(
    open_index: Callable[..., HybridIndex], encoder: BgeM3Encoder
) -> None:
    """Fault 8: unchanged passages are recognised by id and content."""
    index = open_index()
    index.upsert(ROWS)
    writes = Writes(index.store)
    asked: list[Any] = []
    index.store.encodings = asked.append  # type: ignore[method-assign, assignment]
    with forward_passes(encoder) as passes:
        assert index.upsert(ROWS) == index.upsert(iter(ROWS)) == [row.id for row in ROWS]
    assert passes == writes.ids == asked == []


def test_what_changes_again_and_again_ends_as_it_was_last(open_index: Callable[..., HybridIndex]) -> None:
    """Fault 8: changed text replaces, in the next chunk too."""
    index = open_index()
    rows = [Passage("a", f"version {i // 10}", {"i": i // 10}) if i % 10 == 0 else ROWS[i] for i in range(50)]
    index.upsert(iter(rows))
    assert index.get(["a"]) == [Passage("a", "version 4", {"i": 4})]
    assert len(index) == 46
    assert index.search("version 0", k=1, filter={"i": 0}) == []


async def test_a_cancelled_bulk_write_is_finished_before_the_cancellation_is_seen(
    open_index: Callable[..., HybridIndex],
) -> None:
    """Fault 7: finished before CancelledError is seen, however many chunks are left."""
    begun, go = threading.Event(), threading.Event()

    def stream() -> Iterator[Passage]:
        yield from ROWS[:33]
        begun.set()
        assert go.wait(30)
        yield from ROWS[33:]

    index = open_index()
    task = asyncio.ensure_future(finish(index.upsert, stream()))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.sleep(0.02)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert index.get(index.ids()) == ROWS


@pytest.mark.parametrize("form", [list, iter])
def test_one_progress_bar_is_drawn_over_the_whole_call(
    open_index: Callable[..., HybridIndex], capsys: pytest.CaptureFixture[str], form: Callable[[Any], Any]
) -> None:
    index = open_index()
    for _ in range(2):  # all of it new, then all of it there
        index.upsert(form(ROWS), show_progress=True)
        drawn = capsys.readouterr().err
        assert drawn.count("\n") == 1  # the end of a bar
        assert drawn.count("Indexing") == drawn.count("\r")
        assert ("100%" in drawn) == (form is list)
        assert "55.0" in drawn.split("\r")[-1]
    index.upsert(ROWS)
    assert capsys.readouterr().err == ""


_KILLED = """
import os, signal, sys
import hybrid_core.ingest
from hybrid_core import BgeM3Encoder, HybridIndex, Passage
hybrid_core.ingest.CHUNK = 10
def stream():
    for i in range(55):
        if i == 47:
            os.kill(os.getpid(), signal.SIGKILL)
        yield Passage(f"p{i:02d}", f"a worker pulls task {i}", {"n": i})
HybridIndex.open(sys.argv[1], encoder=BgeM3Encoder.tiny()).upsert(stream())
"""


def test_after_a_crash_the_same_call_goes_on_where_it_stopped(tmp_path: Path, encoder: BgeM3Encoder) -> None:
    """Fault 8: re-index after kill -9."""
    done = subprocess.run([sys.executable, "-c", _KILLED, tmp_path / "index"], check=False, env=dict(os.environ))
    assert done.returncode == -9
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index:
        count = len(index)
        assert count in (20, 30)  # one chunk was being read, one encoded, one committed
        assert index.get(index.ids()) == ROWS[:count]
        with forward_passes(encoder) as passes:
            index.upsert(iter(ROWS))
        assert sum(passes) == 55 - count
        assert index.get(index.ids()) == ROWS
        assert_vectors_belong(index, encoder)
