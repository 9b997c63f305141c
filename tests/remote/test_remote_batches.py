"""How texts are spread over requests."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_server import ModelServer

from hybrid_core.encoders.remote import RemoteEncoder
from hybrid_core.http.batching import request_slices
from hybrid_core.rerankers.remote import RemoteReranker

Serve = Callable[..., ModelServer]


@given(
    st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=30), max_size=30),
    st.integers(1, 8),
    st.one_of(st.none(), st.integers(1, 200)),
    st.integers(0, 20),
)
def test_requests_hold_every_text_once_in_order_and_under_the_limits(
    texts: list[str], most: int, budget: int | None, beside: int
) -> None:
    slices = request_slices(texts, most=most, budget=budget, beside=beside)
    assert [text for part in slices for text in texts[part]] == texts
    for part in slices:
        assert 1 <= len(texts[part]) <= most
        size = sum(len(json.dumps(text, ensure_ascii=False).encode()) + 1 + beside for text in texts[part])
        assert budget is None or size <= budget or len(texts[part]) == 1


def test_requests_are_no_more_than_needed() -> None:
    assert request_slices(["abc"] * 10, most=4, budget=None) == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert request_slices(["abc"] * 4, most=9, budget=12) == [slice(0, 2), slice(2, 4)]  # 5 bytes and a comma each


@pytest.mark.parametrize(("batch_size", "expected"), [(None, [5, 5, 2]), (4, [4, 4, 4]), (32, [5, 5, 2])])
def test_tei_gets_no_more_texts_than_it_reports_to_take(
    serve: Serve, encoder_on: Callable[..., RemoteEncoder], batch_size: int | None, expected: list[int]
) -> None:
    server = serve("tei", most=5)
    encoder_on(server, batch_size=batch_size, concurrency=1).encode_documents([f"text {i}" for i in range(12)])
    assert [len(request.body["inputs"]) for request in server.posts] == expected


def test_openai_gets_no_request_over_its_documented_tokens(
    serve: Serve, encoder_on: Callable[..., RemoteEncoder]
) -> None:
    server = serve("openai")
    encoder_on(server, concurrency=1).encode_documents(["x" * 100_000] * 5)
    assert [len(request.body["input"]) for request in server.posts] == [2, 2, 1]  # 300,000 bytes at most


@pytest.mark.parametrize("api", ["tei", "vllm", "infinity", "cohere", "jina", "voyage"])
def test_rerankers_spread_texts_over_requests(
    serve: Serve, reranker_on: Callable[..., RemoteReranker], api: str
) -> None:
    server = serve(api, pooling="reranker", most=5)
    texts = ["red " * (i % 2) + f"fox {i}" for i in range(12)]
    scores = reranker_on(server, batch_size=None if api == "tei" else 5, concurrency=1).score("red hen", texts)
    assert scores.tolist() == [0.5 * (i % 2) for i in range(12)]
    sent = [request.body["texts" if api == "tei" else "documents"] for request in server.posts]
    assert [len(documents) for documents in sent] == [5, 5, 2]


def test_voyage_gets_no_request_over_its_documented_tokens(
    serve: Serve, reranker_on: Callable[..., RemoteReranker]
) -> None:
    """Query tokens count once for each document: 100,000 + 100,003 bytes each, 600,000 in a request."""
    server = serve("voyage")
    reranker_on(server, concurrency=1, pooling="first").score("q" * 100_000, ["x" * 100_000] * 4)
    assert [len(request.body["documents"]) for request in server.posts] == [2, 2]
