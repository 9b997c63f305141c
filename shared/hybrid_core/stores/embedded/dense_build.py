"""Building the dense view: the newest one with newer passages added, in a folder that nothing points to yet.

It needs the index folder only, so that it also runs in a process of its own: while Chroma adds vectors it lets no other
thread of its process run, for seconds at a time.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import StorageError, StorageFullError
from ...types import Fingerprint
from .chroma_client import close_client, open_client, panics
from .dense_files import ViewState, check_files, copy_files, digests_of, read_state
from .dense_view import COLLECTION
from .ledger import Ledger, State

logger = logging.getLogger(__name__)

_BATCH = 2_000
_SPACE, _SPACE_MORE = 14, 600  # bytes a number, and a row, that Chroma wants, of which a third is gone in the end
# Of the vectors in an HNSW index. What is deleted stays in it and is passed over by searches: Chroma 1.5.9 that is told
# of deletions loses live passages (chroma-core/chroma#7758). If more than this would be dead, it is built from nothing.
_WORN = 0.3


def build(
    folder: Path, fingerprint: Fingerprint, progress: Callable[[int], object] | None = None
) -> tuple[ViewState, int] | None:
    """Write a view that knows every passage there is now; searches and writes may go on meanwhile.

    Args:
        folder: the index folder. The caller is its writer, and changes neither the view nor places meanwhile. It
            deletes what is no longer needed, too: a process that outlives its caller must not.
        fingerprint: of its encoder.
        progress: called with the number of passages added, after each batch.

    Returns:
        The view, for `DenseView.switch`, and the number of passages added; None if there are none to add.

    Raises:
        IndexCorruptError: the vectors are not as they were written.
        StorageFullError, StorageError: the view cannot be written; nothing of it is left.
    """
    ledger = Ledger(folder, fingerprint)
    try:
        try:
            with panics():
                return _write(ledger, folder, progress)
        except StorageError:
            raise
        except Exception as error:  # Chroma raises many kinds
            if shutil.disk_usage(folder).free < ledger.state().rows * (_SPACE * fingerprint.dimension + _SPACE_MORE):
                raise StorageFullError(f"no space left in {folder} for the dense view: {error}") from error
            raise StorageError(f"the dense view in {folder} could not be written: {error}") from error
    finally:
        ledger.close()


def _write(ledger: Ledger, folder: Path, progress: Callable[[int], object] | None) -> tuple[ViewState, int] | None:
    old = read_state(folder, ledger.info("dense_view"))
    state, live, places = _rows_from(ledger, old.rows if old else 0)
    size = len(places) + (old.size if old else 0)
    target, client, made = _new_target(folder), None, None
    if old and size - live <= _WORN * size:
        client = _open_copy(folder, old, target)  # a damaged one is built anew, whether anything is new or not
    try:
        if client is None:  # under a name of its own: Chroma remembers the other
            old, target = None, _new_target(folder)
            state, size, places = _rows_from(ledger, 0)
        if not len(places):
            return None
        if client is None:
            client = open_client(target)
        file = ledger.vectors(state.vectors)
        for block in ledger.blocks(old.rows if old else 0):
            file.check(*block)
        vectors = file.rows(state.rows)
        collection = client.get_or_create_collection(
            COLLECTION, embedding_function=None, configuration={"hnsw": {"space": "ip"}}
        )
        batch = min(_BATCH, client.get_max_batch_size())
        for at in range(0, len(places), batch):
            part = places[at : at + batch]
            collection.add(ids=[str(place) for place in part], embeddings=vectors[part].astype(np.float32, copy=False))
            if progress:
                progress(len(part))
        close_client(client)
        digests = digests_of(target)
        _sync(target)
        made = ViewState(target.name, target.name, state.rows, size, digests)
        return made, len(places)
    finally:
        if client is not None:
            close_client(client)
        if made is None:
            shutil.rmtree(target, ignore_errors=True)


def _rows_from(ledger: Ledger, start: int) -> tuple[State, int, NDArray[np.int64]]:
    """Return how far the truth has come, how many passages there are, and the places of those from a place on."""
    with ledger.reading():
        return ledger.state(), ledger.count(), ledger.rows(start)[0]


def _open_copy(folder: Path, old: ViewState, target: Path) -> Any:
    """Return the client of a copy of the view in use; None if the view is damaged."""
    client = None
    try:
        check_files(folder / old.folder, old)
        copy_files(folder / old.folder, target)
        client = open_client(target)
        with panics():
            client.get_collection(COLLECTION, embedding_function=None)
        return client
    except Exception as error:  # Chroma and SQLite raise many kinds for a damaged folder
        logger.warning("the dense view in %s is damaged and is built anew: %s", folder, error)
        if client is not None:
            close_client(client)
        shutil.rmtree(target, ignore_errors=True)
        return None


def _new_target(folder: Path) -> Path:
    return folder / f"dense-{secrets.token_hex(8)}"


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
