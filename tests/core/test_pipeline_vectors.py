"""HybridIndex: vectors that the caller holds already, to search with and to write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from checkpoints import forward_passes

from hybrid_core import (
    BgeM3Encoder,
    Encoding,
    FilterError,
    HybridIndex,
    InvalidInputError,
    MetadataError,
    Passage,
    SparseVector,
    WeightedSum,
)

TEXTS = ["A worker pulls tasks.", "The queue keeps them.", "The gateway limits requests.", "网关在这里配置限流。"]
ROWS = [Passage(f"p{i}", text, {"n": i}) for i, text in enumerate(TEXTS)]
QUERY = "how does a worker get its tasks?"


def copied(encoding: Encoding) -> Encoding:
    return Encoding(encoding.dense.copy(), encoding.sparse.copy())


def test_the_vectors_of_a_query_find_what_the_query_finds(index: HybridIndex, encoder: BgeM3Encoder) -> None:
    index.upsert(ROWS)
    encoding = encoder.encode_queries([QUERY])
    dense, sparse = encoding.dense[0], encoding.sparse_row(0)
    with forward_passes(encoder) as passes:
        both = index.search_vectors(dense, sparse, k=3)
        assert index.search_vectors(dense.tolist(), k=3) == index.search_vectors(dense, k=3)
    assert passes == []
    assert both == index.search(QUERY, k=3)
    assert index.search_vectors(dense, k=3) == index.search(QUERY, k=3, mode="dense")
    assert index.search_vectors(sparse=sparse, k=3) == index.search(QUERY, k=3, mode="sparse")
    fusion, among = WeightedSum(), {"n": {"$gte": 1}}
    assert index.search_vectors(dense, sparse, k=2, candidates=2, filter=among, fusion=fusion) == index.search(
        QUERY, k=2, candidates=2, filter=among, fusion=fusion
    )
    assert len(index.search_vectors(dense, k=100)) == 4
    assert index.search_vectors(dense, sparse, k=0) == []


def test_a_vector_of_any_length_gives_inner_products(index: HybridIndex, encoder: BgeM3Encoder) -> None:
    index.upsert(ROWS)
    dense = encoder.encode_queries([QUERY]).dense[0]
    unit, double = index.search_vectors(dense, k=4), index.search_vectors(2 * dense, k=4)
    assert [hit.passage for hit in unit] == [hit.passage for hit in double]
    np.testing.assert_allclose([hit.score for hit in double], [2 * hit.score for hit in unit], rtol=1e-5)


def test_no_reranker_is_asked_about_vectors(index: HybridIndex, encoder: BgeM3Encoder) -> None:
    class Refusing:
        name = "refusing"

        def score(self, query: str, texts: Any) -> Any:
            raise AssertionError("there is no query to score against")

    index.upsert(ROWS)
    index.reranker = Refusing()
    hits = index.search_vectors(encoder.encode_queries([QUERY]).dense[0], k=2)
    assert [set(hit.stages) for hit in hits] == [{"dense"}] * 2


def test_an_empty_sparse_vector_finds_nothing(index: HybridIndex) -> None:
    index.upsert(ROWS)
    assert index.search_vectors(sparse=SparseVector.from_dict({})) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "a dense vector, a sparse one, or both"),
        ({"dense": [0.1] * 255}, r"shape \(255,\).*256"),
        ({"dense": [[0.1] * 256]}, r"shape \(1, 256\)"),
        ({"dense": [0.1] * 255 + [float("nan")]}, "dense holds NaN"),
        ({"dense": [0.1] * 255 + [1e300]}, "float32 cannot hold"),
        ({"dense": "vector"}, "numbers are needed"),
        ({"sparse": {1: 0.5}}, "from_dict"),
        ({"sparse": SparseVector.from_dict({10**7: 1.0})}, "vocabulary"),
        ({"sparse": SparseVector.from_dict({-1: 1.0})}, "vocabulary"),
        ({"sparse": SparseVector(np.array([3, 2]), np.array([1.0, 1.0]))}, "ascend"),
        ({"sparse": SparseVector(np.array([2, 2]), np.array([1.0, 1.0]))}, "ascend"),
        ({"sparse": SparseVector(np.array([1, 2]), np.array([1.0]))}, "as many"),
        ({"sparse": SparseVector(np.array([1.5]), np.array([1.0]))}, "integers"),
        ({"sparse": SparseVector.from_dict({1: 0.0})}, "more than 0"),
        ({"sparse": SparseVector.from_dict({1: float("inf")})}, "sparse holds NaN"),
        ({"dense": [0.1] * 256, "k": -1}, "k=-1"),
        ({"dense": [0.1] * 256, "candidates": -1}, "candidates=-1"),
        ({"dense": [0.1] * 256, "fusion": "rrf"}, "fusion='rrf' is no fusion"),
    ],
)
def test_vectors_that_cannot_be_searched_with_are_named(
    encoder: BgeM3Encoder, arguments: dict[str, Any], message: str
) -> None:
    with HybridIndex.open(None, encoder=encoder) as index:
        index.upsert(ROWS)
        with np.errstate(over="ignore"), pytest.raises(InvalidInputError, match=message):
            index.search_vectors(**arguments)
        with pytest.raises(FilterError):
            index.search_vectors([0.1] * 256, filter={"$nor": []})


def test_ready_vectors_are_written_as_the_encoder_would(index: HybridIndex, encoder: BgeM3Encoder) -> None:
    encoding = encoder.encode_documents(TEXTS, multi=True)
    with forward_passes(encoder) as passes:
        assert index.upsert(iter(ROWS), encoding=encoding) == [row.id for row in ROWS]
        index.add([TEXTS[0]], ids=["again"])  # its vectors are known now
    assert passes == []
    with HybridIndex.open(None, encoder=encoder) as other:
        other.upsert(ROWS)
        other.add([TEXTS[0]], ids=["again"])
        assert index.explain(QUERY, k=5) == other.explain(QUERY, k=5)
    assert index.get([row.id for row in ROWS]) == ROWS


def test_ready_vectors_replace_those_that_are_there(index: HybridIndex, encoder: BgeM3Encoder) -> None:
    index.upsert(ROWS)
    turned = encoder.encode_documents([ROWS[1].text, ROWS[0].text])
    index.upsert(ROWS[:2], encoding=turned)
    hit = index.search_vectors(turned.dense[1], k=1)[0]
    assert hit.passage == ROWS[1]
    assert hit.score == pytest.approx(1.0, abs=1e-5)
    assert len(index) == 4


def test_rows_stay_with_their_passages_over_chunks_and_repeats(
    index: HybridIndex, encoder: BgeM3Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 20: identical duplicates collapse, with the first one's vectors."""
    monkeypatch.setattr("hybrid_core.ingest.CHUNK", 2)
    rows = [ROWS[0], ROWS[0], *ROWS[1:], ROWS[2]]
    encoding = encoder.encode_documents([row.text for row in rows])
    assert index.upsert(rows, encoding=encoding) == ["p0", "p0", "p1", "p2", "p3", "p2"]
    assert index.ids() == ["p0", "p1", "p2", "p3"]
    for i, row in enumerate(rows):
        hit = index.search_vectors(encoding.dense[i], encoding.sparse_row(i), k=1)[0]
        assert hit.passage == row


