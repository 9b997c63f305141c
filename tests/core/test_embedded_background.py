"""New passages are folded into HNSW at leisure, by a process of its own, which never outlives who started it."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from embedded_answers import answers, write
from vectors import FINGERPRINT, dense_of, passages

from hybrid_core import IndexCorruptError
from hybrid_core.stores.embedded import EmbeddedStore
from hybrid_core.stores.memory import MemoryStore

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few passages are worth a fold, a moment is quiet enough, and answers are exact unless a test says otherwise."""
    monkeypatch.setattr("hybrid_core.stores.embedded.store._TAIL", 10)
    monkeypatch.setattr("hybrid_core.stores.embedded.folding._QUIET", 0.05)
    monkeypatch.setattr("hybrid_core.stores.embedded.snapshot._EXACT", 1_000_000)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never quiet for long enough."""
    monkeypatch.setattr("hybrid_core.stores.embedded.folding._QUIET", 1e6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def store(folder: Path) -> Iterator[EmbeddedStore]:
    """An empty index; nothing of it runs any more when it has been closed."""
    made = EmbeddedStore(folder, FINGERPRINT)
    yield made
    made.close()
    assert not threads()
    assert not children(folder)
    assert len(list(folder.glob("dense-*"))) == (folder / "dense.json").exists()


def threads() -> list[threading.Thread]:
    """The threads that fold, or wait until they should."""
    return [thread for thread in threading.enumerate() if thread.name == "bge-hybrid fold"]


def children(folder: Path, parent: int | None = None) -> list[int]:
    """The processes that fold an index for this one, or another."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, its_parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (path / "cmdline").read_bytes()
            if state not in "ZX" and int(its_parent) == (parent or os.getpid()) and bytes(folder) in command:
                found.append(int(path.name))
    return found


