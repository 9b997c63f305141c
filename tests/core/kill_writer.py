"""A nursery for test_kill.py: it imports everything once, and forks a child for each round, which works until killed.

A line of its input is a round: the folder, and the calls to make. The child prints its process id, and a line before
and after each call; when it is gone, the nursery prints how it ended.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import chromadb  # noqa: F401  # what a fold would import, seconds each time; used here it could not be in a child
import numpy as np
from scipy.sparse import csr_array
from vectors import DIMENSION, FINGERPRINT, VOCABULARY

from hybrid_core import Encoding, Passage
from hybrid_core.stores.embedded import EmbeddedStore, folding
from hybrid_core.stores.embedded import store as embedded

SIZES = [1_050, *[20] * 11]  # of the batches; from 1,000 passages on Chroma writes HNSW files
IDS = [[f"b{number}-{i}" for i in range(size)] for number, size in enumerate(SIZES)]
LARGEST = 1 << 26  # bytes of one file: a runaway one must not fill the disk
TIMEOUT = 300  # seconds for one call; generous, since a busy machine may stop a process for minutes


@lru_cache(maxsize=100)
def batch(number: int, round_: int) -> tuple[list[Passage], Encoding]:
    """The passages of one batch as they are in one round, and their vectors: a function of the two, made fast."""
    passages = [Passage(id_, f"passage {id_} in round {round_}", {"round": round_}) for id_ in IDS[number]]
    random, n = np.random.default_rng((number, round_)), SIZES[number]
    dense = random.normal(size=(n, DIMENSION))
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    tokens = random.integers(VOCABULARY - 2, size=(n, 1)) + np.arange(3)
    weights = random.random(3 * n, dtype=np.float32) + np.float32(0.1)
    sparse = csr_array((weights, tokens.ravel(), np.arange(0, 3 * n + 1, 3)), shape=(n, VOCABULARY))
    return passages, Encoding(dense.astype(np.float32), sparse)


def say(*words: object) -> None:
    """Print a line in one piece, without a buffer that would die with the child."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def fold_in_background(store: EmbeddedStore) -> None:
    """Have the store's own thread start the process that folds, however few passages are new, and await the view."""
    store._fold_is_due = lambda: True  # type: ignore[method-assign]
    store._background.wake()
    while store._dense.rows < store._state.rows:
        time.sleep(0.01)


def work(folder: str, calls: list[list[Any]]) -> None:
    """Make the calls, and wait to be killed."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))
    embedded._UNSAVED = 1  # so that every close writes the sparse view
    folding._QUIET = 0.0  # nothing is waited for
    say("child", os.getpid())
    store: Any = None
    for call, *arguments in calls:
        passages, encoding = batch(*arguments) if len(arguments) == 2 else ([], None)
        signal.alarm(TIMEOUT)  # its default is to kill, whatever the call is stuck in
        say("begin", call)
        began = time.monotonic()
        match call:
            case "open":
                store = EmbeddedStore(folder, FINGERPRINT)
            case "add" | "replace":
                store.upsert(passages, encoding)
            case "delete":
                store.delete(IDS[arguments[0]])
            case "fold":
                store.optimize()
            case "background":
                fold_in_background(store)
            case "compact":
                store.compact()
            case "close":
                store.close()
        say("done", time.monotonic() - began)
    signal.alarm(TIMEOUT)
    signal.pause()


def main() -> None:
    """Fork a child for each line of input."""
    for line in sys.stdin:
        assert threading.active_count() == 1  # a fork has only the thread that forks
        if not (child := os.fork()):
            try:
                work(*json.loads(line))
            finally:
                sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
                os._exit(1)
        say("gone", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main()