def test_ready_vectors_are_checked_before_anything_is_written(index: HybridIndex, encoder: BgeM3Encoder) -> None:
    """Fault 12: found before any write."""
    good = encoder.encode_documents(TEXTS)
    unsorted = good.sparse.copy()
    unsorted.indices[:2] = unsorted.indices[:2][::-1].copy()
    unsorted.has_sorted_indices = False

    def dense(change: Callable[[Any], Any]) -> Encoding:
        return replace(copied(good), dense=change(good.dense.copy()))

    def negative(encoding: Encoding) -> Encoding:
        encoding.sparse.data[3] = -1.0
        return encoding

    def broken(rows: Any) -> Any:
        rows[2, 5] = np.nan
        return rows

    cases: list[tuple[Any, str]] = [
        (good.rows([0, 1, 2]), r"dense has shape \(3, 256\); 4 passages"),
        (dense(lambda rows: rows[:, :255]), r"dense has shape \(4, 255\)"),
        (dense(lambda rows: rows[0]), r"dense has shape \(256,\)"),
        (dense(broken), "NaN"),
        (replace(good, sparse=good.sparse[:, :100]), "sparse has shape"),
        (replace(good, sparse=good.sparse.tocsc()), "CSR"),
        (replace(good, sparse=unsorted), "ascending"),
        (negative(copied(good)), "more than 0"),
        (good.dense, "an Encoding is needed"),
    ]
    for encoding, message in cases:
        with pytest.raises(InvalidInputError, match=message):
            index.upsert(ROWS, encoding=encoding)
    with pytest.raises(MetadataError):
        index.upsert([*ROWS[:3], Passage("bad", "x", {"a": object()})], encoding=good)
    assert len(index) == 0


def test_no_passages_with_no_rows_are_a_no_op(index: HybridIndex, encoder: BgeM3Encoder) -> None:
    """Fault 25: empty add."""
    assert index.upsert([], encoding=encoder.encode_documents([])) == []
    assert len(index) == 0
