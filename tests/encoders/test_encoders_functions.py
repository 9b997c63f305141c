"""FunctionEncoder: a dense model behind two functions, with a sparse side, through all of an index."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_core import (
    BgeM3Encoder,
    Bm25,
    EmbeddingError,
    Encoder,
    HybridIndex,
    InvalidInputError,
    InvalidTextError,
    ModelMismatchError,
)
from hybrid_core.encoders.functions import FunctionEncoder

TEXTS = ["A worker pulls tasks.", "", "网关限流。"]


def vector(text: str, dimension: int = 4) -> list[float]:
    digest = hashlib.sha256(text.encode()).digest()
    return [byte - 127.5 for byte in digest[:dimension]]


def vectors(texts: list[str]) -> list[list[float]]:
    return [vector(text) for text in texts]


@pytest.fixture
def encoder_of_functions() -> FunctionEncoder:
    return FunctionEncoder("hashes v1", vectors, vector, sparse=Bm25())


def test_it_is_an_encoder_whose_fingerprint_names_the_model_and_the_sparse_side(
    encoder_of_functions: FunctionEncoder,
) -> None:
    assert isinstance(encoder_of_functions, Encoder)
    made = encoder_of_functions.fingerprint
    assert (made.model, made.dimension, made.sparse, made.sparse_weighting) == ("hashes v1", 4, Bm25().name, "idf")
    other = FunctionEncoder("hashes v2", vectors, vector, sparse=Bm25()).fingerprint
    assert made.differences(other) == ["digest"]
    assert "hashes v1" in repr(encoder_of_functions)


def test_rows_are_the_functions_vectors_at_unit_length_beside_the_sparse_sides(
    encoder_of_functions: FunctionEncoder,
) -> None:
    rows = np.array(vectors(TEXTS))
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    encoding = encoder_of_functions.encode_documents(TEXTS)
    assert encoding.dense.dtype == np.float32
    assert np.allclose(encoding.dense, expected, atol=1e-6)
    assert (encoding.sparse != Bm25().encode_documents(TEXTS)).nnz == 0
    queries = encoder_of_functions.encode_queries([*TEXTS, TEXTS[0]])
    assert np.allclose(queries.dense, [*expected, expected[0]], atol=1e-6)
    assert (queries.sparse != Bm25().encode_queries([*TEXTS, TEXTS[0]])).nnz == 0
    assert encoder_of_functions.tokens(queries.sparse_row(0).indices.tolist()) != []


def test_no_texts_give_an_empty_encoding_and_call_nothing() -> None:
    encoder = FunctionEncoder("hashes", _only(["dimension"]), vector, sparse=Bm25())
    assert encoder.encode_documents([]).dense.shape == (0, 4)
    assert encoder.encode_queries([]).dense.shape == (0, 4)


def _only(allowed: list[str]) -> Callable[[list[str]], list[list[float]]]:
    def embed(texts: list[str]) -> list[list[float]]:
        assert texts == allowed
        return vectors(texts)

    return embed


def test_the_zero_vector_stays_and_huge_ones_do_not_overflow() -> None:
    encoder = FunctionEncoder("two", lambda texts: [[0.0, 0.0], [3e38, 4e38]][-len(texts) :], vector, sparse=Bm25())
    assert encoder.encode_documents(["a", "b"]).dense.tolist() == [[0, 0], pytest.approx([0.6, 0.8])]


def test_a_question_asked_again_calls_the_function_once() -> None:
    asked: list[str] = []

    def embed(text: str) -> list[float]:
        asked.append(text)
        return vector(text)

    encoder = FunctionEncoder("hashes", vectors, embed, sparse=Bm25())
    index = HybridIndex.open(None, encoder=encoder)
    index.add(TEXTS)
    for _ in range(2):
        index.search("a question")
        encoder.encode_queries(["a question", "a question"])
    assert asked == ["a question"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([[1.0, 2.0]], r"\(1, 2\).*\(2, 4\)"),
        ([[1.0] * 4], r"\(1, 4\).*\(2, 4\)"),
        ([[1.0] * 5] * 2, r"\(2, 5\).*\(2, 4\)"),
        ([[1.0] * 4, [1.0, 2.0, 3.0, float("nan")]], "text 1"),
        ([[float("inf")] * 4, [1.0] * 4], "text 0"),
        ([[1.0] * 4, [1.0]], "2 texts"),
        (None, r"\(2, 4\)"),
    ],
)
def test_an_answer_that_is_not_one_vector_a_text_is_an_error(answer: Any, message: str) -> None:
    """Fault 14: NaN or infinity from the model."""
    encoder = FunctionEncoder(
        "wrong", lambda texts: answer if len(texts) > 1 else vectors(texts), lambda text: answer, sparse=Bm25()
    )
    with pytest.raises(EmbeddingError, match=message):
        encoder.encode_documents(["a", "b"])
    with pytest.raises(EmbeddingError, match="wrong"):
        encoder.encode_queries(["a"])


def test_what_cannot_be_an_encoder_is_an_error(encoder_of_functions: FunctionEncoder) -> None:
    with pytest.raises(InvalidInputError, match="no sparse side"):
        FunctionEncoder("hashes", vectors, vector, sparse="bm25")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="no sparse side"):
        FunctionEncoder("hashes", vectors, vector, sparse=Bm25)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="name the model"):
        FunctionEncoder("", vectors, vector, sparse=Bm25())
    for encode in (encoder_of_functions.encode_documents, encoder_of_functions.encode_queries):
        with pytest.raises(InvalidInputError, match="multi-vectors"):
            encode(TEXTS, multi=True)
        with pytest.raises(InvalidTextError, match="1"):
            encode(["fine", "\ud800"])


def test_an_index_is_bound_to_the_name(encoder_of_functions: FunctionEncoder, tmp_path: Path) -> None:
    """Fault 9: another model of equal dimension."""
    with HybridIndex.open(tmp_path / "index", encoder=encoder_of_functions) as index:
        ids = index.add(TEXTS)
        assert index.search(TEXTS[0], k=1)[0].passage.id == ids[0]
    with pytest.raises(ModelMismatchError, match=r"hashes v1.*hashes v2|hashes v2.*hashes v1"):
        HybridIndex.open(tmp_path / "index", encoder=FunctionEncoder("hashes v2", vectors, vector, sparse=Bm25()))


def test_over_bge_m3s_own_vectors_dense_search_is_bge_m3s(encoder: BgeM3Encoder) -> None:
    functions = FunctionEncoder(
        "bge-m3",
        lambda texts: encoder.encode_documents(texts).dense * 7,
        lambda text: encoder.encode_queries([text]).dense[0],
        sparse=Bm25(),
    )
    ours, theirs = HybridIndex.open(None, encoder=functions), HybridIndex.open(None, encoder=encoder)
    for index in (ours, theirs):
        index.add(TEXTS, ids=["a", "b", "c"])
    question = "what does a worker do?"
    for left, right in zip(ours.search(question, mode="dense"), theirs.search(question, mode="dense"), strict=True):
        assert left.passage == right.passage
        assert left.score == pytest.approx(right.score, abs=1e-6)
