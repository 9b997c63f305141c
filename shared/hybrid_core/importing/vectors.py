"""Vectors out of a copy of a Chroma folder.

They lie in HNSW files, which Chroma writes in place. A process that was killed may leave them torn, and Chroma does not
notice before it opens them: it was seen to end the process (segmentation fault), to run for ever, and to fill the disk.
So it opens them in a process of its own, which is stopped when it makes no progress or its files grow.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from ..errors import StorageError
from ..types import FloatArray

PATIENCE = 300.0  # seconds in which a page must come
_POLL = 0.2  # seconds
_GROWTH = 1 << 28  # bytes by which the copy may grow beyond twice its size: Chroma adds the tail of its log


def read_vectors(folder: Path, name: str, out: Path, *, patience: float = PATIENCE) -> None:
    """Read all vectors of a collection into files, a page each.

    Args:
        folder: the copy of a Chroma folder; it is changed.
        name: of the collection.
        out: a folder for the pages; made.
        patience: seconds in which each page must come.

    Raises:
        StorageError: they cannot be read, with the reason.
    """
    out.mkdir()
    log = out / "errors.txt"
    command = [sys.executable, "-P", "-m", f"{__package__}.vector_reader", str(folder), name, str(out)]
    places = [path or os.getcwd() for path in sys.path]  # so that it finds the modules that are found here
    with log.open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own program
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        )
        try:
            reason = _watch(process, folder, out, patience)
        finally:  # Ctrl-C too
            process.kill()
            code = process.wait()
    if reason is None and code:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        reason = (
            f"Chroma was ended by {signal.Signals(-code).name}" if code < 0 else (lines or [f"exit code {code}"])[-1]
        )
    if reason is not None:
        raise StorageError(
            f"the vectors of {name!r} cannot be read: {reason}. The HNSW files are probably torn, as by a process that "
            "was killed. The texts are not affected: import with same_model=False (command line: without --same-model)"
        )


def read_page(out: Path, number: int, ids: list[str]) -> FloatArray:
    """Return the vectors (n, d) of a page.

    Raises:
        StorageError: they are not those of these entries.
    """
    path = out / f"{number:06}.npy"
    try:
        found = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if found == ids:
            rows: FloatArray = np.load(path)
            return rows
    except FileNotFoundError:
        pass
    raise StorageError(
        f"Chroma returned the entries near {ids[0]!r} in another order with their vectors than with their texts; "
        "import with same_model=False (command line: without --same-model)"
    )


def _watch(process: subprocess.Popen[bytes], folder: Path, out: Path, patience: float) -> str | None:
    """Wait for the process; return why it must be stopped, None once it has ended by itself."""
    limit = 2 * _size(folder) + _GROWTH
    pages, waited = -1, 0.0
    while process.poll() is None:
        time.sleep(_POLL)
        if _size(folder) > limit:
            return "Chroma's files grew without end"
        there = sum(1 for _ in out.glob("*.npy"))
        # counted, not taken from a clock: a laptop that sleeps, or a stopped job, waits for nothing
        pages, waited = there, (waited + _POLL if there == pages else 0.0)
        if waited > patience:
            return f"Chroma did nothing for {patience:g} seconds"
    return None


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # a journal that has just gone
            continue
    return total
