"""What cannot be imported ends in one line with the remedy, and nothing is written: not here, not there."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_chroma import client, copy_of, corpus, encoded, hnsw_file, tree, write_collection

from hybrid_core import (
    BgeM3Encoder,
    HybridIndex,
    InvalidInputError,
    ModelMismatchError,
    StorageError,
    StorageFullError,
)
from hybrid_core.importing import ChromaCollection, import_chroma, vectors
from hybrid_core.types import FloatArray

Command = Callable[..., Any]
PASSAGES = corpus()
N = len(PASSAGES)


@pytest.fixture(scope="module")
def dense(encoder: BgeM3Encoder) -> FloatArray:
    """The dense vectors of the passages."""
    return encoded(encoder, PASSAGES)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, dense: FloatArray) -> Path:
    """A collection by plain chromadb, part of it in HNSW files and part in Chroma's log."""
    return write_collection(tmp_path_factory.mktemp("written") / "chroma", PASSAGES, dense, sync=10)


@pytest.fixture
def source(tmp_path: Path, written: Path) -> Path:
    """The same for a test of its own."""
    return copy_of(written, tmp_path / "chroma")


def assert_fails(result: Any, *parts: str) -> None:
    """The command ended as our own errors do: one line on stderr that holds the parts."""
    assert result.code == 1
    assert result.out == ""
    assert result.err.startswith("error: ")
    for part in parts:
        assert part in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("missing", ["missing does not exist"]),
        ("empty", ["empty is no Chroma folder", "no chroma.sqlite3", "persist_directory"]),
        ("chroma/chroma.sqlite3", ["chroma.sqlite3 is no Chroma folder", "give the folder"]),
        ("garbage", ["garbage/chroma.sqlite3 cannot be read", "damaged"]),
        ("foreign", ["not written by Chroma"]),
    ],
)
def test_folders_that_are_none_of_chromas(
    bge_hybrid: Command, tmp_path: Path, source: Path, folder: Path, name: str, parts: list[str]
) -> None:
    for other in ("empty", "garbage", "foreign"):
        (tmp_path / other).mkdir()
    (tmp_path / "garbage" / "chroma.sqlite3").write_bytes(b"no database " * 1000)
    (tmp_path / "foreign" / "chroma.sqlite3").write_bytes(b"")
    before = tree(tmp_path)
    done = bge_hybrid("import", "chroma", tmp_path / name, "docs", "--into", folder, "--model", "tiny")
    assert_fails(done, *parts)
    assert tree(tmp_path) == before


def test_a_collection_that_is_not_there_names_those_that_are(bge_hybrid: Command, source: Path, folder: Path) -> None:
    write_collection(source, PASSAGES[:1], np.eye(1, 4, dtype=np.float32), "another")
    before = tree(source)
    done = bge_hybrid("import", "chroma", source, "langchain", "--into", folder, "--model", "tiny")
    assert_fails(done, f"{source} has no collection 'langchain'; there are: 'another', 'docs'")
    assert tree(source) == before
    assert not folder.exists()


def test_no_collection_at_all(bge_hybrid: Command, tmp_path: Path, folder: Path) -> None:
    with client(tmp_path / "none") as opened:
        assert opened.list_collections() == []
    done = bge_hybrid("import", "chroma", tmp_path / "none", "docs", "--into", folder, "--model", "tiny")
    assert_fails(done, "has no collection 'docs'; there are: none")


@pytest.mark.parametrize("option", [[], ["--same-model"]])
def test_a_collection_without_entries_or_without_documents(
    bge_hybrid: Command, tmp_path: Path, folder: Path, option: list[str]
) -> None:
    with client(tmp_path / "bare") as opened:
        opened.create_collection("empty", embedding_function=None)
        bare = opened.create_collection("bare", embedding_function=None)
        bare.add(ids=["a"], embeddings=np.eye(1, 256), metadatas=[{"k": 1}])
    arguments = ["--into", folder, "--model", "tiny", *option]
    done = bge_hybrid("import", "chroma", tmp_path / "bare", "empty", *arguments)
    assert_fails(done, "collection 'empty'", "is empty", "nothing to import")
    done = bge_hybrid("import", "chroma", tmp_path / "bare", "bare", *arguments)
    assert_fails(done, "no entry of collection 'bare'", "has a document")
    assert not folder.exists()


def test_an_index_inside_the_chroma_folder_is_refused(bge_hybrid: Command, source: Path) -> None:
    before = tree(source)
    for into in (source, source / "index", source / ".." / "chroma" / "index"):
        assert_fails(bge_hybrid("import", "chroma", source, "docs", "--into", into), "choose another folder")
    assert tree(source) == before


