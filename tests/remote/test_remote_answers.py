"""Answers that are not what they should be: found before any of them is used."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from model_server import DIMENSION, ModelServer, status, vectors

from hybrid_core import EmbeddingError
from hybrid_core.encoders.remote import RemoteEncoder
from hybrid_core.rerankers.remote import RemoteReranker

Serve = Callable[..., ModelServer]
EncoderOn = Callable[..., RemoteEncoder]
RerankerOn = Callable[..., RemoteReranker]
TEXTS = ["one", "two", "three"]
NAN = float("nan")


def in_data(change: Callable[[list[Any]], Any]) -> Callable[[Any], Any]:
    """Change the results inside an answer, wherever the API has them."""

    def edit(answer: Any) -> Any:
        if isinstance(answer, list):
            return change(answer)
        name = "results" if "results" in answer else "data"
        return {**answer, name: change(answer[name])}

    return edit


def with_first(**entries: Any) -> Callable[[Any], Any]:
    return in_data(lambda items: [{**items[0], **entries}, *items[1:]])


@pytest.mark.parametrize("api", ["openai", "vllm", "infinity"])
def test_results_out_of_order_are_put_in_order(serve: Serve, encoder_on: EncoderOn, api: str) -> None:
    server = serve(api, edit=in_data(lambda items: items[::-1]))
    dense = encoder_on(server).encode_documents(TEXTS).dense
    expected = vectors(TEXTS)
    np.testing.assert_allclose(dense, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (with_first(index=1), "index 1 for 3 texts, where each from 0 to 2 is due once"),
        (with_first(index=3), "index 3 for 3 texts"),
        (with_first(index=-1), "index -1 for 3 texts"),
        (with_first(index=None), "index None for 3 texts"),
        (with_first(index=False), "index False for 3 texts"),
        (with_first(index="0"), "index '0' for 3 texts"),
        (in_data(lambda items: ["x", *items[1:]]), "index None for 3 texts"),
        (in_data(lambda items: items[:-1]), "gave 2 results for 3 texts"),
        (in_data(lambda items: [*items, items[0]]), "gave 4 results for 3 texts"),
        (in_data(lambda items: None), "gave None for 3 texts"),
        (lambda answer: {}, "gave an answer without 'data': {}"),
        (lambda answer: ["x"], "gave an answer without 'data'"),
        (lambda answer: "ok", "gave an answer without 'data'"),
        (with_first(embedding=None), "gave no vector of numbers for text 0: None"),
        (with_first(embedding=["1", "2"]), "gave no vector of numbers for text 0"),
        (with_first(embedding=[[0.1], [0.2, 0.3]]), "gave no vector of numbers for text 0"),
        (with_first(embedding=[0.1, None]), "gave no vector of numbers for text 0"),
        (with_first(embedding=[True] * DIMENSION), "gave no vector of numbers for text 0"),
        (with_first(embedding=[10**400] * DIMENSION), "gave no vector of numbers for text 0"),
        (with_first(embedding=[NAN] * DIMENSION), "gave a vector with NaN or infinity for text 0"),
        (with_first(embedding=[1e300] * DIMENSION), "gave a vector with NaN or infinity for text 0"),
        (with_first(embedding=[0.0] * DIMENSION), "gave a vector with zeros only for text 0"),
        (with_first(embedding=[0.1] * 7), "gave vectors of 7, 8 dimensions in one answer"),
        (with_first(embedding=[]), "gave vectors of 0, 8 dimensions|gave no vector"),
        (with_first(embedding="?"), "gave base64 for text 0 that cannot be read"),
        (with_first(embedding=base64.b64encode(b"12345").decode()), "gave base64 for text 0 that cannot be read"),
    ],
)
def test_wrong_answers_of_openais_route_are_named(
    serve: Serve, encoder_on: EncoderOn, edit: Callable[[Any], Any], words: str
) -> None:
    with pytest.raises(EmbeddingError, match=words):
        encoder_on(serve("openai", edit=edit)).encode_documents(TEXTS)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda rows: rows[:-1], "gave 2 vectors for 3 texts"),
        (lambda rows: [*rows, rows[0]], "gave 4 vectors for 3 texts"),
        (lambda rows: {"data": rows}, "gave {'data'.* for 3 texts; check url and api="),
        (lambda rows: [rows[0], [NAN] * DIMENSION, rows[2]], "with NaN or infinity for text 1"),
        (lambda rows: [row[:3] for row in rows[:2]] + rows[2:], "of 3, 8 dimensions"),
    ],
)
def test_wrong_answers_of_tei_are_named(
    serve: Serve, encoder_on: EncoderOn, edit: Callable[[Any], Any], words: str
) -> None:
    with pytest.raises(EmbeddingError, match=words):
        encoder_on(serve("tei", edit=edit)).encode_documents(TEXTS)


def test_the_position_named_is_that_in_the_callers_list(serve: Serve, encoder_on: EncoderOn) -> None:
    def embed(texts: list[str]) -> np.ndarray:
        rows = vectors(texts)
        rows[[text == "bad" for text in texts]] = NAN
        return rows

    with pytest.raises(EmbeddingError, match="NaN or infinity for text 7"):
        encoder_on(serve("vllm", embed=embed), batch_size=3).encode_documents(["x"] * 7 + ["bad"])


def test_a_model_of_another_dimension_behind_the_same_address_is_noticed(serve: Serve, encoder_on: EncoderOn) -> None:
    server = serve("tei")
    encoder = encoder_on(server)
    encoder.encode_documents(TEXTS)
    server.embed = lambda texts: np.ones((len(texts), 5))
    with pytest.raises(EmbeddingError, match="of 5 dimensions where 8 are due; another model is served now"):
        encoder.encode_documents(TEXTS)


def test_a_given_dimension_must_be_that_of_the_vectors(serve: Serve, encoder_on: EncoderOn) -> None:
    with pytest.raises(EmbeddingError, match="of 8 dimensions where 1024 are due"):
        encoder_on(serve("tei"), dimension=1024).encode_documents(TEXTS)


@pytest.mark.parametrize("content", [b"", b"<html>Sign in</html>", b"[[0.1, ", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json_is_named_and_not_asked_for_again(serve: Serve, encoder_on: EncoderOn, content: bytes) -> None:
    server = serve("tei", always=status(200, content))
    with pytest.raises(EmbeddingError, match=r"answers /embed with what is not JSON.*check url and api="):
        encoder_on(server).encode_documents(TEXTS)
    assert len(server.posts) == 1


def test_a_sparse_partner_of_another_shape_is_named(serve: Serve, encoder_on: EncoderOn) -> None:
    from word_counts import WordCounts

    partner = WordCounts()
    encoder = encoder_on(serve("tei"), sparse=partner)
    partner.vocabulary = 900
    partner.encode_documents = lambda texts: WordCounts().encode_documents(texts)  # type: ignore[method-assign]
    with pytest.raises(EmbeddingError, match=r"sparse rows of shape \(3, 1000\) for 3 texts and a vocabulary of 900"):
        encoder.encode_documents(TEXTS)


@pytest.mark.parametrize("api", ["tei", "vllm", "infinity", "cohere", "jina", "voyage"])
@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (with_first(index=1), "where each from 0 to 2 is due once"),
        (with_first(index=3), "index 3 for 3 texts"),
        (in_data(lambda items: items[:-1]), "gave 2 results for 3 texts"),
        (in_data(lambda items: [{"index": i} for i in range(3)]), "without '(relevance_)?score'"),
        (lambda answer: {"message": "ok"}, "gave (an answer without|{'message')"),
    ],
)
def test_wrong_answers_of_rerankers_are_named(
    serve: Serve, reranker_on: RerankerOn, api: str, edit: Callable[[Any], Any], words: str
) -> None:
    with pytest.raises(EmbeddingError, match=words):
        reranker_on(serve(api, pooling="reranker", edit=edit)).score("one", TEXTS)


@pytest.mark.parametrize("score", [NAN, float("inf"), None, "0.5", True, 10**400, [0.5]])
def test_a_score_that_is_no_number_is_named(serve: Serve, reranker_on: RerankerOn, score: object) -> None:
    edit = in_data(lambda items: [{**item, "relevance_score": score if item["index"] == 1 else 0.5} for item in items])
    with pytest.raises(EmbeddingError, match="for text 1; see the server's log"):
        reranker_on(serve("cohere", edit=edit)).score("one", TEXTS)


@pytest.mark.parametrize("score", [-0.1, 1.1, 7.5, -3.0])
def test_a_score_that_is_no_probability_is_named_with_the_remedy(
    serve: Serve, reranker_on: RerankerOn, score: float
) -> None:
    edit = in_data(lambda items: [{**item, "relevance_score": score} for item in items])
    with pytest.raises(EmbeddingError, match=rf"score {score:g} for text 0, outside 0 to 1.*scale='logit'"):
        reranker_on(serve("vllm", edit=edit)).score("one", TEXTS)
