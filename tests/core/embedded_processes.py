"""What test_embedded_processes.py does in processes of its own: `python embedded_processes.py SCENARIO FOLDER`.

A fork wants a process with few threads, and another user cannot read what the tests import: so a scenario imports all
that it needs, forks, and prints what came out as one line of JSON.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import scipy.sparse  # noqa: F401
from vectors import FINGERPRINT, dense_of, encoding_of, sparse_of
from vectors import passages as numbered

import hybrid_core.stores.embedded.snapshot
from hybrid_core import Eq, Passage, StorageError
from hybrid_core.stores.embedded import EmbeddedStore

BATCH, MANY = 10, 1_050  # from 1,000 passages on Chroma writes HNSW files
TIMEOUT = 60  # seconds in which a child ends, or is killed
DONE = "no error"


def put(store: EmbeddedStore, items: list[Passage]) -> None:
    """Write passages with the vectors of their texts."""
    store.upsert(items, encoding_of([item.text for item in items]))


def batch(number: int) -> list[Passage]:
    """A few passages."""
    return [Passage(f"b{number}-{i}", f"passage {i} of batch {number}", {"batch": number}) for i in range(BATCH)]


def fork(work: Callable[[], Any], leave: Callable[[int], Any] = os._exit) -> Callable[[], Any]:
    """Do something in a child; return what waits for (its exit code, what `work` returned or the error it raised).

    Args:
        work: what it returns can be written as JSON.
        leave: how the child ends: at once, or by sys.exit as a process does. Code -14 is a child that hung.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(TIMEOUT)
        try:
            said = work()
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, json.dumps(said).encode())
        os.close(writing)
        leave(0)
    os.close(writing)

    def wait() -> Any:
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return code, json.loads(said) if said else None

    return wait


def error_of(call: Callable[[], Any]) -> str:
    """Return the class and message of a StorageError, or `DONE`."""
    try:
        call()
        return DONE
    except StorageError as error:
        return f"{type(error).__name__}: {error}"


def calls_of(store: EmbeddedStore, folder: Path) -> dict[str, Callable[[], Any]]:
    """Every method that needs the index, by name."""
    return {
        "upsert": lambda: put(store, batch(99)), "delete": lambda: store.delete(["p0001"]),
        "optimize": store.optimize, "compact": store.compact, "backup": lambda: store.backup(f"{folder}-backup"),
        "get": lambda: store.get(["p0001"]), "ids": store.ids, "count": store.count,
        "encodings": lambda: store.encodings(["text number 1"]), "sparse_vectors": lambda: store.sparse_vectors(["p1"]),
        "search_dense": lambda: store.search_dense(dense_of("q"), 5), "weigh": lambda: store.weigh(sparse_of("q")),
        "search_sparse": lambda: store.search_sparse(sparse_of("q"), 5),
    }  # fmt: skip


def look(store: EmbeddedStore) -> dict[str, Any]:
    """What a store answers."""
    return {
        "count": store.count(),
        "filtered": store.ids(Eq("n", 7)),
        "text": store.get(["p0007"])["p0007"].text,
        "dense": [hit.id for hit in store.search_dense(dense_of("text number 7"), 3)],
        "sparse": [hit.id for hit in store.search_sparse(sparse_of("text number 7"), 3, Eq("even", False))],
        "all": len(store.search_dense(dense_of("q"), 10_000)),
    }


def write_batches(folder: Path) -> None:
    """Write 20 batches, and say when each call returned, by the clock that all processes share."""
    store = EmbeddedStore(folder, FINGERPRINT)
    put(store, batch(0))
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(1, 21):
        put(store, batch(number))
        print(time.monotonic(), flush=True)
        time.sleep(0.02)
    store.close()


def hold(folder: Path) -> None:
    """Write again and again until told to end."""
    store = EmbeddedStore(folder, FINGERPRINT)
    put(store, batch(0) + batch(1))
    print("holding", flush=True)
    ended = threading.Event()
    threading.Thread(target=lambda: ended.set() if sys.stdin.readline() else None, daemon=True).start()
    while not ended.wait(0.01):
        put(store, batch(1))
    store.close()


def five_at_once(folder: Path) -> None:
    """Five processes open and write at once, ten times an index that is not there yet, and the last one once more."""
    results = []
    for round_ in range(11):
        index, first = folder / str(min(round_, 9)), 5 * (round_ == 10)
        barrier = multiprocessing.get_context("fork").Barrier(5, timeout=TIMEOUT)

        def work(number: int, index: Path = index, barrier: Any = barrier) -> str:
            barrier.wait()
            store = EmbeddedStore(index, FINGERPRINT)
            said = again = error_of(lambda: put(store, batch(number)))
            barrier.wait()  # whoever writes goes on until the others have tried
            while again != DONE:
                time.sleep(0.005)
                again = error_of(lambda: put(store, batch(number)))
            store.close()
            return said

        waits = [fork(lambda number=number: work(number)) for number in range(first, first + 5)]  # type: ignore[misc]
        results.append([wait() for wait in waits])
        store = EmbeddedStore(index, FINGERPRINT)
        there = store.get(store.ids())
        assert there == {item.id: item for number in range(first + 5) for item in batch(number)}, results[-1]
        store.close()
    print(json.dumps(results))


