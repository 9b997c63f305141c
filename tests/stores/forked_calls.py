"""What test_stores_fork.py does in processes of its own: `python forked_calls.py KIND LOCATION`.

It opens a store, forks, lets the fork try every call and end as a process does, and prints what came out as JSON.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from vectors import FINGERPRINT, dense_of, encoding_of, passages, sparse_of

from hybrid_core import Eq, IndexLockedError, Store
from hybrid_core.stores.memory import MemoryStore
from hybrid_core.stores.milvus import MilvusStore
from hybrid_core.stores.qdrant import QdrantStore

MANY, FORKS, TIMEOUT = 20, 10, 300  # seconds; generous, since a busy machine may stop a process for minutes
OPEN: dict[str, Callable[[str], Store]] = {
    "qdrant": lambda location: QdrantStore(location, FINGERPRINT, timeout=120),
    "milvus": lambda location: MilvusStore(location, FINGERPRINT, timeout=120),
}


def put(store: Store, start: int) -> None:
    """Write some passages."""
    items = passages(MANY, start=start)
    store.upsert(items, encoding_of([item.text for item in items]))


def calls(store: Store) -> dict[str, Callable[[], object]]:
    """Every method that asks the database, by name."""
    return {
        "upsert": lambda: put(store, 100), "delete": lambda: store.delete(["p0001"]), "count": store.count,
        "get": lambda: store.get(["p0001"]), "ids": lambda: store.ids(Eq("n", 1)),
        "encodings": lambda: store.encodings(["text number 1"]), "vectors": lambda: store.sparse_vectors(["p0001"]),
        "dense": lambda: store.search_dense(dense_of("q"), 3), "sparse": lambda: store.search_sparse(sparse_of("q"), 3),
    }  # fmt: skip


def forked(work: Callable[[], Any]) -> Any:
    """Do something in a fork, which then ends as a process does; return its exit code and what `work` returned."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(TIMEOUT)  # exit code -14 is a child that hung
        os.write(writing, json.dumps(work()).encode())
        sys.exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), json.loads(said or b"null")


def database(kind: str, location: str) -> Any:
    """Fork beside an open store on a database."""
    stores = [OPEN[kind](location)]
    put(stores[0], 0)

    def use() -> Any:
        said = {}
        for name, call in calls(stores[0]).items():
            try:
                call()
                said[name] = "no error"
            except Exception as error:
                said[name] = f"{type(error).__name__}: {error}"
        stores[0].close()
        stores.clear()
        gc.collect()
        return said

    made = {
        "child": forked(use),
        "leaves": forked(lambda: None),
        "forgets": forked(lambda: (stores.clear(), gc.collect())),
    }
    try:
        OPEN[kind](location).close()
        made["second"] = "opened"
    except IndexLockedError:
        made["second"] = "locked"
    put(stores[0], MANY)
    made["count"] = stores[0].count()
    made["found"] = len(stores[0].search_dense(dense_of("q"), 1_000))
    stores[0].close()
    return made


def memory() -> Any:
    """Fork in the middle of other threads' calls."""
    store, over = MemoryStore(FINGERPRINT), threading.Event()
    items = passages(MANY)
    encoding, query = encoding_of([item.text for item in items]), sparse_of("q")
    store.upsert(items, encoding)

    def work() -> None:  # nearly all of the time in a call
        while not over.is_set():
            store.upsert(items, encoding)
            store.search_sparse(query, 5)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()

    def use() -> list[int]:
        counts = [store.count(), len(store.search_dense(dense_of("q"), 1_000))]
        put(store, MANY)
        return [*counts, store.count()]

    try:
        return {"children": [forked(use) for _ in range(FORKS)], "count": store.count()}
    finally:
        over.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    print(json.dumps(memory() if sys.argv[1] == "memory" else database(*sys.argv[1:])))
