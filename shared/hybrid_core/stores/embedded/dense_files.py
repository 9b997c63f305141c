"""The files of the dense view: which folder is in use, whether it is whole, and what goes."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ...errors import StorageError

DATABASE, POINTER = "chroma.sqlite3", "dense.json"
NEXT, _GONE = f"{POINTER}.new", "gone-"


@dataclass(frozen=True, slots=True)
class ViewState:
    """What `dense.json` holds.

    Attributes:
        folder: the folder in use; a new name for each fold.
        token: what the truth must hold too; a truth restored from a backup holds another.
        rows: the view knows the places before this one;
        size: so many vectors are in its HNSW index, deleted ones included.
        digests: of its HNSW files.
    """

    folder: str
    token: str
    rows: int
    size: int
    digests: dict[str, str]


def read_state(folder: Path, token: str | None) -> ViewState | None:
    """Return what `dense.json` says if it is the truth's own; without it every vector is looked at."""
    for name in (NEXT, POINTER):  # a kill between `save` and `switch` leaves the first
        try:
            state = ViewState(**json.loads((folder / name).read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            continue
        if state.token == token and (folder / state.folder / DATABASE).is_file():
            return state
    return None


def copy_view(folder: Path, token: str | None, target: Path) -> None:
    """Copy the view of one index folder, if there is one, to another."""
    state = read_state(folder, token)
    if state is not None:
        copy_files(folder / state.folder, target / state.folder)
        (target / POINTER).write_text(json.dumps(asdict(state)), encoding="utf-8")


def copy_files(source: Path, target: Path) -> None:
    """Copy a folder of the view that may be open: its HNSW files never change, its database is asked for a copy."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(f"{DATABASE}*"))
    with closing(sqlite3.connect(source / DATABASE)) as old, closing(sqlite3.connect(target / DATABASE)) as new:
        old.backup(new)


def sweep(folder: Path, keep: str | None) -> None:
    """Delete the folders that nothing points to; each goes from under its name as a whole, whoever is opening it."""
    for path in folder.glob("dense-*"):
        if path.name != keep:
            with suppress(OSError):  # in use, where an open file cannot be renamed
                path.rename(path.with_name(f"{_GONE}{path.name}"))
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(f"{_GONE}dense-*"):
        shutil.rmtree(path, ignore_errors=True)


def digests_of(folder: Path) -> dict[str, str]:
    """Return a digest of every file of the HNSW index; searching never changes one of more than 1,000 rows.

    (Until the first thousand Chroma has written nothing, and does when it is asked. So few are never asked of it here.)
    """
    digests = {}
    for path in sorted(folder.glob("*/*")):
        with path.open("rb") as file:
            digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "blake2b").hexdigest()[:32]
    return digests


def check_files(folder: Path, state: ViewState) -> None:
    """Raise StorageError unless the folder is whole; a torn HNSW file must never be opened."""
    if not (folder / DATABASE).is_file():
        raise StorageError(f"{folder} is gone")
    if digests_of(folder) != state.digests:
        raise StorageError(f"files in {folder} are not as they were written")