def forked(folder: Path) -> None:
    """Fork while the parent writes, has HNSW open and searches in another thread; it goes on afterwards."""
    store = EmbeddedStore(folder, FINGERPRINT)
    put(store, numbered(MANY))
    store.optimize()
    assert store.search_dense(dense_of("q"), 3)
    store._dense.wait()
    assert store._dense._collection is not None
    ended = threading.Event()

    def search() -> None:
        while not ended.is_set():
            store.search_dense(dense_of("q"), 3)
            time.sleep(0.002)

    def own() -> Any:
        mine = EmbeddedStore(folder, FINGERPRINT)
        said = look(mine) | {"delete": error_of(lambda: mine.delete(["p0000"]))}
        mine.close()
        return said

    def elsewhere() -> Any:
        mine = EmbeddedStore(f"{folder}-elsewhere", FINGERPRINT)
        put(mine, numbered(MANY))
        mine.delete(["p0000"])
        said = look(mine) | {"optimize": error_of(mine.optimize)}
        mine.close()
        return said

    def forget() -> None:
        nonlocal store
        del store
        gc.collect()

    thread = threading.Thread(target=search)
    thread.start()
    every_call = fork(lambda: {name: error_of(call) for name, call in calls_of(store, folder).items()}, sys.exit)()
    said = {"every call": every_call, "close": fork(lambda: store.close())(), "forget": fork(forget, sys.exit)()}
    said |= {"own": fork(own)(), "elsewhere": fork(elsewhere)(), "leave": fork(lambda: None, sys.exit)()}
    put(store, batch(1))
    ended.set()
    thread.join()
    said |= {"parent": look(store), "optimize": store.optimize(), "still locked": fork(own)()}
    store.close()
    print(json.dumps(said))


def forked_early(folder: Path) -> None:
    """Fork when a thread has just begun to import Chroma and to open the view; who forks early may use it."""

    def prepare() -> None:
        store = EmbeddedStore(folder, FINGERPRINT)
        put(store, numbered(MANY))
        store.optimize()
        store.close()

    def own() -> Any:
        mine = EmbeddedStore(folder, FINGERPRINT)
        said = look(mine)
        mine._dense.wait()
        said["hnsw"] = mine._dense._collection is not None
        mine.close()
        return said

    before = fork(prepare)()[0], fork(own, sys.exit)()
    store = EmbeddedStore(folder, FINGERPRINT)
    assert "chromadb" not in sys.modules
    store.search_dense(dense_of("q"), 3)
    while "chromadb" not in sys.modules:  # the first of what it imports
        time.sleep(0.001)
    opening = store._dense._opening is not None
    waits = [fork(own, leave) for leave in (os._exit, sys.exit)]
    after = [wait() for wait in waits]
    store.close()
    print(json.dumps({"before": before, "opening": opening, "after": after}))


def spawned(folder: Path) -> None:
    """Spawn a process while the parent writes and has HNSW open."""
    store = EmbeddedStore(folder, FINGERPRINT)
    put(store, numbered(MANY))
    store.optimize()
    store.search_dense(dense_of("q"), 3)
    store._dense.wait()
    assert store._dense._collection is not None
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(json.dumps(pool.apply_async(look_and_write, [folder]).get(TIMEOUT)))
    store.close()


def look_and_write(folder: Path) -> dict[str, Any]:
    """What a store answers that a spawned process opens."""
    hybrid_core.stores.embedded.snapshot._EXACT = 0
    mine = EmbeddedStore(folder, FINGERPRINT)
    mine.search_dense(dense_of("q"), 3)
    mine._dense.wait()
    said = look(mine) | {"hnsw": mine._dense._collection is not None}
    said["delete"] = error_of(lambda: mine.delete(["p0000"]))
    mine.close()
    return said


def read_only(folder: Path) -> None:
    """Search a folder as somebody who may not write, before, while and after another writes."""

    def prepare() -> None:
        store = EmbeddedStore(folder, FINGERPRINT)
        put(store, numbered(MANY))
        store.optimize()
        store.close()

    fork(prepare)()  # who forks from one that has used Chroma cannot use it
    opened, written, closed = (os.pipe() for _ in range(3))

    def reader() -> Any:
        become_a_reader(folder)
        mine = EmbeddedStore(folder, FINGERPRINT)
        said = [look(mine)]
        os.write(opened[1], b".")
        for pipe in (written, closed):
            os.read(pipe[0], 1)
            said.append(look(mine))
        mine.close()
        return said

    def newcomer() -> Any:
        become_a_reader(folder)
        before = files(folder)
        mine = EmbeddedStore(folder, FINGERPRINT)
        said = {name: error_of(call) for name, call in calls_of(mine, folder).items()} | look(mine)
        mine.close()
        return said | {"touched": before != files(folder)}

    early, first = fork(reader), fork(newcomer)()
    os.read(opened[0], 1)
    become_a_writer(folder)
    store = EmbeddedStore(folder, FINGERPRINT)
    put(store, batch(1))
    os.write(written[1], b".")
    second = fork(newcomer)()
    become_a_writer(folder)
    store.delete([f"p{i:04d}" for i in range(500, MANY)])
    store.compact()
    store.close()
    os.write(closed[1], b".")
    print(json.dumps({"clean": first, "beside a writer": second, "all the time": early()}))


def become_a_reader(folder: Path) -> None:
    """Give up the right to write to a folder."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    else:
        for path in [*folder.rglob("*"), folder]:
            path.chmod(0o555 if path.is_dir() else 0o444)


def become_a_writer(folder: Path) -> None:
    """Take back what `become_a_reader` took from everyone."""
    if os.getuid() != 0:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


def files(folder: Path) -> list[tuple[str, int]]:
    """Every file, and how large it is."""
    return sorted((str(path), path.stat().st_size) for path in folder.rglob("*"))


def main() -> None:
    """Run the scenario named."""
    hybrid_core.stores.embedded.snapshot._EXACT = 0  # HNSW is asked however few passages there are
    globals()[sys.argv[1]](Path(sys.argv[2]))


if __name__ == "__main__":
    main()
