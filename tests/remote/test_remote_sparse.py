"""The sparse side from text-embeddings-inference with SPLADE pooling."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from model_server import MODEL, REVISION, VOCABULARY, ModelServer, word_id, word_weights

from hybrid_core import EmbeddingError, InvalidInputError, ModelError, ModelLoadError
from hybrid_core.encoders.remote import RemoteEncoder, TeiSparse
from hybrid_core.encoders.sparse_sides.base import SparseSide

Serve = Callable[..., ModelServer]
TEXTS = ["a worker pulls tasks", "", "a queue a queue"]


@pytest.fixture
def splade(serve: Serve) -> ModelServer:
    return serve("tei", pooling="splade")


@pytest.fixture
def side(splade: ModelServer, cleanup: ExitStack) -> TeiSparse:
    return cleanup.enter_context(TeiSparse(splade.url, vocabulary=VOCABULARY, deadline=20))


def test_weights_are_the_servers_with_sorted_ids(splade: ModelServer, side: TeiSparse) -> None:
    rows = side.encode_documents(TEXTS)
    assert (rows.shape, rows.dtype, rows.has_sorted_indices) == ((3, VOCABULARY), np.float32, True)
    for i, weights in enumerate(word_weights(TEXTS)):
        assert dict(zip(rows[[i]].indices.tolist(), rows[[i]].data.tolist(), strict=True)) == weights
    assert splade.posts[0].body == {"inputs": ["a worker pulls tasks", " ", "a queue a queue"], "truncate": True}


def test_it_is_a_sparse_side(side: TeiSparse) -> None:
    assert isinstance(side, SparseSide)
    assert side.name == f"splade(model={MODEL!r}, revision={REVISION!r}, max_length=512)"
    assert (side.vocabulary, side.idf) == (VOCABULARY, False)
    assert (side.encode_queries(TEXTS) != side.encode_documents(TEXTS)).nnz == 0


def test_no_texts_give_no_rows_and_ask_nothing(splade: ModelServer, side: TeiSparse) -> None:
    assert side.encode_documents([]).shape == (0, VOCABULARY)
    assert side.tokens([]) == []
    assert splade.requests == []


def test_texts_are_spread_over_requests(serve: Serve, cleanup: ExitStack) -> None:
    server = serve("tei", pooling="splade", most=4)
    side = cleanup.enter_context(TeiSparse(server.url, vocabulary=VOCABULARY, concurrency=3))
    texts = [f"word {i}" for i in range(10)]
    rows = side.encode_documents(texts)
    assert [set(rows[[i]].indices.tolist()) for i in range(10)] == [
        {word_id("word"), word_id(str(i))} for i in range(10)
    ]
    assert sorted(len(request.body["inputs"]) for request in server.posts) == [2, 4, 4]


def test_tokens_are_decoded_by_the_server_and_remembered(serve: Serve, cleanup: ExitStack) -> None:
    server = serve("tei", pooling="splade", most=2)
    side = cleanup.enter_context(TeiSparse(server.url, vocabulary=VOCABULARY))
    assert side.tokens([3, 1, 2, 3]) == ["w3", "w1", "w2", "w3"]
    assert [request.body for request in server.posts] == [
        {"ids": [[1], [2]], "skip_special_tokens": False},
        {"ids": [[3]], "skip_special_tokens": False},
    ]
    assert side.tokens([2, 1]) == ["w2", "w1"]
    assert len(server.posts) == 2


def first_row(row: Any) -> Callable[[Any], Any]:
    return lambda rows: [row, *rows[1:]]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (first_row([{"index": 1_000, "value": 1.0}]), r"id 1000 for text 0, but vocabulary is 1000.*vocabulary=\.\.\."),
        (first_row([{"index": -1, "value": 1.0}]), "id -1 for text 0"),
        (first_row([{"index": 1.0, "value": 1.0}]), "id 1.0 for text 0"),
        (first_row([{"index": 1, "value": float("nan")}]), "weight nan for text 0"),
        (first_row([{"index": 1, "value": None}]), "weight None for text 0"),
        (first_row([{"index": 1}]), "gave no list of index and value for text 0"),
        (first_row(None), "gave no list of index and value for text 0: None"),
        (first_row([0.1]), "gave no list of index and value for text 0"),
        (lambda rows: rows[1:], "gave 2 rows for 3 texts"),
        (lambda rows: {}, "gave {} for 3 texts"),
    ],
)
def test_wrong_answers_are_named(splade: ModelServer, side: TeiSparse, edit: Callable[[Any], Any], words: str) -> None:
    splade.edit = edit
    with pytest.raises(EmbeddingError, match=words):
        side.encode_documents(TEXTS)


def test_weights_that_are_not_above_zero_are_left_out(splade: ModelServer, side: TeiSparse) -> None:
    splade.edit = first_row([{"index": 5, "value": 0.0}, {"index": 4, "value": 2.0}, {"index": 3, "value": -1.0}])
    row = side.encode_documents(["x"])
    assert (row.indices.tolist(), row.data.tolist()) == ([4], [2.0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "as a dense model, not as a splade one; start text-embeddings-inference with --pooling splade"),
        ({"pooling": "splade", "model": "/data"}, "say which one it is with model="),
    ],
)
def test_what_is_served_must_be_splade_with_a_name(
    serve: Serve, cleanup: ExitStack, options: dict[str, str], words: str
) -> None:
    with pytest.raises(ModelLoadError, match=words):
        cleanup.enter_context(TeiSparse(serve("tei", **options).url)).encode_documents(TEXTS)


def test_the_encoder_makes_its_own_side_from_sparse_url_and_closes_it(
    serve: Serve, splade: ModelServer, cleanup: ExitStack
) -> None:
    dense = serve("tei", key="k")
    splade.key = "k"
    with RemoteEncoder(dense.url, api="tei", sparse_url=splade.url, api_key="k", headers={"X-Team": "docs"}) as encoder:
        encoding = encoder.encode_documents(TEXTS)
        assert encoding.sparse.shape == (3, 30_522)
        assert [encoding.sparse_row(i).as_dict() for i in range(3)] == word_weights(TEXTS)
        assert encoder.tokens([7]) == ["w7"]
        assert encoder.fingerprint.sparse == encoder.sparse.name
        assert {request.headers["X-Team"] for request in dense.requests + splade.requests} == {"docs"}
    with pytest.raises(ModelError, match="has been closed"):
        encoder.sparse.encode_documents(TEXTS)


def test_a_side_that_was_passed_in_stays_open(serve: Serve, side: TeiSparse) -> None:
    with RemoteEncoder(serve("vllm").url, api="vllm", sparse=side) as encoder:
        assert encoder.encode_documents(TEXTS).sparse.shape == (3, VOCABULARY)
        assert encoder.fingerprint.vocabulary == VOCABULARY
    assert side.encode_documents(TEXTS).shape == (3, VOCABULARY)


def test_making_an_encoder_asks_neither_server(serve: Serve, splade: ModelServer, side: TeiSparse) -> None:
    dense = serve("tei")
    with RemoteEncoder(dense.url, api="tei", sparse=side):
        assert dense.requests == splade.requests == []


@pytest.mark.parametrize("options", [{"vocabulary": 0}, {"batch_size": 0}, {"url": "x"}, {"timeout": -1}])
def test_arguments_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match=str(next(iter(options)))):
        TeiSparse(**{"url": "http://127.0.0.1:1", **options})  # type: ignore[arg-type]
