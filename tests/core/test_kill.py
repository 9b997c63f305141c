"""Fault 1: kill -9 in the middle of writes, folds, compactions, closes and openings.

Each round a child makes a few calls, and is killed at a random moment of one of them: after a random share of the time
that a call of this kind took when it last came to its end.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vectors import FINGERPRINT, dense_of

from hybrid_core import SparseVector
from hybrid_core.stores.embedded import EmbeddedStore

resource = pytest.importorskip("resource", reason="kill -9 and fork are POSIX's")
from kill_writer import IDS, LARGEST, SIZES, TIMEOUT, batch  # noqa: E402

ROUNDS, FOLDERS, BACKGROUND = 200, 4, 10  # in the background another process is started, which takes a second
MOST = 64 << 20  # bytes in the folder of at most 1,420 small passages, what killed calls left behind included
KINDS = ["open", "add", "replace", "delete", "fold", "compact", "close"]
ALL_TOKENS = SparseVector.from_dict(dict.fromkeys(range(FINGERPRINT.vocabulary), 1.0))
Held = dict[int, int | None]  # the round in which each batch was last written; None where it is not there


@pytest.fixture
def nursery() -> Iterator[subprocess.Popen[str]]:
    """The process that forks the children."""
    command = [sys.executable, Path(__file__).with_name("kill_writer.py")]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1, env=environment) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def stderr(capfd: pytest.CaptureFixture[str]) -> Iterator[int]:
    """Where a last word is seen."""
    with capfd.disabled():
        real = os.dup(2)
    yield real
    os.close(real)


@pytest.fixture
def _bounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No file of this process grows beyond what a child's may, and HNSW is asked however few passages there are."""
    monkeypatch.setattr("hybrid_core.stores.embedded.snapshot._EXACT", 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("_bounded")
def test_killed_at_any_moment_it_reopens_with_every_acknowledged_batch_whole(
    tmp_path: Path, nursery: subprocess.Popen[str], stderr: int
) -> None:
    """Fault 1: acknowledged batches are there, an unacknowledged one wholly or not at all; both sides hold the same."""
    seed = random.SystemRandom().getrandbits(32)
    print("seed", seed)  # of the calls; no two runs die at the same moments
    chance = random.Random(seed)  # noqa: S311  # moments of death, not secrets
    kinds = [*["background"] * BACKGROUND, *KINDS * ROUNDS][:ROUNDS]
    chance.shuffle(kinds)
    seconds = dict.fromkeys(KINDS, 0.02) | {"background": 2.0}  # what a call took when it last came to its end
    in_the_middle, by_hnsw = dict.fromkeys(seconds, 0), 0
    for round_, kind in enumerate(kinds):
        if round_ % (ROUNDS // FOLDERS) == 0:
            folder, kind = tmp_path / f"index{round_}", "open"  # killed while it is made
            held: Held = dict.fromkeys(range(len(SIZES)))
        calls, at = program(chance, held, kind, round_)
        ended = run_until_killed(nursery, folder, calls, at, chance.random(), seconds)
        for call, *arguments in calls[:ended]:
            note(held, call, arguments)
        in_the_middle[kind] += ended == at
        faulthandler.dump_traceback_later(TIMEOUT, exit=True, file=stderr)  # a call that hangs in C stops for no signal
        try:
            by_hnsw += check(folder, held, *(calls[ended] if ended < len(calls) else ["none"]))
        finally:
            faulthandler.cancel_dump_traceback_later()
        assert size(folder) < MOST
    print(in_the_middle, by_hnsw)
    assert sum(in_the_middle.values()) > ROUNDS / 2, in_the_middle
    assert min(in_the_middle.values()) > 0, in_the_middle
    assert by_hnsw > ROUNDS / 10
    until_gone(tmp_path)


@pytest.mark.usefixtures("_bounded")
def test_killed_while_it_is_made_it_can_be_opened_and_written_to(
    tmp_path: Path, nursery: subprocess.Popen[str]
) -> None:
    """Fault 1: nobody is left with a folder that is neither an index nor none."""
    seed = random.SystemRandom().getrandbits(32)
    print("seed", seed)
    chance = random.Random(seed)  # noqa: S311
    seconds = {"open": 0.02, "add": 0.02}
    for round_ in range(40):
        folder, held = tmp_path / f"index{round_}", dict.fromkeys(range(len(SIZES)))
        run_until_killed(nursery, folder, [["open"], ["add", 1, 0]], 0, chance.random(), seconds)
        check(folder, held, "add", 1, 0)
        store = EmbeddedStore(folder, FINGERPRINT)
        store.upsert(*batch(1, round_))
        store.close()
        check(folder, held | {1: round_}, "none")


def size(folder: Path) -> int:
    """Bytes in a folder, in which a process that its parent has left behind may still delete."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def until_gone(folder: Path) -> None:
    """Wait until no process is left that folds: each ends with the one that started it."""
    deadline = time.monotonic() + TIMEOUT
    while any(bytes(folder) in command for command in commands()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def commands() -> Iterator[bytes]:
    """The command lines of all processes, on Linux."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()


def program(chance: random.Random, held: Held, kind: str, round_: int) -> tuple[list[list[Any]], int]:
    """Return the calls of a round, a few before the one to be killed and one after it, and the place of that one."""
    expected = dict(held)
    calls: list[list[Any]] = [["open"]]

    def write(wanted: str = "") -> None:
        missing = [number for number, last in expected.items() if last is None]
        there = [number for number, last in expected.items() if last is not None]
        possible = {"add": missing, "replace": there, "delete": [number for number in there if number]}
        possible = {call: numbers for call, numbers in possible.items() if numbers}
        call = wanted if wanted in possible else chance.choice(list(possible))
        number = 0 if 0 in missing and call == "add" else chance.choice(possible[call])
        calls.append([call, number] if call == "delete" else [call, number, round_])
        note(expected, call, calls[-1][1:])

    def make(call: str) -> None:
        if call in ("add", "replace", "delete"):
            write(call)
        elif call != "open":
            calls.extend([[call], ["open"]] if call == "close" else [[call]])

    at = 0
    if kind != "open":
        for _ in range(chance.randint(1, 3)):
            write()
        if chance.random() < 0.3:  # these come to an end, so that there are views, and it is known how long they take
            make(chance.choice(["fold", "fold", "compact", "close"]))
            write()
        at = len(calls)
        make(kind)
    write()
    return calls, at


def note(held: Held, call: str, arguments: list[int]) -> None:
    """Note what a call has done."""
    if call in ("add", "replace"):
        held[arguments[0]] = arguments[1]
    elif call == "delete":
        held[arguments[0]] = None


def run_until_killed(
    nursery: subprocess.Popen[str],
    folder: Path,
    calls: list[list[Any]],
    at: int,
    share: float,
    seconds: dict[str, float],
) -> int:
    """Have a child killed when a share of the time that one of its calls takes is over; return how many have ended."""
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    print(json.dumps([str(folder), calls]), file=nursery.stdin, flush=True)
    child, begun, ended = 0, 0, 0
    while (words := nursery.stdout.readline().split())[:1] != ["gone"]:
        assert words, "the nursery has died"
        match words:
            case "child", number:
                child = int(number)
            case "begin", kind:
                begun += 1
                if begun == at + 1:
                    time.sleep(1.2 * share * seconds[kind])
                    os.kill(child, signal.SIGKILL)
            case "done", took:
                seconds[calls[ended][0]] = min(float(took), 5.0)
                ended += 1
    assert words == ["gone", "-9"], words
    return ended


def check(folder: Path, held: Held, call: str, *arguments: int) -> bool:
    """Compare the index with what was acknowledged, and note what became of the call that was not.

    Returns:
        Whether there is an HNSW index, and it was asked.
    """
    store = EmbeddedStore(folder, FINGERPRINT)
    ids = store.ids()
    assert len(ids) == len(set(ids)) == store.count()
    for number, last in held.items():
        there = set(ids).intersection(IDS[number])
        assert len(there) in (0, SIZES[number]), f"batch {number} is half there"
        places = range(0, SIZES[number], 1 + SIZES[number] // 50)  # a few of the large batch; the vectors are of all
        found = store.get([IDS[number][i] for i in places])
        assert len(found) == (len(places) if there else 0)
        now = found[IDS[number][0]].metadata["round"] if there else None
        assert now is None or found == {IDS[number][i]: batch(number, now)[0][i] for i in places}
        possible = {last}
        if arguments and arguments[0] == number:
            possible.add(None if call == "delete" else arguments[1])
        assert now in possible, f"batch {number} is of round {now}, and not of {possible}"
        held[number] = now
    check_both_sides(store, {number: now for number, now in held.items() if now is not None})
    by_hnsw = store._dense._collection is not None
    store.close()
    return by_hnsw


def check_both_sides(store: EmbeddedStore, held: dict[int, int]) -> None:
    """Every passage is found on either side, with the score of its own vectors, and nothing else is."""
    query = dense_of("a question")
    encodings = {number: batch(number, round_)[1] for number, round_ in held.items()}
    dense = dict(store.search_dense(query, 10_000))
    sparse = dict(store.search_sparse(ALL_TOKENS, 10_000))
    assert len(dense) == len(sparse) == sum(SIZES[number] for number in held)
    for number, encoding in encodings.items():
        found = [[side.get(id_, np.nan) for id_ in IDS[number]] for side in (dense, sparse)]
        np.testing.assert_allclose(found[0], encoding.dense @ query, atol=1e-5)
        np.testing.assert_allclose(found[1], encoding.sparse.sum(axis=1), atol=1e-5)
    store.search_dense(query, 1)
    store._dense.wait()  # until HNSW is open, if there is any
    for number, encoding in list(encodings.items())[:2]:
        for i in range(0, SIZES[number], 1 + SIZES[number] // 10):
            assert store.search_dense(encoding.dense[i], 1)[0].id == IDS[number][i]
