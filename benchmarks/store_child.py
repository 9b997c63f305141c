"""One phase of `benchmarks.store` for one system, in a process of its own: results go to a file, line by line.

    python -m benchmarks.store_child PHASE SYSTEM FOLDER COUNT TRUTH RESULTS

A line is a JSON object; what was measured before a process had to be stopped is kept.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .store_exact import Truth, agreement
from .store_fresh import freshness
from .store_systems import System, open_system
from .vectors import Block, Collection

_WARM = 5  # queries that are not timed
_PATIENCE, _LEAST = 60.0, 20  # seconds for the queries of one measure, and the least number of them
_SEARCHABLE = 60.0  # seconds, at most, until a search returns what was written last
_EVERY = 10_000  # passages between two lines of progress
_PARTS = {"truth": ("passages.sqlite3*", "vectors-*"), "sparse view": ("sparse*",), "dense view": ("dense*",)}

Emit = Callable[..., None]


def ingest(name: str, folder: Path, count: int, truth: Truth, emit: Emit) -> None:
    """Write everything, until searches return the last of it."""
    system = open_system(name, folder)
    seconds, size = 0.0, 0
    for blocks in _together(Collection(count).blocks(), system.blocks):
        begin = time.perf_counter()
        system.write(blocks)
        seconds += time.perf_counter() - begin
        size += sum(block.size for block in blocks)
        done = blocks[-1].numbers[-1] + 1
        if done % _EVERY == 0:
            print(f"  {name}: {done:,} passages, {done / seconds:,.0f} a second", flush=True)
    begin = time.perf_counter()
    _wait_for_last(system, blocks[-1])
    seconds += time.perf_counter() - begin
    emit(per_second=count / seconds, given=size)
    begin = time.perf_counter()
    system.close()
    emit(close=time.perf_counter() - begin, disk=_disk(name, folder))


def fold(name: str, folder: Path, count: int, truth: Truth, emit: Emit) -> None:
    """Have the embedded store build its HNSW index."""
    system: Any = open_system(name, folder)
    begin = time.perf_counter()
    done = 0

    def progress(added: int) -> None:
        nonlocal done
        done += added
        if done % _EVERY == 0:
            print(f"  {name}: {done:,} folded in {time.perf_counter() - begin:,.0f} s", flush=True)

    system.store.optimize(progress)
    emit(fold=time.perf_counter() - begin)
    system.close()
    emit(disk=_disk(name, folder))


def serve(name: str, folder: Path, count: int, truth: Truth, emit: Emit) -> None:
    """Open what is there, and ask every query in each way."""
    queries = truth.queries
    begin = time.perf_counter()
    system = open_system(name, folder)
    system.dense(queries.dense[0])
    emit(open_dense=time.perf_counter() - begin)
    if system.sparse_side:
        system.sparse(queries.sparse(0))
        emit(open_both=time.perf_counter() - begin)
    view = getattr(getattr(system, "store", None), "_dense", None)
    if view is not None and view.rows:  # it is opened in the background, and searches are exact until then
        view.wait()
        emit(open_view=time.perf_counter() - begin)
    if system.sparse_side:
        found = _measure(emit, "sparse", lambda i: system.sparse(queries.sparse(i)), len(queries))
        emit(sparse_recall=agreement(found, truth.sparse))
    found = _measure(emit, "dense", lambda i: system.dense(queries.dense[i]), len(queries))
    emit(dense_recall=agreement(found, truth.dense))
    _measure(emit, "dense_of_group", lambda i: system.dense(queries.dense[i], filtered=True), len(queries))
    if system.sparse_side:
        found = _measure(emit, "hybrid", lambda i: system.hybrid(queries.dense[i], queries.sparse(i)), len(queries))
        emit(hybrid_agreement=agreement(found, truth.hybrid_of_group))
    emit(memory=_memory())
    system.close()


def agree(name: str, folder: Path, count: int, truth: Truth, emit: Emit) -> None:
    """Write everything, ask every query with the filter, and compare the ten best with the right ones."""
    system = open_system(name, folder)
    for blocks in _together(Collection(count).blocks(), system.blocks):
        system.write(blocks)
    _wait_for_last(system, blocks[-1])
    queries = truth.queries
    if system.sparse_side:
        found = [system.hybrid(queries.dense[i], queries.sparse(i)) for i in range(len(queries))]
        emit(agreement=agreement(found, truth.hybrid_of_group))
    else:
        found = [system.dense(queries.dense[i], filtered=True) for i in range(len(queries))]
        emit(agreement=agreement(found, truth.dense_of_group))
    system.close()


def fresh(name: str, folder: Path, count: int, truth: Truth, emit: Emit) -> None:
    """Write passages one by one, and learn when another process sees each."""
    writing, seen = freshness(folder)
    emit(write=_percentiles(writing, len(writing)), seen=_percentiles(seen, len(seen)))


def _together(blocks: Iterator[Block], most: int) -> Iterator[list[Block]]:
    part: list[Block] = []
    for block in blocks:
        part.append(block)
        if len(part) == most:
            yield part
            part = []
    if part:
        yield part


def _wait_for_last(system: System, block: Block) -> None:
    """Return once searches find the passage that was written last."""
    last, vectors = block.numbers[-1], block.vectors
    latest = time.monotonic() + _SEARCHABLE
    while last not in system.dense(vectors.dense[-1]) or (
        system.sparse_side and last not in system.sparse(vectors.sparse(len(vectors) - 1))
    ):
        if time.monotonic() > latest:
            raise TimeoutError(f"passage {last} is not found {_SEARCHABLE:.0f} s after it was written")
        time.sleep(0.01)


def _measure(emit: Emit, what: str, ask: Callable[[int], list[int]], count: int) -> list[list[int]]:
    """Ask one query after the other, and return what was found; a slow system is asked fewer."""
    for i in range(min(_WARM, count)):
        ask(i)
    answers, seconds = [], []
    for i in range(count):
        begin = time.perf_counter()
        answers.append(ask(i))
        seconds.append(time.perf_counter() - begin)
        if sum(seconds) > _PATIENCE and i + 1 >= _LEAST:
            break
    emit(**{what: _percentiles(seconds, count)})
    return answers


def _percentiles(seconds: list[float], wanted: int) -> dict[str, float]:
    p50, p95 = (np.percentile(seconds, [50, 95]) * 1e3).tolist()
    return {"p50": p50, "p95": p95, "asked": len(seconds), "of": wanted}


def _memory() -> dict[str, float]:
    """Return the process's resident memory in MB: its own, and pages of files, which the system may take back."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    held = dict(line.split(":", 1) for line in lines)
    own, files, shared = (int(held[key].split()[0]) * 1024 / 1e6 for key in ("RssAnon", "RssFile", "RssShmem"))
    return {"own": own, "files": files + shared}


def _disk(name: str, folder: Path) -> dict[str, int]:
    """Return the bytes of the files, of the embedded store by what they are for."""
    if name != "ours":
        return {"all": _bytes(folder)}
    return {part: sum(_bytes(path) for glob in globs for path in folder.glob(glob)) for part, globs in _PARTS.items()}


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def main() -> None:
    """Run the phase that the arguments name."""
    phase, name, folder, count, truth, results = sys.argv[1:]
    phases = {"ingest": ingest, "fold": fold, "serve": serve, "agree": agree, "fresh": fresh}
    with Path(results).open("a", encoding="utf-8") as file:

        def emit(**measures: Any) -> None:
            print(f"  {name}: " + ", ".join(f"{key} {_short(value)}" for key, value in measures.items()), flush=True)
            file.write(json.dumps(measures) + "\n")
            file.flush()

        phases[phase](name, Path(folder), int(count), Truth.load(Path(truth)), emit)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} {_short(entry)}" for key, entry in value.items()) + "}"
    return f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"


if __name__ == "__main__":
    main()
