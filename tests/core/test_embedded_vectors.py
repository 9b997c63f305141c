"""The file of dense vectors: damage, killed appends, a full disk, and half the precision."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from big_corpus import CORPUS, MODEL, QUERIES, ROWS, hnsw_rows, recall, truth
from big_corpus import write as write_corpus
from confined import run_on_small_disk, run_program
from embedded_answers import FORMATS, answers, expected, kept, write
from kill_steps import BATCH, killed_at_each_step
from vectors import DIMENSION, FINGERPRINT, dense_of, encoding_of, passages, sparse_of

from hybrid_core import BgeM3Encoder, Encoding, HybridIndex, IndexCorruptError, InvalidInputError, Passage
from hybrid_core.stores.embedded import EmbeddedStore
from hybrid_core.stores.memory import MemoryStore

LATEST = FORMATS / max(path.name for path in FORMATS.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index of twelve passages, closed."""
    return Path(shutil.copytree(LATEST, tmp_path / "index"))


def file_of(folder: Path) -> Path:
    """The one file of vectors."""
    [path] = folder.glob("vectors-*")
    return path


def delete(path: Path) -> None:
    path.unlink()


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """Change one bit of the first number, which a search would not notice."""
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [delete, shorten, empty])
def test_a_file_that_is_gone_or_too_short_is_named(folder: Path, damage: Callable[[Path], None]) -> None:
    """Fault 3: the truth itself corrupt; nothing is written over what is left of it."""
    file = file_of(folder)
    damage(file)
    left = file.read_bytes() if file.exists() else None
    store = EmbeddedStore(folder, FINGERPRINT)
    uses: list[Callable[[], object]] = [
        lambda: store.search_dense(dense_of("q"), 3), lambda: store.search_sparse(sparse_of("q"), 3), store.ids,
        lambda: store.encodings(["rewritten"]), lambda: write(store, passages(2, start=50)), store.optimize,
        store.compact, lambda: store.backup(folder.with_name("backup")),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(IndexCorruptError, match=rf"{file.name} is (gone|too short); restore the folder"):
            use()
    assert store.count() == 12  # the passages can still be read, to index them again
    assert store.get(["p0000"])["p0000"].text == "text number 0"
    store.close()
    assert (file.read_bytes() if file.exists() else None) == left
    assert not folder.with_name("backup").exists()


@pytest.mark.parametrize("step", ["optimize", "compact", "backup"])
def test_a_changed_byte_is_found_before_anything_is_copied_on(folder: Path, step: str) -> None:
    """Fault 3: the truth itself corrupt."""
    file = file_of(folder)
    flip(file)
    before = sorted(path.name for path in folder.iterdir())
    store = EmbeddedStore(folder, FINGERPRINT)
    call: Any = getattr(store, step)
    with pytest.raises(IndexCorruptError, match=f"{file.name} is not as it was written"):
        call(*[folder.with_name("backup")] * (step == "backup"))
    assert store.count() == len(store.ids()) == 12
    store.close()
    assert {path.name for path in folder.iterdir()} <= {*before, "writer.lock"}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_write_killed_at_any_step_is_there_or_not_and_can_be_made_again(tmp_path: Path) -> None:
    """Fault 1: kill -9 before each call of SQLite or the file system; what the file has too many is overwritten."""
    before, after = expected(), kept(MemoryStore())
    write(after, BATCH)
    written = answers(after)
    found = []
    for copy in killed_at_each_step("upsert", LATEST, tmp_path):
        store = EmbeddedStore(copy, FINGERPRINT)
        found.append(answers(store))
        assert found[-1] in (before, written)
        write(store, BATCH)
        assert answers(store) == written
        rows = store._state.rows
        assert file_of(copy).stat().st_size == rows * DIMENSION * 4
        assert store.compact() == rows - store.count()  # all checksums are right
        store.close()
    assert found[0] == before
    assert found[-1] == written


def test_what_lies_behind_the_rows_that_count_is_overwritten(folder: Path) -> None:
    """Fault 1: a killed append, of more than the next."""
    file = file_of(folder)
    rows = file.stat().st_size
    file.write_bytes(file.read_bytes() + b"\xff" * 1_000)
    exact = kept(MemoryStore())
    store = EmbeddedStore(folder, FINGERPRINT)
    assert answers(store) == answers(exact)  # NaN, were it looked at
    for each in (store, exact):
        write(each, passages(2, start=40))
    assert answers(store) == answers(exact)
    assert store.backup(folder.with_name("backup")) == 14
    store.close()
    assert file_of(folder.with_name("backup")).stat().st_size == rows + 2 * DIMENSION * 4


FULL = """
import resource, sys
from pathlib import Path
import pytest
from embedded_answers import answers, write
from vectors import FINGERPRINT, encoding_of, passages
from hybrid_core import StorageFullError
from hybrid_core.stores.embedded import EmbeddedStore
from hybrid_core.stores.memory import MemoryStore
folder = Path(sys.argv[1])
exact, store = MemoryStore(), EmbeddedStore(folder, FINGERPRINT)
for each in (exact, store):
    write(each, passages(40))
before, hit = answers(exact), set()
many = passages(2_000, start=1_000)
encoding = encoding_of([item.text for item in many])
for limit in (1_000, 20_000, 60_000, 80_000, 200_000):  # the vectors need 65,280 bytes
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    with pytest.raises(StorageFullError, match="no space left") as caught:
        store.upsert(many, encoding)
    hit.add(type(caught.value.__cause__).__name__)
    assert answers(store) == before
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert hit == {"OSError", "OperationalError"}, hit  # the file of vectors, and SQLite
for each in (exact, store):
    write(each, passages(60, start=1_000))
assert answers(store) == answers(exact)
assert store.compact() == 0
store.close()
store = EmbeddedStore(folder, FINGERPRINT)
assert answers(store) == answers(exact)
store.close()
"""


def test_a_file_that_may_not_grow_fails_the_call_and_no_more(tmp_path: Path) -> None:
    """Fault 2: StorageFullError, nothing half visible, and writes go on once there is room."""
    run_program(FULL, tmp_path / "index")


ON_A_FULL_DISK = """
import os, sys
from pathlib import Path
import pytest
from embedded_answers import answers, write
from vectors import FINGERPRINT, encoding_of, passages
from hybrid_core import StorageFullError
from hybrid_core.stores.embedded import EmbeddedStore
from hybrid_core.stores.memory import MemoryStore
disk = Path(sys.argv[1])
exact, store = MemoryStore(), EmbeddedStore(disk / "index", FINGERPRINT)
for each in (exact, store):
    write(each, passages(40))
before = answers(exact)
many = passages(2_000, start=1_000)
encoding = encoding_of([item.text for item in many])
for free in (0, 20_000, 40_000, 100_000, 250_000):
    space = os.statvfs(disk)
    with (disk / "full").open("wb", buffering=0) as full:
        full.write(bytes(space.f_bavail * space.f_frsize - free))
    with pytest.raises(StorageFullError, match="no space left"):
        store.upsert(many, encoding)
    if free < 50_000:
        with pytest.raises(StorageFullError, match="no space left"):
            store.backup(disk / "backup")
    assert answers(store) == before
    assert sorted(path.name for path in disk.iterdir()) == ["full", "index"]
    (disk / "full").unlink()
for each in (exact, store):
    each.upsert(many, encoding)
assert store.ids() == exact.ids()
assert store.compact() == 0
store.close()
"""


def test_a_full_disk_fails_the_call_and_no_more(tmp_path: Path) -> None:
    """Fault 2: the same where the whole disk is full."""
    run_on_small_disk(ON_A_FULL_DISK, tmp_path, megabytes=6)


def rounded(encoding: Encoding) -> Encoding:
    """Dense vectors as float16 keeps them."""
    return Encoding(encoding.dense.astype(np.float16).astype(np.float32), encoding.sparse)


def test_float16_halves_the_file_and_scores_are_those_of_the_rounded_vectors(tmp_path: Path) -> None:
    stores = [EmbeddedStore(tmp_path / "16", FINGERPRINT, dense_dtype="float16"), MemoryStore(), MemoryStore()]
    half, exact, whole = stores
    items = passages(300)
    encoding = encoding_of([item.text for item in items])
    half.upsert(items, encoding)
    exact.upsert(items, rounded(encoding))
    whole.upsert(items, encoding)
    assert answers(half) == answers(exact)
    for text in ("a", "b", "c"):
        near = {hit.id: hit.score for hit in half.search_dense(dense_of(text), 300)}
        assert near == pytest.approx({hit.id: hit.score for hit in whole.search_dense(dense_of(text), 300)}, abs=1e-3)
    half.close()
    assert file_of(tmp_path / "16").stat().st_size == 300 * DIMENSION * 2


def test_float16_stays_what_the_index_has(tmp_path: Path) -> None:
    """It need not be said again, and vectors that are taken over for another passage are not rounded twice."""
    folder, exact = tmp_path / "index", MemoryStore()
    EmbeddedStore(folder, FINGERPRINT, dense_dtype="float16").close()
    for dtype in (None, "float16"):
        store = EmbeddedStore(folder, FINGERPRINT, dense_dtype=dtype)  # type: ignore[arg-type]
        items = passages(20, start=20 * (dtype is None))
        store.upsert(items, encoding_of([item.text for item in items]))
        exact.upsert(items, rounded(encoding_of([item.text for item in items])))
        places, known = store.encodings([items[0].text])
        assert places == [0]
        assert known is not None
        for each in (store, exact):
            each.upsert([Passage(f"{items[0].id} again", items[0].text)], known)
        assert store.delete([items[3].id]) == exact.delete([items[3].id]) == 1
        assert store.compact() == 1
        assert file_of(folder).suffix == ".f16"
        assert answers(store) == answers(exact)
        store.close()
    with pytest.raises(InvalidInputError, match=r"dense_dtype='float32': the index in .* keeps float16; leave it out"):
        EmbeddedStore(folder, FINGERPRINT, dense_dtype="float32")
    assert file_of(folder).stat().st_size == exact.count() * DIMENSION * 2


def test_float32_is_kept_too(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"dense_dtype='float16': the index in .* keeps float32; leave it out"):
        EmbeddedStore(folder, FINGERPRINT, dense_dtype="float16")
    store = EmbeddedStore(folder, FINGERPRINT, dense_dtype="float32")
    assert answers(store) == expected()
    store.close()


def test_an_index_without_passages_takes_another_type(folder: Path) -> None:
    """Nothing that was built for what is gone is used for what comes."""
    emptied = EmbeddedStore(folder, FINGERPRINT)
    assert emptied.optimize() == 12
    assert emptied.delete(emptied.ids()) == 12
    emptied.close()
    exact, store = MemoryStore(), EmbeddedStore(folder, FINGERPRINT, dense_dtype="float16")
    items = passages(4, start=30)
    store.upsert(items, encoding_of([item.text for item in items]))
    exact.upsert(items, rounded(encoding_of([item.text for item in items])))
    assert answers(store) == answers(exact)
    assert (store._dense.rows, store._sparse.saved) == (0, 0)
    store.close()
    assert file_of(folder).stat().st_size == 4 * DIMENSION * 2


def test_an_index_without_passages_taken_by_another_model_starts_anew(folder: Path) -> None:
    """Fault 9: neither view of the vectors that are gone, nor a reader of the model before, meets the new ones."""
    emptied = EmbeddedStore(folder, FINGERPRINT)
    emptied.optimize()
    emptied.delete(emptied.ids())
    emptied.close()
    reader = EmbeddedStore(folder, FINGERPRINT)
    assert reader.search_dense(dense_of("q"), 5) == []
    model = replace(FINGERPRINT, model="another", digest="another", dimension=5)
    store = EmbeddedStore(folder, model)
    items = passages(9, start=3)
    encoding = encoding_of([item.text for item in items], dimension=5)
    store.upsert(items, encoding)
    query = dense_of("q", 5)
    hits = store.search_dense(query, 100)
    assert {hit.id: hit.score for hit in hits} == pytest.approx(
        {item.id: float(row @ query) for item, row in zip(items, encoding.dense, strict=True)}, abs=1e-6
    )
    exact = MemoryStore()
    exact.upsert(items, encoding)
    assert store.search_sparse(sparse_of("q"), 100) == exact.search_sparse(sparse_of("q"), 100)
    with pytest.raises(ValueError, match="was built with 'another', the encoder given is 'by hand'"):
        reader.search_dense(dense_of("q"), 5)
    for each in (reader, store):
        each.close()


def test_an_index_of_float16_through_the_front_door(tmp_path: Path, encoder: BgeM3Encoder) -> None:
    texts = [f"Worker {i} pulls task {i} from the queue." for i in range(20)]
    with HybridIndex.open(tmp_path / "index", encoder=encoder, dense_dtype="float16") as index:
        index.add(texts)
        found = index.search("worker 7", k=20)
    vectors = encoder.encode_documents(texts).dense
    query = encoder.encode_queries(["worker 7"]).dense[0]
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index:
        assert index.search("worker 7", k=20) == found
    for hit in found:
        near = float(vectors[texts.index(hit.passage.text)] @ query)
        assert hit.stages["dense"].score == pytest.approx(near, abs=1e-3)
    assert file_of(tmp_path / "index").stat().st_size == vectors.size * 2
    with pytest.raises(InvalidInputError, match="keeps float16"):
        HybridIndex.open(tmp_path / "index", encoder=encoder, dense_dtype="float32")


def test_float16_with_folds_and_compaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybrid_core.stores.embedded.snapshot._EXACT", 5_000)
    store = EmbeddedStore(tmp_path / "index", MODEL, dense_dtype="float16")
    write_corpus(store, range(ROWS), CORPUS)
    assert store.optimize() == ROWS
    near = {id_: vector.astype(np.float16).astype(np.float32) for id_, vector in truth().items()}
    assert recall(store, near) >= 0.95
    assert hnsw_rows(store) == ROWS
    for hit in store.search_dense(QUERIES[0], 10):
        assert hit.score == pytest.approx(float(near[hit.id].astype(float) @ QUERIES[0].astype(float)), abs=1e-12)
    assert store.delete([f"p{i:05d}" for i in range(100)]) == 100
    assert store.compact() == 100
    assert store.optimize() == ROWS - 100
    assert recall(store, {id_: vector for id_, vector in near.items() if int(id_[1:]) >= 100}) >= 0.95
    store.close()
    assert file_of(tmp_path / "index").stat().st_size == (ROWS - 100) * CORPUS.shape[1] * 2
