"""Milvus Lite behind a URL, to be stopped and started again."""

from __future__ import annotations

from pathlib import Path

from milvus_lite.adapter.grpc.server import start_server_in_thread


class LiteServer:
    """Milvus Lite served on a port of its own, to be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = 0
        self.start()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server, self._database, self.port = start_server_in_thread(str(self._folder), port=self.port)

    def stop(self) -> None:
        self._server.stop(grace=None).wait()
        self._database.close()
