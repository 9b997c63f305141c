"""The sparse view: an inverted index of runs of postings, in memory while it grows, mapped from files afterwards.

Each batch of passages becomes a run; runs of similar size are merged within their stretch of 65,536 places, so there
are few of them and a passage is moved log2(n) times in all. (How they are searched: `postings`.)

`save` writes a run for each stretch and a list of them, `sparse.json`, which is replaced atomically. What it says is
believed if the truth holds the same token and the files have the checksums it names; else they are built anew.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

from ...types import SparseVector
from .postings import Postings
from .sparse_run import SPAN, Run, load_run, merge, save_run, sort_rows

logger = logging.getLogger(__name__)

_LIST = "sparse.json"


class SparseView:
    """Builds the runs of an index and keeps them in files.

    Args:
        folder: the index folder.
        token: what the truth says of the files that belong to it; None if it says nothing.
    """

    def __init__(self, folder: Path, token: str | None) -> None:
        self._folder = folder
        self._list = folder / _LIST
        self._next = folder / f"{_LIST}.new"
        self._stretches: list[tuple[Run, ...]] = []
        self._files: dict[int, tuple[str, int]] = {}  # of a stretch whose one run lies in a file: name and checksum
        self.rows = 0  # the places before this one are here
        self.saved = 0  # and before this one in files
        for path in (self._next, self._list):  # a kill between `save` and `switch` leaves the first
            if token is not None and not self.rows:
                self._load(path, token)

    @classmethod
    def copy(cls, folder: Path, target: Path) -> None:
        """Copy the files of one index folder, if there are any, to another."""
        try:
            said = json.loads((folder / _LIST).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return
        for name, _ in said["files"]:
            shutil.copy(folder / name, target / name)
        (target / _LIST).write_text(json.dumps(said), encoding="utf-8")

    def postings(self) -> Postings:
        """Return what is searched."""
        return Postings(tuple(self._stretches), self.rows)

    def append(self, upto: int, rows: Sequence[tuple[int, SparseVector]]) -> None:
        """Add passages by ascending place, all that lie before `upto` and are not here yet."""
        at = 0
        for stretch in range(self.rows // SPAN, -(-upto // SPAN)):
            first, part = stretch * SPAN, at
            while at < len(rows) and rows[at][0] < first + SPAN:
                at += 1
            if at > part:
                places = [place - first for place, _ in rows[part:at]]
                self._add(stretch, sort_rows(places, [row for _, row in rows[part:at]]))
        self.rows = upto

    def save(self) -> str:
        """Write what is not in files yet, and return the token that the truth must hold before `switch` is called.

        Raises:
            OSError: no space, say; what was there before stays in use.
        """
        token = secrets.token_hex(8)
        files, stretches = dict(self._files), list(self._stretches)
        for stretch, runs in enumerate(stretches):
            if stretch not in files:
                name = f"sparse-{stretch:05d}-{token}.run"
                checksum = save_run(reduce(merge, runs) if runs else sort_rows([], []), self._folder / name)
                files[stretch], stretches[stretch] = (name, checksum), (load_run(self._folder / name, checksum),)
        with self._next.open("w", encoding="utf-8") as file:
            json.dump({"token": token, "rows": self.rows, "files": [files[i] for i in range(len(files))]}, file)
            file.flush()
            os.fsync(file.fileno())
        self._files, self._stretches, self.saved = files, stretches, self.rows
        return token

    def switch(self) -> None:
        """Make the last `save` the one that is opened, and delete the files before it."""
        os.replace(self._next, self._list)
        names = {name for name, _ in self._files.values()}
        for path in self._folder.glob("sparse-*.run"):
            if path.name not in names:
                path.unlink(missing_ok=True)

    def _add(self, stretch: int, run: Run) -> None:
        while len(self._stretches) <= stretch:
            self._stretches.append(())
        runs = [*self._stretches[stretch], run]
        while len(runs) > 1 and len(runs[-2].rows) < 2 * len(runs[-1].rows):
            last = runs.pop()
            runs[-1] = merge(runs[-1], last)
        self._stretches[stretch] = tuple(runs)
        self._files.pop(stretch, None)

    def _load(self, path: Path, token: str) -> None:
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            if said["token"] != token:
                return
            files = {stretch: (str(name), int(checksum)) for stretch, (name, checksum) in enumerate(said["files"])}
            self._stretches = [(load_run(self._folder / name, checksum),) for name, checksum in files.values()]
            self._files, self.rows, self.saved = files, int(said["rows"]), int(said["rows"])
        except FileNotFoundError:
            self._stretches = []
        except (OSError, ValueError, TypeError, KeyError) as error:
            if path == self._list or not isinstance(error, json.JSONDecodeError):  # a kill leaves half of the other
                logger.warning("the sparse view in %s cannot be read and is built anew: %s", self._folder, error)
            self._stretches = []
