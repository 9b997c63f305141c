"""An index whose models are on servers, against one whose models are here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_server import ModelServer, status
from word_counts import WordCounts

from hybrid_core import BackendUnavailableError, BgeM3Encoder, HybridIndex, ModelMismatchError, Reranker
from hybrid_core.encoders.remote import RemoteEncoder, TeiSparse

Serve = Callable[..., ModelServer]
TEXTS = [
    "A worker that receives SIGTERM finishes its task first.",
    "网关按客户端地址限制每秒的请求数。",
    "Secrets are rotated every ninety days.",
    "A task is retried five times before it is dropped.",
    "队列中的任务由工作节点拉取。",
]
IDS = ["term", "limit", "secret", "retry", "queue"]
QUERIES = ["what happens when a worker is stopped?", "怎样限制请求数？", "how often is a task retried?"]


@pytest.fixture
def remote(serve: Serve, cleanup: ExitStack, encoder: BgeM3Encoder) -> RemoteEncoder:
    """The small model, dense on one server and sparse on another."""
    dense = serve("vllm", embed=lambda texts: encoder.encode_documents(texts).dense)
    sparse = serve(
        "tei",
        pooling="splade",
        weights=lambda texts: [encoder.encode_documents([text]).sparse_row(0).as_dict() for text in texts],
        token_of=lambda i: encoder.tokens([i])[0],
    )
    side = cleanup.enter_context(TeiSparse(sparse.url, vocabulary=encoder.fingerprint.vocabulary))
    return cleanup.enter_context(RemoteEncoder(dense.url, api="vllm", sparse=side, batch_size=2))


def hits_of(index: HybridIndex, query: str) -> list[Any]:
    return [
        (hit.passage.id, pytest.approx(hit.score, abs=1e-5), {name: stage.rank for name, stage in hit.stages.items()})
        for hit in index.explain(query, k=5)
    ]


def test_the_same_model_finds_the_same_here_and_there(remote: RemoteEncoder, encoder: BgeM3Encoder) -> None:
    with HybridIndex.open(None, encoder=remote) as there, HybridIndex.open(None, encoder=encoder) as here:
        for index in (there, here):
            index.add(TEXTS, ids=IDS)
        for query in QUERIES:
            assert hits_of(there, query) == hits_of(here, query)
        [local, distant] = [index.explain(QUERIES[0], k=1)[0].matches for index in (here, there)]
        assert [match.token for match in distant] == [match.token for match in local]
        np.testing.assert_allclose([m.score for m in distant], [m.score for m in local], rtol=1e-5)


def test_an_index_on_disk_is_opened_again_with_the_same_servers(remote: RemoteEncoder, tmp_path: Path) -> None:
    with HybridIndex.open(tmp_path / "index", encoder=remote) as index:
        index.add(TEXTS, ids=IDS)
        expected = hits_of(index, QUERIES[2])
    with HybridIndex.open(tmp_path / "index", encoder=remote) as index:
        assert len(index) == 5
        assert hits_of(index, QUERIES[2]) == expected


def test_an_index_on_disk_is_not_opened_with_another_model(
    remote: RemoteEncoder, serve: Serve, encoder_on: Callable[..., RemoteEncoder], tmp_path: Path
) -> None:
    with HybridIndex.open(tmp_path / "index", encoder=remote) as index:
        index.add(TEXTS, ids=IDS)
    with pytest.raises(ModelMismatchError, match=r"test/embedder.*test/other"):
        HybridIndex.open(tmp_path / "index", encoder=encoder_on(serve("vllm", model="test/other")))


def test_a_server_that_fails_while_indexing_leaves_nothing_half_done(
    serve: Serve, encoder_on: Callable[..., RemoteEncoder], tmp_path: Path
) -> None:
    server = serve("tei")
    encoder = encoder_on(server, batch_size=1, max_retries=0)
    with HybridIndex.open(tmp_path / "index", encoder=encoder) as index:
        index.add(TEXTS[:2], ids=IDS[:2])
        server.always = status(503)
        with pytest.raises(BackendUnavailableError, match="answers 503"):
            index.add(TEXTS, ids=IDS)
        assert sorted(index.ids()) == ["limit", "term"]
        server.always = None
        index.add(TEXTS, ids=IDS)
        assert sorted(index.ids()) == sorted(IDS)


def test_an_index_is_not_opened_while_the_server_is_away(closed_url: str, tmp_path: Path) -> None:
    with (
        RemoteEncoder(closed_url, api="tei", sparse=WordCounts(), max_retries=0) as encoder,
        pytest.raises(BackendUnavailableError, match="cannot be reached"),
    ):
        HybridIndex.open(tmp_path / "index", encoder=encoder)


@pytest.mark.parametrize("api", ["tei", "vllm", "infinity", "cohere", "jina", "voyage"])
def test_a_remote_reranker_is_the_last_stage(
    serve: Serve, reranker_on: Callable[..., Reranker], encoder: BgeM3Encoder, api: str
) -> None:
    reranker = reranker_on(serve(api, pooling="reranker"))
    with HybridIndex.open(None, encoder=encoder, reranker=reranker) as index:
        index.add(TEXTS, ids=IDS)
        hits = index.search("A task is retried", k=2)
    assert (hits[0].passage.id, hits[0].stages["reranked"]) == ("retry", (1.0, 1))
