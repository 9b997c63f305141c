"""Qdrant's REST interface over qdrant-client's local mode: what a client sends and reads goes over a real socket.

It can be told to hang up: after so many requests, with or without having done what the last one asked.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from qdrant_client import QdrantClient
from qdrant_client.http import models


class FakeQdrant:
    """A server on 127.0.0.1.

    Attributes:
        key: the api-key it wants, if any.
        requests: (method, path) of all it was asked.
        status, retry_after: an HTTP status, with such a header, that every request now ends in, instead of an answer.
        dies_before, dies_after: writes of points until it hangs up, without or with having written.
    """

    def __init__(self) -> None:
        self.client = QdrantClient(":memory:")
        self.key: str | None = None
        self.requests: list[tuple[str, str]] = []
        self.status: int | None = None
        self.retry_after: str | None = None
        self.dies_before: int | None = None
        self.dies_after: int | None = None
        self.metadata = True
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"fake": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @contextmanager
    def running(self) -> Iterator[FakeQdrant]:
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Any:
        """Return the `result` of a request."""
        name, _, rest = path.removeprefix("/collections/").partition("/")
        client, rest = self.client, rest.partition("?")[0]
        fields = {key: value for key, value in body.items() if value is not None}
        match method, rest:
            case "GET", "exists":
                return {"exists": client.collection_exists(name)}
            case "GET", "":
                return client.get_collection(name)
            case "PUT", "":
                if client.collection_exists(name):
                    raise FileExistsError(name)
                parsed = models.CreateCollection(**fields)
                return client.create_collection(name, parsed.vectors, parsed.sparse_vectors, metadata=parsed.metadata)
            case "PATCH", "":
                return client.update_collection(name, metadata=fields["metadata"]) if self.metadata else True
            case "DELETE", "":
                return client.delete_collection(name)
            case "PUT", "index":
                return {"operation_id": 0, "status": "completed"}
            case "PUT", "points":
                return client.upsert(name, models.PointsList(**fields).points)
            case "POST", "points":
                parsed = models.PointRequest(**fields)
                return client.retrieve(name, parsed.ids, parsed.with_payload, parsed.with_vector)
            case "POST", "points/delete":
                return client.delete(name, models.PointIdsList(**fields))
            case "POST", "points/count":
                return client.count(name, models.CountRequest(**fields).filter)
            case "POST", "points/scroll":
                parsed = models.ScrollRequest(**fields)
                points, offset = client.scroll(
                    name, parsed.filter, parsed.limit, offset=parsed.offset,
                    with_payload=parsed.with_payload, with_vectors=parsed.with_vector,
                )  # fmt: skip
                return {"points": json.loads(_json(points)), "next_page_offset": offset}
            case "POST", "points/query":
                parsed = models.QueryRequest(**fields)
                return client.query_points(
                    name, parsed.query, using=parsed.using, prefetch=parsed.prefetch, query_filter=parsed.filter,
                    limit=parsed.limit, with_payload=parsed.with_payload, with_vectors=parsed.with_vector,
                )  # fmt: skip
        raise LookupError(f"{method} {path}")


class _Handler(BaseHTTPRequestHandler):
    fake: FakeQdrant

    def handle_any(self) -> None:
        fake = self.fake
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or "{}")
        writes = self.command == "PUT" and bool(re.search(r"/points(\?|$)", self.path))
        with fake.lock:
            fake.requests.append((self.command, self.path))
            if fake.status:
                return self.reply(fake.status, '{"status": {"error": "told to fail"}}')
            if fake.key is not None and self.headers.get("api-key") != fake.key:
                return self.reply(401, "Must provide an API key")
            if writes and fake.dies_before is not None:
                fake.dies_before -= 1
                if fake.dies_before < 0:
                    self.close_connection = True
                    return None
            try:
                result = _json(fake.answer(self.command, self.path, body))
            except FileExistsError:
                return self.reply(409, '{"status": {"error": "already exists"}}')
            if writes and fake.dies_after is not None:
                fake.dies_after -= 1
                if fake.dies_after < 0:
                    self.close_connection = True
                    return None
        return self.reply(200, f'{{"result": {result}, "status": "ok", "time": 0}}')

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def reply(self, status: int, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        if self.fake.retry_after:
            self.send_header("retry-after", self.fake.retry_after)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


def _json(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    return value.model_dump_json() if hasattr(value, "model_dump_json") else json.dumps(value)
