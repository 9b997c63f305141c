"""HybridIndex: what is written, when it is embedded, and what is given back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from checkpoints import forward_passes

from hybrid_core import BgeM3Encoder, Eq, HybridIndex, InvalidInputError, ModelMismatchError, Passage


def test_add_gives_ids_and_search_gives_passages(index: HybridIndex) -> None:
    ids = index.add(
        ["A worker pulls tasks.", "网关在这里配置限流。"], ids=["en", "zh"], metadatas=[{"lang": "en"}, {"lang": "zh"}]
    )
    assert ids == ["en", "zh"]
    assert len(index) == 2
    assert index.search("a worker and its tasks", k=1)[0].passage == Passage(
        "en", "A worker pulls tasks.", {"lang": "en"}
    )


def test_passages_carry_their_own_ids(index: HybridIndex) -> None:
    items = [Passage("a", "one", {"n": 1}), Passage("b", "two")]
    assert index.add(items) == index.upsert(items) == ["a", "b"]
    assert index.get(["b", "nobody", "a"]) == [items[1], None, items[0]]


def test_ids_are_derived_from_text_and_metadata(index: HybridIndex) -> None:
    first = index.add(["one", "two", "one"])
    assert first[0] == first[2] != first[1]
    assert index.add(["one"]) == first[:1]
    other = index.add(["one", "one"], metadatas=[{"n": 1}, {"n": True}])
    assert len({*first, *other}) == 4
    assert len(index) == 4


def test_ids_and_filtered_ids_come_oldest_first(index: HybridIndex) -> None:
    index.add(["x", "y", "z"], ids=["1", "2", "3"], metadatas=[{"a": 1}, {"a": 2}, {"a": 1}])
    assert index.ids() == ["1", "2", "3"]
    assert index.ids(filter=Eq("a", 1)) == index.ids(filter={"a": 1}) == ["1", "3"]


def test_delete_by_id_and_by_filter_says_how_many_were_there(index: HybridIndex) -> None:
    """Fault 25: true counts."""
    index.add([f"text {i}" for i in range(6)], ids=list("abcdef"), metadatas=[{"odd": bool(i % 2)} for i in range(6)])
    assert index.delete(["a", "nobody", "a"]) == 1
    assert index.delete(filter={"odd": True}) == 3
    assert index.delete(filter={"odd": True}) == 0
    assert index.ids() == ["c", "e"]


def test_delete_takes_either_ids_or_a_filter(index: HybridIndex) -> None:
    index.add(["x"], ids=["a"])
    for arguments in ({}, {"ids": ["a"], "filter": {"a": 1}}):
        with pytest.raises(InvalidInputError, match="either ids or a filter"):
            index.delete(**arguments)
    assert len(index) == 1


def test_unchanged_passages_cost_no_forward_pass(index: HybridIndex, encoder: BgeM3Encoder) -> None:
    """Fault 8: unchanged text embeds nothing."""
    items = [Passage("a", "A worker pulls tasks.", {"v": 1}), Passage("b", "The queue keeps them.")]
    with forward_passes(encoder) as passes:
        index.upsert(items)
        assert passes == [2]
        index.upsert(items)
        index.add(["A worker pulls tasks."], ids=["c"])  # the same text under another id
        index.upsert([Passage("a", "A worker pulls tasks.", {"v": 2})])  # only the metadata changed
        assert passes == [2]
    assert index.get(["a", "c"]) == [
        Passage("a", "A worker pulls tasks.", {"v": 2}), Passage("c", "A worker pulls tasks."),
    ]  # fmt: skip
    scores = {hit.passage.id: hit.stages["dense"].score for hit in index.search("worker", k=3)}
    assert scores["a"] == scores["c"]


def test_a_text_that_comes_many_times_in_one_call_is_embedded_once(index: HybridIndex, encoder: BgeM3Encoder) -> None:
    with forward_passes(encoder) as passes:
        index.add(["same", "same", "other", "same"], ids=list("abcd"))
    assert passes == [2]
    assert len(index) == 4


def test_changed_text_replaces(index: HybridIndex, encoder: BgeM3Encoder) -> None:
    """Fault 8: changed text replaces, and the old is not found again."""
    index.add(["worker", "task"], ids=["a", "b"])
    assert [hit.passage.id for hit in index.search("worker", mode="sparse")] == ["a"]
    with forward_passes(encoder) as passes:
        index.add(["queue"], ids=["a"])
    assert passes == [1]
    assert len(index) == 2
    assert index.search("worker", mode="sparse") == []
    assert [hit.passage.text for hit in index.search("queue", mode="sparse")] == ["queue"]


def test_only_new_texts_of_a_call_are_embedded_and_rows_stay_with_their_texts(
    index: HybridIndex, encoder: BgeM3Encoder
) -> None:
    index.add([f"task number {i}" for i in range(0, 20, 2)], ids=[str(i) for i in range(0, 20, 2)])
    with forward_passes(encoder) as passes:
        index.add([f"task number {i}" for i in reversed(range(20))], ids=[f"again {i}" for i in reversed(range(20))])
    assert sum(passes) == 10
    for i in range(20):
        hits = index.search(f"task number {i}", k=2, mode="dense")
        assert f"again {i}" in [hit.passage.id for hit in hits]
        assert hits[0].score == pytest.approx(1.0, abs=1e-5)


def test_a_generator_is_read_little_ahead_of_what_is_written(
    index: HybridIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 15: a generator as input, streaming."""
    monkeypatch.setattr("hybrid_core.ingest.CHUNK", 20)
    ahead: list[int] = []

    def stream() -> Iterator[str]:
        for i in range(150):
            if i % 10 == 9:
                ahead.append(i + 1 - len(index))
            yield f"t{i % 40} {i}"

    assert len(index.add(stream(), ids=(f"id {i}" for i in range(150)))) == 150  # type: ignore[arg-type]
    assert ahead[:4] == [10, 20, 30, 40]  # one is encoded when the next is read
    assert max(ahead) <= 60
    assert len(index) == 150


