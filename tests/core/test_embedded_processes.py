"""The embedded store in several processes: readers beside a writer, writers beside a writer, forks, other users."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from vectors import FINGERPRINT, dense_of, passages

from hybrid_core import IndexLockedError, SparseVector
from hybrid_core.stores.embedded import EmbeddedStore

if sys.platform == "win32":
    pytest.skip("forks and users are POSIX's", allow_module_level=True)
from embedded_processes import BATCH, DONE, MANY, batch, put

ALL_TOKENS = SparseVector.from_dict(dict.fromkeys(range(FINGERPRINT.vocabulary), 1.0))


@contextmanager
def scenario(name: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that plays a part; it ends well, or the test fails."""
    command = [sys.executable, Path(__file__).with_name("embedded_processes.py"), name, folder]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        yield process
        _, said = process.communicate()
        assert process.returncode == 0, said[-3_000:]
        assert "Exception ignored" not in said, said


def played(name: str, folder: Path) -> Any:
    """What a scenario says in the end."""
    with scenario(name, folder) as process:
        assert process.stdout is not None
        return json.loads(process.stdout.read().splitlines()[-1])


def line(process: subprocess.Popen[str]) -> str:
    """The next line a scenario says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    """Have a scenario go on."""
    assert process.stdin is not None
    print(file=process.stdin, flush=True)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that another user can reach; pytest's own are closed to all others."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made / "index"
    for path in (made, made / "index"):
        path.chmod(0o755)
    shutil.rmtree(made)


def test_a_reader_sees_a_batch_of_another_process_within_100_ms(tmp_path: Path) -> None:
    """Fault 4: readers see the newest commit, on both sides, and whole batches only.

    Measured from when the writer's call has returned, to when a search that sees the batch has; of 20 batches the
    median, since a busy machine may hold up one or the other process at any time.
    """
    seen: dict[int, float] = {}
    with scenario("write_batches", tmp_path) as writer:
        assert line(writer) == "ready"
        store = EmbeddedStore(tmp_path, FINGERPRINT)
        tell(writer)
        deadline = time.monotonic() + 120
        while len(seen) < 21 and time.monotonic() < deadline:
            dense = store.search_dense(dense_of("q"), 1_000)
            sparse = store.search_sparse(ALL_TOKENS, 1_000)
            assert len(dense) % BATCH == len(sparse) % BATCH == 0
            assert len(dense) <= len(sparse)
            for number in range(len(sparse) // BATCH):
                seen.setdefault(number, time.monotonic())
            time.sleep(0.001)
        written = [float(line(writer)) for _ in range(20)]
        store.close()
    assert len(seen) == 21
    assert statistics.median(seen[number] - at for number, at in enumerate(written, start=1)) <= 0.1


def test_a_second_process_is_refused_within_a_second_and_welcome_afterwards(tmp_path: Path) -> None:
    """Fault 4: a second writer, while the first is busy; of five attempts the median. A killed writer holds nothing."""
    store = EmbeddedStore(tmp_path, FINGERPRINT)
    calls: list[Callable[[], object]] = [
        lambda: put(store, batch(2)), lambda: store.delete(["b0-0"]), store.optimize, store.compact,
        lambda: put(store, passages(1)),
    ]  # fmt: skip
    with scenario("hold", tmp_path) as writer:
        assert line(writer) == "holding"
        took = []
        for call in calls:
            began = time.monotonic()
            with pytest.raises(IndexLockedError, match=tmp_path.name):
                call()
            took.append(time.monotonic() - began)
        assert statistics.median(took) <= 1.0
        assert store.count() >= BATCH
        tell(writer)
    for call in calls[:2]:
        call()
    assert store.count() == 3 * BATCH - 1
    store.close()
    with pytest.raises(AssertionError), scenario("hold", tmp_path) as writer:  # noqa: PT012
        assert line(writer) == "holding"
        writer.kill()
    store = EmbeddedStore(tmp_path, FINGERPRINT)
    put(store, passages(1))
    assert store.count() == 3 * BATCH + 1
    store.close()


def test_of_five_processes_that_write_at_once_one_does_and_nothing_is_lost(tmp_path: Path) -> None:
    """Fault 4: five writers on one folder, one that is not there yet included; each may write once it is free."""
    for results in played("five_at_once", tmp_path):
        assert [code for code, _ in results] == [0] * 5, results
        said = [text for _, text in results]
        assert said.count(DONE) == 1, said
        assert all(text == DONE or text.startswith("IndexLockedError: ") for text in said), said


def test_a_fork_gets_a_clear_error_or_an_answer_and_the_parent_goes_on(tmp_path: Path) -> None:
    """Fault 5: fork after open, in the middle of searches; no child hangs, neither in a call nor at its exit."""
    said = played("forked", tmp_path / "index")
    code, every_call = said["every call"]
    assert code == 0
    assert len(every_call) == 13
    for name, text in every_call.items():
        assert text.startswith("StorageError: "), name
        assert "was opened before a fork; open it again" in text
    assert said["close"] == said["forget"] == said["leave"] == [0, None]
    answers = {
        "count": MANY, "filtered": ["p0007"], "text": "text number 7", "dense": said["parent"]["dense"],
        "sparse": said["parent"]["sparse"], "all": MANY,
    }  # fmt: skip
    assert answers["dense"][0] == "p0007"
    assert "p0007" in answers["sparse"]
    code, own = said["own"]
    assert code == 0
    assert own.pop("delete").startswith("IndexLockedError: ")
    assert own == answers
    code, elsewhere = said["elsewhere"]
    assert code == 0
    assert elsewhere.pop("optimize") == DONE
    assert elsewhere == answers | {"count": MANY - 1, "all": MANY - 1}
    assert said["parent"] == answers | {"count": MANY + BATCH, "all": MANY + BATCH}
    assert said["optimize"] == BATCH
    code, still = said["still locked"]
    assert code == 0
    assert still.pop("delete").startswith("IndexLockedError: ")
    assert still == said["parent"]
    store = EmbeddedStore(tmp_path / "index", FINGERPRINT)
    assert set(store.ids()) == {item.id for item in [*passages(MANY), *batch(1)]}
    store.close()


def test_a_fork_while_the_view_is_opened_waits_for_nothing_that_is_not_there(tmp_path: Path) -> None:
    """Fault 5: half of Chroma imported, or its threads elsewhere, is none; who was forked before uses HNSW."""
    said = played("forked_early", tmp_path / "index")
    assert said["opening"]
    before, *after = said["before"][1], *said["after"]
    for code, answers in (before, *after):
        assert code == 0
        assert answers.pop("count") == MANY
        assert answers.pop("hnsw") is (answers is before[1])
        assert_answers(answers, MANY)


def test_a_spawned_process_searches_and_may_not_write(tmp_path: Path) -> None:
    """Fault 5: spawn after open works; fault 4: it is one more process, which is refused as any other."""
    answers = played("spawned", tmp_path)
    assert answers.pop("delete").startswith("IndexLockedError: ")
    assert answers.pop("count") == MANY
    assert answers.pop("hnsw")
    assert_answers(answers, MANY)


def test_who_may_not_write_can_search_and_sees_what_others_write(public_folder: Path) -> None:
    """Fault 30: a read-only folder, closed cleanly, beside a writer, and from before to after one."""
    said = played("read_only", public_folder)
    for when, added in (("clean", 0), ("beside a writer", BATCH)):
        code, answers = said[when]
        assert code == 0, answers
        assert answers.pop("touched") is False
        for name in ("upsert", "delete", "optimize", "compact"):
            assert answers[name].startswith("StorageError: "), name
            assert str(public_folder) in answers.pop(name)
        assert answers["count"] == MANY + added
        assert_answers(answers, MANY + added)
    code, all_the_time = said["all the time"]
    assert code == 0, all_the_time
    for answers, there in zip(all_the_time, (MANY, MANY + BATCH, 500 + BATCH), strict=True):
        assert answers.pop("count") == there
        assert_answers(answers, there)


def assert_answers(answers: dict[str, Any], there: int) -> None:
    assert answers["filtered"] == ["p0007"]
    assert answers["text"] == "text number 7"
    assert answers["dense"][0] == "p0007"
    assert "p0007" in answers["sparse"]
    assert answers["all"] == there
