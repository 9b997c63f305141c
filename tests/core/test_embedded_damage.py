"""The dense view damaged on disk: search is exact until `optimize` has rebuilt the view from the truth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from big_corpus import MODEL, ROWS, assert_exact, hnsw_rows, recall, run_python, truth, unit, write

from hybrid_core.stores.embedded import EmbeddedStore

POINTERS = {
    "empty": "",
    "garbage": "{not json",
    "a list": "[]",
    "another object": '{"a": 1}',
    "a folder that is not there": '{"folder": "dense-9", "token": "t", "rows": 6000, "size": 6000, "digests": {}}',
}


def view(folder: Path) -> Path:
    """The folder in use."""
    return folder / json.loads((folder / "dense.json").read_text(encoding="utf-8"))["folder"]


def assert_exact_until_rebuilt(folder: Path) -> None:
    store = EmbeddedStore(folder, MODEL)
    assert_exact(store, truth())
    assert store.optimize() == ROWS  # from the vectors of the truth: this store has no encoder
    assert store._dense.rows == ROWS
    assert recall(store, truth()) >= 0.95
    assert hnsw_rows(store) == ROWS
    store.close()
    assert len(list(folder.glob("dense-*"))) == 1


@pytest.mark.parametrize("content", POINTERS.values(), ids=list(POINTERS))
def test_a_pointer_that_says_nothing(folded_index: Path, content: str) -> None:
    """Fault 3: a derived file damaged."""
    (folded_index / "dense.json").write_text(content, encoding="utf-8")
    store = EmbeddedStore(folded_index, MODEL)
    assert store._dense.rows == 0
    assert_exact(store, truth())
    store.close()


def test_a_pointer_that_is_gone(folded_index: Path) -> None:
    """Fault 3: a derived file deleted."""
    (folded_index / "dense.json").unlink()
    assert_exact_until_rebuilt(folded_index)


def test_a_view_that_is_gone(folded_index: Path) -> None:
    """Fault 3: the derived folder deleted."""
    shutil.rmtree(view(folded_index))
    assert_exact_until_rebuilt(folded_index)


@pytest.mark.parametrize("name", ["chroma.sqlite3", "data_level0.bin"])
@pytest.mark.parametrize("damage", ["deleted", "empty", "half"])
def test_a_file_of_the_view_damaged(folded_index: Path, name: str, damage: str) -> None:
    """Fault 3: a derived file truncated or deleted."""
    [file] = view(folded_index).rglob(name)
    if damage == "deleted":
        file.unlink()
    else:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2 if damage == "half" else 0])
    assert_exact_until_rebuilt(folded_index)


def test_a_view_of_another_truth_is_not_used(folded_index: Path) -> None:
    """Fault 3: the truth was lost or restored from a backup, the view beside it belongs to what was there before."""
    (folded_index / "passages.sqlite3").unlink()
    store = EmbeddedStore(folded_index, MODEL)
    others = unit(9, ROWS)
    write(store, range(ROWS), others)
    assert recall(store, {f"p{i:05d}": others[i] for i in range(ROWS)}) >= 0.95
    store.close()


ZEROED = """
import sys
from pathlib import Path
from big_corpus import MODEL, EmbeddedStore, assert_exact, truth
from hybrid_core.stores.embedded import snapshot
snapshot._EXACT = 0
store = EmbeddedStore(Path(sys.argv[1]), MODEL)
assert_exact(store, truth())
"""


@pytest.mark.parametrize(
    "name", ["chroma.sqlite3", "data_level0.bin", "header.bin", "link_lists.bin", "index_metadata.pickle"]
)
def test_a_file_of_the_view_zeroed(folded_index: Path, name: str) -> None:
    """Fault 3: a derived file zeroed at its full size. In a process of its own: HNSW may crash on such a file."""
    [file] = view(folded_index).rglob(name)
    file.write_bytes(bytes(file.stat().st_size))
    done = run_python(ZEROED, folded_index)
    assert done.returncode == 0, done.stderr[-500:]
