"""A copy of an index while it is in use."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sqlite3
from pathlib import Path

from ...errors import StorageError, StorageFullError
from ...types import Fingerprint
from .dense_files import copy_view, sweep
from .ledger import Ledger
from .sparse_view import SparseView

logger = logging.getLogger(__name__)


def copy_folder(folder: Path, fingerprint: Fingerprint, target: Path) -> int:
    """Copy the truth, and the views where they are the truth's own; return the number of passages.

    Raises:
        StorageError, StorageFullError: there is something at the target, it is in the folder, or cannot be written.
        IndexCorruptError: the truth is damaged.
    """
    if folder.resolve() in target.resolve().parents:
        raise StorageError(f"{target} lies in the index itself, which sweeps its folder; choose another path")
    if os.path.exists(target):  # which raises nothing, whatever the name
        raise StorageError(f"{target} exists already; choose another path for the backup")
    ledger = Ledger(folder, fingerprint)
    beside = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    try:
        beside.mkdir(parents=True)
        ledger.copy_to(beside)
        try:
            copy_view(folder, ledger.info("dense_view"), beside)
            SparseView.copy(folder, beside)
        except (OSError, sqlite3.Error) as error:
            # damaged, or another process has just replaced one: the copy builds its own
            logger.warning("the backup of %s goes without its views: %s", folder, error)
            sweep(beside, keep=None)
        copy = Ledger(beside, fingerprint)
        count = copy.count()
        copy.close()
        beside.rename(target)
    except BaseException as error:
        shutil.rmtree(beside, ignore_errors=True)
        if isinstance(error, StorageFullError):
            raise StorageFullError(f"no space left for the backup {target}; nothing of it was kept") from error
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise StorageError(f"the backup {target} could not be written: {error}") from error
        raise
    finally:
        ledger.close()
    return count