def test_a_generator_of_passages_is_taken_too(index: HybridIndex) -> None:
    """Fault 15: a generator of passages too."""
    assert index.upsert(Passage(str(i), f"text {i}") for i in range(3)) == ["0", "1", "2"]
    assert index.add(Passage(str(i), f"text {i}") for i in range(3, 5)) == ["3", "4"]
    assert len(index) == 5


def test_eight_threads_adding_and_searching_give_exact_counts(index: HybridIndex) -> None:
    """Fault 6: eight threads, exact counts, no "Already borrowed"."""

    def work(thread: int) -> None:
        for i in range(6):
            index.add(
                [f"thread {thread} step {i} part {j}" for j in range(3)], ids=[f"{thread}-{i}-{j}" for j in range(3)]
            )
            index.add([f"all threads write this, step {i}"], ids=["shared"])
            hits = index.search(f"thread {thread} step {i}", k=5)
            assert 0 < len({hit.passage.id for hit in hits}) == len(hits) <= 5  # another thread may delete one
            assert index.delete([f"{thread}-{i}-0"]) == 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(index) == 8 * 6 * 2 + 1
    assert len(set(index.ids())) == len(index)
    assert len(index.search("thread", k=1_000)) == len(index)


def test_an_index_in_a_folder_is_there_after_reopening(tmp_path: Path, encoder: BgeM3Encoder, random_m3: Path) -> None:
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index:
        index.add(["A worker pulls tasks.", "The queue keeps them."], ids=["a", "b"])
        before = index.search("tasks", k=2)
        index.optimize()
    with HybridIndex.open(str(tmp_path / "index"), encoder=encoder) as index:
        assert index.search("tasks", k=2) == before
        with forward_passes(encoder) as passes:
            index.add(["A worker pulls tasks."], ids=["a"])
        assert passes == []
    with pytest.raises(ModelMismatchError, match=r"'tiny'.*random-m3"):
        HybridIndex.open(tmp_path / "index", encoder=BgeM3Encoder(random_m3, device="cpu"))


def test_an_index_without_a_folder_is_in_memory(encoder: BgeM3Encoder, tmp_path: Path) -> None:
    with HybridIndex.open(None, encoder=encoder) as index:
        index.add(["text"], ids=["a"])
        index.optimize()
        assert index.get(["a"]) == [Passage("a", "text")]
    assert list(tmp_path.iterdir()) == []
    index.close()


def test_more_than_chroma_takes_in_one_call(index: HybridIndex) -> None:
    """Fault 11: more than 5,461 documents in one call."""
    ids = [str(i) for i in range(6_000)]
    assert index.add([f"word {i % 50}" for i in range(6_000)], ids=ids) == ids
    assert len(index) == 6_000
