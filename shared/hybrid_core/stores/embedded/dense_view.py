"""The dense view: a Chroma collection of vectors under sequence numbers, and nothing else.

A folder of the view is written once, closed, and from then on only searched. Folding in newer rows works on a copy;
`dense.json` names the folder in use and is replaced atomically. So a killed fold leaves a folder that nothing points
to, which is never opened, and the folder in use was always closed cleanly. Chroma writes its HNSW files in place, and
opening one that was torn can hang or fill the disk: hence the care. (Its `index_metadata.pickle` is Chroma's own.)
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ...errors import StorageError
from ...types import FloatArray
from .ledger import Change

_COLLECTION = "dense"
Progress: TypeAlias = Callable[[int], object] | None


@dataclass(frozen=True, slots=True)
class _State:
    """What `dense.json` holds: the folder in use, the last sequence number it has, and the sizes of its HNSW files."""

    folder: str
    applied: int
    sizes: dict[str, int]


class DenseView:
    """Approximate search over the rows that have been folded in.

    Args:
        folder: the index folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pointer = folder / "dense.json"
        self._client: Any = None
        self._collection: Any = None
        self._state = self._read_state()

    @property
    def applied(self) -> int:
        """The last sequence number this view knows of; 0 if there is no view."""
        return self._state.applied if self._state else 0

    def search(self, vector: FloatArray, n: int, allowed: Sequence[int] | None = None) -> list[int]:
        """Return about n sequence numbers near a unit vector (d,), only of the allowed ones if given.

        Rows that were deleted since the last fold may be among them.
        """
        if self._state is None:
            return []
        collection = self._open(self._state)
        ids = None if allowed is None else [str(seq) for seq in allowed]
        found = collection.query(query_embeddings=vector[None, :], n_results=n, ids=ids, include=[])
        return [int(id_) for id_ in found["ids"][0]]

    def fold(self, rows: Sequence[Change], removed: Sequence[int], upto: int, progress: Progress = None) -> None:
        """Take in newer rows and drop removed ones, on a copy that then takes the place of the folder in use.

        Args:
            rows: the rows after `applied`.
            removed: sequence numbers of rows that went, known here or not.
            upto: the newest sequence number this accounts for.
            progress: called with the number of rows added, after each batch.
        """
        old = self._state
        name = f"dense-{upto:012d}"
        target = self._folder / name
        self.close()
        self._sweep(keep=old.folder if old else None)
        if old:
            shutil.copytree(self._folder / old.folder, target)
        try:
            self._add(target, [seq for seq in removed if old and seq <= old.applied], rows, progress)
            sizes = _hnsw_sizes(target)
            for path in target.rglob("*"):
                _sync(path)
        except Exception as error:
            shutil.rmtree(target, ignore_errors=True)
            raise StorageError(f"the dense view in {self._folder} could not be written: {error}") from error
        self._state = _State(name, upto, sizes)
        self._write_state(self._state)
        self._sweep(keep=name)

    def refresh(self) -> None:
        """Follow a fold by another process."""
        if self._stamp() != self._seen:
            self.close()
            self._state = self._read_state()

    def close(self) -> None:
        """Let go of the collection."""
        if self._client is not None:
            self._client.close()
            self._client = self._collection = None

    def _open(self, state: _State) -> Any:
        if self._collection is None:
            self._client = _open_client(self._folder / state.folder)
            self._collection = self._client.get_collection(_COLLECTION, embedding_function=None)
        return self._collection

    def _add(self, target: Path, gone: Sequence[int], rows: Sequence[Change], progress: Progress) -> None:
        client = _open_client(target)
        try:
            collection = client.get_or_create_collection(
                _COLLECTION, embedding_function=None, configuration={"hnsw": {"space": "ip"}}
            )
            batch = client.get_max_batch_size()
            for start in range(0, len(gone), batch):
                collection.delete(ids=[str(seq) for seq in gone[start : start + batch]])
            for start in range(0, len(rows), batch):
                part = rows[start : start + batch]
                collection.add(ids=[str(row.seq) for row in part], embeddings=np.stack([row.dense for row in part]))
                if progress:
                    progress(len(part))
        finally:
            client.close()

    def _read_state(self) -> _State | None:
        """Return the state if the folder it names is whole; else none, and every row is searched exactly again."""
        self._seen = self._stamp()
        try:
            state = _State(**json.loads(self._pointer.read_text(encoding="utf-8")))
            return state if _hnsw_sizes(self._folder / state.folder) == state.sizes else None
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _write_state(self, state: _State) -> None:
        fresh = self._pointer.with_suffix(".json.new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(asdict(state), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self._pointer)
        self._seen = self._stamp()

    def _stamp(self) -> int:
        """Return a number that changes when `dense.json` is replaced; 0 if there is none."""
        try:
            return self._pointer.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _sweep(self, keep: str | None) -> None:
        """Delete the folders that nothing points to."""
        for path in self._folder.glob("dense-*"):
            if path.name != keep:
                shutil.rmtree(path, ignore_errors=True)


def _open_client(folder: Path) -> Any:
    import chromadb
    from chromadb.config import Settings

    return chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))


def _sync(path: Path) -> None:
    """Have a file on disk before `dense.json` says that it is there."""
    if path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _hnsw_sizes(folder: Path) -> dict[str, int]:
    """Return the size of every file of the HNSW index (none for a collection too small to have one)."""
    if not (folder / "chroma.sqlite3").is_file():
        raise FileNotFoundError(folder)
    return {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.glob("*/*"))}
