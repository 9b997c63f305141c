"""Fault 31: folders of every format that was ever released, kept in `formats`, open with all they hold."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from confined import run_on_small_disk, run_without_leave
from embedded_answers import FORMATS, answers, expected, kept, write
from filelock import FileLock
from kill_steps import killed_at_each_step
from vectors import FINGERPRINT, passages

from hybrid_core import IndexLockedError
from hybrid_core.stores.embedded import EmbeddedStore, migration
from hybrid_core.stores.embedded.ledger import read_fingerprint
from hybrid_core.stores.embedded.schema import FORMAT
from hybrid_core.stores.memory import MemoryStore


@pytest.fixture(params=sorted(path.name for path in FORMATS.iterdir()))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a folder of each format."""
    return Path(shutil.copytree(FORMATS / request.param, tmp_path / "index"))


@pytest.fixture
def oldest(tmp_path: Path) -> Path:
    """A copy of the folder of format 1."""
    return Path(shutil.copytree(FORMATS / "format_1", tmp_path / "index"))


def said(folder: Path) -> dict[str, object]:
    """What an index says when it is opened."""
    store = EmbeddedStore(folder, FINGERPRINT)
    try:
        return answers(store)
    finally:
        store.close()


def format_of(folder: Path) -> int:
    """The format that a folder has now, by a look that changes nothing."""
    database = sqlite3.connect(f"{(folder / 'passages.sqlite3').as_uri()}?mode=ro", uri=True)
    [(value,)] = database.execute("SELECT value FROM info WHERE key = 'format'")
    database.close()
    return int(value)


def test_there_is_a_folder_of_every_format() -> None:
    """Fault 31: whoever raises the format keeps a folder of the one before."""
    assert {path.name for path in FORMATS.iterdir()} == {f"format_{i}" for i in range(1, FORMAT + 1)}


def test_a_kept_folder_opens_with_the_same_ids_passages_and_hits(folder: Path) -> None:
    """Fault 31: a folder written by an older release opens; every bit of every score is the exact store's."""
    assert read_fingerprint(folder) == FINGERPRINT
    assert said(folder) == expected()
    assert format_of(folder) == FORMAT
    assert said(folder) == expected()  # and again, without a migration


def test_a_kept_folder_takes_writes(folder: Path) -> None:
    """Fault 31: it grows, is folded and compacted as any other."""
    gaps = 5 if format_of(folder) == 1 else 8  # a migration gives places without any
    exact = kept(MemoryStore())
    store = EmbeddedStore(folder, FINGERPRINT)
    for each in (exact, store):
        write(each, passages(8, start=8))  # four are there, one of them was deleted
        assert each.delete(["blank", "p0000", "p0005", "nobody"]) == 2
    assert answers(store) == answers(exact)
    assert store.optimize() == store.count() == 15
    assert store.compact() == gaps
    assert answers(store) == answers(exact)
    store.close()
    assert said(folder) == answers(exact)


