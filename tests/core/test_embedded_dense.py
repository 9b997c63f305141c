"""The dense view: folding into Chroma's HNSW, what is found afterwards, and what a killed or damaged fold costs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from big_corpus import (
    CORPUS,
    MODEL,
    QUERIES,
    ROWS,
    assert_exact,
    exact,
    hnsw_rows,
    recall,
    run_python,
    truth,
    unit,
    write,
)
from confined import run_on_small_disk

from hybrid_core import Eq, Lt, StorageError
from hybrid_core.stores.embedded import EmbeddedStore, dense_view
from hybrid_core.stores.embedded.chroma_client import panics


@pytest.fixture
def store(folded_index: Path) -> Iterator[EmbeddedStore]:
    opened = EmbeddedStore(folded_index, MODEL)
    yield opened
    opened.close()


def test_a_fold_makes_a_chroma_collection_of_all_rows(store: EmbeddedStore, folded_index: Path) -> None:
    """Fault 11: more rows than Chroma takes in one call."""
    state = json.loads((folded_index / "dense.json").read_text(encoding="utf-8"))
    assert (folded_index / state["folder"] / "chroma.sqlite3").is_file()
    assert any(name.endswith("data_level0.bin") for name in state["digests"])
    store.search_dense(QUERIES[0], 1)
    assert hnsw_rows(store) == ROWS
    assert store._dense.rows == ROWS


def test_telemetry_is_off(store: EmbeddedStore) -> None:
    hnsw_rows(store)
    assert store._dense._client.get_settings().anonymized_telemetry is False


def test_hnsw_finds_what_exact_search_finds(store: EmbeddedStore) -> None:
    assert recall(store, truth()) >= 0.95
    for query in QUERIES[:5]:
        for hit in store.search_dense(query, 10):
            assert hit.score == pytest.approx(float(truth()[hit.id].astype(float) @ query.astype(float)), abs=1e-12)


def test_k_from_nothing_to_all(store: EmbeddedStore) -> None:
    """Fault 23: k = 0, and k beyond the corpus gives all of it."""
    assert store.search_dense(QUERIES[0], 0) == []
    assert len(store.search_dense(QUERIES[0], 2_999)) == 2_999
    assert len(store.search_dense(QUERIES[0], 100_000)) == ROWS


def test_a_filter_that_leaves_much_is_honoured_by_hnsw(store: EmbeddedStore) -> None:
    allowed = {id_: vector for id_, vector in truth().items() if int(id_[1:]) % 12 != 0}
    assert len(allowed) > 5_000
    found = [[hit.id for hit in store.search_dense(query, 10, Eq("most", True))] for query in QUERIES]
    assert all(len(ids) == 10 and set(ids) <= set(allowed) for ids in found)
    same = sum(len(set(ids) & set(exact(allowed, query, 10))) for ids, query in zip(found, QUERIES, strict=True))
    assert same / 500 >= 0.95


def test_a_filter_that_leaves_little_is_exact(store: EmbeddedStore) -> None:
    allowed = {id_: vector for id_, vector in truth().items() if int(id_[1:]) < 300}
    for query in QUERIES[:10]:
        assert [hit.id for hit in store.search_dense(query, 10, Lt("n", 300))] == exact(allowed, query, 10)


def test_rows_written_after_a_fold_are_found_at_once(store: EmbeddedStore) -> None:
    write(store, range(ROWS, ROWS + 50), QUERIES)
    assert [store.search_dense(query, 1)[0].id for query in QUERIES] == [f"p{ROWS + i:05d}" for i in range(50)]
    assert recall(store, truth({f"p{ROWS + i:05d}": QUERIES[i] for i in range(50)})) >= 0.95


def test_rows_deleted_or_replaced_after_a_fold_are_not_found(store: EmbeddedStore) -> None:
    best = exact(truth(), QUERIES[0], 300)
    assert store.delete(best[:200]) == 200
    write(store, [int(id_[1:]) for id_ in best[200:]], -CORPUS[[int(id_[1:]) for id_ in best[200:]]])
    changes = dict.fromkeys(best[:200]) | {id_: -CORPUS[int(id_[1:])] for id_ in best[200:]}
    found = [hit.id for hit in store.search_dense(QUERIES[0], 100)]
    assert len(found) == 100
    assert not set(found) & set(best)
    assert recall(store, truth(changes)) >= 0.95


def test_a_second_fold_takes_in_what_changed(store: EmbeddedStore, folded_index: Path) -> None:
    write(store, range(ROWS, ROWS + 50), QUERIES)
    write(store, range(100), unit(3, 100))
    store.delete([f"p{i:05d}" for i in range(100, 400)])
    seen: list[int] = []
    assert store.optimize(seen.append) == sum(seen) == 150
    assert store.optimize() == 0
    changes = {f"p{ROWS + i:05d}": QUERIES[i] for i in range(50)} | {f"p{i:05d}": v for i, v in enumerate(unit(3, 100))}
    changes |= dict.fromkeys(f"p{i:05d}" for i in range(100, 400))
    assert recall(store, truth(changes)) >= 0.95
    assert hnsw_rows(store) == ROWS + 150  # what was deleted or replaced is passed over
    assert len(list(folded_index.glob("dense-*"))) == 1
    store.close()
    again = EmbeddedStore(folded_index, MODEL)
    assert recall(again, truth(changes)) >= 0.95
    again.close()


def test_no_passage_is_lost_by_folds_that_take_in_replacements_and_deletions(
    store: EmbeddedStore, folded_index: Path
) -> None:
    """Chroma 1.5.9 loses live passages when it is told of deletions (chroma-core/chroma#7758), so it is not."""
    vectors = unit(7, 1_700)
    for start in range(0, 1_700, 850):
        store.delete([f"p{i:05d}" for i in range(ROWS - 400 + start // 4, ROWS - 200 + start // 4)])
        write(store, range(start, start + 850), vectors[start : start + 850])
        store.optimize()
    store.close()
    again = EmbeddedStore(folded_index, MODEL)
    assert hnsw_rows(again) == ROWS + 1_700 > 1.3 * again.count()
    assert [again.search_dense(vector, 1)[0].id for vector in vectors] == [f"p{i:05d}" for i in range(1_700)]
    again.close()


def test_a_fold_that_would_leave_too_many_dead_builds_anew(store: EmbeddedStore) -> None:
    store.delete([f"p{i:05d}" for i in range(990)])
    write(store, range(990, 2_500), vectors := unit(7, 1_510))
    assert store.optimize() == hnsw_rows(store) == store.count() == ROWS - 990
    assert [store.search_dense(vector, 1)[0].id for vector in vectors] == [f"p{i:05d}" for i in range(990, 2_500)]
    store.delete([f"p{i:05d}" for i in range(ROWS)])
    assert store.optimize() == 0
    assert store.search_dense(QUERIES[0], 10) == []


def test_an_open_reader_follows_a_fold_by_another_object(store: EmbeddedStore, folded_index: Path) -> None:
    store.search_dense(QUERIES[0], 1)
    writer = EmbeddedStore(folded_index, MODEL)
    write(writer, range(ROWS, ROWS + 50), QUERIES)
    writer.optimize()
    writer.close()
    assert [store.search_dense(query, 1)[0].id for query in QUERIES] == [f"p{ROWS + i:05d}" for i in range(50)]
    assert hnsw_rows(store) == ROWS + 50


def test_a_view_that_is_replaced_while_it_is_opened_is_not_used(
    folded_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 4: by a writer, which deletes the one before, and does not know who is reading it."""
    original, asked = dense_view._ask, []
    reader, writer = EmbeddedStore(folded_index, MODEL), EmbeddedStore(folded_index, MODEL)
    write(writer, range(ROWS, ROWS + 25), QUERIES[:25])

    def replaced(*arguments: Any) -> Any:
        asked.append(len(asked))
        if asked == [0]:
            writer.optimize()
        return original(*arguments)

    monkeypatch.setattr(dense_view, "_ask", replaced)
    vectors = truth({f"p{ROWS + i:05d}": QUERIES[i] for i in range(25)})
    assert_exact(reader, vectors)
    reader._dense.wait()
    assert reader._dense._collection is None
    assert hnsw_rows(reader) == ROWS + 25
    assert recall(reader, vectors) >= 0.95
    reader.close()
    write(writer, range(ROWS + 25, ROWS + 50), QUERIES[25:])
    writer.optimize()
    writer.close()
    assert len(list(folded_index.glob("*dense-*"))) == 1


def test_a_panic_of_chromas_is_an_error_like_any_other() -> None:
    """Fault 3: what a damaged file makes of Chroma may be no `Exception`, and must not end a search all the same."""

    class PanicException(BaseException):
        """What pyo3 makes of a panic in Rust."""

    with pytest.raises(StorageError, match="Chroma panicked: index out of bounds"), panics():
        raise PanicException("index out of bounds")
    for passed in (KeyboardInterrupt(), ValueError("Chroma's own")):
        with pytest.raises(type(passed)), panics():
            raise passed


def test_what_a_killed_deletion_has_left_is_swept(store: EmbeddedStore, folded_index: Path) -> None:
    """Fault 1: the folder of a view loses its name before its files."""
    for name in ("dense-1", "gone-dense-2"):
        (folded_index / name / "files").mkdir(parents=True)
    store.optimize()
    assert len(list(folded_index.glob("*dense-*"))) == 1


def test_without_a_thread_to_open_the_view_search_is_exact(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 6: there are too many, or Python is about to exit; nothing waits for a thread that has not begun."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        limited.setattr(EmbeddedStore, "_fold_is_due", lambda _: True)
        assert_exact(store, truth())
        write(store, range(ROWS, ROWS + 10), QUERIES[:10])
        store._dense.wait()
    assert hnsw_rows(store) == ROWS
    assert store.search_dense(QUERIES[0], 1)[0].id == f"p{ROWS:05d}"


ON_A_FULL_DISK = """
import os, sys
from pathlib import Path
import pytest
from big_corpus import CORPUS, MODEL, ROWS, EmbeddedStore, assert_exact, recall, truth, write
from hybrid_core import StorageFullError
disk = Path(sys.argv[1])
store = EmbeddedStore(disk / "index", MODEL)
write(store, range(ROWS), CORPUS)
write(store, range(100), CORPUS[:100])
for free in (0, 1_000_000, 2_000_000):
    space = os.statvfs(disk)
    with (disk / "full").open("wb", buffering=0) as full:
        full.write(bytes(space.f_bavail * space.f_frsize - free))
    with pytest.raises(StorageFullError, match="no space left"):
        store.optimize()
    assert not list((disk / "index").glob("*dense*"))
    if not free:
        with pytest.raises(StorageFullError, match="no space left"):
            store.compact()
    assert_exact(store, truth())
    (disk / "full").unlink()
assert store.optimize() == ROWS
assert recall(store, truth()) >= 0.95
assert store.compact() == 100
assert_exact(store, truth())
store.close()
"""


def test_a_fold_on_a_full_disk_leaves_nothing_and_searches_go_on(tmp_path: Path) -> None:
    """Fault 2: StorageFullError, whatever Chroma calls it; and so with a compaction."""
    run_on_small_disk(ON_A_FULL_DISK, tmp_path, megabytes=24)


def test_an_object_that_missed_anothers_fold_can_fold_next(store: EmbeddedStore, folded_index: Path) -> None:
    other = EmbeddedStore(folded_index, MODEL)
    write(other, range(ROWS, ROWS + 25), QUERIES[:25])
    other.optimize()
    other.close()
    write(store, range(ROWS + 25, ROWS + 50), QUERIES[25:])
    store.optimize()
    assert store._dense.rows > ROWS + 25
    assert recall(store, truth({f"p{ROWS + i:05d}": QUERIES[i] for i in range(50)})) >= 0.95


KILLED_IN_THE_MIDDLE = """
import os, signal, sys
from big_corpus import MODEL, EmbeddedStore
store = EmbeddedStore(sys.argv[1], MODEL)
store.optimize(lambda rows: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_a_fold_killed_in_the_middle_is_not_opened_and_is_swept(folded_index: Path) -> None:
    """Fault 32: the old view serves; fault 1: a Chroma folder that was not closed cleanly is never opened."""
    store = EmbeddedStore(folded_index, MODEL)
    write(store, range(ROWS, ROWS + 50), QUERIES)
    store.close()
    before = (folded_index / "dense.json").read_bytes()
    done = run_python(KILLED_IN_THE_MIDDLE, folded_index)
    assert done.returncode == -9, done.stderr
    assert (folded_index / "dense.json").read_bytes() == before
    torn = {path.name for path in folded_index.glob("dense-*")} - {json.loads(before)["folder"]}
    assert len(torn) == 1
    vectors = truth({f"p{ROWS + i:05d}": QUERIES[i] for i in range(50)})
    again = EmbeddedStore(folded_index, MODEL)
    assert recall(again, vectors) >= 0.95
    assert hnsw_rows(again) == ROWS  # the old view, the tail exactly
    assert again.optimize() == 50
    assert recall(again, vectors) >= 0.95
    again.close()
    assert len(list(folded_index.glob("dense-*"))) == 1


def test_a_fold_that_fails_leaves_the_old_view(store: EmbeddedStore, folded_index: Path) -> None:
    write(store, range(ROWS, ROWS + 50), QUERIES)
    before = (folded_index / "dense.json").read_bytes()

    def fail(rows: int) -> None:
        raise OSError("no space left")

    with pytest.raises(StorageError, match="no space left"):
        store.optimize(fail)
    assert (folded_index / "dense.json").read_bytes() == before
    assert recall(store, truth({f"p{ROWS + i:05d}": QUERIES[i] for i in range(50)})) >= 0.95