def rotated(rows: FloatArray) -> FloatArray:
    """Unit vectors that another model might have made: of the same dimension, elsewhere."""
    return np.roll(rows, 1, axis=1)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (rotated, ["not those of 'tiny'", "of 8 documents, 8", "lowest cosine"]),
        (lambda rows: 2 * rows, [f"id '{PASSAGES[0].id}' has length 2, not 1"]),
        (lambda rows: rows[:, :64], ["64 dimensions", "'tiny' makes 256"]),
    ],
)
def test_same_model_with_vectors_of_another_model(
    bge_hybrid: Command,
    tmp_path: Path,
    folder: Path,
    dense: FloatArray,
    change: Callable[[FloatArray], FloatArray],
    parts: list[str],
) -> None:
    source = write_collection(tmp_path / "chroma", PASSAGES, change(dense))
    before = tree(source)
    arguments = ["import", "chroma", source, "docs", "--into", folder, "--model", "tiny"]
    assert_fails(bge_hybrid(*arguments, "--same-model"), *parts, "without --same-model")
    assert not folder.exists()
    assert bge_hybrid(*arguments).code == 0  # their texts can be had all the same
    assert tree(source) == before


def test_an_index_of_another_model_is_not_touched(
    bge_hybrid: Command, source: Path, folder: Path, encoder: BgeM3Encoder, random_m3: Path
) -> None:
    with HybridIndex.open(folder, encoder=encoder) as index:
        index.add(["Workers pull tasks."], ids=["a"])
    done = bge_hybrid("import", "chroma", source, "docs", "--into", folder, "--model", random_m3)
    assert_fails(done, "'tiny'", str(random_m3), str(folder))
    with HybridIndex.open(folder, encoder=encoder) as index:
        assert index.ids() == ["a"]


def test_the_errors_are_those_of_the_library(
    tmp_path: Path, source: Path, encoder: BgeM3Encoder, dense: FloatArray
) -> None:
    other = write_collection(tmp_path / "other", PASSAGES, rotated(dense))
    with HybridIndex.open(None, encoder=encoder) as index:
        with pytest.raises(InvalidInputError, match="no collection"):
            import_chroma(source, "none", index)
        with pytest.raises(ModelMismatchError, match="same_model=False"):
            import_chroma(other, "docs", index, same_model=True)
        assert len(index) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["import"],
        ["import", "chroma"],
        ["import", "chroma", "DIR"],
        ["import", "chroma", "DIR", "docs"],
        ["import", "x"],
    ],
)
def test_wrong_usage_ends_with_2(bge_hybrid: Command, arguments: list[str]) -> None:
    done = bge_hybrid(*arguments)
    assert done.code == 2
    assert "Usage: " in done.out + done.err
    assert "bge-hybrid import" in done.out + done.err


@pytest.mark.parametrize(
    ("file", "size", "reason"),
    [
        ("header.bin", 50, "cannot be read"),  # Chroma ends the process
        ("index_metadata.pickle", 0, "Error"),
    ],
)
def test_torn_hnsw_files_cost_the_vectors_only(
    bge_hybrid: Command, source: Path, folder: Path, file: str, size: int, reason: str
) -> None:
    torn = hnsw_file(source, file)
    torn.write_bytes(torn.read_bytes()[:size])
    before = tree(source)
    arguments = ["import", "chroma", source, "docs", "--into", folder, "--model", "tiny"]
    done = bge_hybrid(*arguments, "--same-model")
    assert_fails(done, "the vectors of 'docs' cannot be read", reason, "without --same-model")
    assert not folder.exists()
    done = bge_hybrid(*arguments)
    assert done.text == f"{N} entries: {N} new or changed, 0 unchanged. {folder} holds {N}."
    assert tree(source) == before


def test_a_chroma_that_does_nothing_is_stopped(source: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"'docs' cannot be read: Chroma did nothing for 0\.1 seconds"):
        vectors.read_vectors(source, "docs", tmp_path / "pages", patience=0.1)  # less than it needs to start


def test_a_chroma_that_fills_the_disk_is_stopped(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_GROWTH", 0)
    growing = f"""
import time
with open({str(source / "link_lists.bin")!r}, "wb") as file:
    while True:
        file.write(bytes(100_000))
        file.flush()
        time.sleep(0.01)
"""
    process = subprocess.Popen([sys.executable, "-c", growing])
    try:
        assert vectors._watch(process, source, tmp_path, 60) == "Chroma's files grew without end"
    finally:
        process.kill()
        process.wait()


def test_a_folder_that_something_writes_to_is_refused(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copyfile

    def copy_while_another_writes(path: Path, target: Path) -> None:
        copy(path, target)
        with client(source) as opened:
            opened.get_collection("docs", embedding_function=None).delete(ids=[PASSAGES[0].id])

    monkeypatch.setattr(shutil, "copyfile", copy_while_another_writes)
    with pytest.raises(StorageError, match="is being written to by another process"):
        ChromaCollection(source, "docs")


def test_no_room_for_the_copy(source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(path: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = tree(tmp_path)
    with pytest.raises(StorageFullError, match="TMPDIR"):
        ChromaCollection(source, "docs")
    assert {name: file for name, (_, file) in tree(tmp_path).items()} == {
        name: file for name, (_, file) in before.items()
    }


def test_the_copy_is_gone_afterwards(
    source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encoder: BgeM3Encoder
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with HybridIndex.open(None, encoder=encoder) as index:
        import_chroma(source, "docs", index, same_model=True)
        with pytest.raises(InvalidInputError):
            import_chroma(source, "none", index)
    assert list((tmp_path / "temporary").iterdir()) == []
