"""A model server on 127.0.0.1: the documented routes, schemas, limits and errors of the APIs, and ways to misbehave."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

MODEL, REVISION = "test/embedder", "0123456789abcdef0123456789abcdef01234567"
DIMENSION, VOCABULARY = 8, 1_000
LONGEST = 50  # words of a text that the served model can see

Fault = Callable[["Handler"], None]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: Any
    headers: dict[str, str]


class RefusedError(Exception):
    """A documented error."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def vectors(texts: list[str]) -> np.ndarray:
    """A random vector for each text, always the same one, of any length."""
    seeds = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") for text in texts]
    return np.stack([np.random.default_rng(seed).normal(size=DIMENSION) for seed in seeds]).astype(np.float32)


def word_id(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "big") % VOCABULARY


def word_weights(texts: list[str]) -> list[dict[int, float]]:
    """The number of times each word is there."""
    return [{word_id(word): float(text.split().count(word)) for word in set(text.split())} for text in texts]


def overlap(query: str, text: str) -> float:
    """The share of the query's words that the text has: what the reranker here answers."""
    words = set(query.split())
    return len(words & set(text.split())) / max(1, len(words))


class QuietServer(ThreadingHTTPServer):
    """Does not print that clients hang up."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@dataclass
class ModelServer:
    """A server that can be told what to serve and how to fail.

    Attributes:
        style: whose routes and schemas it has.
        pooling: of text-embeddings-inference: "cls", "splade" or "reranker".
        key: the key it wants, if any.
        most: texts in a request of text-embeddings-inference.
        delay: seconds each POST takes.
        faults: each is the answer to one POST, instead of the real one; after them the server is well again.
        always: the answer to every POST.
        edit: changes the answer to a POST before it is sent.
        requests: all it was asked.
        busiest: the most POSTs it had under way at one time.
    """

    style: str = "tei"
    pooling: str = "cls"
    key: str | None = None
    model: str = MODEL
    revision: str | None = REVISION
    most: int = 32
    delay: float = 0.0
    embed: Callable[[list[str]], np.ndarray] = vectors
    weights: Callable[[list[str]], list[dict[int, float]]] = word_weights
    token_of: Callable[[int], str] = "w{}".format
    faults: deque[Fault] = field(default_factory=deque)
    always: Fault | None = None
    info_fault: Fault | None = None
    edit: Callable[[Any], Any] | None = None
    requests: list[Request] = field(default_factory=list)
    busiest: int = 0
    under_way: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self) -> Iterator[ModelServer]:
        handler = type("BoundHandler", (Handler,), {"owner": self})
        server = QuietServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    @property
    def posts(self) -> list[Request]:
        return [request for request in self.requests if request.method == "POST"]

    def answer(self, method: str, path: str, body: Any) -> Any:
        match self.style, method, path:
            case "tei", "GET", "/info":
                return self.info()
            case "tei", "POST", "/embed" if self.pooling == "cls":
                rows = self.embed(self.tei_inputs(body, {"inputs", "normalize", "truncate"}))
                return (rows / np.linalg.norm(rows, axis=1, keepdims=True) if body["normalize"] else rows).tolist()
            case "tei", "POST", "/embed_sparse" if self.pooling == "splade":
                rows = self.weights(self.tei_inputs(body, {"inputs", "truncate"}))
                return [[{"index": i, "value": v} for i, v in row.items()] for row in rows]
            case "tei", "POST", "/decode":
                self.tei_batch(body["ids"])
                return ["".join(map(self.token_of, ids)) for ids in body["ids"]]
            case "tei", "POST", "/rerank" if self.pooling == "reranker":
                self.known(body, {"query", "texts", "raw_scores", "return_text", "truncate"})
                self.tei_batch(body["texts"])
                return self.ranked(body["query"], body["texts"], "score")
            case "tei", "POST", "/embed" | "/embed_sparse" | "/rerank":
                raise RefusedError(424, {"error": "model is not of the kind for this route", "error_type": "Backend"})
            case "openai" | "vllm", "POST", "/v1/embeddings":
                return self.openai_embeddings(body)
            case "infinity", "POST", "/embeddings":
                return self.openai_embeddings(body)
            case "vllm", "GET", "/v1/models":
                entry = {"id": self.model, "object": "model", "root": self.model, "max_model_len": 8192}
                return {"object": "list", "data": [entry]}
            case "infinity", "GET", "/models":
                return {
                    "object": "list",
                    "data": [{"id": self.model, "stats": {}, "capabilities": ["embed", "rerank"]}],
                }
            case "infinity", "POST", "/rerank":
                self.known(body, {"query", "documents", "raw_scores", "return_documents", "model"})
                return {"results": self.documents(body, 2_048), "model": self.model}
            case "vllm", "POST", "/v1/rerank":
                self.known(body, {"query", "documents", "model", "truncate_prompt_tokens"})
                return {"id": "rerank-1", "results": self.documents(body, None), "model": self.model}
            case "cohere", "POST", "/v2/rerank":
                self.known(body, {"query", "documents", "model"}, needed={"query", "documents", "model"})
                return {"id": "1", "results": self.documents(body, 10_000), "meta": {}}
            case "jina", "POST", "/v1/rerank":
                self.known(body, {"query", "documents", "model", "return_documents"}, needed={"model"})
                return {"results": self.documents(body, None), "model": self.model}
            case "voyage", "POST", "/v1/rerank":
                self.known(body, {"query", "documents", "model", "return_documents", "truncation"}, needed={"model"})
                return {"object": "list", "data": self.documents(body, 1_000), "model": self.model}
        raise RefusedError(404, {"detail": "Not Found"})

    def info(self) -> dict[str, Any]:
        labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        kind = {"reranker": labels} if self.pooling == "reranker" else {"embedding": {"pooling": self.pooling}}
        return {
            "model_id": self.model, "model_sha": self.revision, "model_dtype": "float32", "model_type": kind,
            "max_concurrent_requests": 512, "max_input_length": 512, "max_batch_tokens": 16_384,
            "max_client_batch_size": self.most, "auto_truncate": False, "tokenization_workers": 4, "version": "1.6.0",
        }  # fmt: skip

    def tei_batch(self, items: list[Any]) -> None:
        if len(items) > self.most:
            message = f"batch size {len(items)} > maximum allowed batch size {self.most}"
            raise RefusedError(413, {"error": message, "error_type": "Validation"})
        if "" in items or not items:
            raise RefusedError(400, {"error": "`inputs` cannot be empty", "error_type": "Empty"})

    def tei_inputs(self, body: Any, entries: set[str]) -> list[str]:
        self.known(body, entries)
        texts: list[str] = body["inputs"]
        self.tei_batch(texts)
        if any(len(text.split()) > LONGEST for text in texts) and not body["truncate"]:
            raise RefusedError(413, {"error": "`inputs` must have less than 512 tokens", "error_type": "Validation"})
        return [" ".join(text.split(" ")[:LONGEST]) for text in texts]

    def openai_embeddings(self, body: Any) -> dict[str, Any]:
        allowed = {"input", "model", "encoding_format"} | (
            {"truncate_prompt_tokens"} & set(body) if self.style == "vllm" else set()
        )
        self.known(body, allowed)
        texts = body["input"]
        if body["model"] != self.model:
            message = f"The model `{body['model']}` does not exist."
            raise RefusedError(
                404, {"error": {"message": message, "type": "NotFoundError", "param": None, "code": 404}}
            )
        if len(texts) > 2_048 or "" in texts:
            raise RefusedError(400, {"error": {"message": "'$.input' is invalid.", "type": "invalid_request_error"}})
        if self.style == "infinity" and any(len(text) > 122_880 for text in texts):
            detail = [{"loc": ["body", "input"], "msg": "String should have at most 122880 characters", "input": texts}]
            raise RefusedError(422, {"detail": detail})
        rows = self.embed(texts)
        data = [
            {
                "object": "embedding",
                "index": i,
                "embedding": base64.b64encode(row.astype("<f4").tobytes()).decode()
                if body["encoding_format"] == "base64"
                else row.tolist(),
            }
            for i, row in enumerate(rows)
        ]
        return {"object": "list", "data": data, "model": self.model, "usage": {"prompt_tokens": 1, "total_tokens": 1}}

    def documents(self, body: Any, most: int | None) -> list[dict[str, Any]]:
        if most and len(body["documents"]) > most:
            raise RefusedError(400, {"message": f"too many documents: {len(body['documents'])} > {most}"})
        if "" in body["documents"] or not body["query"]:
            raise RefusedError(422, {"detail": [{"loc": ["body"], "msg": "empty text", "input": body}]})
        return self.ranked(body["query"], body["documents"], "relevance_score")

    def ranked(self, query: str, texts: list[str], name: str) -> list[dict[str, Any]]:
        results = [{"index": i, name: overlap(query, text)} for i, text in enumerate(texts)]
        return sorted(results, key=lambda item: -item[name])

    @staticmethod
    def known(body: Any, allowed: set[str], needed: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        if not set(body) <= allowed or not needed <= set(body):
            message = f"entries {sorted(body)} where {sorted(allowed)} are known"
            raise RefusedError(422, {"error": message, "error_type": "Validation"})


class Handler(BaseHTTPRequestHandler):
    owner: ModelServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        server = self.owner
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or "null")
        fault: Fault | None = server.info_fault
        with server.lock:
            server.requests.append(Request(self.command, self.path, body, dict(self.headers)))
            if self.command == "POST":
                server.under_way += 1
                server.busiest = max(server.busiest, server.under_way)
                fault = server.always or (server.faults.popleft() if server.faults else None)
        try:
            if self.command == "POST":
                time.sleep(server.delay)
            if fault is not None:
                return fault(self)
            if server.key and self.headers.get("authorization") != f"Bearer {server.key}":
                return self.reply(401, {"error": f"Incorrect API key provided: {self.headers.get('authorization')}"})
            answer = server.answer(self.command, self.path, body)
            return self.reply(200, server.edit(answer) if server.edit and self.command == "POST" else answer)
        except RefusedError as refused:
            return self.reply(refused.status, refused.body)
        except OSError:  # the client has hung up
            self.close_connection = True
            return None
        finally:
            if self.command == "POST":
                with server.lock:
                    server.under_way -= 1

    do_GET = do_POST = handle_any  # noqa: N815

    def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


def status(code: int, body: Any = None, **headers: str) -> Fault:
    """Answer with a status; headers are given with "_" for "-"."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def fault(handler: Handler) -> None:
        handler.reply(code, {"error": "told to fail"} if body is None else body, named)

    fault.__name__ = f"status_{code}"
    return fault


def hang_up(handler: Handler) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True


def cut(handler: Handler) -> None:
    """Promise 1,000 bytes, send a few, and close the connection."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"[[0.1, 0.2")
    handler.close_connection = True


def sleep(seconds: float) -> Fault:
    """Say nothing for a while, then hang up."""

    def fault(handler: Handler) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return fault


def trickle(handler: Handler) -> None:
    """Send one byte after the other, for ever as it seems."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)
    handler.close_connection = True
