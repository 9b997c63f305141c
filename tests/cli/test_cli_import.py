"""`bge-hybrid import chroma`: a collection becomes an index, and the folder it was in stays as it was."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_chroma import (
    QUESTION,
    client,
    copy_of,
    corpus,
    encoded,
    stored_by_chroma,
    stored_here,
    tree,
    write_collection,
)

from hybrid_core import BgeM3Encoder, HybridIndex, Passage
from hybrid_core.importing import import_chroma
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


def passages_in(folder: Path, encoder: BgeM3Encoder) -> list[Passage]:
    with HybridIndex.open(folder, encoder=encoder) as index:
        return [passage for passage in index.get(index.ids()) if passage]


def test_documents_ids_and_metadata_come_over_and_the_source_is_not_touched(
    bge_hybrid: Command, source: Path, folder: Path, encoder: BgeM3Encoder
) -> None:
    before = tree(source)
    done = bge_hybrid("import", "chroma", source, "docs", "--into", folder, "--model", "tiny")
    assert (done.code, done.err) == (0, "")
    assert done.text == f"{N} entries: {N} new or changed, 0 unchanged. {folder} holds {N}."
    assert passages_in(folder, encoder) == PASSAGES
    assert tree(source) == before


@pytest.mark.parametrize("same_model", [False, True])
def test_an_imported_index_answers_as_one_that_was_filled_here(
    source: Path, encoder: BgeM3Encoder, same_model: bool
) -> None:
    with HybridIndex.open(None, encoder=encoder) as imported, HybridIndex.open(None, encoder=encoder) as filled:
        report = import_chroma(source, "docs", imported, same_model=same_model)
        filled.add(PASSAGES)
        assert (report.written, report.present, report.skipped, report.replaced) == (N, 0, 0, 0)
        for question in (QUESTION, "限流", "retry a failed job"):
            hits, expected = imported.explain(question, k=10), filled.explain(question, k=10)
            assert [hit.passage for hit in hits] == [hit.passage for hit in expected]
            assert [hit.matches for hit in hits] == [hit.matches for hit in expected]
            assert [hit.stages["dense"].score for hit in hits if "dense" in hit.stages] == pytest.approx(
                [hit.stages["dense"].score for hit in expected if "dense" in hit.stages], abs=1e-6
            )


@pytest.mark.parametrize("space", ["l2", "cosine"])
def test_same_model_keeps_the_vectors_byte_for_byte(
    bge_hybrid: Command, tmp_path: Path, folder: Path, encoder: BgeM3Encoder, dense: FloatArray, space: str
) -> None:
    noise = np.random.default_rng(0).normal(scale=2e-3, size=(N, 256)).astype(np.float32)
    other = dense + noise  # as another precision would have made them
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    source = write_collection(tmp_path / "chroma", PASSAGES, other, space=space, sync=10)
    before = tree(source)
    done = bge_hybrid("import", "chroma", source, "docs", "--into", folder, "--model", "tiny", "--same-model")
    assert (done.code, done.err) == (0, "")
    assert tree(source) == before
    assert stored_here(folder, encoder) == stored_by_chroma(source)
    assert stored_here(folder, encoder) != {
        passage.id: row.tobytes() for passage, row in zip(PASSAGES, dense, strict=True)
    }


def test_more_entries_than_a_page(bge_hybrid: Command, tmp_path: Path, folder: Path, encoder: BgeM3Encoder) -> None:
    passages = [Passage(f"id {i}", f"part {i}") for i in range(1_100)]
    source = write_collection(tmp_path / "chroma", passages, encoded(encoder, passages))
    done = bge_hybrid("import", "chroma", source, "docs", "--into", folder, "--model", "tiny", "--same-model")
    assert done.text == f"1100 entries: 1100 new or changed, 0 unchanged. {folder} holds 1100."
    assert passages_in(folder, encoder) == passages
    assert stored_here(folder, encoder) == stored_by_chroma(source)


def test_importing_again_encodes_nothing_and_later_only_what_changed(
    bge_hybrid: Command, source: Path, folder: Path, passes: list[int], encoder: BgeM3Encoder
) -> None:
    arguments = ["import", "chroma", source, "docs", "--into", folder]
    bge_hybrid(*arguments, "--model", "tiny")
    assert sum(passes) == N
    passes.clear()
    done = bge_hybrid(*arguments)
    assert done.text == f"{N} entries: 0 new or changed, {N} unchanged. {folder} holds {N}."
    assert passes == []
    with client(source) as opened:
        collection = opened.get_collection("docs", embedding_function=None)
        collection.update(ids=[PASSAGES[0].id], documents=["A new text."], embeddings=[[1.0] + [0.0] * 255])
        collection.delete(ids=[PASSAGES[1].id])
    done = bge_hybrid(*arguments)
    assert done.text == f"{N - 1} entries: 1 new or changed, {N - 2} unchanged. {folder} holds {N}."
    assert sum(passes) == 1


def test_what_is_in_the_index_already_stays(
    bge_hybrid: Command, source: Path, folder: Path, encoder: BgeM3Encoder
) -> None:
    with HybridIndex.open(folder, encoder=encoder) as index:
        index.add(["My own text."], ids=["mine"])
    bge_hybrid("import", "chroma", source, "docs", "--into", folder)
    assert [passage.id for passage in passages_in(folder, encoder)] == ["mine", *(p.id for p in PASSAGES)]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process as POSIX does")
def test_an_import_that_was_killed_goes_on_where_it_was(
    bge_hybrid: Command, tmp_path: Path, folder: Path, passes: list[int], encoder: BgeM3Encoder
) -> None:
    passages = [Passage(f"id {i}", f"{PASSAGES[i % N].text[:150]} {i}") for i in range(1_000)]
    source = write_collection(tmp_path / "chroma", passages, np.eye(4, dtype=np.float32)[np.zeros(1_000, int)])
    before = tree(source)
    script = Path(sysconfig.get_path("scripts")) / "bge-hybrid"
    command = [str(script), "import", "chroma", str(source), "docs", "--into", str(folder), "--model", "tiny"]
    process = subprocess.Popen(
        [sys.executable, *command], env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.DEVNULL
    )
    try:
        while process.poll() is None and count(folder) == 0:
            time.sleep(0.01)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    there = count(folder)
    assert 0 < there < 1_000
    done = bge_hybrid("import", "chroma", source, "docs", "--into", folder)
    assert done.text == f"1000 entries: {1_000 - there} new or changed, {there} unchanged. {folder} holds 1000."
    assert sum(passes) == 1_000 - there
    assert passages_in(folder, encoder) == passages
    assert tree(source) == before


def count(folder: Path) -> int:
    """The passages that are committed, as another process sees them."""
    try:
        with closing(sqlite3.connect(f"file:{folder}/passages.sqlite3?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM passages").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_entries_without_a_document_are_left_out_and_counted(
    bge_hybrid: Command, source: Path, folder: Path, encoder: BgeM3Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    with client(source) as opened:
        collection = opened.get_collection("docs", embedding_function=None)
        collection.add(ids=["bare 1", "bare 2"], embeddings=np.eye(2, 256))
    done = bge_hybrid("import", "chroma", source, "docs", "--into", folder, "--model", "tiny", "--same-model")
    assert done.code == 0
    assert caplog.messages == [
        f"2 of {N + 2} entries have no document, only a vector (first id: 'bare 1'); they are left out: there is no text "
        "to make sparse weights of"
    ]
    assert done.text == f"{N + 2} entries: {N} new or changed, 0 unchanged, 2 left out. {folder} holds {N}."
    assert passages_in(folder, encoder) == PASSAGES
    there = stored_by_chroma(source)
    assert stored_here(folder, encoder) == {passage.id: there[passage.id] for passage in PASSAGES}


def test_a_stored_vector_that_is_not_its_texts_is_computed_anew_and_counted(
    bge_hybrid: Command, tmp_path: Path, folder: Path, encoder: BgeM3Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    passages = [*PASSAGES, *(Passage(f"more {i}", f"{PASSAGES[i % N].text} {i}") for i in range(80))]
    dense = encoded(encoder, passages)
    right = dense[7].copy()
    dense[7] = dense[8]  # a text that was changed without being embedded again; none of the sample
    source = write_collection(tmp_path / "chroma", passages, dense)
    done = bge_hybrid("import", "chroma", source, "docs", "--into", folder, "--model", "tiny", "--same-model")
    assert done.code == 0
    assert (
        f"1 stored vectors are not what the encoder makes of their text (first id: {PASSAGES[7].id!r})" in caplog.text
    )
    here, there = stored_here(folder, encoder), stored_by_chroma(source)
    assert {id_ for id_ in here if here[id_] != there[id_]} == {PASSAGES[7].id}
    assert np.frombuffer(here[PASSAGES[7].id], dtype="<f4") == pytest.approx(right, abs=1e-5)


def test_a_folder_that_was_not_closed_is_read_as_it_was_committed(
    bge_hybrid: Command, source: Path, tmp_path: Path, folder: Path, encoder: BgeM3Encoder
) -> None:
    crashed = tmp_path / "crashed"
    with closing(sqlite3.connect(source / "chroma.sqlite3", isolation_level=None)) as db:
        db.execute("PRAGMA cache_size = 1")
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE embedding_metadata SET string_value = 'torn' || string_value")  # reaches the file
        copy_of(source, crashed)
        db.execute("ROLLBACK")
    assert (crashed / "chroma.sqlite3-journal").stat().st_size
    assert b"torn" in (crashed / "chroma.sqlite3").read_bytes()
    before = tree(crashed)
    done = bge_hybrid("import", "chroma", crashed, "docs", "--into", folder, "--model", "tiny", "--same-model")
    assert (done.code, done.err) == (0, "")
    assert passages_in(folder, encoder) == PASSAGES
    assert tree(crashed) == before


def test_a_collection_of_several_and_with_an_unknown_embedding_function(
    bge_hybrid: Command, source: Path, folder: Path, encoder: BgeM3Encoder
) -> None:
    write_collection(source, [Passage("x", "Elsewhere.")], np.eye(1, 8, dtype=np.float32), "other")
    with closing(sqlite3.connect(source / "chroma.sqlite3")) as db, db:
        unknown = '{"embedding_function": {"type": "known", "name": "of another machine", "config": {}}}'
        db.execute("UPDATE collections SET config_json_str = ? WHERE name = 'other'", (unknown,))
    done = bge_hybrid("import", "chroma", source, "other", "--into", folder, "--model", "tiny")
    assert done.code == 0, done.err
    assert passages_in(folder, encoder) == [Passage("x", "Elsewhere.")]


def test_odd_entries_come_over_as_they_are(
    bge_hybrid: Command, tmp_path: Path, folder: Path, encoder: BgeM3Encoder
) -> None:
    odd = [
        Passage("id with\nnewline 网关 \x00", "nul \x00 and 😀"),
        Passage("/a/b#1", "same text", {"网 关": "key", "k" * 500: "long"}),
        Passage("2", "same text", {"big": 2**62, "small": 5e-324}),
        Passage("3", "long " * 20_000),
    ]
    source = write_collection(tmp_path / "chroma", odd, encoded(encoder, odd))
    with client(source) as opened:
        collection = opened.get_collection("docs", embedding_function=None)
        collection.update(ids=["3"], uris=["file:///picture.png"])
    done = bge_hybrid("import", "chroma", source, "docs", "--into", folder, "--model", "tiny", "--same-model")
    assert done.code == 0, done.err
    assert passages_in(folder, encoder) == [*odd[:3], Passage("3", odd[3].text, {"chroma:uri": "file:///picture.png"})]


def test_blank_documents_are_imported_with_a_warning(
    bge_hybrid: Command, tmp_path: Path, folder: Path, encoder: BgeM3Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    blank = [Passage("1", ""), Passage("2", "  ")]
    source = write_collection(tmp_path / "chroma", blank, encoded(encoder, blank))
    done = bge_hybrid("import", "chroma", source, "docs", "--into", folder, "--model", "tiny")
    assert done.code == 0
    assert "2 passages hold no text (first id: '1')" in caplog.text
    assert passages_in(folder, encoder) == blank
