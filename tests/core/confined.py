"""Programs in processes of their own, where something is wanting: room on the disk, or leave to write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_MOUNTED = 'mount -t tmpfs -o size="$1"m none "$2" && exec "$3" -c "$4" "$2"'
# Root may write anywhere, by a capability that a process can give up for what it executes next.
_GIVEN_UP = "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 1, 0, 0, 0); os.execv(sys.executable, sys.argv[1:])"


def run_program(program: str, folder: Path) -> None:
    """Run a program, to its end, with the folder as its argument."""
    _run([sys.executable, "-c", program, str(folder)])


def run_on_small_disk(program: str, folder: Path, megabytes: int) -> None:
    """Run a program, to its end, with a small file system of its own at the folder, which is its argument."""
    inside = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        allowed = subprocess.run([*inside, "mount", "-t", "tmpfs", "none", folder], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is Linux's")
    if allowed.returncode:
        pytest.skip("this system lets nobody mount anything")
    _run([*inside, "sh", "-c", _MOUNTED, "sh", str(megabytes), str(folder), sys.executable, program])


def run_without_leave(program: str, folder: Path) -> None:
    """Run a program, to its end, for which the folder, its argument, and what is in it can only be read."""
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        command = [sys.executable, "-c", program, str(folder)]
        _run([sys.executable, "-c", _GIVEN_UP, *command] if sys.platform == "linux" else command)
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)


def _run(command: list[str]) -> None:
    path = [str(Path(__file__).parent), str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
