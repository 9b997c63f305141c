"""What LlamaIndex writes of our classes: settings that can be read again, and never a secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery
from pydantic import ValidationError

from hybrid_core import (
    BgeM3Encoder,
    Bm25,
    Budget,
    CrossEncoderReranker,
    HybridIndex,
    InvalidInputError,
    LateInteractionReranker,
    ModelMismatchError,
    RemoteEncoder,
    RemoteReranker,
)
from llamaindex_hybrid import BgeM3Embedding, BgeM3SparseEmbedding, BgeReranker, HybridRetriever, HybridVectorStore

QUESTION = "how does a worker get its tasks?"
CANARY = "canary-3f9c1e-key"


def through_json(written: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(written))


@pytest.mark.parametrize("cls", [BgeM3Embedding, BgeM3SparseEmbedding])
def test_an_embedding_is_read_again_with_its_encoder(cls: Any, encoder: BgeM3Encoder) -> None:
    written = through_json(cls(encoder, embed_batch_size=7, num_workers=2).to_dict())
    before = json.dumps(written)
    again = cls.from_dict(written, encoder=encoder)
    assert (again.embed_batch_size, again.num_workers, again.model_name) == (7, 2, "tiny")
    assert again.get_query_embedding(QUESTION) == cls(encoder).get_query_embedding(QUESTION)
    assert through_json(again.to_dict()) == written
    assert json.dumps(written) == before
    assert len(before) < 700


@pytest.mark.parametrize("cls", [BgeM3Embedding, BgeM3SparseEmbedding])
def test_an_embedding_is_not_read_with_another_encoder_or_with_none(
    cls: Any, encoder: BgeM3Encoder, random_m3: Path
) -> None:
    written = cls(encoder).to_dict()
    with pytest.raises(InvalidInputError, match="pass the loaded encoder"):
        cls.from_dict(written)
    with pytest.raises(InvalidInputError, match="encoder='tiny'"):
        cls.from_dict(written, encoder="tiny")
    with pytest.raises(ModelMismatchError, match=r"'tiny'.*random-m3.*digest"):
        cls.from_dict(written, encoder=BgeM3Encoder(random_m3, device="cpu"))
    written.pop("fingerprint")  # as an earlier release wrote it
    assert cls.from_dict(written, encoder=encoder).model_name == "tiny"


def test_a_reranker_is_read_again_with_its_model(encoder: BgeM3Encoder) -> None:
    core = LateInteractionReranker(encoder)
    reranker = BgeReranker(reranker=core, top_n=2, budget=Budget(milliseconds=60_000, max_candidates=4), min_score=0.1)
    written = through_json(reranker.to_dict())
    again = BgeReranker.from_dict(written, reranker=core)
    assert (again.top_n, again.budget, again.min_score) == (2, reranker.budget, 0.1)
    assert again.reranker is core
    assert through_json(again.to_dict()) == written
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("网关限流。", "Workers pull tasks.")]
    assert again.postprocess_nodes(nodes, query_str=QUESTION) == reranker.postprocess_nodes(nodes, query_str=QUESTION)
    with pytest.raises(ValidationError, match="reranker"):
        BgeReranker.from_dict(written)


def test_each_class_has_a_name_of_its_own(encoder: BgeM3Encoder) -> None:
    for cls in (BgeM3Embedding, BgeM3SparseEmbedding, BgeReranker, HybridVectorStore):
        assert cls.class_name() == cls.__name__
    assert BgeReranker(reranker=CrossEncoderReranker.tiny()).to_dict()["class_name"] == "BgeReranker"


# secrets


class _Handler(BaseHTTPRequestHandler):
    """Vectors and scores that depend on the text's length, for whoever has the key."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Authorization"] == f"Bearer {CANARY}"
        if "documents" in asked:
            scores = [{"index": i, "relevance_score": 1 / len(text)} for i, text in enumerate(asked["documents"])]
            answer: dict[str, Any] = {"results": scores}
        else:
            texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
            rows = [{"index": i, "embedding": [1.0, float(len(text)), 3.0]} for i, text in enumerate(texts)]
            answer = {"data": rows, "model": asked["model"]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_key_is_in_nothing_that_is_written_printed_logged_or_dispatched(
    url: str, tmp_path: Path, events: list[BaseEvent], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    debug = LlamaDebugHandler(print_trace_on_end=False)
    callbacks = CallbackManager([debug])
    with ExitStack() as stack:
        encoder = stack.enter_context(RemoteEncoder(url, api="openai", model="lengths", sparse=Bm25(), api_key=CANARY))
        core = stack.enter_context(RemoteReranker(url, api="jina", model="lengths", api_key=CANARY))
        index = stack.enter_context(HybridIndex.open(tmp_path / "index", encoder=encoder, reranker=core))
        store = HybridVectorStore(index)
        embedding = BgeM3Embedding(encoder, callback_manager=callbacks)
        reranker = BgeReranker(reranker=core, callback_manager=callbacks)
        store.add([TextNode(text=text) for text in ("A worker.", "网关限流。")])
        retriever = HybridRetriever(index, callback_manager=callbacks)
        found = retriever.retrieve(QUESTION)
        assert len(reranker.postprocess_nodes(found, query_str=QUESTION)) == 2
        store.query(VectorStoreQuery(query_str=QUESTION, query_embedding=embedding.get_query_embedding(QUESTION)))
        shown = [repr(item) + str(item) for item in (store, embedding, store.embed_model, reranker, retriever, found)]
        shown += [item.to_json() for item in (store, embedding, reranker)]
        shown += [str(item.model_dump()) + item.model_dump_json() for item in (store, embedding, reranker)]
        shown += [str(embedding.to_payload()), str(events), str(debug.get_event_pairs()), caplog.text]
        shown += [str(event.model_dump()) for event in events]
    shown += [path.read_bytes().decode("latin-1") for path in (tmp_path / "index").rglob("*") if path.is_file()]
    assert all(CANARY not in text for text in shown)
    assert len(events) > 3
