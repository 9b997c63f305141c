"""A private copy of a Chroma folder, so that the folder itself is never opened.

Even to read, Chroma opens its files for writing: it applies its log, writes HNSW files in place, and migrates older
formats. So it is given a copy. The SQLite file is copied together with its journal, which is what a crash would have
left, and SQLite recovers from that; no lock is taken, so a running application is not held up. Should it write in the
meantime, the copy is refused.

HNSW files are copied only where vectors are asked for. Texts and metadata lie in the SQLite file, and without the HNSW
files beside it Chroma cannot stumble over torn ones.
"""

from __future__ import annotations

import errno
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError, StorageError, StorageFullError

_DATABASE = "chroma.sqlite3"
_JOURNALS = ("-journal", "-wal")  # what a process that was killed may have left; "-shm" is made anew from "-wal"


class Snapshot:
    """A copy of one collection's files in a temporary folder.

    Args:
        source: the folder that Chroma wrote.
        name: of the collection.
        vectors: copy the collection's HNSW files too.

    Raises:
        InvalidInputError: no such folder, no Chroma folder, or no such collection; the message names those there are.
        StorageError: the folder cannot be read, is damaged, or is being written to.
        StorageFullError: no room for the copy.
    """

    def __init__(self, source: Path, name: str, *, vectors: bool) -> None:
        _check_folder(source)
        self._source = source
        self._temporary = tempfile.TemporaryDirectory(prefix="bge-hybrid-import-", ignore_cleanup_errors=True)
        self.root = Path(self._temporary.name)
        self.folder = self.root / "chroma"
        self.folder.mkdir()
        try:
            with self._errors():
                files = [source / (_DATABASE + end) for end in ("", *_JOURNALS)]
                stamps = _stamps(files)
                self._copy(files)
                self._check_unchanged(files, stamps)  # before SQLite sees what may be half of a change
                _recover(self.folder / _DATABASE)
                collection_id = self._collection_id(name)
                if vectors:
                    hnsw = self._hnsw(collection_id)
                    stamps |= _stamps(hnsw)
                    self._copy(hnsw)
                    self._check_unchanged([*files, *hnsw], stamps)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Delete the copy; may be called twice."""
        self._temporary.cleanup()

    def forget_vectors(self) -> None:
        """Delete the copy of the HNSW files."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)

    def _copy(self, files: list[Path]) -> None:
        for path in filter(Path.is_file, files):
            target = self.folder / path.relative_to(self._source)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)

    def _check_unchanged(self, files: list[Path], stamps: dict[Path, tuple[int, int]]) -> None:
        if _stamps(files) != stamps:
            raise StorageError(f"{self._source} is being written to by another process; stop that, and import again")

    def _collection_id(self, name: str) -> str:
        """Return Chroma's own id of the collection; this also brings a copy of an older format up to date."""
        client = open_client(self.folder)
        try:
            there = {collection.name: str(collection.id) for collection in client.list_collections()}
        finally:
            client.close()
        if name not in there:
            names = ", ".join(map(repr, sorted(there))) or "none"
            raise InvalidInputError(f"{self._source} has no collection {name!r}; there are: {names}")
        return there[name]

    def _hnsw(self, collection_id: str) -> list[Path]:
        """Return the HNSW files of the collection; Chroma's public API does not tell their folder."""
        with closing(sqlite3.connect(self.folder / _DATABASE)) as db:
            rows = db.execute("SELECT id FROM segments WHERE collection = ?", (collection_id,)).fetchall()
        return [path for (segment,) in rows for path in sorted((self._source / segment).glob("*"))]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (InvalidInputError, StorageError):
            raise
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise StorageFullError(
                    f"no space left in {self.root.parent} for a copy of {self._source}; set TMPDIR to a larger disk"
                ) from error
            raise StorageError(f"{self._source} cannot be read: {error}") from error
        except Exception as error:  # Chroma raises many kinds for a damaged file, and each means the same here
            raise StorageError(
                f"{self._source / _DATABASE} cannot be read ({error}); it is damaged, or of a kind that the installed "
                "chromadb does not know"
            ) from error


def open_client(folder: Path) -> Any:
    """Open a copy of a Chroma folder."""
    import chromadb
    from chromadb.config import Settings

    return chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))


def _check_folder(source: Path) -> None:
    if not source.exists():
        raise InvalidInputError(f"{source} does not exist")
    if not (source / _DATABASE).is_file():
        raise InvalidInputError(
            f"{source} is no Chroma folder, there is no {_DATABASE} in it; give the folder that was handed to "
            "chromadb.PersistentClient, or as persist_directory"
        )


def _recover(database: Path) -> None:
    """Have SQLite roll back, in the copy, what was not committed; an error if the file is no database."""
    with closing(sqlite3.connect(database)) as db:
        found = db.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('collections', 'segments')").fetchone()
    if found != (2,):
        raise StorageError(f"{database.name} has no collections; it was not written by Chroma")


def _stamps(files: list[Path]) -> dict[Path, tuple[int, int]]:
    """Return what changes when one of the files is written to."""
    stats = {path: path.stat() for path in files if path.is_file()}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}
