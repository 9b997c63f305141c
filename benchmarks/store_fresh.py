"""How soon a process that searches sees what another one has written.

    python -m benchmarks.store_fresh FOLDER

is the one that searches, without a pause; it writes down when it first saw each passage, by the clock that processes
share.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from .store_systems import embedded_store
from .vectors import DIMENSION, VOCABULARY

_TURNS = 50
_TOKEN = 1  # no other passage has it


def freshness(folder: Path) -> tuple[list[float], list[float]]:
    """Write 50 passages one by one; return the seconds of each write, and from its return until it was seen."""
    random = np.random.default_rng(0)
    command = [sys.executable, "-m", "benchmarks.store_fresh", str(folder)]
    store = embedded_store(folder)
    writing, seen = [], []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:  # noqa: S603
        try:
            _next(reader)
            for turn in range(_TURNS):
                time.sleep(random.uniform(0.02, 0.06))  # in no step with the searches
                passages, encoding = _passage(turn)
                begin = time.perf_counter()
                store.upsert(passages, encoding)
                end = time.perf_counter()
                writing.append(end - begin)
                seen.append(max(0.0, _next(reader) - end))  # a commit may be seen before its call returns
        finally:
            reader.kill()
            store.close()
    return writing, seen


def watch(folder: Path) -> None:
    """Search until each passage is there."""
    from hybrid_core.types import SparseVector

    store = embedded_store(folder)
    query = SparseVector.from_dict({_TOKEN: 1.0})
    store.search_sparse(query, 1)
    print(time.perf_counter(), flush=True)
    for turn in range(_TURNS):
        while [item.id for item in store.search_sparse(query, 1)] != [f"fresh {turn}"]:
            pass
        print(time.perf_counter(), flush=True)
    store.close()


def _passage(turn: int) -> tuple[list[Any], Any]:
    """Return a passage that outscores the ones before it."""
    from scipy.sparse import csr_array

    from hybrid_core.types import Encoding, Passage

    dense = np.full((1, DIMENSION), DIMENSION**-0.5, dtype=np.float32)
    weights = np.array([1.0 + turn], dtype=np.float32)
    sparse = csr_array((weights, np.array([_TOKEN], dtype=np.int32), np.array([0, 1])), shape=(1, VOCABULARY))
    return [Passage(f"fresh {turn}", f"The text of turn {turn}.")], Encoding(dense, sparse)


def _next(reader: subprocess.Popen[str]) -> float:
    """Return the next time that the other process wrote down."""
    line = reader.stdout.readline() if reader.stdout else ""
    if not line:
        raise RuntimeError("the process that searches has ended; its error is above")
    return float(line)


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