def test_what_an_older_release_left_in_its_log_is_taken_over(oldest: Path, tmp_path: Path) -> None:
    """Fault 31, fault 1: it was killed, and its last commit lies in the log still."""
    database = sqlite3.connect(oldest / "passages.sqlite3", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("UPDATE passages SET metadata = '{\"n\":77}' WHERE id = 'p0003'")
    assert (oldest / "passages.sqlite3-wal").stat().st_size
    killed = Path(shutil.copytree(oldest, tmp_path / "killed"))
    database.close()
    store = EmbeddedStore(killed, FINGERPRINT)
    assert store.get(["p0003"])["p0003"].metadata == {"n": 77}
    assert store.count() == 12
    store.close()


def test_an_empty_index_of_an_older_release_opens(oldest: Path) -> None:
    """Fault 31: nothing in it is no reason to fail."""
    database = sqlite3.connect(oldest / "passages.sqlite3")
    with database:
        for table in ("passages", "vectors", "deletions"):
            database.execute(f"DELETE FROM {table}")  # noqa: S608
    database.close()
    store = EmbeddedStore(oldest, FINGERPRINT)
    assert store.ids() == []
    write(store, passages(3))
    assert store.count() == 3
    store.close()


def test_a_migration_killed_at_any_step_leaves_the_old_index_and_goes_on_next_time(tmp_path: Path) -> None:
    """Fault 31, fault 1: kill -9 before each call of SQLite or the file system."""
    everything = expected()
    copies = killed_at_each_step("migrate", FORMATS / "format_1", tmp_path)
    formats = [format_of(copy) for copy in copies]
    assert set(formats) == {1, FORMAT}
    assert formats == sorted(formats)  # one step changes it
    for copy in copies:
        store = EmbeddedStore(copy, FINGERPRINT)
        assert answers(store) == everything
        write(store, passages(1))  # the first write deletes what nothing names
        assert len(list(copy.glob("vectors-*"))) == 1
        assert not list(copy.glob("*.new*"))
        store.close()


def test_a_folder_of_an_older_format_that_cannot_be_written_to_says_what_to_do(oldest: Path) -> None:
    """Fault 31, fault 30: a read-only folder."""
    run_without_leave(
        "import sys\n"
        "import pytest\n"
        "from vectors import FINGERPRINT\n"
        "from hybrid_core import StorageError\n"
        "from hybrid_core.stores.embedded import EmbeddedStore\n"
        "with pytest.raises(StorageError, match='earlier release; open it once where it can be written to'):\n"
        "    EmbeddedStore(sys.argv[1], FINGERPRINT)\n",
        oldest,
    )
    assert format_of(oldest) == 1
    assert said(oldest) == expected()


def test_a_folder_of_this_format_that_cannot_be_written_to_is_searched(oldest: Path) -> None:
    """Fault 30: search works, add raises."""
    assert said(oldest) == expected()
    run_without_leave(
        "import sys\n"
        "import pytest\n"
        "from embedded_answers import answers, expected, write\n"
        "from vectors import FINGERPRINT, passages\n"
        "from hybrid_core import StorageError\n"
        "from hybrid_core.stores.embedded import EmbeddedStore\n"
        "store = EmbeddedStore(sys.argv[1], FINGERPRINT)\n"
        "for change in (lambda: write(store, passages(1)), lambda: store.delete(['p0000']), store.optimize):\n"
        "    with pytest.raises(StorageError, match='cannot be written to'):\n"
        "        change()\n"
        "assert answers(store) == expected()\n"
        "store.close()\n",
        oldest,
    )


def test_an_older_release_that_writes_is_asked_to_close(oldest: Path) -> None:
    """Fault 31, fault 4: a lock held elsewhere."""
    with FileLock(oldest / "writer.lock"), pytest.raises(IndexLockedError, match=r"earlier release .* close it there"):
        EmbeddedStore(oldest, FINGERPRINT)
    assert format_of(oldest) == 1
    assert said(oldest) == expected()


def test_an_older_release_that_reads_is_asked_to_close(oldest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 31, fault 4: it would go on with the log of the new database, which is not its own."""
    monkeypatch.setattr(migration, "_PATIENCE", 0.0)
    reader = sqlite3.connect(oldest / "passages.sqlite3", isolation_level=None)
    reader.execute("PRAGMA journal_mode = WAL")
    assert reader.execute("SELECT count(*) FROM passages").fetchone() == (12,)
    with pytest.raises(IndexLockedError, match=r"earlier release .* close it there"):
        EmbeddedStore(oldest, FINGERPRINT)
    assert reader.execute("SELECT count(*) FROM passages").fetchone() == (12,)
    reader.close()
    assert format_of(oldest) == 1
    assert not [*oldest.glob("vectors-*"), *oldest.glob("*.new*")]
    assert said(oldest) == expected()


ON_A_FULL_DISK = """
import os, shutil, sqlite3, sys
from pathlib import Path
import pytest
from embedded_answers import FORMATS, answers, expected
from vectors import FINGERPRINT
from hybrid_core import StorageFullError
from hybrid_core.stores.embedded import EmbeddedStore
disk = Path(sys.argv[1])
folder = shutil.copytree(FORMATS / "format_1", disk / "index")
database = sqlite3.connect(folder / "passages.sqlite3")
with database:
    database.execute("UPDATE passages SET metadata = ? WHERE id = 'blank'", ('{"long":"' + "x" * 900_000 + '"}',))
database.close()
failed = 0
for free in range(100_000, 4_000_000, 100_000):
    space = os.statvfs(disk)
    (disk / "full").write_bytes(bytes(max(0, space.f_bavail * space.f_frsize - free)))
    try:
        store = EmbeddedStore(folder, FINGERPRINT)
        break
    except StorageFullError:
        failed += 1
        assert {path.name for path in folder.iterdir()} <= {"passages.sqlite3", "writer.lock"}
    (disk / "full").unlink()
assert 5 < failed < 35
(disk / "full").unlink()
assert store.get(["blank"])["blank"].metadata == {"long": "x" * 900_000}
assert store.count() == 12
store.close()
"""


def test_a_migration_that_the_disk_has_no_room_for_leaves_the_old_index(tmp_path: Path) -> None:
    """Fault 31, fault 2: with ever more room until there is enough, no call leaves anything behind."""
    run_on_small_disk(ON_A_FULL_DISK, tmp_path, megabytes=8)
