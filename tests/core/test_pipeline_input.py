"""HybridIndex: input at its edges, and input that is refused before anything is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoints import forward_passes

from hybrid_core import (
    BgeM3Encoder,
    DuplicateIdError,
    FilterError,
    HybridIndex,
    InvalidInputError,
    InvalidTextError,
    MetadataError,
    Passage,
)


def test_one_bad_document_among_many_is_found_before_any_write(index: HybridIndex, encoder: BgeM3Encoder) -> None:
    """Fault 12: found before any write, and before any embedding."""
    texts: list[Any] = [f"text {i}" for i in range(1_300)]
    bad: list[tuple[type[Exception], Callable[[], Any]]] = [
        (InvalidTextError, lambda: index.add([*texts[:1_200], None, *texts[1_200:]])),
        (InvalidTextError, lambda: index.add([*texts, "\ud800"])),
        (MetadataError, lambda: index.add(texts, metadatas=[*([{}] * 1_299), {"when": object()}])),
        (InvalidInputError, lambda: index.add(texts, ids=[*map(str, range(1_299)), ""])),
        (DuplicateIdError, lambda: index.add(texts, ids=[*map(str, range(1_299)), "0"])),
        (InvalidInputError, lambda: index.upsert([*(Passage(t, t) for t in texts), "text"])),  # type: ignore[list-item]
    ]
    with forward_passes(encoder) as passes:
        for error, write in bad:
            with pytest.raises(error):
                write()
            assert len(index) == 0
    assert passes == []


def test_a_bad_document_of_a_stream_leaves_its_thousand_unwritten(index: HybridIndex) -> None:
    """Fault 15: what came before is kept, nothing of the current thousand is visible."""

    def stream() -> Iterator[str]:
        yield from (f"t {i % 20} {i}" for i in range(1_010))
        yield "\ud800"

    with pytest.raises(InvalidTextError, match="text 1010"):
        index.add(stream())
    assert len(index) == 1_000


@pytest.mark.parametrize("text", ["", " ", "\n\t\u3000"])
def test_blank_text_is_stored_and_reported(index: HybridIndex, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """Fault 16: empty or white-space text is stored and reported, never a crash."""
    with caplog.at_level(logging.WARNING, logger="hybrid_core"):
        index.add(["some text", text], ids=["full", "blank"])
    [record] = caplog.records
    assert record.getMessage().startswith("1 passages hold no text (first id: 'blank')")
    assert index.get(["blank"]) == [Passage("blank", text)]
    assert {hit.passage.id for hit in index.search("some text")} == {"full", "blank"}
    assert [hit.passage.id for hit in index.search("some text", mode="sparse")] == ["full"]


def test_a_blank_query_is_answered(index: HybridIndex) -> None:
    """Fault 16: an empty or white-space query is none either."""
    index.add(["some text"], ids=["a"])
    assert [hit.passage.id for hit in index.search("")] == ["a"]
    assert index.search(" ", mode="sparse") == []
    assert index.explain("")[0].matches == ()


def test_a_megabyte_of_text_is_kept_whole(index: HybridIndex) -> None:
    """Fault 17: a 1 MB text."""
    text = "A worker pulls tasks from the queue. " * 30_000
    index.add([text, "short"], ids=["big", "small"])
    assert index.get(["big"]) == [Passage("big", text)]
    assert index.search("worker", k=1)[0].passage.text == text
    assert len(index.search(text, k=2)) == 2


def test_a_text_longer_than_the_model_sees_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """Fault 17: kept whole; truncation for the model is reported once."""
    texts = ["A worker pulls tasks. " * 100, "The queue keeps tasks. " * 100]
    with (
        caplog.at_level(logging.WARNING, logger="hybrid_core"),
        HybridIndex.open(None, encoder=BgeM3Encoder.tiny(max_length=32)) as index,
    ):
        for text in texts:
            index.add([text], ids=[text[:5]])
        assert [passage.text for passage in index.get(index.ids()) if passage] == texts
    assert [record.getMessage().startswith("1 of 1 texts are longer than 32 tokens") for record in caplog.records] == [
        True
    ]


def test_a_lone_surrogate_is_refused_wherever_it_is(index: HybridIndex) -> None:
    """Fault 18: InvalidTextError on every store."""
    calls: list[Callable[[], Any]] = [
        lambda: index.add(["\ud800"]), lambda: index.add(["x"], ids=["\ud800"]), lambda: index.search("\udfff"),
        lambda: index.delete(["\ud800"]), lambda: index.get(["\ud800"]), lambda: index.explain("\ud800"),
        lambda: index.upsert([Passage("a", "b\ud800")]),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(InvalidTextError, match="lone surrogate"):
            call()
    with pytest.raises(MetadataError, match="'key'"):
        index.add(["x"], metadatas=[{"key": "\ud800"}])
    assert len(index) == 0


@pytest.mark.parametrize("text", ["a\x00b", "🙂👩‍👩‍👧", "e\u0301", "שלום עולם", "\u202eabc"], ids=ascii)
def test_odd_text_comes_back_from_a_search_exactly(index: HybridIndex, text: str) -> None:
    """Fault 19: NUL, emoji, combining marks, right-to-left."""
    index.add([text], ids=[text], metadatas=[{text: text}])
    assert index.search(text)[0].passage == Passage(text, text, {text: text})


def test_identical_duplicates_collapse_and_different_ones_raise(index: HybridIndex) -> None:
    """Fault 20: duplicate ids in one batch."""
    a = Passage("a", "text", {"n": 1})
    assert index.add([a, Passage("b", "other"), a]) == ["a", "b", "a"]
    assert len(index) == 2
    for other in (Passage("a", "changed", {"n": 1}), Passage("a", "text", {"n": 2})):
        with pytest.raises(DuplicateIdError, match="'a'"):
            index.upsert([a, other])
    assert index.get(["a"]) == [a]


@pytest.mark.parametrize("value", [float("nan"), (1, 2), b"x", {1: 2}, object()])
def test_metadata_that_would_not_come_back_is_named(index: HybridIndex, value: Any) -> None:
    """Fault 22: MetadataError naming the key, before any write."""
    with pytest.raises(MetadataError, match="bad"):
        index.add(["fine", "x"], metadatas=[{}, {"bad": value}])
    assert len(index) == 0


def test_metadata_comes_back_from_a_search_exactly(index: HybridIndex) -> None:
    """Fault 22: exact round trip."""
    metadata = {"none": None, "big": 2**63, "huge": 10**300, "nested": {"a": [1, 1.0, True, None]}, "neg": -0.0}
    index.add(["text"], metadatas=[metadata])
    assert repr(index.search("text")[0].passage.metadata) == repr(metadata)


def test_k_of_0_gives_nothing_negative_k_raises_and_large_k_gives_all(
    index: HybridIndex, encoder: BgeM3Encoder
) -> None:
    """Fault 23: k of zero, below and beyond."""
    index.add([f"text {i}" for i in range(70)])
    with forward_passes(encoder) as passes:
        assert index.search("k of zero", k=0) == []
    assert passes == []
    for k in (-1, 2.5, "3", True):
        with pytest.raises(ValueError, match="k="):
            index.search("text", k=k)  # type: ignore[arg-type]
    assert len(index.search("text", k=1_000)) == 70
    assert len(index.search("text", k=69, candidates=0)) == 69


def test_an_empty_index_finds_nothing(index: HybridIndex) -> None:
    """Fault 24: []."""
    assert len(index) == 0
    for mode in ("hybrid", "dense", "sparse"):
        assert index.search("anything", mode=mode) == index.explain("anything", mode=mode) == []  # type: ignore[arg-type]
    assert index.ids() == []
    assert index.get(["a"]) == [None]


def test_nothing_to_add_or_delete_is_a_no_op(index: HybridIndex, encoder: BgeM3Encoder) -> None:
    """Fault 25: empty add or delete."""
    with forward_passes(encoder) as passes:
        assert index.add([]) == index.add(iter([])) == index.upsert([]) == []
        assert index.add([], ids=[], metadatas=[]) == []
        assert index.delete([]) == index.delete(["nobody"]) == 0
        assert index.get([]) == []
    assert passes == []


@pytest.mark.parametrize("candidates", [-1, 1.5, "many"])
def test_bad_candidates_are_refused(index: HybridIndex, candidates: Any) -> None:
    with pytest.raises(InvalidInputError, match="candidates="):
        index.search("q", candidates=candidates)


def test_an_unknown_mode_is_named_with_the_known_ones(index: HybridIndex) -> None:
    with pytest.raises(InvalidInputError, match="mode='both' must be one of 'hybrid', 'dense', 'sparse'"):
        index.search("q", mode="both")  # type: ignore[arg-type]


@pytest.mark.parametrize("filter", ["lang = 'en'", {"$nor": []}, {"a": {"$gt": None}}])
def test_a_filter_that_cannot_be_read_is_refused(index: HybridIndex, filter: Any) -> None:
    for call in (
        lambda: index.search("q", filter=filter),
        lambda: index.ids(filter=filter),
        lambda: index.delete(filter=filter),
    ):
        with pytest.raises(FilterError):
            call()


def test_lengths_that_do_not_match_are_refused(index: HybridIndex) -> None:
    with pytest.raises(InvalidInputError, match="2 texts but 1 ids"):
        index.add(["a", "b"], ids=["x"])
    with pytest.raises(InvalidInputError, match="1 texts but 2 metadatas"):
        index.add(["a"], metadatas=[{}, {}])
    with pytest.raises(InvalidInputError, match=r"no ids\[1\]"):
        index.add(iter(["a", "b"]), ids=["x"])
    assert len(index) == 0


def test_ids_that_cannot_be_counted_are_refused_beside_a_list_of_texts(index: HybridIndex) -> None:
    with pytest.raises(InvalidInputError, match="ids is a generator"):
        index.add(["one", "two"], ids=(name for name in "ab"))  # type: ignore[arg-type]
    assert len(index) == 0


def test_one_value_instead_of_a_list_is_refused(index: HybridIndex) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: index.add("text"), lambda: index.add(Passage("a", "b")),  # type: ignore[arg-type]
        lambda: index.add(b"text"), lambda: index.delete("abc"), lambda: index.get("abc"),  # type: ignore[arg-type]
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(InvalidInputError, match="wrap it in a list"):
            call()
    assert len(index) == 0


def test_one_string_of_ids_is_refused(index: HybridIndex) -> None:
    with pytest.raises(InvalidInputError, match="ids"):
        index.add(["x", "y"], ids="ab")
    assert len(index) == 0


def test_passages_with_ids_beside_them_are_refused(index: HybridIndex) -> None:
    with pytest.raises(InvalidInputError, match="carry their own"):
        index.add([Passage("a", "b")], ids=["c"])


@pytest.mark.parametrize(
    "arguments", [{"encoder": "BAAI/bge-m3"}, {"encoder": None}, {"reranker": "BAAI/bge-reranker-base"}]
)
def test_a_name_instead_of_a_model_is_refused(encoder: BgeM3Encoder, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="pass an object, not a name"):
        HybridIndex.open(None, **{"encoder": encoder, **arguments})


def test_a_fusion_given_by_name_is_an_error_before_anything_is_made(tmp_path: Path, encoder: BgeM3Encoder) -> None:
    with pytest.raises(InvalidInputError, match="fusion='rrf' is no fusion"):
        HybridIndex.open(tmp_path / "index", encoder=encoder, fusion="rrf")  # type: ignore[arg-type]
    assert not (tmp_path / "index").exists()
