"""The sparse view: mapped from its files after reopening, built anew where these are not what the truth means."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from embedded_answers import FORMATS, answers, expected, kept, write
from kill_steps import killed_at_each_step
from vectors import FINGERPRINT, encoding_of, passages, sparse_of

from hybrid_core import Eq, Passage, SparseVector
from hybrid_core.stores.embedded import EmbeddedStore
from hybrid_core.stores.embedded.postings import Postings
from hybrid_core.stores.embedded.sparse_run import SPAN
from hybrid_core.stores.embedded.sparse_view import SparseView
from hybrid_core.stores.memory import MemoryStore

LATEST = FORMATS / max(path.name for path in FORMATS.iterdir())
IDF = replace(FINGERPRINT, sparse_weighting="idf")
WEIGHTS = SparseVector.from_dict({token: 0.3 + token / 7 for token in range(0, 64, 3)})


@pytest.fixture(autouse=True)
def saves_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few passages there are, a close writes their postings to files."""
    monkeypatch.setattr("hybrid_core.stores.embedded.store._UNSAVED", 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index of twelve passages, closed, with files of the sparse view."""
    return Path(shutil.copytree(LATEST, tmp_path / "index"))


def runs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.run"))


def listed(folder: Path) -> list[str]:
    return sorted(name for name, _ in json.loads((folder / "sparse.json").read_text())["files"])


def mapped(store: EmbeddedStore) -> bool:
    """Whether every passage's postings are read from files."""
    return store._sparse.saved == store._sparse.rows == store._state.rows > 0


def test_postings_are_mapped_after_reopening_with_the_same_scores_to_the_last_bit(tmp_path: Path) -> None:
    exact, store = MemoryStore(), EmbeddedStore(tmp_path / "index", FINGERPRINT)
    for start in range(0, 300, 30):  # ten runs, which are merged as they come
        for each in (exact, store):
            write(each, passages(30, start=start))
            assert each.delete([f"p{start:04d}", f"p{start + 7:04d}"]) == 2
    in_memory = [store.search_sparse(WEIGHTS, k) for k in (1, 10, 500)]
    assert not mapped(store)
    store.close()
    again = EmbeddedStore(tmp_path / "index", FINGERPRINT)
    assert mapped(again)
    assert [again.search_sparse(WEIGHTS, k) for k in (1, 10, 500)] == in_memory
    assert [exact.search_sparse(WEIGHTS, k) for k in (1, 10, 500)] == in_memory
    assert answers(again) == answers(exact)
    for each in (exact, again):
        write(each, passages(40, start=290))  # some of a file's, and some that are in none yet
    assert again.search_sparse(WEIGHTS, 500) == exact.search_sparse(WEIGHTS, 500)
    again.close()
    assert runs(tmp_path / "index") == listed(tmp_path / "index")


def test_a_few_new_passages_are_not_worth_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybrid_core.stores.embedded.store._UNSAVED", 3)
    before = runs(folder)
    for n in (2, 1):  # not worth it; worth it with those before
        store = EmbeddedStore(folder, FINGERPRINT)
        assert (store._sparse.saved, len(runs(folder))) == (15, 1)
        assert runs(folder) == before
        write(store, passages(n, start=60 + n))
        store.close()
    assert runs(folder) != before
    store = EmbeddedStore(folder, FINGERPRINT)
    assert mapped(store)
    store.close()


def test_a_reader_writes_no_files(folder: Path) -> None:
    (folder / "sparse.json").unlink()
    before = sorted(folder.iterdir())
    store = EmbeddedStore(folder, FINGERPRINT)
    assert answers(store) == expected()
    store.close()
    assert sorted(folder.iterdir()) == before


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink, "empty": lambda path: path.write_bytes(b""), "zeroed": zero, "half": cut, "one bit": flip,
    "garbage": lambda path: path.write_bytes(b"\x00\xff{]" * 300), "a folder": lambda path: (path.unlink(), path.mkdir()),
    "json": lambda path: path.write_text("[1, 2]"), "another object": lambda path: path.write_text('{"rows": 15}'),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
@pytest.mark.parametrize("pattern", ["sparse-*.run", "sparse.json"])
def test_damaged_files_are_noticed_and_built_anew(folder: Path, pattern: str, damage: Callable[[Path], object]) -> None:
    """Fault 3: a derived file truncated, zeroed or deleted: rebuilt from the truth, which needs no encoder."""
    [path] = folder.glob(pattern)
    damage(path)
    store = EmbeddedStore(folder, FINGERPRINT)
    assert store._sparse.saved == 0
    assert answers(store) == expected()
    if path.is_dir():
        path.rmdir()
    exact = kept(MemoryStore())
    for each in (store, exact):
        write(each, passages(3, start=70))
    store.close()
    assert runs(folder) == listed(folder)
    again = EmbeddedStore(folder, FINGERPRINT)
    assert mapped(again)
    assert answers(again) == answers(exact)
    again.close()


@pytest.mark.parametrize(
    "change",
    [{"rows": "15"}, {"files": [["sparse-9.run", 1]]}, {"files": [7]}, {"files": [[None, None]]}, {"rows": None}],
)
def test_a_list_that_says_nonsense_is_not_believed(folder: Path, change: dict[str, object]) -> None:
    """Fault 3: it is the right one by its token, and still not what was written."""
    said = json.loads((folder / "sparse.json").read_text()) | change
    (folder / "sparse.json").write_text(json.dumps(said))
    store = EmbeddedStore(folder, FINGERPRINT)
    assert answers(store) == expected()
    store.close()


def test_files_of_another_truth_are_not_used(folder: Path, tmp_path: Path) -> None:
    """Fault 3: the truth was restored from a backup, the files beside it belong to what came later."""
    store = EmbeddedStore(folder, FINGERPRINT)
    assert store.backup(tmp_path / "backup") == 12
    write(store, [replace(item, text=f"not {item.text}") for item in passages(12)])
    assert store.compact() == 3 + 10  # of before, and those replaced
    store.close()
    mixed = Path(shutil.copytree(folder, tmp_path / "mixed"))
    for path in [mixed / "passages.sqlite3", *mixed.glob("vectors-*")]:
        path.unlink()
    for path in [tmp_path / "backup" / "passages.sqlite3", *(tmp_path / "backup").glob("vectors-*")]:
        shutil.copy(path, mixed)
    again = EmbeddedStore(mixed, FINGERPRINT)
    assert again._sparse.saved == 0
    assert answers(again) == expected()
    again.close()


def test_files_are_of_use_to_a_truth_that_went_on(folder: Path) -> None:
    """Fault 1: a writer that was killed saved nothing, and what was saved before counts still."""
    exact, killed = kept(MemoryStore()), EmbeddedStore(folder, FINGERPRINT)
    for each in (exact, killed):
        write(each, passages(5, start=90))
        assert each.delete(["p0001", "p0092"]) == 2
    reader = EmbeddedStore(folder, FINGERPRINT)
    assert (reader._sparse.saved, reader._sparse.rows) == (15, 20)
    assert answers(reader) == answers(exact)
    for each in (reader, killed):
        each.close()


def test_the_beginning_of_a_list_says_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Fault 1: a kill while the next list was written; the one before counts still, and nobody need be warned."""
    (folder / "sparse.json.new").write_text('{"token": "', encoding="utf-8")
    store = EmbeddedStore(folder, FINGERPRINT)
    assert store._sparse.saved == 15
    store.close()
    assert not caplog.text


def test_a_close_killed_at_any_step_leaves_files_that_fit(tmp_path: Path) -> None:
    """Fault 1, fault 32: between the files, the truth's word for them, and the list that names them."""
    exact = kept(MemoryStore())
    write(exact, passages(1, start=100))
    everything, saved = answers(exact), []
    for copy in killed_at_each_step("save", LATEST, tmp_path):
        store = EmbeddedStore(copy, FINGERPRINT)
        saved.append(store._sparse.saved)
        assert answers(store) == everything
        write(store, passages(1, start=100))
        assert answers(store) == everything
        store.close()
        assert runs(copy) == listed(copy)
        again = EmbeddedStore(copy, FINGERPRINT)
        assert mapped(again)
        again.close()
    assert set(saved) == {15, 16}  # the files of before, or the new ones: at no step is neither of use
    assert saved == sorted(saved)


def test_places_beyond_a_stretch(tmp_path: Path) -> None:
    """More than 65,536 places: scores, blank passages and frequencies against sums by hand, in memory and mapped."""
    random, size, vocabulary = np.random.default_rng(5), SPAN + 3_000, 40
    filled = random.random(size) > 0.3  # of the others some have gone, some are blank
    tokens = random.integers(0, vocabulary, size=size)
    values = random.random((size, 2)).astype(np.float32) + 0.1
    rows = []
    table = np.zeros((size, vocabulary), dtype=np.float32)
    for place in np.flatnonzero(filled | (np.arange(size) % 2 == 0)).tolist():
        row = {} if not filled[place] else dict(zip([int(tokens[place]), vocabulary - 1], values[place], strict=True))
        table[place, list(row)] = list(row.values())
        rows.append((place, SparseVector.from_dict(row)))
    view = SparseView(tmp_path, None)
    for start in range(0, size, 9_000):  # batches that end within a stretch, and one that crosses its end
        end = min(start + 9_000, size)
        view.append(end, [(place, row) for place, row in rows if start <= place < end])
    assert (view.rows, len(view.postings().stretches)) == (size, 2)
    query = SparseVector.from_dict({3: 0.7, 8: 0.2, 12: 1.1, vocabulary - 1: 0.4})
    alive = np.zeros(size, dtype=np.bool_)
    alive[[place for place, _ in rows]] = True
    alive[::5] = False
    wanted = np.zeros(size)
    for token, weight in zip(query.indices.tolist(), query.values.astype(np.float64), strict=True):
        wanted += table[:, token] * weight
    wanted[~alive] = 0
    last = SparseView(tmp_path, view.save())
    assert (last.saved, last.rows, len(runs(tmp_path))) == (size, size, 2)
    for postings in (view.postings(), last.postings()):
        assert_found(postings, query, alive, wanted)
        n, df = postings.frequencies(query.indices, alive)
        assert n == np.count_nonzero(alive & table.any(axis=1))
        np.testing.assert_array_equal(df, np.count_nonzero(table[alive][:, query.indices], axis=0))


def assert_found(postings: Postings, query: SparseVector, alive: np.ndarray, wanted: np.ndarray) -> None:
    """The best k, ties included, with the very sums."""
    for k in (1, 7, 300, 2 * len(alive)):
        places, scores = postings.search(query, k, alive)
        ranked = np.sort(wanted[wanted > 0])[::-1]
        least = ranked[min(k, len(ranked)) - 1]
        got = dict(zip(places.tolist(), scores.tolist(), strict=True))
        assert {place: got[place] for place in got if got[place] >= least} == {
            int(place): wanted[place] for place in np.flatnonzero((wanted >= least) & (wanted > 0))
        }
        assert all(wanted[place] == score for place, score in got.items())


def test_only_the_last_stretch_is_written_again(tmp_path: Path) -> None:
    """What is full stays as it is: a large index is not rewritten for a few new passages."""
    row = SparseVector.from_dict({1: 1.0})
    view = SparseView(tmp_path, None)
    view.append(SPAN + 1, [(0, row), (SPAN, row)])
    token = view.save()
    view.switch()
    first = listed(tmp_path)
    view = SparseView(tmp_path, token)
    view.append(SPAN + 2, [(SPAN + 1, row)])
    view.save()
    view.switch()
    assert set(first) & set(listed(tmp_path)) == {first[0]}
    assert runs(tmp_path) == listed(tmp_path)
    places, _ = view.postings().search(row, 9, np.ones(SPAN + 2, dtype=np.bool_))
    assert places.tolist() == [0, SPAN, SPAN + 1]


def test_stretches_without_any_passage(tmp_path: Path) -> None:
    """All of the first 65,536 were deleted before the index was opened."""
    row = SparseVector.from_dict({1: 1.0})
    view = SparseView(tmp_path, None)
    view.append(2 * SPAN + 5, [(2 * SPAN + 1, row), (2 * SPAN + 2, SparseVector.from_dict({}))])
    for each in (view, SparseView(tmp_path, view.save())):
        places, scores = each.postings().search(row, 9, np.ones(2 * SPAN + 5, dtype=np.bool_))
        assert (places.tolist(), scores.tolist()) == ([2 * SPAN + 1], [1.0])
        alive = np.zeros(2 * SPAN + 5, dtype=np.bool_)
        alive[[2 * SPAN + 1, 2 * SPAN + 2]] = True
        n, df = each.postings().frequencies(row.indices, alive)
        assert (n, df.tolist()) == (1, [1])


def test_frequencies_count_what_is_there_and_has_any_token(tmp_path: Path) -> None:
    """Deleted, replaced and blank passages are out of N and df, before and after reopening, and whatever is filtered."""
    exact, store = MemoryStore(IDF), EmbeddedStore(tmp_path / "index", IDF)
    for each in (exact, store):
        write(each, passages(50))
        write(each, [Passage("blank", "  "), Passage("p0004", "\n"), Passage("p0005", "rewritten")])
        assert each.delete(["p0006", "p0007", "blank", "nobody"]) == 3
        write(each, [Passage("also blank", "")])
    left = [item.text for item in passages(50) if item.id not in ("p0004", "p0005", "p0006", "p0007")] + ["rewritten"]
    for _ in range(2):
        weighed = store.weigh(WEIGHTS).as_dict()
        for token, weight in WEIGHTS.as_dict().items():
            df = sum(token in sparse_of(text).as_dict() for text in left)
            idf = math.log(1 + (len(left) - df + 0.5) / (df + 0.5))
            assert weighed[token] == pytest.approx(weight * idf, rel=1e-6)
        assert weighed == exact.weigh(WEIGHTS).as_dict()
        for asked in (None, Eq("even", True)):
            assert store.search_sparse(WEIGHTS, 100, asked) == exact.search_sparse(WEIGHTS, 100, asked)
        store.close()
        store = EmbeddedStore(tmp_path / "index", IDF)
        assert mapped(store)
    assert store.compact() == 5  # p0004 to p0007 as they were, and the first blank one
    assert store.weigh(WEIGHTS).as_dict() == exact.weigh(WEIGHTS).as_dict()
    store.close()


def test_blank_passages_are_kept_and_never_found(tmp_path: Path) -> None:
    """Fault 16: stored; no token to be found by."""
    store = EmbeddedStore(tmp_path / "index", FINGERPRINT)
    write(store, [Passage(f"b{i}", " " * i) for i in range(5)])
    for _ in range(2):
        assert store.search_sparse(WEIGHTS, 10) == []
        assert store.sparse_vectors(["b3"])["b3"].as_dict() == {}
        assert store.count() == 5
        store.close()
        store = EmbeddedStore(tmp_path / "index", FINGERPRINT)
        assert mapped(store)
    store.close()


def test_files_that_cannot_be_written_cost_nothing_but_time(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Fault 2: a close that cannot write them closes."""
    (folder / "sparse.json.new").mkdir()  # where the list is written first
    store = EmbeddedStore(folder, FINGERPRINT)
    exact = kept(MemoryStore())
    for each in (store, exact):
        each.upsert(passages(1, start=80), encoding_of(["text number 80"]))
    store.close()
    assert "the sparse view in" in caplog.text
    assert "was not written" in caplog.text
    again = EmbeddedStore(folder, FINGERPRINT)
    assert answers(again) == answers(exact)
    again.close()
