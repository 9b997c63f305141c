"""Processes that die, scripts that lack their guard, and ends of all kinds: clear errors, and no process left over."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from gates import until
from pool_specs import PlainSpec
from vectors import encoding_of

from hybrid_core import InvalidInputError, ModelError, ModelLoadError
from hybrid_core.encoders.pool import WorkerPool

HERE = Path(__file__).parent


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[WorkerPool]:
    with WorkerPool(PlainSpec(tmp_path), devices=["cpu"]) as pool:
        yield pool


def pids(pool: WorkerPool) -> list[int]:
    return [worker.pid for worker in pool._workers if worker.pid is not None]


def runs(pid: int) -> bool:
    """Whether a process is there; one that ended and that no one has asked after yet is not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def test_a_process_killed_at_work_fails_its_call_and_is_started_again(pool: WorkerPool, tmp_path: Path) -> None:
    [before] = pids(pool)
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(pool.encode_documents, ["hold"])
        until((tmp_path / "held").exists)
        os.kill(before, signal.SIGKILL)
        error = call.exception(timeout=60)
    assert isinstance(error, ModelError)
    assert f"worker 0 (cpu), process {before}, was killed by SIGKILL, as the system does when memory" in str(error)
    np.testing.assert_array_equal(pool.encode_documents(["again"]).dense, encoding_of(["again"]).dense)
    assert pids(pool) != [before]


def test_a_process_killed_while_idle_costs_no_call(pool: WorkerPool, caplog: pytest.LogCaptureFixture) -> None:
    [before] = pids(pool)
    os.kill(before, signal.SIGKILL)
    until(lambda: os.waitid(os.P_PID, before, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None)  # its threads too
    assert len(pool.encode_queries(["fine"])) == 1
    assert "worker 0 (cpu) is not running; it is started again" in caplog.text


def test_a_process_that_ends_by_itself_is_named_with_its_exit_code(pool: WorkerPool) -> None:
    with pytest.raises(ModelError, match=r"worker 0 \(cpu\), process \d+, ended with exit code 9 during this call"):
        pool.encode_documents(["die"])


def test_one_that_cannot_load_raises_its_own_error_and_leaves_no_process(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="no model for cpu:1"):
        WorkerPool(PlainSpec(tmp_path, fail=True), devices=["cpu:1"])


def test_one_that_dies_while_loading_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"worker 0 \(cpu\), process \d+, ended with exit code 7 while it started"):
        WorkerPool(PlainSpec(tmp_path, die=True), devices=["cpu"])


def test_a_spec_that_cannot_be_sent_is_refused(tmp_path: Path) -> None:
    class Local(PlainSpec):
        pass

    with pytest.raises(ModelError, match=r"worker 0 \(cpu\) cannot be started: .*Local"):
        WorkerPool(Local(tmp_path), devices=["cpu"])


@pytest.mark.parametrize("devices", [[], "cuda:0", [0, 1]])
def test_devices_that_are_no_list_of_names_are_refused(devices: object, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="must be a list of torch devices"):
        WorkerPool(PlainSpec(tmp_path), devices=devices)  # type: ignore[arg-type]


def test_a_closed_pool_says_so_and_its_processes_are_gone(tmp_path: Path) -> None:
    pool = WorkerPool(PlainSpec(tmp_path), devices=["cpu", "cpu"])
    workers = pids(pool)
    pool.close()
    pool.close()
    assert not any(runs(pid) for pid in workers)
    with pytest.raises(ModelError, match="closed"):
        pool.encode_queries(["too late"])


def test_closing_ends_the_call_that_is_at_work(tmp_path: Path) -> None:
    pool = WorkerPool(PlainSpec(tmp_path), devices=["cpu"])
    with ThreadPoolExecutor(2) as threads:
        working = threads.submit(pool.encode_documents, ["hold"])
        until((tmp_path / "held").exists)
        waiting = threads.submit(pool.encode_queries, ["in line"])
        until(lambda: len(pool._line) == 1)
        pool.close()
        for call in (working, waiting):
            with pytest.raises(ModelError, match="closed"):
                call.result(timeout=60)


