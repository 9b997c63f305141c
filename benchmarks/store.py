"""Stores side by side on made-up vectors: ingestion, searches, opening, memory, disk.

Every phase runs in a process of its own (`benchmarks.store_child`), so that neither the memory nor the threads of one
system touch another's figures, and one that hangs can be stopped. `benchmarks.vectors` says what the vectors are like.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .measure import hardware, table, write_section
from .store_exact import find_truth
from .store_table import NAMES, agreements, ended, rows
from .vectors import Collection

_ROOT = Path(__file__).resolve().parent.parent
_SYSTEMS = ("ours", "chroma", "qdrant", "milvus")
_MOST = {"qdrant": 20_000, "milvus": 10_000}  # passages: what they are meant for
_AGREE = 2_000
_AGREEING = {"ours": "EmbeddedStore", "chroma": "Chroma (dense side)", "qdrant": "QdrantStore", "milvus": "MilvusStore"}
_FOLD_UNASKED = 200_000
_PACKAGES = ("numpy", "chromadb", "qdrant-client", "pymilvus", "milvus-lite")

Measures = dict[str, Any]


class Bench:
    """Runs phases in processes of their own, and collects what they measured.

    Args:
        folder: for all stores.
        queries: how many.
        limit: seconds for all phases of one peer.
    """

    def __init__(self, folder: Path, *, queries: int, limit: float) -> None:
        self._folder = folder
        self._queries = queries
        self._limit = limit

    def ours(self, count: int, *, fold: bool) -> dict[str, Measures]:
        """Measure the embedded store, by columns of the table; if it fails, so does this."""
        columns = {"ours": self._measure("ours", "ours", count, ("ingest", "serve"))}
        if fold:
            columns["folded"] = self._measure("ours", "ours", count, ("fold", "serve"))
        columns["ours"] |= self._measure("ours", "ours", count, ("fresh",))
        columns["ours"] |= self._measure("ours", "ours-agree", min(count, _AGREE), ("agree",), only={"agreement"})
        return columns

    def peer(self, name: str, count: int) -> dict[str, Measures]:
        """Measure a peer, as far as it comes in its time."""
        most, few = min(count, _MOST.get(name, count)), min(count, _AGREE)
        for needed in (most, few):  # before the clock starts
            self._truth(needed)
        until = time.monotonic() + self._limit
        measures = self._measure(name, name, most, ("ingest", "serve"), until)
        if "ended" not in measures:
            asked = name if name == "chroma" else f"our {name}"
            measures |= self._measure(asked, f"{name}-agree", few, ("agree",), until, only={"agreement", "ended"})
        return {name: measures}

    def _measure(
        self,
        system: str,
        folder: str,
        count: int,
        phases: tuple[str, ...],
        until: float | None = None,
        *,
        only: set[str] | None = None,
    ) -> Measures:
        """Run phases until one does not come to its end: of a peer `ended` says how, of ours an error does."""
        measures: Measures = {"count": count}
        results = self._folder / f"{folder}.jsonl"
        for phase in phases:
            print(f"{system}, {count:,} passages: {phase}", flush=True)
            results.unlink(missing_ok=True)
            arguments = [phase, system, str(self._folder / folder), str(count), str(self._truth(count)), str(results)]
            how = _run([sys.executable, "-m", "benchmarks.store_child", *arguments], until)
            if results.exists():
                for line in results.read_text(encoding="utf-8").splitlines():
                    measures |= json.loads(line)
            if how:
                measures["ended"] = f"{how} in phase {phase!r} with {count:,} passages"
                if system == "ours":
                    raise SystemExit(f"{NAMES[system]} {measures['ended']}")
                break
        return {key: value for key, value in measures.items() if only is None or key in only}

    def _truth(self, count: int) -> Path:
        """Return the file with the queries and the right answers, made at first."""
        path = self._folder / f"truth-{count}.npz"
        if not path.exists():
            print(f"scoring {count:,} passages exactly", flush=True)
            collection = Collection(count)
            find_truth(collection, collection.queries(self._queries)).save(path)
        return path


def _run(command: list[str], until: float | None) -> str | None:
    """Run a process, and whatever it starts, to its end; return None, or how it ended otherwise."""
    seconds = None if until is None else max(1.0, until - time.monotonic())
    with subprocess.Popen(command, cwd=_ROOT, start_new_session=True) as child:  # noqa: S603
        try:
            code = child.wait(seconds)
            return f"failed ({code})" if code else None
        except subprocess.TimeoutExpired:
            return "was stopped at its time limit"
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)


def _note(columns: dict[str, Measures], arguments: argparse.Namespace) -> str:
    packages = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    text = f"{hardware()}, {packages}.\n\n"
    text += "Made-up vectors of BGE-M3's shape (`benchmarks/vectors.py`): 1024 dense numbers and about 126 of 250,002 "
    text += (
        f"tokens, 400 characters, three metadata entries; {arguments.queries} queries of about 10 tokens, one after "
    )
    text += "the other. Vectors are at hand: their making is not timed. Peers are used through their own clients with "
    text += "default settings and fuse by themselves; reciprocal rank fusion has k = 60 throughout. Every phase is a "
    text += 'process of its own, and its files are in the system\'s page cache; "open" includes the import of packages.'
    if "qdrant" in columns:
        text += f" Qdrant's local mode is meant for few passages and gets at most {_MOST['qdrant']:,}."
    if "milvus" in columns:
        text += f" Milvus Lite is meant for few passages and gets at most {_MOST['milvus']:,}; once reopened, its "
        text += "AUTOINDEX of the dense vectors is approximate, and under a filter finds fewer than it is asked for."
    shares = agreements(columns, _AGREEING)
    if shares:
        text += f"\n\nThe share of the filtered ten best (hybrid, 5 %, {min(arguments.count, _AGREE):,} passages) that "
        text += f"are those of an exact search: {', '.join(shares)}."
    endings = ended(columns)
    return text + (f"\n\nOf {arguments.peer_limit:,.0f} s for a peer: {'; '.join(endings)}." if endings else "")


def main() -> None:
    """Measure the systems one after the other, and write the section of this count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="passages")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path("build/store"), help="must not exist yet")
    parser.add_argument("--keep", action="store_true", help="leave the folder there")
    parser.add_argument("--systems", default=",".join(_SYSTEMS), help="of these, with commas between")
    parser.add_argument(
        "--fold",
        action=argparse.BooleanOptionalAction,
        help=f"measure after optimize() too, which takes minutes for 100,000; by default up to {_FOLD_UNASKED:,}",
    )
    parser.add_argument("--peer-limit", type=float, default=1_800, metavar="SECONDS", help="for all phases of one peer")
    arguments = parser.parse_args()
    systems = arguments.systems.split(",")
    if unknown := set(systems) - set(_SYSTEMS):
        parser.error(f"--systems: {', '.join(sorted(unknown))} is none of {', '.join(_SYSTEMS)}")
    if arguments.count < 1_000 or arguments.queries < 20:
        parser.error("at least 1,000 passages and 20 queries are needed")
    if not sys.platform.startswith("linux"):
        parser.error("memory is read from /proc, which Linux alone has")
    folder = arguments.folder.resolve()
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        parser.error(f"{folder} exists; name another --folder, or delete it")
    fold = arguments.count <= _FOLD_UNASKED if arguments.fold is None else arguments.fold
    bench = Bench(folder, queries=arguments.queries, limit=arguments.peer_limit)
    columns: dict[str, Measures] = {}
    try:
        for name in systems:
            columns |= bench.ours(arguments.count, fold=fold) if name == "ours" else bench.peer(name, arguments.count)
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
    body = table(*rows(columns))
    write_section(f"Stores with {arguments.count:,} passages", f"{_note(columns, arguments)}\n\n{body}")


if __name__ == "__main__":
    main()
