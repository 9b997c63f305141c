"""RemoteReranker on servers that work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from model_server import ModelServer, overlap

from hybrid_core import InvalidInputError, InvalidTextError, ModelLoadError, Reranker
from hybrid_core.rerankers.base import rank
from hybrid_core.rerankers.remote import RemoteReranker

Serve = Callable[..., ModelServer]
RerankerOn = Callable[..., RemoteReranker]
APIS = ["tei", "vllm", "infinity", "cohere", "jina", "voyage"]
QUERY = "how often is a task retried"
TEXTS = ["the queue", "a task is retried five times", "网关限流", "how often"]


@pytest.mark.parametrize("api", APIS)
def test_scores_come_in_the_order_of_the_texts(serve: Serve, reranker_on: RerankerOn, api: str) -> None:
    scores = reranker_on(serve(api, pooling="reranker")).score(QUERY, TEXTS)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [overlap(QUERY, text) for text in TEXTS], atol=1e-7)


@pytest.mark.parametrize(
    ("api", "path", "body"),
    [
        ("tei", "/rerank", {"texts": ["b"], "raw_scores": False, "return_text": False, "truncate": True}),
        ("vllm", "/v1/rerank", {"documents": ["b"], "truncate_prompt_tokens": -1}),
        ("infinity", "/rerank", {"documents": ["b"], "raw_scores": False, "return_documents": False}),
        ("cohere", "/v2/rerank", {"documents": ["b"], "model": "test/reranker"}),
        ("jina", "/v1/rerank", {"documents": ["b"], "model": "test/reranker", "return_documents": False}),
        (
            "voyage",
            "/v1/rerank",
            {"documents": ["b"], "model": "test/reranker", "return_documents": False, "truncation": True},
        ),
    ],
)
def test_each_api_is_asked_as_documented(
    serve: Serve, reranker_on: RerankerOn, api: str, path: str, body: dict[str, Any]
) -> None:
    server = serve(api, pooling="reranker")
    reranker_on(server).score("a", ["b"])
    assert [(request.path, request.body) for request in server.posts] == [(path, {"query": "a", **body})]


def test_it_is_a_reranker_with_a_name(serve: Serve, reranker_on: RerankerOn) -> None:
    server = serve("vllm")
    unnamed, named = reranker_on(server), reranker_on(server, model="test/reranker")
    assert isinstance(unnamed, Reranker)
    assert (unnamed.name, named.name) == (server.url, "test/reranker")
    assert repr(named) == f"RemoteReranker('{server.url}', api='vllm', model='test/reranker')"
    assert server.requests == []
    named.score("a", ["b"])
    assert server.posts[0].body["model"] == "test/reranker"


def test_it_ranks(serve: Serve, reranker_on: RerankerOn) -> None:
    assert [i for i, _ in rank(reranker_on(serve("voyage")), QUERY, TEXTS, top_n=2)] == [1, 3]


@pytest.mark.parametrize("api", APIS)
def test_no_texts_ask_nothing(serve: Serve, reranker_on: RerankerOn, api: str) -> None:
    server = serve(api, pooling="reranker")
    scores = reranker_on(server).score(QUERY, [])
    assert (scores.shape, scores.dtype) == ((0,), np.float32)
    assert server.requests == []


@pytest.mark.parametrize("api", APIS)
def test_an_empty_query_or_text_is_sent_as_a_blank(serve: Serve, reranker_on: RerankerOn, api: str) -> None:
    server = serve(api, pooling="reranker")
    assert reranker_on(server).score("", ["", "x"]).tolist() == [0.0, 0.0]
    assert server.posts[0].body["query"] == " "


def scored(values: list[float]) -> Callable[[Any], Any]:
    return lambda answer: {"results": [{"index": i, "relevance_score": value} for i, value in enumerate(values)]}


def test_logits_become_probabilities(serve: Serve, reranker_on: RerankerOn) -> None:
    """sigmoid(0) = 0.5, sigmoid(ln 3) = 0.75; far away nothing overflows."""
    server = serve("vllm", edit=scored([0.0, float(np.log(3)), -1e6, 1e6]))
    np.testing.assert_allclose(reranker_on(server, scale="logit").score(QUERY, TEXTS), [0.5, 0.75, 0, 1], atol=1e-7)


def test_cosines_become_scores(serve: Serve, reranker_on: RerankerOn) -> None:
    server = serve("vllm", edit=scored([-1.0, 0.0, 0.5, 1.0]))
    assert reranker_on(server, scale="cosine").score(QUERY, TEXTS).tolist() == [0.0, 0.5, 0.75, 1.0]


def test_what_rounding_puts_beyond_1_or_0_is_put_back(serve: Serve, reranker_on: RerankerOn) -> None:
    server = serve("vllm", edit=scored([1.0000001, -1e-7, 0.25, 1.0]))
    assert reranker_on(server).score(QUERY, TEXTS).tolist() == [1.0, 0.0, 0.25, 1.0]


def test_bad_texts_are_named_before_anything_is_sent(serve: Serve, reranker_on: RerankerOn) -> None:
    server = serve("tei", pooling="reranker")
    with pytest.raises(InvalidTextError, match="text 1 is 7"):
        reranker_on(server).score(QUERY, ["x", 7])  # type: ignore[list-item]
    with pytest.raises(InvalidTextError, match="query is None"):
        reranker_on(server).score(None, ["x"])  # type: ignore[arg-type]
    assert server.requests == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"api": "openai"}, "api='openai' must be one of 'tei', 'vllm', 'infinity', 'cohere', 'jina', 'voyage'"),
        ({"api": "cohere"}, "api='cohere' needs model="),
        ({"model": ""}, "model='' names nothing"),
        ({"scale": "percent"}, "scale='percent' must be one of 'probability', 'logit', 'cosine'"),
        ({"api": "voyage", "model": "m", "batch_size": 1_001}, "batch_size=1001 is over the 1000 texts"),
        ({"api": "cohere", "model": "m", "batch_size": 10_001}, "batch_size=10001 is over the 10000 texts"),
        ({"batch_size": True}, "batch_size=True"),
        ({"max_length": 15}, "max_length=15"),
        ({"pooling": "mean"}, "pooling='mean' must be one of"),
        ({"url": None}, "url=None is no address"),
    ],
)
def test_arguments_out_of_range_are_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        RemoteReranker(**{"url": "http://127.0.0.1:1", "api": "tei", **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("api", "home"),
    [("cohere", "https://api.cohere.com"), ("jina", "https://api.jina.ai"), ("voyage", "https://api.voyageai.com")],
)
def test_services_are_at_home_where_no_address_is_given(api: str, home: str) -> None:
    with RemoteReranker(api=api, model="m", api_key="k") as reranker:  # type: ignore[arg-type]
        assert home in repr(reranker)


@pytest.mark.parametrize("api", ["cohere", "jina", "voyage"])
@pytest.mark.parametrize("key", [None, ""])
def test_a_service_without_a_key_is_refused_before_anything_is_sent(api: str, key: str | None) -> None:
    with pytest.raises(InvalidInputError, match=f"api='{api}' needs api_key="):
        RemoteReranker(api=api, model="m", api_key=key)  # type: ignore[arg-type]
    with RemoteReranker(api=api, model="m", headers={"Authorization": "Bearer k"}) as reranker:  # type: ignore[arg-type]
        assert reranker.name == "m"


def test_an_embedding_server_is_no_reranker(serve: Serve, reranker_on: RerankerOn) -> None:
    with pytest.raises(ModelLoadError, match="as a dense model, not as a reranker one; pass the address of a reranker"):
        reranker_on(serve("tei")).score(QUERY, TEXTS)


def test_a_reranker_served_from_a_folder_needs_no_name(serve: Serve, reranker_on: RerankerOn) -> None:
    assert len(reranker_on(serve("tei", pooling="reranker", model="/data")).score(QUERY, TEXTS)) == 4