def test_a_pool_that_is_dropped_ends_its_processes(tmp_path: Path) -> None:
    pool = WorkerPool(PlainSpec(tmp_path), devices=["cpu"])
    pool.encode_queries(["used"])
    workers = pids(pool)
    del pool
    until(lambda: not any(runs(pid) for pid in workers))


def test_ctrl_c_leaves_the_pool_usable(pool: WorkerPool, tmp_path: Path) -> None:
    main = threading.get_ident()

    def interrupt() -> None:
        until((tmp_path / "held").exists)
        signal.pthread_kill(main, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        pool.encode_documents(["hold"])
    interrupter.join()
    (tmp_path / "go").touch()
    np.testing.assert_array_equal(pool.encode_documents(["again"]).dense, encoding_of(["again"]).dense)


def test_a_query_is_served_between_the_chunks_of_a_long_call(pool: WorkerPool, tmp_path: Path) -> None:
    """The held text is the longest and so in the first chunk; what is in the last waits until the query is answered."""
    texts = ["hold" + " " * 30_000, *["x" * 20_000] * 3, "until answered" + " " * 19_000]
    with ThreadPoolExecutor(2) as threads:
        documents = threads.submit(pool.encode_documents, texts)
        until((tmp_path / "held").exists)
        query = threads.submit(pool.encode_queries, ["x"])
        until(lambda: len(pool._line) == 1)
        (tmp_path / "go").touch()
        query.result(timeout=60)
        (tmp_path / "answered").touch()
        documents.result()
    sizes = [int(line.split()[1]) for line in (tmp_path / "chunks of cpu").read_text().splitlines()]
    assert 0 < sizes.index(1) < len(sizes) - 1


SCRIPT = """
import os, pathlib, sys, time
from pool_specs import PlainSpec
from hybrid_core.encoders.pool import WorkerPool

folder = pathlib.Path(sys.argv[1])

def main():
    pool = WorkerPool(PlainSpec(folder), devices=["cpu", "cpu"])
    pool.encode_documents(["a text", "another"])
    print(*(worker.pid for worker in pool._workers), flush=True)
    return pool
"""
GUARD = '\nif __name__ == "__main__":\n    '


def script(folder: Path, end: str) -> subprocess.Popen[str]:
    path = folder / "script.py"
    path.write_text(SCRIPT + end, encoding="utf-8")
    paths = os.pathsep.join([str(HERE), str(HERE.parent)])
    return subprocess.Popen(
        [sys.executable, path, folder],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_guarded_script_that_never_closes_its_pool_ends_quietly(tmp_path: Path) -> None:
    with script(tmp_path, GUARD + "pool = main()") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert not any(runs(int(pid)) for pid in out.split())


def test_a_script_without_its_guard_is_told_what_it_lacks(tmp_path: Path) -> None:
    with script(tmp_path, "\nmain()") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    last = err.strip().splitlines()[-1]
    assert last.startswith("hybrid_core.errors.ModelError: worker 0 (cpu)")
    assert 'A script that makes a WorkerPool does so under `if __name__ == "__main__":`' in last
    assert "imports this script: put what makes it under" in err


@pytest.mark.parametrize("how", ["ctrl-c", "kill -9"])
def test_no_process_outlives_the_one_that_made_it(tmp_path: Path, how: str) -> None:
    with script(tmp_path, GUARD + 'main().encode_documents(["hold"])') as process:
        assert process.stdout is not None
        workers = [int(pid) for pid in process.stdout.readline().split()]
        until((tmp_path / "held").exists)
        assert all(runs(pid) for pid in workers)
        if how == "ctrl-c":
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
        else:
            process.kill()
            (tmp_path / "go").touch()  # the text at work is finished
        _, err = process.communicate(timeout=60)
    until(lambda: not any(runs(pid) for pid in workers))
    if how == "ctrl-c":
        assert process.returncode == -signal.SIGINT
        assert err.count("Traceback") == 1
        assert err.rstrip().endswith("KeyboardInterrupt")