def runs(process: int) -> bool:
    """Whether a process is there; one that ended and that no one has asked after yet is not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def until(condition: Callable[[], object]) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextlib.contextmanager
def stopped(store: EmbeddedStore, folder: Path) -> Iterator[int]:
    """Have passages folded, and the process that does it stopped in the middle; let it go on afterwards."""
    for attempt in range(6):  # it may be too fast to be caught
        write(store, passages(500 << attempt, start=100_000))
        child = caught(store, folder)
        if child:
            break
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGCONT)


def caught(store: EmbeddedStore, folder: Path) -> int:
    """Stop the process that folds when it has begun to write; 0 if it came to its end before."""
    before = set(folder.glob("dense-*"))
    until(lambda: children(folder))
    [child] = children(folder)
    until(lambda: set(folder.glob("dense-*")) - before or not runs(child))
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGSTOP)
        if runs(child) and store._dense.rows < store._state.rows:
            return child
        os.kill(child, signal.SIGCONT)
    until(lambda: store._dense.rows == store._state.rows)
    return 0


def test_a_fold_begins_when_writes_have_ceased_and_is_taken_into_use(
    store: EmbeddedStore, memory: MemoryStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = EmbeddedStore(folder, FINGERPRINT)
    for start in range(0, 1_200, 300):
        for each in (store, memory):
            write(each, passages(300, start=start))
    until(lambda: store._dense.rows == 1_200)
    for each in (store, memory):  # more than a quarter: the next fold, on what there is
        write(each, passages(350, start=1_150))
        assert each.delete(["p0001", "p1195", "p1201"]) == 3
    until(lambda: store._dense.rows == 1_550)
    assert answers(store) == answers(reader) == answers(memory)
    monkeypatch.setattr("hybrid_core.stores.embedded.snapshot._EXACT", 1_000)
    for each in (store, reader):
        assert each.count() == 1_497
        assert hnsw_rows(each) in range(1_548, 1_551)  # two may have been deleted before the fold began
        for text in ("text number 3", "text number 1190", "text number 1499"):
            assert each.search_dense(dense_of(text), 1) == memory.search_dense(dense_of(text), 1)
    reader.close()


def hnsw_rows(store: EmbeddedStore) -> int:
    """How many rows the HNSW index in use has; it is opened by the first search that could do with it."""
    store.search_dense(dense_of("q"), 1)
    store._dense.wait()
    return int(store._dense._collection.count())


@pytest.mark.usefixtures("never")
def test_nothing_begins_while_writes_go_on(store: EmbeddedStore, folder: Path) -> None:
    for start in range(0, 60, 3):
        write(store, passages(3, start=start))
    [thread] = threads()
    assert thread.is_alive()
    assert not children(folder)
    assert not list(folder.glob("dense*"))


def test_few_passages_are_not_worth_a_fold(store: EmbeddedStore, folder: Path) -> None:
    write(store, passages(10))
    assert not threads()
    write(store, passages(1, start=10))
    until(lambda: store._dense.rows == 11)
    write(store, passages(9, start=11))
    store.close()
    again = EmbeddedStore(folder, FINGERPRINT)
    write(again, passages(1))  # a view that nobody has searched since it was opened counts too
    begun = threads()
    again.close()
    assert begun == []


def test_searches_and_writes_go_on_meanwhile(store: EmbeddedStore, memory: MemoryStore, folder: Path) -> None:
    """Fault 32: the old view serves, and what is written meanwhile is found at once."""
    with stopped(store, folder) as child:
        held = store._state.rows
        write(memory, list(store.get(store.ids()).values()))
        for each in (store, memory):
            write(each, passages(9, start=99_995))
            assert each.delete(["p100000", "p99999", "p100007"]) == 3  # a new one, one replaced, and one as it was
        assert answers(store) == answers(memory)
        assert store._dense.rows < held
        assert runs(child)
    until(lambda: store._dense.rows >= held)  # more, if it was stopped before it had looked at what there is
    assert answers(store) == answers(memory)


def test_optimize_waits_for_it(store: EmbeddedStore, folder: Path) -> None:
    with stopped(store, folder) as child, ThreadPoolExecutor(1) as pool:
        optimizing = pool.submit(store.optimize)
        time.sleep(0.05)
        assert not optimizing.done()
        os.kill(child, signal.SIGCONT)
        assert optimizing.result() == 0
    assert store._dense.rows == store.count()


def test_a_close_does_not_wait_for_it_and_leaves_nothing(
    store: EmbeddedStore, memory: MemoryStore, folder: Path
) -> None:
    """Fault 32: what was not finished is begun anew another time."""
    with stopped(store, folder) as child:
        write(memory, list(store.get(store.ids()).values()))
        rows = store._dense.rows
        view = store._dense._state
        store.close()  # and the child cannot have come to its end
        assert not runs(child)
    assert not threads()
    assert [path.name for path in folder.glob("dense-*")] == ([view.folder] if view else [])
    again = EmbeddedStore(folder, FINGERPRINT)
    assert answers(again) == answers(memory)
    assert again._dense.rows == rows
    assert again.optimize() == again.count() - rows
    assert answers(again) == answers(memory)
    again.close()


@pytest.mark.usefixtures("never")
def test_a_close_does_not_wait_for_quiet(folder: Path) -> None:
    store = EmbeddedStore(folder, FINGERPRINT)
    write(store, passages(20))
    assert threads()
    store.close()
    assert not threads()
    assert not list(folder.glob("dense*"))


@pytest.mark.usefixtures("never")
def test_a_store_that_is_forgotten_leaves_nothing_running(folder: Path) -> None:
    """Nor does it keep the next writer out."""
    store = EmbeddedStore(folder, FINGERPRINT)
    write(store, passages(20))
    assert threads()
    del store
    gc.collect()
    until(lambda: not threads())
    other = EmbeddedStore(folder, FINGERPRINT)
    write(other, passages(1, start=20))
    assert other.count() == 21
    other.close()


def test_a_store_that_is_forgotten_during_a_fold_goes_when_it_ends(folder: Path) -> None:
    store = EmbeddedStore(folder, FINGERPRINT)
    with stopped(store, folder):
        del store
        gc.collect()
    until(lambda: not threads() and not children(folder))
    other = EmbeddedStore(folder, FINGERPRINT)
    write(other, passages(1))
    assert other._dense.rows == other.count() - 1
    other.close()


PARENT = """
import sys, time
import hybrid_core.stores.embedded.folding, hybrid_core.stores.embedded.store
hybrid_core.stores.embedded.folding._QUIET = 0.01
hybrid_core.stores.embedded.store._TAIL = 10
from embedded_answers import write
from vectors import FINGERPRINT, passages
from hybrid_core.stores.embedded import EmbeddedStore
store = EmbeddedStore(sys.argv[1], FINGERPRINT)
write(store, passages(3_000))
print("written", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("how", ["killed", "ended without a close"])
def test_a_process_that_goes_takes_its_child_with_it(folder: Path, how: str) -> None:
    """Fault 1, fault 32: no process is left, the lock is free, and the index as good as before."""
    path = [*filter(None, sys.path), str(Path(__file__).parent), str(Path(__file__).parents[1])]
    command = [sys.executable, "-c", PARENT, str(folder)]
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert parent.stdout.readline() == "written\n"
        until(lambda: children(folder, parent.pid))
        [child] = children(folder, parent.pid)
        if how == "killed":
            parent.kill()
        else:
            parent.stdin.close()
        assert parent.wait() == (-signal.SIGKILL if how == "killed" else 0), parent.stderr
    until(lambda: not runs(child))
    store = EmbeddedStore(folder, FINGERPRINT)
    assert store.count() == 3_000
    assert store.optimize() in (0, 3_000)
    assert store._dense.rows == 3_000
    store.close()
    assert len(list(folder.glob("dense-*"))) == 1


def test_a_child_that_the_system_kills_is_replaced(
    store: EmbeddedStore, memory: MemoryStore, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 13: out of memory, say. It is said, its folder goes, and the next writes begin another."""
    with stopped(store, folder) as child:
        os.kill(child, signal.SIGKILL)
    until(lambda: "could not be folded into the dense view: the process ended with -9" in caplog.text)
    write(memory, list(store.get(store.ids()).values()))
    assert answers(store) == answers(memory)
    for each in (store, memory):
        write(each, passages(1))
    until(lambda: store._dense.rows == store.count())
    assert answers(store) == answers(memory)


def test_a_fold_that_finds_damage_says_so_and_searches_go_on(
    store: EmbeddedStore, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 3: the truth itself corrupt, which a search would not notice."""
    write(store, passages(5))
    [file] = folder.glob("vectors-*")
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    write(store, passages(20, start=5))
    until(lambda: f"{file.name} is not as it was written" in caplog.text)
    assert len(store.search_dense(dense_of("q"), 100)) == 25
    assert [thread.is_alive() for thread in threads()] == [True]
    with pytest.raises(IndexCorruptError, match="not as it was written"):
        store.optimize()
    assert not list(folder.glob("dense*"))
