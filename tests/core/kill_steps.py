"""Kills a call at each of its steps: before the first call of SQLite or of the file system, the second, and so on.

`killed_at_each_step` runs this file as a process, which imports everything once and forks a child for each step. The
child sees each call by a profiling function, and ends itself by SIGKILL before the one it was told. What is killed is
the code as it is; what SQLite and the system do within one call is left to the random kills of test_kill.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import BuiltinFunctionType, FrameType

sys.path.insert(0, str(Path(__file__).parents[1]))

from vectors import FINGERPRINT, encoding_of, passages

import hybrid_core.stores.embedded.store
from hybrid_core.stores.embedded import EmbeddedStore

FILES = {"fsync", "open", "replace", "rename", "rmdir", "unlink"}
BATCH = passages(2, start=2) + [replace(item, text=f"later {item.id}") for item in passages(5, start=100)]
DATABASE = {"backup", "close", "execute", "executemany", "executescript"}


def upsert(folder: Path) -> Callable[[], object]:
    """Write a batch that replaces two passages, and is otherwise new."""
    store, encoding = EmbeddedStore(folder, FINGERPRINT), encoding_of([item.text for item in BATCH])
    return lambda: store.upsert(BATCH, encoding)


def compact(folder: Path) -> Callable[[], object]:
    """Give back the space of what was deleted."""
    return EmbeddedStore(folder, FINGERPRINT).compact


def save(folder: Path) -> Callable[[], object]:
    """Close it after a passage was written, and with that write the sparse view."""
    hybrid_core.stores.embedded.store._UNSAVED = 1
    store = EmbeddedStore(folder, FINGERPRINT)
    store.upsert(passages(1, start=100), encoding_of([item.text for item in passages(1, start=100)]))
    return store.close


def backup(folder: Path) -> Callable[[], object]:
    """Copy it to beside itself."""
    store = EmbeddedStore(folder, FINGERPRINT)
    return lambda: store.backup(folder.with_name(f"{folder.name}-backup"))


def migrate(folder: Path) -> Callable[[], object]:
    """Only open it: it is of an earlier format."""
    return lambda: EmbeddedStore(folder, FINGERPRINT)


CALLS = {"upsert": upsert, "compact": compact, "save": save, "backup": backup, "migrate": migrate}


def killed_at_each_step(call: str, folder: Path, beside: Path) -> list[Path]:
    """Return copies of a folder in which a call was killed, each one step later; of the last it came to its end."""
    command = [sys.executable, __file__, call, str(folder), str(beside)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    copies = [beside / f"step{i:03d}" for i in range(int(done.stdout))]
    assert len(copies) > 5
    return copies


def _kill_before(step: int) -> None:
    """End this process before a call of the system that is so many steps from now."""
    left = step

    def count(frame: FrameType, event: str, function: object) -> None:
        nonlocal left
        if event == "c_call" and isinstance(function, BuiltinFunctionType):
            if isinstance(function.__self__, sqlite3.Connection):
                counts = function.__name__ in DATABASE
            else:
                counts = function.__name__ in FILES and getattr(function.__self__, "__name__", "") in {"posix", "io"}
            if counts:
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1

    sys.setprofile(count)


def main() -> None:
    """Fork a child for each step, and print how many there were."""
    call, folder, beside = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    CALLS[call](Path(shutil.copytree(folder, beside / "first")))()  # what it imports is imported by now
    step, ended = 0, 0
    while ended != os.EX_OK + 1:
        copy = Path(shutil.copytree(folder, beside / f"step{step:03d}"))
        if not (child := os.fork()):
            act = CALLS[call](copy)
            _kill_before(step)
            act()
            sys.setprofile(None)
            os._exit(1)  # it came to its end
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ended in (1, -signal.SIGKILL)
        step += 1
    print(step)


if __name__ == "__main__":
    main()
